"""A worker of little memory and time: `python -m tests.integration.calendar.bounded_poll DATABASE ACCOUNT SERVER NOW MB CPU_S`.

It polls the account at that server and expands what came, as the tasks do. The kernel refuses it more memory than MB and ends
it after CPU_S seconds of work.
"""

from __future__ import annotations

import resource
import sys
from datetime import datetime
from urllib.parse import urlsplit

from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling

SECRET = "k" * 32


def poll_and_expand(database: Database, account_id: int, server: str, now: datetime) -> str:
    """What the tasks of an account do, to the end; how the poll went and how many objects were expanded."""

    def open_server(url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(url, login, password, guard=AddressGuard([urlsplit(server).netloc]))

    polling = CalendarPolling(
        database, open_server, SecretBox([SECRET]), CalendarNotices(database), lambda: now, poll_period_s=120
    )
    result = polling.poll(account_id)
    expansion = CalendarExpansion(database, lambda: now)
    report = expansion.expand_account(account_id)
    expanded = report.expanded
    while report.more:
        report = expansion.expand_account(account_id)
        expanded += report.expanded
    return f"{result.outcome} {result.error} {expanded}"


def main(url: str, account_id: int, server: str, now: datetime, megabytes: int, cpu_s: int) -> None:
    """Limit this process, then do the work and say how it went."""
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes * 2**20, megabytes * 2**20))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    database = Database(url, connections=1)
    sys.stdout.write(poll_and_expand(database, account_id, server, now) + "\n")
    database.dispose()


if __name__ == "__main__":
    main(
        sys.argv[1],
        int(sys.argv[2]),
        sys.argv[3],
        datetime.fromisoformat(sys.argv[4]),
        int(sys.argv[5]),
        int(sys.argv[6]),
    )
