"""Notices of what changed in calendars."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.delivery.mattermost import send


@app.task(name="calendar.changes.scan_due", soft_time_limit=20, only_one=True)
def scan_due() -> int:
    """Enter what changed in the ledger, one message a person, and queue them in batches; return how many."""
    batches = wiring.changes().claim_due()
    for delivery_ids in batches:
        send.delay(delivery_ids=delivery_ids)
    return sum(map(len, batches))
