"""When regular work last happened, for readiness and metrics."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.models import Heartbeat
from switchboard.db.upsert import upsert


def beat(session: Session, name: str, now: datetime) -> None:
    """Note that `name` happened at `now`."""
    upsert(session, Heartbeat, {"name": name, "at": now}, key=("name",))


def heartbeats(session: Session) -> dict[str, datetime]:
    """The last time of everything that was ever noted, by name."""
    return {heartbeat.name: heartbeat.at for heartbeat in session.scalars(select(Heartbeat))}
