"""Calendars to measure with: running CalDAV servers, accounts in our store, and the peak memory of a process."""

from __future__ import annotations

import base64
import json
import resource
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import niquests
from caldav.calendarobjectresource import Event
from caldav.collection import Calendar as LibraryCalendar
from caldav.davclient import DAVClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from sandbox.caldav import running_radicale
from sandbox.caldav.radicale import STORAGE
from sandbox.caldav.seeding import FIRST, seed_object, seed_objects, seed_xandikos
from sandbox.caldav.xandikos import running_xandikos
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber
from switchboard.services.calendar.polling import CalendarPolling

KEY = "k" * 32
BOX = SecretBox([KEY])


@dataclass(frozen=True, slots=True)
class Server:
    """A running CalDAV server and where its calendar lies."""

    url: str
    path: str
    login: str
    password: str

    def change(self, number: int, text: str, first: datetime = FIRST) -> None:
        """Change the title of one meeting, as its owner's calendar program would."""
        credentials = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
        body = seed_object(number, first).replace(b"SUMMARY:Meeting", b"SUMMARY:" + text.encode() + b" meeting")
        request = urllib.request.Request(
            f"{self.url}{self.path}seed-{number}.ics",
            data=body,
            method="PUT",
            headers={"Authorization": f"Basic {credentials}", "Content-Type": "text/calendar"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


@contextmanager
def running_server(name: str, folder: Path, size: int, first: datetime = FIRST) -> Iterator[Server]:
    """`radicale` or `xandikos` with a calendar of `size` meetings, spread over a year from `first`."""
    if name == "radicale":
        seed_objects(folder / STORAGE, size, first=first)
        with running_radicale(folder) as radicale:
            yield Server(radicale.url, "/anna/big/", "anna", radicale.password)
        return
    seed_xandikos(folder / "xandikos", size, first=first)
    with running_xandikos(folder) as xandikos:
        yield Server(xandikos.url, "/user/calendars/big/", "user", "none")


def open_client(url: str, login: str, password: str) -> CaldavClient:
    """Our client without a limit per host, and with the patience that a cold server of thousands of files needs."""
    guard = AddressGuard([url.removeprefix("http://")])
    return CaldavClient(url, login, password, guard=guard, timeout_s=300, deadline_s=600)


@contextmanager
def library_client(server: Server) -> Iterator[DAVClient]:
    """The caldav library's own client, as programs without a store use it."""
    with DAVClient(
        url=server.url,
        username=server.login,
        password=server.password,
        auth_type="basic",
        enable_rfc6764=False,
        timeout=300,
    ) as client:
        yield client


def fetch_everything(server: Server, size: int) -> int:
    """Every event by the library, parsed: what a program without a store must do at each poll. Bytes of bodies, unpacked."""
    received = [0]

    def count(answer: niquests.PreparedRequest | niquests.Response) -> None:
        received[0] += len(answer.content or b"") if isinstance(answer, niquests.Response) else 0

    with library_client(server) as client:
        client.session.hooks["response"].append(count)
        events = LibraryCalendar(client=client, url=server.url + server.path).get_events()
        parsed = [event.icalendar_instance for event in cast("list[Event]", events)]
    if len(parsed) != size:
        raise RuntimeError(f"the server has {len(parsed)} events instead of {size}")
    return received[0]


def polling(database: Database) -> CalendarPolling:
    """Polls as in production, but that nothing may go wrong."""
    return CalendarPolling(
        database, open_client, BOX, Nobody(), lambda: datetime.now(UTC), poll_period_s=120, budget_s=600
    )


def add_account(session: Session, server: Server, *, person: str = "anna", zone: str = "Europe/Berlin") -> int:
    """An account of `person` that watches the server's calendar; return its id."""
    now = datetime.now(UTC)
    subscriber = session.scalar(select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == person))
    if subscriber is None:
        subscriber = CalendarSubscriber(
            mattermost_user_id=person,
            username=person,
            zone=zone,
            agenda_time=now.time(),
            weekdays=[1],
            reminder_minutes=[10],
            created_at=now,
            updated_at=now,
        )
        session.add(subscriber)
        session.flush()
    account = CalendarAccount(
        subscriber_id=subscriber.id,
        server_url=server.url,
        login=server.login,
        password=BOX.encrypt(server.password),
        addresses=[],
        next_poll_at=now,
        created_at=now,
    )
    session.add(account)
    session.flush()
    session.add(Calendar(account_id=account.id, url=server.url + server.path, name="Big"))
    return account.id


class Nobody:
    """Nobody is told anything here."""

    def account_paused(self, _session: Session, _account: CalendarAccount, _now: datetime) -> None:
        raise RuntimeError("the account was paused")

    def calendar_lost(self, _session: Session, _account: CalendarAccount, _calendar: Calendar, _now: datetime) -> None:
        raise RuntimeError("the calendar was lost")

    def calendar_back(self, _session: Session, _account: CalendarAccount, _calendar: Calendar, _now: datetime) -> None:
        raise RuntimeError("the calendar was lost and came back")


def in_process_apart(module: str, order: dict[str, Any], *, timeout_s: float, env: dict[str, str] | None = None) -> Any:
    """What a module answers that is run as a program: it reads the order from standard input, both are JSON."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=json.dumps(order),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            timeout=timeout_s,
            env=env,
            check=False,
        )
        if done.returncode:
            errors.seek(0)
            raise RuntimeError(errors.read()[-2_000:])
    return json.loads(done.stdout)


def peak_mb() -> float:
    """Peak memory of this process so far, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # the resource module's figure begins with the parent's memory
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1_000, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000_000, 1)  # macOS counts bytes
