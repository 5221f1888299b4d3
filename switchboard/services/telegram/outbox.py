"""Sends what stands in the ledger for the accounts that this process holds: in order, once, and no faster than allowed.

claim -> render -> resolve -> SENDING with what is sent and under which numbers (commit) -> fence -> call -> record. What the
accounts of a process have to write at a time is one transaction, because on both databases a commit costs more than its rows.

A row that may have been sent is sent again under the same numbers: Telegram refuses the repeat, which counts as sent. One
that is older than Telegram's memory may be is looked for in the chat first.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from switchboard.clients.telegram import people, sending
from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.errors import (
    AlreadySentError,
    PeerFloodError,
    RecipientRefusedError,
    SessionLostError,
    SlowModeError,
)
from switchboard.domain.telegram import refusals
from switchboard.domain.telegram.messages import Attachment
from switchboard.domain.telegram.pacing import EXHAUSTED_S, FIRST_CONTACT, Limits, Pace, flood_pause_s
from switchboard.domain.telegram.peers import Address, AddressKind, Peer
from switchboard.domain.telegram.states import AccountKind
from switchboard.errors import PermanentError, RateLimitedError, SwitchboardError, TransientError, UncertainError
from switchboard.logs import get_logger
from switchboard.services.files import FileStore
from switchboard.services.telegram.outbox_rows import Done, Letter, OutboxRows, Results, Turn, Wait
from switchboard.services.telegram.peers import Peers
from switchboard.services.telegram.session import LiveAccount
from switchboard.services.telegram.shards import LeaseLostError

BATCH_MOST = 25
BATCH_S = 1.0  # results are recorded at least so often
UNRECORDED_S = 0.05  # a longer pause is not spent with results that are not recorded
TURNS_MOST = 30  # at BATCH_MOST rows each, what one statement may name (MAX_PARAMETERS)
AGAIN = timedelta(seconds=5)  # after a lost answer
UNAVAILABLE = timedelta(seconds=15)
REMEMBERED = timedelta(hours=1)  # Telegram says nowhere how long it knows a random_id
CLOCKS = timedelta(minutes=10)  # by which Telegram's clock and ours may differ

_log = get_logger(__name__)


class TelegramOutbox:
    """Implements Outbox for all accounts of a process."""

    def __init__(
        self, rows: OutboxRows, peers: Peers, files: FileStore, clock: Callable[[], datetime], limits: Limits
    ) -> None:
        self._rows = rows
        self._peers = peers
        self._files = files
        self._clock = clock
        self._limits = limits
        self._desk = _Desk(rows)

    def due(self, shards: Collection[int]) -> Collection[int]:
        """See Outbox."""
        return self._rows.due(shards)

    async def run(self, live: LiveAccount) -> None:
        """See Outbox."""
        waits = await asyncio.to_thread(self._rows.begin, live.account_id, live.fence)
        sender = _Sender(live, self._rows, self._desk, self._peers, self._files, self._clock, self._limits, waits)
        try:
            while not live.stopping.is_set():
                live.woken.clear()
                while not live.stopping.is_set() and await sender.send_some():
                    pass
                if not live.stopping.is_set():
                    await live.woken.wait()
        finally:
            await sender.record()


class _Desk:
    """Where the senders of a process take their turns at the database: those that come during one transaction are the next."""

    def __init__(self, rows: OutboxRows) -> None:
        self._rows = rows
        self._waiting: list[tuple[Turn, asyncio.Future[Done]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def take(self, turn: Turn) -> Done:
        """What came of it; LeaseLostError, or whatever else went wrong. Results are recorded also if nobody waits any more."""
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            together = self._next()
            turns = [turn if not future.done() else replace(turn, begin=(), most=0) for turn, future in together]
            try:
                results = await asyncio.to_thread(self._rows.do, turns)
            except Exception as error:  # noqa: BLE001  it is theirs
                results = [error for _ in together]
            for (_, future), result in zip(together, results, strict=True):
                if future.done():
                    continue  # its sender was cancelled
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _next(self) -> list[tuple[Turn, asyncio.Future[Done]]]:
        """Who is next: one turn of an account, and of so many that a statement can name all their rows."""
        together: dict[int, tuple[Turn, asyncio.Future[Done]]] = {}
        later = []
        for one in self._waiting:
            if len(together) < TURNS_MOST and one[0].account_id not in together:
                together[one[0].account_id] = one
            else:
                later.append(one)
        self._waiting = later
        return list(together.values())


class _Sender:
    """One account while its connection is open."""

    def __init__(
        self,
        live: LiveAccount,
        rows: OutboxRows,
        desk: _Desk,
        peers: Peers,
        files: FileStore,
        clock: Callable[[], datetime],
        limits: Limits,
        waits: dict[str, Wait],
    ) -> None:
        self._live = live
        self._rows = rows
        self._desk = desk
        self._peers = peers
        self._files = files
        self._clock = clock
        self._limits = limits
        self._waits = waits
        self._results = Results()  # not recorded yet
        self._held: set[str] = set()  # subjects of which an earlier letter of these waits
        self._pace = Pace(0.0, 0.0)
        self._met: dict[Address, Peer] = {}  # read once while the connection is open
        self._no_strangers: set[int] = set()
        self._limited = False  # PEER_FLOOD came while these letters were sent
        self._slots_until = clock()  # the slots of strangers up to then are given away
        self._most = max(1, min(BATCH_MOST, int(BATCH_S / limits.between_s))) if limits.between_s > 0 else BATCH_MOST

    async def send_some(self) -> bool:
        """Send what is due, as much as is recorded together; False when nothing was."""
        if self._wait_s() > UNRECORDED_S:
            await self.record()
        await self._keep_pace()
        if self._live.stopping.is_set():
            return False
        claimed = await self._turn(most=self._most)
        if not claimed.rows:
            return False
        letters, self._results = await asyncio.to_thread(self._rows.letters, claimed)
        self._limited = False
        self._held.clear()
        ready = await self._prepare(letters)
        if ready:
            ours = (await self._turn(begin=ready)).ours
            await self._send_all([letter for letter in ready if letter.row.id in ours])
        return True

    async def record(self) -> None:
        """Write down what became of letters so far."""
        if self._results:
            await self._turn()

    async def _turn(self, *, begin: Sequence[Letter] = (), most: int = 0) -> Done:
        """Have what is known recorded, and this done with it."""
        results, self._results = self._results, Results()
        live = self._live
        turn = Turn(account_id=live.account_id, fence=live.fence, results=results, begin=begin, most=most)
        return await self._desk.take(turn)

    # --- before ---------------------------------------------------------------------------------------------------------

    async def _prepare(self, letters: list[Letter]) -> list[Letter]:
        """Find whom each goes to; those that must wait, or go to nobody, are among the results."""
        found = [letter for letter in letters if self._is_next(letter) and await self._find(letter)]
        return await self._strangers_in_turn(await self._wanted(found))

    async def _wanted(self, letters: list[Letter]) -> list[Letter]:
        """Without those that the people whom they lead to do not want; what was begun is finished."""
        asked = {one.row: one.peer.chat_id for one in letters if one.peer is not None and not one.begun_before}
        refused = await asyncio.to_thread(self._rows.unwanted, self._live.account_id, asked) if asked else {}
        self._results.obsolete += refused.items()
        return [letter for letter in letters if letter.row not in refused]

    def _is_next(self, letter: Letter) -> bool:
        """Whether nothing before it in its subject waits; else it waits, too."""
        if letter.row.subject not in self._held:
            return True
        self._put_off(letter, self._clock(), "an earlier message of the chat waits")
        return False

    async def _find(self, letter: Letter) -> bool:
        try:
            letter.peer = await self._resolve(letter)
        except (SessionLostError, LeaseLostError):
            raise
        except RateLimitedError as error:
            at = self._later(error)
            self._wait(self._resolving(letter), Wait(at))
            self._put_off(letter, at, str(error))
            return False
        except TransientError as error:
            self._put_off(letter, self._clock() + UNAVAILABLE, str(error))
            return False
        except PermanentError as error:
            self._results.dead.append((letter.row, str(error)))
            return False
        if letter.peer is None:
            self._results.dead.append((letter.row, refusals.reason(refusals.UNKNOWN)))
            return False
        return True

    async def _resolve(self, letter: Letter) -> Peer | None:
        """Our table first, then Telegram, unless it did not know lately."""
        account_id, address = self._live.account_id, letter.address
        if (known := self._met.get(address)) is not None:
            return known
        known = await asyncio.to_thread(self._peers.find, account_id, address)
        if known is not None:
            self._met[address] = known
        if known is not None or address.kind is AddressKind.ID:
            return known
        if await asyncio.to_thread(self._peers.is_missed, account_id, address):
            return None
        if (wait := self._waiting(self._resolving(letter))) is not None:
            left_s = (wait.not_before - self._clock()).total_seconds()
            raise RateLimitedError(f"Telegram asks to wait before {self._resolving(letter)}", retry_after_s=left_s)
        self._live.fence.check()
        ask = people.resolve_phone if address.kind is AddressKind.PHONE else people.resolve_username
        seen = await ask(self._live.connection, address.value)
        if seen is None:
            await asyncio.to_thread(self._peers.miss, account_id, address)
            return None
        if address.kind is AddressKind.PHONE:
            seen = replace(seen, phone=address.value)  # Telegram shows phones to contacts alone
        await asyncio.to_thread(self._peers.remember, account_id, [seen])
        return seen.peer

    @staticmethod
    def _resolving(letter: Letter) -> str:
        return people.RESOLVE_PHONE if letter.address.kind is AddressKind.PHONE else people.RESOLVE_USERNAME

    async def _strangers_in_turn(self, letters: list[Letter]) -> list[Letter]:
        """Those that may go now: of strangers one at a time, at our pace, and none while Telegram limits them."""
        if self._live.kind is AccountKind.BOT:  # nobody hears of a bot before they wrote to it
            return letters
        chats = {letter.peer.chat_id for letter in letters if letter.peer is not None and not letter.begun_before}
        strangers = await self._strangers(chats - self._no_strangers)
        ready: list[Letter] = []
        for letter in letters:
            if not self._is_next(letter):
                continue
            if letter.begun_before or letter.peer is None or letter.peer.chat_id not in strangers:
                ready.append(letter)
            elif any(other.stranger and other.row.subject == letter.row.subject for other in ready):
                self._put_off(letter, self._clock(), "the first message to a stranger goes alone")
            elif (wait := self._waiting(FIRST_CONTACT)) is not None:
                self._hold_back(letter, wait)
            else:
                letter.stranger = True
                self._wait(FIRST_CONTACT, self._next_stranger())
                ready.append(letter)
        return ready

    async def _strangers(self, chats: set[int]) -> set[int]:
        if not chats:
            return chats
        strangers = await asyncio.to_thread(self._rows.strangers, self._live.account_id, chats)
        self._no_strangers |= chats - strangers
        return strangers

    def _hold_back(self, letter: Letter, wait: Wait) -> None:
        """A stranger has to wait, or is not written to any more."""
        if wait.times > 0 and flood_pause_s(wait.times) is None:
            self._results.dead.append((letter.row, refusals.reason(refusals.PEER_FLOOD)))
        else:
            self._put_off(letter, self._slot(wait.not_before), "messages to strangers go one at a time")

    def _next_stranger(self) -> Wait:
        """When the next stranger may be written to; the ladder stays where it is until this one got through."""
        times = self._waits[FIRST_CONTACT].times if FIRST_CONTACT in self._waits else 0
        if flood_pause_s(times) is None:
            times = 0  # it was climbed, and a day has gone by
        return Wait(self._clock() + timedelta(seconds=self._limits.between_first_s), times)

    def _slot(self, not_before: datetime) -> datetime:
        """When to look at a stranger's row again, so that many do not come back at once."""
        between = timedelta(seconds=self._limits.between_first_s)
        if not_before - self._clock() < between / 2:  # it had a slot, and came a moment too early
            return not_before
        slot = max(not_before, self._slots_until)
        self._slots_until = slot + between
        return slot

    def _go_on_pace(self) -> None:
        """A call begins."""
        self._pace = self._pace.after(asyncio.get_running_loop().time(), self._limits, first=False)

    def _wait_s(self) -> float:
        return self._pace.next_s - asyncio.get_running_loop().time()

    async def _keep_pace(self) -> None:
        """Wait until the account may send again, or is to be closed."""
        if (wait_s := self._wait_s()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._live.stopping.wait()

    # --- the calls ------------------------------------------------------------------------------------------------------

    async def _send_all(self, letters: list[Letter]) -> None:
        """Send in order; after a lost answer the line is not trusted, and the rest waits."""
        self._held.clear()  # what was held back above came after these
        why = ""
        for index, letter in enumerate(letters):
            if not why and not self._is_next(letter):
                continue
            if not why:
                await self._keep_pace()
            if self._live.stopping.is_set():
                why = "the connection is being closed"
            elif not why:
                self._live.fence.check()
                if letter.stranger and self._limited:
                    self._hold_back(letter, self._waits[FIRST_CONTACT])
                    continue
                try:
                    if await self._send_one(letter):
                        continue
                except SessionLostError as error:
                    for other in letters[index:]:
                        self._put_off(other, self._clock() + UNAVAILABLE, str(error))
                    raise
                why = "the connection was lost"
                continue
            self._put_off(letter, self._clock(), why)

    async def _send_one(self, letter: Letter) -> bool:
        """Send one and note what became of it; False when the answer was lost."""
        try:
            await self._send(letter)
        except (SessionLostError, LeaseLostError):
            raise
        except UncertainError as error:
            letter.uncertain = True
            self._put_off(letter, self._clock() + AGAIN, str(error))
            return False
        except PeerFloodError as error:
            self._climb(letter, str(error))
        except SlowModeError as error:
            self._put_off(letter, self._later(error), str(error))
        except RateLimitedError as error:
            at = self._later(error)
            method = self._method(letter)
            if (known := self._waiting(method)) is None or at - known.not_before > timedelta(seconds=1):
                self._wait(method, Wait(at))
                _log.warning(
                    "telegram flood wait", account_id=self._live.account_id, method=method, until=at.isoformat()
                )
            self._put_off(letter, at, str(error))
        except TransientError as error:
            self._put_off(letter, self._clock() + UNAVAILABLE, str(error))
        except PermanentError as error:
            await self._refused(letter, error)
        else:
            self._results.sent.append(letter)
            if letter.stranger:
                self._wait(FIRST_CONTACT, replace(self._waits[FIRST_CONTACT], times=0))
        return True

    async def _send(self, letter: Letter) -> None:
        """The parts that are not sent yet, in order."""
        peer = letter.peer
        if peer is None:
            raise RecipientRefusedError(refusals.UNKNOWN, method="the look-up", status=400, code="PEER_ID_INVALID")
        if (wait := self._waiting(self._method(letter))) is not None:
            left_s = (wait.not_before - self._clock()).total_seconds()
            raise RateLimitedError(f"Telegram asks to wait before {self._method(letter)}", retry_after_s=left_s)
        connection = self._live.connection
        if letter.edits:
            self._go_on_pace()
            await sending.edit_text(connection, peer, letter.edits, letter.plan.parts[0].text)
            letter.done = [(letter.edits,)]
            return
        if letter.uncertain and self._is_old(letter):
            await self._look_up(letter, peer)
        for number in range(len(letter.done), len(letter.plan.parts)):
            if number:
                await self._keep_pace()
            try:
                ids = await self._send_part(connection, letter, peer, number)
            except AlreadySentError:
                ids = await self._found_again(letter, peer, number)
            letter.done.append(ids)

    async def _send_part(self, connection: Connection, letter: Letter, peer: Peer, number: int) -> tuple[int, ...]:
        part, random_ids = letter.plan.parts[number], letter.plan.random_ids(number)
        reply_to = letter.reply_to if number == 0 else 0
        album = len(part.files) > 1
        media = [
            await sending.upload(connection, peer, await asyncio.to_thread(self._content, file), album=album)
            for file in part.files
        ]
        self._go_on_pace()
        self._live.fence.check()
        if not media:
            return (await sending.send_text(connection, peer, part.text, random_ids[0], reply_to=reply_to),)
        if not album:
            return (await sending.send_media(connection, peer, media[0], part.text, random_ids[0], reply_to=reply_to),)
        return tuple(await sending.send_album(connection, peer, media, part.text, random_ids, reply_to=reply_to))

    def _content(self, attachment: Attachment) -> sending.Content:
        info, pieces = self._files.open(attachment.file_id)
        return sending.Content(attachment, info.name, info.media_type, b"".join(pieces))

    # --- what may have been sent before -----------------------------------------------------------------------------------

    def _is_old(self, letter: Letter) -> bool:
        began = letter.row.first_attempt_at
        return began is not None and self._clock() - began > REMEMBERED

    async def _look_up(self, letter: Letter, peer: Peer) -> None:
        """Note the parts that stand in the chat already."""
        for number in range(len(letter.done), len(letter.plan.parts)):
            ids = await self._standing(letter, peer, number)
            if ids is None:
                return
            letter.done.append(tuple(ids))

    async def _found_again(self, letter: Letter, peer: Peer, number: int) -> tuple[int, ...]:
        """Where a part stands that was sent for sure; 0 where it was deleted since, or may not be looked for."""
        try:
            return tuple(await self._standing(letter, peer, number) or (0,))
        except TransientError:
            raise UncertainError("it was sent before; where it stands is to be found yet") from None

    async def _standing(self, letter: Letter, peer: Peer, number: int) -> list[int] | None:
        """Where a part stands in the chat; None where it was not found. Bots may not look."""
        if self._live.kind is AccountKind.BOT:
            return None
        taken = await asyncio.to_thread(self._rows.taken, self._live.account_id, peer.chat_id)
        for other in (letter, *(sent for sent in self._results.sent if sent.peer == peer)):  # not recorded yet
            taken.update(one for ids in other.done for one in ids)
        since = (letter.row.first_attempt_at or self._clock()) - CLOCKS
        part = letter.plan.parts[number]
        return await sending.find_sent(self._live.connection, peer, part, since=since, taken=taken)

    # --- what went wrong --------------------------------------------------------------------------------------------------

    async def _refused(self, letter: Letter, error: PermanentError) -> None:
        """A refusal for good. A row that may have been sent before is looked for first."""
        word = error.reason if isinstance(error, RecipientRefusedError) else ""
        if letter.peer is not None and word == refusals.UNKNOWN and letter.row.attempts == 0:
            self._met.pop(letter.address, None)  # its hash may be out of date
            await asyncio.to_thread(self._peers.forget, self._live.account_id, letter.peer)
            self._put_off(letter, self._clock(), str(error))
            return
        if letter.uncertain and letter.peer is not None:
            try:
                await self._look_up(letter, letter.peer)
            except SwitchboardError as failure:
                self._put_off(letter, self._clock() + UNAVAILABLE, f"not looked up yet: {failure}")
                return
            if len(letter.done) == len(letter.plan.parts):
                self._results.sent.append(letter)
                return
        reason = str(error) if word not in refusals.REFUSALS else refusals.reason(word)
        self._results.dead.append((letter.row, reason))
        _log.info(
            "telegram message refused", account_id=self._live.account_id, delivery_id=letter.row.id, reason=reason
        )

    def _climb(self, letter: Letter, why: str) -> None:
        """PEER_FLOOD: no strangers for a while, longer each time; after the last step not at all, and somebody must look."""
        times = (self._waits[FIRST_CONTACT].times if FIRST_CONTACT in self._waits else 0) + 1
        pause_s = flood_pause_s(times)
        now = self._clock()
        at = now + timedelta(seconds=EXHAUSTED_S if pause_s is None else pause_s)
        self._wait(FIRST_CONTACT, Wait(at, times))
        self._limited = True
        if pause_s is None:
            _log.error("telegram account may not write to strangers any more", account_id=self._live.account_id)
            self._results.dead.append((letter.row, refusals.reason(refusals.PEER_FLOOD)))
            return
        _log.warning(
            "telegram account limited with strangers", account_id=self._live.account_id, times=times, pause_s=pause_s
        )
        self._put_off(letter, at, why)

    def _put_off(self, letter: Letter, at: datetime, why: str) -> None:
        """Try later, and what comes after it in its subject later still. What may have been sent stays uncertain."""
        self._held.add(letter.row.subject)
        if letter.uncertain:
            self._results.uncertain.append((letter, at, why))
        else:
            self._results.unsent.append((letter, at, why))

    def _method(self, letter: Letter) -> str:
        if letter.edits:
            return sending.EDIT_MESSAGE
        return sending.method_of(letter.plan.parts[min(len(letter.done), len(letter.plan.parts) - 1)])

    def _waiting(self, method: str) -> Wait | None:
        """What a method must wait for; None where it need not."""
        wait = self._waits.get(method)
        return wait if wait is not None and wait.not_before > self._clock() else None

    def _wait(self, method: str, wait: Wait) -> None:
        self._waits[method] = self._results.waits[method] = wait

    def _later(self, error: RateLimitedError) -> datetime:
        wait_s = error.retry_after_s
        return self._clock() + (UNAVAILABLE if wait_s is None else timedelta(seconds=wait_s))
