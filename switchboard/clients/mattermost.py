"""Mattermost REST API v4, the part that Switchboard uses (https://api.mattermost.com)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from switchboard.deadlines import cap_timeout_s
from switchboard.errors import (
    AuthError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    UncertainError,
)

CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 8.0
PAGE_SIZE = 200  # the server cuts a larger page without saying so


@dataclass(frozen=True, slots=True)
class MattermostUser:
    """A user as the server describes it; `locale` and `zone` are empty where the user set none."""

    id: str
    username: str
    email: str
    locale: str
    zone: str
    is_bot: bool
    deactivated: bool


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
        self._url = url.rstrip("/")
        self._token = token
        self._local = threading.local()

    def ping(self) -> None:
        """Return when the server answers as a Mattermost server does."""
        self._read("GET", "/system/ping")

    def me(self) -> MattermostUser:
        """The account of the token."""
        return _user(self._read("GET", "/users/me"))

    def user(self, user_id: str) -> MattermostUser:
        """A user by id; NotFoundError where there is none."""
        return _user(self._read("GET", "/users/{user_id}", user_id=user_id))

    def user_by_username(self, username: str) -> MattermostUser:
        """A user by name, with or without a leading @; NotFoundError where there is none."""
        return _user(self._read("GET", "/users/username/{username}", username=username.lstrip("@")))

    def open_direct_channel(self, user_id: str, other_user_id: str) -> str:
        """Id of the direct channel of two users; the server answers the existing one where there is one."""
        return str(self._read("POST", "/channels/direct", json=[user_id, other_user_id])["id"])

    def create_post(self, channel_id: str, message: str, *, props: Mapping[str, Any], pending_post_id: str) -> str:
        """Write a post and return its id.

        The server answers a repeat with the same `pending_post_id` within 30 s with the same post. UncertainError when
        the answer was lost or is a 5xx: the post may stand.
        """
        body = {"channel_id": channel_id, "message": message, "props": dict(props), "pending_post_id": pending_post_id}
        answer = self._call("POST", "/posts", effect=True, json=body)
        try:
            return str(answer["id"])
        except (KeyError, TypeError):
            raise UncertainError("POST /posts was answered without an id") from None

    def open_dialog(self, trigger_id: str, url: str, dialog: Mapping[str, Any]) -> None:
        """Show a dialog to the person whose command or click made `trigger_id`, at most 30 s ago; `url` gets the entries."""
        self._call(
            "POST", "/actions/dialogs/open", effect=True, json={"trigger_id": trigger_id, "url": url, "dialog": dialog}
        )

    def create_ephemeral_post(self, user_id: str, channel_id: str, message: str, *, props: Mapping[str, Any]) -> None:
        """Show a post to one person alone, until they reload; needs the right `create_post_ephemeral` (403 without it)."""
        post = {"channel_id": channel_id, "message": message, "props": dict(props)}
        self._call("POST", "/posts/ephemeral", effect=True, json={"user_id": user_id, "post": post})

    def answer_command(self, response_url: str, answer: Mapping[str, Any]) -> None:
        """Send a later answer to a slash command; RemoteRejectedError for an address that is not this server's."""
        what, own, given = "Mattermost: POST response_url", urlsplit(self._url), urlsplit(response_url)
        hook = given.path.rpartition("/")[2]
        is_own_host = (given.scheme, given.netloc) == (own.scheme, own.netloc)
        if not is_own_host or given.path != f"{own.path}/hooks/commands/{hook}":
            raise RemoteRejectedError(f"{what}: the address is not on MATTERMOST_URL", status=0, code="")
        try:
            response = requests.post(
                response_url,
                json=dict(answer),
                timeout=(cap_timeout_s(CONNECT_TIMEOUT_S), cap_timeout_s(READ_TIMEOUT_S)),
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise _translate_transport(what, error, effect=True) from None
        if not response.ok:
            raise _translate_status(what, response, effect=True)

    def posts_since(self, channel_id: str, since: datetime) -> Iterator[MattermostPost]:
        """Posts made at or after `since`, newest first."""
        since_ms = int(since.timestamp() * 1000)
        page = 0
        while True:
            answer = self._read(
                "GET",
                "/channels/{channel_id}/posts",
                channel_id=channel_id,
                params={"page": page, "per_page": PAGE_SIZE},
            )
            posts = [_post(answer["posts"][post_id]) for post_id in answer["order"]]
            for post in posts:
                if post.created_ms >= since_ms:
                    yield post
            if len(posts) < PAGE_SIZE or posts[-1].created_ms < since_ms:
                return
            page += 1

    def _read(self, method: str, route: str, **arguments: Any) -> Any:
        return self._call(method, route, effect=False, **arguments)

    def _call(
        self,
        method: str,
        route: str,
        *,
        effect: bool,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        **ids: str,
    ) -> Any:
        for name, value in ids.items():
            if not value or not value.replace("-", "").replace("_", "").replace(".", "").isalnum():
                raise NotFoundError(f"{method} {route}: {name} is not an id")
        what = f"Mattermost: {method} {route}"
        try:
            response = self._session().request(
                method,
                f"{self._url}/api/v4{route.format(**ids)}",
                json=json,
                params=params,
                timeout=(cap_timeout_s(CONNECT_TIMEOUT_S), cap_timeout_s(READ_TIMEOUT_S)),
                allow_redirects=False,
            )
            if response.ok:
                return response.json()
        except requests.RequestException as error:
            raise _translate_transport(what, error, effect=effect) from None
        raise _translate_status(what, response, effect=effect)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.trust_env = False  # a proxy or .netrc of the host must not see or replace the token
            session.mount(self._url, HTTPAdapter(max_retries=0))
            session.headers.update({"Authorization": f"Bearer {self._token}", "User-Agent": "Switchboard"})
            self._local.session = session
        return session


def _translate_transport(what: str, error: requests.RequestException, *, effect: bool) -> SwitchboardError:
    if _never_connected(error):
        return RemoteUnavailableError(f"{what}: no connection")
    reason = "no answer in time" if isinstance(error, requests.Timeout) else "the answer was lost"
    if effect:
        return UncertainError(f"{what}: {reason}")
    return RemoteUnavailableError(f"{what}: {reason}")


def _never_connected(error: requests.RequestException) -> bool:
    """True when no byte of the request can have left."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.InvalidURL)):
        return True
    causes: Sequence[object] = error.args
    return any(
        isinstance(getattr(cause, "reason", cause), (NewConnectionError, ConnectTimeoutError)) for cause in causes
    )


def _translate_status(what: str, response: requests.Response, *, effect: bool) -> SwitchboardError:
    status, code = response.status_code, _error_id(response)
    said = f"{what}: {status} {code}".rstrip()
    if status == requests.codes.too_many_requests:
        return RateLimitedError(said, retry_after_s=_seconds(response.headers.get("Retry-After")))
    if status >= 500:
        if effect:
            return UncertainError(said)
        return RemoteUnavailableError(said, retry_after_s=_seconds(response.headers.get("Retry-After")))
    if status == requests.codes.unauthorized:
        return AuthError(f"{said}: the bot's token is not accepted; check MATTERMOST_TOKEN")
    if status == requests.codes.not_found:
        return NotFoundError(said)
    return RemoteRejectedError(said, status=status, code=code)


def _error_id(response: requests.Response) -> str:
    """The server's stable error id (its message is translated, so it is not for programs)."""
    try:
        return str(response.json()["id"])[:120]
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


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
    )


def _post(answer: Mapping[str, Any]) -> MattermostPost:
    return MattermostPost(
        id=str(answer["id"]),
        user_id=str(answer["user_id"]),
        created_ms=int(answer["create_at"]),
        props=answer.get("props") or {},
    )
