"""Users, bots, access tokens, roles, statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from sandbox.mattermost import errors
from sandbox.mattermost.api.base import ApiHandler, text_field
from sandbox.mattermost.model import Json, User, is_id
from sandbox.mattermost.permissions import SYSTEM_ROLES

CUSTOM_STATUS_DURATIONS = {"thirty_minutes", "one_hour", "four_hours", "today", "this_week", "date_and_time"}
CUSTOM_STATUS_TEXT_RUNES = 100
_PATCHABLE = ("email", "username", "first_name", "last_name", "nickname", "locale", "position")
_ZERO_TIME = "0001-01-01T00:00:00Z"


class UsersHandler(ApiHandler):
    def get(self) -> None:
        in_team = self.get_query_argument("in_team", "")
        team = self.world.team(in_team) if in_team else None
        active, inactive, role = self.flag("active"), self.flag("inactive"), self.get_query_argument("role", "")
        found = (
            user
            for user in sorted(self.world.users.values(), key=lambda user: user.username)
            if (team is None or user.id in team.members)
            and not (active and user.delete_at)
            and not (inactive and not user.delete_at)
            and (not role or role in user.roles.split())
        )
        self.reply([user.wire() for user in self.cut(found)])


class UsersByIdsHandler(ApiHandler):
    def post(self) -> None:
        ids = self.body_texts("user_ids")
        if not ids:
            raise errors.invalid_param("user_ids")
        self.reply([self.world.users[one].wire() for one in dict.fromkeys(ids) if one in self.world.users])


class UsersByNamesHandler(ApiHandler):
    def post(self) -> None:
        names = self.body_texts("usernames")
        if not names:
            raise errors.invalid_param("usernames")
        found = (self.world.user_named(name) for name in dict.fromkeys(names) if self.world.has_user_named(name))
        self.reply([user.wire() for user in found])


class UserSearchHandler(ApiHandler):
    def post(self) -> None:
        wanted = self.body_object("props")
        term = text_field(wanted, "term").lower().removeprefix("@")
        if not term:
            raise errors.invalid_param("term")
        limit = wanted.get("limit", 100)
        if not isinstance(limit, int) or not 0 < limit <= 1000:
            raise errors.invalid_param("limit")
        team_id = text_field(wanted, "team_id")
        team = self.world.team(team_id) if team_id else None
        found = [
            user.wire()
            for user in self.world.users.values()
            if any(
                field.lower().startswith(term)
                for field in (user.username, user.email, user.first_name, user.last_name, user.nickname)
            )
            and (wanted.get("allow_inactive") or not user.delete_at)
            and (team is None or user.id in team.members)
        ]
        self.reply(found[:limit])


class UserRoute(ApiHandler):
    """What the routes that change a person share."""

    def change(self, user: User, body: Json) -> None:
        """Take over the fields of `body` that a person may change in themselves (or, with the right, in another)."""
        if user.id != self.caller.id:
            self.require("edit_other_users")
        for name in _PATCHABLE:
            value = text_field(body, name, getattr(user, name))
            if name in {"username", "email"} and value != getattr(user, name):
                raise errors.AppError(
                    "api.user.update_user.name_change.app_error", "The twin keeps names and addresses.", 400
                )
            setattr(user, name, value)
        timezone, props = body.get("timezone"), body.get("props")
        if isinstance(timezone, dict):
            user.timezone = {key: str(value) for key, value in timezone.items()}
        if isinstance(props, dict):
            user.props = {key: str(value) for key, value in props.items()}
        self.world.changed_user(user)
        self.reply(user.wire())


class UserHandler(UserRoute):
    def get(self, user_id: str) -> None:
        self.reply(self.user_of(user_id).wire())

    def put(self, user_id: str) -> None:
        user = self.user_of(user_id)
        body = self.body_object("user")
        if body.get("id") != user.id:
            raise errors.invalid_url_param("user_id")
        for name in ("email", "username"):
            if not text_field(body, name):
                raise errors.invalid_param(name)
        self.change(user, body)


class UserPatchHandler(UserRoute):
    def put(self, user_id: str) -> None:
        self.change(self.user_of(user_id), self.body_object("user"))


class UserByNameHandler(ApiHandler):
    def get(self, username: str) -> None:
        self.reply(self.world.user_named(username).wire())


class UserByEmailHandler(ApiHandler):
    def get(self, email: str) -> None:
        self.reply(self.world.user_with_email(email).wire())


class UserActiveHandler(ApiHandler):
    def put(self, user_id: str) -> None:
        user = self.user_of(user_id)
        active = self.body_object("active").get("active")
        if not isinstance(active, bool):
            raise errors.invalid_param("active")
        if user.id != self.caller.id or active:
            self.require("manage_system")
        user.delete_at = 0 if active else self.world.now_ms()
        self.world.changed_user(user)
        self.ok()


class UserRolesHandler(ApiHandler):
    def put(self, user_id: str) -> None:
        user = self.user_of(user_id)
        roles = text_field(self.body_object("roles"), "roles").split()
        if not roles:
            raise errors.invalid_param("roles")
        self.require("manage_roles")
        unknown = [role for role in roles if role not in self.world.roles]
        if unknown:
            raise errors.AppError(
                "app.role.check_roles_exist.role_not_found",
                "The provided role does not exist.",
                400,
                ", ".join(unknown),
            )
        user.roles = " ".join(roles)
        self.world.changed_user(user)
        self.ok()


class UserTeamsHandler(ApiHandler):
    def get(self, user_id: str) -> None:
        user = self.user_of(user_id)
        if user.id != self.caller.id:
            self.require("manage_system")
        self.reply([team.wire() for team in self.world.teams.values() if user.id in team.members])


class UserTokensHandler(ApiHandler):
    def post(self, user_id: str) -> None:
        user = self.user_of(user_id)
        description = text_field(self.body_object("access_token"), "description")
        if not description or len(description) > 255:
            raise errors.invalid_param("description")
        self.require("create_user_access_token")
        if user.id != self.caller.id:
            self.require("edit_other_users")
        if not user.is_bot and not self.world.settings.enable_user_access_tokens:
            raise errors.AppError(
                "app.user_access_token.disabled", "Personal access tokens are disabled on this server.", 501
            )
        self.reply(self.world.add_token(user.id, description).wire(), 201)


class RoleByNameHandler(ApiHandler):
    def get(self, name: str) -> None:
        if name not in self.world.roles:
            raise errors.AppError("app.role.get_by_name.app_error", "Unable to get role.", 404)
        self.reply(role_wire(name, self.world.roles[name]))


class RolePatchHandler(ApiHandler):
    def put(self, role_id: str) -> None:
        name = next((name for name in SYSTEM_ROLES if role_id == role_id_of(name)), "")
        if not name:
            raise errors.AppError("app.role.get.app_error", "Unable to get role.", 404)
        permissions = self.body_object("role").get("permissions")
        if not isinstance(permissions, list) or not all(isinstance(one, str) for one in permissions):
            raise errors.invalid_param("permissions")
        self.require("manage_system")
        self.world.roles[name] = tuple(permissions)
        self.world.record("role", {"name": name, "permissions": permissions})
        self.reply(role_wire(name, self.world.roles[name]))


def role_id_of(name: str) -> str:
    """Roles of the twin have ids made from their names, so that they outlive a restart."""
    return name.replace("_", "").ljust(26, "r")[:26]


def role_wire(name: str, permissions: tuple[str, ...]) -> Json:
    return {
        "id": role_id_of(name),
        "name": name,
        "display_name": f"authentication.roles.{name}.name",
        "description": "",
        "permissions": list(permissions),
        "scheme_managed": False,
        "built_in": True,
    }


class StatusHandler(ApiHandler):
    def get(self, user_id: str) -> None:
        self.reply(self.user_of(user_id).status_wire())

    def put(self, user_id: str) -> None:
        user = self.user_of(user_id)
        body = self.body_object("status")
        if body.get("user_id") != user.id:
            raise errors.invalid_param("user_id")
        if user.id != self.caller.id:
            self.require("edit_other_users")
        if body.get("status") not in {"online", "offline", "away", "dnd"}:
            raise errors.invalid_param("status")
        user.status, user.status_manual, user.last_activity_at = body["status"], True, self.world.now_ms()
        self.world.changed_user(user)
        self.reply(user.status_wire())


class StatusesHandler(ApiHandler):
    def post(self) -> None:
        ids = self.body_texts("user_ids")
        if not ids or not all(is_id(one) for one in ids):
            raise errors.invalid_param("user_ids")
        self.reply([self.world.users[one].status_wire() for one in sorted(set(ids)) if one in self.world.users])


class CustomStatusHandler(ApiHandler):
    def put(self, user_id: str) -> None:
        user = self._target(user_id)
        wanted = self.body_object("custom_status")
        emoji, text, duration = (text_field(wanted, name) for name in ("emoji", "text", "duration"))
        expires_at = _time_of(text_field(wanted, "expires_at", _ZERO_TIME))
        is_ahead = expires_at is not None and expires_at.timestamp() > self.world.clock()
        if not (emoji or text) or not ((not duration and expires_at is None) or is_ahead):
            raise errors.invalid_param("custom_status")
        if duration and duration not in CUSTOM_STATUS_DURATIONS:
            raise errors.invalid_param("custom_status")
        self._require_right(user)
        user.props["customStatus"] = json.dumps(
            {
                "emoji": emoji or "speech_balloon",
                "text": text[:CUSTOM_STATUS_TEXT_RUNES],
                "duration": duration or ("date_and_time" if is_ahead else ""),
                "expires_at": _ZERO_TIME
                if expires_at is None
                else expires_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            },
            ensure_ascii=False,
        )
        self.world.changed_user(user)
        self.ok()

    def delete(self, user_id: str) -> None:
        user = self._target(user_id)
        self._require_right(user)
        user.props.pop("customStatus", None)
        self.world.changed_user(user)
        self.ok()

    def _target(self, user_id: str) -> User:
        user = self.user_of(user_id)
        if not self.world.settings.enable_custom_user_statuses:
            raise errors.AppError("api.custom_status.disabled", "Custom status is disabled.", 501)
        return user

    def _require_right(self, user: User) -> None:
        if user.id != self.caller.id:
            self.require("edit_other_users")


def _time_of(value: str) -> datetime | None:
    """A time of RFC 3339; None for Go's zero time; 400 for anything else, as Go's decoder refuses it."""
    if value.startswith("0001-01-01T00:00:00"):
        return None
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError:
        raise errors.invalid_param("custom_status", "expires_at is not a time") from None
    if parsed.tzinfo is None:
        raise errors.invalid_param("custom_status", "expires_at has no offset")
    return parsed


class BotsHandler(ApiHandler):
    def post(self) -> None:
        body = self.body_object("bot")
        username = text_field(body, "username").lower()
        self.require("create_bot")
        if self.caller.is_bot:
            raise errors.forbidden("create_bot")
        if not self.world.settings.enable_bot_account_creation:
            raise errors.AppError("api.bot.create_disabled", "Bot creation has been disabled.", 403)
        bot = self.world.add_bot(
            username, text_field(body, "display_name"), text_field(body, "description"), self.caller.id
        )
        self.reply(bot.bot_wire(), 201)

    def get(self) -> None:
        self.require("read_others_bots")
        include_deleted = self.flag("include_deleted")
        bots = (user for user in self.world.users.values() if user.is_bot and (include_deleted or not user.delete_at))
        self.reply([bot.bot_wire() for bot in self.cut(bots)])


class BotRoute(ApiHandler):
    """What the routes on one bot share."""

    def bot(self, bot_id: str, *, include_deleted: bool = False) -> User:
        """A bot the caller may see; 404 hides all others, as the server does."""
        found = self.world.users.get(self.id_of(bot_id, "bot_user_id"))
        if found is None or not found.is_bot or (found.delete_at and not include_deleted):
            raise errors.missing_bot(bot_id)
        if found.bot_owner_id != self.caller.id and not self.world.may(self.caller, "read_others_bots"):
            raise errors.missing_bot(bot_id)
        return found

    def require_manage(self, bot: User) -> None:
        if bot.bot_owner_id != self.caller.id:
            self.require("manage_others_bots")


class BotHandler(BotRoute):
    def get(self, bot_id: str) -> None:
        self.reply(self.bot(bot_id, include_deleted=self.flag("include_deleted")).bot_wire())

    def put(self, bot_id: str) -> None:
        bot = self.bot(bot_id)
        self.require_manage(bot)
        body = self.body_object("bot")
        if text_field(body, "username", bot.username) != bot.username:
            raise errors.AppError("api.user.update_user.name_change.app_error", "The twin keeps names.", 400)
        bot.bot_display_name = text_field(body, "display_name", bot.bot_display_name)
        bot.bot_description = text_field(body, "description", bot.bot_description)
        self.world.changed_user(bot)
        self.reply(bot.bot_wire())


class BotEnabledHandler(BotRoute):
    def post(self, bot_id: str) -> None:
        bot = self.bot(bot_id, include_deleted=True)
        self.require_manage(bot)
        bot.delete_at = 0 if self.request.path.endswith("/enable") else self.world.now_ms()
        self.world.changed_user(bot)
        self.reply(bot.bot_wire())
