"""Reminders before meetings: from the due table into the ledger, and their text at the moment of sending."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from switchboard.services.calendar.snoozes import (
    REMINDER_KIND,
    Meeting,
    Snooze,
    ledger_subject,
    meeting_of,
    reminds_at,
    snooze_rows,
    snoozes_of,
)
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.texts.locales import Texts
from switchboard.texts.meetings import reminder_message

KIND = REMINDER_KIND
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
                ((row.fire_at, _delivery(row)) for row in rows if row.start_at > now and not _is_quiet(row, now)),
                key=lambda one: (one[0], one[1].key),
            )
            ids = DeliveryRepository(session).add([delivery for _, delivery in wanted], now)
            session.execute(
                delete(CalendarReminder)
                .where(
                    CalendarReminder.occurrence_id.in_([row.occurrence_id for row in rows]),
                    CalendarReminder.fire_at <= now,
                )
                .execution_options(synchronize_session=False)
            )
        return portions(ids, batch)

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        """See Renderer. A meeting that was moved, cancelled or declined since is not reminded of."""
        subscriber_ids = {delivery.body["subscriber_id"] for delivery in deliveries}
        with self._database.read() as session:
            subscribers = {
                subscriber.id: subscriber
                for subscriber in session.scalars(
                    select(CalendarSubscriber).where(CalendarSubscriber.id.in_(subscriber_ids))
                )
            }
            meetings = reminded_meetings(session, [delivery.body for delivery in deliveries])
            snoozes = snoozes_of(session, (delivery.subject for delivery in deliveries), now)
        return {
            delivery.id: _render(
                delivery,
                subscribers.get(delivery.body["subscriber_id"]),
                meetings.get(meeting_of(delivery.body)),
                snoozes,
                now,
            )
            for delivery in deliveries
        }


def reminded_meetings(session: Session, bodies: Sequence[Mapping[str, Any]]) -> dict[Meeting, Occurrence]:
    """The meetings that are still as reminders with these bodies say, in their newest version, by `meeting_of`."""
    subscriber_ids = {body["subscriber_id"] for body in bodies}
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
            CalendarOccurrence.uid.in_({body["uid"] for body in bodies}),
            CalendarOccurrence.start_at.in_({datetime.fromisoformat(body["start"]) for body in bodies}),
            ~CalendarOccurrence.declined,
        )
    )
    meetings: dict[Meeting, Occurrence] = {}
    for row in found:
        one = Occurrence.from_json(row.details)
        identity = (owners[row.account_id], one.uid, one.recurrence_id, one.start)
        if identity not in meetings or one.sequence > meetings[identity].sequence:
            meetings[identity] = one
    return meetings


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


def reminder_key(user_id: str, body: Mapping[str, Any]) -> str:
    """The ledger's key of the reminder with this body."""
    _, uid, recurrence_id, start = meeting_of(body)
    return delivery_key(
        user_id=user_id, kind=KIND, minutes=body["minutes"], uid=uid, recurrence_id=recurrence_id, start=start
    )


def _delivery(row: Any) -> NewDelivery:
    body = {
        "subscriber_id": row.subscriber_id,
        "uid": row.uid,
        "recurrence_id": row.recurrence_id,
        "start": row.start_at.isoformat(),
        "minutes": row.minutes,
    }
    return NewDelivery(
        channel="mattermost",
        kind=KIND,
        key=reminder_key(row.mattermost_user_id, body),
        subject=ledger_subject(row.mattermost_user_id),
        recipient=row.mattermost_user_id,
        body=body,
        expires_at=row.start_at,
    )


def _render(
    delivery: ClaimedDelivery,
    subscriber: CalendarSubscriber | None,
    meeting: Occurrence | None,
    snoozes: Sequence[Snooze],
    now: datetime,
) -> Rendered | Obsolete | Postponed:
    if subscriber is None or subscriber.mattermost_user_id != delivery.recipient or not subscriber.reminders_enabled:
        return Obsolete("reminders were switched off")
    asked = delivery.body.get("asked", False)
    if asked and now < reminds_at(delivery.body):
        return Postponed(reminds_at(delivery.body), "asked for at this time")
    if not asked and _is_quiet(subscriber, now):  # who asks for a reminder wants it
        return Obsolete("quiet hours had begun")
    if meeting is None:
        return Obsolete("the meeting was moved, cancelled or declined")
    message = reminder_message(
        meeting, delivery.body["minutes"], now, zone=ZoneInfo(subscriber.zone), locale=subscriber.locale
    )
    questions = reminder_questions(meeting).questions
    asking = question_rows(questions, delivery.id, (), Texts.for_locale(subscriber.locale))
    rows = (*asking, *snooze_rows(delivery.body, delivery.id, subscriber, snoozes, now))
    return Rendered(message, address=subscriber.dm_channel_id, rows=rows)


def _is_quiet(reader: Any, now: datetime) -> bool:
    """Whether a subscriber, or a row with its zone and quiet hours, is not to be called at `now`."""
    return quiet_hours_end(now, ZoneInfo(reader.zone), reader.quiet_from, reader.quiet_until) is not None
