"""Document events: taken once, turned into rows of the ledger, and shown with what became of each.

One transaction holds the event and a ledger row for each recipient, so whoever was told 202 can rely on it, whatever becomes of
the broker. People who are not known or do not want messages are states of the event, not errors.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Row, Select, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import (
    OPEN_STATES,
    Delivery,
    DeliveryState,
    DocumentDelivery,
    DocumentEvent,
    EventState,
    Organisation,
    Recipient,
)
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.organisations import (
    kept_recipients,
    lineage,
    lock_documents,
    organisation,
    telegram_of,
)
from switchboard.db.upsert import MAX_PARAMETERS, insert_new
from switchboard.domain.organisations.digests import digest_at
from switchboard.domain.organisations.schedule import reminder_at
from switchboard.domain.organisations.templates import Purpose
from switchboard.domain.portions import portions
from switchboard.domain.telegram import pacing
from switchboard.domain.telegram.pacing import Limits
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError
from switchboard.services import audit
from switchboard.services.organisations.addresses import (
    MATTERMOST,
    TELEGRAM,
    account_of,
    ledger_recipient,
    reachable,
    subject_of,
)
from switchboard.services.organisations.habits import habit_of
from switchboard.services.organisations.stops import stops_of

DOCUMENT_KIND = "organisation.document"
DIGEST_KIND = "organisation.digest"
MOST_RECIPIENTS = 10_000
NOTICE_USEFUL_FOR = timedelta(days=7)
REMIND_BEFORE = timedelta(hours=24)
BATCH = 50

PROCESSED_BEFORE = "the document has been processed"
RECIPIENT_REMOVED = "the recipient was removed"
UNKNOWN, REMOVED, OPTED_OUT, STOPPED, NO_CHANNEL = "unknown_recipient", "removed", "opted_out", "stopped", "no_channel"
STATES: Mapping[DeliveryState, str] = {
    DeliveryState.PENDING: "waiting",
    DeliveryState.CLAIMED: "waiting",
    DeliveryState.SENDING: "sending",
    DeliveryState.UNCERTAIN: "sending",
    DeliveryState.SENT: "sent",
    DeliveryState.READ: "read",
    DeliveryState.DEAD: "undeliverable",
    DeliveryState.EXPIRED: "given_up",
}
"""The states of the ledger as a sender sees them."""
COLLECTED, GIVEN_UP = "collected", STATES[DeliveryState.EXPIRED]
UNDER_WAY = (COLLECTED, "waiting", "sending")
NOT_TOLD = (UNKNOWN, REMOVED, OPTED_OUT, STOPPED, NO_CHANNEL, "undeliverable", "given_up")
DELIVERY_STATES = (*UNDER_WAY, "sent", "read", *NOT_TOLD)


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What happened to a document, for whom. `remind_before` None: the usual; zero: no reminder. `urgent`: in no digest.

    One of a mailing has its `mailing_id`, and is of use for `useful_for`.
    """

    kind: str
    number: str
    recipients: Sequence[str]
    title: str = ""
    link: str = ""
    deadline_at: datetime | None = None
    remind_before: timedelta | None = None
    urgent: bool = False
    mailing_id: int | None = None
    useful_for: timedelta = NOTICE_USEFUL_FOR


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that stands. `batches` are Mattermost deliveries to queue now, `accounts` Telegram accounts to wake; both are
    empty for a repeat.
    """

    event_id: int
    batches: list[list[int]] = field(default_factory=list)
    accounts: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """What became of one message of an event.

    `state`: waiting (`not_before` where it is put off), collected (for the digest of `digest_at`), sending, sent, read,
    undeliverable, given_up; or unknown_recipient, removed, opted_out, stopped, no_channel, where nothing was sent at all.
    `reason` says why, and of a message over the second channel why not over the first. Mattermost does not tell what was
    read: there `sent` is the last state.
    """

    id: int
    recipient: str
    purpose: str
    channel: str | None
    state: str
    reason: str | None
    not_before: datetime | None
    finished_at: datetime | None
    remind_at: datetime | None
    digest_at: datetime | None


@dataclass(frozen=True, slots=True)
class EventView:
    """An event and how far it got. `counts` are its notices by state, `recipients` how many people it names.

    `mailing_id` is of one that a mailing made. `expected_by` is when its last message may be out at the present pace of the
    account; null when nothing waits, and while the account does not work.
    """

    id: int
    organisation_id: int
    mailing_id: int | None
    kind: str
    number: str | None
    title: str | None
    link: str | None
    deadline_at: datetime | None
    state: str
    recipients: int
    counts: Mapping[str, int]
    done: bool
    expected_by: datetime | None
    created_at: datetime
    processed_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which messages of an event: those in `state`, or with `unread` those that were told and not yet read."""

    state: str | None = None
    unread: bool = False
    after: int = 0
    limit: int = 1_000


class Events:
    """Takes and shows events. `working` says which Telegram accounts are online."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        limits: Limits,
        working: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits
        self._working = working

    def accept(
        self,
        organisation_id: int,
        key: str,
        body: bytes,
        event: NewEvent,
        *,
        signature: str | None = None,
    ) -> Accepted:
        """Take an event once under `key`; the same again gives the same id and does nothing.

        ConflictError where the key came before with another body, or the signature with another key. `body` are the bytes that
        were sent, `signature` what they were signed with.
        """
        now = self._clock()
        with self._database.write() as session:
            sender = organisation(session, organisation_id)
            made = self.enter(session, sender, key, body, event, now=now, signature=signature)
            if made is None:
                body_hash = hashlib.sha256(body).hexdigest()
                return Accepted(_repeated(session, organisation_id, key, body_hash))
            return made

    def enter(
        self,
        session: Session,
        sender: Organisation,
        key: str,
        body: bytes,
        event: NewEvent,
        *,
        now: datetime,
        signature: str | None = None,
        actor: str = "document_system",
    ) -> Accepted | None:
        """An event and its messages, in the caller's transaction; None, and nothing is done, where the key came before."""
        row = {
            "organisation_id": sender.id,
            "idempotency_key": key,
            "body_hash": hashlib.sha256(body).hexdigest(),
            "signature": None if signature is None else hashlib.sha256(signature.encode()).hexdigest(),
            "mailing_id": event.mailing_id,
            "kind": event.kind,
            "number": event.number,
            "title": event.title or None,
            "link": event.link or None,
            "deadline_at": event.deadline_at,
            "state": EventState.OPEN,
            "created_at": now,
        }
        made = insert_new(session, DocumentEvent, [row], DocumentEvent.id)
        if not made:
            return None
        event_id = int(made[0][0])
        accepted, count = self._tell(session, sender, event_id, event, now)
        _audit(session, sender.id, event_id, "document_event.accept", now, actor=actor, deliveries=count)
        return accepted

    def processed(self, organisation_id: int, event_id: int) -> Accepted:
        """Somebody acted on the document: reminders end, and what was sent says so. The same again does nothing.

        Of a mailing what waits is withdrawn.
        """
        now = self._clock()
        with self._database.write() as session:
            event = _event(session, organisation_id, event_id, lock=True)
            if event.state == EventState.PROCESSED:
                return Accepted(event_id)
            event.state, event.processed_at = EventState.PROCESSED, now
            collected = DocumentDelivery.digest_at.is_not(None)
            which = (DocumentDelivery.event_id == event_id, or_(DocumentDelivery.delivery_id.is_not(None), collected))
            # one that a digest takes just now is waited for here, so that the next statement sees it taken
            lock_documents(session, *which)
            # one statement: PostgreSQL looks a row's foreign keys up, and locks them, when one transaction changes it twice
            session.execute(
                update(DocumentDelivery)
                .where(*which)
                .values(
                    followed_at=None,
                    remind_at=None,
                    state=case((collected, GIVEN_UP), else_=DocumentDelivery.state),
                    reason=case((collected, PROCESSED_BEFORE), else_=DocumentDelivery.reason),
                    digest_at=None,
                )
                .execution_options(synchronize_session=False)
            )
            _audit(session, organisation_id, event_id, "document_event.processed", now)
        return Accepted(event_id)

    def get(self, organisation_id: int, event_id: int) -> EventView:
        """One; NotFoundError for another organisation's, too."""
        with self._database.read() as session:
            event = _event(session, organisation_id, event_id)
            return self._views(session, [event])[0]

    def latest(self, organisation_id: int, *, before_id: int | None = None, limit: int = 50) -> list[EventView]:
        """Newest first; NotFoundError for an unknown organisation."""
        query = select(DocumentEvent).where(DocumentEvent.organisation_id == organisation_id)
        if before_id is not None:
            query = query.where(DocumentEvent.id < before_id)
        with self._database.read() as session:
            organisation(session, organisation_id)
            return self._views(session, session.scalars(query.order_by(DocumentEvent.id.desc()).limit(limit)).all())

    def deliveries(self, organisation_id: int, event_id: int, wanted: DeliveryFilter) -> list[EventDelivery]:
        """Every message of an event, in the order of its recipients, reminders and second channels behind."""
        if wanted.state is not None and wanted.state not in DELIVERY_STATES:
            raise InvalidInputError(f"the state is one of {', '.join(DELIVERY_STATES)}", field="state")
        now = self._clock()
        with self._database.read() as session:
            _event(session, organisation_id, event_id)
            query = _deliveries(event_id).where(DocumentDelivery.id > wanted.after)
            if wanted.state is not None:
                inside = [state for state, word in STATES.items() if word == wanted.state]
                of_the_ledger = and_(DocumentDelivery.state.is_(None), Delivery.state.in_(inside))
                query = query.where(or_(DocumentDelivery.state == wanted.state, of_the_ledger))
            if wanted.unread:
                query = query.where(
                    DocumentDelivery.state.is_(None),
                    DocumentDelivery.channel == TELEGRAM,
                    Delivery.state == DeliveryState.SENT,
                )
            rows = session.execute(query.order_by(DocumentDelivery.id).limit(wanted.limit)).all()
        return [_delivery_view(row, now) for row in rows]

    def _tell(
        self, session: Session, sender: Organisation, event_id: int, event: NewEvent, now: datetime
    ) -> tuple[Accepted, int]:
        """Enter the notices of those who are told now, which are counted, and collect for digests."""
        names = list(dict.fromkeys(event.recipients))
        known = kept_recipients(session, sender.id, names)
        stops = stops_of(session, known.values())
        chain = lineage(session, sender.id)
        number = telegram_of(session, sender.id)
        account_id = None if number is None else number.account_id
        links: list[dict[str, Any]] = []
        notices: list[tuple[dict[str, Any], Recipient]] = []
        for name in names:
            recipient = known.get(name)
            link = _link(event_id, name, recipient)
            links.append(link)
            link["state"] = refusal(recipient, account_id, stops)
            if recipient is None or link["state"] is not None:
                continue
            channels = reachable(recipient, account_id)
            link["channel"] = channels[0]
            if channels[0] != recipient.channel:
                link["reason"] = f"{recipient.channel}: the organisation has no number to write from"
            link["remind_at"] = _reminder(sender, recipient, event, now)
            link["digest_at"] = _digest(chain, recipient, event, now)
            if link["digest_at"] is None:
                notices.append((link, recipient))
            else:
                link["state"] = COLLECTED
        batches, accounts = self._enter(session, event_id, notices, account_id, event.useful_for, now)
        insert_new(session, DocumentDelivery, links, DocumentDelivery.id)
        return Accepted(event_id, batches, accounts), len(notices)

    def _enter(
        self,
        session: Session,
        event_id: int,
        notices: Sequence[tuple[dict[str, Any], Recipient]],
        account_id: int | None,
        useful_for: timedelta,
        now: datetime,
    ) -> tuple[list[list[int]], list[int]]:
        """The ledger's rows of notices, whose ids stand in the links; return what `to_queue` does."""
        over_telegram = [recipient.contacted_at is None for link, recipient in notices if link["channel"] == TELEGRAM]
        slots = iter(pacing.slots_s(over_telegram, self._limits))
        new: list[NewDelivery] = []
        for link, recipient in notices:
            wait_s = next(slots) if link["channel"] == TELEGRAM else 0.0
            new.append(
                notice_row(
                    event_id,
                    recipient,
                    link["channel"],
                    Purpose.NOTICE,
                    account_id=account_id,
                    expires_at=now + useful_for + timedelta(seconds=wait_s),
                    not_before=now + timedelta(seconds=wait_s) if wait_s else None,
                )
            )
        ids = DeliveryRepository(session).enter(new, now)  # of an event that is new every key is
        for (link, _), row in zip(notices, new, strict=True):
            link["delivery_id"] = ids[row.key]
        return to_queue(new, ids)

    def _views(self, session: Session, events: Sequence[DocumentEvent]) -> list[EventView]:
        counts = _counts(session, [event.id for event in events])
        ends = {event.id: self._expected_by(session, event, counts[event.id]) for event in events}
        return [_event_view(event, counts[event.id], ends[event.id]) for event in events]

    def _expected_by(self, session: Session, event: DocumentEvent, counts: Counter[str]) -> datetime | None:
        """From what waits of this event; another mailing of the same number comes on top."""
        if not any(counts[state] for state in UNDER_WAY):
            return None
        now = self._clock()
        number = telegram_of(session, event.organisation_id)
        digests = self._digests_by(session, event.id)
        if number is None or number.account_id is None:
            return max(now, digests or now)
        if not self._working(number.account_id):
            return None
        mine = session.execute(
            select(Recipient.contacted_at.is_(None), func.count(), func.max(Delivery.next_attempt_at))
            .select_from(DocumentDelivery)
            .join(Delivery, Delivery.id == DocumentDelivery.delivery_id)
            .join(Recipient, Recipient.id == DocumentDelivery.recipient_id)
            .where(
                DocumentDelivery.event_id == event.id,
                DocumentDelivery.channel == TELEGRAM,
                Delivery.state.in_(OPEN_STATES),
            )
            .group_by(Recipient.contacted_at.is_(None))
        ).all()
        waiting = {bool(first): count for first, count, _ in mine}
        needed_s = pacing.duration_s(waiting.get(False, 0), waiting.get(True, 0), self._limits)
        ends = [now + timedelta(seconds=needed_s), *(latest for _, _, latest in mine)]
        return max(ends if digests is None else [*ends, digests])

    def _digests_by(self, session: Session, event_id: int) -> datetime | None:
        """When the last digest that names the event may be out; None where it waits for none."""
        found = session.execute(
            select(
                DocumentDelivery.channel,
                Recipient.contacted_at.is_(None),
                func.count(),
                func.max(DocumentDelivery.digest_at),
            )
            .join(Recipient, Recipient.id == DocumentDelivery.recipient_id)
            .where(DocumentDelivery.event_id == event_id, DocumentDelivery.digest_at.is_not(None))
            .group_by(DocumentDelivery.channel, Recipient.contacted_at.is_(None))
        ).all()
        if not found:
            return None
        over_telegram = {bool(first): count for channel, first, count, _ in found if channel == TELEGRAM}
        needed_s = pacing.duration_s(over_telegram.get(False, 0), over_telegram.get(True, 0), self._limits)
        latest: datetime = max(row[3] for row in found if row[3] is not None)
        return latest + timedelta(seconds=needed_s)


def notice_row(
    event_id: int,
    recipient: Recipient,
    channel: str,
    purpose: Purpose,
    *,
    account_id: int | None,
    expires_at: datetime,
    not_before: datetime | None = None,
) -> NewDelivery:
    """The ledger row of a message about an event; its body holds ids alone."""
    return NewDelivery(
        channel=channel,
        kind=DOCUMENT_KIND,
        key=f"{DOCUMENT_KIND}|{event_id}|{recipient.id}|{channel}|{purpose}",
        subject=subject_of(channel, account_id, recipient),
        recipient=ledger_recipient(channel, recipient),
        body={"event_id": event_id, "recipient_id": recipient.id, "purpose": str(purpose)},
        expires_at=expires_at,
        not_before=not_before,
    )


def digest_row(
    first_id: int,
    recipient: Recipient,
    channel: str,
    *,
    account_id: int | None,
    expires_at: datetime,
    not_before: datetime | None = None,
) -> NewDelivery:
    """The ledger row of one message about several documents: those whose `delivery_id` is its number.

    `first_id` is the first of their document_deliveries. It alone makes the key unique: a row is taken once, whereas two
    digests may be of one instant, where an event was stored late.
    """
    return NewDelivery(
        channel=channel,
        kind=DIGEST_KIND,
        key=f"{DIGEST_KIND}|{recipient.id}|{channel}|{first_id}",
        subject=subject_of(channel, account_id, recipient),
        recipient=ledger_recipient(channel, recipient),
        body={"recipient_id": recipient.id},
        expires_at=expires_at,
        not_before=not_before,
    )


def ids_of_keys(session: Session, keys: Sequence[str]) -> dict[str, int]:
    """The ledger rows of these keys."""
    found: dict[str, int] = {}
    for some in portions(keys, MAX_PARAMETERS):
        found |= {
            row.key: row.id for row in session.execute(select(Delivery.id, Delivery.key).where(Delivery.key.in_(some)))
        }
    return found


def to_queue(rows: Iterable[NewDelivery], ids: Mapping[str, int]) -> tuple[list[list[int]], list[int]]:
    """Of rows that were entered under these ids: Mattermost's in batches, and the Telegram accounts that send the others."""
    mattermost: set[int] = set()
    accounts: set[int] = set()
    for row in rows:
        if row.key not in ids:
            continue
        if row.channel == MATTERMOST:
            mattermost.add(ids[row.key])
        elif (account_id := account_of(row.subject)) is not None:
            accounts.add(account_id)
    return portions(sorted(mattermost), BATCH), sorted(accounts)


def _repeated(session: Session, organisation_id: int, key: str, body_hash: str) -> int:
    found = session.execute(
        select(DocumentEvent.id, DocumentEvent.body_hash).where(
            DocumentEvent.organisation_id == organisation_id, DocumentEvent.idempotency_key == key
        )
    ).one_or_none()
    if found is None:
        raise ConflictError("this signed request came before under another Idempotency-Key: sign it anew")
    if found.body_hash != body_hash:
        raise ConflictError("this Idempotency-Key came before with another body: take a new key for another event")
    return int(found.id)


def _event(session: Session, organisation_id: int, event_id: int, *, lock: bool = False) -> DocumentEvent:
    # rows that refer to the event are no matter of this lock: who writes one may hold what its holder waits for
    event = session.get(DocumentEvent, event_id, with_for_update={"key_share": True} if lock else None)
    if event is None or event.organisation_id != organisation_id:
        raise NotFoundError(f"this organisation has no event {event_id}")
    return event


def _link(event_id: int, external_id: str, recipient: Recipient | None) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "external_id": external_id,
        "recipient_id": None if recipient is None else recipient.id,
        "purpose": Purpose.NOTICE,
        "channel": None,
        "delivery_id": None,
        "state": None,
        "reason": None,
        "remind_at": None,
        "digest_at": None,
        "followed_at": None,
    }


def refusal(recipient: Recipient | None, account_id: int | None, stops: Container[int]) -> str | None:
    """Why nothing is sent to a recipient; `stops` are the ids of those who answered STOP."""
    if recipient is None:
        return UNKNOWN
    if recipient.removed_at is not None:
        return REMOVED
    if recipient.id in stops:
        return STOPPED
    if not recipient.opted_in:
        return OPTED_OUT
    return None if reachable(recipient, account_id) else NO_CHANNEL


def _reminder(sender: Organisation, recipient: Recipient, event: NewEvent, now: datetime) -> datetime | None:
    before = REMIND_BEFORE if event.remind_before is None else event.remind_before
    if event.deadline_at is None or not before:
        return None
    return reminder_at(
        event.deadline_at,
        before,
        now=now,
        zone=ZoneInfo(recipient.zone or sender.zone),
        quiet_from=recipient.quiet_from,
        quiet_until=recipient.quiet_until,
    )


def _digest(chain: Sequence[Organisation], recipient: Recipient, event: NewEvent, now: datetime) -> datetime | None:
    """When it is told in a digest; None for at once. A mailing has its own hour, and more words than a line."""
    if event.urgent or event.mailing_id is not None:
        return None
    return digest_at(
        habit_of(chain, recipient),
        now,
        ZoneInfo(recipient.zone or chain[0].zone),
        quiet_from=recipient.quiet_from,
        quiet_until=recipient.quiet_until,
        deadline=event.deadline_at,
    )


def _deliveries(event_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            DocumentDelivery.id,
            DocumentDelivery.external_id,
            DocumentDelivery.purpose,
            DocumentDelivery.channel,
            DocumentDelivery.state.label("own_state"),
            DocumentDelivery.reason.label("own_reason"),
            DocumentDelivery.remind_at,
            DocumentDelivery.digest_at,
            Delivery.state,
            Delivery.reason,
            Delivery.next_attempt_at,
            Delivery.finished_at,
        )
        .outerjoin(Delivery, Delivery.id == DocumentDelivery.delivery_id)
        .where(DocumentDelivery.event_id == event_id)
    )


def _delivery_view(row: Row[Any], now: datetime) -> EventDelivery:
    waits = row.state == DeliveryState.PENDING and row.next_attempt_at > now
    return EventDelivery(
        id=row.id,
        recipient=row.external_id,
        purpose=row.purpose,
        channel=row.channel,
        state=row.own_state or STATES[DeliveryState(row.state)],
        reason="; ".join(reason for reason in (row.own_reason, row.reason) if reason) or None,
        not_before=row.next_attempt_at if waits else None,
        finished_at=row.finished_at,
        remind_at=row.remind_at,
        digest_at=row.digest_at,
    )


def _counts(session: Session, event_ids: Sequence[int]) -> dict[int, Counter[str]]:
    """How the notices of each event stand, one for each person: of two channels the one that was taken last."""
    of_a_person = (DocumentDelivery.event_id, DocumentDelivery.external_id)
    notices = (
        select(
            DocumentDelivery.event_id,
            DocumentDelivery.state.label("own"),
            Delivery.state.label("state"),
            func.row_number().over(partition_by=of_a_person, order_by=DocumentDelivery.id.desc()).label("place"),
        )
        .outerjoin(Delivery, Delivery.id == DocumentDelivery.delivery_id)
        .where(DocumentDelivery.event_id.in_(event_ids), DocumentDelivery.purpose == Purpose.NOTICE)
        .subquery()
    )
    rows = session.execute(
        select(notices.c.event_id, notices.c.own, notices.c.state, func.count())
        .where(notices.c.place == 1)
        .group_by(notices.c.event_id, notices.c.own, notices.c.state)
    )
    counts: dict[int, Counter[str]] = {event_id: Counter() for event_id in event_ids}
    for event_id, own, state, count in rows:
        counts[event_id][own or STATES[DeliveryState(state)]] += count
    return counts


def _event_view(event: DocumentEvent, counts: Counter[str], expected_by: datetime | None) -> EventView:
    return EventView(
        id=event.id,
        organisation_id=event.organisation_id,
        mailing_id=event.mailing_id,
        kind=event.kind,
        number=event.number,
        title=event.title,
        link=event.link,
        deadline_at=event.deadline_at,
        state=event.state,
        recipients=counts.total(),
        counts=dict(counts),
        done=not any(counts[state] for state in UNDER_WAY),
        expected_by=expected_by,
        created_at=event.created_at,
        processed_at=event.processed_at,
    )


def _audit(
    session: Session,
    organisation_id: int,
    event_id: int,
    action: str,
    now: datetime,
    *,
    actor: str = "document_system",
    **details: object,
) -> None:
    details = {"event_id": event_id, **details}
    audit.record_of_organisation(session, organisation_id, action, actor, now, **details)
