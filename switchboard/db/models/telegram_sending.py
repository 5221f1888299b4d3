"""Telegram: what sending must remember beside the ledger: waits, names that nobody has, and where messages stand."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base


class TelegramWait(Base):
    """An account may not call a method before `not_before`, because Telegram said so or our own pace.

    `method` is Telegram's name of it, or `first_contact` for messages to strangers; `times` counts PEER_FLOOD in a row.
    """

    __tablename__ = "telegram_waits"

    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"), primary_key=True)
    method: Mapped[str] = mapped_column(String(64), primary_key=True)
    not_before: Mapped[datetime]
    times: Mapped[int] = mapped_column(default=0)


class TelegramMiss(Base):
    """A name or phone that nobody had when an account asked; `digest` is its SHA-256. It is not asked again until `until`."""

    __tablename__ = "telegram_misses"

    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    until: Mapped[datetime]


class TelegramSent(Base):
    """A message that a row of the ledger made, by its number in its chat; for read receipts, and for telling ours apart."""

    __tablename__ = "telegram_sent"
    __table_args__ = (Index("ix_telegram_sent_delivery_id", "delivery_id"),)

    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"), primary_key=True)
    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    message_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("deliveries.id", ondelete="CASCADE"))
