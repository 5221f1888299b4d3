"""What a Mattermost user has chosen and what is planned for them, to be read; CalendarAccounts changes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import CalendarOccurrence, CalendarReminder, CalendarSubscriber
from switchboard.services.calendar.reminders import reminded_meetings
from switchboard.services.calendar.snoozes import ledger_subject, meeting_of, snoozes_of
from switchboard.services.calendar.statuses import StatusView, status_view


@dataclass(frozen=True, slots=True)
class SubscriberView:
    """A user's settings. `agenda_time` is HH:MM, `weekdays` are ISO numbers (1 Monday), `next_agenda_at` is aware UTC.

    Quiet and working hours are HH:MM too, both empty where there are none.
    """

    id: int
    mattermost_user_id: str
    zone: str
    locale: str
    agenda_enabled: bool
    agenda_time: str
    agenda_on_empty_days: bool
    weekdays: tuple[int, ...]
    reminders_enabled: bool
    reminder_minutes: tuple[int, ...]
    changes_enabled: bool
    answers_enabled: bool
    status_enabled: bool
    quiet_from: str
    quiet_until: str
    work_from: str
    work_until: str
    next_agenda_at: datetime | None

    @property
    def has_notifications(self) -> bool:
        """Whether anything happens by itself: messages, or the status."""
        sent = self.agenda_enabled or self.reminders_enabled or self.changes_enabled or self.answers_enabled
        return sent or self.status_enabled


@dataclass(frozen=True, slots=True)
class NextReminder:
    """The reminder that comes next: when, and of which meeting."""

    fire_at: datetime
    title: str
    start: datetime


class Subscribers:
    """Reads users and their plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, mattermost_user_id: str) -> SubscriberView | None:
        """The settings of a user; None for one who has no calendar connected."""
        with self._database.read() as session:
            row = session.scalar(
                select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == mattermost_user_id)
            )
            if row is None:
                return None
            return SubscriberView(
                id=row.id,
                mattermost_user_id=row.mattermost_user_id,
                zone=row.zone,
                locale=row.locale,
                agenda_enabled=row.agenda_enabled,
                agenda_time=f"{row.agenda_time:%H:%M}",
                agenda_on_empty_days=row.agenda_on_empty_days,
                weekdays=tuple(row.weekdays),
                reminders_enabled=row.reminders_enabled,
                reminder_minutes=tuple(row.reminder_minutes),
                changes_enabled=row.changes_enabled,
                answers_enabled=row.answers_enabled,
                status_enabled=row.status_enabled,
                quiet_from=_wall_time(row.quiet_from),
                quiet_until=_wall_time(row.quiet_until),
                work_from=_wall_time(row.work_from),
                work_until=_wall_time(row.work_until),
                next_agenda_at=row.next_agenda_at,
            )

    def status(self, mattermost_user_id: str, now: datetime) -> StatusView:
        """How things stand with a user's custom status."""
        with self._database.read() as session:
            return status_view(session, mattermost_user_id, now)

    def next_reminder(self, subscriber: SubscriberView, now: datetime) -> NextReminder | None:
        """The reminder that comes next, by the settings or because it was asked for; None where none is planned."""
        with self._database.read() as session:
            row = session.execute(
                select(CalendarReminder.fire_at, CalendarOccurrence.start_at, CalendarOccurrence.details)
                .join(CalendarOccurrence, CalendarOccurrence.id == CalendarReminder.occurrence_id)
                .where(CalendarReminder.subscriber_id == subscriber.id)
                .order_by(CalendarReminder.fire_at)
                .limit(1)
            ).first()
            asked = _next_snooze(session, subscriber, now)
        if row is None or (asked is not None and asked.fire_at < row.fire_at):
            return asked
        return NextReminder(fire_at=row.fire_at, title=str(row.details.get("title", "")), start=row.start_at)


def _next_snooze(session: Session, subscriber: SubscriberView, now: datetime) -> NextReminder | None:
    snoozes = snoozes_of(session, [ledger_subject(subscriber.mattermost_user_id)], now)
    meetings = reminded_meetings(session, [one.body for one in snoozes]) if snoozes else {}
    for snooze in snoozes:
        meeting = meetings.get(meeting_of(snooze.body))
        if meeting is not None:
            return NextReminder(fire_at=snooze.at, title=meeting.title, start=meeting.start)
    return None


def _wall_time(at: time | None) -> str:
    return "" if at is None else f"{at:%H:%M}"
