"""When a meeting's reminders are due, and the keys under which each is delivered once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.errors import InvalidInputError

DEFAULT_MINUTES = (10,)
MAX_MINUTES = 7 * 24 * 60
MAX_REMINDERS = 10
SNOOZE_MINUTES = (5, 15, 60)
AT_START = 0
"""The snooze that reminds when the meeting begins, beside those of some minutes from now."""
USEFUL_AFTER_START = timedelta(minutes=5)
"""How late a reminder that was asked for at the start is still sent."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, order=True)
class DueReminder:
    """One reminder: `fire_at` in UTC may be past, then it is due at once."""

    fire_at: datetime
    minutes: int


def clean_minutes(minutes: Iterable[int]) -> tuple[int, ...]:
    """The user's list without doubles, largest first; InvalidInputError for values outside 1 to MAX_MINUTES or too many."""
    chosen = sorted(set(minutes), reverse=True)
    if any(not 1 <= value <= MAX_MINUTES for value in chosen):
        raise InvalidInputError(
            f"a reminder comes 1 to {MAX_MINUTES} minutes before the meeting", field="reminder_minutes"
        )
    if len(chosen) > MAX_REMINDERS:
        raise InvalidInputError(f"choose at most {MAX_REMINDERS} reminders", field="reminder_minutes")
    return tuple(chosen)


def reminds(occurrence: Occurrence) -> bool:
    """Whether a meeting has reminders at all: not all-day, declined or cancelled ones.

    Transparent meetings ("shown as free") do remind: the mark is about other people's view of the calendar, and a person
    who put a meeting there wants to come.
    """
    return not (occurrence.all_day or occurrence.declined or occurrence.cancelled)


def due_reminders(occurrence: Occurrence, minutes: Iterable[int], now: datetime) -> tuple[DueReminder, ...]:
    """The reminders of a meeting that are still to come, earliest first; none once it has begun.

    Of those whose time is past (the meeting was made or moved to within the minutes) only the smallest stays, due at once: a
    meeting that appears 7 minutes ahead with [15, 10, 5] reminds now (as the one of 10 minutes) and 5 minutes before.
    Asked again later it gives the same pairs, so a repeat makes no new delivery.
    """
    return due_before(occurrence.start, minutes, now) if reminds(occurrence) else ()


def due_before(start: datetime, minutes: Iterable[int], now: datetime) -> tuple[DueReminder, ...]:
    """The same for a meeting that is known to have reminders, by its start alone."""
    chosen = sorted(set(minutes))
    return tuple(
        DueReminder(fire_at=start - timedelta(minutes=value), minutes=value)
        for value in reversed(chosen)
        if is_current(start, value, chosen, now) or start - timedelta(minutes=value) > now
    )


def is_current(start: datetime, minutes: int, all_minutes: Iterable[int], now: datetime) -> bool:
    """Whether the reminder `minutes` before `start` is the one to send at `now`.

    It is due, the meeting has not begun, and no smaller reminder of the same meeting is due too: after a downtime one message
    goes out and not one for each entry of the list.
    """
    due = [value for value in all_minutes if start - timedelta(minutes=value) <= now]
    return now < start and bool(due) and minutes == min(due)


def snooze_choices(start: datetime, now: datetime) -> tuple[int, ...]:
    """What may be chosen at `now`: minutes from now that end before the start, and AT_START; nothing in the last minute."""
    if start - now < _MINUTE:
        return ()
    return (*(choice for choice in SNOOZE_MINUTES if snoozed_to(start, choice, now) != AT_START), AT_START)


def snoozed_to(start: datetime, choice: int, now: datetime) -> int:
    """How many minutes before the start a snooze reminds: whole ones, so that a reminder of these minutes is the same message.

    0 is the start itself, also for a choice that would come after it.
    """
    return AT_START if choice == AT_START else max(AT_START, round((start - now) / _MINUTE - choice))


def snooze_ends(start: datetime, minutes: int) -> datetime:
    """Until when a snooze of `minutes` before the start is of use."""
    return start if minutes else start + USEFUL_AFTER_START


def delivery_key(*, user_id: str, kind: str, minutes: int, uid: str, recurrence_id: str, start: datetime) -> str:
    """The key under which one message about one meeting reaches one person once; at most about 150 characters.

    It holds the start, so a moved meeting reminds again and the same start never twice, and never the calendar, so a meeting in
    two watched calendars reminds once. The UID, which others choose, goes in as a hash.
    """
    digest = hashlib.sha256(uid.encode()).hexdigest()[:32]
    return f"{kind}:{user_id}:{minutes}:{digest}:{recurrence_id or '-'}:{start.strftime('%Y%m%dT%H%M%SZ')}"


def agenda_key(*, user_id: str, local_date: date) -> str:
    """The key of one person's agenda of one local date, whatever the zone or time it was set to."""
    return f"agenda:{user_id}:{local_date.isoformat()}"
