"""Messages to Mattermost."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app

CHANNEL = "mattermost"


@app.task(name="delivery.mattermost.send", soft_time_limit=20)
def send(*, delivery_ids: list[int]) -> int:
    """Send those that are due and free, then queue what waits behind them; return how many were sent."""
    report = wiring.deliveries().send(CHANNEL, delivery_ids)
    if report.following:
        send.delay(delivery_ids=report.following)
    return report.sent


@app.task(name="delivery.mattermost.look_up", soft_time_limit=20)
def look_up(*, delivery_ids: list[int]) -> int:
    """Find out what became of messages whose answer was lost; return how many had arrived."""
    report = wiring.deliveries().look_up(CHANNEL, delivery_ids)
    if report.following:
        send.delay(delivery_ids=report.following)
    return report.sent
