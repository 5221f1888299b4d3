"""The custom statuses "In a meeting": what each person's is to become, and when to look again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base

_WAITS = text("due_at IS NOT NULL")


class CalendarStatus(Base):
    """The custom status of a Mattermost user, as far as meetings change it; there while they want it or ours is shown.

    It hangs on no other row: whoever disconnects during a meeting still gets their own status back. `due_at` is when it may
    have to change, `woken` counts who said so; `claimed_until` and `fence` are the claim of the work under way.

    `phase`, `written`, `previous` and `hands_off_since` are the JSON form of `switchboard.domain.calendar.presence.Memory`;
    no title of a meeting is among them. `problem` names what kept us from the last change, `retry_at` is when Mattermost may
    be asked again, after `failures` in a row.
    """

    __tablename__ = "calendar_statuses"
    __table_args__ = (Index("ix_calendar_statuses_due_at", "due_at", sqlite_where=_WAITS, postgresql_where=_WAITS),)

    mattermost_user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    due_at: Mapped[datetime | None]
    woken: Mapped[int] = mapped_column(default=0)
    claimed_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    phase: Mapped[str] = mapped_column(String(12))
    written: Mapped[list[dict[str, Any]]]
    previous: Mapped[dict[str, Any] | None]
    hands_off_since: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(String(32))
    problem_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[datetime | None]
