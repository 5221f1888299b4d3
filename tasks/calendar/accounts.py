"""Polling of calendar accounts."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.calendar.occurrences import expand


@app.task(name="calendar.accounts.scan_due", soft_time_limit=10, only_one=True)
def scan_due() -> int:
    """Claim the accounts whose poll is due and queue one poll each; return how many."""
    account_ids = wiring.calendar_polling().claim_due()
    for account_id in account_ids:
        poll.delay(account_id=account_id)
    return len(account_ids)


@app.task(name="calendar.accounts.poll", soft_time_limit=120)
def poll(*, account_id: int) -> str:
    """Fetch what changed in an account's calendars; return the outcome."""
    with wiring.locks().require(f"calendar-account:{account_id}", lease_s=180):
        result = wiring.calendar_polling().poll(account_id)
    if result.needs_expansion:
        expand.delay(account_id=account_id)
    return result.outcome
