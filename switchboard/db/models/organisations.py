"""Organisations, whom they notify, what they wrote to say, and the document events that were told."""

from __future__ import annotations

from datetime import datetime, time
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId, Json, Sealed

_UNFOLLOWED = text("followed_at IS NULL AND delivery_id IS NOT NULL")
_TO_REMIND = text("remind_at IS NOT NULL")
_COLLECTED = text("digest_at IS NOT NULL")
_OF_A_MAILING = text("mailing_id IS NOT NULL")
_SCHEDULED = text("next_at IS NOT NULL")
_STOPPED_BY = text("stopped_by IS NOT NULL")


class EventState(StrEnum):
    """Whether somebody still has to act on a document."""

    OPEN = "open"
    PROCESSED = "processed"


class Organisation(Base):
    """A company or a branch; `parent_id` makes holdings. `support_contact` '' stands for the deployment's own.

    `digest` and `digest_at` (a wall time) hold for recipients without their own; None stands for the parent's.
    """

    __tablename__ = "organisations"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("organisations.id"), index=True)
    support_contact: Mapped[str] = mapped_column(String(200))
    zone: Mapped[str] = mapped_column(String(64))
    locale: Mapped[str] = mapped_column(String(8))
    digest: Mapped[str | None] = mapped_column(String(8))
    digest_at: Mapped[time | None]
    created_at: Mapped[datetime]


class OrganisationCredential(Base):
    """What a document system proves itself with: a bearer token (its digest stands here) and a secret that signs bodies."""

    __tablename__ = "organisation_credentials"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"), index=True)
    token_digest: Mapped[str] = mapped_column(String(64), unique=True)
    secret: Mapped[str] = mapped_column(Sealed)
    created_at: Mapped[datetime]


class OrganisationTelegram(Base):
    """The number an organisation writes from. One number may serve several organisations, then with one api_id.

    `told` is what its contacts know: None before it was ever online, else `online` or `out`. `lost_to` is the phone of the
    number that the account turned out to be now, for which it was taken from here.
    """

    __tablename__ = "organisation_telegram"

    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"), primary_key=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("telegram_accounts.id", ondelete="SET NULL"), index=True)
    phone: Mapped[str] = mapped_column(String(16), index=True)
    api_id: Mapped[int]
    api_hash: Mapped[str] = mapped_column(Sealed)
    told: Mapped[str | None] = mapped_column(String(8))
    told_at: Mapped[datetime | None]
    lost_to: Mapped[str | None] = mapped_column(String(16))


class Recipient(Base):
    """A person whom an organisation notifies, under the document system's own name for them.

    `telegram` is an id, a @username or a phone; `mattermost` a user id. `stopped_at` is a STOP that was heard while they stood
    here, and outlives every change, also the removal (`removed_at`); `stopped_by` is who said it over Telegram, None over
    Mattermost. `telegram_user_id` is who they turned out to be, `contacted_at` when a Telegram message first reached them,
    and both are forgotten with another address. `digest` (none, hour, day) and `digest_at` (a wall time) None are the
    organisation's.
    """

    __tablename__ = "recipients"
    __table_args__ = (
        UniqueConstraint("organisation_id", "external_id"),
        Index("ix_recipients_telegram", "telegram"),
        Index("ix_recipients_telegram_user_id", "telegram_user_id"),
        Index("ix_recipients_stopped_by", "stopped_by", sqlite_where=_STOPPED_BY, postgresql_where=_STOPPED_BY),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    external_id: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(String(160))
    channel: Mapped[str] = mapped_column(String(16))
    second_channel: Mapped[str | None] = mapped_column(String(16))
    telegram: Mapped[str | None] = mapped_column(String(40))
    mattermost: Mapped[str | None] = mapped_column(String(64))
    opted_in: Mapped[bool]
    stopped_at: Mapped[datetime | None]
    stopped_by: Mapped[int | None] = mapped_column(BigInteger)
    quiet_from: Mapped[time | None]
    quiet_until: Mapped[time | None]
    zone: Mapped[str | None] = mapped_column(String(64))
    locale: Mapped[str | None] = mapped_column(String(8))
    digest: Mapped[str | None] = mapped_column(String(8))
    digest_at: Mapped[time | None]
    is_contact: Mapped[bool]
    telegram_user_id: Mapped[int | None] = mapped_column(BigInteger)
    contacted_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    removed_at: Mapped[datetime | None]


class TelegramStop(Base):
    """A person's STOP to a number, until START: both by their Telegram ids, so it outlives accounts and recipients."""

    __tablename__ = "telegram_stops"

    own_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    user_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    stopped_at: Mapped[datetime]


class NoticeTemplate(Base):
    """An organisation's own wording for a kind of event, a purpose (notice, digest, reminder, processed) and a language."""

    __tablename__ = "notice_templates"
    __table_args__ = (UniqueConstraint("organisation_id", "kind", "purpose", "locale"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(64))
    purpose: Mapped[str] = mapped_column(String(16))
    locale: Mapped[str] = mapped_column(String(8))
    source: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime]


class Mailing(Base):
    """What an organisation tells its people regularly: `texts` are templates by language, `rule` is cron by its clocks.

    `recipients` None stands for everybody who is opted in at that moment. `next_at` None: stopped. `last_at` and
    `last_event_id` are of what went out last, `problem` why that reached nobody. The last time we were down too long,
    `skipped_count` times were left out, the first at `skipped_from`.
    """

    __tablename__ = "mailings"
    __table_args__ = (
        UniqueConstraint("organisation_id", "name"),
        Index("ix_mailings_next_at", "next_at", sqlite_where=_SCHEDULED, postgresql_where=_SCHEDULED),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(100))
    rule: Mapped[str] = mapped_column(String(100))
    title: Mapped[str] = mapped_column(String(500))
    link: Mapped[str] = mapped_column(String(2000))
    texts: Mapped[dict[str, str]] = mapped_column(Json)
    recipients: Mapped[list[str] | None] = mapped_column(Json)
    next_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    last_event_id: Mapped[int | None] = mapped_column(BigInteger)
    problem: Mapped[str | None] = mapped_column(Text)
    skipped_count: Mapped[int]
    skipped_from: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class DocumentEvent(Base):
    """Something that happened to a document, or one going out of a mailing. `body_hash` (SHA-256) tells a repeat from another
    event under the same key; `signature` is the one its request carried, which serves one key only. Retention empties what
    the document says.
    """

    __tablename__ = "document_events"
    __table_args__ = (
        UniqueConstraint("organisation_id", "idempotency_key"),
        UniqueConstraint("organisation_id", "signature"),
        Index("ix_document_events_created_at", "created_at"),
        Index(
            "ix_document_events_mailing_id", "mailing_id", sqlite_where=_OF_A_MAILING, postgresql_where=_OF_A_MAILING
        ),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    organisation_id: Mapped[int] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"))
    idempotency_key: Mapped[str] = mapped_column(String(200))
    body_hash: Mapped[str] = mapped_column(String(64))
    signature: Mapped[str | None] = mapped_column(String(64))
    mailing_id: Mapped[int | None] = mapped_column(BigInteger)
    kind: Mapped[str] = mapped_column(String(64))
    number: Mapped[str | None] = mapped_column(String(100))
    title: Mapped[str | None] = mapped_column(String(500))
    link: Mapped[str | None] = mapped_column(String(2000))
    deadline_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(12))
    processed_at: Mapped[datetime | None]
    created_at: Mapped[datetime]


class DocumentDelivery(Base):
    """A person an event is for, over one channel: the ledger row that tells them, or why there is none (`state`).

    `followed_at` is when the end of the ledger row was acted on: a second channel was taken, a contact remembered.
    `remind_at` is the instant of the reminder that is still to come, `digest_at` that of the digest for which the row is
    collected. `reason` of a row over the second channel says why not over the first.
    """

    __tablename__ = "document_deliveries"
    __table_args__ = (
        UniqueConstraint("event_id", "external_id", "purpose", "channel"),
        Index("ix_document_deliveries_recipient_id", "recipient_id"),
        Index(
            "ix_document_deliveries_unfollowed",
            "delivery_id",
            sqlite_where=_UNFOLLOWED,
            postgresql_where=_UNFOLLOWED,
        ),
        Index("ix_document_deliveries_remind_at", "remind_at", sqlite_where=_TO_REMIND, postgresql_where=_TO_REMIND),
        Index("ix_document_deliveries_digest_at", "digest_at", sqlite_where=_COLLECTED, postgresql_where=_COLLECTED),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    event_id: Mapped[int] = mapped_column(ForeignKey("document_events.id", ondelete="CASCADE"))
    external_id: Mapped[str] = mapped_column(String(128))
    recipient_id: Mapped[int | None] = mapped_column(ForeignKey("recipients.id", ondelete="SET NULL"))
    purpose: Mapped[str] = mapped_column(String(16))
    channel: Mapped[str | None] = mapped_column(String(16))
    delivery_id: Mapped[int | None] = mapped_column(BigInteger)
    state: Mapped[str | None] = mapped_column(String(20))
    reason: Mapped[str | None] = mapped_column(Text)
    remind_at: Mapped[datetime | None]
    digest_at: Mapped[datetime | None]
    followed_at: Mapped[datetime | None]
