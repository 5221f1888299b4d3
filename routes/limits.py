"""Reading a request's body whole, before any thread works on it: bounded in bytes, in time and over all requests.

A WSGI server that streams (granian does, without a time-out) lets every half-sent body hold a thread. Here the event loop
waits instead, and a thread begins only when the last byte has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

DISCARD_FACTOR = (
    8  # a client that is told 413 first gets this many times the limit read and dropped: it reads no answer earlier
)
DISCARD_S = 2.0


class BodyRefusedError(Exception):
    """The body is not read any further; `status` is the answer."""

    def __init__(self, status: int, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """`body_bytes` of one request, `read_s` from its headers to its last byte, `held_bytes` of all bodies being read."""

    body_bytes: int
    read_s: float
    held_bytes: int


class BodyReader:
    """Reads bodies of one process. Used from one event loop, so its counter needs no lock."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, receive: Receive, headers: Mapping[str, str]) -> bytes:
        """The whole body of a request with these headers (lower-case names); BodyRefusedError (400 .. 503) otherwise.

        A body without a length is welcome in chunks, with the same limit: it is counted as it comes, never cut.
        """
        content_length, transfer_encoding = headers.get("content-length"), headers.get("transfer-encoding")
        if transfer_encoding is None and content_length is None:
            return b""
        if transfer_encoding is not None and transfer_encoding.strip().lower() != "chunked":
            raise BodyRefusedError(
                411, "Send the body with a Content-Length, or in chunks without another transfer coding."
            )
        declared = _declared(content_length) if transfer_encoding is None else 0
        if declared > self._limits.body_bytes:
            if "expect" not in headers:  # with Expect: 100-continue nothing is on its way, and reading would ask for it
                await self._discard(receive)
            raise self._too_large()
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.read_s):
                await self._collect(receive, body)
        except TimeoutError:
            detail = f"The request body was not complete after {self._limits.read_s:g} seconds."
            raise BodyRefusedError(408, detail) from None
        finally:
            self._held -= len(body)
        if transfer_encoding is None and len(body) != declared:
            raise BodyRefusedError(400, "The body is shorter or longer than its Content-Length.")
        return bytes(body)

    async def _collect(self, receive: Receive, body: bytearray) -> None:
        more = True
        while more:
            chunk, more = await _next_chunk(receive)
            if len(body) + len(chunk) > self._limits.body_bytes:
                if more:
                    await self._discard(receive)
                raise self._too_large()
            if self._held + len(chunk) > self._limits.held_bytes:
                raise BodyRefusedError(503, "Too many request bodies are being read; try again.", retry_after_s=5)
            body += chunk
            self._held += len(chunk)

    async def _discard(self, receive: Receive) -> None:
        """Read on for a moment and drop: a client that is still sending would see a reset connection, not the answer."""
        rest = self._limits.body_bytes * DISCARD_FACTOR
        try:
            async with asyncio.timeout(DISCARD_S):
                more = True
                while more and rest > 0:
                    chunk, more = await _next_chunk(receive)
                    rest -= len(chunk)
        except (TimeoutError, BodyRefusedError):
            return

    def _too_large(self) -> BodyRefusedError:
        return BodyRefusedError(413, f"The body is larger than the {self._limits.body_bytes} bytes accepted here.")


async def _next_chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise BodyRefusedError(400, "The body ended before it was complete, or its chunks are not well formed.")
    return message.get("body", b""), message.get("more_body", False)


def _declared(content_length: str | None) -> int:
    if content_length is None or not (content_length.isascii() and content_length.isdigit()):
        raise BodyRefusedError(400, "Content-Length is not a number.")
    return int(content_length)
