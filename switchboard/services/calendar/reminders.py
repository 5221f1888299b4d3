"""Reminders before meetings: from the due table into the ledger, and their text at the moment of sending."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select, delete, exists, select
from sqlalchemy.orm import Session, aliased

from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarOccurrence, CalendarReminder, CalendarSubscriber
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.db.repositories.heartbeats import beat
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.quiet_hours import quiet_hours_end
from switchboard.domain.calendar.reminders import delivery_key
from switchboard.domain.portions import portions
from switchboard.services.calendar.questions import question_rows, reminder_questions
from switchboard.services.channels.channel import Obsolete, Rendered
from switchboard.texts.locales import Texts
from switchboard.texts.meetings import reminder_message

KIND = "calendar.reminder"
HEARTBEAT = "calendar.reminders.scan_due"


class Reminders:
    """The due table's use cases; renders the ledger's reminders."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def claim_due(self, *, limit: int = 5_000, batch: int = 50) -> list[list[int]]:
        """Move due reminders into the ledger, in one transaction; return the new deliveries' ids in batches.

        A reminder that stands in the ledger already (the same meeting in a second calendar, the same tick twice) is
        dropped by its key, and one whose meeting has begun without it. After a downtime several of one meeting are due: the
        one nearest to the start stands for all, whoever claims the others at the same time. The latest come first, so
        that what a long downtime left behind holds nobody up. In quiet hours they are dropped.
        """
        now = self._clock()
        with self._database.write() as session:
            beat(session, HEARTBEAT, now)
            rows = session.execute(_due(now, limit)).all()
            # Everybody enters them in one order: on PostgreSQL two claimers with the same keys would wait for each other.
            wanted = sorted(
                (row.fire_at, _key(row), row) for row in rows if row.start_at > now and not _is_quiet(row, now)
            )
            ids = DeliveryRepository(session).add([_delivery(row, key) for _, key, row in wanted], now)
            session.execute(
                delete(CalendarReminder)
                .where(
                    CalendarReminder.occurrence_id.in_([row.occurrence_id for row in rows]),
                    CalendarReminder.fire_at <= now,
                )
                .execution_options(synchronize_session=False)
            )
        return portions(ids, batch)

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        """See Renderer. A meeting that was moved, cancelled or declined since is not reminded of."""
        subscriber_ids = {delivery.body["subscriber_id"] for delivery in deliveries}
        with self._database.read() as session:
            subscribers = {
                subscriber.id: subscriber
                for subscriber in session.scalars(
                    select(CalendarSubscriber).where(CalendarSubscriber.id.in_(subscriber_ids))
                )
            }
            meetings = _meetings(session, deliveries, subscriber_ids)
        return {
            delivery.id: _render(
                delivery, subscribers.get(delivery.body["subscriber_id"]), meetings.get(_meeting_of(delivery)), now
            )
            for delivery in deliveries
        }


def _meetings(
    session: Session, deliveries: Sequence[ClaimedDelivery], subscriber_ids: Collection[int]
) -> dict[tuple[Any, ...], Occurrence]:
    """The meetings that are still as their reminders say, in their newest version, by `_meeting_of`."""
    # Not one join: PostgreSQL would begin it with everybody's meetings of that hour.
    owners = {
        account.id: account.subscriber_id
        for account in session.execute(
            select(CalendarAccount.id, CalendarAccount.subscriber_id).where(
                CalendarAccount.subscriber_id.in_(subscriber_ids)
            )
        )
    }
    found = session.execute(
        select(CalendarOccurrence.account_id, CalendarOccurrence.details).where(
            CalendarOccurrence.account_id.in_(owners),
            CalendarOccurrence.uid.in_({delivery.body["uid"] for delivery in deliveries}),
            CalendarOccurrence.start_at.in_({_start(delivery) for delivery in deliveries}),
            ~CalendarOccurrence.declined,
        )
    )
    meetings: dict[tuple[Any, ...], Occurrence] = {}
    for row in found:
        one = Occurrence.from_json(row.details)
        identity = (owners[row.account_id], one.uid, one.recurrence_id, one.start)
        if identity not in meetings or one.sequence > meetings[identity].sequence:
            meetings[identity] = one
    return meetings


def _meeting_of(delivery: ClaimedDelivery) -> tuple[Any, ...]:
    """Whose meeting it is, which one, and when."""
    body = delivery.body
    return (body["subscriber_id"], body["uid"], body["recurrence_id"], _start(delivery))


def _due(now: datetime, limit: int) -> Select[*tuple[Any, ...]]:
    """The reminders that are due, of several of one meeting the one nearest to its start; the latest come first."""
    nearer = aliased(CalendarReminder)
    return (
        select(
            CalendarReminder.occurrence_id,
            CalendarReminder.minutes,
            CalendarReminder.fire_at,
            CalendarReminder.subscriber_id,
            CalendarSubscriber.mattermost_user_id,
            CalendarSubscriber.zone,
            CalendarSubscriber.quiet_from,
            CalendarSubscriber.quiet_until,
            CalendarOccurrence.uid,
            CalendarOccurrence.recurrence_id,
            CalendarOccurrence.start_at,
        )
        .join(CalendarOccurrence, CalendarOccurrence.id == CalendarReminder.occurrence_id)
        .join(CalendarSubscriber, CalendarSubscriber.id == CalendarReminder.subscriber_id)
        .where(
            CalendarReminder.fire_at <= now,
            ~exists().where(
                nearer.occurrence_id == CalendarReminder.occurrence_id,
                nearer.minutes < CalendarReminder.minutes,
                nearer.fire_at <= now,
            ),
        )
        .order_by(CalendarReminder.fire_at.desc())
        .limit(limit)
        .with_for_update(of=CalendarReminder, skip_locked=True)
    )


def _key(row: Any) -> str:
    return delivery_key(
        user_id=row.mattermost_user_id,
        kind=KIND,
        minutes=row.minutes,
        uid=row.uid,
        recurrence_id=row.recurrence_id,
        start=row.start_at,
    )


def _delivery(row: Any, key: str) -> NewDelivery:
    return NewDelivery(
        channel="mattermost",
        kind=KIND,
        key=key,
        subject=f"mattermost:{row.mattermost_user_id}",
        recipient=row.mattermost_user_id,
        body={
            "subscriber_id": row.subscriber_id,
            "uid": row.uid,
            "recurrence_id": row.recurrence_id,
            "start": row.start_at.isoformat(),
            "minutes": row.minutes,
        },
        expires_at=row.start_at,
    )


def _render(
    delivery: ClaimedDelivery, subscriber: CalendarSubscriber | None, meeting: Occurrence | None, now: datetime
) -> Rendered | Obsolete:
    if subscriber is None or not subscriber.reminders_enabled:
        return Obsolete("reminders were switched off")
    if _is_quiet(subscriber, now):
        return Obsolete("quiet hours had begun")
    if meeting is None:
        return Obsolete("the meeting was moved, cancelled or declined")
    message = reminder_message(
        meeting, delivery.body["minutes"], now, zone=ZoneInfo(subscriber.zone), locale=subscriber.locale
    )
    questions = reminder_questions(meeting).questions
    rows = question_rows(questions, delivery.id, (), Texts.for_locale(subscriber.locale))
    return Rendered(message, address=subscriber.dm_channel_id, rows=rows)


def _is_quiet(reader: Any, now: datetime) -> bool:
    """Whether a subscriber, or a row with its zone and quiet hours, is not to be called at `now`."""
    return quiet_hours_end(now, ZoneInfo(reader.zone), reader.quiet_from, reader.quiet_until) is not None


def _start(delivery: ClaimedDelivery) -> datetime:
    return datetime.fromisoformat(delivery.body["start"])
