"""Telegram: accounts, sign-ins under way, and which gateway process holds which shard of the accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId, Sealed

_OURS = text("origin = 'database' AND phone IS NOT NULL")
_ENVIRONMENT = text("origin = 'env'")
_OPEN = text("expires_at IS NOT NULL")
_UNHANDLED = text("state IN ('received', 'handling')")
_WITH_TEXT = text("erased_at IS NULL")


class TelegramAccount(Base):
    """A number or a bot that is, was or shall be signed in.

    `wanted` is what somebody wants of it, `state`, `reason` and `since` where it stands (switchboard.domain.telegram.states).
    `revision` rises with every change that the process holding the account must look at. `key_digest` is the SHA-256 of the
    session's key: one session stands in one row only. `pts`, `qts`, `date` and `seq` are Telegram's state of updates up to
    which everything is stored (https://core.telegram.org/api/updates), `top_message` the highest number of a message in
    private chats and basic groups by then.
    """

    __tablename__ = "telegram_accounts"
    __table_args__ = (
        Index("ix_telegram_accounts_phone", "phone", unique=True, sqlite_where=_OURS, postgresql_where=_OURS),
        Index(
            "ix_telegram_accounts_env", "kind", unique=True, sqlite_where=_ENVIRONMENT, postgresql_where=_ENVIRONMENT
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(4))
    origin: Mapped[str] = mapped_column(String(8))
    phone: Mapped[str | None] = mapped_column(String(16))
    api_id: Mapped[int]
    api_hash: Mapped[str] = mapped_column(Sealed)
    session: Mapped[str | None] = mapped_column(Sealed)
    key_digest: Mapped[str | None] = mapped_column(String(64), unique=True)
    bot_token: Mapped[str | None] = mapped_column(Sealed)
    own_id: Mapped[int | None] = mapped_column(BigInteger)
    own_name: Mapped[str | None] = mapped_column(String(160))
    own_username: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    since: Mapped[datetime]
    flood_until: Mapped[datetime | None]
    wanted: Mapped[str] = mapped_column(String(8))
    shard: Mapped[int] = mapped_column(index=True)
    revision: Mapped[int] = mapped_column(default=0)
    pts: Mapped[int | None]
    qts: Mapped[int | None]
    date: Mapped[int | None]
    seq: Mapped[int | None]
    top_message: Mapped[int | None]
    created_at: Mapped[datetime]


class TelegramSignIn(Base):
    """A sign-in in steps: what was asked of the gateway last, and how it ended.

    `request` and `input` are the step that somebody asked for under `request_number`; the gateway answers it by setting
    `answered_number` to the same, and `problem` where it was refused. The half-made session lives until `expires_at`; ended
    sign-ins hold no secret any more.
    """

    __tablename__ = "telegram_sign_ins"
    __table_args__ = (
        Index("ix_telegram_sign_ins_expires_at", "expires_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
    )

    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[str] = mapped_column(String(16))
    session: Mapped[str | None] = mapped_column(Sealed)
    code_hash: Mapped[str | None] = mapped_column(Sealed)
    sent_by: Mapped[str | None] = mapped_column(String(24))
    code_length: Mapped[int | None]
    resend_at: Mapped[datetime | None]
    hint: Mapped[str | None] = mapped_column(Sealed)
    attempts: Mapped[int] = mapped_column(default=0)
    request: Mapped[str | None] = mapped_column(String(16))
    input: Mapped[str | None] = mapped_column(Sealed)
    request_number: Mapped[int] = mapped_column(default=0)
    answered_number: Mapped[int] = mapped_column(default=0)
    problem: Mapped[str | None] = mapped_column(String(32))
    retry_at: Mapped[datetime | None]
    asked_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class TelegramShard(Base):
    """Who holds a shard of the accounts, and until when. `fence` rises each time it changes hands."""

    __tablename__ = "telegram_shards"

    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str | None] = mapped_column(String(64))
    fence: Mapped[int] = mapped_column(default=0)
    leased_until: Mapped[datetime | None]


class TelegramGateway(Base):
    """A gateway process that lives, or did a moment ago."""

    __tablename__ = "telegram_gateways"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(128))
    accounts: Mapped[int]
    seen_at: Mapped[datetime]


class TelegramPeer(Base):
    """Whom an account has met, under the account's own access hash.

    `peer_id` is the person's id, minus the id of a basic group, or -100 and the id of a channel, as in the Bot API. Without
    `access_hash` (it was seen in passing) the peer cannot be written to yet. `kind`: user, bot, chat or channel.
    """

    __tablename__ = "telegram_peers"
    __table_args__ = (
        UniqueConstraint("account_id", "peer_id"),
        Index("ix_telegram_peers_username", "account_id", "username"),
        Index("ix_telegram_peers_phone", "account_id", "phone"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"))
    peer_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(8))
    access_hash: Mapped[int | None] = mapped_column(BigInteger)
    username: Mapped[str | None] = mapped_column(String(64))
    phone: Mapped[str | None] = mapped_column(String(24))
    name: Mapped[str] = mapped_column(String(160))
    seen_at: Mapped[datetime]


class TelegramChat(Base):
    """How far a chat of an account was read by it and by the other side; of a channel also its own `pts`."""

    __tablename__ = "telegram_chats"

    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"), primary_key=True)
    chat_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    pts: Mapped[int | None]
    top_message: Mapped[int] = mapped_column(default=0)
    read_in: Mapped[int] = mapped_column(default=0)
    read_out: Mapped[int] = mapped_column(default=0)


class TelegramMessage(Base):
    """What an account received: a message, an edit of one, or a pressed button.

    `edit` is 0 for a message, the unix time of an edit, and the query's id of a pressed button. Rows of one account rise in
    the order of its chats. `state`: received, handling (until `claimed_until`), handled, failed. `media` says what hangs on
    it and how to fetch that later. Retention empties text, media and data (`erased_at`); the numbers stay.
    """

    __tablename__ = "telegram_messages"
    __table_args__ = (
        UniqueConstraint("account_id", "chat_id", "message_id", "edit"),
        Index(
            "ix_telegram_messages_unhandled",
            "account_id",
            "chat_id",
            "id",
            sqlite_where=_UNHANDLED,
            postgresql_where=_UNHANDLED,
        ),
        Index("ix_telegram_messages_message_id", "account_id", "message_id"),
        Index("ix_telegram_messages_stored_at", "stored_at", sqlite_where=_WITH_TEXT, postgresql_where=_WITH_TEXT),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="CASCADE"))
    chat_id: Mapped[int] = mapped_column(BigInteger)
    message_id: Mapped[int]
    edit: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(8))
    out: Mapped[bool]
    sender_id: Mapped[int | None] = mapped_column(BigInteger)
    text: Mapped[str | None] = mapped_column(Text)
    media: Mapped[dict[str, Any] | None]
    reply_to: Mapped[int | None]
    album: Mapped[int | None] = mapped_column(BigInteger)
    sent_at: Mapped[datetime]
    stored_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(8))
    claimed_until: Mapped[datetime | None]
    next_attempt_at: Mapped[datetime]
    attempts: Mapped[int] = mapped_column(default=0)
