"""Hints for the process that holds an account. Nothing rests on them: it looks at the database by itself, too."""

from __future__ import annotations

from switchboard import wiring
from tasks.app import app


@app.task(name="telegram.accounts.look", soft_time_limit=5)
def look(*, account_id: int) -> None:
    """The account's row has changed: what is wanted of it, or a step of its sign-in."""
    wiring.telegram_host().look(account_id)


@app.task(name="telegram.accounts.wake", soft_time_limit=5)
def wake(*, account_id: int) -> None:
    """There may be something to send."""
    wiring.telegram_host().wake(account_id)
