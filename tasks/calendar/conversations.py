"""What people asked for in Mattermost and wait for: the answer goes to their sealed address."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.calendar.occurrences import expand


@app.task(name="calendar.conversations.refresh", soft_time_limit=120)
def refresh(*, user_id: str, reply: str) -> int:
    """Poll a person's accounts now and tell what changed; return how many are to be expanded."""
    account_ids = wiring.errands().refresh(user_id, reply)
    for account_id in account_ids:
        expand.delay(account_id=account_id)
    return len(account_ids)


@app.task(name="calendar.conversations.check_account", soft_time_limit=60)
def check_account(*, user_id: str, reply: str) -> None:
    """Ask the servers of a person's accounts whether they accept us, and tell."""
    wiring.errands().check_account(user_id, reply)
