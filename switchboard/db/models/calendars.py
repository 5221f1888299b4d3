"""Calendars: who subscribed, which accounts and calendars are watched, what lies in them, and when to remind."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId, Sealed

_NEEDS_EXPANSION = text("needs_expansion")
_NEEDS_EXPANSION_SQLITE = text("needs_expansion = 1")  # as SQLAlchemy spells it there: else the index is not used
_ACTIVE = text("state = 'active'")


class CalendarSubscriber(Base):
    """A Mattermost user who wants to hear of meetings: zone, language, and what to send when.

    `weekdays` are ISO numbers (1 Monday .. 7 Sunday); `next_agenda_at` is the instant of the next agenda, computed from wall
    time, and `next_agenda_date` the local date it is for; both are None while agendas are off. `quiet_from` and `quiet_until`
    are wall times, both None without quiet hours; `changes_held_until` is their end while change notices wait for it.
    `work_from` and `work_until` are the wall times between which free time is named, both None where it is not.
    While `deactivated_at` is set, Mattermost does not let the person in: nothing is polled and nothing sent.
    """

    __tablename__ = "calendar_subscribers"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    mattermost_user_id: Mapped[str] = mapped_column(String(64), unique=True)
    username: Mapped[str] = mapped_column(String(128))
    email: Mapped[str] = mapped_column(String(256), default="")
    locale: Mapped[str] = mapped_column(String(16), default="en")
    zone: Mapped[str] = mapped_column(String(64))
    dm_channel_id: Mapped[str | None] = mapped_column(String(64))
    agenda_enabled: Mapped[bool] = mapped_column(default=True)
    agenda_time: Mapped[time]
    agenda_on_empty_days: Mapped[bool] = mapped_column(default=True)
    weekdays: Mapped[list[int]]
    reminders_enabled: Mapped[bool] = mapped_column(default=True)
    reminder_minutes: Mapped[list[int]]
    changes_enabled: Mapped[bool] = mapped_column(default=True)
    answers_enabled: Mapped[bool] = mapped_column(default=True)
    status_enabled: Mapped[bool] = mapped_column(default=False)
    quiet_from: Mapped[time | None]
    quiet_until: Mapped[time | None]
    changes_held_until: Mapped[datetime | None]
    work_from: Mapped[time | None] = mapped_column(default=time(9))
    work_until: Mapped[time | None] = mapped_column(default=time(18))
    deactivated_at: Mapped[datetime | None]
    next_agenda_at: Mapped[datetime | None] = mapped_column(index=True)
    next_agenda_date: Mapped[date | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class CalendarAccount(Base):
    """A CalDAV login of a subscriber. `state` is active or paused; a pause keeps every setting and says why in `reason`.

    `next_poll_at` spreads the polls; `claimed_until` and `fence` are the claim of the poll that is running.
    """

    __tablename__ = "calendar_accounts"
    __table_args__ = (
        UniqueConstraint("subscriber_id", "server_url", "login"),
        Index("ix_calendar_accounts_due", "next_poll_at", sqlite_where=_ACTIVE, postgresql_where=_ACTIVE),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("calendar_subscribers.id", ondelete="CASCADE"))
    server_url: Mapped[str] = mapped_column(String(512))
    login: Mapped[str] = mapped_column(String(256))
    password: Mapped[str] = mapped_column(Sealed)
    addresses: Mapped[list[str]]
    state: Mapped[str] = mapped_column(String(16), default="active")
    reason: Mapped[str | None] = mapped_column(Text)
    paused_at: Mapped[datetime | None]
    auth_failures: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    last_error: Mapped[str | None] = mapped_column(Text)
    last_error_at: Mapped[datetime | None]
    last_polled_at: Mapped[datetime | None]
    next_poll_at: Mapped[datetime]
    claimed_until: Mapped[datetime | None]
    fence: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]


class Calendar(Base):
    """A calendar collection on the server. `state` is active or lost (403, 404); only watched ones are polled.

    `sync_token` is None where the server has none or before the first poll; `reconciled_at` is the last full ETag list.
    `known_since` is the end of the first whole poll: what came before it is no news to anybody. `half_polled` is True while a
    poll has stored some of its changes and not yet all: nothing is told of the calendar then.
    """

    __tablename__ = "calendars"
    __table_args__ = (UniqueConstraint("account_id", "url"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("calendar_accounts.id", ondelete="CASCADE"))
    url: Mapped[str] = mapped_column(String(1024))
    name: Mapped[str] = mapped_column(String(256))
    watched: Mapped[bool] = mapped_column(default=True)
    state: Mapped[str] = mapped_column(String(16), default="active")
    reason: Mapped[str | None] = mapped_column(Text)
    sync_token: Mapped[str | None] = mapped_column(Text)
    synced_at: Mapped[datetime | None]
    reconciled_at: Mapped[datetime | None]
    known_since: Mapped[datetime | None]
    half_polled: Mapped[bool] = mapped_column(default=False)


class CalendarObject(Base):
    """One calendar object resource (RFC 4791 section 4.1): all components of one UID, as the server sent them.

    `needs_expansion` is set when the content changed or the horizon moved; `expansion_attempts` counts expansions begun and
    not finished, so that an object that kills its worker is left out in the end instead of hiding the others. `unreadable` says
    that its occurrences are not all of what it holds, so that their absence means nothing; `problem` says why.
    """

    __tablename__ = "calendar_objects"
    __table_args__ = (
        UniqueConstraint("calendar_id", "href"),
        Index(
            "ix_calendar_objects_needs_expansion",
            "calendar_id",
            sqlite_where=_NEEDS_EXPANSION_SQLITE,
            postgresql_where=_NEEDS_EXPANSION,
        ),
        Index("ix_calendar_objects_expanded_until", "expanded_until"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    calendar_id: Mapped[int] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"))
    href: Mapped[str] = mapped_column(String(1024))
    etag: Mapped[str] = mapped_column(String(256))
    raw: Mapped[bytes] = mapped_column(LargeBinary)
    needs_expansion: Mapped[bool] = mapped_column(default=True)
    expansion_attempts: Mapped[int] = mapped_column(default=0)
    expanded_until: Mapped[datetime | None]
    problem: Mapped[str | None] = mapped_column(Text)
    unreadable: Mapped[bool] = mapped_column(default=False)
    changed_at: Mapped[datetime]


class CalendarOccurrence(Base):
    """One meeting at one time, expanded from its object; `details` is the JSON form of the domain's Occurrence.

    `recurrence_id` is in UTC (`YYYYMMDDTHHMMSSZ`), a bare date for all-day series, empty for a single event.
    """

    __tablename__ = "calendar_occurrences"
    __table_args__ = (
        UniqueConstraint("account_id", "calendar_id", "uid", "recurrence_id", name="uq_calendar_occurrences_key"),
        Index("ix_calendar_occurrences_account_id_start_at", "account_id", "start_at"),
        Index("ix_calendar_occurrences_object_id", "object_id"),
        Index("ix_calendar_occurrences_end_at", "end_at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("calendar_accounts.id", ondelete="CASCADE"))
    calendar_id: Mapped[int] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"), index=True)
    object_id: Mapped[int] = mapped_column(ForeignKey("calendar_objects.id", ondelete="CASCADE"))
    uid: Mapped[str] = mapped_column(String(512))
    recurrence_id: Mapped[str] = mapped_column(String(16))
    start_at: Mapped[datetime]
    end_at: Mapped[datetime]
    all_day: Mapped[bool]
    declined: Mapped[bool]
    details: Mapped[dict[str, Any]]


class CalendarSnapshot(Base):
    """What an object showed before the first of its changes that its owner has not been told of.

    Written in the transaction of the change, deleted in the one that enters the notice in the ledger; the changes are the
    difference to what the store shows then. `before` holds Occurrences as JSON. `known` is False for an object that was not
    there; `until` is where the occurrences in `before` end, None where they are all.
    """

    __tablename__ = "calendar_snapshots"
    __table_args__ = (UniqueConstraint("calendar_id", "href"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    calendar_id: Mapped[int] = mapped_column(ForeignKey("calendars.id", ondelete="CASCADE"))
    href: Mapped[str] = mapped_column(String(1024))
    before: Mapped[list[dict[str, Any]]]
    known: Mapped[bool]
    until: Mapped[datetime | None]
    taken_at: Mapped[datetime]


class CalendarReminder(Base):
    """The due table: one future reminder of one occurrence. It moves with its occurrence and goes when it is due."""

    __tablename__ = "calendar_reminders"
    __table_args__ = (UniqueConstraint("occurrence_id", "minutes"), Index("ix_calendar_reminders_fire_at", "fire_at"))

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("calendar_subscribers.id", ondelete="CASCADE"), index=True)
    occurrence_id: Mapped[int] = mapped_column(ForeignKey("calendar_occurrences.id", ondelete="CASCADE"))
    minutes: Mapped[int]
    fire_at: Mapped[datetime]
