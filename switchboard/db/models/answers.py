"""Answers to invitations, from the click until they stand on the calendar server and in the message that was clicked."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId

_WAITS = text("due_at IS NOT NULL")


class AnswerState(StrEnum):
    """Where an answer stands."""

    WAITING = "waiting"
    WRITTEN = "written"
    FAILED = "failed"


class CalendarAnswer(Base):
    """What a person wants to answer to a meeting, or to a whole series (`recurrence_id` empty); the last wish wins.

    `partstat` is the wish, `reason` a word for why it is not written (yet). `version` rises with every change of what the
    message has to show, and `shown_version` is what it shows: the message is `post_id`, sent for `delivery_id`. While
    `due_at` stands there is something to write or to show from then on; `claimed_until` and `fence` are the claim of whoever
    does it. After `give_up_at` the wish is no longer written.
    """

    __tablename__ = "calendar_answers"
    __table_args__ = (
        UniqueConstraint("subscriber_id", "uid", "recurrence_id", name="uq_calendar_answers_meeting"),
        Index("ix_calendar_answers_due_at", "due_at", sqlite_where=_WAITS, postgresql_where=_WAITS),
        Index("ix_calendar_answers_delivery_id", "delivery_id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("calendar_subscribers.id", ondelete="CASCADE"))
    uid: Mapped[str] = mapped_column(String(512))
    recurrence_id: Mapped[str] = mapped_column(String(16))
    partstat: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default=AnswerState.WAITING)
    reason: Mapped[str | None] = mapped_column(String(32))
    version: Mapped[int] = mapped_column(default=1)
    shown_version: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    asked_at: Mapped[datetime]
    give_up_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    claimed_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    delivery_id: Mapped[int] = mapped_column(BigId)
    post_id: Mapped[str] = mapped_column(String(64))
