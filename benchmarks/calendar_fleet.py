"""A whole poll round over 1,000 accounts with 100 events each, of which 1 % changed, against fetching every calendar whole.

Everything of ours is the product's own: due accounts are claimed, polled on as many threads as a worker has and expanded where
something changed, in one process apart; on SQLite and on PostgreSQL. The server is one Radicale with a person for each account;
all have the same meetings (in files that are hard links), the first account's store is polled and expanded, and the others' are
copies of it; a round that is not measured proves them. Two rounds are measured: `still`, in which nothing changed, and
`round`, before which every account's owner changed one meeting in a hundred.

`ratio` is the time for an account when the library fetches each calendar whole and parses it, from as many threads of a
process apart, for a sample of the accounts, divided by that of our round (the smaller one of the databases). `growth` is our
time for an account with 1,000 accounts divided by that with 100 (the larger one). Bytes are those of bodies, unpacked.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, event, insert, select, text, update
from sqlalchemy.orm import Session

from benchmarks.calendars import (
    BOX,
    Nobody,
    Server,
    add_account,
    fetch_everything,
    in_process_apart,
    open_client,
    peak_mb,
    polling,
)
from benchmarks.postgres import running_postgres
from sandbox.caldav import running_radicale
from sandbox.caldav.radicale import STORAGE
from sandbox.caldav.seeding import seed_objects
from switchboard.clients.caldav import CaldavClient
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import (
    Base,
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
)
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome

SIZES = {"full": (100, 1_000), "small": (10, 40)}
EVENTS = {"full": 100, "small": 20}
SAMPLE = {"full": 100, "small": 10}
ROUNDS = {"full": 3, "small": 1}  # with the smaller number of accounts; one with the larger
THREADS = 12
CHANGED_OF = 100


def run(scale: str) -> dict[str, Any]:
    """Seconds, requests, bytes, statements, megabytes by database and number of accounts; see the module."""
    few, many = SIZES[scale]
    result: dict[str, Any] = {"events": EVENTS[scale], "threads": THREADS}
    for accounts in (few, many):
        result |= _measure(accounts, scale)
    for database in ("sqlite", "postgresql"):
        result[f"{database}_ratio"] = round(
            result["whole_account_ms"] / result[f"{database}_{many}_round_account_ms"], 2
        )
        result[f"{database}_growth"] = round(
            result[f"{database}_{many}_round_account_ms"] / result[f"{database}_{few}_round_account_ms"], 2
        )
    result["ratio"] = min(result["sqlite_ratio"], result["postgresql_ratio"])
    result["growth"] = max(result["sqlite_growth"], result["postgresql_growth"])
    return result


def _measure(accounts: int, scale: str) -> dict[str, Any]:
    size, rounds = EVENTS[scale], ROUNDS[scale] if accounts == SIZES[scale][0] else 1
    first = datetime.now(UTC).replace(hour=6, minute=0, second=0, microsecond=0)
    result: dict[str, Any] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres() as postgres_url,
        _servers(Path(folder), accounts, size, first) as servers,
    ):
        urls = {"sqlite": f"sqlite:///{folder}/store.sqlite3", "postgresql": postgres_url}
        for url in urls.values():
            _fill(url, servers, size)
        for name, url in urls.items():
            _round(url, accounts, changed=None)  # what changed for the other database's rounds
            still = [_round(url, accounts, changed=0) for _ in range(rounds)]
            busy = []
            for number in range(rounds):
                _change(servers, size, f"{name} {number}", first)
                busy.append(_round(url, accounts, changed=max(1, size // CHANGED_OF)))
            for what, measured in (("still", still), ("round", busy)):
                for key in measured[0]:
                    value = statistics.median(one[key] for one in measured)
                    result[f"{name}_{accounts}_{what}_{key}"] = round(value, 2)
        if accounts == SIZES[scale][1]:
            sample = [asdict(server) for server in servers[: SAMPLE[scale]]]
            whole = in_process_apart("benchmarks.calendar_fleet", {"whole": sample, "size": size}, timeout_s=600)
            result |= {f"whole_{key}": value for key, value in whole.items()}
    return result


def _round(url: str, accounts: int, *, changed: int | None) -> dict[str, float]:
    """A round in a process of its own; RuntimeError unless each account had `changed` changes (None: any number)."""
    measured: dict[str, float] = in_process_apart("benchmarks.calendar_fleet", {"url": url}, timeout_s=900)
    found, polled = measured.pop("changed"), measured.pop("polled")
    if polled != accounts or (changed is not None and found != changed * accounts):
        raise RuntimeError(f"{polled} of {accounts} accounts were polled, {found} changes were found")
    return measured


@dataclass
class _Meter:
    """What a round asked of others, counted over all threads."""

    requests: int = 0
    received_bytes: int = 0
    statements: int = 0
    commits: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def open(self, url: str, login: str, password: str) -> Iterator[CaldavClient]:
        with open_client(url, login, password) as client:
            yield client
        with self.lock:
            self.requests += client.requests
            self.received_bytes += client.received_bytes

    def watch(self, database: Database) -> None:
        event.listen(database.engine, "before_cursor_execute", partial(self._add, "statements"))
        event.listen(database.engine, "commit", partial(self._add, "commits"))

    def _add(self, name: str, *_facts: object) -> None:
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)


def _poll_all(url: str) -> dict[str, float]:
    """One round, as scans and a worker's threads make it."""
    database, meter = Database(url, connections=THREADS + 1), _Meter()
    service = CalendarPolling(
        database,
        meter.open,
        BOX,
        Nobody(),
        lambda: datetime.now(UTC),
        poll_period_s=3_600,  # none is due twice in a round; a scan takes the share of accounts that it takes in production
        scan_period_s=3_600 / 8,
        budget_s=600,
    )
    expansion = CalendarExpansion(database, lambda: datetime.now(UTC))
    with database.write() as session:
        session.execute(update(CalendarAccount).values(next_poll_at=datetime.now(UTC) - timedelta(hours=1)))
    meter.watch(database)
    times: list[float] = []

    def work(account_id: int) -> int:
        begun = time.perf_counter()
        result = service.poll(account_id)
        times.append(time.perf_counter() - begun)
        if result.outcome is not PollOutcome.POLLED:
            raise RuntimeError(f"a poll ended {result.outcome}: {result.error}")
        while result.needs_expansion and expansion.expand_account(account_id).more:
            pass
        return result.changed

    changed = polled = 0
    processor_s, begun = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        while account_ids := service.claim_due():
            polled += len(account_ids)
            changed += sum(pool.map(work, account_ids))
    round_s = time.perf_counter() - begun
    processor_s = time.process_time() - processor_s
    database.dispose()
    return {
        "polled": polled,
        "changed": changed,
        "s": round_s,
        "account_ms": round_s / polled * 1_000,
        "processor_ms": processor_s / polled * 1_000,
        "poll_p50_ms": statistics.median(times) * 1_000,
        "requests": meter.requests / polled,
        "bytes": meter.received_bytes / polled,
        "statements": meter.statements / polled,
        "commits": meter.commits / polled,
        "peak_mb": peak_mb(),
    }


def _fetch_whole(servers: list[Server], size: int) -> dict[str, float]:
    """Every calendar whole, as a program without a store must."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        received = sum(pool.map(lambda server: fetch_everything(server, size), servers))
    account_ms = (time.perf_counter() - begun) / len(servers) * 1_000
    return {"account_ms": round(account_ms, 2), "bytes": received / len(servers), "peak_mb": peak_mb()}


@contextmanager
def _servers(folder: Path, accounts: int, size: int, first: datetime) -> Iterator[list[Server]]:
    """The same Radicale for each person; what it remembers of the first one's calendar is linked to the others' too."""
    people = [_person(number) for number in range(1, accounts + 1)]
    home = seed_objects(folder / STORAGE, size, user=people[0], first=first)
    with running_radicale(folder, users=people) as radicale:
        servers = [Server(radicale.url, f"/{person}/{home.name}/", person, radicale.password) for person in people]
        with open_client(radicale.url, people[0], radicale.password) as client:
            client.changes(radicale.url + servers[0].path, None)
        for person in people[1:]:
            shutil.copytree(home, home.parent.parent / person / home.name, copy_function=os.link)
        yield servers


def _change(servers: list[Server], size: int, text: str, first: datetime) -> None:
    """One meeting in a hundred of each account, of those that do not repeat."""
    numbers = [number for number in range(size) if number % 10][: max(1, size // CHANGED_OF)]
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda server: [server.change(number, text, first) for number in numbers], servers))


def _fill(url: str, servers: list[Server], size: int) -> None:
    """Everybody's store as after a first poll and its expansion: the first account's, and copies of it."""
    migrate.upgrade(url)
    database = Database(url)
    try:
        with database.write() as session:
            if database.dialect == "postgresql":
                session.execute(text("TRUNCATE calendar_subscribers RESTART IDENTITY CASCADE"))
            account_id = add_account(session, servers[0], person=servers[0].login)
        if polling(database).poll(account_id).changed != size:
            raise RuntimeError("the first poll did not find every meeting")
        expansion = CalendarExpansion(database, lambda: datetime.now(UTC))
        while expansion.expand_account(account_id).more:
            pass
        for server in servers[1:]:
            with database.write() as session:
                _copy(session, add_account(session, server, person=server.login), server.login, size)
        with database.write() as session:
            _arm(session)
            if database.dialect == "postgresql":  # ids were given by hand
                session.execute(text(f"SELECT setval('calendar_objects_id_seq', {len(servers) * size})"))
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
    finally:
        database.dispose()


def _copy(session: Session, account_id: int, login: str, size: int) -> None:
    """The first account's rows for another one; ids of accounts and of calendars are the same, and count from 1."""
    known, own = session.get_one(Calendar, 1), session.get_one(Calendar, account_id)
    for mark in ("sync_token", "synced_at", "reconciled_at", "known_since"):
        setattr(own, mark, getattr(known, mark))
    shift = (account_id - 1) * size
    objects = [
        row
        | {
            "id": row["id"] + shift,
            "calendar_id": account_id,
            "href": row["href"].replace(f"/{_person(1)}/", f"/{login}/"),
        }
        for row in _rows(session, CalendarObject, CalendarObject.calendar_id == 1)
    ]
    session.execute(insert(CalendarObject), objects)
    occurrences = [
        row | {"account_id": account_id, "calendar_id": account_id, "object_id": row["object_id"] + shift}
        for row in _rows(session, CalendarOccurrence, CalendarOccurrence.account_id == 1)
    ]
    for row in occurrences:
        del row["id"]
    session.execute(insert(CalendarOccurrence), occurrences)


def _rows(session: Session, model: type[Base], which: ColumnElement[bool]) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in session.execute(select(*model.__table__.columns).where(which))]


def _arm(session: Session) -> None:
    """A reminder for every occurrence to come but those of the first account, which has them."""
    to_come = session.execute(
        select(CalendarOccurrence.id, CalendarOccurrence.account_id, CalendarOccurrence.start_at).where(
            CalendarOccurrence.account_id > 1, CalendarOccurrence.start_at > datetime.now(UTC) + timedelta(hours=1)
        )
    )
    rows = [
        {
            "subscriber_id": row.account_id,
            "occurrence_id": row.id,
            "minutes": 10,
            "fire_at": row.start_at - timedelta(minutes=10),
        }
        for row in to_come
    ]
    session.execute(insert(CalendarReminder), rows)


def _person(number: int) -> str:
    return f"person-{number}"


if __name__ == "__main__":
    order = json.load(sys.stdin)
    whole = [Server(**one) for one in order.get("whole", [])]
    json.dump(_fetch_whole(whole, order["size"]) if whole else _poll_all(order["url"]), sys.stdout)
