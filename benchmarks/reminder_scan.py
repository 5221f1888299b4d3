"""The scan for due reminders: does its time grow with the reminders that are not due yet?

100 due reminders among 10,000 and among 1,000,000 future ones, on SQLite and on PostgreSQL, rounds taken in turn.
`growth` is the ratio of the median times (1,000,000 / 10,000); 1 means that the future costs nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from benchmarks.postgres import running_postgres
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSubscriber,
)
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.services.calendar.reminders import Reminders

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
DUE = 100
ROUNDS = 15
REMINDERS_OF_AN_OCCURRENCE = 10
OCCURRENCES_OF_A_SUBSCRIBER = 100
SIZES = {"full": (10_000, 1_000_000), "small": (1_000, 20_000)}


def run(scale: str) -> dict[str, Any]:
    """Times in milliseconds by database and number of future reminders; `growth` is the worse of the two databases."""
    small, large = SIZES[scale]
    result: dict[str, Any] = {"due": DUE, "rounds": ROUNDS}
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres_url:
        for name, url in (("sqlite", ""), ("postgresql", postgres_url)):
            for size in (small, large):
                with _filled(url or f"sqlite:///{folder}/{size}.sqlite3", size) as database:
                    result[f"{name}_{size}_ms"] = _median_ms(database)
            result[f"{name}_growth"] = round(result[f"{name}_{large}_ms"] / result[f"{name}_{small}_ms"], 3)
    result["growth"] = max(result["sqlite_growth"], result["postgresql_growth"])
    return result


def _median_ms(database: Database) -> float:
    reminders = Reminders(database, lambda: NOW)
    times = []
    for round_number in range(ROUNDS):
        _make_due(database, round_number)
        begun = time.perf_counter()
        batches = reminders.claim_due()
        times.append((time.perf_counter() - begun) * 1000)
        if sum(map(len, batches)) != DUE:
            raise RuntimeError(f"the scan found {sum(map(len, batches))} reminders instead of {DUE}")
    return round(statistics.median(times[1:]), 3)


def _make_due(database: Database, round_number: int) -> None:
    """A hundred reminders of meetings that no other round has: their delivery keys are new."""
    start = NOW + timedelta(minutes=10)
    with database.write() as session:
        ids = session.scalars(
            insert(CalendarOccurrence).returning(CalendarOccurrence.id),
            [_occurrence(1, f"due-{round_number}-{number}", start) for number in range(DUE)],
        ).all()
        session.execute(
            insert(CalendarReminder),
            [{"subscriber_id": 1, "occurrence_id": id_, "minutes": 10, "fire_at": NOW} for id_ in ids],
        )


@contextmanager
def _filled(url: str, future: int) -> Iterator[Database]:
    migrate.upgrade(url)
    database = Database(url)
    subscribers = max(1, future // REMINDERS_OF_AN_OCCURRENCE // OCCURRENCES_OF_A_SUBSCRIBER)
    with database.write() as session:
        if database.dialect == "postgresql":
            session.execute(text("TRUNCATE calendar_subscribers, deliveries RESTART IDENTITY CASCADE"))
        session.execute(insert(CalendarSubscriber), [_subscriber(number) for number in range(1, subscribers + 1)])
        session.execute(insert(CalendarAccount), [_account(number) for number in range(1, subscribers + 1)])
        session.execute(
            insert(Calendar),
            [{"id": n, "account_id": n, "url": "/c/", "name": "c"} for n in range(1, subscribers + 1)],
        )
        session.execute(
            insert(CalendarObject),
            [
                {
                    "id": n,
                    "calendar_id": n,
                    "href": "/o",
                    "etag": "",
                    "raw": b"",
                    "changed_at": NOW,
                    "needs_expansion": False,
                }
                for n in range(1, subscribers + 1)
            ],
        )
    for owner in range(1, subscribers + 1):
        _fill_subscriber(database, owner)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    try:
        yield database
    finally:
        database.dispose()


def _fill_subscriber(database: Database, owner: int) -> None:
    first = (owner - 1) * OCCURRENCES_OF_A_SUBSCRIBER + 1
    starts = [NOW + timedelta(days=8, minutes=15 * number) for number in range(OCCURRENCES_OF_A_SUBSCRIBER)]
    with database.write() as session:
        session.execute(
            insert(CalendarOccurrence),
            [{"id": first + n, **_occurrence(owner, f"future-{n}", start)} for n, start in enumerate(starts)],
        )
        session.execute(
            insert(CalendarReminder),
            [
                {
                    "subscriber_id": owner,
                    "occurrence_id": first + n,
                    "minutes": minutes,
                    "fire_at": start - timedelta(minutes=minutes),
                }
                for n, start in enumerate(starts)
                for minutes in range(1, REMINDERS_OF_AN_OCCURRENCE + 1)
            ],
        )
        if database.dialect == "postgresql":  # ids were given by hand
            last = first + OCCURRENCES_OF_A_SUBSCRIBER
            session.execute(text(f"SELECT setval('calendar_occurrences_id_seq', {last})"))


def _subscriber(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "mattermost_user_id": f"user-{number}",
        "username": f"user-{number}",
        "zone": "Europe/Berlin",
        "agenda_time": NOW.time(),
        "weekdays": [1, 2, 3, 4, 5],
        "reminder_minutes": [10],
        "created_at": NOW,
        "updated_at": NOW,
    }


def _account(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "subscriber_id": number,
        "server_url": "https://calendar.example.org",
        "login": "login",
        "password": "sealed",
        "addresses": [],
        "next_poll_at": NOW,
        "created_at": NOW,
    }


def _occurrence(owner: int, uid: str, start: datetime) -> dict[str, Any]:
    occurrence = Occurrence(uid=uid, recurrence_id="", start=start, end=start + timedelta(hours=1), title="A meeting")
    return {
        "account_id": owner,
        "calendar_id": owner,
        "object_id": owner,
        "uid": uid,
        "recurrence_id": "",
        "start_at": start,
        "end_at": occurrence.end,
        "all_day": False,
        "declined": False,
        "details": occurrence.to_json(),
    }
