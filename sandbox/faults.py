"""Faults a test can switch on in any twin: too many requests, errors before or after the effect, slowness, cut lines, HTML.

A `FaultGate` stands between tornado's HTTP server and a twin's application and knows nothing of the twin: without a
matching fault a request passes untouched; with one it is delayed, answered here, or let through to take its effect while
the answer is replaced. `FaultControl` is the HTTP side at `/_sandbox/faults`; a test in the same process uses `FaultBook`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http.client import responses
from typing import Any, Literal, get_args

from tornado import httputil, web
from tornado.concurrent import Future
from tornado.routing import URLSpec

from sandbox.fault_rules import FaultRules, Rule

CONTROL_PREFIX = "/_sandbox/"

Kind = Literal["rate_limit", "error", "slow", "cut", "cut_body", "html"]
When = Literal["before", "after"]
KINDS: tuple[str, ...] = get_args(Kind)

_LOGIN_PAGE = (
    b"<!doctype html><html><head><title>Sign in</title></head><body><form>Sign in to continue</form></body></html>"
)


@dataclass(frozen=True, slots=True)
class Fault(Rule):
    """One rule. The oldest matching one acts; `count` uses later it is gone (None: until it is removed).

    kind         rate_limit  429 before the effect, `retry_after_s` in the headers
                 error       `status` (500 by default), before or after the effect
                 slow        `seconds` of delay, before the effect or between the effect and the answer
                 cut         the connection is closed without an answer, before or after the effect
                 cut_body    the effect takes place, the answer breaks off in the middle of its body
                 html        200 with a sign-in page instead of JSON, before the effect
    method, path what it matches: a method or `*`, and a shell pattern of the path (`/api/v4/channels/*/posts`)
    """

    kind: Kind
    method: str = "*"
    path: str = "*"
    when: When = "before"
    seconds: float = 1.0
    status: int = 500
    retry_after_s: int = 1

    def matches(self, method: str, path: str) -> bool:
        return self.method in {"*", method} and fnmatchcase(path, self.path)


class InvalidFaultError(ValueError):
    """A rule that says something a fault cannot be; the message names the field."""


def parse_fault(wanted: Mapping[str, Any]) -> Fault:
    """A `Fault` from JSON; raises InvalidFaultError."""
    unknown = set(wanted) - {"kind", "method", "path", "when", "count", "seconds", "status", "retry_after_s"}
    if unknown:
        raise InvalidFaultError(f"unknown field: {', '.join(sorted(unknown))}")
    checks: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
        ("kind", lambda value: value in KINDS, f"one of {', '.join(KINDS)}"),
        ("when", lambda value: value in {"before", "after"}, "before or after"),
        ("method", lambda value: isinstance(value, str) and value == value.upper(), "an upper case method or *"),
        (
            "path",
            lambda value: isinstance(value, str) and value[:1] in {"/", "*"},
            "a path pattern that starts with / or *",
        ),
        ("count", lambda value: value is None or (_whole(value) and value > 0), "a whole number above 0, or null"),
        (
            "seconds",
            lambda value: (_whole(value) or isinstance(value, float)) and 0 <= value <= 600,
            "0 to 600 seconds",
        ),
        ("status", lambda value: _whole(value) and 400 <= value <= 599, "a status from 400 to 599"),
        ("retry_after_s", lambda value: _whole(value) and 0 <= value <= 86400, "whole seconds, 0 to 86400"),
    )
    for name, is_good, words in checks:
        if (name in wanted or name == "kind") and not is_good(wanted.get(name)):
            raise InvalidFaultError(f"{name} must be {words}")
    return Fault(**wanted)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class FaultBook(FaultRules[Fault]):
    """The faults that are on, in order, and how often each acted. Safe to use from a test's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.fired = 0

    def add(self, kind: Kind, **wanted: Any) -> Fault:
        """Switch a fault on; fields as in `Fault`. Raises InvalidFaultError."""
        return self._add(parse_fault({"kind": kind, **wanted}))

    def take(self, method: str, path: str) -> Fault | None:
        """The fault that acts on this request, counted; None for nearly all."""
        if path.startswith(CONTROL_PREFIX):
            return None
        return self._use(lambda fault: fault.matches(method, path))

    def _note(self, used: Fault) -> None:
        self.fired += 1


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def plain_rate_limit(retry_after_s: int) -> Reply:
    return Reply(429, {"Content-Type": "text/plain", "Retry-After": str(retry_after_s)}, b"too many requests\n")


def plain_error(status: int) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, json.dumps({"error": f"fault {status}"}).encode())


class FaultGate(httputil.HTTPServerConnectionDelegate):
    """Stands before `application` in `HTTPServer(FaultGate(application, book))`; the twin says how its own 429 and 500 look."""

    def __init__(
        self,
        application: httputil.HTTPServerConnectionDelegate,
        book: FaultBook,
        *,
        rate_limit: Callable[[int], Reply] = plain_rate_limit,
        error: Callable[[int], Reply] = plain_error,
    ) -> None:
        self.application = application
        self.book = book
        self.rate_limit = rate_limit
        self.error = error

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _GatedRequest(self, server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.application.on_close(server_conn)


class _GatedRequest(httputil.HTTPMessageDelegate):
    """Passes a request on, or holds it back until its whole body has come and acts out the fault."""

    def __init__(self, gate: FaultGate, server_conn: object, connection: httputil.HTTPConnection) -> None:
        self._gate = gate
        self._server_conn = server_conn
        self._connection = connection
        self._inner: httputil.HTTPMessageDelegate | None = None
        self._fault: Fault | None = None
        self._start: httputil.RequestStartLine | None = None
        self._headers = httputil.HTTPHeaders()
        self._body: list[bytes] = []

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Any:
        if not isinstance(start_line, httputil.RequestStartLine):
            raise TypeError("a server receives requests")
        self._fault = self._gate.book.take(start_line.method, start_line.path.partition("?")[0])
        if self._fault is None:
            self._inner = self._gate.application.start_request(self._server_conn, self._connection)
            return self._inner.headers_received(start_line, headers)
        self._start, self._headers = start_line, headers
        return None

    def data_received(self, chunk: bytes) -> Any:
        if self._inner is not None:
            return self._inner.data_received(chunk)
        self._body.append(chunk)
        return None

    def finish(self) -> None:
        if self._fault is None:
            if self._inner is not None:
                self._inner.finish()
            return
        asyncio.ensure_future(self._act(self._fault))  # noqa: RUF006 - the connection waits for the answer and holds us

    def on_connection_close(self) -> None:
        if self._inner is not None:
            self._inner.on_connection_close()

    async def _act(self, fault: Fault) -> None:
        if fault.kind == "slow" and fault.when == "before":
            await asyncio.sleep(fault.seconds)
            self._reply(await self._effect())
        elif fault.kind == "slow":
            reply = await self._effect()
            await asyncio.sleep(fault.seconds)
            self._reply(reply)
        elif fault.kind == "rate_limit":
            self._reply(self._gate.rate_limit(fault.retry_after_s))
        elif fault.kind == "html":
            self._reply(Reply(200, {"Content-Type": "text/html; charset=utf-8"}, _LOGIN_PAGE))
        elif fault.kind == "cut_body":
            self._reply(await self._effect(), cut=True)
        else:
            if fault.when == "after":
                await self._effect()
            if fault.kind == "error":
                self._reply(self._gate.error(fault.status))
            else:
                self._cut()

    async def _effect(self) -> Reply:
        """Let the application do its work and keep its answer back."""
        captured = _CapturedConnection(self._connection)
        inner = self._gate.application.start_request(self._server_conn, captured)
        if self._start is None:
            raise RuntimeError("no request line")
        for waiting in (
            inner.headers_received(self._start, self._headers),
            *(inner.data_received(chunk) for chunk in self._body),
        ):
            if waiting is not None:
                await waiting
        inner.finish()
        return await captured.reply

    def _reply(self, reply: Reply, *, cut: bool = False) -> None:
        headers = httputil.HTTPHeaders(reply.headers)
        headers["Content-Length"] = str(len(reply.body))
        line = httputil.ResponseStartLine("HTTP/1.1", reply.status, responses.get(reply.status, "Unknown"))
        body = reply.body[: len(reply.body) // 2] if cut else reply.body
        if self._stream().closed():
            return
        written = self._connection.write_headers(line, headers, body)
        if cut:
            written.add_done_callback(self._cut_after)
            return
        self._connection.finish()

    def _cut_after(self, written: Future[None]) -> None:
        written.exception()  # looked at: the other side may be gone already
        self._cut()

    def _stream(self) -> Any:
        return self._connection.stream  # type: ignore[attr-defined]  # HTTP1Connection's stream; there is one protocol

    def _cut(self) -> None:
        self._stream().close()


class _CapturedConnection(httputil.HTTPConnection):
    """Takes an application's answer without sending it."""

    def __init__(self, real: httputil.HTTPConnection) -> None:
        self.context = getattr(real, "context", None)
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._status = 0
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []

    def write_headers(
        self,
        start_line: httputil.RequestStartLine | httputil.ResponseStartLine,
        headers: httputil.HTTPHeaders,
        chunk: bytes | None = None,
    ) -> Future[None]:
        if isinstance(start_line, httputil.ResponseStartLine):
            self._status = start_line.code
        self._headers = {name: value for name, value in headers.get_all() if name != "Content-Length"}
        return self.write(chunk or b"")

    def write(self, chunk: bytes) -> Future[None]:
        self._chunks.append(chunk)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def finish(self) -> None:
        if not self.reply.done():
            self.reply.set_result(Reply(self._status, self._headers, b"".join(self._chunks)))

    def set_close_callback(self, callback: object) -> None:
        """Nobody can hang up on a captured answer."""


class FaultControl(web.RequestHandler):
    """`/_sandbox/faults`: GET lists, POST switches one on (201), DELETE switches all off; `/_sandbox/faults/ID` DELETE one."""

    def initialize(self, book: FaultBook) -> None:
        self.book = book

    def get(self, fault_id: str = "") -> None:
        if fault_id:
            raise web.HTTPError(405)
        self.finish(self._listing())

    def post(self, fault_id: str = "") -> None:
        if fault_id:
            raise web.HTTPError(405)
        try:
            wanted = json.loads(self.request.body)
            if not isinstance(wanted, dict):
                raise InvalidFaultError("the body must be a JSON object")
            fault = self.book.add(wanted.pop("kind", ""), **wanted)
        except (InvalidFaultError, json.JSONDecodeError, UnicodeDecodeError) as problem:
            self.set_status(400)
            self.finish({"error": str(problem)})
            return
        self.set_status(201)
        self.finish(dataclasses.asdict(fault))

    def delete(self, fault_id: str = "") -> None:
        if not fault_id:
            self.book.clear()
        elif not self.book.remove(int(fault_id)):
            raise web.HTTPError(404)
        self.finish(self._listing())

    def _listing(self) -> dict[str, Any]:
        return {"faults": [dataclasses.asdict(fault) for fault in self.book.listing()], "fired": self.book.fired}


def control_routes(book: FaultBook) -> list[URLSpec]:
    """The routes a twin adds to its application."""
    return [URLSpec(r"/_sandbox/faults(?:/([0-9]+))?", FaultControl, {"book": book})]
