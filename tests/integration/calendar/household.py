"""People with calendars in the tables, objects put there as a poll would, and a channel that remembers what it sent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import delete, func, select, update

from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSubscriber,
    Delivery,
)
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.services.calendar import agendas, notices, reminders
from switchboard.services.calendar.accounts import Person
from switchboard.services.calendar.agendas import Agendas, schedule_next
from switchboard.services.calendar.changes import Changes
from switchboard.services.calendar.expansion import CalendarExpansion, ExpansionReport
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.reminders import Reminders
from switchboard.services.channels.channel import Rendered
from switchboard.services.conversation.answers import ButtonRow
from switchboard.services.deliveries import Deliveries

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)  # a Monday
_numbers = itertools.count(1)


def ics(*events: str) -> bytes:
    """An object of these VEVENT bodies, whose lines end in \\n."""
    return "".join(
        ["BEGIN:VCALENDAR\n", *(f"BEGIN:VEVENT\n{body.strip()}\nEND:VEVENT\n" for body in events), "END:VCALENDAR\n"]
    ).encode()


def meeting(uid: str, start: datetime, *lines: str, minutes: int = 60) -> bytes:
    """A single meeting."""
    end = start + timedelta(minutes=minutes)
    return ics(
        f"UID:{uid}\nDTSTART:{start:%Y%m%dT%H%M%SZ}\nDTEND:{end:%Y%m%dT%H%M%SZ}\nSUMMARY:{uid}\n" + "\n".join(lines)
    )


@dataclass
class Clock:
    """A clock that tests move by hand."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


@dataclass
class OnePerson:
    """Mattermost with one user, whoever is asked for."""

    person: Person

    def find(self, _username_or_id: str) -> Person:
        return self.person


def bare_occurrence(calendar: int, account: int, object_id: int, at: datetime) -> CalendarOccurrence:
    """A row without a meeting in it, for what looks at rows alone."""
    return CalendarOccurrence(
        account_id=account,
        calendar_id=calendar,
        object_id=object_id,
        uid="a",
        recurrence_id="",
        start_at=at,
        end_at=at,
        all_day=False,
        declined=False,
        details={},
    )


@dataclass
class Post:
    user: str
    text: str


@dataclass
class RecordingChannel:
    """Takes every message; the posts in the order in which they were sent."""

    name: str = "mattermost"
    call_timeout: timedelta = timedelta(seconds=5)
    settle: timedelta = timedelta(seconds=15)
    posts: list[Post] = field(default_factory=list)
    sent: list[tuple[int, tuple[ButtonRow, ...]]] = field(default_factory=list)
    """Delivery id and buttons of each post."""

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        self.sent.append((delivery.id, rendered.rows))
        self.posts.append(Post(delivery.recipient, rendered.message.as_markdown()))
        return f"post-{len(self.posts)}"

    def find(self, delivery: ClaimedDelivery) -> str | None:
        raise AssertionError(f"nothing was lost, and {delivery.key} was looked up")


class Household:
    """The four calendar services over one database and one clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.channel = RecordingChannel()
        self.expansion = CalendarExpansion(database, self.clock)
        self.reminders = Reminders(database, self.clock)
        self.agendas = Agendas(database, self.clock)
        self.notices = CalendarNotices(database)
        self.changes = Changes(database, self.clock)
        self.deliveries = Deliveries(
            database,
            {self.channel.name: self.channel},
            {reminders.KIND: self.reminders, agendas.KIND: self.agendas, notices.KIND: self.notices},
            self.clock,
        )

    def person(
        self, name: str, *, minutes: Sequence[int] = (10,), zone: str = "Europe/Berlin", **settings: Any
    ) -> CalendarSubscriber:
        """A subscriber with an agenda at 08:00 every day unless `settings` say otherwise."""
        facts: dict[str, Any] = {
            "mattermost_user_id": name,
            "username": name,
            "email": f"{name}@example.org",
            "zone": zone,
            "agenda_time": time(8),
            "weekdays": [1, 2, 3, 4, 5, 6, 7],
            "reminder_minutes": list(minutes),
            "created_at": self.clock(),
            "updated_at": self.clock(),
            **settings,
        }
        with self.database.write() as session:
            subscriber = CalendarSubscriber(**facts)
            session.add(subscriber)
            session.flush()
            schedule_next(subscriber, self.clock())
            return subscriber

    def account(self, person: CalendarSubscriber) -> int:
        """An account without calendars; its id."""
        with self.database.write() as session:
            account = CalendarAccount(
                subscriber_id=person.id,
                server_url="https://calendar.example.org",
                login=f"login-{next(_numbers)}",
                password="sealed",
                addresses=[],
                next_poll_at=self.clock(),
                created_at=self.clock(),
            )
            session.add(account)
            session.flush()
            return account.id

    def calendar(self, person: CalendarSubscriber, account_id: int | None = None, *, watched: bool = True) -> Calendar:
        """A calendar of an account, by default of a new one."""
        account_id = account_id or self.account(person)
        with self.database.write() as session:
            calendar = Calendar(account_id=account_id, url=f"/{next(_numbers)}/", name="Work", watched=watched)
            session.add(calendar)
            session.flush()
            return calendar

    def put(self, calendar: Calendar, raw: bytes, href: str = "") -> int:
        """Store an object as a poll does; the same href again is a change. The object's id."""
        href = href or f"/{next(_numbers)}.ics"
        with self.database.write() as session:
            known = session.scalars(
                select(CalendarObject).where(CalendarObject.calendar_id == calendar.id, CalendarObject.href == href)
            ).one_or_none()
            stored = known or CalendarObject(calendar_id=calendar.id, href=href)
            stored.raw, stored.etag, stored.changed_at = raw, f"etag-{next(_numbers)}", self.clock()
            stored.needs_expansion, stored.expansion_attempts, stored.problem = True, 0, None
            session.add(stored)
            session.flush()
            return stored.id

    def expand(self, calendar: Calendar) -> ExpansionReport:
        return self.expansion.expand_account(calendar.account_id)

    def expand_all(self, calendar: Calendar, *bodies: bytes, href: str = "") -> ExpansionReport:
        """Store objects, under `href` where it is given, and expand the account."""
        for body in bodies:
            self.put(calendar, body, href)
        return self.expand(calendar)

    def put_again(self, calendar: Calendar) -> None:
        """Everything of the calendar is to be expanded again."""
        with self.database.write() as session:
            # As a poll does: the account first, then its objects.
            session.execute(
                update(CalendarAccount)
                .where(CalendarAccount.id == calendar.account_id)
                .values(fence=CalendarAccount.fence + 1)
            )
            session.execute(
                update(CalendarObject)
                .where(CalendarObject.calendar_id == calendar.id)
                .values(needs_expansion=True, expansion_attempts=0, changed_at=self.clock())
                .execution_options(synchronize_session=False)
            )

    def delete(self, model: type[Any], key: int) -> None:
        """Delete a row and what hangs on it."""
        with self.database.write() as session:
            session.execute(delete(model).where(model.id == key))

    def set(self, model: type[Any], key: int, **values: Any) -> None:
        """Change a row behind everybody's back."""
        with self.database.write() as session:
            session.execute(update(model).where(model.id == key).values(**values))

    def claimed(self) -> list[int]:
        """The deliveries that a tick of the reminders' scan makes."""
        return [delivery_id for batch in self.reminders.claim_due() for delivery_id in batch]

    def tick(self) -> list[Post]:
        """What beat starts: both scans, then everything due is sent; returns what was sent."""
        before = len(self.channel.posts)
        for batch in (*self.reminders.claim_due(), *self.agendas.claim_due()):
            self.deliveries.send("mattermost", batch)
        while batches := self.deliveries.scan_open().to_send["mattermost"]:
            for batch in batches:
                self.deliveries.send("mattermost", batch)
        return self.channel.posts[before:]

    def occurrences(self) -> list[CalendarOccurrence]:
        with self.database.read() as session:
            return list(session.scalars(select(CalendarOccurrence).order_by(CalendarOccurrence.start_at)))

    def armed(self) -> list[tuple[int, datetime]]:
        """Minutes and time of everything in the due table."""
        with self.database.read() as session:
            rows = session.execute(
                select(CalendarReminder.minutes, CalendarReminder.fire_at).order_by(
                    CalendarReminder.fire_at, CalendarReminder.minutes
                )
            )
            return [(row.minutes, row.fire_at) for row in rows]

    def object(self, object_id: int) -> CalendarObject:
        with self.database.read() as session:
            return session.get_one(CalendarObject, object_id)

    def subscriber(self, person: CalendarSubscriber) -> CalendarSubscriber:
        with self.database.read() as session:
            return session.get_one(CalendarSubscriber, person.id)

    def ledger(self) -> dict[str, int]:
        """Deliveries by state."""
        with self.database.read() as session:
            rows = session.execute(select(Delivery.state, func.count()).group_by(Delivery.state))
            return {row[0]: row[1] for row in rows}

    def reasons(self) -> list[str | None]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery.reason).order_by(Delivery.id)))
