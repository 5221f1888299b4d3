"""A shared calendar of 500 meetings is moved by an hour: what its 200 subscribers get, and how long it takes.

Everything of ours runs, on SQLite: polls, expansion, the comparison, the ledger; the calendar server and Mattermost are in
memory. `messages` must be the number of subscribers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, insert, select, update

from switchboard.clients.caldav import Changes as SyncReport
from switchboard.clients.caldav import FetchedBatch, FetchedObject
from switchboard.crypto import SecretBox
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarSnapshot,
    CalendarSubscriber,
)
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.services.calendar.changes import KIND, Changes
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling
from switchboard.services.channels.channel import Rendered
from switchboard.services.deliveries import Deliveries

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SIZES = {"full": (500, 200), "small": (50, 10)}
FETCHED_TOGETHER = 100
BOX = SecretBox(["diff-storm-benchmark-key-of-32-characters"])


def run(scale: str) -> dict[str, Any]:
    """Seconds by stage, messages, and milliseconds a subscriber for the comparison (`tell_ms`)."""
    meetings, subscribers = SIZES[scale]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/storm.sqlite3"
        migrate.upgrade(url)
        database = Database(url)
        try:
            return _storm(database, meetings, subscribers)
        finally:
            database.dispose()


def _storm(database: Database, meetings: int, subscribers: int) -> dict[str, Any]:
    server = _Server({f"/c/{number}.ics": _raw(number, 10) for number in range(meetings)})
    _fill(database, server, subscribers)
    polling = CalendarPolling(database, server.open, BOX, CalendarNotices(database), lambda: NOW, poll_period_s=120)
    expansion, changes = CalendarExpansion(database, lambda: NOW), Changes(database, lambda: NOW)
    inbox = _Inbox()
    ledger = Deliveries(database, {inbox.name: inbox}, {KIND: changes}, lambda: NOW)
    server.objects = {href: _raw(number, 11) for number, href in enumerate(server.objects)}
    server.version += 1
    accounts = range(1, subscribers + 1)
    result: dict[str, Any] = {"meetings": meetings, "subscribers": subscribers}

    with _timed(result, "poll_s"):
        for account in accounts:
            polling.poll(account)
    with _timed(result, "expand_s"):
        for account in accounts:
            while expansion.expand_account(account).more:
                pass
    batches: list[list[int]] = []
    with _timed(result, "tell_s"):
        while found := changes.claim_due():
            batches += found
    with _timed(result, "send_s"):
        for ids in batches:
            ledger.send(inbox.name, ids)
    with database.read() as session:
        left = session.scalar(select(func.count()).select_from(CalendarSnapshot))
    if left or len(inbox.arrived) != len(set(inbox.recipients)):
        raise RuntimeError(f"{left} changes were not told, {len(inbox.arrived)} messages arrived")
    return {
        **result,
        "tell_ms": round(result["tell_s"] / subscribers * 1_000, 1),
        "messages": len(inbox.arrived),
        "longest_message_chars": max(map(len, inbox.arrived)),
    }


@dataclass
class _Server:
    """A CalDAV server with one calendar that everybody watches."""

    objects: dict[str, bytes]
    version: int = 1

    @contextmanager
    def open(self, _url: str, _login: str, _password: str) -> Iterator[_Server]:
        yield self

    def changes(self, _calendar_url: str, _token: str | None) -> SyncReport:
        version = str(self.version)
        return SyncReport(version, dict.fromkeys(self.objects, version), frozenset(), complete=True, pages=1)

    def etags(self, _calendar_url: str) -> dict[str, str]:
        return dict.fromkeys(self.objects, str(self.version))

    def fetch(self, _calendar_url: str, hrefs: list[str]) -> Iterator[FetchedBatch]:
        for start in range(0, len(hrefs), FETCHED_TOGETHER):
            yield FetchedBatch(
                tuple(
                    FetchedObject(href, str(self.version), self.objects[href])
                    for href in hrefs[start : start + FETCHED_TOGETHER]
                ),
                (),
                (),
            )


@dataclass
class _Inbox:
    """A channel that keeps what arrives."""

    name: str = "mattermost"
    call_timeout: timedelta = timedelta(seconds=5)
    settle: timedelta = timedelta(seconds=15)
    arrived: list[str] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        self.arrived.append(rendered.message.text)
        self.recipients.append(delivery.recipient)
        return f"post-{len(self.arrived)}"

    def find(self, _delivery: ClaimedDelivery) -> str | None:
        return None


@contextmanager
def _timed(result: dict[str, Any], name: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    result[name] = round(time.perf_counter() - begun, 2)


def _fill(database: Database, server: _Server, subscribers: int) -> None:
    """Everybody's store as after a first poll: the first subscriber's is expanded, the others' are copies."""
    sealed = BOX.encrypt("password")
    with database.write() as session:
        for number in range(1, subscribers + 1):
            session.execute(insert(CalendarSubscriber), [_subscriber(number)])
            session.execute(insert(CalendarAccount), [_account(number, sealed)])
            session.execute(insert(Calendar), [_calendar(number)])
            _fill_objects(session, server, number)
    CalendarExpansion(database, lambda: NOW).expand_account(1)
    while CalendarExpansion(database, lambda: NOW).expand_account(1).more:
        pass
    count = len(server.objects)
    with database.write() as session:
        columns = CalendarOccurrence.__table__.columns
        rows = [dict(row._mapping) for row in session.execute(select(*columns))]
        for row in rows:
            del row["id"]
        for number in range(2, subscribers + 1):
            shift = (number - 1) * count
            copies = [
                {**row, "account_id": number, "calendar_id": number, "object_id": row["object_id"] + shift}
                for row in rows
            ]
            session.execute(insert(CalendarOccurrence), copies)
        session.execute(update(CalendarObject).values(needs_expansion=False, expansion_attempts=0))


def _fill_objects(session: Any, server: _Server, number: int) -> None:
    session.execute(
        insert(CalendarObject),
        [
            {"calendar_id": number, "href": href, "etag": str(server.version), "raw": raw, "changed_at": NOW}
            for href, raw in server.objects.items()
        ],
    )


def _raw(number: int, hour: int) -> bytes:
    day = NOW + timedelta(days=1 + number % 50)
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//bench//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:meeting-{number}@example.org\r\nDTSTAMP:20260301T000000Z\r\nSUMMARY:Meeting {number}\r\n"
        f"DTSTART:{day:%Y%m%d}T{hour}0000Z\r\nDTEND:{day:%Y%m%d}T{hour}3000Z\r\nLOCATION:Room {number % 7}\r\n"
        "DESCRIPTION:What was said last time\\, what comes next.\r\nORGANIZER;CN=Boss:mailto:boss@example.org\r\n"
        + "".join(
            f"ATTENDEE;CN=Person {person};PARTSTAT=ACCEPTED:mailto:person{person}@example.org\r\n"
            for person in range(5)
        )
        + "END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def _subscriber(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "mattermost_user_id": f"user-{number}",
        "username": f"user-{number}",
        "zone": "Europe/Berlin",
        "dm_channel_id": f"dm-{number}",
        "agenda_time": NOW.time(),
        "weekdays": [1, 2, 3, 4, 5],
        "reminder_minutes": [10],
        "created_at": NOW,
        "updated_at": NOW,
    }


def _account(number: int, sealed: str) -> dict[str, Any]:
    return {
        "id": number,
        "subscriber_id": number,
        "server_url": "https://calendar.example.org",
        "login": f"user-{number}",
        "password": sealed,
        "addresses": [],
        "next_poll_at": NOW,
        "created_at": NOW,
    }


def _calendar(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "account_id": number,
        "url": "/c/",
        "name": "shared",
        "sync_token": "1",
        "reconciled_at": NOW,
        "known_since": NOW,
    }
