"""The real Celery app with a few tasks of the tests: `celery -A tests.e2e.probe_app worker`.

The tasks write lines to the file PROBE_FILE. PROBE_VISIBILITY_S, PROBE_BEAT_LOCK_S and PROBE_TICK_S shorten what would
take minutes.
"""

# mypy: disallow-untyped-decorators=False
from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from celery.signals import celeryd_init

from switchboard.clients.redis import connect_redis
from switchboard.deadlines import cap_timeout_s
from switchboard.errors import PermanentError
from switchboard.locks import LockFactory
from tasks.app import app

__all__ = ["app"]


def write(line: str) -> None:
    with Path(os.environ["PROBE_FILE"]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


@app.task(name="upkeep.probe.note")
def note(*, text: str) -> None:
    write(text)


@app.task(name="upkeep.probe.work", soft_time_limit=120)
def work(*, text: str, seconds: float) -> None:
    write(f"begin {text}")
    time.sleep(seconds)
    write(f"end {text}")


@app.task(name="upkeep.probe.wait_for", soft_time_limit=120)
def wait_for(*, text: str, path: str) -> None:
    """Until a file is there."""
    write(f"begin {text}")
    end = time.monotonic() + 100
    while not Path(path).exists() and time.monotonic() < end:
        time.sleep(0.05)
    write(f"end {text}")


@app.task(name="upkeep.probe.call_remotes", soft_time_limit=2, max_retries=1)
def call_remotes(*, text: str, seconds: float) -> None:
    write(f"begin {text}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(cap_timeout_s(0.2))
    write(f"end {text}")


@app.task(name="upkeep.probe.call_remotes_long", soft_time_limit=120, max_retries=1)
def call_remotes_long(*, text: str, seconds: float) -> None:
    call_remotes.run(text=text, seconds=seconds)


@app.task(name="upkeep.probe.effect_once")
def effect_once(*, key: str) -> None:
    """An item: a busy lock means another try after the rest of the lease; the unique row decides on the effect."""
    write(f"begin {key}")
    with LockFactory(connect_redis(os.environ["REDIS_URL"])).require(key, lease_s=2):
        database = sqlite3.connect(os.environ["PROBE_FILE"] + ".sqlite3", isolation_level=None)
        database.execute("CREATE TABLE IF NOT EXISTS effects (key TEXT PRIMARY KEY)")
        made = database.execute("INSERT INTO effects VALUES (?) ON CONFLICT DO NOTHING", (key,)).rowcount
        database.close()
        time.sleep(0.5)
        write(f"effect {key}" if made else f"nothing {key}")


@app.task(name="upkeep.probe.refuse")
def refuse(*, text: str) -> None:
    write(text)
    raise PermanentError("no")


@app.task(name="upkeep.probe.hang", soft_time_limit=1, time_limit=2)
def hang(*, text: str) -> None:
    """Ignores its soft limit, as a loop inside a C library would."""
    write(f"begin {text}")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(60)
        except BaseException:  # noqa: BLE001
            continue


def shorten(conf: Any, **_details: object) -> None:
    if seconds := os.environ.get("PROBE_VISIBILITY_S"):
        conf.broker_transport_options.update(visibility_timeout=float(seconds), unacked_restore_interval=1)


celeryd_init.connect(shorten, weak=False)
if seconds := os.environ.get("PROBE_TICK_S"):
    app.conf.update(
        beat_schedule={
            "tick": {
                "task": "upkeep.probe.note",
                "schedule": float(seconds),
                "kwargs": {"text": "tick"},
                "options": {"expires": 5},
            }
        },
        redbeat_lock_timeout=int(os.environ["PROBE_BEAT_LOCK_S"]),
        beat_max_loop_interval=1,
    )
