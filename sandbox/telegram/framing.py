"""Packets on the TCP line in every transport of core.telegram.org/mtproto/mtproto-transports that Telethon speaks.

The client chooses by its first bytes: full (length, number, CRC32: Telethon's default), abridged (0xef), intermediate
(0xee four times), and obfuscated (64 bytes that hold the AES-CTR keys and the name of the transport inside).
"""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

from telethon.crypto import AESModeCTR
from telethon.network.connection.tcpabridged import AbridgedPacketCodec
from telethon.network.connection.tcpfull import FullPacketCodec
from telethon.network.connection.tcpintermediate import IntermediatePacketCodec, RandomizedIntermediatePacketCodec

_ABRIDGED, _INTERMEDIATE, _PADDED = b"\xef", b"\xee" * 4, b"\xdd" * 4
_OBFUSCATED = {b"\xef" * 4: AbridgedPacketCodec, _INTERMEDIATE: IntermediatePacketCodec,
               _PADDED: RandomizedIntermediatePacketCodec}  # fmt: skip
MAX_PACKET_BYTES = 2_000_000


class BadFrameError(Exception):
    """The line holds no packet of a known transport: it is closed."""


class ByteReader(Protocol):
    async def readexactly(self, n: int, /) -> bytes: ...


class _PutBack:
    """A reader whose first bytes were looked at already."""

    def __init__(self, first: bytes, reader: ByteReader) -> None:
        self._first = first
        self._reader = reader

    async def readexactly(self, n: int, /) -> bytes:
        taken, self._first = self._first[:n], self._first[n:]
        return taken + (await self._reader.readexactly(n - len(taken)) if len(taken) < n else b"")


class _Deciphered:
    def __init__(self, reader: ByteReader, cipher: AESModeCTR) -> None:
        self._reader = reader
        self._cipher = cipher

    async def readexactly(self, n: int, /) -> bytes:
        return bytes(self._cipher.encrypt(await self._reader.readexactly(n)))  # CTR: one way is the other


class Line:
    """One TCP connection as packets of payload."""

    def __init__(self, reader: ByteReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._codec: FullPacketCodec | None = None
        self._cipher: AESModeCTR | None = None
        self._expected = 0

    @property
    def peer_address(self) -> str:
        name = self._writer.get_extra_info("peername")
        return str(name[0]) if name else ""

    async def read(self) -> bytes:
        """The next packet's payload; raises BadFrameError, IncompleteReadError at the end, ConnectionError."""
        if self._codec is None:
            await self._choose()
        if isinstance(self._codec, FullPacketCodec):
            return await self._read_full()
        return bytes(await self._codec.read_packet(self._reader))  # type: ignore[union-attr]  # chosen above

    async def _choose(self) -> None:
        first = await self._reader.readexactly(1)
        if first == _ABRIDGED:
            self._codec = AbridgedPacketCodec(None)
            return
        first += await self._reader.readexactly(3)
        if first == _INTERMEDIATE:
            self._codec = IntermediatePacketCodec(None)
            return
        first += await self._reader.readexactly(4)
        if first[4:] == bytes(4):  # full: the number of the first packet is 0
            self._reader = _PutBack(first, self._reader)
            self._codec = FullPacketCodec(None)
            return
        head = first + await self._reader.readexactly(56)
        backwards = head[55:7:-1]
        incoming, self._cipher = AESModeCTR(head[8:40], head[40:56]), AESModeCTR(backwards[:32], backwards[32:48])
        codec = _OBFUSCATED.get(bytes(incoming.encrypt(head))[56:60])
        if codec is None:
            raise BadFrameError("the first 64 bytes name no transport")
        self._reader = _Deciphered(self._reader, incoming)
        self._codec = codec(None)

    async def _read_full(self) -> bytes:
        """As Telethon's codec, and stricter: the packets must be numbered without a gap, as the server demands."""
        head = await self._reader.readexactly(8)
        length, number = struct.unpack("<ii", head)
        if not 12 < length <= MAX_PACKET_BYTES or number != self._expected:
            raise BadFrameError(f"a packet of {length} bytes numbered {number}, not {self._expected}")
        self._expected += 1
        rest = await self._reader.readexactly(length - 8)
        again = _PutBack(head + rest, self._reader)
        return bytes(await self._codec.read_packet(again))  # type: ignore[union-attr]  # checks the CRC32

    def write(self, payload: bytes) -> None:
        if self._codec is None or self._writer.is_closing():
            return
        packet = self._codec.encode_packet(payload)
        self._writer.write(bytes(self._cipher.encrypt(packet)) if self._cipher else packet)

    def refuse(self, code: int) -> None:
        """A transport error, four bytes: -404 for an unknown key (core.telegram.org/mtproto/mtproto-transports)."""
        self.write(struct.pack("<i", code))
        self.close()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        """Cut the line at once, what is not sent yet is lost."""
        transport = self._writer.transport
        transport.abort()
