"""The delivery ledger: one row per message that is to reach somebody."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId


class DeliveryState(StrEnum):
    """Where a message stands; see docs/explanation/delivery-ledger.md for the transitions."""

    PENDING = "PENDING"
    CLAIMED = "CLAIMED"
    SENDING = "SENDING"
    UNCERTAIN = "UNCERTAIN"
    SENT = "SENT"
    READ = "READ"
    DEAD = "DEAD"
    EXPIRED = "EXPIRED"


OPEN_STATES = (DeliveryState.PENDING, DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN)
WAITING_STATES = (DeliveryState.PENDING, DeliveryState.UNCERTAIN)
HELD_STATES = (DeliveryState.CLAIMED, DeliveryState.SENDING)
_OPEN = text("state IN ('PENDING', 'CLAIMED', 'SENDING', 'UNCERTAIN')")
_WAITING = text("state IN ('PENDING', 'UNCERTAIN')")
_HELD = text("state IN ('CLAIMED', 'SENDING')")


class Delivery(Base):
    """A message: what it is, to whom, how far it got, and what the remote called it.

    `key` makes it unique for all time; `subject` orders it among others (only the oldest open rows of a subject may be sent);
    `sender` is the account that sends it, on a channel with more than one;
    `fence` rises with every claim and guards every later transition; `next_attempt_at` is the earliest next try, or for
    UNCERTAIN the earliest look at the remote. `claimed_until` ends the lease of a sender; of a PENDING row it is the time to
    which the row was put off. `body` holds facts to render, never secrets, and is erased by retention.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_subject_open", "subject", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index(
            "ix_deliveries_waiting",
            "channel",
            "state",
            "next_attempt_at",
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index(
            "ix_deliveries_sender_waiting",
            "sender",
            "next_attempt_at",
            sqlite_where=_WAITING,
            postgresql_where=_WAITING,
        ),
        Index("ix_deliveries_held", "claimed_until", sqlite_where=_HELD, postgresql_where=_HELD),
        Index("ix_deliveries_finished_at", "finished_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    channel: Mapped[str] = mapped_column(String(32))
    kind: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(512), unique=True)
    subject: Mapped[str] = mapped_column(String(160))
    sender: Mapped[int | None] = mapped_column(BigInteger)
    recipient: Mapped[str] = mapped_column(String(128))
    body: Mapped[dict[str, Any] | None]
    state: Mapped[str] = mapped_column(String(12), default=DeliveryState.PENDING)
    owner: Mapped[str | None] = mapped_column(String(64))
    fence: Mapped[int] = mapped_column(default=0)
    claimed_until: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(default=0)
    first_attempt_at: Mapped[datetime | None]
    remote_id: Mapped[str | None] = mapped_column(String(128))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
