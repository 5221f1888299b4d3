"""Messages of many people, from the twin into the database.

The gateway is the real `telegram` worker, with Valkey and the twin as processes of their own. One person writes to each
account; all write at once, as fast as the twin takes it, so that its own work on the same machine is in the figure. On SQLite
and on PostgreSQL:

- `per_s`: updates a second, from the first that is written to the last that is stored.
- `written_s`: how long the twin took to write them all, no less than which the rest can take.

A message that is missing or stored twice fails the benchmark.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from sqlalchemy import func, select

from benchmarks.telegram import Deployment, running_deployment, wait_until
from switchboard.db.models import TelegramMessage

SIZES = {"full": (50, 100), "small": (5, 20)}  # accounts, messages to each


def run(scale: str) -> dict[str, Any]:
    """Updates a second by database."""
    accounts, count = SIZES[scale]
    result: dict[str, Any] = {"accounts": accounts, "messages": accounts * count}
    for database in ("sqlite", "postgresql"):
        with running_deployment(database, accounts=accounts) as deployment:
            measured = _measure(deployment, accounts, count)
        result.update({f"{database}_{key}": value for key, value in measured.items()})
    result["per_s"] = min(result["sqlite_per_s"], result["postgresql_per_s"])
    return result


def _measure(deployment: Deployment, accounts: int, count: int) -> dict[str, Any]:
    deployment.add_accounts()
    deployment.start_gateway()
    deployment.meet()
    begun = deployment.twin.write("Update", count)
    written_s = time.time() - begun
    ours = TelegramMessage.text.like("Update %")

    def stored() -> bool:
        with deployment.database.read() as session:
            return (session.scalar(select(func.count()).where(ours)) or 0) >= accounts * count

    wait_until(stored, "every message to be stored")
    time.sleep(1)
    with deployment.database.read() as session:
        rows = session.execute(
            select(TelegramMessage.account_id, TelegramMessage.text, TelegramMessage.stored_at).where(ours)
        ).all()
    times = Counter((row.account_id, row.text) for row in rows)
    if len(times) != accounts * count or len(rows) != len(times):
        raise RuntimeError(f"{len(rows)} rows of {len(times)} messages instead of {accounts * count}")
    last = max(row.stored_at for row in rows).timestamp()
    return {"per_s": round(len(rows) / (last - begun), 1), "written_s": round(written_s, 1)}
