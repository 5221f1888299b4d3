"""What sending over Telegram reads and writes: rows of the ledger, waits, and where messages came to stand.

The seam between the accounts' senders and the database. Each says in a `Turn` what it has to write and what it wants; many
turns are one transaction. All of it waits for the database: the loop calls it in threads.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import exists, select, tuple_, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, aliased

from switchboard.db.engine import Database
from switchboard.db.models import TelegramChat, TelegramMessage, TelegramSent, TelegramWait
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository
from switchboard.db.upsert import MAX_PARAMETERS, insert_new, upsert
from switchboard.domain.organisations.markup import MOST_SPANS, Formatted
from switchboard.domain.portions import portions
from switchboard.domain.telegram.messages import ALBUM_MOST, Part, Plan, parts_of
from switchboard.domain.telegram.peers import Address, Peer, parse_address
from switchboard.domain.telegram.sharding import shard_of
from switchboard.errors import InvalidInputError
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered, Renderer, render_each
from switchboard.services.telegram.shards import Fence, LeaseLostError

CHANNEL = "telegram"
LEASE = timedelta(minutes=10)  # who takes an account over ends it at once; else an upload may take its time
PLAN = "telegram"  # where a row's body keeps what it sends
REMOTE_ID_CHARS = 128


@dataclass(slots=True, repr=False)
class Letter:
    """A claimed row with what it sends.

    `uncertain`: it may have been sent before, under the same numbers. `edits` and `reply_to` are numbers in the chat.
    """

    row: ClaimedDelivery
    plan: Plan
    address: Address
    uncertain: bool = False
    edits: int = 0
    reply_to: int = 0
    peer: Peer | None = None
    stranger: bool = False
    done: list[tuple[int, ...]] = field(default_factory=list)

    @property
    def begun_before(self) -> bool:
        """Whether some of it may stand in the chat already."""
        return self.uncertain or bool(self.done)

    def body(self) -> dict[str, object]:
        """The row's body with what it sends and how far that came."""
        kept = replace(self.plan, done=tuple(self.done)).as_json()
        return {
            **self.row.body,
            PLAN: kept | {"address": self.address.value, "edits": self.edits, "reply_to": self.reply_to},
        }

    def remote_id(self) -> str:
        """The ledger's name of what was sent: the chat, and the numbers of its messages there."""
        chat_id = 0 if self.peer is None else self.peer.chat_id
        numbers = [str(number) for ids in self.done for number in ids]
        while len(",".join(numbers)) > REMOTE_ID_CHARS - 24:
            numbers.pop()
        return f"{chat_id}:{','.join(numbers)}"


@dataclass(frozen=True, slots=True)
class Wait:
    """Not before this instant; `times` counts PEER_FLOOD in a row."""

    not_before: datetime
    times: int = 0


@dataclass(slots=True)
class Results:
    """What became of some letters, to be recorded together."""

    sent: list[Letter] = field(default_factory=list)
    unsent: list[tuple[Letter, datetime, str | None]] = field(default_factory=list)
    uncertain: list[tuple[Letter, datetime, str]] = field(default_factory=list)
    dead: list[tuple[ClaimedDelivery, str]] = field(default_factory=list)
    obsolete: list[tuple[ClaimedDelivery, str]] = field(default_factory=list)
    postponed: list[tuple[ClaimedDelivery, datetime, str]] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)

    def __bool__(self) -> bool:
        ended = self.sent or self.dead or self.obsolete
        return bool(ended or self.unsent or self.uncertain or self.postponed or self.waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the sender of an account has to write, done in this order, and what it wants.

    `results` are recorded, `begin` is marked as being sent, then up to `most` rows are claimed.
    """

    account_id: int
    fence: Fence
    results: Results = field(default_factory=Results)
    begin: Sequence[Letter] = ()
    most: int = 0

    @property
    def writes(self) -> bool:
        return bool(self.results or self.begin)


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a turn: which letters to `begin` are ours still, and what was claimed; `uncertain` may have been sent."""

    ours: set[int] = field(default_factory=set)
    rows: list[ClaimedDelivery] = field(default_factory=list)
    uncertain: set[int] = field(default_factory=set)


Unwanted = Callable[[int, Mapping[ClaimedDelivery, int]], Mapping[ClaimedDelivery, str]]
"""Asked with an account and its rows, each with the chat it would go to: those that are not wanted there, and why."""


class OutboxRows:
    """The ledger's Telegram rows. `renderers` maps a kind to whoever writes its messages; `unwanted` is asked last."""

    def __init__(
        self,
        database: Database,
        renderers: Mapping[str, Renderer],
        clock: Callable[[], datetime],
        unwanted: Unwanted | None = None,
    ) -> None:
        self._unwanted = unwanted
        self._database = database
        self._renderers = renderers
        self._clock = clock
        self._owner = uuid.uuid4().hex

    def due(self, shards: Collection[int]) -> set[int]:
        """Accounts of these shards with something to send now."""
        with self._database.read() as session:
            senders = DeliveryRepository(session).due_senders(self._clock())
        return {account_id for account_id in senders if shard_of(account_id) in shards}

    def begin(self, account_id: int, fence: Fence) -> dict[str, Wait]:
        """Take over what the account's last holder had in hand; return what the account must wait for."""
        with self._database.write() as session:
            fence.hold(session)
            DeliveryRepository(session).take_over(account_id, self._clock())
            rows = session.scalars(select(TelegramWait).where(TelegramWait.account_id == account_id))
            return {row.method: Wait(row.not_before, row.times) for row in rows}

    def do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        """Take these turns, at most one of an account, in one transaction; what came of each.

        LeaseLostError for those whose fence does not last. What is wrong with one keeps no other back; OperationalError
        where the database does not work.
        """
        try:
            return self._do(turns)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to one of them, who gets it
            if len(turns) == 1:
                return [error]
        return [done for turn in turns for done in self.do([turn])]

    def _do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        now = self._clock()
        done: list[Done | Exception] = [Done() for _ in turns]
        active = self._active(turns, now)
        if not active:
            return done
        with self._database.write() as session:
            held = turns[active[0]].fence.leases.hold(session, {turns[index].fence for index in active})
            for index in active:
                if turns[index].fence not in held:
                    done[index] = LeaseLostError(f"shard {turns[index].fence.shard} is not ours any more")
            ours = {turns[index].account_id: turns[index] for index in active if turns[index].fence in held}
            repository = DeliveryRepository(session)
            _record(session, repository, list(ours.values()), now)
            begun = _begin_sending(repository, [letter for turn in ours.values() for letter in turn.begin], now)
            claimed = self._claim(repository, list(ours.values()), now)
        for index in active:
            if turns[index].fence in held:
                rows, uncertain = claimed[turns[index].account_id]
                done[index] = Done({letter.row.id for letter in turns[index].begin} & begun, rows, uncertain)
        return done

    def _active(self, turns: Sequence[Turn], now: datetime) -> list[int]:
        """The places of those with something to write or to claim: who only asks, and in vain, locks nothing for it."""
        asking = [turn.account_id for turn in turns if turn.most and not turn.writes]
        due: set[int] = set()
        if asking:
            with self._database.read() as session:
                due = DeliveryRepository(session).due_senders(now, among=asking)
        return [index for index, turn in enumerate(turns) if turn.writes or turn.account_id in due]

    def _claim(
        self, repository: DeliveryRepository, turns: Sequence[Turn], now: datetime
    ) -> dict[int, tuple[list[ClaimedDelivery], set[int]]]:
        """By account: its rows, in order, and which of them may have been sent before."""
        ids = {
            turn.account_id: repository.due_in_order(turn.account_id, now, limit=turn.most)
            for turn in turns
            if turn.most
        }
        rows, uncertain = repository.claim_in_order(ids, owner=self._owner, now=now, lease=LEASE)
        found = {row.id: row for row in rows}
        mine = {
            turn.account_id: [found[one] for one in sorted(ids.get(turn.account_id, ())) if one in found]
            for turn in turns
        }
        return {account_id: (some, uncertain & {row.id for row in some}) for account_id, some in mine.items()}

    def letters(self, done: Done) -> tuple[list[Letter], Results]:
        """Write what was claimed; among the results is what nobody wants (now)."""
        results = Results()
        letters = [_begun(row, uncertain=row.id in done.uncertain) for row in done.rows if _has_begun(row, done)]
        fresh = [row for row in done.rows if not _has_begun(row, done)]
        rendered = render_each(self._renderers, fresh, self._clock())
        for row in fresh:
            match rendered[row.id]:
                case Obsolete(reason=reason):
                    results.obsolete.append((row, reason))
                case Postponed(until=until, reason=reason):
                    results.postponed.append((row, until, reason))
                case Rendered() as message:
                    try:
                        letters.append(_letter(row, message))
                    except InvalidInputError as error:
                        results.dead.append((row, str(error)))
        return sorted(letters, key=lambda letter: letter.row.id), results

    def unwanted(self, account_id: int, found: Mapping[ClaimedDelivery, int]) -> Mapping[ClaimedDelivery, str]:
        """Of rows, each with the chat that was found for it, those that must not go there, and why."""
        return {} if self._unwanted is None else self._unwanted(account_id, found)

    def strangers(self, account_id: int, chat_ids: Collection[int]) -> set[int]:
        """Those of these chats in which nothing was written yet, by either side."""
        with self._database.read() as session:
            return {chat_id for chat_id in chat_ids if chat_id > 0 and not self._is_known(session, account_id, chat_id)}

    @staticmethod
    def _is_known(session: Session, account_id: int, chat_id: int) -> bool:
        sent = exists().where(TelegramSent.account_id == account_id, TelegramSent.chat_id == chat_id)
        received = exists().where(TelegramMessage.account_id == account_id, TelegramMessage.chat_id == chat_id)
        return bool(session.scalar(select(sent | received)))

    def taken(self, account_id: int, chat_id: int) -> set[int]:
        """The numbers of messages in a chat that rows of the ledger made."""
        query = select(TelegramSent.message_id).where(
            TelegramSent.account_id == account_id, TelegramSent.chat_id == chat_id
        )
        with self._database.read() as session:
            return set(session.scalars(query))


def _begin_sending(repository: DeliveryRepository, letters: Sequence[Letter], now: datetime) -> set[int]:
    """Say that these are being sent, and fix what they send; return the ids of those that are ours still."""
    fresh = [letter for letter in letters if not letter.uncertain]
    ours = repository.begin_sending([letter.row for letter in fresh], now)
    repository.keep_bodies({letter.row: letter.body() for letter in fresh})
    return ours | {letter.row.id for letter in letters if letter.uncertain}


def _record(session: Session, repository: DeliveryRepository, turns: Sequence[Turn], now: datetime) -> None:
    """Record what became of letters, and what the accounts must wait for."""
    places = {
        (turn.account_id, chat_id): letters for turn in turns for chat_id, letters in _places(turn.results.sent).items()
    }
    read_out = _lock_chats(session, list(places))
    sent: dict[ClaimedDelivery, str] = {}
    for turn in turns:
        results = turn.results
        repository.keep_bodies({one.row: one.body() for one, *_ in (*results.unsent, *results.uncertain) if one.done})
        for letter, at, reason in results.unsent:
            repository.record_unsent([letter.row], next_attempt_at=at, reason=reason)
        for letter, at, why in results.uncertain:
            repository.record_uncertain([letter.row], look_at=at, reason=why)
        for row, why in results.dead:
            repository.record_dead([row], reason=why, now=now)
        for row, why in results.obsolete:
            repository.record_expired([row], reason=why, now=now)
        for row, until, why in results.postponed:
            repository.record_postponed([row], until=until, reason=why)
        for method, wait in results.waits.items():
            values = {"not_before": wait.not_before, "times": wait.times}
            upsert(
                session,
                TelegramWait,
                {"account_id": turn.account_id, "method": method, **values},
                ("account_id", "method"),
            )
        sent |= {letter.row: letter.remote_id() for letter in results.sent}
    repository.record_sent(sent, now)
    _place(session, repository, places, read_out)


def _place(
    session: Session,
    repository: DeliveryRepository,
    places: Mapping[tuple[int, int], Sequence[Letter]],
    read_out: Mapping[tuple[int, int], int],
) -> None:
    """Note where messages stand; those that were read before this was recorded are read."""
    rows, read = [], []
    for (account_id, chat_id), letters in places.items():
        for letter in letters:
            numbers = [number for ids in letter.done for number in ids if number]
            rows += [
                {"account_id": account_id, "chat_id": chat_id, "message_id": number, "delivery_id": letter.row.id}
                for number in numbers
            ]
            if numbers and max(numbers) <= read_out[account_id, chat_id]:
                read.append(letter.row.id)
    insert_new(session, TelegramSent, rows, TelegramSent.message_id)
    if read:
        repository.record_read(read)


def _places(sent: Iterable[Letter]) -> dict[int, list[Letter]]:
    """New messages by their chats."""
    places: dict[int, list[Letter]] = {}
    for letter in sent:
        if letter.peer is not None and not letter.edits:
            places.setdefault(letter.peer.chat_id, []).append(letter)
    return places


def mark_read(session: Session, account_id: int, chat_id: int, max_id: int) -> None:
    """The other side has read a chat up to a message: rows whose messages all stand before it are read.

    What is recorded as sent later sees the mark: both lock the chat's row.
    """
    _lock_chats(session, [(account_id, chat_id)])
    session.execute(
        update(TelegramChat)
        .where(TelegramChat.account_id == account_id, TelegramChat.chat_id == chat_id, TelegramChat.read_out < max_id)
        .values(read_out=max_id)
    )
    later = aliased(TelegramSent)
    read = select(TelegramSent.delivery_id).where(
        TelegramSent.account_id == account_id,
        TelegramSent.chat_id == chat_id,
        TelegramSent.message_id <= max_id,
        ~exists().where(later.delivery_id == TelegramSent.delivery_id, later.message_id > max_id),
    )
    DeliveryRepository(session).record_read(read)


def _lock_chats(session: Session, chats: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Lock the rows of these chats (account, chat), made where they are missing; how far the other side has read in each."""
    new = [
        {"account_id": account_id, "chat_id": chat_id, "top_message": 0, "read_in": 0, "read_out": 0}
        for account_id, chat_id in sorted(chats)
    ]
    insert_new(session, TelegramChat, new, TelegramChat.chat_id)
    read_out: dict[tuple[int, int], int] = {}
    for some in portions(sorted(chats), MAX_PARAMETERS // 2):
        rows = session.execute(
            select(TelegramChat.account_id, TelegramChat.chat_id, TelegramChat.read_out)
            .where(tuple_(TelegramChat.account_id, TelegramChat.chat_id).in_(some))
            .order_by(TelegramChat.account_id, TelegramChat.chat_id)
            .with_for_update()
        )
        read_out |= {(row.account_id, row.chat_id): row.read_out for row in rows}
    return read_out


def _has_begun(row: ClaimedDelivery, done: Done) -> bool:
    """Whether a part of it is in the chat already, or may be: then it goes on as it began."""
    return row.id in done.uncertain or bool(row.body.get(PLAN, {}).get("done"))


def _begun(row: ClaimedDelivery, *, uncertain: bool) -> Letter:
    kept = row.body[PLAN]
    plan = Plan.from_json(kept)
    address = parse_address(kept["address"])
    return Letter(row, plan, address, uncertain, kept["edits"], kept["reply_to"], done=list(plan.done))


def _letter(row: ClaimedDelivery, message: Rendered) -> Letter:
    """InvalidInputError where it cannot be sent as it is."""
    text = message.formatted or Formatted(message.message.as_markdown())
    edits = _number(message.edits)
    if message.edits is not None and not edits:
        raise InvalidInputError("where the message to be changed stands is not known", field="edits")
    cut = text.cut()
    parts = (Part(Formatted(cut.text, cut.spans[:MOST_SPANS])),) if edits else parts_of(text, message.files)
    if not parts:
        raise InvalidInputError("the message is empty", field="text")
    if len(message.files) > ALBUM_MOST:
        raise InvalidInputError(f"an album has at most {ALBUM_MOST} files", field="files")
    nonce = row.body.get(PLAN, {}).get("nonce") or secrets.token_hex(12)
    address = parse_address(message.address or row.recipient)
    return Letter(row, Plan(nonce, parts), address, edits=edits, reply_to=_number(message.reply_to))


def _number(remote_id: str | None) -> int:
    """The first message of a ledger's name of what was sent; 0 for none."""
    first = (remote_id or "").partition(":")[2].partition(",")[0]
    return int(first) if first else 0
