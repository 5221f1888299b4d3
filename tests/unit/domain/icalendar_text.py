"""Builders of iCalendar text, and an oracle for wall times that shares no code with what it checks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.expansion import Expansion, expand

ODD_ZONES = (
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Asia/Beirut",
    "America/Santiago",
    "Europe/Berlin",
    "Europe/Moscow",
    "America/St_Johns",
    "Pacific/Apia",
)
MARCH = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))


def calendar(*events: str, before: str = "", method: str = "PUBLISH") -> bytes:
    """A VCALENDAR with the given bodies as VEVENTs."""
    blocks = "".join(f"BEGIN:VEVENT\n{event.strip()}\nEND:VEVENT\n" for event in events)
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\nMETHOD:{method}\n{before}{blocks}END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def expanded(
    *events: str,
    window: tuple[datetime, datetime] = MARCH,
    zone: str = "Europe/Moscow",
    before: str = "",
    own: Sequence[str] = (),
) -> Expansion:
    """The expansion of a calendar of these events."""
    raw = calendar(*events, before=before)
    return expand(raw, window=window, zone=ZoneInfo(zone), own_addresses=frozenset(own))


def spans(expansion: Expansion) -> list[tuple[str, str, str]]:
    """(RECURRENCE-ID, start, end) of each occurrence, times as `0301T0900` in UTC."""
    return [(one.recurrence_id, f"{one.start:%m%dT%H%M}", f"{one.end:%m%dT%H%M}") for one in expansion.occurrences]


def starts(expansion: Expansion) -> list[str]:
    """The starts as `0301T0900` in UTC."""
    return [start for _, start, _ in spans(expansion)]


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a wall time, found by asking the zone only what the time is at a given instant.

    The earliest instant that shows the wall time; in a gap the instant reached with the offset of the day before.
    """
    around = [wall.replace(tzinfo=UTC) + timedelta(hours=hours) for hours in range(-27, 28)]
    offsets = {at.astimezone(zone).utcoffset() or timedelta() for at in around}
    candidates = sorted((wall - offset).replace(tzinfo=UTC) for offset in offsets)
    for candidate in candidates:
        if candidate.astimezone(zone).replace(tzinfo=None) == wall:
            return candidate
    before = (candidates[0] - timedelta(hours=2)).astimezone(zone).utcoffset() or timedelta()
    return (wall - before).replace(tzinfo=UTC)
