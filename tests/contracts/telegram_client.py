"""The real Telethon client against the loopback Telegram, and a raw one for what Telethon never sends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any

from telethon import TelegramClient, events
from telethon.crypto import rsa
from telethon.network.connection.tcpfull import FullPacketCodec
from telethon.network.mtprotostate import MTProtoState
from telethon.sessions import StringSession
from telethon.tl import functions, types
from telethon.tl.core import MessageContainer

from sandbox.telegram import API_HASH, API_ID, TelegramTwin
from sandbox.telegram.handshake import ServerKey

WAIT_S = 30.0  # how long a test waits for what must come
KEY = ServerKey.make()  # one for all twins of a run: making one takes a while
rsa.add_key(KEY.public_pem, old=False)


class Clock:
    """The twin's clock, ahead of the real one as a test wishes."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Heard:
    """The events of one kind that a client got, in order."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()

    async def take(self, event: Any) -> None:
        self._queue.put_nowait(event)

    async def next(self) -> Any:
        async with asyncio.timeout(WAIT_S):
            return await self._queue.get()

    def rest(self) -> list[Any]:
        """What is there already."""
        return [self._queue.get_nowait() for _ in range(self._queue.qsize())]


def new_client(session: StringSession, **options: Any) -> TelegramClient:
    """The client every test uses: no waits, one attempt."""
    given: dict[str, Any] = {
        "api_id": API_ID,
        "api_hash": API_HASH,
        "flood_sleep_threshold": 0,
        "connection_retries": 2,
        "retry_delay": 0.05,
        "request_retries": 0,  # one attempt: else Telethon repeats what got a 500, two seconds later
        "raise_last_call_error": True,
    }
    return TelegramClient(session, **{**given, **options})


class Clients:
    """The clients of one test; all are disconnected at its end."""

    def __init__(self, twin: TelegramTwin) -> None:
        self.twin = twin
        self._open: list[TelegramClient] = []

    def make(self, session: str = "", **options: Any) -> TelegramClient:
        """A client with a stored session, or one that has to exchange keys first; not connected."""
        stored = StringSession(session)
        if not session:
            stored.set_dc(self.twin.dc_id, "127.0.0.1", self.twin.port)
        client = new_client(stored, **options)
        self._open.append(client)
        return client

    async def connect(self, session: str = "", **options: Any) -> TelegramClient:
        client = self.make(session, **options)
        await client.connect()
        return client

    async def of(self, name: Any, **options: Any) -> TelegramClient:
        """A connected client of one of the twin's people."""
        return await self.connect(self.twin.session_string(name), **options)

    async def close(self) -> None:
        for client in self._open:
            with contextlib.suppress(Exception):  # what ended the line; unseen it would be logged at some later time
                await client.disconnect()
            with contextlib.suppress(Exception):
                await client._sender._disconnected


def hear(client: TelegramClient, kind: Any = None) -> Heard:
    """Listen for events; by default for messages of others."""
    heard = Heard()
    client.add_event_handler(heard.take, kind or events.NewMessage(incoming=True))
    return heard


async def until(condition: Callable[[], Any]) -> None:
    """Wait for something another thread or another client does."""
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


def played(scene: Callable[[Clients], Awaitable[None]]) -> Callable[[TelegramTwin], None]:
    """A test out of a coroutine over `Clients`."""

    def test(telegram_twin: TelegramTwin) -> None:
        async def play() -> None:
            clients = Clients(telegram_twin)
            try:
                await scene(clients)
            finally:
                await clients.close()

        asyncio.run(play())

    test.__name__, test.__doc__ = scene.__name__, scene.__doc__
    return test


class Raw:
    """One encrypted line without Telethon's care: any number, any salt, any bytes."""

    def __init__(self, session: str, port: int) -> None:
        self.key = StringSession(session).auth_key
        self.state = MTProtoState(self.key, loggers=_NO_LOGS)
        self._port = port
        self._last = 0
        self._codec = FullPacketCodec(None)

    async def __aenter__(self) -> Raw:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_failure: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    def new_id(self, *, ahead_s: float = 0.0) -> int:
        number = int((time.time() + ahead_s) * 2**32) & ~3
        if not ahead_s:
            number = self._last = max(self._last + 4, number)
        return number

    def send(self, body: bytes, *, msg_id: int = 0, seq_no: int = 1) -> int:
        number = msg_id or self.new_id()
        message = struct.pack("<qii", number, seq_no, len(body)) + body
        self.send_packet(self.state.encrypt_message_data(message))
        return number

    def send_packet(self, payload: bytes) -> None:
        self._writer.write(self._codec.encode_packet(payload))

    async def packet(self) -> bytes:
        async with asyncio.timeout(WAIT_S):
            return bytes(await self._codec.read_packet(self._reader))

    async def next(self) -> Any:
        """The next object the server sends."""
        message = self.state.decrypt_message_data(await self.packet())
        return message.obj.messages[0].obj if isinstance(message.obj, MessageContainer) else message.obj

    async def next_of(self, kind: type) -> Any:
        while True:
            found = await self.next()
            if isinstance(found, kind):
                return found

    async def salted(self) -> None:
        """Learn the right salt, as a client does with its first message."""
        self.send(bytes(functions.PingRequest(1)))
        self.state.salt = (await self.next_of(types.BadServerSalt)).new_server_salt

    async def ended(self) -> bool:
        """Whether the server closes the line."""
        async with asyncio.timeout(WAIT_S):
            while await self._reader.read(4096):
                pass
        return True


class _NoLogs(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return logging.getLogger("raw")


_NO_LOGS = _NoLogs()
