"""The ASGI front of the WSGI application: whole bodies in, answers out, and no client that can hold a thread.

The server (granian) speaks ASGI with this front; Flask runs in a pool of threads behind it. Slow senders wait in the event
loop under a deadline (`routes.limits`); slow readers too, because an answer is taken from the application chunk by chunk and
the thread is free while a chunk is on its way. Each request gets its id, its line in the log and its place in the metrics here.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

import structlog

from routes import problems, request_ids
from routes.limits import BodyLimits, BodyReader, BodyRefusedError, Receive
from switchboard.logs import get_logger

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Environ = dict[str, Any]
Observe = Callable[[str, str, int, float], None]  # method, route template, status (0: no answer), seconds
Result = TypeVar("Result")

SEND_S = 30.0  # time a client has to take one part of an answer
SMALL_BYTES = 65_536
ROUTE_KEY = "switchboard.route"  # the application puts the template of the matched route there
UNMATCHED = "(none)"
_log = get_logger(__name__)


class WsgiApplication(Protocol):
    """A WSGI application (PEP 3333)."""

    def __call__(self, environ: Environ, start_response: Any, /) -> Iterable[bytes]: ...


class ResponseTooSlowError(Exception):
    """The client did not take a part of the answer within `SEND_S`; the connection is closed."""


class Front:
    """An ASGI application (HTTP only) that serves `application` with `threads` threads."""

    def __init__(
        self, application: WsgiApplication, *, limits: BodyLimits, threads: int, observe: Observe | None = None
    ) -> None:
        self._application = application
        self._observe = observe or _no_observer
        self._bodies = BodyReader(limits)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="web")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request; only `http` scopes are known."""
        if scope["type"] != "http":
            raise RuntimeError(f"this front serves http, not {scope['type']}")
        started = time.perf_counter()
        headers = _headers(scope)
        request_id = request_ids.accept_or_make(headers.get("x-request-id"))
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            environ: Environ = {}
            status = 0
            try:
                body = await self._bodies.read(receive, headers)
                environ = _environ(scope, headers, body, request_id)
                status = await self._run(environ, send)
            except BodyRefusedError as refusal:
                status = refusal.status
                await _refuse(refusal, request_id, send)
            except ResponseTooSlowError:
                _log.info("answer abandoned", waited_s=SEND_S)
            finally:
                seconds = time.perf_counter() - started
                route = environ.get(ROUTE_KEY, UNMATCHED)
                self._observe(scope["method"], route, status, seconds)
                _log.info(
                    "request",
                    method=scope["method"],
                    path=scope["path"] if route == UNMATCHED else route,
                    status=status,
                    ms=round(seconds * 1000, 1),
                    client=_client_address(scope),
                )

    async def _run(self, environ: Environ, send: Send) -> int:
        """Call the application in a thread and pass its answer on; return its status."""
        answer = await self._in_thread(lambda: _Answer(self._application, environ))
        try:
            await _send_in_time(
                send, {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
            )
            while (chunk := answer.ready or await self._in_thread(answer.next_chunk)) is not None:
                answer.ready = None
                await _send_in_time(
                    send, {"type": "http.response.body", "body": chunk, "more_body": not answer.complete}
                )
                if answer.complete:
                    return answer.status
            await _send_in_time(send, {"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            if not answer.complete:
                await self._in_thread(answer.close)
        return answer.status

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._threads, context.run, work)


class _Answer:
    """What the application answered: status and headers at once, the body in `ready` when it is one list, else in chunks."""

    def __init__(self, application: WsgiApplication, environ: Environ) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self.ready: bytes | None = None
        self._body = application(environ, self._start)
        if self.status == 0:  # an application may call start_response as late as its first chunk
            raise RuntimeError("the application gave a body before its status")
        self._chunks: Iterator[bytes] = iter(self._body)
        if isinstance(self._body, (list, tuple)) or environ["REQUEST_METHOD"] == "HEAD" or self._is_short():
            self.ready = b"".join(self._chunks)
            self.close()

    def next_chunk(self) -> bytes | None:
        """The next part of the body, None at its end."""
        return next(self._chunks, None)

    def close(self) -> None:
        """Tell the application that its body was used (PEP 3333)."""
        self.complete = True
        close = getattr(self._body, "close", None)
        if close is not None:
            close()

    def _start(
        self, status: str, headers: list[tuple[str, str]], _exc_info: object = None
    ) -> Callable[[bytes], object]:
        self.status = int(status.split(" ", 1)[0])
        self.headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return _no_write

    def _is_short(self) -> bool:
        """Whether the body's length is known and small: it is then gathered in the same turn of the thread."""
        length = dict(self.headers).get(b"content-length")
        return length is not None and int(length) <= SMALL_BYTES


def _no_observer(_method: str, _route: str, _status: int, _seconds: float) -> None:
    """Nobody counts."""


def _no_write(_data: bytes) -> object:
    raise RuntimeError("the write() of PEP 3333 is not offered; return the body")


async def _send_in_time(send: Send, message: MutableMapping[str, Any]) -> None:
    try:
        async with asyncio.timeout(SEND_S):
            await send(message)
    except TimeoutError:
        raise ResponseTooSlowError from None


async def _refuse(refusal: BodyRefusedError, request_id: str, send: Send) -> None:
    body = problems.document(refusal.status, refusal.detail, instance=request_id)
    headers = [
        (b"content-type", problems.MEDIA_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (request_ids.HEADER.lower().encode(), request_id.encode()),
    ]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    await _send_in_time(send, {"type": "http.response.start", "status": refusal.status, "headers": headers})
    await _send_in_time(send, {"type": "http.response.body", "body": body, "more_body": False})


def _headers(scope: MutableMapping[str, Any]) -> dict[str, str]:
    """Headers by lower-case name, repeated ones joined. Names with `_` are dropped: in WSGI they pass for the ones with `-`."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if "_" in name:
            continue
        separator = "; " if name == "cookie" else ","
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined


def _environ(scope: MutableMapping[str, Any], headers: dict[str, str], body: bytes, request_id: str) -> Environ:
    server = scope.get("server") or ("localhost", 80)
    environ: Environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(scope["raw_path"]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": _client_address(scope),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        request_ids.ENVIRON_KEY: request_id,
    }
    for name, value in headers.items():
        if name == "content-type":
            environ["CONTENT_TYPE"] = value
        elif name not in ("content-length", "transfer-encoding"):
            environ["HTTP_" + name.upper().replace("-", "_")] = value
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _client_address(scope: MutableMapping[str, Any]) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
