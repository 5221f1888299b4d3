"""One kept-alive HTTP/1.1 connection that says of every failure whether the request can have reached the server.

The standard library's http.client is enough for a server that the operator named, and only with the socket in our hands is
"no byte has left" a fact instead of a guess from an exception. (What `requests` sends through is not settled either: the
caldav library brings urllib3-future, which takes the place of urllib3 in the whole process.) Nothing is taken from the
environment: no proxy, no .netrc. Redirects are answers like any other.
"""

from __future__ import annotations

import io
import selectors
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import cast
from urllib.parse import urlsplit

import certifi

from switchboard.deadlines import cap_timeout_s

IDLE_LIMIT_S = 30.0  # below the idle time-outs of usual proxies (55 s and more), some of which drop without a word


class NotConnectedError(Exception):
    """There is no connection: nothing of the request has left. The message says why, without the address."""


class AnswerLostError(Exception):
    """The request began to leave and no whole answer came: it may have taken effect. The message says why."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer of any status; names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class KeptConnection:
    """A connection to the server of `url` that is kept between requests; for one thread.

    It is made anew when the server closed it meanwhile, and when it was idle for longer than 30 s: then nothing has left yet,
    so a restarted server costs no request its certainty.
    """

    def __init__(self, url: str, *, connect_timeout_s: float, answer_timeout_s: float) -> None:
        self._wire: _Wire | None = None
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s

    def request(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer:
        """Send a request and return the whole answer.

        Connecting takes `connect_timeout_s` at most, the request with its whole answer `answer_timeout_s`; both less where the
        deadline of the work at hand is nearer. Raises NotConnectedError, AnswerLostError, and DeadlinePassedError before
        anything was sent.
        """
        wire = self._connected()
        wire.end_at = time.monotonic() + cap_timeout_s(self._answer_timeout_s)
        connection = HTTPConnection(self._host, self._port)
        connection.auto_open = 0
        connection.sock = cast("socket.socket", wire)
        try:
            connection.request(method, target, body=body, headers={"Host": self._authority, **headers})
            response = connection.getresponse()
            answer = HttpAnswer(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        except TimeoutError:
            self.close()
            raise AnswerLostError("no answer in time") from None
        except (OSError, HTTPException):
            self.close()
            raise AnswerLostError("the answer was lost") from None
        except BaseException:
            self.close()  # an answer that nobody read would be taken for that of the next request
            raise
        self._keep(wire, response)
        return answer

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        if self._wire is not None:
            self._wire.end()
            self._wire = None

    def __del__(self) -> None:
        if self._wire is not None:  # its thread or its owner ended
            self._wire.end()

    def _connected(self) -> _Wire:
        if self._wire is not None and (self._wire.idle_s() > IDLE_LIMIT_S or self._wire.is_readable()):
            self.close()
        if self._wire is None:
            self._wire = _Wire(self._connect())
        return self._wire

    def _connect(self) -> socket.socket:
        timeout_s = cap_timeout_s(self._connect_timeout_s)
        try:
            plain = socket.create_connection((self._host, self._port), timeout=timeout_s)
        except TimeoutError:
            raise NotConnectedError("no connection in time") from None
        except (OSError, UnicodeError):  # a name that cannot be written in DNS is a UnicodeError
            raise NotConnectedError("no connection") from None
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._tls:
            return plain
        try:
            return _tls_context().wrap_socket(plain, server_hostname=self._host)
        except ssl.SSLCertVerificationError:
            plain.close()
            raise NotConnectedError("its TLS certificate is not valid for it") from None
        except OSError:
            plain.close()
            raise NotConnectedError("no TLS connection") from None

    def _keep(self, wire: _Wire, response: HTTPResponse) -> None:
        if response.will_close:
            self.close()
        else:
            wire.used_at = time.monotonic()


class _Wire:
    """A socket of which every wait ends at `end_at`: a trickle of bytes would never meet the time-out of a silence."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self.end_at = 0.0
        self.used_at = time.monotonic()

    def idle_s(self) -> float:
        return time.monotonic() - self.used_at

    def is_readable(self) -> bool:
        """Whether something waits to be read: between two requests that is the server's farewell."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return bool(selector.select(0))

    def sendall(self, data: bytes) -> None:
        self._bound()
        self._socket.sendall(data)

    def receive_into(self, buffer: memoryview) -> int:
        self._bound()
        return self._socket.recv_into(buffer)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """For http.client, which closes after `Connection: close` while the answer is still to be read; see `end`."""

    def end(self) -> None:
        self._socket.close()

    def _bound(self) -> None:
        left_s = self.end_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._socket.settimeout(left_s)


class _Reader(io.RawIOBase):
    """What http.client reads an answer from."""

    def __init__(self, wire: _Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a BufferedReader passes nothing else
        return self._wire.receive_into(buffer)


@cache
def _tls_context() -> ssl.SSLContext:
    """Trusts what this machine trusts (SSL_CERT_FILE included), and the public authorities where it knows none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
