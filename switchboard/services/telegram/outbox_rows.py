"""What sending over Telegram reads and writes: rows of the ledger, waits, and where messages came to stand.

The seam between an account's sender and the database. All of it waits for the database: the loop calls it in threads.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session, aliased

from switchboard.db.engine import Database
from switchboard.db.models import DeliveryState, TelegramChat, TelegramMessage, TelegramSent, TelegramWait
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository
from switchboard.db.upsert import insert_new, upsert
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.telegram.messages import ALBUM_MOST, Part, Plan, parts_of
from switchboard.domain.telegram.peers import Address, Peer, parse_address
from switchboard.domain.telegram.sharding import shard_of
from switchboard.errors import InvalidInputError
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered, Renderer
from switchboard.services.telegram.shards import Fence

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
    dead: list[tuple[Letter, str]] = field(default_factory=list)
    waits: dict[str, Wait] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.unsent or self.uncertain or self.dead or self.waits)


class OutboxRows:
    """The ledger's Telegram rows. `renderers` maps a kind to whoever writes its messages."""

    def __init__(self, database: Database, renderers: Mapping[str, Renderer], clock: Callable[[], datetime]) -> None:
        self._database = database
        self._renderers = renderers
        self._clock = clock

    def due(self, shards: Collection[int]) -> set[int]:
        """Accounts of these shards with something to send now."""
        with self._database.read() as session:
            subjects = DeliveryRepository(session).due_subjects(CHANNEL, self._clock())
        numbers = {subject.split(":")[1] for subject in subjects if subject.startswith(f"{CHANNEL}:")}
        return {int(number) for number in numbers if number.isdecimal() and shard_of(int(number)) in shards}

    def begin(self, account_id: int, fence: Fence) -> dict[str, Wait]:
        """Take over what the account's last holder had in hand; return what the account must wait for."""
        with self._database.write() as session:
            fence.hold(session)
            DeliveryRepository(session).take_over(CHANNEL, _prefix(account_id), self._clock())
            rows = session.scalars(select(TelegramWait).where(TelegramWait.account_id == account_id))
            return {row.method: Wait(row.not_before, row.times) for row in rows}

    def take(self, account_id: int, fence: Fence, owner: str, limit: int) -> list[Letter]:
        """Claim what is due, in order, and write it. What nobody wants (now) is recorded so and left out."""
        now, prefix = self._clock(), _prefix(account_id)
        with self._database.write() as session:
            fence.hold(session)
            repository = DeliveryRepository(session)
            uncertain, pending = (
                repository.claim(
                    CHANNEL, owner=owner, now=now, lease=LEASE, limit=limit, state=state, subject_prefix=prefix
                )
                for state in (DeliveryState.UNCERTAIN, DeliveryState.PENDING)
            )
        letters = [_begun(row, uncertain=True) for row in uncertain]
        letters += [_begun(row, uncertain=False) for row in pending if _has_begun(row)]
        letters += self._written([row for row in pending if not _has_begun(row)])
        return sorted(letters, key=lambda letter: letter.row.id)

    def _written(self, rows: Sequence[ClaimedDelivery]) -> list[Letter]:
        rendered: dict[int, Rendered | Obsolete | Postponed] = {}
        for kind in {row.kind for row in rows}:
            ours = [row for row in rows if row.kind == kind]
            rendered.update(self._renderers[kind].render(ours, self._clock()))
        letters, now = [], self._clock()
        with self._database.write() as session:
            repository = DeliveryRepository(session)
            for row in rows:
                match rendered[row.id]:
                    case Obsolete(reason=reason):
                        repository.record_expired([row], reason=reason, now=now)
                    case Postponed(until=until, reason=reason):
                        repository.record_postponed([row], until=until, reason=reason)
                    case Rendered() as message:
                        try:
                            letters.append(_letter(row, message))
                        except InvalidInputError as error:
                            repository.record_dead([row], reason=str(error), now=now)
        return letters

    def strangers(self, account_id: int, chat_ids: Collection[int]) -> set[int]:
        """Those of these chats in which nothing was written yet, by either side."""
        with self._database.read() as session:
            return {chat_id for chat_id in chat_ids if chat_id > 0 and not self._is_known(session, account_id, chat_id)}

    @staticmethod
    def _is_known(session: Session, account_id: int, chat_id: int) -> bool:
        sent = exists().where(TelegramSent.account_id == account_id, TelegramSent.chat_id == chat_id)
        received = exists().where(TelegramMessage.account_id == account_id, TelegramMessage.chat_id == chat_id)
        return bool(session.scalar(select(sent | received)))

    def begin_sending(self, fence: Fence, letters: Sequence[Letter]) -> set[int]:
        """Say that these are being sent, and fix what they send; return the ids of those that are ours still."""
        fresh = [letter for letter in letters if not letter.uncertain]
        with self._database.write() as session:
            fence.hold(session)
            repository = DeliveryRepository(session)
            ours = repository.begin_sending([letter.row for letter in fresh], self._clock())
            repository.keep_bodies({letter.row: letter.body() for letter in fresh})
        return ours | {letter.row.id for letter in letters if letter.uncertain}

    def taken(self, account_id: int, chat_id: int) -> set[int]:
        """The numbers of messages in a chat that rows of the ledger made."""
        query = select(TelegramSent.message_id).where(
            TelegramSent.account_id == account_id, TelegramSent.chat_id == chat_id
        )
        with self._database.read() as session:
            return set(session.scalars(query))

    def record(self, account_id: int, fence: Fence, results: Results) -> None:
        """Record what became of letters, and what the account must wait for."""
        now = self._clock()
        with self._database.write() as session:
            fence.hold(session)
            repository = DeliveryRepository(session)
            places = _places(results.sent)
            read_out = {chat_id: _chat(session, account_id, chat_id) for chat_id in sorted(places)}
            repository.keep_bodies(
                {one.row: one.body() for one, *_ in (*results.unsent, *results.uncertain) if one.done}
            )
            for letter, at, reason in results.unsent:
                repository.record_unsent([letter.row], next_attempt_at=at, reason=reason)
            for letter, at, why in results.uncertain:
                repository.record_uncertain([letter.row], look_at=at, reason=why)
            for letter, why in results.dead:
                repository.record_dead([letter.row], reason=why, now=now)
            repository.record_sent({letter.row: letter.remote_id() for letter in results.sent}, now)
            self._place(session, account_id, places, read_out)
            for method, wait in results.waits.items():
                row = {"account_id": account_id, "method": method, "not_before": wait.not_before, "times": wait.times}
                upsert(session, TelegramWait, row, ("account_id", "method"))

    @staticmethod
    def _place(
        session: Session, account_id: int, places: Mapping[int, Sequence[Letter]], read_out: Mapping[int, int]
    ) -> None:
        """Note where messages stand; those that were read before this was recorded are read."""
        rows, read = [], []
        for chat_id, letters in places.items():
            for letter in letters:
                numbers = [number for ids in letter.done for number in ids if number]
                rows += [
                    {"account_id": account_id, "chat_id": chat_id, "message_id": number, "delivery_id": letter.row.id}
                    for number in numbers
                ]
                if numbers and max(numbers) <= read_out[chat_id]:
                    read.append(letter.row.id)
        insert_new(session, TelegramSent, rows, TelegramSent.message_id)
        DeliveryRepository(session).record_read(read)


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
    _chat(session, account_id, chat_id)
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


def _chat(session: Session, account_id: int, chat_id: int) -> int:
    """Lock the chat's row, which is made where it is missing; return how far the other side has read."""
    row = {"account_id": account_id, "chat_id": chat_id, "top_message": 0, "read_in": 0, "read_out": 0}
    insert_new(session, TelegramChat, [row], TelegramChat.chat_id)
    return session.scalars(
        select(TelegramChat.read_out)
        .where(TelegramChat.account_id == account_id, TelegramChat.chat_id == chat_id)
        .with_for_update()
    ).one()


def _prefix(account_id: int) -> str:
    return f"{CHANNEL}:{account_id}:"


def _has_begun(row: ClaimedDelivery) -> bool:
    """Whether a part of it is in the chat already: then it goes on as it began."""
    return bool(row.body.get(PLAN, {}).get("done"))


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
    parts = (Part(text.cut()),) if edits else parts_of(text, message.files)
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
