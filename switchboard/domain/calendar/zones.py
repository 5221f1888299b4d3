"""From wall-clock time to UTC, by the zone a meeting names: IANA, Windows, a fixed offset, or the object's VTIMEZONE."""

from __future__ import annotations

import re
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

MAX_OBSERVANCES = 200
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

    def latest_onset(self, wall: datetime) -> datetime | None:
        """The last onset at or before `wall`, or None."""
        onsets = [onset for onset in (self.start, *self.dates) if onset <= wall]
        for rule in self.rules:
            last = wall
            if rule.until is not None:
                last = min(wall, rule.until.at + (self.offset_from if rule.until.is_utc else timedelta()))
            # The last onset of a yearly rule lies within its interval before `last`; nothing older needs to be walked.
            earliest = max(self.start, last - timedelta(days=366 * min(rule.interval, 8) + 1))
            onsets.extend(onset for onset in walk(rule, self.start, after=earliest, before=last) if onset <= last)
        return max(onsets, default=None)


@dataclass(frozen=True, slots=True)
class RuleZone:
    """A zone that only its VTIMEZONE describes."""

    observances: tuple[Observance, ...]

    def to_utc(self, wall: datetime) -> datetime:
        latest: datetime | None = None
        offset = min(self.observances, key=lambda observance: observance.start).offset_from
        for observance in self.observances:
            onset = observance.latest_onset(wall)
            if onset is None or (latest is not None and onset <= latest):
                continue
            latest = onset
            in_gap = wall - onset < observance.offset_to - observance.offset_from
            offset = observance.offset_from if in_gap else observance.offset_to
        return (wall - offset).replace(tzinfo=UTC)


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
        observances = tuple(
            observance
            for child in component.children[:MAX_OBSERVANCES]
            if (observance := _observance(child)) is not None
        )
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
        for item in component.all("RDATE"):
            dates.extend(parse_wall(value).at for value in item.value.split(","))
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
