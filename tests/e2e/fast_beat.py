"""The real Celery app whose beat ticks each second: `celery -A tests.e2e.fast_beat beat`."""

from __future__ import annotations

from tasks.app import app

__all__ = ["app"]

TICK_S = 1
BEAT_LOCK_S = 5

for entry in app.conf.beat_schedule.values():
    if isinstance(entry["schedule"], int):
        entry["schedule"] = min(entry["schedule"], TICK_S)
app.conf.update(redbeat_lock_timeout=BEAT_LOCK_S, beat_max_loop_interval=TICK_S)
