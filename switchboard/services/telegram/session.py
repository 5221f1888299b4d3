"""One account in the hands of its gateway: a single live client, and everything that is done with it, on one loop.

An `AccountSession` is a task of the host's loop. It reads what the account needs (`Records.plan`) and does it: a step of a
sign-in, holding a connection open, closing it. While the connection is open, a given `Inbox` receives and a given `Outbox`
sends; both get the same `LiveAccount`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from switchboard.clients.telegram import sign_in
from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.errors import SessionLostError
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.states import AccountKind, Reason
from switchboard.errors import PermanentError, RateLimitedError, SwitchboardError
from switchboard.logs import get_logger
from switchboard.services.telegram.records import Own, Plan, Records, StepResult, Todo, own_of
from switchboard.services.telegram.shards import Fence, LeaseLostError
from switchboard.services.telegram.sign_in import Request
from switchboard.services.telegram.steps import carry_out

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
SETTLED_AFTER_S = 60.0  # a connection that lasted this long starts its backoff anew
LAST_SENDS_S = 8.0  # how long sends in hand may take when the connection is to be closed

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LiveAccount:
    """An account whose connection is open.

    `woken` is set when there may be something to send; the outbox clears it. `stopping` is set when the connection is to be
    closed soon: begin nothing new, finish what is in hand. Ask `fence.check()` right before each send, and `fence.hold` in
    each transaction that stores.
    """

    account_id: int
    kind: AccountKind
    own: Own
    connection: Connection
    fence: Fence
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


class Inbox(Protocol):
    """Receives."""

    async def run(self, live: LiveAccount) -> None:
        """Catch up, then store what comes, until cancelled. An error ends the connection, and a new one catches up again."""


class Outbox(Protocol):
    """Sends."""

    def due(self, shards: Collection[int]) -> Collection[int]:
        """Accounts of these shards with something to send now; called in a thread every few seconds."""

    async def run(self, live: LiveAccount) -> None:
        """Send what is due each time `live.woken` is set; return soon after `live.stopping` is."""


Opener = Callable[[Application, str, bool], Connection]
"""Makes a connection from an application, a session string, and whether it is for signing in."""


class Lines:
    """The connections of a process that are open or being opened, for whoever must cut them all at once."""

    def __init__(self) -> None:
        self._open: set[Connection] = set()

    def add(self, connection: Connection) -> None:
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)

    def __len__(self) -> int:
        return len(self._open)

    def sever(self) -> int:
        """Cut every line, from any thread; return how many."""
        lines = tuple(self._open)
        for connection in lines:
            connection.sever()
        return len(lines)


class AccountSession:
    """Looks after one account until it needs nothing, its shard is lost, or it is told to end."""

    def __init__(
        self,
        account_id: int,
        fence: Fence,
        *,
        records: Records,
        opener: Opener,
        lines: Lines,
        opening: asyncio.Semaphore,
        inbox: Inbox | None,
        outbox: Outbox | None,
    ) -> None:
        self.account_id = account_id
        self.fence = fence
        self.revision = -1  # of the plan that is being carried out
        self._records = records
        self._opener = opener
        self._lines = lines
        self._opening = opening
        self._inbox = inbox
        self._outbox = outbox
        self.settled = False  # it ended because the account needs nothing at this revision
        self._changed = asyncio.Event()
        self._ending = False
        self._live: LiveAccount | None = None
        self._failures = 0
        self._carried_out = 0  # number of the last step of a sign-in

    def wake(self) -> None:
        """There may be something to send. On the loop."""
        if self._live is not None:
            self._live.woken.set()

    def look(self) -> None:
        """The row has changed: read it again. On the loop."""
        self._changed.set()

    def end(self) -> None:
        """Finish what is in hand, close, and return from `run`. On the loop."""
        self._ending = True
        self._changed.set()

    @property
    def wants_another_look(self) -> bool:
        """Whether `look` came too late for `run` to see it."""
        return self._changed.is_set() and not self._ending

    async def run(self) -> None:
        """Never raises but for its own cancellation: what goes wrong is in the account's row and in the log."""
        try:
            while not self._ending:
                self._changed.clear()
                try:
                    plan = await asyncio.to_thread(self._records.plan, self.account_id, self.fence)
                    if plan is None or not await self._carry_out(plan):
                        self.settled = True
                        return
                except LeaseLostError:
                    return
                except SessionLostError as error:
                    await self._lost(error.reason)
                    self.settled = True
                    return
                except Exception as error:  # noqa: BLE001  the outermost handler of an account's work
                    await self._failed(error)
        except LeaseLostError:
            return

    async def _carry_out(self, plan: Plan) -> bool:
        """Do what the row asks for; False when there is nothing more to do."""
        self.revision = plan.revision
        match plan.todo:
            case Todo.STEP:
                await self._step(plan)
            case Todo.SIGN_IN_BOT:
                await self._sign_in_bot(plan)
            case Todo.RUN:
                await self._hold_open(plan)
            case Todo.STOP:
                await asyncio.to_thread(self._records.stopped, self.account_id, self.fence)
                return False
            case Todo.REMOVE:
                await self._remove(plan)
                return False
            case Todo.NOTHING:
                return False
        return True

    # --- the connection ---------------------------------------------------------------------------------------------

    async def _hold_open(self, plan: Plan) -> None:
        """Connect and work until the connection is lost, the row changes or this session ends."""
        loop = asyncio.get_running_loop()
        async with self._connection(plan.application, plan.session, signing_in=False) as connection:
            own = own_of(await connection.me())
            await asyncio.to_thread(self._records.online, self.account_id, self.fence, own)
            _log.info("telegram account online", account_id=self.account_id, shard=self.fence.shard)
            began = loop.time()
            self._live = LiveAccount(self.account_id, plan.kind, own, connection, self.fence)
            try:
                await self._work(self._live, plan)
            finally:
                self._live = None
                if loop.time() - began > SETTLED_AFTER_S:
                    self._failures = 0
        if self._ending:
            await asyncio.to_thread(self._records.offline, self.account_id, self.fence, Reason.MOVING)
        elif not self._changed.is_set():
            await self._wait(Reason.CONNECTION_LOST)

    async def _work(self, live: LiveAccount, plan: Plan) -> None:
        """Run inbox and outbox; return when the connection is lost or something else is wanted. Their errors come out."""
        live.woken.set()
        gone = asyncio.create_task(live.connection.wait_lost())
        changed = asyncio.create_task(self._wait_changed(plan))
        inbox = [asyncio.create_task(self._inbox.run(live))] if self._inbox is not None else []
        outbox = [asyncio.create_task(self._outbox.run(live))] if self._outbox is not None else []
        every = [gone, changed, *inbox, *outbox]
        try:
            await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
            live.stopping.set()
            live.woken.set()
            if outbox and not gone.done():
                await asyncio.wait(outbox, timeout=LAST_SENDS_S)
            ended = [task for task in every if task.done()]
        finally:
            for task in every:
                task.cancel()
            await asyncio.gather(*every, return_exceptions=True)
        for task in ended:
            task.result()

    async def _wait_changed(self, plan: Plan) -> None:
        """Return when the account needs something else than to be held open as it is."""
        while True:
            await self._changed.wait()
            if self._ending:
                return
            self._changed.clear()
            new = await asyncio.to_thread(self._records.plan, self.account_id, self.fence)
            if new is None or not new.keeps_open(plan):
                self._changed.set()
                return

    @asynccontextmanager
    async def _connection(
        self, application: Application, session: str, *, signing_in: bool
    ) -> AsyncIterator[Connection]:
        """An open connection that is closed at the end; never without a valid fence. Few are being opened at once."""
        connection = self._opener(application, session, signing_in)
        self._lines.add(connection)
        try:
            async with self._opening:
                self.fence.check()
                await connection.connect()
            self.fence.check()
            yield connection
        finally:
            await connection.close()
            self._lines.discard(connection)

    # --- signing in and leaving -------------------------------------------------------------------------------------

    async def _step(self, plan: Plan) -> None:
        step = await asyncio.to_thread(self._records.step, self.account_id)
        if step is None:
            return
        if step.number == self._carried_out:
            result = StepResult(problem="internal")  # its result could not be stored: send no second code for that
        elif step.request == Request.CANCEL and not step.session:
            result = StepResult(problem="cancelled")
        else:
            result = await carry_out(step, lambda session: self._connection(plan.application, session, signing_in=True))
        if step.request == Request.CANCEL:
            result = StepResult(problem="cancelled")  # whatever Telegram said of the code
        self._carried_out = step.number
        await asyncio.to_thread(self._records.step_done, self.account_id, self.fence, step, result)
        _log.info("telegram sign-in step", account_id=self.account_id, step=str(step.request), problem=result.problem)

    async def _sign_in_bot(self, plan: Plan) -> None:
        async with self._connection(plan.application, "", signing_in=True) as connection:
            me = await sign_in.sign_in_bot(connection, plan.bot_token)
            session = connection.session
        await asyncio.to_thread(self._records.bot_signed_in, self.account_id, self.fence, session, own_of(me))

    async def _remove(self, plan: Plan) -> None:
        if plan.log_out and plan.session:
            try:
                async with self._connection(plan.application, plan.session, signing_in=False) as connection:
                    await connection.log_out()
            except SessionLostError:
                pass  # there is nothing to log out of any more
            except PermanentError as error:
                _log.warning("telegram log-out refused", account_id=self.account_id, error=str(error))
        await asyncio.to_thread(self._records.removed, self.account_id, self.fence)

    # --- what goes wrong --------------------------------------------------------------------------------------------

    async def _lost(self, reason: Reason) -> None:
        _log.warning("telegram session lost", account_id=self.account_id, reason=str(reason))
        await self._record(self._records.lost, self.account_id, self.fence, reason)

    async def _failed(self, error: Exception) -> None:
        """Say so, and wait before the next try."""
        if isinstance(error, RateLimitedError) and error.retry_after_s is not None:
            _log.warning("telegram account must wait", account_id=self.account_id, wait_s=error.retry_after_s)
            await self._record(self._records.flood, self.account_id, self.fence, error.retry_after_s)
            await self._pause(error.retry_after_s)
        elif isinstance(error, (SwitchboardError, OSError)):
            _log.info("telegram account offline", account_id=self.account_id, error=str(error))
            await self._wait(Reason.UNREACHABLE)
        else:
            _log.error("telegram account failed", account_id=self.account_id, exc_info=error)
            await self._wait(Reason.INTERNAL)

    async def _wait(self, reason: Reason) -> None:
        """Offline for a growing random time, or until somebody wants something else of the account."""
        await self._record(self._records.offline, self.account_id, self.fence, reason)
        ceiling_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**self._failures)
        self._failures += 1
        await self._pause(random.uniform(ceiling_s / 2, ceiling_s))  # noqa: S311  spreads load, guards nothing

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _record(self, write: Callable[..., None], *arguments: Any) -> None:
        """Write a state; where the database fails too, the next round says it."""
        try:
            await asyncio.to_thread(write, *arguments)
        except LeaseLostError:
            raise
        except Exception as error:  # noqa: BLE001  as above
            _log.error("telegram state not stored", account_id=self.account_id, error=type(error).__name__)
            await self._pause(FIRST_BACKOFF_S)
