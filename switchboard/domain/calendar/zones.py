"""From wall-clock time to UTC, by the zone a meeting names: IANA, Windows, a fixed offset, or the object's VTIMEZONE."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo, available_timezones

from icalendar.timezone.windows_to_olson import WINDOWS_TO_OLSON

from switchboard.domain.calendar.content import Component
from switchboard.domain.calendar.moments import parse_wall
from switchboard.domain.calendar.recurrence import LATEST, RecurrenceError, Rule, parse_rule, walk

MAX_OBSERVANCES = 40
"""STANDARD and DAYLIGHT blocks of one zone; the newest are kept."""
MAX_ZONE_DATES = 500
MAX_YEARS_BETWEEN = 8
FIRST_RULED_YEAR = 1900
LAST_RULED_YEAR = 2100
_EARLY_YEAR = re.compile(r"^0\d{3}")
_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)(?::?(\d\d))?")
_NAMED_OFFSET = re.compile(r"(?:UTC|GMT)([+-])(\d{1,2})(?::?([0-5]\d))?", re.IGNORECASE)


class WallZone(Protocol):
    """Turns a naive wall time into aware UTC.

    A time in a gap is read with the offset before the gap (so 02:30 is shown as 03:30), an ambiguous time is the first of
    the two (RFC 5545 3.3.5).
    """

    def to_utc(self, wall: datetime) -> datetime:
        """The instant of `wall`."""
        ...


@dataclass(frozen=True, slots=True)
class NamedZone:
    """A zone that Python knows."""

    zone: tzinfo

    def to_utc(self, wall: datetime) -> datetime:
        return wall.replace(tzinfo=self.zone, fold=0).astimezone(UTC)


UTC_ZONE = NamedZone(UTC)


@dataclass(frozen=True, slots=True)
class Observance:
    """One STANDARD or DAYLIGHT block: its onsets are wall times of the offset before them."""

    start: datetime
    offset_from: timedelta
    offset_to: timedelta
    rules: tuple[Rule, ...] = ()
    dates: tuple[datetime, ...] = ()

    def onsets(self, year: int) -> list[datetime]:
        """The onsets of `year`, and the last one before it."""
        end = datetime(year + 1, 1, 1)  # noqa: DTZ001 - wall times
        found = {onset for onset in (self.start, *self.dates) if onset < end}
        for rule in self.rules:
            last = end - timedelta(seconds=1)
            if rule.until is not None:
                last = min(last, rule.until.at + (self.offset_from if rule.until.is_utc else timedelta()))
            # The last onset of a yearly rule lies within its interval; nothing older needs to be walked.
            earliest = max(self.start, last - timedelta(days=366 * (min(rule.interval, MAX_YEARS_BETWEEN) + 1)))
            found.update(onset for onset in walk(rule, self.start, after=earliest, before=last) if onset <= last)
        before = [onset for onset in found if onset.year < year]
        return [onset for onset in found if onset.year == year] + ([max(before)] if before else [])


class RuleZone:
    """A zone that only its VTIMEZONE describes."""

    def __init__(self, observances: Iterable[Observance]) -> None:
        newest_last = sorted(observances, key=lambda observance: observance.start)
        self._observances = newest_last[-MAX_OBSERVANCES:]
        self._changes: dict[int, list[tuple[datetime, timedelta, timedelta]]] = {}

    def to_utc(self, wall: datetime) -> datetime:
        """The instant of `wall`; far years follow the rules of the nearest year that is worked out."""
        year = min(max(wall.year, FIRST_RULED_YEAR), LAST_RULED_YEAR)
        local = wall if year == wall.year else wall.replace(year=year, day=min(wall.day, 28))
        changes = self._changes_of(year)
        index = bisect_right(changes, local, key=lambda change: change[0]) - 1
        if index < 0:
            return (wall - self._observances[0].offset_from).replace(tzinfo=UTC)
        onset, offset_from, offset_to = changes[index]
        in_gap = local - onset < offset_to - offset_from
        return (wall - (offset_from if in_gap else offset_to)).replace(tzinfo=UTC)

    def _changes_of(self, year: int) -> list[tuple[datetime, timedelta, timedelta]]:
        if year not in self._changes:
            changes = [(at, one.offset_from, one.offset_to) for one in self._observances for at in one.onsets(year)]
            self._changes[year] = sorted(changes, key=lambda change: change[0])
        return self._changes[year]


class Zones:
    """The zones of one object: what its TZIDs mean, by the tables of IANA and Windows first, then by its own VTIMEZONEs."""

    def __init__(self, components: Iterable[Component]) -> None:
        self._components: dict[str, Component] = {}
        for component in components:
            self._components.setdefault(component.text("TZID"), component)
        self._known: dict[str, WallZone | None] = {}

    def find(self, tzid: str) -> WallZone | None:
        """The zone, or None where nothing tells what `tzid` means."""
        if tzid not in self._known:
            self._known[tzid] = named_zone(tzid) or self._described(tzid) or _offset_zone(tzid)
        return self._known[tzid]

    def _described(self, tzid: str) -> RuleZone | None:
        component = self._components.get(tzid)
        if component is None:
            return None
        observances = [found for child in component.children if (found := _observance(child)) is not None]
        return RuleZone(observances) if observances else None


def named_zone(tzid: str) -> NamedZone | None:
    """The zone of an IANA or Windows name, also behind a vendor's prefix (`/citadel.org/20250101_1/Europe/Berlin`)."""
    cleaned = tzid.strip().strip("/").strip('"')
    candidates = [cleaned, WINDOWS_TO_OLSON.get(cleaned, "")]
    parts = cleaned.split("/")
    candidates.extend("/".join(parts[cut:]) for cut in range(1, min(len(parts), 8)))
    for candidate in candidates:
        if candidate in known_zone_names():
            return NamedZone(ZoneInfo(candidate))
    return None


@lru_cache(maxsize=1)
def known_zone_names() -> frozenset[str]:
    """Every IANA name this machine has rules for; asking the disk once is enough."""
    return frozenset(available_timezones())


def _offset_zone(tzid: str) -> NamedZone | None:
    match = _NAMED_OFFSET.fullmatch(tzid.strip())
    if match is None or int(match[2]) > 14:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
    return NamedZone(timezone(-offset if match[1] == "-" else offset))


def _observance(component: Component) -> Observance | None:
    """The block, or None where it cannot be read; a rule other than yearly is left out."""
    start = component.first("DTSTART")
    offset_from = _offset(component.text("TZOFFSETFROM"))
    offset_to = _offset(component.text("TZOFFSETTO"))
    if start is None or offset_to is None:
        return None
    rules: list[Rule] = []
    dates: list[datetime] = []
    try:
        # Some programs begin their time zones in the year 1; any year before every meeting says the same.
        at = parse_wall(_EARLY_YEAR.sub("1601", start.value.strip())).at
        for item in component.all("RRULE"):
            rule = parse_rule(item.value)
            if rule.freq == "YEARLY" and rule.count is None:
                rules.append(rule)
        for item in component.all("RDATE")[:MAX_OBSERVANCES]:
            dates.extend(parse_wall(value).at for value in item.value.split(",", MAX_ZONE_DATES)[:MAX_ZONE_DATES])
    except (RecurrenceError, ValueError):
        return None
    return Observance(
        start=min(at, LATEST),
        offset_from=offset_to if offset_from is None else offset_from,
        offset_to=offset_to,
        rules=tuple(rules),
        dates=tuple(dates),
    )


def _offset(text: str) -> timedelta | None:
    match = _OFFSET.fullmatch(text)
    if match is None:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]), seconds=int(match[4] or 0))
    if offset >= timedelta(hours=24):
        return None
    return -offset if match[1] == "-" else offset
