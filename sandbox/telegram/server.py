"""The listening server: keys, sessions, who is connected, and where updates go."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import time
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from sandbox.telegram.envelope import serialise
from sandbox.telegram.faults import FaultBook
from sandbox.telegram.files import FileStore
from sandbox.telegram.framing import Line
from sandbox.telegram.handshake import Dice, NewKey, ServerKey
from sandbox.telegram.model import AuthKey, Person, Tl
from sandbox.telegram.session import SALT_SLOT_S, Connection, Session
from sandbox.telegram.srp import Challenge
from sandbox.telegram.stage import Stage
from sandbox.telegram.world import World

if TYPE_CHECKING:
    from sandbox.telegram.requests import Requests

DC_ID = 2
SESSIONS_KEPT = 20_000


class Server:
    """Everything between the line and the world. One per twin, on one event loop."""

    def __init__(self, world: World, faults: FaultBook, key: ServerKey, files: FileStore) -> None:
        self.world = world
        self.faults = faults
        self.key = key
        self.files = files
        self.dice = Dice()
        self.dc_id = DC_ID
        self.port = 0
        self.connections: set[Connection] = set()
        self.accepted = 0
        self.actor = 0  # the account whose call is being served
        self.calls: Counter[str] = Counter()  # by method
        self.mistakes: list[Exception] = []  # of the twin itself
        self.unknown: Counter[str] = Counter()  # methods nobody wrote here
        self.challenges: dict[int, Challenge] = {}  # by key: only the newest question may be answered
        self.queries: dict[int, tuple[int, asyncio.Future[Tl]]] = {}  # pressed buttons: the bot, and its answer
        self.password_failures: Counter[int] = Counter()  # by account
        self.stage = Stage(world)
        self.requests: Requests
        self._sessions: OrderedDict[tuple[int, int], Session] = OrderedDict()
        self._listeners: dict[int, set[Connection]] = {}
        self._server: asyncio.Server | None = None

    # --- listening --------------------------------------------------------------------------------------------------

    async def start(self, port: int) -> None:
        """Listen on 127.0.0.1; port 0 takes a free one, which `port` then says."""
        listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._server = await asyncio.start_server(self._serve, sock=listener)
        self.port = listener.getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while self.connections:
                    await asyncio.sleep(0.005)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = Connection(self, Line(reader, writer))
        self.connections.add(connection)
        try:
            await connection.run()
        finally:
            self.connections.discard(connection)
            self.unsubscribe(connection)
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def cut_all(self, account: int = 0) -> int:
        """Cut the lines of one account, or all; returns how many."""
        lines = [one for one in self.connections if not account or (one.key and one.key.user_id == account)]
        for line in lines:
            line.cut()
        return len(lines)

    # --- keys, salts, sessions --------------------------------------------------------------------------------------

    def add_key(self, made: NewKey) -> AuthKey:
        number = hmac.digest(self.world.secret, made.key[:16], hashlib.sha256)
        key = AuthKey(made.id, made.key, self.world.now(), hash=int.from_bytes(number[:8], "little", signed=True))
        self.world.keys[key.id] = key
        self.world.record("key", key)
        return key

    def drop_key(self, key: AuthKey) -> None:
        """Forget a key: a client that uses it afterwards gets the transport error -404."""
        self.world.keys.pop(key.id, None)
        self.world.record("key", key)

    def salt(self, key: AuthKey, *, ahead: int = 0) -> int:
        slot = int(time.time()) // SALT_SLOT_S + ahead
        digest = hmac.digest(key.key[:32], f"{self.world.salt_epoch}:{slot}".encode(), hashlib.sha256)
        return int.from_bytes(digest[:8], "little", signed=True)

    def valid_salts(self, key: AuthKey) -> tuple[int, int]:
        return self.salt(key), self.salt(key, ahead=-1)

    def session(self, key: AuthKey, session_id: int) -> Session:
        """The session of that number, new or known from another line."""
        found = self._sessions.get((key.id, session_id))
        if found is not None:
            self._sessions.move_to_end((key.id, session_id))
            return found
        session = self._sessions[key.id, session_id] = Session(session_id, key)
        while len(self._sessions) > SESSIONS_KEPT:
            self._sessions.popitem(last=False)
        return session

    def drop_session(self, key: AuthKey, session_id: int) -> bool:
        return self._sessions.pop((key.id, session_id), None) is not None

    def end_session(self, key: AuthKey, refusal: str) -> None:
        """From now on every call with this key is refused with that error; its lines get no updates."""
        key.refusal = refusal
        self.world.record("key", key)
        for connection in self.connections:
            if connection.key is key:
                self.unsubscribe(connection)

    def keys_of(self, account: int) -> list[AuthKey]:
        return [key for key in self.world.keys.values() if key.user_id == account and not key.refusal]

    # --- updates ----------------------------------------------------------------------------------------------------

    def subscribe(self, connection: Connection, account: int) -> None:
        if connection.account != account:
            self.unsubscribe(connection)
            connection.account = account
        self._listeners.setdefault(account, set()).add(connection)

    def unsubscribe(self, connection: Connection) -> None:
        listeners = self._listeners.get(connection.account)
        if listeners is not None:
            listeners.discard(connection)
            if not listeners:
                del self._listeners[connection.account]
        connection.account = 0

    def online(self) -> list[int]:
        """The accounts with a line that takes updates."""
        return list(self._listeners)

    def flush(self, teller: Connection | None = None, told: int = 0) -> None:
        """Send what `stage` gathered; the line `teller` already has in its answer what concerns the account `told`."""
        for account, scene in self.stage.leave():
            listeners = self._listeners.get(account)
            if not listeners or not self.world.settings.pushes:
                continue
            body: bytes | None = None
            for connection in list(listeners):
                if (connection is teller and account == told) or self.faults.mutes(account):
                    continue
                body = body or serialise(scene.updates())
                connection.push(body)

    def tell(self, person: Person) -> None:
        """A person's profile changed: whoever sees them connected learns it (updateUserName)."""
        for account in self.online():
            if account != person.id and (
                person.id in self.world.people[account].contacts or self.world.share_group(account, person.id)
            ):
                self.stage.renamed(account, person)
