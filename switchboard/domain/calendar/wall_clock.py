"""Wall-clock times of a person's day in UTC: agendas, day windows, names of zones.

All arithmetic between instants is done in UTC: Python's arithmetic on aware local times is wall arithmetic and is wrong by the
shift on the days when clocks change.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.zones import known_zone_names
from switchboard.errors import InvalidInputError

AGENDA_STEP = timedelta(minutes=15)
AGENDA_USEFUL_FOR = timedelta(hours=4)
EVERY_DAY = frozenset(range(7))
_WALL_TIME = re.compile(r"(\d{1,2}):(\d{2})")


def to_utc(local_date: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant of a wall time: in a gap the time shifted by the gap (02:30 is 03:30), in an overlap the first of the two."""
    return datetime.combine(local_date, at, tzinfo=zone).replace(fold=0).astimezone(UTC)


def same_wall_time(instant: datetime, old: ZoneInfo, new: ZoneInfo) -> datetime:
    """The instant at which clocks in `new` show what those in `old` show at `instant`."""
    wall = instant.astimezone(old)
    return to_utc(wall.date(), wall.time(), new)


def start_of_day(local_date: date, zone: ZoneInfo) -> datetime:
    """The first instant of a local date, in UTC; 01:00 where clocks jump at midnight (Beirut, Cairo, Santiago).

    A skipped midnight is always the first instant that is skipped (in every zone since 1990), so the shifted time is right.
    """
    return to_utc(local_date, time(), zone)


def day_window(local_date: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """From the first instant of a local date to the first of the next, in UTC; 23, 24 or 25 hours, or empty.

    Empty where the date never was (Apia, 30 December 2011). Windows of following dates touch and never overlap.
    """
    return start_of_day(local_date, zone), start_of_day(local_date + timedelta(days=1), zone)


def next_agenda(now: datetime, zone: ZoneInfo, at: time, weekdays: Collection[int]) -> tuple[date, datetime]:
    """The next agenda after `now`: its local date and the instant in UTC. `weekdays` counts from Monday = 0.

    A local date has one agenda: a time that the clock skips is sent shifted, a time that comes twice is sent the first
    time, and a date that never was has none. InvalidInputError where no weekday is chosen.
    """
    if not any(weekday in EVERY_DAY for weekday in weekdays):
        raise InvalidInputError("choose at least one weekday for the agenda", field="weekdays")
    local_date = now.astimezone(zone).date() - timedelta(days=1)
    while True:
        begin, end = day_window(local_date, zone)
        fire_at = to_utc(local_date, at, zone)
        if local_date.weekday() in weekdays and begin < end and fire_at > now:
            return local_date, fire_at
        local_date += timedelta(days=1)


def agenda_is_still_useful(local_date: date, fire_at: datetime, now: datetime, zone: ZoneInfo) -> bool:
    """Whether an agenda that is late is still worth sending: on its own local day and at most AGENDA_USEFUL_FOR late.

    So after a downtime nobody gets the agendas of two days.
    """
    today = now.astimezone(zone).date()
    # A time near midnight that a gap shifts over the date line of the day keeps its date and is due on the next.
    own_days = {local_date, fire_at.astimezone(zone).date()}
    return today in own_days and fire_at <= now <= fire_at + AGENDA_USEFUL_FOR


def agenda_times() -> tuple[time, ...]:
    """What a user may choose: 00:00, 00:15, ... 23:45."""
    step = int(AGENDA_STEP.total_seconds()) // 60
    return tuple(time(minute // 60, minute % 60) for minute in range(0, 24 * 60, step))


def parse_wall_time(text: str) -> time | None:
    """`7:30` or `22:05` as a time; None for anything else."""
    match = _WALL_TIME.fullmatch(text.strip())
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        return None
    return time(int(match[1]), int(match[2]))


def parse_agenda_time(text: str) -> time:
    """`07:30` as a time of the grid; InvalidInputError otherwise."""
    for choice in agenda_times():
        if text.strip() in {choice.strftime("%H:%M"), f"{choice.hour}:{choice.minute:02d}"}:
            return choice
    raise InvalidInputError(
        "the time of the agenda is 00:00 to 23:45 in steps of 15 minutes, for example 07:30", field="agenda_time"
    )


def parse_zone(text: str) -> ZoneInfo:
    """The zone named `text`, in any case and with spaces for underscores; InvalidInputError names close ones."""
    wanted = text.strip().replace(" ", "_")
    by_folded = {name.casefold(): name for name in known_zone_names()}
    name = by_folded.get(wanted.casefold())
    if name is not None:
        return ZoneInfo(name)
    close = close_zone_names(wanted)
    hint = f"did you mean {', '.join(close)}?" if close else "write it like Europe/Moscow or Europe/Kyiv"
    raise InvalidInputError(f"there is no time zone {text.strip()[:60]!r}; {hint}", field="zone")


def search_zones(query: str, limit: int) -> list[str]:
    """Names of zones for people that hold `query` (any case, spaces for underscores), by region; close ones for none."""
    wanted = query.strip().replace(" ", "_").casefold()[:60]
    regional = sorted(name for name in known_zone_names() if "/" in name and not name.startswith(("Etc/", "SystemV/")))
    found = [name for name in regional if wanted in name.casefold()]
    found.sort(key=lambda name: not name.casefold().rpartition("/")[2].startswith(wanted))
    return found[:limit] or close_zone_names(wanted)


def close_zone_names(wanted: str) -> list[str]:
    """Up to three names: same city first, then a similar spelling of the whole name or of the city."""
    by_folded = {name.casefold(): name for name in known_zone_names()}
    city = wanted.casefold().rpartition("/")[2][:60]
    regional = {
        folded: name for folded, name in by_folded.items() if "/" in name and not name.startswith(("Etc/", "SystemV/"))
    }
    cities = {folded.rpartition("/")[2]: name for folded, name in sorted(regional.items(), reverse=True)}
    found = [cities[city]] if city in cities else []
    found += [
        by_folded[match]
        for match in difflib.get_close_matches(wanted.casefold()[:60], list(regional), n=3, cutoff=0.75)
    ]
    found += [cities[match] for match in difflib.get_close_matches(city, list(cities), n=3, cutoff=0.75)]
    return list(dict.fromkeys(found))[:3]
