"""HTTP to servers that users name: guarded addresses, a deadline for the whole call, a limit on the answer's size.

niquests is the transport of the caldav library. What it would do by itself is switched off: redirects to other hosts,
proxies and .netrc of the environment, HTTP/3 (an Alt-Svc header names another host), certificate revocation look-ups (the
certificate names the host), retries.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

import niquests
from niquests.packages.urllib3.contrib.resolver.system import SystemResolver  # type: ignore[import-not-found]

from switchboard.clients.address_guard import AddressGuard, AddressInfo
from switchboard.deadlines import DeadlinePassedError, cap_timeout_s
from switchboard.errors import RemoteUnavailableError, SwitchboardError

CHUNK_BYTES = 16_384  # a chunk of gzip grows at most about a thousandfold
CONNECT_TIMEOUT_S = 10.0
MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class AnswerTooLargeError(RemoteUnavailableError):
    """The answer is larger than the limit; reading stopped there."""


class _OverdueError(Exception):
    """The time of a call is over and its connections were shut."""


class RedirectRefusedError(SwitchboardError):
    """The server sends us to another host; `host` is its name."""

    def __init__(self, host: str) -> None:
        super().__init__(f"The server redirects to another host ({host})")
        self.host = host


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, with the names that the caldav library reads."""

    status_code: int
    reason: str
    headers: Mapping[str, str]
    content: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as text; bytes that are no UTF-8 are replaced."""
        return self.content.decode("utf-8", errors="replace")


class HostGate(Protocol):
    """switchboard.clients.host_limits.HostLimits."""

    def enter(self, url: str) -> None: ...

    def rest(self, url: str, seconds: float) -> None: ...


class GuardedHttp:
    """A session for one server; not for use by two threads at once. `requests` and `received_bytes` count what was used.

    `timeout_s` bounds each silence, `deadline_s` a whole call with its redirects, `limit_bytes` an answer after decompression.
    Each request takes its turn at `gate`, where there is one.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        timeout_s: float,
        deadline_s: float,
        limit_bytes: int,
        gate: HostGate | None = None,
    ) -> None:
        self._guard = guard
        self._gate = gate
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._limit_bytes = limit_bytes
        self._resolver = _GuardedResolver(guard)
        self._session = niquests.Session(
            resolver=self._resolver,
            retries=0,
            disable_http2=True,
            disable_http3=True,
            keepalive_delay=None,
            revocation_configuration=None,
        )
        self._session.trust_env = False
        self.requests = 0
        self.received_bytes = 0

    def close(self) -> None:
        """End every connection."""
        self._session.close()
        self._resolver.forget()

    def request(
        self,
        method: str,
        url: str,
        *,
        data: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        **_of_the_library: object,
    ) -> Answer:
        """Send a request; redirects are followed within the same scheme, host and port alone.

        Raises InvalidInputError for a refused address, RemoteUnavailableError past `deadline_s`, DeadlinePassedError past
        the deadline of the work at hand, AnswerTooLargeError, RedirectRefusedError, what the gate raises, and the OSErrors of
        niquests.
        """
        deadline_s = cap_timeout_s(self._deadline_s)
        deadline = time.monotonic() + deadline_s
        for _ in range(MAX_REDIRECTS + 1):
            self._guard.check(url)
            if self._gate is not None:
                self._gate.enter(url)
            try:
                answer = self._once(method, url, deadline, data=data, headers=headers, auth=auth)
            except _OverdueError:
                if deadline_s < self._deadline_s:
                    raise DeadlinePassedError("the time of this work was over before the server had answered") from None
                raise RemoteUnavailableError(
                    f"{method}: the server took longer than {deadline_s:.0f} seconds"
                ) from None
            target = answer.headers.get("Location") if answer.status_code in REDIRECTS else None
            if not target:
                return answer
            target = urljoin(url, target)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise RedirectRefusedError(urlsplit(target).hostname or "?")
            url = target
        raise RemoteUnavailableError(f"{method}: the server redirects without end")

    def _once(self, method: str, url: str, deadline: float, *, data: Any, headers: Any, auth: Any) -> Answer:
        with self._cut_off_after(deadline - time.monotonic()):
            self.requests += 1
            response = self._session.request(
                method,
                url,
                data=data,
                headers={**(headers or {}), "Accept-Encoding": "gzip"},
                auth=auth,
                timeout=(min(CONNECT_TIMEOUT_S, self._timeout_s), self._timeout_s),
                allow_redirects=False,
                stream=True,
            )
            try:
                return Answer(
                    status_code=response.status_code or 0,
                    reason=response.reason or "",
                    headers=response.headers,
                    content=self._read(response, method),
                    url=url,
                )
            finally:
                response.close()

    def _read(self, response: niquests.Response, method: str) -> bytes:
        encoding = str(response.headers.get("Content-Encoding", "identity")).lower()
        if encoding not in ("identity", "gzip", ""):
            raise RemoteUnavailableError(f"{method}: the answer is packed in a way that was not asked for")
        content = bytearray()
        for chunk in response.iter_content(CHUNK_BYTES):
            content += chunk
            self.received_bytes += len(chunk)
            if len(content) > self._limit_bytes:
                raise AnswerTooLargeError(f"{method}: the answer is larger than {self._limit_bytes} bytes")
        return bytes(content)

    @contextmanager
    def _cut_off_after(self, left_s: float) -> Iterator[None]:
        """Shut the connections down when the time is over: a trickle of bytes never meets the time-out of a silence."""
        self._resolver.reopen()
        timer = threading.Timer(max(left_s, 0.0), self._resolver.shut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except OSError:
            if self._resolver.is_shut:
                raise _OverdueError from None
            raise
        finally:
            timer.cancel()


class _GuardedResolver(SystemResolver):  # type: ignore[misc]  # urllib3-future comes without a stable import name to type it by
    """Resolves through the guard, so that the address that was judged is the address that is connected to."""

    def __init__(self, guard: AddressGuard) -> None:
        super().__init__()
        self._guard = guard
        self._watched: list[socket.socket] = []
        self._watching = threading.Lock()
        self.is_shut = False

    def getaddrinfo(self, host: Any, port: Any, *_args: object, **_kwargs: object) -> list[AddressInfo]:
        name = host.decode("ascii") if isinstance(host, bytes) else str(host)
        return self._guard.resolve(name.strip("[]"), int(port))

    def create_connection(self, *args: Any, **kwargs: Any) -> socket.socket:
        connection: socket.socket = super().create_connection(*args, **kwargs)
        with self._watching:
            if self.is_shut:
                connection.close()
                raise TimeoutError("the time of the call is over")
            self._watched.append(connection.dup())  # a handle of our own: TLS takes the socket object over
        return connection

    def recycle(self) -> _GuardedResolver:
        return self

    def reopen(self) -> None:
        with self._watching:
            self.is_shut = False

    def shut(self) -> None:
        """Make every read and write on the connections end at once, and refuse new ones until `reopen`."""
        with self._watching:
            self.is_shut = True
            for connection in self._watched:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # it is closed already
                    continue

    def forget(self) -> None:
        with self._watching:
            for connection in self._watched:
                connection.close()
            self._watched.clear()
