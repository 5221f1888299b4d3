"""One account's connection to Telegram: open, ask, close; cut from any thread.

Telethon's own reconnecting is off: a connection that was lost is opened anew by its owner, who checks first that the
account is still his, and catches up from what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from telethon import functions, types
from telethon.network.connection import ConnectionTcpFull
from telethon.sessions import StringSession

from switchboard import __version__
from switchboard.clients.telegram import errors
from switchboard.clients.telegram.data_centre import NUMBER, DataCentre
from switchboard.clients.telegram.updates import Client
from switchboard.domain.telegram.sessions import Application, is_at_home
from switchboard.domain.telegram.states import Reason

CONNECT_TIMEOUT_S = 20.0
CALL_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0
DEVICE = "Switchboard"


@dataclass(frozen=True, slots=True)
class Me:
    """Whose session it is; `phone` with its plus, None for a bot."""

    id: int
    name: str
    username: str | None
    phone: str | None
    is_bot: bool


class Connection:
    """A connection under one session string ("" makes a new session). It belongs to the loop that opens it.

    `signing_in` is for sessions that nobody signed in yet: no updates, and the number is followed to its data centre. A session
    of another Telegram than the one to be connected to (the sandbox's against the real one) is a SessionLostError at once.

    Everything but `sever` and `session` must be awaited on that loop. Errors are those of switchboard.clients.telegram.errors.
    """

    def __init__(
        self, application: Application, session: str, data_centre: DataCentre | None, *, signing_in: bool = False
    ) -> None:
        self._line = _Line()
        stored = read_session(session)
        own_host = "" if data_centre is None else data_centre.host
        if session and not is_at_home(stored.server_address, own_host):
            raise errors.SessionLostError(Reason.OTHER_TELEGRAM)
        if data_centre is not None:
            stored.set_dc(NUMBER, data_centre.host, data_centre.port)
        self.client = Client(
            stored,
            application.api_id,
            application.api_hash,
            connection=self._line.connection_class(),
            use_ipv6=":" in (stored.server_address or ""),
            timeout=10,
            connection_retries=1,
            retry_delay=1,
            auto_reconnect=False,
            request_retries=3 if signing_in else 1,  # a number lives in one data centre; the way there takes a try
            raise_last_call_error=True,
            flood_sleep_threshold=0,  # it would sleep inside the call
            sequential_updates=True,
            receive_updates=not signing_in,
            device_model=DEVICE,
            system_version="1.0",
            app_version=__version__,
            base_logger=_discreet,
        )

    @property
    def session(self) -> str:
        """The session as a string; '' before the first connection."""
        return str(StringSession.save(self.client.session))

    async def connect(self) -> None:
        """Open the connection; a session that nobody signed in yet connects too."""
        try:
            await self._bounded(self.client.connect(), CONNECT_TIMEOUT_S)
        except BaseException as error:
            await self.close()
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            raise errors.translate(error, method="the connection", effect=False) from None

    async def me(self) -> Me:
        """Whose session it is. SessionLostError says why it is nobody's."""
        found = await self.call(functions.users.GetUsersRequest([types.InputUserSelf()]))
        if not found:
            raise errors.SessionLostError(Reason.AUTH_KEY_UNREGISTERED)
        return as_me(found[0])

    async def call(self, request: Any, *, effect: bool = False, timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """Telegram's answer to a raw request. `effect` makes a lost answer UncertainError."""
        try:
            return await self._bounded(self.client(request), timeout_s)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            if not isinstance(error, (*errors.LOST, Exception)):
                raise
            raise errors.translate(error, method=_method(request), effect=effect) from None

    async def log_out(self) -> None:
        """End the session at Telegram; its key is of no use afterwards."""
        await self.call(functions.auth.LogOutRequest(), effect=True)

    async def wait_lost(self) -> None:
        """Return when the connection is gone, by whomever."""
        with contextlib.suppress(*errors.LOST, Exception):
            await self.client.disconnected
        if _is_cancelled():
            raise asyncio.CancelledError

    async def close(self) -> None:
        """Close it; harmless when it is closed."""
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.shield(self.client.disconnect()), CLOSE_TIMEOUT_S)
        self.sever()
        ended = self.client.disconnected
        if ended.done() and not ended.cancelled():
            ended.exception()  # it was asked for, so asyncio need not complain of it

    def sever(self) -> None:
        """Cut the line at once, from any thread, whatever the loop is doing; nothing more leaves this process on it."""
        self._line.cut()

    @staticmethod
    async def _bounded(work: Awaitable[Any], timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            return await work


def read_session(text: str) -> StringSession:
    """The session of a string as Telethon prints them; SessionLostError for anything else."""
    try:
        return StringSession(text)
    except Exception:  # noqa: BLE001  it raises whatever its decoding meets
        raise errors.SessionLostError(Reason.SESSION_UNREADABLE) from None


def as_me(user: Any) -> Me:
    """The account of Telegram's own description of it."""
    name = " ".join(part for part in (user.first_name, user.last_name) if part)
    phone = f"+{user.phone}" if user.phone else None
    return Me(id=int(user.id), name=name, username=user.username, phone=phone, is_bot=bool(user.bot))


class _Line:
    """The socket of a client that is connected, where another thread can reach it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cut = False
        self._socket: Any = None

    def connection_class(self) -> type[ConnectionTcpFull]:
        line = self

        class Connection(ConnectionTcpFull):  # type: ignore[misc]
            async def _connect(self, timeout: float | None = None, ssl: Any = None) -> None:
                await super()._connect(timeout=timeout, ssl=ssl)
                line.opened(self._writer.get_extra_info("socket"))

        return Connection

    def opened(self, opened: Any) -> None:
        with self._lock:
            self._socket = opened
            if self._cut:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self._cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _DiscreetLogger(logging.Logger):
    """Telethon's warnings as debug lines, without what it fills in: on some errors that is the whole request.

    What it raises, we say ourselves.
    """

    def getChild(self, suffix: str) -> _DiscreetLogger:  # noqa: N802  the library's name
        return self

    def makeRecord(self, name: str, level: int, fn: str, lno: int, msg: object, *args: Any, **more: Any) -> Any:  # noqa: N802
        return super().makeRecord(name, min(level, logging.DEBUG), fn, lno, msg, (), None)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802
        return level >= logging.WARNING and logging.getLogger().isEnabledFor(logging.DEBUG)


_discreet = _DiscreetLogger("telethon")
_discreet.parent = logging.getLogger()


def _method(request: Any) -> str:
    """`messages.sendMessage` for SendMessageRequest of telethon.tl.functions.messages."""
    kind = type(request)
    group = kind.__module__.rpartition(".")[2]
    name = kind.__name__.removesuffix("Request")
    name = name[:1].lower() + name[1:]
    return name if group == "functions" else f"{group}.{name}"


def _is_cancelled() -> bool:
    """Whether it is we who are cancelled: Telethon cancels the calls under way when a connection is closed."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
