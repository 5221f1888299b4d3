"""The day's agenda: once per local date, at the wall-clock time its reader chose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarOccurrence, CalendarSubscriber
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.db.repositories.heartbeats import beat
from switchboard.db.repositories.subscribers import reader_of
from switchboard.domain.calendar.agenda import DayAgenda, select_day
from switchboard.domain.calendar.gaps import WorkingHours, free_gaps
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.reminders import agenda_key
from switchboard.domain.calendar.wall_clock import AGENDA_USEFUL_FOR, agenda_is_still_useful, day_window, next_agenda
from switchboard.domain.portions import portions
from switchboard.errors import NotFoundError
from switchboard.logs import get_logger
from switchboard.services.channels.channel import Obsolete, Rendered
from switchboard.texts.markdown import Message
from switchboard.texts.meetings import agenda_message

KIND = "calendar.agenda"
HEARTBEAT = "calendar.agendas.scan_due"

log = get_logger(__name__)


class Agendas:
    """The agendas' use cases; renders the ledger's agendas."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def claim_due(self, *, limit: int = 2_000, batch: int = 50) -> list[list[int]]:
        """Enter due agendas in the ledger and set everyone's next one, in one transaction; return ids in batches.

        After a downtime the agenda of today is entered late while it is useful; one of an earlier day never, however many
        days were missed.
        """
        now = self._clock()
        deliveries: list[NewDelivery] = []
        with self._database.write() as session:
            beat(session, HEARTBEAT, now)
            due = (
                select(CalendarSubscriber)
                .where(CalendarSubscriber.next_agenda_at <= now)
                .order_by(CalendarSubscriber.next_agenda_at)
                .limit(limit)
                .with_for_update(skip_locked=True)
            )
            for subscriber in session.scalars(due):
                entry = _still_useful(subscriber, now)
                if entry is None:
                    log.info("agenda_too_late", subscriber_id=subscriber.id, date=str(subscriber.next_agenda_date))
                else:
                    deliveries.append(_delivery(subscriber, *entry))
                _set_next(subscriber, _agenda_after(subscriber, now))
            ids = DeliveryRepository(session).add(deliveries, now)
        return portions(ids, batch)

    def preview(self, subscriber_id: int, at: datetime) -> str:
        """The agenda of the local day of `at` as the store knows it, in the user's language; NotFoundError without the user."""
        with self._database.read() as session:
            subscriber = _subscriber(session, subscriber_id)
            zone = ZoneInfo(subscriber.zone)
            agenda = _day(session, subscriber, at.astimezone(zone).date())
            return _message(agenda, subscriber, at).text

    def send_today(self, subscriber_id: int) -> datetime:
        """Make today's agenda due now and return when; the ledger still sends one a day at most. NotFoundError as above."""
        now = self._clock()
        with self._database.write() as session:
            subscriber = _subscriber(session, subscriber_id)
            _set_next(subscriber, (now.astimezone(ZoneInfo(subscriber.zone)).date(), now))
        return now

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        """See Renderer: the agenda as the store knows it now."""
        with self._database.read() as session:
            return {delivery.id: self._render(session, delivery, now) for delivery in deliveries}

    def _render(self, session: Session, delivery: ClaimedDelivery, now: datetime) -> Rendered | Obsolete:
        subscriber = reader_of(session, delivery.recipient)
        if subscriber is None or not subscriber.agenda_enabled:
            return Obsolete("agendas were switched off")
        zone = ZoneInfo(subscriber.zone)
        day = date.fromisoformat(delivery.body["date"])
        if not agenda_is_still_useful(day, datetime.fromisoformat(delivery.body["fire_at"]), now, zone):
            return Obsolete("another day had begun")
        agenda = _day(session, subscriber, day)
        if agenda.is_empty and not subscriber.agenda_on_empty_days:
            return Obsolete("an empty day, and empty days are switched off")
        return Rendered(_message(agenda, subscriber, now), address=subscriber.dm_channel_id)


def schedule_next(subscriber: CalendarSubscriber, now: datetime) -> None:
    """Set when the next agenda goes out after a change of settings, or None while agendas are off or no weekday is chosen.

    One that is due and that no scan has entered yet stays due: the change came between its time and the scan.
    """
    upcoming = _agenda_after(subscriber, now)
    waiting = _still_useful(subscriber, now)
    _set_next(subscriber, waiting if upcoming is not None and waiting is not None else upcoming)


def _agenda_after(subscriber: CalendarSubscriber, moment: datetime) -> tuple[date, datetime] | None:
    """Local date and instant of the first agenda after `moment`."""
    if not subscriber.agenda_enabled or not subscriber.weekdays or subscriber.deactivated_at is not None:
        return None
    weekdays = frozenset(weekday - 1 for weekday in subscriber.weekdays)  # the domain counts from Monday = 0
    return next_agenda(moment, ZoneInfo(subscriber.zone), subscriber.agenda_time, weekdays)


def _still_useful(subscriber: CalendarSubscriber, now: datetime) -> tuple[date, datetime] | None:
    """The agenda to send now: the one that was due first, or after a downtime of days that of today."""
    day, fire_at = subscriber.next_agenda_date, subscriber.next_agenda_at
    if day is None or fire_at is None or fire_at > now:
        return None
    zone = ZoneInfo(subscriber.zone)
    latest = _agenda_after(subscriber, max(fire_at, now - AGENDA_USEFUL_FOR))
    for entry in ((day, fire_at), latest):
        if entry is not None and agenda_is_still_useful(*entry, now, zone):
            return entry
    return None


def _set_next(subscriber: CalendarSubscriber, upcoming: tuple[date, datetime] | None) -> None:
    subscriber.next_agenda_date, subscriber.next_agenda_at = upcoming if upcoming is not None else (None, None)


def _subscriber(session: Session, subscriber_id: int) -> CalendarSubscriber:
    subscriber = session.get(CalendarSubscriber, subscriber_id)
    if subscriber is None:
        raise NotFoundError(f"there is no calendar user {subscriber_id}: connect a calendar first")
    return subscriber


def occurrences_between(session: Session, subscriber_id: int, start: datetime, end: datetime) -> list[Occurrence]:
    """A subscriber's occurrences that touch the time from `start` to `end`, over all accounts and watched calendars."""
    rows = session.scalars(
        select(CalendarOccurrence.details)
        .join(CalendarAccount, CalendarAccount.id == CalendarOccurrence.account_id)
        .where(
            CalendarAccount.subscriber_id == subscriber_id,
            CalendarOccurrence.start_at < end,
            CalendarOccurrence.end_at >= start,
        )
        .order_by(CalendarOccurrence.start_at)
    )
    return [Occurrence.from_json(details) for details in rows]


def _day(session: Session, subscriber: CalendarSubscriber, day: date) -> DayAgenda:
    zone = ZoneInfo(subscriber.zone)
    return select_day(occurrences_between(session, subscriber.id, *day_window(day, zone)), day, zone)


def _message(agenda: DayAgenda, subscriber: CalendarSubscriber, now: datetime) -> Message:
    zone = ZoneInfo(subscriber.zone)
    free = free_gaps(agenda.meetings, agenda.local_date, working_hours(subscriber), zone, now)
    return agenda_message(agenda, zone=zone, locale=subscriber.locale, free=free)


def working_hours(subscriber: CalendarSubscriber) -> WorkingHours | None:
    """Those in which the person wants free time named."""
    if subscriber.work_from is None or subscriber.work_until is None:
        return None
    return WorkingHours(subscriber.work_from, subscriber.work_until)


def _delivery(subscriber: CalendarSubscriber, day: date, fire_at: datetime) -> NewDelivery:
    return NewDelivery(
        channel="mattermost",
        kind=KIND,
        key=agenda_key(user_id=subscriber.mattermost_user_id, local_date=day),
        subject=f"mattermost:{subscriber.mattermost_user_id}",
        recipient=subscriber.mattermost_user_id,
        body={"subscriber_id": subscriber.id, "date": day.isoformat(), "fire_at": fire_at.isoformat()},
        expires_at=fire_at + AGENDA_USEFUL_FOR,
    )
