"""The state of the twin: people, teams, channels, posts, commands, and the indexes that keep every request cheap."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from sandbox.mattermost import errors
from sandbox.mattermost.model import AccessToken, Channel, Command, Json, Post, Team, User, new_id
from sandbox.mattermost.permissions import ALL, SYSTEM_ROLES, TEAM_ROLES

PENDING_POST_MEMORY_S = 30.0
PENDING_POST_LIMIT = 25_000
RECENT_LIMIT = 200
_USERNAME = re.compile(r"[a-z][a-z0-9._-]{0,63}")


@dataclass(slots=True)
class Settings:
    """The switches of a real server that change what a client may do."""

    site_url: str = ""
    enable_custom_user_statuses: bool = True
    enable_commands: bool = True
    enable_bot_account_creation: bool = True
    enable_user_access_tokens: bool = True
    enable_post_username_override: bool = False
    integration_timeout_s: float = 30.0
    # As on the server: host names, addresses or networks; the twin also takes host:port, which is narrower.
    allowed_untrusted_internal_connections: tuple[str, ...] = ()
    # (requests a second, burst) for each address; None is the server's default: no limit.
    rate_limit: tuple[float, int] | None = None


@dataclass(slots=True)
class _Timeline:
    """The posts of one channel: by creation, and by last change."""

    created: list[str] = field(default_factory=list)
    position: dict[str, int] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)  # oldest change first


@dataclass(slots=True)
class Ephemeral:
    """A post only one person sees, and only until a reload."""

    user_id: str
    post: Post
    cookies: dict[str, str]


@dataclass(slots=True)
class OpenDialog:
    """A dialog that a person's client has been told to draw."""

    id: str
    user_id: str
    url: str
    dialog: Json
    opened_at_ms: int


class World:
    """All state; not thread-safe: everything happens on the twin's event loop."""

    def __init__(self, settings: Settings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.users: dict[str, User] = {}
        self.tokens: dict[str, AccessToken] = {}
        self.teams: dict[str, Team] = {}
        self.channels: dict[str, Channel] = {}
        self.posts: dict[str, Post] = {}
        self.commands: dict[str, Command] = {}
        self.roles: dict[str, tuple[str, ...]] = dict(SYSTEM_ROLES)
        self.ephemerals: dict[str, Ephemeral] = {}
        self.dialogs: dict[str, OpenDialog] = {}
        self.record: Callable[[str, object], None] = lambda _kind, _thing: None
        # What the page shows: the newest things by key, each with the number of its last change.
        self.recent: dict[tuple[str, str], int] = {}
        self.change_number = 0
        self.total_posts = 0
        self._user_by_name: dict[str, str] = {}
        self._user_by_email: dict[str, str] = {}
        self._channel_by_name: dict[str, str] = {}
        self._timelines: dict[str, _Timeline] = {}
        self._pending: dict[str, tuple[float, str]] = {}
        self._pending_order: deque[tuple[float, str]] = deque()
        self._last_ms = 0

    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    # --- people ---------------------------------------------------------------------------------------------------

    def put_user(self, user: User) -> User:
        self.users[user.id] = user
        self._user_by_name[user.username] = user.id
        if user.email:
            self._user_by_email[user.email.lower()] = user.id
        self.record("user", user)
        self.touch("user", user.id)
        return user

    def add_user(
        self,
        username: str,
        email: str,
        *,
        first_name: str = "",
        last_name: str = "",
        locale: str = "en",
        roles: str = "system_user",
    ) -> User:
        """A new person; raises AppError 400 when the name or address is taken or malformed."""
        self._check_username(username)
        if email.lower() in self._user_by_email:
            raise errors.AppError(
                "app.user.save.email_exists.app_error", "An account with that email already exists.", 400
            )
        now = self.now_ms()
        return self.put_user(
            User(
                new_id(),
                username,
                email,
                now,
                now,
                first_name=first_name,
                last_name=last_name,
                locale=locale,
                roles=roles,
            )
        )

    def add_bot(self, username: str, display_name: str, description: str, owner_id: str) -> User:
        self._check_username(username)
        now = self.now_ms()
        return self.put_user(
            User(
                new_id(),
                username,
                f"{username}@localhost",
                now,
                now,
                is_bot=True,
                bot_display_name=display_name,
                bot_description=description,
                bot_owner_id=owner_id,
            )
        )

    def _check_username(self, username: str) -> None:
        if not _USERNAME.fullmatch(username):
            raise errors.AppError("model.user.is_valid.username.app_error", "Username is not valid.", 400)
        if username in self._user_by_name:
            raise errors.AppError(
                "app.user.save.username_exists.app_error", "An account with that username already exists.", 400
            )

    def user(self, user_id: str) -> User:
        found = self.users.get(user_id)
        if found is None:
            raise errors.missing_account()
        return found

    def user_named(self, username: str) -> User:
        return self.user(self._user_by_name.get(username.lower(), ""))

    def has_user_named(self, username: str) -> bool:
        return username.lower() in self._user_by_name

    def user_with_email(self, email: str) -> User:
        return self.user(self._user_by_email.get(email.lower(), ""))

    def changed_user(self, user: User) -> None:
        """Record a change of a person's own fields."""
        user.update_at = self.now_ms()
        self.record("user", user)
        self.touch("user", user.id)

    def add_token(self, user_id: str, description: str, token: str = "") -> AccessToken:
        made = AccessToken(new_id(), token or new_id(), user_id, description)
        self.tokens[made.token] = made
        self.record("token", made)
        return made

    def caller(self, token: str) -> User | None:
        """Who calls with this token; None when it is unknown, revoked, or its owner deactivated."""
        found = self.tokens.get(token)
        if found is None or not found.is_active:
            return None
        user = self.users.get(found.user_id)
        return user if user is not None and not user.delete_at else None

    def may(self, user: User, permission: str) -> bool:
        return any(permission in (granted := self.roles.get(role, ())) or ALL in granted for role in user.roles.split())

    def may_in_team(self, user: User, team_id: str, permission: str) -> bool:
        team = self.teams.get(team_id)
        if team is not None and any(
            permission in TEAM_ROLES.get(role, ()) for role in team.members.get(user.id, "").split()
        ):
            return True
        return self.may(user, permission)

    # --- teams and channels ---------------------------------------------------------------------------------------

    def put_team(self, team: Team) -> Team:
        self.teams[team.id] = team
        self.record("team", team)
        return team

    def team(self, team_id: str) -> Team:
        found = self.teams.get(team_id)
        if found is None:
            raise errors.missing_team()
        return found

    def add_team(self, name: str, display_name: str) -> Team:
        now = self.now_ms()
        team = self.put_team(Team(new_id(), name, display_name, now, now))
        self.put_channel(Channel(new_id(), "O", "town-square", "Town Square", team.id, "", now, now))
        return team

    def join_team(self, team: Team, user: User, roles: str = "team_user") -> None:
        """Make a person a member of the team and its default channel; a member stays as it is."""
        if user.id in team.members:
            return
        team.members[user.id] = roles
        self.record("team", team)
        for channel in self.channels.values():
            if channel.team_id == team.id and channel.name == "town-square" and user.id not in channel.members:
                channel.members.append(user.id)
                self.record("channel", channel)

    def leave_team(self, team: Team, user_id: str) -> None:
        if team.members.pop(user_id, None) is None:
            raise errors.AppError("app.team.get_member.missing.app_error", "No team member found for that user.", 404)
        self.record("team", team)
        for channel in self.channels.values():
            if channel.team_id == team.id and user_id in channel.members:
                channel.members.remove(user_id)
                self.record("channel", channel)

    def put_channel(self, channel: Channel) -> Channel:
        self.channels[channel.id] = channel
        if channel.type == "D":
            self._channel_by_name[channel.name] = channel.id
        self._timelines.setdefault(channel.id, _Timeline())
        self.record("channel", channel)
        return channel

    def channel(self, channel_id: str) -> Channel:
        found = self.channels.get(channel_id)
        if found is None:
            raise errors.missing_channel()
        return found

    def direct_channel(self, one: User, other: User) -> Channel:
        """The channel of these two, made when there is none (GetOrCreateDirectChannel)."""
        name = "__".join(sorted((one.id, other.id)))
        known = self._channel_by_name.get(name)
        if known is not None:
            return self.channels[known]
        now = self.now_ms()
        members = list(dict.fromkeys((one.id, other.id)))
        return self.put_channel(Channel(new_id(), "D", name, "", "", one.id, now, now, members=members))

    def readable_channel(self, user: User, channel_id: str) -> Channel:
        """The channel, if this person may read it; 404 when there is none, 403 when it is not theirs."""
        channel = self.channel(channel_id)
        if user.id not in channel.members and not self.may(user, "manage_system"):
            raise errors.forbidden("read_channel_content")
        return channel

    # --- posts ----------------------------------------------------------------------------------------------------

    def unique_ms(self) -> int:
        """The time now, later than any given out before: two posts of one moment keep their order."""
        self._last_ms = max(self.now_ms(), self._last_ms + 1)
        return self._last_ms

    def put_post(self, post: Post) -> Post:
        """Add a post, or record its change."""
        timeline = self._timelines.setdefault(post.channel_id, _Timeline())
        if post.id not in self.posts:
            timeline.position[post.id] = len(timeline.created)
            timeline.created.append(post.id)
            self.total_posts += 1
            channel = self.channels[post.channel_id]
            channel.last_post_at = post.create_at
            channel.total_msg_count += 1
        self.posts[post.id] = post
        timeline.changed.pop(post.id, None)
        timeline.changed[post.id] = None
        self.record("post", post)
        self.touch("post", post.id)
        return post

    def post(self, post_id: str, *, include_deleted: bool = False) -> Post:
        found = self.posts.get(post_id)
        if found is None or (found.delete_at and not include_deleted):
            raise errors.missing_post()
        return found

    def posts_since(self, channel_id: str, since_ms: int, limit: int = 1000) -> list[Post]:
        """Posts changed after `since_ms`, deleted ones included, newest created first (PostStore.GetPostsSince)."""
        found = []
        for post_id in islice(reversed(self._timelines[channel_id].changed), limit):
            post = self.posts[post_id]
            if post.update_at <= since_ms:
                break
            found.append(post)
        return sorted(found, key=lambda post: post.create_at, reverse=True)

    def posts_backwards(self, channel_id: str, before: str = "", *, include_deleted: bool = False) -> Iterator[Post]:
        """Posts from the newest (or from the one before `before`) to the oldest."""
        timeline = self._timelines[channel_id]
        start = timeline.position.get(before, len(timeline.created)) if before else len(timeline.created)
        for index in range(start - 1, -1, -1):
            post = self.posts[timeline.created[index]]
            if include_deleted or not post.delete_at:
                yield post

    def posts_forwards(self, channel_id: str, after: str, *, include_deleted: bool = False) -> Iterator[Post]:
        timeline = self._timelines[channel_id]
        for index in range(timeline.position.get(after, len(timeline.created)) + 1, len(timeline.created)):
            post = self.posts[timeline.created[index]]
            if include_deleted or not post.delete_at:
                yield post

    # --- pending_post_id: what was asked for before ------------------------------------------------------------------

    def remember_pending(self, pending_post_id: str, post_id: str) -> None:
        """Remember for 30 s that this id is being created ("") or became `post_id` (app.deduplicateCreatePost)."""
        now = self.clock()
        self._pending[pending_post_id] = (now + PENDING_POST_MEMORY_S, post_id)
        self._pending_order.append((now + PENDING_POST_MEMORY_S, pending_post_id))
        while self._pending_order and (
            self._pending_order[0][0] <= now or len(self._pending_order) > PENDING_POST_LIMIT
        ):
            until, oldest = self._pending_order.popleft()
            if oldest in self._pending and self._pending[oldest][0] <= until:
                del self._pending[oldest]

    def forget_pending(self, pending_post_id: str) -> None:
        self._pending.pop(pending_post_id, None)

    def pending(self, pending_post_id: str) -> str | None:
        """The post made for this id, "" while it is being made, None when it is unknown or its 30 s are over."""
        known = self._pending.get(pending_post_id)
        return known[1] if known is not None and known[0] > self.clock() else None

    # --- what only clients see ------------------------------------------------------------------------------------

    def show_ephemeral(self, ephemeral: Ephemeral) -> None:
        self.ephemerals[ephemeral.post.id] = ephemeral
        while len(self.ephemerals) > RECENT_LIMIT:
            del self.ephemerals[next(iter(self.ephemerals))]
        self.touch("ephemeral", ephemeral.post.id)

    def show_dialog(self, dialog: OpenDialog) -> None:
        self.dialogs[dialog.id] = dialog
        while len(self.dialogs) > RECENT_LIMIT:
            del self.dialogs[next(iter(self.dialogs))]
        self.touch("dialog", dialog.id)

    def close_dialog(self, dialog_id: str) -> None:
        if self.dialogs.pop(dialog_id, None) is not None:
            self.touch("dialog", dialog_id)

    def touch(self, kind: str, key: str) -> None:
        """Number a change, for the page; costs the same however much there is."""
        self.change_number += 1
        recent = self.recent
        recent.pop((kind, key), None)
        recent[(kind, key)] = self.change_number
        if len(recent) > RECENT_LIMIT * 2:
            del recent[next(iter(recent))]

    # --- commands -------------------------------------------------------------------------------------------------

    def put_command(self, command: Command) -> Command:
        self.commands[command.id] = command
        self.record("command", command)
        return command

    def command(self, command_id: str) -> Command:
        found = self.commands.get(command_id)
        if found is None or found.delete_at:
            raise errors.missing_command()
        return found

    def team_commands(self, team_id: str) -> list[Command]:
        return [command for command in self.commands.values() if command.team_id == team_id and not command.delete_at]
