"""Digests: when the documents that are collected for a person go out, and how many of them fit into one message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from urllib.parse import quote
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.quiet_hours import quiet_hours_end
from switchboard.domain.calendar.wall_clock import parse_wall_time, to_utc
from switchboard.errors import InvalidInputError

MOST_DOCUMENTS = 20
"""In one message: so many lines, each with its number, fit into it."""
LINE_UNITS = 180
"""UTF-16 code units of one document's line: 20 of them leave room for the words around them in 4,096."""
LINE_SPANS = 3
"""Formatted parts of one line. One more strikes it out: 20 lines have 80 of the 100 that Telegram shows."""
MOST_LINK_CHARS = 6_500
"""Of all links of a message. Telegram refuses a message with about 9,500 bytes of formatting (ENTITIES_TOO_LONG,
https://github.com/tdlib/telegram-bot-api/issues/165), Mattermost one of more than 16,383 characters with its links.
"""
BEFORE_DEADLINE = timedelta(hours=1)
"""A digest that leaves less time than this to act is no digest: the notice goes out at once."""


class Every(StrEnum):
    """How often somebody wants to be told."""

    NONE = "none"
    HOUR = "hour"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Habit:
    """How often, and for `day` at what wall time."""

    every: Every
    at: time


AT_ONCE = Habit(Every.NONE, time(9))


def digest_at(
    habit: Habit,
    now: datetime,
    zone: ZoneInfo,
    *,
    quiet_from: time | None,
    quiet_until: time | None,
    deadline: datetime | None,
) -> datetime | None:
    """The instant of the digest for a document that comes now; None for at once.

    The next full hour, or the next `at`, by the clocks of `zone`; in quiet hours their end.
    """
    if habit.every is Every.NONE:
        return None
    due = _next_hour(now, zone) if habit.every is Every.HOUR else _next_time(now, habit.at, zone)
    due = quiet_hours_end(due, zone, quiet_from, quiet_until) or due
    return None if deadline is not None and deadline < due + BEFORE_DEADLINE else due


def messages(links: Iterable[str]) -> list[int]:
    """How many documents go into each message, in their order; `links` are their addresses, '' for none."""
    counts: list[int] = []
    chars = 0
    for link in links:
        length = len(quote(link))
        if not counts or counts[-1] == MOST_DOCUMENTS or chars + length > MOST_LINK_CHARS:
            counts.append(0)
            chars = 0
        counts[-1] += 1
        chars += length
    return counts


def parse_every(text: str) -> Every | None:
    """`none`, `hour` or `day`; an empty text is None. InvalidInputError for anything else."""
    if not text.strip():
        return None
    try:
        return Every(text.strip())
    except ValueError:
        raise InvalidInputError(
            f"a digest is one of {', '.join(Every)}, or empty for what holds above", field="digest"
        ) from None


def parse_at(text: str) -> time | None:
    """`09:00` as a time; an empty text is None. InvalidInputError for anything else."""
    if not text.strip():
        return None
    found = parse_wall_time(text)
    if found is None:
        raise InvalidInputError("the time of a daily digest is written like 09:00", field="digest_at")
    return found


def _next_hour(now: datetime, zone: ZoneInfo) -> datetime:
    """Counted on clocks, not on UTC: zones lie half and quarter hours off, and one shifts by half an hour."""
    due = now
    while True:
        local = due.astimezone(zone)
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        if due > now and not into:
            return due
        due += timedelta(hours=1) - into


def _next_time(now: datetime, at: time, zone: ZoneInfo) -> datetime:
    today = now.astimezone(zone).date()
    # a time that a gap shifts over midnight belongs to the day before
    days = (today + timedelta(days=number) for number in (-1, 0, 1, 2))
    return next(due for day in days if (due := to_utc(day, at, zone)) > now)
