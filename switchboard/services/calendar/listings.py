"""The meetings of several days as the store knows them, with what a reader needs to judge them: age and limits of the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select

from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarOccurrence, CalendarSubscriber
from switchboard.domain.calendar.agenda import DayAgenda, select_day
from switchboard.domain.calendar.gaps import free_gaps
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.presence import Block
from switchboard.domain.calendar.wall_clock import day_window, start_of_day
from switchboard.domain.commands import DayRange
from switchboard.errors import NotFoundError
from switchboard.services.calendar.agendas import working_hours
from switchboard.services.calendar.expansion import HORIZON, HORIZON_SLACK, PAST

OccurrenceKey = tuple[str, str, datetime]  # UID, RECURRENCE-ID, start


@dataclass(frozen=True, slots=True)
class Listing:
    """The days of a range that hold meetings, in the reader's zone.

    `calendars` are the names of the calendars that hold a meeting. `polled_at` is the oldest poll among the accounts, None
    while one was never read; `paused` tells that an account is not read any more. `complete` is False where the range
    leaves what the store holds of repeating meetings. `free` are the free gaps of a single day.
    """

    zone: ZoneInfo
    range: DayRange
    days: tuple[DayAgenda, ...]
    calendars: Mapping[OccurrenceKey, tuple[str, ...]]
    polled_at: datetime | None
    paused: bool
    complete: bool
    free: tuple[Block, ...] = ()


def occurrence_key(occurrence: Occurrence) -> OccurrenceKey:
    """What tells a meeting at one time apart, whichever calendars hold it."""
    return (occurrence.uid, occurrence.recurrence_id, occurrence.start)


class Listings:
    """Reads days from the store; asks no server."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def read(self, mattermost_user_id: str, days: DayRange) -> Listing:
        """The meetings of a user's local days; NotFoundError for a user without a calendar."""
        with self._database.read() as session:
            found = session.scalars(
                select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == mattermost_user_id)
            ).first()
            if found is None:
                raise NotFoundError("this user has no calendar connected")
            zone = ZoneInfo(found.zone)
            begin, end = start_of_day(days.first, zone), day_window(days.last, zone)[1]
            accounts = session.execute(
                select(CalendarAccount.last_polled_at, CalendarAccount.state).where(
                    CalendarAccount.subscriber_id == found.id
                )
            ).all()
            rows = session.execute(
                select(CalendarOccurrence.details, Calendar.name)
                .join(Calendar, Calendar.id == CalendarOccurrence.calendar_id)
                .join(CalendarAccount, CalendarAccount.id == CalendarOccurrence.account_id)
                .where(
                    CalendarAccount.subscriber_id == found.id,
                    CalendarOccurrence.start_at < end,
                    CalendarOccurrence.end_at >= begin,
                )
                .order_by(CalendarOccurrence.start_at)
            ).all()
        occurrences = []
        calendars: dict[OccurrenceKey, tuple[str, ...]] = {}
        for details, name in rows:
            occurrence = Occurrence.from_json(details)
            occurrences.append(occurrence)
            names = calendars.get(occurrence_key(occurrence), ())
            calendars[occurrence_key(occurrence)] = names if name in names else (*names, name)
        polls = [account.last_polled_at for account in accounts]
        known = [moment for moment in polls if moment is not None]
        now = self._clock()
        filled = tuple(_filled(occurrences, days, zone))
        single = filled[0].meetings if filled and days.first == days.last else ()
        return Listing(
            zone=zone,
            range=days,
            days=filled,
            calendars=calendars,
            polled_at=min(known) if known and len(known) == len(polls) else None,
            paused=any(account.state != "active" for account in accounts),
            complete=begin >= now - PAST and end <= now + HORIZON - HORIZON_SLACK,
            free=free_gaps(single, days.first, working_hours(found), zone, now),
        )


def _filled(occurrences: list[Occurrence], days: DayRange, zone: ZoneInfo) -> list[DayAgenda]:
    """The days that hold something. Each day looks only at the meetings that touch it."""
    agendas = []
    for day in days.days:
        begin, end = day_window(day, zone)
        near = [one for one in occurrences if one.all_day or (one.start < end and one.end >= begin)]
        agenda = select_day(near, day, zone)
        if not agenda.is_empty:
            agendas.append(agenda)
    return agendas
