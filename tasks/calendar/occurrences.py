"""Expansion of calendar objects into occurrences, on the queue with hard time limits."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app


@app.task(name="calendar.occurrences.expand", soft_time_limit=50)
def expand(*, account_id: int) -> int:
    """Expand an account's changed objects; queue another round where time ran out; return how many were expanded."""
    report = wiring.calendar_expansion().expand_account(account_id)
    if report.more:
        expand.delay(account_id=account_id)
    return report.expanded


@app.task(name="calendar.occurrences.extend_horizon", soft_time_limit=15)
def extend_horizon() -> int:
    """Queue the accounts whose repeating meetings run out of occurrences, or whose expansion was lost."""
    account_ids = wiring.calendar_expansion().extend_horizon()
    for account_id in account_ids:
        expand.delay(account_id=account_id)
    return len(account_ids)
