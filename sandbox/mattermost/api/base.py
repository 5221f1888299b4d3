"""What every route shares: who calls, the error body, paging, reading bodies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from typing import Any, TypeVar

from tornado import web

from sandbox.mattermost import errors
from sandbox.mattermost.errors import AppError
from sandbox.mattermost.model import Json, User, is_id, new_id
from sandbox.mattermost.outgoing import Integrations
from sandbox.mattermost.triggers import TriggerSigner
from sandbox.mattermost.world import World

_T = TypeVar("_T")
PER_PAGE_DEFAULT = 60
PER_PAGE_MAX = 200
MAX_BODY_BYTES = 4 * 1024 * 1024
SERVER_VERSION = "11.6.0"


class Limiter:
    """The server's optional limit: `per_s` requests a second for each address, `burst` at once (off by default)."""

    def __init__(self, per_s: float, burst: int) -> None:
        self.per_s = per_s
        self.burst = burst
        self._left: dict[str, tuple[float, float]] = {}

    def wait_s(self, address: str, now: float) -> float:
        """0 when the request may pass (and is counted), else the seconds until one may."""
        left, seen = self._left.get(address, (float(self.burst), now))
        left = min(self.burst, left + (now - seen) * self.per_s)
        if left < 1:
            self._left[address] = (left, now)
            return (1 - left) / self.per_s
        self._left[address] = (left - 1, now)
        return 0.0


class Services:
    """What the routes need beside the state."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.signer = TriggerSigner()
        self.hooks: dict[str, Any] = {}
        limit = world.settings.rate_limit
        self.limiter = Limiter(*limit) if limit else None

    def integrations(self) -> Integrations:
        settings = self.world.settings
        return Integrations(settings.allowed_untrusted_internal_connections, settings.integration_timeout_s)


class ApiHandler(web.RequestHandler):
    """A route of REST v4; subclasses answer with `reply` and raise AppError."""

    needs_session = True
    caller: User

    def initialize(self, services: Services) -> None:
        self.services = services
        self.world = services.world
        self.request_id = ""

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json")
        self.set_header("X-Version-Id", SERVER_VERSION)

    def prepare(self) -> None:
        self.request_id = new_id()
        self.set_header("X-Request-Id", self.request_id)
        limiter = self.services.limiter
        if limiter is not None and (wait_s := limiter.wait_s(self.request.remote_ip or "", self.world.clock())):
            seconds = str(max(1, round(wait_s)))
            self.set_status(429)
            headers = {
                "Content-Type": "text/plain",
                "X-RateLimit-Limit": str(limiter.burst),
                "X-RateLimit-Remaining": "0",
                "X-RateLimit-Reset": seconds,
                "Retry-After": seconds,
            }
            for name, value in headers.items():
                self.set_header(name, value)
            self.finish(b"limit exceeded\n")
            return
        if self.needs_session:
            scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
            caller = self.world.caller(token) if scheme.lower() in {"bearer", "token"} else None
            if caller is None:
                raise errors.unauthorized()
            self.caller = caller

    def compute_etag(self) -> None:
        return None

    def reply(self, body: object, status: int = 200) -> None:
        self.set_status(status)
        self.finish(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())

    def ok(self) -> None:
        self.reply({"status": "OK"})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        failure = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(failure, AppError):
            problem = failure
        elif status_code == 405:
            problem = errors.AppError("api.context.404.app_error", "Sorry, we could not find the page.", 404)
        elif status_code == 400:
            problem = errors.invalid_param("body")
        else:
            problem = AppError("api.internal_error", "Internal server error.", 500)
        self.reply(problem.wire(self.request_id), problem.status_code)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, AppError):
            super().log_exception(typ, value, tb)

    # --- reading a request ----------------------------------------------------------------------------------------

    def body_object(self, name: str) -> Json:
        body = self.body_any(name)
        if not isinstance(body, dict):
            raise errors.invalid_param(name, "not an object")
        return body

    def body_texts(self, name: str) -> list[str]:
        body = self.body_any(name)
        if not isinstance(body, list) or not all(isinstance(one, str) for one in body):
            raise errors.invalid_param(name, "not a list of texts")
        return body

    def body_any(self, name: str) -> object:
        try:
            return json.loads(self.request.body)
        except ValueError:  # also a body that is not UTF-8
            raise errors.invalid_param(name, "not JSON") from None

    def id_of(self, value: str, name: str) -> str:
        """An id from the path; 400 when it cannot be one."""
        if not is_id(value):
            raise errors.invalid_url_param(name)
        return value

    def user_of(self, value: str) -> User:
        """The user an id in the path names; `me` is the caller."""
        if value == "me":
            return self.caller
        return self.world.user(self.id_of(value, "user_id"))

    def page(self) -> tuple[int, int]:
        """(page, per_page): 0 and 60 when absent or malformed, at most 200, more is cut without a word."""
        return self._whole("page", 0), min(self._whole("per_page", PER_PAGE_DEFAULT), PER_PAGE_MAX)

    def _whole(self, name: str, default: int) -> int:
        value = self.get_query_argument(name, "")
        return int(value) if value.isascii() and value.isdigit() else default

    def flag(self, name: str) -> bool:
        return self.get_query_argument(name, "") in {"1", "t", "T", "true", "TRUE", "True"}

    def cut(self, things: Iterable[_T]) -> list[_T]:
        """The page that was asked for."""
        page, per_page = self.page()
        return list(islice(things, page * per_page, (page + 1) * per_page))

    def require(self, permission: str) -> None:
        if not self.world.may(self.caller, permission):
            raise errors.forbidden(permission)

    def require_in_team(self, team_id: str, permission: str) -> None:
        if not self.world.may_in_team(self.caller, team_id, permission):
            raise errors.forbidden(permission)


class NotFoundHandler(ApiHandler):
    """Any address the server does not know."""

    needs_session = False

    def prepare(self) -> None:
        self.request_id = new_id()
        raise errors.AppError("api.context.404.app_error", "Sorry, we could not find the page.", 404, self.request.path)


def text_field(body: Json, name: str, default: str = "") -> str:
    """A text in a body; 400 when it is something else. Null counts as absent, as Go reads it."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, str):
        raise errors.invalid_param(name)
    return value
