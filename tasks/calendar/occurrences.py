"""Expansion of calendar objects into occurrences, on the queue with hard time limits."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app

SCAN_PERIOD_S = 60  # as in beat_schedule.py: the next scan queues what was not begun by then


@app.task(name="calendar.occurrences.expand", soft_time_limit=50)
def expand(*, account_id: int) -> int:
    """Expand an account's changed objects; queue another round where time ran out; return how many were expanded."""
    report = wiring.calendar_expansion().expand_account(account_id)
    if report.more:
        expand.delay(account_id=account_id)
    return report.expanded


@app.task(name="calendar.occurrences.extend_horizon", soft_time_limit=15, only_one=True)
def extend_horizon() -> int:
    """Mark repeating meetings that run out of occurrences; return how many accounts wait for expansion."""
    return len(wiring.calendar_expansion().extend_horizon())


@app.task(name="calendar.occurrences.scan_waiting", soft_time_limit=15, only_one=True)
def scan_waiting() -> int:
    """Queue every account with objects to expand: marked ones, and those whose message was lost; return how many."""
    account_ids = wiring.calendar_expansion().accounts_with_work()
    for account_id in account_ids:
        expand.apply_async(kwargs={"account_id": account_id}, expires=SCAN_PERIOD_S)
    return len(account_ids)
