"""Change notices: what changed since the owner was told last, as one message, out of quiet hours.

Polls keep what changed objects showed before (see the repository of snapshots). When an account is polled and expanded to
the end, the difference to the store goes into the ledger in the transaction that forgets the snapshots: whatever is killed,
a change is told once, and one that was taken back meanwhile not at all.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarOccurrence, CalendarSubscriber
from switchboard.db.repositories import snapshots as rows
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.db.repositories.heartbeats import beat
from switchboard.db.repositories.subscribers import lock_accounts, lock_subscriber, reader_of
from switchboard.db.upsert import MAX_PARAMETERS
from switchboard.deadlines import cap_timeout_s
from switchboard.domain.calendar.changes import Change, ChangeKind, Snapshot, find_changes
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.quiet_hours import quiet_hours_end
from switchboard.domain.portions import portions
from switchboard.services.calendar.questions import change_questions, question_rows
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.texts.answers import more_questions_text
from switchboard.texts.changes import changes_message
from switchboard.texts.locales import Texts

KIND = "calendar.changes"
HEARTBEAT = "calendar.changes.scan_due"
MAX_KEPT = 40
"""Changes of one kind that a notice holds; of the others it tells the number."""
USEFUL_FOR = timedelta(days=7)
BUDGET_S = 10.0


class Changes:
    """The change notices' use cases; renders the ledger's change notices."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def claim_due(self, *, limit: int = 1_000, batch: int = 50) -> list[list[int]]:
        """Enter what changed in the ledger, one message a person; return the new deliveries' ids in batches.

        Each person is a transaction of their own; after about 10 s the rest is left to the next call.
        """
        stop_at = time.monotonic() + cap_timeout_s(BUDGET_S)
        with self._database.write() as session:
            beat(session, HEARTBEAT, self._clock())
        with self._database.read() as session:
            waiting = rows.subscribers_with_changes(session, self._clock(), limit)
        ids: list[int] = []
        for subscriber_id in waiting:
            if time.monotonic() > stop_at:
                break
            with self._database.write() as session:
                ids.extend(_tell(session, subscriber_id, self._clock()))
        return portions(ids, batch)

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        """See Renderer: in the zone and language of now, without what was switched off since, and out of quiet hours."""
        with self._database.read() as session:
            return {delivery.id: _render(session, delivery, now) for delivery in deliveries}


def _tell(session: Session, subscriber_id: int, now: datetime) -> list[int]:
    """Turn a subscriber's snapshots into at most one delivery, or put them off to the end of quiet hours."""
    subscriber = lock_subscriber(session, subscriber_id)
    if subscriber is None:
        return []
    lock_accounts(session, subscriber_id)  # keeps polls out
    ready = rows.ready_snapshots(session, subscriber_id, now)
    if not ready:
        return []
    enabled = subscriber.changes_enabled or subscriber.answers_enabled
    quiet_until = _quiet_until(subscriber, now)
    if enabled and quiet_until is not None:
        subscriber.changes_held_until = quiet_until
        return []
    subscriber.changes_held_until = None
    found = _wanted(_changes(session, subscriber, ready, now), subscriber) if enabled else []
    rows.forget(session, [one.id for one in ready])
    if not found:
        return []
    return DeliveryRepository(session).add([_delivery(subscriber, found, ready, now)], now)


def _changes(
    session: Session, subscriber: CalendarSubscriber, ready: Sequence[rows.ReadySnapshot], now: datetime
) -> tuple[Change, ...]:
    zone = ZoneInfo(subscriber.zone)
    changed = {one.object_id for one in ready if one.object_id is not None}
    after: dict[int, list[Occurrence]] = {}
    for row in _select(
        session, (CalendarOccurrence.object_id, CalendarOccurrence.details), CalendarOccurrence.object_id, changed
    ):
        after.setdefault(row.object_id, []).append(Occurrence.from_json(row.details))
    snapshots = [
        Snapshot(
            calendar_id=one.calendar_id,
            before=tuple(Occurrence.from_json(details) for details in one.before),
            after=tuple(after.get(one.object_id, ())) if one.object_id is not None else (),
            known=one.known,
            until=one.until,
        ).read_in(zone)
        for one in ready
    ]
    uids = {occurrence.uid for one in snapshots for occurrence in (*one.before, *one.after)}
    accounts = session.scalars(select(CalendarAccount.id).where(CalendarAccount.subscriber_id == subscriber.id)).all()
    copies = [
        row.id
        for row in _select(
            session, (CalendarOccurrence.id, CalendarOccurrence.object_id), CalendarOccurrence.uid, uids, accounts
        )
        if row.object_id not in changed
    ]
    elsewhere = [
        Occurrence.from_json(row.details)
        for row in _select(session, (CalendarOccurrence.details,), CalendarOccurrence.id, copies)
    ]
    return find_changes(snapshots, now, elsewhere=elsewhere)


def _select(
    session: Session, columns: Sequence[Any], key: Any, values: Collection[Any], accounts: Sequence[int] = ()
) -> Iterator[Any]:
    """Occurrences whose `key` is among `values`, those of `accounts` where some are given."""
    for some in portions(sorted(values), MAX_PARAMETERS - 100):
        query = select(*columns).where(key.in_(some))
        if accounts:
            query = query.where(CalendarOccurrence.account_id.in_(accounts))
        yield from session.execute(query)


def _wanted(changes: Sequence[Change], subscriber: CalendarSubscriber) -> list[Change]:
    return [
        one
        for one in changes
        if (subscriber.answers_enabled if one.kind is ChangeKind.ANSWERED else subscriber.changes_enabled)
    ]


def _delivery(
    subscriber: CalendarSubscriber, changes: Sequence[Change], ready: Sequence[rows.ReadySnapshot], now: datetime
) -> NewDelivery:
    kept: list[Change] = []
    more: dict[str, int] = {}
    for kind in ChangeKind:
        of_kind = [one for one in changes if one.kind is kind]
        kept += of_kind[:MAX_KEPT]
        if len(of_kind) > MAX_KEPT:
            more[kind.value] = len(of_kind) - MAX_KEPT
    # A database that was restored gives ids again; with the time and what is told no two notices have one key.
    told = hashlib.sha256(repr(([one.id for one in ready], now.isoformat(), changes)).encode()).hexdigest()[:32]
    return NewDelivery(
        channel="mattermost",
        kind=KIND,
        key=f"changes:{subscriber.mattermost_user_id}:{told}",
        subject=f"mattermost:{subscriber.mattermost_user_id}",
        recipient=subscriber.mattermost_user_id,
        body={"subscriber_id": subscriber.id, "changes": [one.to_json() for one in kept], "more": more},
        expires_at=now + USEFUL_FOR,
    )


def _quiet_until(subscriber: CalendarSubscriber, now: datetime) -> datetime | None:
    return quiet_hours_end(now, ZoneInfo(subscriber.zone), subscriber.quiet_from, subscriber.quiet_until)


def _render(session: Session, delivery: ClaimedDelivery, now: datetime) -> Rendered | Obsolete | Postponed:
    subscriber = reader_of(session, delivery.recipient)
    if subscriber is None:
        return Obsolete("the calendar was disconnected")
    told = [Change.from_json(one) for one in delivery.body["changes"]]
    changes = _wanted(told, subscriber)
    if not changes:
        return Obsolete("change notices were switched off")
    quiet_until = _quiet_until(subscriber, now)
    if quiet_until is not None:
        return Postponed(quiet_until, "quiet hours had begun")
    kinds = {one.kind for one in changes}
    more = {kind: count for name, count in delivery.body["more"].items() if (kind := ChangeKind(name)) in kinds}
    message = changes_message(changes, more, now, zone=ZoneInfo(subscriber.zone), locale=subscriber.locale)
    numbered = [(number, one) for number, one in enumerate(told) if one in changes]
    asked = change_questions(session, subscriber.id, numbered, set(), now)
    texts = Texts.for_locale(subscriber.locale)
    if asked.more:
        message = replace(message, text=f"{message.text}\n\n{more_questions_text(asked.more, texts)}")
    rows = question_rows(asked.questions, delivery.id, (), texts)
    return Rendered(message, address=subscriber.dm_channel_id, rows=rows)
