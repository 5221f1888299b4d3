"""A process that takes a lock, for tests: `python -m tests.integration.lock_holder hold|count ...`."""

from __future__ import annotations

import sqlite3
import sys
import time

import structlog

from switchboard.clients.redis import connect_redis
from switchboard.errors import LockBusyError, LockLostError
from switchboard.locks import LockFactory


def hold(url: str, name: str, lease_s: str) -> None:
    """Take the lock, say its fence, then answer each line of standard input with `held` or `lost`."""
    with LockFactory(connect_redis(url)).require(name, lease_s=float(lease_s)) as lease:
        print(lease.fence, flush=True)
        for _line in sys.stdin:
            try:
                lease.check()
            except LockLostError:
                print("lost", flush=True)
            else:
                print("held", flush=True)


def count(url: str, name: str, path: str, times: str) -> None:
    """Add 1 to the row of the SQLite file `path`, `times` times: read under the lock, write on the condition of the fence."""
    locks = LockFactory(connect_redis(url))
    database = sqlite3.connect(path, timeout=10, isolation_level=None)
    done = 0
    while done < int(times):
        try:
            with locks.require(name, lease_s=10) as lease:
                (value,) = database.execute("SELECT value FROM counter").fetchone()
                time.sleep(0.001)  # room for another to come between
                changed = database.execute(
                    "UPDATE counter SET value = ?, fence = ? WHERE fence < ?", (value + 1, lease.fence, lease.fence)
                )
                assert changed.rowcount == 1, "a newer holder wrote before"
                done += 1
        except LockBusyError:
            time.sleep(0.002)
    database.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for answers
    action, *rest = sys.argv[1:]
    if action == "hold":
        hold(*rest)
    else:
        count(*rest)
