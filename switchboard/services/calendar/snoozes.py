"""Reminders that people have asked for once more, as they stand in the ledger, and the buttons that ask for them.

A snooze is a row of the ledger that is put off to its time, under the key of the reminder of as many minutes. So it outlives
every expansion of its meeting, is one however often it is asked for, and is one with a reminder that was to come at
that minute anyway. Whether its meeting is still there is seen when it is sent, as with every reminder.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from switchboard.db.models import CalendarSubscriber
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.domain.calendar.reminders import snooze_choices
from switchboard.services.conversation.answers import ButtonRow, Choice, Step
from switchboard.texts import snoozes as words
from switchboard.texts.locales import Texts

REMINDER_KIND = "calendar.reminder"
LIFE_AFTER_START = timedelta(days=30)
"""How long a button still says that its meeting has begun; then it is only too old."""

Meeting = tuple[int, str, str, datetime]  # subscriber, UID, RECURRENCE-ID, start


@dataclass(frozen=True, slots=True)
class Snooze:
    """A reminder that somebody asked for: the ledger's row, of which meeting, and when."""

    delivery_id: int
    body: Mapping[str, Any]
    at: datetime


def ledger_subject(mattermost_user_id: str) -> str:
    """The ledger's subject of a person's messages."""
    return f"mattermost:{mattermost_user_id}"


def meeting_of(body: Mapping[str, Any]) -> Meeting:
    """Whose meeting a reminder is about, which one, and when."""
    start = datetime.fromisoformat(body["start"])
    return (body["subscriber_id"], body["uid"], body["recurrence_id"], start)


def reminds_at(body: Mapping[str, Any]) -> datetime:
    """When a reminder is due."""
    return datetime.fromisoformat(body["start"]) - timedelta(minutes=body["minutes"])


def snoozes_of(session: Session, subjects: Iterable[str], now: datetime) -> list[Snooze]:
    """What these people have asked for and will get, the earliest first."""
    rows = DeliveryRepository(session).put_off(sorted(set(subjects)), REMINDER_KIND, now)
    return [Snooze(row.id, row.body, reminds_at(row.body)) for row in rows if row.body]


def snooze_rows(
    body: Mapping[str, Any],
    delivery_id: int,
    subscriber: CalendarSubscriber,
    snoozes: Iterable[Snooze],
    now: datetime,
) -> tuple[ButtonRow, ...]:
    """The buttons under a reminder, and for when another is set; none in the last minute before the meeting."""
    texts = Texts.for_locale(subscriber.locale)
    meeting = meeting_of(body)
    *_, start = meeting
    choices = tuple(
        Choice(
            words.choice_label(choice, texts),
            Step.SNOOZE,
            {"delivery": str(delivery_id), "choice": str(choice)},
            until=start + LIFE_AFTER_START,
        )
        for choice in snooze_choices(start, now)
    )
    if not choices:
        return ()
    snooze = next((one for one in snoozes if meeting_of(one.body) == meeting), None)
    if snooze is None:
        return (ButtonRow(choices, words.offer_text(texts)),)
    return (ButtonRow(choices, words.set_text(snooze.at, now, ZoneInfo(subscriber.zone), texts)),)
