"""Erasing what was kept long enough."""

from __future__ import annotations

from dataclasses import asdict

from switchboard import wiring
from tasks.app import app


@app.task(name="upkeep.retention.erase", soft_time_limit=240, only_one=True)
def erase() -> dict[str, int]:
    """Erase old message texts, files, occurrences and answers; return how many of each."""
    return asdict(wiring.retention().erase(wiring.utc_now()))
