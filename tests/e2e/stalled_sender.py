"""A sender of the ledger that stands still at a chosen step until it is killed.

`python -m tests.e2e.stalled_sender STEP ID ...`; STEP is `claimed` (rows are claimed, nothing is written yet) or `sending`
(rows are SENDING, no byte has left).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime

from switchboard import wiring
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.services.calendar import agendas, changes, reminders
from switchboard.services.channels.channel import Obsolete, Rendered, Renderer
from switchboard.services.channels.mattermost import MattermostChannel
from switchboard.services.deliveries import Deliveries

FOREVER_S = 600


class StallingRenderer:
    """Never gives the text."""

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        time.sleep(FOREVER_S)
        return {}


class StallingChannel(MattermostChannel):
    """Never begins the call."""

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        time.sleep(FOREVER_S)
        return super().send(delivery, rendered)


def main() -> None:
    step, ids = sys.argv[1], [int(argument) for argument in sys.argv[2:]]
    stalling = step == "claimed"
    channel = wiring.mattermost_channel() if stalling else StallingChannel(wiring.mattermost())
    writers: dict[str, Renderer] = {
        agendas.KIND: wiring.agendas(),
        reminders.KIND: wiring.reminders(),
        changes.KIND: wiring.changes(),
    }
    if stalling:
        writers = {kind: StallingRenderer() for kind in writers}
    Deliveries(wiring.database(), {channel.name: channel}, writers, wiring.utc_now).send(channel.name, ids)


if __name__ == "__main__":
    main()
