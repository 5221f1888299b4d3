"""The host of Telegram accounts in a gateway process: one asyncio loop in a thread, and two threads that keep it honest.

- The *lease* thread renews the leases on shards and takes free ones (switchboard.services.telegram.shards).
- The *watchdog* thread cuts every line when the leases were not renewed in time, whatever the loop is doing.
- The *loop* runs one `AccountSession` per account that needs something, and looks every two seconds for what changed in the
  database, so that a lost wake-up costs seconds and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from switchboard.logs import get_logger
from switchboard.services.telegram.records import Records
from switchboard.services.telegram.session import AccountSession, Inbox, Lines, Opener, Outbox
from switchboard.services.telegram.shards import LeaseLostError, Leases

LOOK_S = 2.0
RETRY_S = 1.0  # after a renewal that failed
WATCH_S = 0.2
OPENED_AT_ONCE = 20  # connections; a start with many accounts is no storm
CLOSE_S = 12.0  # all sessions together, when the process ends

_log = get_logger(__name__)


class Host:
    """Hosts the accounts of the shards that this process holds, from `start` to `stop`.

    `database_threads` is how many threads may wait for the database for the loop.
    """

    def __init__(
        self,
        leases: Leases,
        records: Records,
        opener: Opener,
        *,
        inbox: Inbox | None = None,
        outbox: Outbox | None = None,
        database_threads: int = 3,
        look_s: float = LOOK_S,
    ) -> None:
        self._leases = leases
        self._records = records
        self._opener = opener
        self._inbox = inbox
        self._outbox = outbox
        self._on_shards: Callable[[frozenset[int]], None] | None = None
        self._database_threads = database_threads
        self._look_s = look_s
        self._lines = Lines()
        self._opening = asyncio.Semaphore(OPENED_AT_ONCE)
        self._sessions: dict[int, tuple[AccountSession, asyncio.Task[None]]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look_now = asyncio.Event()
        self._stopping = threading.Event()
        self._renew_now = threading.Event()
        self._announcing = threading.Lock()
        self._announced: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()  # being closed, to be given back
        self._idle: dict[int, tuple[int, int]] = {}  # accounts that need nothing: (fence, revision)
        self._tasks: set[asyncio.Task[None]] = set()
        self._threads: list[threading.Thread] = []

    # --- from any thread --------------------------------------------------------------------------------------------

    def start(self, on_shards: Callable[[frozenset[int]], None] | None = None) -> None:
        """Take shards and open their accounts, in threads of its own.

        `on_shards` hears which shards are held at each renewal and each change, on any of these threads.
        """
        self._on_shards = on_shards
        self._leases.prepare()
        ready: Future[None] = Future()
        self._spawn("telegram-loop", lambda: asyncio.run(self._run(ready)))
        ready.result(timeout=30)
        self._spawn("telegram-leases", self._renew_leases)
        self._spawn("telegram-watchdog", self._watch)

    def wake(self, account_id: int) -> None:
        """There may be something to send for an account. A hint: nothing is lost where it is not heard."""
        self._on_loop(lambda: self._wake(account_id))

    def look(self, account_id: int) -> None:
        """An account's row has changed. A hint, too."""
        self._on_loop(lambda: self._look(account_id))

    @property
    def shards(self) -> frozenset[int]:
        """The shards that are held."""
        return self._leases.shards

    @property
    def open_lines(self) -> int:
        """Connections that are open or being opened."""
        return len(self._lines)

    def stop(self) -> None:
        """Close every account after its sends in hand, give the shards back, and end the threads. Safe to call twice."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        loop = self._loop
        if loop is not None:
            closing = asyncio.run_coroutine_threadsafe(self._close_all(), loop)
            with contextlib.suppress(TimeoutError):
                closing.result(timeout=CLOSE_S + RETRY_S)
        self._renew_now.set()
        for thread in self._threads[1:]:
            thread.join(CLOSE_S)
        self._lines.sever()
        try:
            self._leases.leave()
        except Exception as error:  # noqa: BLE001  the end of the process; the leases end by themselves
            _log.warning("telegram leases not given back", error=type(error).__name__)
        self._announce()
        self._on_loop(self._look_now.set)
        self._threads[0].join(CLOSE_S)

    # --- the lease thread -------------------------------------------------------------------------------------------

    def _renew_leases(self) -> None:
        while not self._stopping.is_set():
            wait_s = self._leases.times.renew_s
            try:
                above_share = self._leases.renew(accounts=len(self._lines))
            except Exception as error:  # noqa: BLE001  the outermost handler of this thread; the watchdog has the last word
                _log.error("telegram leases not renewed", error=type(error).__name__)
                wait_s = RETRY_S
            else:
                self._announce()
                if above_share:
                    self._on_loop(partial(self._give_back, above_share))
            self._renew_now.wait(wait_s)

    def _announce(self) -> None:
        """Say which shards are held; where that is news, let the loop look."""
        with self._announcing:
            shards = self._leases.shards
            if self._on_shards is not None:
                try:
                    self._on_shards(shards)
                except Exception as error:  # noqa: BLE001  neither the leases nor the watchdog may end by it; it is said again
                    _log.error("telegram shards not announced", error=type(error).__name__)
            if shards == self._announced:
                return
            self._announced = shards
            _log.info("telegram shards held", shards=len(shards))
        self._on_loop(self._look_now.set)

    # --- the watchdog thread ----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.is_set():
            if self._leases.remaining_s() <= 0:
                self._leases.drop()
                _log.error("telegram leases ran out", lines=self._lines.sever())
                self._announce()
            time.sleep(WATCH_S)

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _run(self, ready: Future[None]) -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(self._database_threads, thread_name_prefix="telegram-database"))
        loop.set_exception_handler(_say_discreetly)
        self._loop = loop
        ready.set_result(None)
        while not self._stopping.is_set():
            try:
                await self._look_around()
            except LeaseLostError:
                pass
            except Exception as error:  # noqa: BLE001  the outermost handler of the loop; the database may be back later
                _log.error("telegram accounts not read", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_s):
                    await self._look_now.wait()
            self._look_now.clear()
        while self._sessions:  # `stop` ends them
            await asyncio.sleep(0.05)
        for task in self._tasks:
            task.cancel()

    async def _look_around(self) -> None:
        """Drop what is not ours, begin what is, and tell sessions whose row has changed."""
        self._drop_lost()
        shards = self._leases.shards - self._leaving
        if not shards:
            return
        found: Mapping[int, tuple[int, int]] = await asyncio.to_thread(self._records.revisions, shards)
        for account_id, (shard, revision) in found.items():
            held = self._sessions.get(account_id)
            if held is None:
                self._begin(account_id, shard, revision)
            elif held[0].revision not in (-1, revision):
                held[0].look()
        for account_id, (session, _task) in self._sessions.items():
            if account_id not in found and session.fence.shard in shards:
                session.look()  # its row is gone
        self._idle = {account_id: idle for account_id, idle in self._idle.items() if account_id in found}
        if self._outbox is not None:
            for account_id in await asyncio.to_thread(self._outbox.due, shards):
                self._wake(account_id)

    def _drop_lost(self) -> None:
        """Cancel the sessions whose fence is not valid any more."""
        for session, task in self._sessions.values():
            if not session.fence.valid and not task.cancelling():
                task.cancel()

    def _begin(self, account_id: int, shard: int, revision: int) -> None:
        fence = self._leases.fence_of(shard)
        if fence is None or not fence.valid or self._stopping.is_set():
            return
        if self._idle.pop(account_id, None) == (fence.number, revision):
            self._idle[account_id] = fence.number, revision
            return
        session = AccountSession(
            account_id,
            fence,
            records=self._records,
            opener=self._opener,
            lines=self._lines,
            opening=self._opening,
            inbox=self._inbox,
            outbox=self._outbox,
        )
        task = asyncio.create_task(session.run(), name=f"telegram-account-{account_id}")
        self._sessions[account_id] = session, task
        task.add_done_callback(lambda _task: self._ended(account_id, session))

    def _ended(self, account_id: int, session: AccountSession) -> None:
        held = self._sessions.get(account_id)
        if held is not None and held[0] is session:
            del self._sessions[account_id]
            if session.wants_another_look:
                self._look_now.set()
            elif session.settled:
                self._idle[account_id] = session.fence.number, session.revision

    def _wake(self, account_id: int) -> None:
        if (held := self._sessions.get(account_id)) is not None:
            held[0].wake()

    def _look(self, account_id: int) -> None:
        if (held := self._sessions.get(account_id)) is not None:
            held[0].look()
        else:
            self._look_now.set()

    def _give_back(self, count: int) -> None:
        """Close the accounts of so many shards, then release them: in this order."""
        if not self._leaving and not self._stopping.is_set():
            self._leaving = frozenset(sorted(self._leases.shards)[-count:])
            task = asyncio.create_task(self._hand_over())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _hand_over(self) -> None:
        try:
            await self._close(self._leaving)
            await asyncio.to_thread(self._leases.release, self._leaving)
        except Exception as error:  # noqa: BLE001  as above; what was not released is ours still, and offered again
            _log.error("telegram shards not given back", error=type(error).__name__)
        finally:
            self._leaving = frozenset()
        await asyncio.to_thread(self._announce)

    async def _close(self, shards: frozenset[int]) -> None:
        """End the sessions of these shards, and wait for them."""
        ours = [(session, task) for session, task in self._sessions.values() if session.fence.shard in shards]
        for session, _task in ours:
            session.end()
        tasks: list[asyncio.Task[Any]] = [task for _session, task in ours]
        if not tasks:
            return
        _done, late = await asyncio.wait(tasks, timeout=CLOSE_S - 2)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=2)

    async def _close_all(self) -> None:
        await self._close(frozenset(session.fence.shard for session, _task in self._sessions.values()))

    def _on_loop(self, act: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(act)

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()


def _say_discreetly(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task of ours was waiting for: pings on a lost line, mostly. Its text may hold a request."""
    error = context.get("exception")
    if not isinstance(error, OSError):
        _log.warning("telegram loop error", about=context.get("message"), error=type(error).__name__)
