"""Upkeep of the delivery ledger over all channels."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app
from tasks.delivery import mattermost

SENDERS = {mattermost.CHANNEL: mattermost}


@app.task(name="delivery.ledger.scan_open", soft_time_limit=15, only_one=True)
def scan_open() -> int:
    """End lost leases and queue every message that is due but in nobody's hands; return how many."""
    work = wiring.deliveries().scan_open()
    for channel, sender in SENDERS.items():
        for delivery_ids in work.to_send.get(channel, ()):
            sender.send.delay(delivery_ids=delivery_ids)
        for delivery_ids in work.to_look_up.get(channel, ()):
            sender.look_up.delay(delivery_ids=delivery_ids)
    return sum(map(len, work.to_send.values())) + sum(map(len, work.to_look_up.values()))
