"""Reminders of many people, from the claim to the Mattermost twin, against the bare HTTP posts of the same messages.

Everything is the product's own: one worker process with its threads, Valkey, the scan as a task, the twin as a process of its
own. Each person has one meeting, and a direct channel that is known. Two measurements on SQLite and on PostgreSQL each:

- throughput: all reminders are due at once; time runs from the queueing of the scan to the last arrival. `ratio` is this
  rate divided by that of the bare posts: the same client and texts from as many threads of one process, half of them before
  and half after ours.
- lateness: the reminders' times are spread evenly over one minute, and the scans of reminders and of the ledger are queued each
  15 s as by beat; arrival at the twin minus the reminder's time, so a tick of 15 s alone makes a median of 7.5 s.

A message that arrives twice or never fails the benchmark.
"""

from __future__ import annotations

import asyncio
import json
import os
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from celery import Celery
from sqlalchemy import insert, select

from benchmarks.postgres import running_postgres
from sandbox.mattermost import MattermostTwin
from switchboard.clients.mattermost import MattermostClient
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
from switchboard.domain.calendar.reminders import delivery_key
from switchboard.services.calendar.reminders import KIND
from switchboard.services.channels.mattermost import DELIVERY_PROP
from switchboard.texts.meetings import reminder_message
from tests.servers import ROOT, dies_with_parent, running_valkey

SIZES = {"full": (10_000, 60), "small": (500, 15)}  # reminders, seconds over which the second measurement spreads them
THREADS = 12
TICK_S = 15
MINUTES = 10
TIMEOUT_S = 300
BOT_TOKEN = "b" * 26
ZONE = "Europe/Berlin"
LINK = "https://meet.example.org/1"


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody with a reminder: the ids of the user and of the bot's direct channel with them."""

    user_id: str
    channel_id: str


def run(scale: str) -> dict[str, Any]:
    """Rates a second, `ratio` (the worse of the two databases), lateness in seconds, duplicates and losses (0)."""
    count, spread_s = SIZES[scale]
    result: dict[str, Any] = {"reminders": count, "threads": THREADS}
    for name in ("sqlite", "postgresql"):
        with tempfile.TemporaryDirectory(prefix="sb-fan-") as folder:
            if name == "sqlite":
                measured = _measure(f"sqlite:///{folder}/switchboard.sqlite3", Path(folder), count, spread_s)
            else:
                with running_postgres() as url:
                    measured = _measure(url, Path(folder), count, spread_s)
        result.update({f"{name}_{key}": value for key, value in measured.items()})
    result["ratio"] = min(result["sqlite_ratio"], result["postgresql_ratio"])
    return result


def _measure(url: str, folder: Path, count: int, spread_s: int) -> dict[str, Any]:
    readers = _make_readers(folder, count)
    migrate.upgrade(url)
    database = Database(url)
    with (
        running_valkey(folder / "valkey") as valkey,
        _twin(folder) as mattermost_url,
        Celery("producer", broker=valkey.url, set_as_current=False) as producer,
        _worker(folder, REDIS_URL=valkey.url, DATABASE_URL=url, MATTERMOST_URL=mattermost_url),
    ):
        _fill(database, readers)
        posts = Posts(folder / "mattermost.jsonl")
        bare_s = _bare(mattermost_url, readers[: count // 2])
        posts.wait_for(count // 2)

        now = datetime.now(UTC)
        _arm(database, readers, "at-once", [now] * count)
        begun = time.time()
        _scan_until_empty(producer, database)
        arrivals = posts.wait_for(count)
        rate = count / (max(arrivals) / 1000 - begun)

        bare_s += _bare(mattermost_url, readers[count // 2 :])
        posts.wait_for(count - count // 2)
        bare_rate = count / bare_s

        begin = datetime.now(UTC) + timedelta(seconds=5)
        due = [begin + timedelta(seconds=spread_s * number / count) for number in range(count)]
        keys = _arm(database, readers, "spread", due)
        _ticks(producer, begin, spread_s)
        posts.wait_for(count)
        lateness = posts.lateness_s(keys, due)
    database.dispose()
    return {
        "per_s": round(rate, 1),
        "bare_per_s": round(bare_rate, 1),
        "ratio": round(rate / bare_rate, 3),
        "lateness_p50_s": round(statistics.median(lateness), 2),
        "lateness_p99_s": round(statistics.quantiles(lateness, n=100)[98], 2),
        "duplicates": posts.duplicates,
        "losses": 0,
    }


class Posts:
    """What has arrived at the twin, read from the file that it writes; a post that is there twice is an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._waited_for = 0
        self._arrived_ms: dict[str, int] = {}
        self.duplicates = 0

    def wait_for(self, count: int) -> list[int]:
        """Wait until `count` more posts have arrived, and a little for those that must not; when, in ms since 1970."""
        known = set(self._arrived_ms)
        self._waited_for += count
        end = time.monotonic() + TIMEOUT_S
        while len(self._arrived_ms) < self._waited_for:
            if time.monotonic() > end:
                raise RuntimeError(f"{self._waited_for - len(self._arrived_ms)} of {count} posts never arrived")
            time.sleep(0.2)
            self._read()
        time.sleep(1.5)
        self._read()
        if self.duplicates:
            raise RuntimeError(f"{self.duplicates} posts arrived twice")
        return [at for key, at in self._arrived_ms.items() if key not in known]

    def lateness_s(self, keys: list[str], due: list[datetime]) -> list[float]:
        """Arrival minus due time of each reminder."""
        return [self._arrived_ms[key] / 1000 - at.timestamp() for key, at in zip(keys, due, strict=True)]

    def _read(self) -> None:
        with self._path.open("rb") as journal:
            journal.seek(self._offset)
            lines = journal.read()
        whole = lines.rpartition(b"\n")[0]
        self._offset += len(whole) + 1 if whole else 0
        for line in whole.splitlines():
            kind, fields = json.loads(line)
            if kind != "post":
                continue
            key = fields["props"][DELIVERY_PROP]
            self.duplicates += key in self._arrived_ms
            self._arrived_ms[key] = fields["create_at"]


def _make_readers(folder: Path, count: int) -> list[Reader]:
    """People with open direct channels, in the twin's file before it starts."""
    twin = MattermostTwin(data_dir=folder, bot_token=BOT_TOKEN)
    bot = twin.world.user_named("switchboard")
    readers = []
    for number in range(count):
        user = twin.world.add_user(f"reader{number}", f"reader{number}@example.org")
        readers.append(Reader(user.id, twin.world.direct_channel(bot, user).id))
    asyncio.run(twin.stop())
    return readers


def _fill(database: Database, readers: list[Reader]) -> None:
    """A subscriber, an account, a calendar and an object for each; their ids are their places, from 1."""
    now = datetime.now(UTC)
    with database.write() as session:
        session.execute(
            insert(CalendarSubscriber),
            [
                {
                    "id": number,
                    "mattermost_user_id": reader.user_id,
                    "username": f"reader{number}",
                    "zone": ZONE,
                    "dm_channel_id": reader.channel_id,
                    "agenda_enabled": False,
                    "agenda_time": now.time(),
                    "weekdays": [],
                    "reminder_minutes": [MINUTES],
                    "created_at": now,
                    "updated_at": now,
                }
                for number, reader in enumerate(readers, 1)
            ],
        )
        places = range(1, len(readers) + 1)
        session.execute(
            insert(CalendarAccount),
            [
                {
                    "id": number,
                    "subscriber_id": number,
                    "server_url": "https://calendar.example.org",
                    "login": "login",
                    "password": "sealed",
                    "addresses": [],
                    "next_poll_at": now,
                    "created_at": now,
                }
                for number in places
            ],
        )
        session.execute(
            insert(Calendar), [{"id": number, "account_id": number, "url": "/", "name": "Work"} for number in places]
        )
        session.execute(
            insert(CalendarObject),
            [
                {
                    "id": number,
                    "calendar_id": number,
                    "href": "/o",
                    "etag": "",
                    "raw": b"",
                    "needs_expansion": False,
                    "changed_at": now,
                }
                for number in places
            ],
        )


def _arm(database: Database, readers: list[Reader], part: str, due: list[datetime]) -> list[str]:
    """One meeting and one reminder for each reader; the keys of the deliveries to come."""
    meetings = [_meeting(part, at + timedelta(minutes=MINUTES)) for at in due]
    with database.write() as session:
        ids = session.scalars(
            insert(CalendarOccurrence).returning(CalendarOccurrence.id, sort_by_parameter_order=True),
            [
                {
                    "account_id": number,
                    "calendar_id": number,
                    "object_id": number,
                    "uid": meeting.uid,
                    "recurrence_id": "",
                    "start_at": meeting.start,
                    "end_at": meeting.end,
                    "all_day": False,
                    "declined": False,
                    "details": meeting.to_json(),
                }
                for number, meeting in enumerate(meetings, 1)
            ],
        ).all()
        session.execute(
            insert(CalendarReminder),
            [
                {"subscriber_id": number, "occurrence_id": occurrence_id, "minutes": MINUTES, "fire_at": at}
                for number, (occurrence_id, at) in enumerate(zip(ids, due, strict=True), 1)
            ],
        )
    return [
        delivery_key(
            user_id=reader.user_id,
            kind=KIND,
            minutes=MINUTES,
            uid=meeting.uid,
            recurrence_id="",
            start=meeting.start,
        )
        for reader, meeting in zip(readers, meetings, strict=True)
    ]


def _meeting(uid: str, start: datetime) -> Occurrence:
    return Occurrence(
        uid=uid, recurrence_id="", start=start, end=start + timedelta(hours=1), title="Plan", conference_url=LINK
    )


def _bare(url: str, readers: list[Reader]) -> float:
    """Seconds for one post to each reader by the client alone."""
    client = MattermostClient(url, BOT_TOKEN)
    now = datetime.now(UTC)
    message = reminder_message(_meeting("bare", now + timedelta(minutes=10)), MINUTES, now, ZoneInfo(ZONE), "en")
    attachments = [
        {"fallback": f"{one.text}: {one.url}", "title": one.text, "title_link": one.url} for one in message.buttons
    ]

    def post(reader: Reader) -> None:
        client.create_post(
            reader.channel_id,
            message.text,
            props={DELIVERY_PROP: f"bare:{reader.user_id}", "attachments": attachments},
            pending_post_id=f"bare:{reader.user_id}",
        )

    with ThreadPoolExecutor(THREADS) as pool:
        begun = time.perf_counter()
        for _done in pool.map(post, readers):
            pass
        return time.perf_counter() - begun


def _queue(producer: Celery, task: str) -> None:
    producer.send_task(task, queue=task.partition(".")[0], kwargs={})


def _scan_until_empty(producer: Celery, database: Database) -> None:
    """A scan takes 5,000, and one at the same time as another is skipped: queue them until nothing is due."""
    left: int | None = 1
    while left is not None:
        _queue(producer, "calendar.reminders.scan_due")
        time.sleep(1)
        with database.read() as session:
            left = session.scalar(select(CalendarReminder.id).limit(1))


def _ticks(producer: Celery, begin: datetime, spread_s: int) -> None:
    """The scans as beat queues them, until one after the last reminder is due."""
    for number in range(spread_s // TICK_S + 1):
        time.sleep(max(0.0, begin.timestamp() + TICK_S * number - time.time()))
        for task in ("calendar.reminders.scan_due", "delivery.ledger.scan_open"):
            _queue(producer, task)


@contextmanager
def _twin(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "sandbox", "--port", "0", "--data", str(folder)]
    environment = {**os.environ, "SANDBOX_BOT_TOKEN": BOT_TOKEN}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=dies_with_parent,  # noqa: PLW1509
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the twin has no output")
            with selectors.DefaultSelector() as selector:
                selector.register(process.stdout, selectors.EVENT_READ)
                if not selector.select(60):
                    raise RuntimeError("the twin did not start within 60 s")
            yield process.stdout.readline().split()[1].rstrip("/")
        finally:
            process.kill()


@contextmanager
def _worker(folder: Path, **environment: str) -> Iterator[None]:
    ready, log = folder / "ready", folder / "worker.log"
    queues = "calendar,delivery,upkeep,telegram,providers,sync"
    options = ["-P", "threads", "-c", str(THREADS), "-Q", queues, "-E", "--without-gossip", "--without-mingle"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks.app", "worker", *options, "-I", "tasks.readiness"],
            cwd=ROOT,
            env={
                **os.environ,
                **environment,
                "DATA_DIR": str(folder),
                "MATTERMOST_TOKEN": BOT_TOKEN,
                "SECRET_KEYS": "k" * 32,
                "LOG_FORMAT": "json",
                "SWITCHBOARD_READY_FILE": str(ready),
            },
            stdout=output,
            stderr=output,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
    try:
        end = time.monotonic() + 60
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(log.read_text(errors="replace")[-2_000:])
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait(10)
