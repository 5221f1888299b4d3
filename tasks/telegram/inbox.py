"""Handling what Telegram accounts received: the rows say what is left, so these tasks may be lost, repeated or late."""

from __future__ import annotations

from switchboard import wiring
from switchboard.services.telegram.inbox import Announcer
from tasks.app import app

SCAN_S = 15


@app.task(name="telegram.inbox.handle", soft_time_limit=30)
def handle(*, account_id: int) -> int:
    """Handle what waits for an account, in the process that holds it; return how many messages."""
    count = wiring.telegram_handling().handle(account_id)
    if count:
        wiring.telegram_host().wake(account_id)  # there may be answers to send
    return int(count)


@app.task(name="telegram.inbox.scan_waiting", soft_time_limit=10, only_one=True)
def scan_waiting() -> int:
    """Queue every account that has something to handle; return how many."""
    accounts = wiring.telegram_handling().waiting()
    for account_id in accounts:
        queue(account_id)
    return len(accounts)


def queue(account_id: int) -> None:
    """Let an account be handled; the next scan comes before this message is of no use."""
    handle.apply_async(kwargs={"account_id": account_id}, expires=SCAN_S)


def announce() -> None:
    """From now on this process's inbox tells of what it stores."""
    wiring.telegram_inbox().announce_with(Announcer(queue))
