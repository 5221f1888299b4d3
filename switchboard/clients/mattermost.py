"""Mattermost REST API v4, the part that Switchboard uses (https://api.mattermost.com)."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from switchboard.clients.http_connection import AnswerLostError, HttpAnswer, KeptConnection, NotConnectedError
from switchboard.domain.custom_status import CustomStatus
from switchboard.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    UncertainError,
)

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 8.0  # from the first byte of the request to the last of the answer
PAGE_SIZE = 200  # the server cuts a larger page without saying so
LONGEST_WAIT_S = 3600.0  # a larger Retry-After is a mistake, and would hold messages back for good
ERROR_ID = re.compile(r"[A-Za-z0-9_.]{1,120}")  # for example api.context.session_expired.app_error
_TEAM_ONLY = (
    "the server lets people write to members of their own teams alone; make the bot a member of the person's team"
)
REFUSALS = {
    "api.context.permissions.app_error": "the bot may not do this, or there is no such channel; check its roles",
    "api.post.create_post.can_not_post_to_deleted.error": "the channel is archived",
    "api.post.create_post.can_not_post_in_restricted_dm.error": _TEAM_ONLY,
    "api.channel.create_channel.direct_channel.team_restricted_error": _TEAM_ONLY,
    "api.channel.create_direct_channel.invalid_user.app_error": "there is no such person any more",
    "model.post.is_valid.message_length.app_error": "the message is longer than the server takes",
}
"""What a refusal means, by the server's error id, for those who read the ledger. A deactivated person is no refusal: the
server takes messages for them and nobody reads them."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class MattermostUser:
    """A user as the server describes it; `locale` and `zone` are empty where the user set none.

    `custom_status` may be over: the server keeps it until it is replaced.
    """

    id: str
    username: str
    email: str
    locale: str
    zone: str
    is_bot: bool
    deactivated: bool
    custom_status: CustomStatus | None = None


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """A slash command of a team; `token` is empty where the caller may not see it."""

    id: str
    team_id: str
    trigger: str
    url: str
    token: str


@dataclass(frozen=True, slots=True)
class MattermostRole:
    """A role and what it permits."""

    id: str
    name: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MattermostPost:
    """A post; `created_ms` is the server's clock in milliseconds since 1970."""

    id: str
    user_id: str
    created_ms: int
    props: Mapping[str, Any]


class MattermostClient:
    """Calls as one bot account. Safe to share between threads: each keeps a connection of its own.

    Reads and calls that the server makes idempotent raise TransientError when they fail; a post whose answer was lost
    raises UncertainError. No message holds an address, a body or the token.
    """

    def __init__(self, url: str, token: str) -> None:
        if not token.isascii() or not token.isprintable():
            raise ConfigError("MATTERMOST_TOKEN holds characters that no token has: copy it again")
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "User-Agent": "Switchboard", "Accept": "application/json"}
        self._local = threading.local()

    def ping(self) -> None:
        """Return when the server answers as a Mattermost server does."""
        self._read("GET", "/system/ping", lambda answer: answer["status"])

    def me(self) -> MattermostUser:
        """The account of the token."""
        return self._read("GET", "/users/me", _user)

    def user(self, user_id: str) -> MattermostUser:
        """A user by id; NotFoundError where there is none."""
        return self._read("GET", "/users/{user_id}", _user, user_id=user_id)

    def user_by_username(self, username: str) -> MattermostUser:
        """A user by name, with or without a leading @; NotFoundError where there is none."""
        return self._read("GET", "/users/username/{username}", _user, username=username.lstrip("@"))

    def users(self, user_ids: Sequence[str]) -> list[MattermostUser]:
        """Those of at most 200 users who exist, deactivated ones among them; one call."""
        return self._read("POST", "/users/ids", lambda answer: [_user(one) for one in answer], body=list(user_ids))

    def open_direct_channel(self, user_id: str, other_user_id: str) -> str:
        """Id of the direct channel of two users; the server answers the existing one where there is one."""
        return self._read("POST", "/channels/direct", _id, body=[user_id, other_user_id])

    def create_post(self, channel_id: str, message: str, *, props: Mapping[str, Any], pending_post_id: str) -> str:
        """Write a post and return its id.

        The server answers a repeat with the same `pending_post_id` within 30 s with the same post. UncertainError when
        the answer was lost, cannot be read or is a 5xx: the post may stand.
        """
        body = {"channel_id": channel_id, "message": message, "props": dict(props), "pending_post_id": pending_post_id}
        return self._call("POST", "/posts", _id, effect=True, body=body)

    def post(self, post_id: str) -> MattermostPost:
        """A post that the bot can read; NotFoundError where it is not there (any more)."""
        return self._read("GET", "/posts/{post_id}", _post, post_id=post_id)

    def update_post(self, post_id: str, *, props: Mapping[str, Any], message: str | None = None) -> None:
        """Replace a post's props, all of them, and its text where one is given. It may be repeated.

        RemoteRejectedError where the server does not let it be changed (a limit on the time of editing; 403 also for a post
        that is gone).
        """
        body: dict[str, Any] = {"props": dict(props)}
        if message is not None:
            body["message"] = message
        self._call("PUT", "/posts/{post_id}/patch", no_answer, effect=False, body=body, post_id=post_id)

    def open_dialog(self, trigger_id: str, url: str, dialog: Mapping[str, Any]) -> None:
        """Show a dialog to the person whose command or click made `trigger_id`, at most 30 s ago; `url` gets the entries."""
        body = {"trigger_id": trigger_id, "url": url, "dialog": dict(dialog)}
        self._call("POST", "/actions/dialogs/open", no_answer, effect=True, body=body)

    def create_ephemeral_post(self, user_id: str, channel_id: str, message: str, *, props: Mapping[str, Any]) -> None:
        """Show a post to one person alone, until they reload; needs the right `create_post_ephemeral` (403 without it)."""
        post = {"channel_id": channel_id, "message": message, "props": dict(props)}
        self._call("POST", "/posts/ephemeral", no_answer, effect=True, body={"user_id": user_id, "post": post})

    def set_custom_status(self, user_id: str, status: CustomStatus) -> None:
        """Make this the custom status of a user, whatever it was; its end must be ahead (400).

        Somebody else's needs the right `edit_other_users` (403); 501 where custom statuses are off at the server. A
        repeat has no further effect, so a lost answer is a TransientError.
        """
        self._read("PUT", "/users/{user_id}/status/custom", no_answer, user_id=user_id, body=status.to_json())

    def clear_custom_status(self, user_id: str) -> None:
        """Take a user's custom status away; rights, errors and repeats as in `set_custom_status`."""
        self._read("DELETE", "/users/{user_id}/status/custom", no_answer, user_id=user_id)

    def custom_statuses_enabled(self) -> bool:
        """Whether the server lets people have custom statuses (EnableCustomUserStatuses)."""
        return self._read(
            "GET",
            "/config/client",
            lambda config: str(config["EnableCustomUserStatuses"]).lower() == "true",
            query={"format": "old"},
        )

    def own_permissions(self) -> frozenset[str]:
        """What the system roles of the token's account permit; a system administrator's list holds everything."""
        names = self._read("GET", "/users/me", lambda user: str(user.get("roles", "")).split())
        return frozenset(
            permission
            for name in names
            for permission in self._read(
                "GET", "/roles/name/{name}", lambda role: [str(one) for one in role["permissions"]], name=name
            )
        )

    def answer_command(self, response_url: str, answer: Mapping[str, Any]) -> None:
        """Send a later answer to a slash command; RemoteRejectedError for an address that is not this server's."""
        what, own, given = "Mattermost: POST response_url", urlsplit(self._url), urlsplit(response_url)
        hook = given.path.rpartition("/")[2]
        is_own_host = (given.scheme, given.netloc) == (own.scheme, own.netloc)
        if not is_own_host or given.path != f"{own.path}/hooks/commands/{hook}":
            raise RemoteRejectedError(f"{what}: the address is not on MATTERMOST_URL", status=0, code="")
        connection = KeptConnection(
            self._url, connect_timeout_s=CONNECT_TIMEOUT_S, answer_timeout_s=READ_TIMEOUT_S
        )  # of its own: the address is the credential, and the token stays at home
        try:
            taken = connection.request(
                "POST",
                f"/hooks/commands/{hook}",
                headers={"Content-Type": "application/json"},
                body=json.dumps(dict(answer)).encode(),
            )
        except NotConnectedError as error:
            raise RemoteUnavailableError(f"{what}: {error}") from None
        except AnswerLostError as error:
            raise UncertainError(f"{what}: {error}") from None
        finally:
            connection.close()
        if not 200 <= taken.status < 300:
            raise _translate_status(what, taken, effect=True)

    def posts_since(self, channel_id: str, since: datetime) -> Iterator[MattermostPost]:
        """Posts made at or after `since`, newest first.

        Paged from post to post, not by number: a post deleted meanwhile would move another one past the edge of a page.
        """
        since_ms = int(since.timestamp() * 1000)
        before: dict[str, str | int] = {}
        while True:
            posts = self._read(
                "GET",
                "/channels/{channel_id}/posts",
                lambda answer: [_post(answer["posts"][post_id]) for post_id in answer["order"]],
                channel_id=channel_id,
                query={"per_page": PAGE_SIZE, **before},
            )
            for post in posts:
                if post.created_ms >= since_ms:
                    yield post
            if not posts or posts[-1].created_ms < since_ms:
                return
            before = {"before": posts[-1].id}

    def _read(self, method: str, route: str, parse: Callable[[Any], _T], **arguments: Any) -> _T:
        return self._call(method, route, parse, effect=False, **arguments)

    def _call(
        self,
        method: str,
        route: str,
        parse: Callable[[Any], _T],
        *,
        effect: bool,
        body: object = None,
        query: Mapping[str, str | int] | None = None,
        **ids: str,
    ) -> _T:
        for name, value in ids.items():
            if not value or not value.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise NotFoundError(f"{method} {route}: {name} is not an id")
        what = f"Mattermost: {method} {route}"
        target = "/api/v4" + route.format(**{name: quote(value) for name, value in ids.items()})
        lost = UncertainError if effect else RemoteUnavailableError
        try:
            answer = self._connection().request(
                method,
                f"{target}?{urlencode(query)}" if query else target,
                headers=self._headers if body is None else {**self._headers, "Content-Type": "application/json"},
                body=None if body is None else json.dumps(body).encode(),
            )
        except NotConnectedError as error:
            raise RemoteUnavailableError(f"{what}: {error}") from None
        except AnswerLostError as error:
            raise lost(f"{what}: {error}") from None
        if not 200 <= answer.status < 300:
            raise _translate_status(what, answer, effect=effect)
        try:
            return parse(json.loads(answer.body))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise lost(f"{what}: {answer.status} with an answer that is not Mattermost's") from None

    def _connection(self) -> KeptConnection:
        connection: KeptConnection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = KeptConnection(self._url, connect_timeout_s=CONNECT_TIMEOUT_S, answer_timeout_s=READ_TIMEOUT_S)
            self._local.connection = connection
        return connection


def _translate_status(what: str, answer: HttpAnswer, *, effect: bool) -> SwitchboardError:
    """The error of an answer that is no success.

    A refusal without Mattermost's own error id comes from something before the server (a proxy, a page of maintenance, another
    site at a wrong address): that is nothing the message could be blamed for, so it waits instead of being given up.
    """
    status, code = answer.status, _error_id(answer)
    said = f"{what}: {status} {code}".rstrip()
    if code in REFUSALS:
        said += f": {REFUSALS[code]}"
    wait_s = _seconds(answer.headers.get("retry-after"))
    if status == 429:
        return RateLimitedError(said, retry_after_s=wait_s)
    if status == 501 and code:
        return RemoteRejectedError(f"{said}: switched off at the server", status=status, code=code)
    if status >= 500:
        return UncertainError(said) if effect else RemoteUnavailableError(said, retry_after_s=wait_s)
    if status < 400:
        return RemoteUnavailableError(f"{said}: a redirect; set MATTERMOST_URL to the address it leads to")
    if status == 401:
        return AuthError(f"{said}: the bot's token is not accepted; check MATTERMOST_TOKEN")
    if not code and status != 413:
        return RemoteUnavailableError(
            f"{said}: the answer is not Mattermost's; check MATTERMOST_URL", retry_after_s=wait_s
        )
    if status == 404:
        return NotFoundError(said)
    return RemoteRejectedError(said, status=status, code=code)


def _error_id(answer: HttpAnswer) -> str:
    """The server's stable error id (its message is translated, so it is not for programs); empty where there is none."""
    try:
        code = json.loads(answer.body)["id"]
    except (ValueError, KeyError, TypeError):
        return ""
    return code if isinstance(code, str) and ERROR_ID.fullmatch(code) else ""


def _seconds(text: str | None) -> float | None:
    """Retry-After in whole seconds; None for a date, which no Mattermost sends."""
    return min(float(text), LONGEST_WAIT_S) if text is not None and text.isascii() and text.isdigit() else None


def no_answer(_answer: object) -> None:
    """For calls whose answer says nothing that we need."""


def _id(answer: Mapping[str, Any]) -> str:
    found = answer["id"]
    if not isinstance(found, str) or not found:
        raise ValueError("no id")
    return found


def _user(answer: Mapping[str, Any]) -> MattermostUser:
    zone = answer.get("timezone") or {}
    automatic = str(zone.get("useAutomaticTimezone", "")).lower() == "true"
    return MattermostUser(
        id=str(answer["id"]),
        username=str(answer["username"]),
        email=str(answer.get("email", "")).lower(),
        locale=str(answer.get("locale", "")),
        zone=str(zone.get("automaticTimezone" if automatic else "manualTimezone", "")),
        is_bot=bool(answer.get("is_bot", False)),
        deactivated=bool(answer.get("delete_at", 0)),
        custom_status=_custom_status(answer),
    )


def _custom_status(user: Mapping[str, Any]) -> CustomStatus | None:
    """The one in the user's props, where it is JSON in a string; None for none and for one that nobody can read."""
    kept = (user.get("props") or {}).get("customStatus")
    try:
        fields = json.loads(kept) if kept else None
    except (TypeError, ValueError):
        return None
    return CustomStatus.from_json(fields) if isinstance(fields, dict) and fields else None


def _post(answer: Mapping[str, Any]) -> MattermostPost:
    props = answer.get("props")
    return MattermostPost(
        id=str(answer["id"]),
        user_id=str(answer["user_id"]),
        created_ms=int(answer["create_at"]),
        props=props if isinstance(props, dict) else {},
    )
