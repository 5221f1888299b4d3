"""Reminders before meetings."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.delivery.mattermost import send


@app.task(name="calendar.reminders.scan_due", soft_time_limit=15, only_one=True)
def scan_due() -> int:
    """Enter the reminders that are due in the ledger and queue them in batches; return how many."""
    batches = wiring.reminders().claim_due()
    for delivery_ids in batches:
        send.delay(delivery_ids=delivery_ids)
    return sum(map(len, batches))


@app.task(name="calendar.reminders.show", soft_time_limit=20)
def show(*, delivery_id: int, post_id: str) -> bool:
    """Show in a reminder's message what was asked for there; False where the message is gone."""
    return wiring.reminder_messages().show(delivery_id, post_id)
