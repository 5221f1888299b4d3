"""Requests to one server over `requests`, with an honest answer to one question: can the request have reached it?

A failure before the connection stood is known to have had no effect; every other one may have had it, and is said to be so even
where that is unlikely (a TLS line that broke). Nothing is taken from the environment but the authorities to trust: no proxy,
no .netrc. Redirects are answers like any other, so the token goes nowhere else.
"""

from __future__ import annotations

import os
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError

from switchboard.deadlines import cap_timeout_s

IDLE_LIMIT_S = 30.0  # below the idle time-outs of usual proxies (55 s and more), some of which drop without a word
PIECE_BYTES = 65_536
TRUST_VARIABLE = "SSL_CERT_FILE"  # authorities of this machine, for a server with a certificate of its own


class NotConnectedError(Exception):
    """There is no connection: nothing of the request has left. The message says why, without the address."""


class AnswerLostError(Exception):
    """The request may have left and no whole answer came: it may have taken effect. The message says why."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A whole answer of any status; names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class KeptConnection:
    """A connection to the server of `url` that is kept between requests; for one thread.

    It is made anew when the server closed it meanwhile, and when it was idle for longer than 30 s.
    """

    def __init__(self, url: str, *, connect_timeout_s: float, answer_timeout_s: float) -> None:
        self._session = requests.Session()
        self._url = url
        self._connect_timeout_s = connect_timeout_s
        self._answer_timeout_s = answer_timeout_s
        self._used_at = time.monotonic()
        self._session.trust_env = False
        self._session.verify = os.environ.get(TRUST_VARIABLE) or True
        self._session.headers.clear()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_connections=1, pool_maxsize=1, max_retries=0))

    def request(self, method: str, target: str, *, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer:
        """Send a request for the path `target` and return the whole answer.

        Connecting takes `connect_timeout_s` at most, each silence and the whole answer `answer_timeout_s`; both less where the
        deadline of the work at hand is nearer. Raises NotConnectedError, AnswerLostError, and DeadlinePassedError before
        anything was sent.
        """
        if time.monotonic() - self._used_at > IDLE_LIMIT_S:
            self.close()
        answer_s = cap_timeout_s(self._answer_timeout_s)
        end_at = time.monotonic() + answer_s
        try:
            with self._session.request(
                method,
                f"{self._url}{target}",
                headers=dict(headers),
                data=body,
                timeout=(cap_timeout_s(self._connect_timeout_s), answer_s),
                allow_redirects=False,
                stream=True,
            ) as response:
                content = b"".join(_before(end_at, response.iter_content(PIECE_BYTES)))
        except (requests.RequestException, HTTPError, OSError, UnicodeError) as error:
            self.close()
            raise _translated(error) from None
        self._used_at = time.monotonic()
        return HttpAnswer(
            response.status_code, {name.lower(): value for name, value in response.headers.items()}, content
        )

    def close(self) -> None:
        """End the connection; the next request makes a new one."""
        self._session.close()

    def __del__(self) -> None:
        if not sys.is_finalizing():  # at the end of the process the system closes it
            self._session.close()  # its thread or its owner ended


def _before(end_at: float, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces, as long as they come in time: a trickle of bytes would never meet the time-out of a silence."""
    for piece in pieces:
        if time.monotonic() >= end_at:
            raise TimeoutError
        yield piece


def _translated(error: Exception) -> NotConnectedError | AnswerLostError:
    causes = list(_chain(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return NotConnectedError("its TLS certificate is not valid for it")
    if any(isinstance(cause, (requests.ConnectTimeout, ConnectTimeoutError)) for cause in causes):
        late = not any(isinstance(cause, NewConnectionError) for cause in causes)
        return NotConnectedError("no connection in time" if late else "no connection")
    if any(isinstance(cause, (LocationParseError, requests.exceptions.InvalidURL, UnicodeError)) for cause in causes):
        return NotConnectedError("no connection")  # a name that cannot be written in DNS
    if any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return AnswerLostError("no answer in time")
    return AnswerLostError("the answer was lost")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and what requests and urllib3 keep of the first cause in `args` and `reason`."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, BaseException) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        waiting.extend([found.__cause__, found.__context__, getattr(found, "reason", None), *found.args])
