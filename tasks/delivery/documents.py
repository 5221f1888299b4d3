"""What becomes of notices about documents."""

from __future__ import annotations

from collections.abc import Callable

from switchboard import wiring
from switchboard.services.organisations.following import Followed
from tasks.app import app
from tasks.delivery import mattermost
from tasks.queueing import queue_by_name

PORTIONS = 10
"""Transactions of one kind in one scan at most, each of some hundred rows; the next scan goes on."""


@app.task(name="delivery.documents.scan_due", soft_time_limit=45, only_one=True)
def scan_due() -> int:
    """Take second channels, change notices of processed documents, enter reminders; return how many were looked at."""
    following = wiring.document_following()
    return sum(map(_in_portions, (following.move, following.follow, following.remind)))


@app.task(name="delivery.documents.scan_digests", soft_time_limit=45, only_one=True)
def scan_digests() -> int:
    """Turn what was collected into digests where they are due; return how many documents they name."""
    return _in_portions(wiring.document_digests().collect)


@app.task(name="delivery.documents.scan_mailings", soft_time_limit=45, only_one=True)
def scan_mailings() -> int:
    """Send the mailings that are due; return how many."""
    return _queue(wiring.mailings().fire_due())


@app.task(name="delivery.documents.watch_service", soft_time_limit=30, only_one=True)
def watch_service() -> int:
    """Tell contacts whose Telegram fell out or is back; return how many are told."""
    batches = wiring.organisation_contacts().watch()
    for delivery_ids in batches:
        mattermost.send.delay(delivery_ids=delivery_ids)
    return sum(map(len, batches))


def _in_portions(act: Callable[[], Followed]) -> int:
    count = 0
    for _ in range(PORTIONS):
        done = _queue(act())
        if not done:
            break
        count += done
    return count


def _queue(followed: Followed) -> int:
    for delivery_ids in followed.batches:
        mattermost.send.delay(delivery_ids=delivery_ids)
    for account_id in followed.accounts:
        queue_by_name("telegram.accounts.wake", account_id=account_id)
    return followed.count
