"""What follows from the end of a message: the second channel, the changed notice, the reminder.

Level-triggered: every pass looks at the messages whose end was not acted on yet, so nothing rests on whoever sent them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import TypeVar

from sqlalchemy import and_, bindparam, exists, select
from sqlalchemy.orm import Session, aliased

from switchboard.db.engine import Database
from switchboard.db.models import (
    OPEN_STATES,
    Delivery,
    DeliveryState,
    DocumentDelivery,
    DocumentEvent,
    EventState,
    Recipient,
)
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.organisations import accounts_of
from switchboard.db.upsert import MAX_PARAMETERS
from switchboard.domain.organisations.templates import Purpose
from switchboard.domain.portions import portions
from switchboard.services.organisations.addresses import TELEGRAM, account_of, reachable
from switchboard.services.organisations.events import (
    DIGEST_KIND,
    GIVEN_UP,
    NOTICE_USEFUL_FOR,
    PROCESSED_BEFORE,
    RECIPIENT_REMOVED,
    REMOVED,
    digest_row,
    ids_of_keys,
    notice_row,
    to_queue,
)
from switchboard.services.organisations.moving import move_waiting
from switchboard.services.organisations.notices import EDIT_KIND
from switchboard.services.organisations.stops import ANSWERED_STOP, people_known, stops_of

OPTED_OUT_SINCE = "the recipient opted out"
ENDED = (DeliveryState.SENT, DeliveryState.READ, DeliveryState.DEAD, DeliveryState.EXPIRED)
ARRIVED = (DeliveryState.SENT, DeliveryState.READ)
BEGUN = (*ARRIVED, DeliveryState.SENDING, DeliveryState.UNCERTAIN)
EDIT_USEFUL_FOR = timedelta(days=2)
WRITTEN_BEFORE = timedelta(minutes=15)
"""A message is written so long before the first byte of its first attempt leaves, at most (the lease is shorter): what was
processed earlier is not in it. What was processed later counts as named, also where the message was put off and written anew:
at worst it is changed to strike out one more.
"""


@dataclass(frozen=True, slots=True)
class Followed:
    """What a pass did: messages looked at, Mattermost deliveries to queue now, Telegram accounts to wake."""

    count: int
    batches: list[list[int]] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)


_Read = TypeVar("_Read", Recipient, DocumentEvent)
_Message = tuple[Delivery, Sequence[DocumentDelivery]]


@dataclass(frozen=True, slots=True)
class _Known:
    """What a pass reads once for all of its messages: people and events by id, accounts by organisation.

    Of what may take another channel: who answered STOP, and the channels that were tried, by the number of the link.
    """

    recipients: Mapping[int, Recipient]
    events: Mapping[int, DocumentEvent]
    accounts: Mapping[int, int]
    stops: Container[int]
    tried: Mapping[int, set[str]]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row for the ledger, and its places in events (an edit has none, a digest one in each of its events)."""

    row: NewDelivery
    links: Sequence[DocumentDelivery] = ()


class Following:
    """Acts on what became of messages."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def follow(self, *, limit: int = 1_000) -> Followed:
        """Act on messages that ended, in one transaction. Whoever does the same at once takes others."""
        now = self._clock()
        with self._database.write() as session:
            messages = _ended(session, limit)
            for _, links in messages:
                for link in links:
                    link.followed_at = now
            known = _known(session, messages)
            new = [entry for delivery, links in messages for entry in self._after(known, links, delivery, now)]
            return _entered(session, new, sum(len(links) for _, links in messages), now)

    def move(self, *, limit: int = 1_000) -> Followed:
        """Let what waits for a number that its organisation gave up leave it, in one transaction."""
        with self._database.write() as session:
            moved = move_waiting(session, self._clock(), limit=limit)
        return Followed(moved.count, accounts=moved.accounts)

    def remind(self, *, limit: int = 1_000) -> Followed:
        """Enter the reminders that are due, in one transaction. Nobody is reminded of a notice that did not go out yet."""
        now = self._clock()
        with self._database.write() as session:
            links = session.scalars(
                select(DocumentDelivery)
                .where(DocumentDelivery.remind_at.is_not(None), DocumentDelivery.remind_at <= now)
                .order_by(DocumentDelivery.remind_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            ).all()
            new: list[_Entry] = []
            for link in links:
                link.remind_at = None
                new += self._reminder(session, link, now)
            return _entered(session, new, len(links), now)

    def _after(
        self, known: _Known, links: Sequence[DocumentDelivery], delivery: Delivery, now: datetime
    ) -> list[_Entry]:
        """What follows for the documents of one message: one, or those of a digest."""
        recipient = known.recipients.get(links[0].recipient_id or 0)
        if delivery.state == DeliveryState.EXPIRED and delivery.reason == RECIPIENT_REMOVED:
            for link in links:
                link.state = REMOVED
        if recipient is None:
            return []
        events = known.events
        if delivery.state in ARRIVED:
            named = [link for link in links if not _was_left_out(link, events[link.event_id], delivery)]
            # of a mailing that was withdrawn, those who have the message keep it
            documents = [link for link in named if events[link.event_id].mailing_id is None]
            processed = [link for link in documents if events[link.event_id].state == EventState.PROCESSED]
            return [_Entry(_edit(processed[0], delivery, now))] if processed else []
        return self._second(known, links, delivery, recipient, now) if _failed(delivery) else []

    def _second(
        self,
        known: _Known,
        links: Sequence[DocumentDelivery],
        delivery: Delivery,
        recipient: Recipient,
        now: datetime,
    ) -> list[_Entry]:
        """The other channel, where the person has one that was not tried: a digest goes there as one.

        What came too late goes there while it is of use, else the sender sees why not.
        """
        events, account_id = known.events, known.accounts.get(recipient.organisation_id)
        tried = {channel for link in links for channel in known.tried[link.id]}
        rest = [channel for channel in reachable(recipient, account_id) if channel not in tried]
        if not rest or delivery.expires_at is None:
            return []
        until = delivery.expires_at
        stopped = recipient.id in known.stops
        if _came_too_late(delivery):
            unwanted = ANSWERED_STOP if stopped else None if recipient.opted_in else OPTED_OUT_SINCE
            links = _of_use(links, events, rest[0], unwanted, now)
            until = max((_useful_until(events[link.event_id], now) for link in links), default=now)
        else:
            links = [link for link in links if not stopped and events[link.event_id].state == EventState.OPEN]
        if not links:
            return []
        first = links[0]
        if delivery.kind == DIGEST_KIND:
            row = digest_row(first.id, recipient, rest[0], account_id=account_id, expires_at=until)
        else:
            purpose = Purpose(first.purpose)
            row = notice_row(first.event_id, recipient, rest[0], purpose, account_id=account_id, expires_at=until)
        why = f"{delivery.channel}: {delivery.reason}"
        placed = [_placed(link, row, Purpose(link.purpose), reason=why, remind_at=link.remind_at) for link in links]
        for link in links:
            link.remind_at = None
        return [_Entry(row, placed)]

    def _reminder(self, session: Session, link: DocumentDelivery, now: datetime) -> list[_Entry]:
        event = session.get_one(DocumentEvent, link.event_id)
        recipient = None if link.recipient_id is None else session.get(Recipient, link.recipient_id)
        notice = None if link.delivery_id is None else session.get(Delivery, link.delivery_id)
        if recipient is None or notice is None or notice.state not in BEGUN or link.channel is None:
            return []
        if event.state != EventState.OPEN or event.deadline_at is None or event.deadline_at <= now:
            return []
        row = notice_row(
            event.id,
            recipient,
            link.channel,
            Purpose.REMINDER,
            account_id=account_of(notice.subject),
            expires_at=event.deadline_at,
        )
        return [_Entry(row, [_placed(link, row, Purpose.REMINDER, reason=None, remind_at=None)])]


def _ended(session: Session, limit: int) -> list[_Message]:
    """Messages that ended and were not acted on, with their documents, all locked."""
    in_index = Delivery.state.in_(bindparam(None, list(OPEN_STATES), expanding=True, literal_execute=True))
    # found first, by its partial index: PostgreSQL would rather merge, and read the whole ledger for it
    not_over = select(Delivery.id).where(in_index).cte("not_over").prefix_with("MATERIALIZED", dialect="postgresql")
    is_open = exists().where(not_over.c.id == DocumentDelivery.delivery_id)
    links = session.scalars(
        select(DocumentDelivery)
        .where(DocumentDelivery.followed_at.is_(None), DocumentDelivery.delivery_id.is_not(None), ~is_open)
        .order_by(DocumentDelivery.delivery_id, DocumentDelivery.id)
        .limit(limit)
        .with_for_update(of=DocumentDelivery, skip_locked=True)
    ).all()
    by_delivery = {
        delivery_id: list(some)
        for delivery_id, some in groupby(_whole(links, limit), key=lambda link: link.delivery_id)
        if delivery_id is not None
    }
    messages: list[_Message] = []
    for some in portions(list(by_delivery), MAX_PARAMETERS):
        rows = session.scalars(
            select(Delivery)
            .where(Delivery.id.in_(some), Delivery.state.in_(ENDED))
            .order_by(Delivery.id)
            # the message's row too, so that its documents stay together
            .with_for_update(skip_locked=True)
        )
        messages += [(row, by_delivery[row.id]) for row in rows]
    return messages


def _whole(links: Sequence[DocumentDelivery], limit: int) -> Sequence[DocumentDelivery]:
    """Without the last message where the limit may have cut it: the next pass has all of its documents."""
    if len(links) < limit:
        return links
    whole = [link for link in links if link.delivery_id != links[-1].delivery_id]
    return whole or links


def _known(session: Session, messages: Sequence[_Message]) -> _Known:
    """Read what the messages are about; who was reached is remembered here, before it is asked who answered STOP."""
    links = [link for _, some in messages for link in some]
    recipients = _by_id(session, Recipient, {link.recipient_id for link in links if link.recipient_id is not None})
    events = _by_id(session, DocumentEvent, {link.event_id for link in links})
    of_known = [
        (row, some, recipients[some[0].recipient_id or 0])
        for row, some in messages
        if some[0].recipient_id in recipients
    ]
    _remember(
        session, [(row, person) for row, _, person in of_known if row.state in ARRIVED and row.channel == TELEGRAM]
    )
    failed = [(some, person) for row, some, person in of_known if _failed(row)]
    return _Known(
        recipients,
        events,
        accounts_of(session, {person.organisation_id for _, person in failed}),
        stops_of(session, {person.id: person for _, person in failed}.values()),
        _tried(session, [link for some, _ in failed for link in some]),
    )


def _by_id(session: Session, model: type[_Read], ids: Collection[int]) -> dict[int, _Read]:
    found: dict[int, _Read] = {}
    for some in portions(sorted(ids), MAX_PARAMETERS):
        found |= {row.id: row for row in session.scalars(select(model).where(model.id.in_(some)))}
    return found


def _tried(session: Session, links: Sequence[DocumentDelivery]) -> dict[int, set[str]]:
    """The channels over which the person was told of the document for the same purpose, by the number of the link."""
    other = aliased(DocumentDelivery)
    same = and_(
        other.event_id == DocumentDelivery.event_id,
        other.external_id == DocumentDelivery.external_id,
        other.purpose == DocumentDelivery.purpose,
    )
    found: defaultdict[int, set[str]] = defaultdict(set)
    for some in portions([link.id for link in links], MAX_PARAMETERS):
        rows = session.execute(
            select(DocumentDelivery.id, other.channel).join(other, same).where(DocumentDelivery.id.in_(some))
        )
        for link_id, channel in rows:
            if channel is not None:
                found[link_id].add(channel)
    return found


def _failed(delivery: Delivery) -> bool:
    return delivery.state == DeliveryState.DEAD or _came_too_late(delivery)


def _came_too_late(delivery: Delivery) -> bool:
    """Whether it waited for its sender until it was of no use; what was not wanted any more ended before."""
    ended = delivery.finished_at
    late = ended is not None and delivery.expires_at is not None and ended >= delivery.expires_at
    return late and delivery.state == DeliveryState.EXPIRED


def _of_use(
    links: Sequence[DocumentDelivery],
    events: Mapping[int, DocumentEvent],
    channel: str,
    unwanted: str | None,
    now: datetime,
) -> list[DocumentDelivery]:
    """The documents that the person should still be told of; of the others the sender sees why not over this channel."""
    found: list[DocumentDelivery] = []
    for link in links:
        why = unwanted or _of_no_use(events[link.event_id], now)
        if why is None:
            found.append(link)
        elif not (link.reason or "").startswith(f"{channel}: "):  # `processed` has it looked at again
            link.reason = f"{channel}: {why}"
    return found


def _useful_until(event: DocumentEvent, now: datetime) -> datetime:
    until = now + NOTICE_USEFUL_FOR
    return until if event.deadline_at is None else min(until, event.deadline_at)


def _of_no_use(event: DocumentEvent, now: datetime) -> str | None:
    if event.mailing_id is not None:
        return "the time of the mailing is over"
    if event.state == EventState.PROCESSED:
        return PROCESSED_BEFORE
    if event.number is None:
        return "what the document says was erased"
    if event.deadline_at is not None and event.deadline_at <= now:
        return "the deadline has passed"
    return None


def _was_left_out(link: DocumentDelivery, event: DocumentEvent, delivery: Delivery) -> bool:
    """Whether a digest went out without this document, which had been processed by then; its sender is told so."""
    if delivery.kind != DIGEST_KIND or event.processed_at is None or delivery.first_attempt_at is None:
        return False
    left_out = event.processed_at < delivery.first_attempt_at - WRITTEN_BEFORE
    if left_out:
        link.state, link.reason = GIVEN_UP, PROCESSED_BEFORE
    return left_out


def _entered(session: Session, new: list[_Entry], count: int, now: datetime) -> Followed:
    """Enter the rows, and their places with the numbers they got."""
    rows = [entry.row for entry in new]
    ids = DeliveryRepository(session).enter(rows, now)
    by_key = ids | ids_of_keys(session, [row.key for row in rows if row.key not in ids])
    for entry in new:
        for link in entry.links:
            link.delivery_id = by_key[entry.row.key]
            session.add(link)
    batches, accounts = to_queue(rows, ids)
    return Followed(count, batches, accounts)


def _placed(
    link: DocumentDelivery, row: NewDelivery, purpose: Purpose, *, reason: str | None, remind_at: datetime | None
) -> DocumentDelivery:
    """The place of another message to the same person."""
    return DocumentDelivery(
        event_id=link.event_id,
        external_id=link.external_id,
        recipient_id=link.recipient_id,
        purpose=purpose,
        channel=row.channel,
        reason=reason,
        remind_at=remind_at,
    )


def _remember(session: Session, reached: Iterable[tuple[Delivery, Recipient]]) -> None:
    """They are no strangers any more; and who they are, so that their answers are theirs under any name they take later."""
    unknown: defaultdict[int | None, list[Recipient]] = defaultdict(list)
    for delivery, recipient in reached:
        if recipient.contacted_at is None:
            recipient.contacted_at = delivery.finished_at
        if recipient.telegram_user_id is None:
            unknown[account_of(delivery.subject)].append(recipient)
    for account_id, recipients in unknown.items():
        people = {} if account_id is None else people_known(session, account_id, recipients)
        for recipient in recipients:
            recipient.telegram_user_id = people.get(recipient.id)


def _edit(link: DocumentDelivery, delivery: Delivery, now: datetime) -> NewDelivery:
    """The message, changed to say that the document has been processed. A digest may be changed for each of its documents."""
    of_a_digest = f"|{link.id}" if delivery.kind == DIGEST_KIND else ""
    return NewDelivery(
        channel=delivery.channel,
        kind=EDIT_KIND,
        key=f"{EDIT_KIND}|{delivery.id}{of_a_digest}",
        subject=delivery.subject,
        recipient=delivery.recipient,
        body={"event_id": link.event_id, "recipient_id": link.recipient_id, "delivery_id": delivery.id},
        expires_at=now + EDIT_USEFUL_FOR,
    )
