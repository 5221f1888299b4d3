"""`today` and `get_a_month` from a store of 5,000 events, against asking the server.

Ours is the whole answer as the web process makes it: the desk of its own wiring, in a process apart, from the typed line to
the JSON for Mattermost, texts and buttons included; p50 and p99 over the rounds, on SQLite and on PostgreSQL. Asking the server
is the caldav library's search of the same days with expansion, warm; it draws no text. Both must name the same meetings.
`ratio` is the smallest ratio of the medians (server / ours) over both commands, databases and servers.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from caldav.calendarobjectresource import Event
from caldav.collection import Calendar as LibraryCalendar

from benchmarks.calendars import KEY, Server, add_account, in_process_apart, library_client, polling, running_server
from benchmarks.postgres import running_postgres
from switchboard import wiring
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.domain.calendar.wall_clock import day_window, start_of_day
from switchboard.domain.commands import Command, DayRange, asked_days
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.conversation.desk import Call

PERSON = "anna"
ZONE = ZoneInfo("Europe/Berlin")
COMMANDS = {"today": Command.TODAY, "month": Command.MONTH}
SIZES = {"full": 5_000, "small": 300}
ROUNDS = {"full": {"today": 300, "month": 200}, "small": {"today": 20, "month": 10}}
SERVER_ROUNDS = {"full": 5, "small": 2}
WARM_UP = 2

Meeting = tuple[str, str]  # UID, start in UTC


def run(scale: str) -> dict[str, Any]:
    """Milliseconds by database, by server and by command; meetings and characters of the answers; see the module."""
    size = SIZES[scale]
    today = datetime.now(ZONE).date()
    half_a_year_ago = datetime(today.year, today.month, today.day, 6, tzinfo=UTC) - timedelta(days=180)
    asked = {name: _days(command, today) for name, command in COMMANDS.items()}
    result: dict[str, Any] = {"events": size}
    ours: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, running_postgres() as postgres_url:
        for server_name in ("radicale", "xandikos"):
            with running_server(server_name, Path(folder), size, half_a_year_ago) as server:
                if not ours:
                    urls = {"sqlite": f"sqlite:///{folder}/store.sqlite3", "postgresql": postgres_url}
                    ours = {name: _ours(url, server, size, scale) for name, url in urls.items()}
                for name, days in asked.items():
                    times, meetings = _ask(server, days, SERVER_ROUNDS[scale])
                    for database_name, answers in ours.items():
                        _compare(f"{server_name} and {database_name}, {name}", meetings, answers[name]["meetings"])
                    result[f"{server_name}_{name}_ms"] = _ms(statistics.median(times))
    for database_name, answers in ours.items():
        for name, answer in answers.items():
            times = sorted(answer["times"])
            p50 = _ms(statistics.median(times))
            result[f"{database_name}_{name}_p50_ms"] = p50
            result[f"{database_name}_{name}_p99_ms"] = _ms(times[math.ceil(len(times) * 0.99) - 1])
            for server_name in ("radicale", "xandikos"):
                ratio = round(result[f"{server_name}_{name}_ms"] / p50, 1)
                result[f"{database_name}_{name}_ratio_{server_name}"] = ratio
            result[f"{name}_meetings"] = len(answer["meetings"])
            result[f"{name}_answer_chars"] = answer["chars"]
    result["ratio"] = min(value for key, value in result.items() if "_ratio_" in key)
    return result


def _ours(url: str, server: Server, size: int, scale: str) -> dict[str, Any]:
    """A store filled by a poll and its expansion, and the answers that a web process makes from it."""
    migrate.upgrade(url)
    database = Database(url)
    try:
        with database.write() as session:
            account_id = add_account(session, server, person=PERSON, zone=ZONE.key)
        if polling(database).poll(account_id).changed != size:
            raise RuntimeError("the poll did not find every meeting")
        expansion = CalendarExpansion(database, wiring.utc_now)
        while expansion.expand_account(account_id).more:
            pass
    finally:
        database.dispose()
    settings = {
        "DATABASE_URL": url,
        "SECRET_KEYS": KEY,
        "MATTERMOST_URL": "http://127.0.0.1:9",  # nobody listens: an answer from the store asks nobody
        "MATTERMOST_TOKEN": "token",
        "PUBLIC_URL": "http://127.0.0.1:9",
        "LOG_LEVEL": "WARNING",
    }
    answers = in_process_apart(
        "benchmarks.calendar_day", {"rounds": ROUNDS[scale]}, timeout_s=300, env={**os.environ, **settings}
    )
    return {
        name: {**answer, "meetings": {tuple(one) for one in answer["meetings"]}} for name, answer in answers.items()
    }


def _alone(order: dict[str, Any]) -> dict[str, Any]:
    """The web process's work: by command seconds of each answer, the length of its text, and the meetings it is made of."""
    call = Call(user_id=PERSON, channel_id="channel", trigger_id="trigger", response_url="http://127.0.0.1:9/reply")
    desk, listings = wiring.desk(), wiring.listings()
    answers = {}
    for name, rounds in order["rounds"].items():
        times = []
        for _ in range(rounds + WARM_UP):
            begun = time.perf_counter()
            body = desk.command(call, COMMANDS[name].value).body
            json.dumps(body)
            times.append(time.perf_counter() - begun)
        listing = listings.read(PERSON, _days(COMMANDS[name], datetime.now(ZONE).date()))
        shown = {one for day in listing.days for one in (*day.all_day, *day.meetings)}
        answers[name] = {
            "times": times[WARM_UP:],
            "chars": len(body["text"]),
            "meetings": [(one.uid, one.start.isoformat()) for one in shown],
        }
    return answers


def _ask(server: Server, days: DayRange, rounds: int) -> tuple[list[float], set[Meeting]]:
    """Seconds of each search and the meetings it found, after one that warms the server."""
    begin, end = start_of_day(days.first, ZONE), day_window(days.last, ZONE)[1]
    times = []
    with library_client(server) as client:
        calendar = LibraryCalendar(client=client, url=server.url + server.path)
        for _ in range(rounds + 1):
            begun = time.perf_counter()
            events = cast("list[Event]", calendar.search(start=begin, end=end, event=True, expand=True))
            components = [event.icalendar_component for event in events]
            times.append(time.perf_counter() - begun)
    found = {(str(one["UID"]), one["DTSTART"].dt.astimezone(UTC).isoformat()) for one in components}
    return times[1:], found


def _days(command: Command, today: date) -> DayRange:
    days = asked_days(command, (), today)
    if days is None:
        raise RuntimeError(f"{command} asks for no days")
    return days


def _compare(what: str, one: set[Meeting], other: set[Meeting]) -> None:
    if one != other or not one:
        raise RuntimeError(f"{what}: {len(one)} and {len(other)} meetings, not the same: {sorted(one ^ other)[:5]}")


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


if __name__ == "__main__":
    json.dump(_alone(json.load(sys.stdin)), sys.stdout)
