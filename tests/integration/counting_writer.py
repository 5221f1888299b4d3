"""A process that counts a row up, reading it before it writes: `python -m tests.integration.counting_writer URL TIMES`."""

from __future__ import annotations

import sys
from datetime import timedelta

from sqlalchemy import select

from switchboard.db.engine import Database
from switchboard.db.models import Heartbeat

NAME = "counter"


def main(url: str, times: int) -> None:
    database = Database(url, connections=1)
    for _ in range(times):
        with database.write() as session:
            row = session.scalars(select(Heartbeat).where(Heartbeat.name == NAME).with_for_update()).one()
            row.at += timedelta(seconds=1)
    database.dispose()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
