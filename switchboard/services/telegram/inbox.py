"""Receiving: what happens to an account is stored with how far the account stands, in one transaction under the fence.

What is stored waits as rows to be handled (switchboard.services.telegram.handling), so that an end at any point loses
nothing: before the commit the next connection fetches it again, and the unique key keeps what was stored from being stored
twice; after the commit it is a row.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from switchboard.clients.telegram.updates import Feed
from switchboard.db.engine import Database
from switchboard.db.repositories.telegram import database_now
from switchboard.db.repositories.telegram_inbox import InboxRepository
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.domain.telegram.facts import Batch, ChannelPosition, Position, ReadFact
from switchboard.domain.telegram.states import AccountKind
from switchboard.logs import get_logger
from switchboard.services.telegram.session import LiveAccount

POSITION_S = 5.0  # how long a position that tells nothing may stay unstored

_log = get_logger(__name__)


MarkRead = Callable[[Session, int, int, int], None]
"""Hears, inside the transaction, that the other side has read a chat: account, chat_id, the last message read."""


class Announcer:
    """Tells somebody, after a commit, which account has something to handle; never more than one telling of an account waits.

    It has a thread of its own, because a queue may take its time, and nothing rests on it: rows are looked for regularly.
    """

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._waiting: set[int] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="telegram-inbox")

    def __call__(self, account_id: int) -> None:
        """Tell it soon."""
        with self._lock:
            if account_id in self._waiting:
                return
            self._waiting.add(account_id)
        self._thread.submit(self._now, account_id)

    def _now(self, account_id: int) -> None:
        with self._lock:
            self._waiting.discard(account_id)
        try:
            self._tell(account_id)
        except Exception as error:  # noqa: BLE001  the outermost handler of this thread; the rows are found without it
            _log.warning("telegram inbox not announced", account_id=account_id, error=type(error).__name__)


class TelegramInbox:
    """Receives for the accounts of a gateway. `on_stored` hears of each account for which something new was stored."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        *,
        mark_read: MarkRead | None = None,
        position_s: float = POSITION_S,
    ) -> None:
        self._database = database
        self._position_s = position_s
        self._clock = clock
        self._mark_read = mark_read
        self._on_stored: Callable[[int], None] = lambda _account_id: None

    def announce_with(self, on_stored: Callable[[int], None]) -> None:
        """From now on tell this of accounts with something new to handle; it must not wait, as it runs on the loop."""
        self._on_stored = on_stored

    async def run(self, live: LiveAccount) -> None:
        """Catch up, then store what comes, until cancelled. An error ends the connection, and a new one catches up again."""
        position, channels, hashes = await asyncio.to_thread(self._read, live)
        feed = Feed(
            live.connection,
            is_bot=live.kind is AccountKind.BOT,
            position=position,
            channels=channels,
            hashes=hashes,
        )
        if position is not None:
            self._on_stored(live.account_id)  # an end between a commit and its telling left something
        unstored = _Unstored(lambda batch: asyncio.to_thread(self._store, live, batch), self._position_s)
        async with aclosing(feed.batches()) as batches, aclosing(unstored):
            async for batch in batches:
                if position is not None and not batch.tells:
                    unstored.keep(batch)
                    continue
                position = batch.position or position
                if await unstored.store(batch):
                    self._on_stored(live.account_id)

    def _read(self, live: LiveAccount) -> tuple[Position | None, dict[int, ChannelPosition], dict[int, int]]:
        with self._database.read() as session:
            position, channels = InboxRepository(session).positions(live.account_id)
            hashes = PeerRepository(session).hashes(live.account_id)
        if position is None:
            with self._database.write() as session:
                live.fence.hold(session)
                InboxRepository(session).forget_chats(live.account_id)
        return position, channels, hashes

    def _store(self, live: LiveAccount, batch: Batch) -> int:
        """How many rows are new. LeaseLostError where the account is not ours any more."""
        with self._database.write() as session:
            live.fence.hold(session)
            now = database_now(session, self._clock())
            inbox = InboxRepository(session)
            news = inbox.store(live.account_id, batch, now)
            PeerRepository(session).remember(live.account_id, batch.peers, now)
            if self._mark_read is not None:
                for fact in sorted(_read_by_them(batch), key=lambda fact: fact.chat_id):
                    self._mark_read(session, live.account_id, fact.chat_id, fact.max_id)
        return news


class _Unstored:
    """How far an account stands beyond what is stored: each message that it sends moves it, and a commit for each is too dear.

    It is stored with what is told next, else some seconds later. Until then a new connection begins a little earlier.
    """

    def __init__(self, store: Callable[[Batch], Awaitable[int]], wait_s: float) -> None:
        self._store = store
        self._wait_s = wait_s
        self._kept: Batch | None = None
        self._storing = asyncio.Lock()
        self._later: asyncio.Task[None] | None = None

    def keep(self, batch: Batch) -> None:
        """Store it later: a batch that tells nothing."""
        self._kept = batch
        if self._later is None or self._later.done():
            self._later = asyncio.create_task(self._store_later())

    async def store(self, batch: Batch) -> int:
        """Store a batch with the last position; how many rows are new."""
        async with self._storing:
            kept, self._kept = self._kept, None
            position = batch.position or (kept.position if kept is not None else None)
            return await self._store(replace(batch, position=position))

    async def aclose(self) -> None:
        """Store what is kept."""
        if self._later is not None:
            self._later.cancel()
            await asyncio.gather(self._later, return_exceptions=True)
        if self._kept is not None:
            await self.store(self._kept)

    async def _store_later(self) -> None:
        await asyncio.sleep(self._wait_s)
        try:
            if self._kept is not None:
                await self.store(self._kept)
        except Exception as error:  # noqa: BLE001  the outermost handler of this task; what comes next is stored with more
            _log.info("telegram position not stored", error=type(error).__name__)


def _read_by_them(batch: Batch) -> list[ReadFact]:
    return [fact for fact in batch.facts if isinstance(fact, ReadFact) and not fact.by_us]
