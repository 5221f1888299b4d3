"""How commands let messages go out at once. They know no queue: what is due over Mattermost they send themselves, as tasks do,
and the gateway looks every two seconds for what goes over Telegram. What stays behind is found by the next scan.
"""

from __future__ import annotations

from collections.abc import Sequence

from switchboard import wiring
from switchboard.cli.output import say
from switchboard.errors import ConfigError
from switchboard.services.organisations.addresses import MATTERMOST

MOST_BATCHES = 20
"""As routes queue at most: a command does not last as long as a large mailing."""


def send_now(batches: Sequence[Sequence[int]], accounts: Sequence[int]) -> None:
    """Send deliveries of Mattermost, the first batches of a large mailing; of both channels say what has to wait, and why."""
    for delivery_ids in batches[:MOST_BATCHES]:
        try:
            report = wiring.deliveries().send(MATTERMOST, delivery_ids)
        except ConfigError as error:
            say(f"What goes over Mattermost waits: {error}.")
            break
        if report.deferred or report.uncertain:
            say("Mattermost did not take everything; it is tried again: `python -m switchboard deliveries` says why.")
    for account_id in accounts:
        if not wiring.telegram_works(account_id):
            say(
                f"What goes over Telegram waits: account {account_id} is not online, `telegram show {account_id}` says why."
            )
