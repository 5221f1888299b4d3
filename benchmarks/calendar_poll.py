"""One changed meeting in a calendar of thousands: our poll against fetching everything, as the known programs do.

Our poll is the whole service call: claim, sync report, fetch of the changed object, storing it in SQLite. Fetching everything
is the library's own way: one REPORT for all events, each parsed. Both ask the same warm server, in turn. `ratio` is the
ratio of the median times (fetching everything / ours) with the largest calendar, `growth` our time there against the smallest.
"""

from __future__ import annotations

import base64
import json
import resource
import select as readiness
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from caldav.calendarobjectresource import Event
from caldav.collection import Calendar as LibraryCalendar
from caldav.davclient import DAVClient
from sqlalchemy.orm import Session

from sandbox.caldav import running_radicale
from sandbox.caldav.seeding import seed_object, seed_objects, seed_xandikos
from sandbox.caldav.xandikos import running_xandikos
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.crypto import SecretBox
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber
from switchboard.services.calendar.polling import CalendarPolling

SIZES = {"full": (100, 1_000, 5_000), "small": (50, 200)}
ROUNDS = {"full": 5, "small": 2}
CHANGED = 7
BOX = SecretBox(["k" * 32])


@dataclass(frozen=True, slots=True)
class Server:
    """A running CalDAV server and where its calendar of `size` meetings lies."""

    url: str
    path: str
    login: str
    password: str

    def change(self, text: str) -> None:
        """Change one meeting, as its owner's calendar program would."""
        credentials = base64.b64encode(f"{self.login}:{self.password}".encode()).decode()
        body = seed_object(CHANGED).replace(b"SUMMARY:Meeting", b"SUMMARY:" + text.encode() + b" meeting")
        request = urllib.request.Request(
            f"{self.url}{self.path}seed-{CHANGED}.ics",
            data=body,
            method="PUT",
            headers={"Authorization": f"Basic {credentials}", "Content-Type": "text/calendar"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()


def run(scale: str) -> dict[str, Any]:
    """Milliseconds, bytes and peak megabytes by server; ratios by server; see the module."""
    result: dict[str, Any] = {"rounds": ROUNDS[scale]}
    for name in ("radicale", "xandikos"):
        times: dict[int, float] = {}
        for size in SIZES[scale]:
            with tempfile.TemporaryDirectory() as folder, _running(name, Path(folder), size) as server:
                measured = _measure(server, Path(folder), size, ROUNDS[scale], whole=size == SIZES[scale][-1])
            times[size] = measured.pop("poll_ms")
            result[f"{name}_{size}_poll_ms"] = times[size]
            result.update({f"{name}_{size}_{key}": value for key, value in measured.items()})
        result[f"{name}_ratio"] = result[f"{name}_{size}_ratio"]
        result[f"{name}_growth"] = round(times[SIZES[scale][-1]] / times[SIZES[scale][0]], 2)
    result["ratio"] = min(result["radicale_ratio"], result["xandikos_ratio"])
    return result


def _measure(server: Server, folder: Path, size: int, rounds: int, *, whole: bool) -> dict[str, Any]:
    url = f"sqlite:///{folder}/store.sqlite3"
    migrate.upgrade(url)
    database = Database(url)
    try:
        account_id = _add_account(database, server)
        begun = time.perf_counter()
        _poll(database, server, account_id, expected=size)
        first_s = time.perf_counter() - begun
        ours, everything = [], []
        for number in range(rounds):
            server.change(f"Round {number}")
            begun = time.perf_counter()
            _poll(database, server, account_id, expected=1)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            _fetch_everything(server, size)
            everything.append(time.perf_counter() - begun)
        measured = {
            "poll_ms": _ms(ours),
            "everything_ms": _ms(everything),
            "ratio": round(statistics.median(everything) / statistics.median(ours), 1),
            "first_poll_ms": round(first_s * 1000, 1),
        }
        if whole:
            measured |= _bytes(database, server, size)
            server.change("Memory")
            measured["poll_peak_mb"] = _peak_mb("poll", server, url=url, account_id=account_id)
            measured["everything_peak_mb"] = _peak_mb("everything", server, size=size)
        return measured
    finally:
        database.dispose()


def _poll(database: Database, server: Server, account_id: int, *, expected: int) -> None:
    result = _service(database, server).poll(account_id)
    if result.changed != expected:
        raise RuntimeError(f"the poll found {result.changed} changes instead of {expected}: {result.error}")


def _service(database: Database, server: Server) -> CalendarPolling:
    guard = AddressGuard([server.url.removeprefix("http://")])

    def open_server(url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(
            url, login, password, guard=guard, timeout_s=300, deadline_s=600
        )  # a cold server takes long

    return CalendarPolling(
        database, open_server, BOX, _Nobody(), lambda: datetime.now(UTC), poll_period_s=120, budget_s=600
    )


def _fetch_everything(server: Server, size: int) -> None:
    """Every event by the library, parsed: what a program without a store must do at each poll."""
    with DAVClient(
        url=server.url,
        username=server.login,
        password=server.password,
        auth_type="basic",
        enable_rfc6764=False,
        timeout=120,
    ) as client:
        events = LibraryCalendar(client=client, url=server.url + server.path).get_events()
        parsed = [event.icalendar_instance for event in cast("list[Event]", events)]
    if len(parsed) != size:
        raise RuntimeError(f"the server has {len(parsed)} events instead of {size}")


def _bytes(database: Database, server: Server, size: int) -> dict[str, int]:
    """Bytes of answers on the wire, counted by a relay."""
    with _relay(server.url) as (url, received):
        relayed = Server(url, server.path, server.login, server.password)
        account_id = _add_account(database, relayed)
        _poll(database, relayed, account_id, expected=size)
        server.change("Bytes")
        before = received()
        _poll(database, relayed, account_id, expected=1)
        between = received()
        _fetch_everything(relayed, size)
        return {"poll_bytes": between - before, "everything_bytes": received() - between}


def _peak_mb(way: str, server: Server, **facts: Any) -> float:
    """Peak memory of a process that does this once, in MB."""
    order = json.dumps({"way": way, "server": asdict(server), **facts})
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.calendar_poll"],
        input=order,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2_000:])
    return float(done.stdout)


def _alone(order: dict[str, Any]) -> float:
    """The work of a process of its own; its peak memory in MB."""
    server = Server(**order["server"])
    if order["way"] == "poll":
        database = Database(order["url"])
        _poll(database, server, order["account_id"], expected=1)
        database.dispose()
    else:
        _fetch_everything(server, order["size"])
    status = Path("/proc/self/status")
    if status.exists():  # the resource module's figure begins with the parent's memory
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1_000, 1)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000_000, 1)  # macOS counts bytes


def _add_account(database: Database, server: Server) -> int:
    now = datetime.now(UTC)
    with database.write() as session:
        account = CalendarAccount(
            subscriber_id=_subscriber(session, now),
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


def _subscriber(session: Session, now: datetime) -> int:
    known = session.get(CalendarSubscriber, 1)
    if known is not None:
        return known.id
    session.add(
        CalendarSubscriber(
            id=1,
            mattermost_user_id="anna",
            username="anna",
            zone="Europe/Berlin",
            agenda_time=now.time(),
            weekdays=[1],
            reminder_minutes=[10],
            created_at=now,
            updated_at=now,
        )
    )
    session.flush()
    return 1


class _Nobody:
    """Nobody is told anything here."""

    def account_paused(self, _session: Session, _account: CalendarAccount, _now: datetime) -> None:
        raise RuntimeError("the account was paused")

    def calendar_lost(self, _session: Session, _account: CalendarAccount, _calendar: Calendar, _now: datetime) -> None:
        raise RuntimeError("the calendar was lost")

    def calendar_back(self, _session: Session, _account: CalendarAccount, _calendar: Calendar, _now: datetime) -> None:
        raise RuntimeError("the calendar was lost and came back")


@contextmanager
def _running(name: str, folder: Path, size: int) -> Iterator[Server]:
    if name == "radicale":
        seed_objects(folder / "storage", size)
        with running_radicale(folder) as radicale:
            yield Server(radicale.url, "/anna/big/", "anna", radicale.password)
        return
    seed_xandikos(folder / "xandikos", size)
    with running_xandikos(folder) as xandikos:
        yield Server(xandikos.url, "/user/calendars/big/", "user", "none")


@contextmanager
def _relay(url: str) -> Iterator[tuple[str, Any]]:
    """A relay before a server, and a function that says how many bytes have come from the server."""
    host, _, port = url.removeprefix("http://").partition(":")
    counted = [0]
    over = threading.Event()

    def carry(near: socket.socket) -> None:
        with near, socket.create_connection((host, int(port)), timeout=60) as far:
            other = {near: far, far: near}
            while not over.is_set():
                for ready in readiness.select([near, far], [], [], 0.2)[0]:
                    data = ready.recv(65_536)
                    if not data:
                        return
                    counted[0] += len(data) if ready is far else 0
                    other[ready].sendall(data)

    def accept(listener: socket.socket) -> None:
        while not over.is_set():
            if readiness.select([listener], [], [], 0.2)[0]:
                threading.Thread(target=carry, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", lambda: counted[0]
        over.set()
        thread.join(5)


def _ms(times: list[float]) -> float:
    return round(statistics.median(times) * 1000, 1)


if __name__ == "__main__":
    sys.stdout.write(str(_alone(json.load(sys.stdin))))
