"""The custom status during meetings."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app


@app.task(name="calendar.statuses.scan_due", soft_time_limit=15, only_one=True)
def scan_due() -> int:
    """Claim the statuses that may have to change and queue them in batches; return how many."""
    batches = wiring.statuses().claim_due()
    for claims in batches:
        reconcile.delay(claims=claims)
    return sum(map(len, batches))


@app.task(name="calendar.statuses.reconcile", soft_time_limit=40)
def reconcile(*, claims: dict[str, int]) -> int:
    """Make the claimed statuses (user ids with fences) what they should be; return how many were written."""
    return wiring.statuses().reconcile(claims)
