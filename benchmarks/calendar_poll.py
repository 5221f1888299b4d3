"""One changed meeting in a calendar of thousands: our poll against fetching everything, as the known programs do.

Our poll is the whole service call: claim, sync report, fetch of the changed object, storing it in SQLite. Fetching everything
is the library's own way: one REPORT for all events, each parsed. Both ask the same warm server, in turn. `ratio` is the
ratio of the median times (fetching everything / ours) with the largest calendar, `growth` our time there against the smallest.
"""

from __future__ import annotations

import json
import select as readiness
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.calendars import (
    Server,
    add_account,
    fetch_everything,
    in_process_apart,
    peak_mb,
    polling,
    running_server,
)
from switchboard.db import migrate
from switchboard.db.engine import Database

SIZES = {"full": (100, 1_000, 5_000), "small": (50, 200)}
ROUNDS = {"full": 5, "small": 2}
CHANGED = 7


def run(scale: str) -> dict[str, Any]:
    """Milliseconds, bytes and peak megabytes by server; ratios by server; see the module."""
    result: dict[str, Any] = {"rounds": ROUNDS[scale]}
    for name in ("radicale", "xandikos"):
        times: dict[int, float] = {}
        for size in SIZES[scale]:
            with tempfile.TemporaryDirectory() as folder, running_server(name, Path(folder), size) as server:
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
        _poll(database, account_id, expected=size)
        first_s = time.perf_counter() - begun
        ours, everything = [], []
        for number in range(rounds):
            server.change(CHANGED, f"Round {number}")
            begun = time.perf_counter()
            _poll(database, account_id, expected=1)
            ours.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            fetch_everything(server, size)
            everything.append(time.perf_counter() - begun)
        measured = {
            "poll_ms": _ms(ours),
            "everything_ms": _ms(everything),
            "ratio": round(statistics.median(everything) / statistics.median(ours), 1),
            "first_poll_ms": round(first_s * 1000, 1),
        }
        if whole:
            measured |= _bytes(database, server, size)
            server.change(CHANGED, "Memory")
            measured["poll_peak_mb"] = _peak_mb("poll", server, url=url, account_id=account_id)
            measured["everything_peak_mb"] = _peak_mb("everything", server, size=size)
        return measured
    finally:
        database.dispose()


def _poll(database: Database, account_id: int, *, expected: int) -> None:
    result = polling(database).poll(account_id)
    if result.changed != expected:
        raise RuntimeError(f"the poll found {result.changed} changes instead of {expected}: {result.error}")


def _bytes(database: Database, server: Server, size: int) -> dict[str, int]:
    """Bytes of answers on the wire, counted by a relay."""
    with _relay(server.url) as (url, received):
        relayed = Server(url, server.path, server.login, server.password)
        account_id = _add_account(database, relayed)
        _poll(database, account_id, expected=size)
        server.change(CHANGED, "Bytes")
        before = received()
        _poll(database, account_id, expected=1)
        between = received()
        fetch_everything(relayed, size)
        return {"poll_bytes": between - before, "everything_bytes": received() - between}


def _peak_mb(way: str, server: Server, **facts: Any) -> float:
    """Peak memory of a process that does this once, in MB."""
    order = {"way": way, "server": asdict(server), **facts}
    return float(in_process_apart("benchmarks.calendar_poll", order, timeout_s=120))


def _alone(order: dict[str, Any]) -> float:
    """The work of a process of its own; its peak memory in MB."""
    if order["way"] == "poll":
        database = Database(order["url"])
        _poll(database, order["account_id"], expected=1)
        database.dispose()
    else:
        fetch_everything(Server(**order["server"]), order["size"])
    return peak_mb()


def _add_account(database: Database, server: Server) -> int:
    with database.write() as session:
        return add_account(session, server)


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
    json.dump(_alone(json.load(sys.stdin)), sys.stdout)
