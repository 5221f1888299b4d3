"""RRULE (RFC 5545 3.3.10): reading a rule strictly and walking it in bounded time.

The usual libraries walk from DTSTART, keep what they saw and look for a match until the year 9999: INTERVAL=0 hangs them,
a rule that never matches (30 February) costs seconds, an hourly series of 1970 costs a second a query. A rule can arrive
with any invitation, so this walk jumps to the asked window by arithmetic, looks only at days inside it, and counts its steps.
Times are wall-clock times without a zone; who calls knows the zone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import MAXYEAR, date, datetime, time, timedelta

MAX_STEPS = 400_000
"""Days (or hours, for FREQ=HOURLY) that one walk may look at: a daily series with COUNT since the year 1000."""
MAX_STEPS_TOGETHER = 1_000_000
"""Steps that all series of one object may take: many costly series in one object cost no more than a few."""
MAX_TIMES_PER_DAY = 96
MAX_INTERVAL = 100_000
MAX_LIST_LENGTH = 800
LATEST = datetime(9998, 1, 1)  # noqa: DTZ001 - a wall-clock bound

_WEEKDAYS = {"MO": 0, "TU": 1, "WE": 2, "TH": 3, "FR": 4, "SA": 5, "SU": 6}
_BY_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_UNTIL = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")
_FREQUENCIES = frozenset({"YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"})


class RecurrenceError(ValueError):
    """The rule cannot be read or asks for too much; the message says which, in words for the owner of the calendar."""


class Steps:
    """Counts the steps of the walks that share it."""

    def __init__(self, limit: int = MAX_STEPS_TOGETHER) -> None:
        self._left = limit

    def take(self, count: int) -> None:
        """Use `count` steps; RecurrenceError when they are gone."""
        self._left -= count
        if self._left < 0:
            raise RecurrenceError("the series is too long to be counted")


@dataclass(frozen=True, slots=True)
class Until:
    """UNTIL as written: `has_time` False means the whole day counts, `is_utc` means that `at` is UTC and not wall time."""

    at: datetime
    has_time: bool
    is_utc: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule that was read; empty tuples are absent parts. `by_day` holds (n or 0, weekday from Monday = 0)."""

    freq: str
    interval: int = 1
    count: int | None = None
    until: Until | None = None
    week_start: int = 0
    by_month: tuple[int, ...] = ()
    by_week: tuple[int, ...] = ()
    by_year_day: tuple[int, ...] = ()
    by_month_day: tuple[int, ...] = ()
    by_day: tuple[tuple[int, int], ...] = ()
    by_hour: tuple[int, ...] = ()
    by_minute: tuple[int, ...] = ()
    by_second: tuple[int, ...] = ()
    by_position: tuple[int, ...] = ()


def parse_rule(text: str) -> Rule:
    """The rule in `text` (`FREQ=WEEKLY;BYDAY=MO`), or RecurrenceError."""
    parts: dict[str, str] = {}
    for part in text.strip().strip(";").upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals:
            raise RecurrenceError("the recurrence rule has a part without a value")
        parts[name.strip()] = value.strip()
    freq = parts.get("FREQ", "")
    if freq in {"SECONDLY", "MINUTELY"}:
        raise RecurrenceError("the meeting repeats more often than hourly")
    if freq not in _FREQUENCIES:
        raise RecurrenceError("the recurrence rule has no known frequency")
    if parts.get("RSCALE", "GREGORIAN") != "GREGORIAN":
        raise RecurrenceError("the recurrence rule is in another calendar than the Gregorian")
    rule = Rule(
        freq=freq,
        interval=_number(parts.get("INTERVAL", "1"), "INTERVAL", 1, MAX_INTERVAL),
        count=_count(parts.get("COUNT")),
        until=_until(parts.get("UNTIL")),
        week_start=_WEEKDAYS.get(parts.get("WKST", "MO"), 0),
        by_month=_numbers(parts, "BYMONTH", 1, 12),
        by_week=_numbers(parts, "BYWEEKNO", 1, 53, signed=True),
        by_year_day=_numbers(parts, "BYYEARDAY", 1, 366, signed=True),
        by_month_day=_numbers(parts, "BYMONTHDAY", 1, 31, signed=True),
        by_day=_by_day(parts.get("BYDAY", "")),
        by_hour=_numbers(parts, "BYHOUR", 0, 23),
        by_minute=_numbers(parts, "BYMINUTE", 0, 59),
        by_second=_numbers(parts, "BYSECOND", 0, 59),
        by_position=_numbers(parts, "BYSETPOS", 1, 366, signed=True),
    )
    hours = 24 if freq == "HOURLY" else max(1, len(rule.by_hour))
    if hours * max(1, len(rule.by_minute)) * max(1, len(rule.by_second)) > MAX_TIMES_PER_DAY:
        raise RecurrenceError(f"the meeting repeats more than {MAX_TIMES_PER_DAY} times a day")
    return rule


def walk(
    rule: Rule, start: datetime, *, after: datetime, before: datetime, together: Steps | None = None
) -> Iterator[datetime]:
    """The starts of `rule` from `after` to `before` (both inclusive), ascending, `start` being DTSTART; all naive wall times.

    `start` itself is the first of the series even where the rule would not make it, and counts towards COUNT. UNTIL is the
    caller's, who knows the zone. Raises RecurrenceError where the walk would take more than MAX_STEPS steps, or more than
    `together`, which several walks share, has left.
    """
    if before < start:
        return
    before = min(before, LATEST)
    if after <= start:
        yield start
    counted = 1
    first = start if rule.count else max(after, start)
    for found in _candidates(rule, start, first, before, together or Steps()):
        if found <= start:
            continue
        if rule.count is not None and counted >= rule.count:
            return
        counted += 1
        if found > before:
            return
        if found >= after:
            yield found


def _candidates(rule: Rule, start: datetime, after: datetime, before: datetime, together: Steps) -> Iterator[datetime]:
    times = _times(rule, start)
    days_of_rule = _DayFilter(rule, start)
    own = Steps(MAX_STEPS)
    for days, hour in _periods(rule, start, after.date(), before):
        own.take(len(days))
        together.take(len(days))
        matching = [day for day in days if days_of_rule.matches(day)]
        if not matching:
            continue
        at = times if hour is None else _times_of_hour(rule, start, hour)
        found = [datetime.combine(day, moment) for day in matching for moment in at]
        if rule.by_position:
            found = _positions(found, rule.by_position)
        yield from found


def _periods(rule: Rule, start: datetime, after: date, before: datetime) -> Iterator[tuple[list[date], int | None]]:
    """The periods of the rule that touch the window, each as its days and, for HOURLY, its hour."""
    step = rule.interval
    if rule.freq == "HOURLY":
        base = start.replace(minute=0, second=0, microsecond=0)
        skipped = max(0, int((datetime.combine(after, time()) - base) // timedelta(hours=step)))
        hour = base + timedelta(hours=step * skipped)
        while hour <= before:
            yield [hour.date()], hour.hour
            hour += timedelta(hours=step)
        return
    if rule.freq in {"DAILY", "WEEKLY"}:
        length = 1 if rule.freq == "DAILY" else 7
        first = start.date()
        if length == 7:
            first -= timedelta(days=(first.weekday() - rule.week_start) % 7)
        first += timedelta(days=max(0, (after - first).days // (length * step)) * length * step)
        while first <= before.date():
            yield [first + timedelta(days=offset) for offset in range(length)], None
            first += timedelta(days=length * step)
        return
    months = rule.freq == "MONTHLY"
    index = start.year * 12 + start.month - 1 if months else start.year
    wanted = after.year * 12 + after.month - 1 if months else after.year
    last = before.year * 12 + before.month - 1 if months else before.year
    index += max(0, (wanted - index) // step) * step
    while index <= last:
        yield (_days_of_month(index // 12, index % 12 + 1) if months else _days_of_year(index, rule, start)), None
        index += step


def _days_of_month(year: int, month: int) -> list[date]:
    first = date(year, month, 1)
    following = date(year + month // 12, month % 12 + 1, 1)
    return [first + timedelta(days=offset) for offset in range((following - first).days)]


def _days_of_year(year: int, rule: Rule, start: datetime) -> list[date]:
    months: Iterable[int] = rule.by_month or range(1, 13)
    if not (rule.by_month or rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day):
        months = (start.month,)
    return [day for month in sorted(set(months)) for day in _days_of_month(year, month)]


class _DayFilter:
    """Whether a day belongs to the rule; parts that are absent are taken from DTSTART as RFC 5545 says."""

    def __init__(self, rule: Rule, start: datetime) -> None:
        self._months = frozenset(rule.by_month)
        self._weeks = frozenset(rule.by_week)
        self._year_days = frozenset(rule.by_year_day)
        self._month_days = frozenset(rule.by_month_day)
        self._week_start = rule.week_start
        numbered = rule.freq in {"YEARLY", "MONTHLY"} and not rule.by_week
        self._weekdays = frozenset(weekday for n, weekday in rule.by_day if not n or not numbered)
        self._nth_weekdays = frozenset((n, weekday) for n, weekday in rule.by_day if n and numbered)
        self._nth_in_year = rule.freq == "YEARLY" and not rule.by_month
        if not (rule.by_week or rule.by_year_day or rule.by_month_day or rule.by_day):
            if rule.freq == "WEEKLY":
                self._weekdays = frozenset({start.weekday()})
            elif rule.freq in {"MONTHLY", "YEARLY"}:
                self._month_days = frozenset({start.day})

    def matches(self, day: date) -> bool:
        if self._months and day.month not in self._months:
            return False
        if (
            self._month_days
            and day.day not in self._month_days
            and day.day - _month_length(day) - 1 not in self._month_days
        ):
            return False
        if (self._weekdays or self._nth_weekdays) and not self._matches_weekday(day):
            return False
        if self._year_days:
            number = day.timetuple().tm_yday
            if number not in self._year_days and number - _year_length(day.year) - 1 not in self._year_days:
                return False
        return not self._weeks or self._matches_week(day)

    def _matches_weekday(self, day: date) -> bool:
        weekday = day.weekday()
        if weekday in self._weekdays:
            return True
        if not self._nth_weekdays:
            return False
        if self._nth_in_year:
            number, length = day.timetuple().tm_yday, _year_length(day.year)
        else:
            number, length = day.day, _month_length(day)
        from_start, from_end = (number - 1) // 7 + 1, -((length - number) // 7 + 1)
        return (from_start, weekday) in self._nth_weekdays or (from_end, weekday) in self._nth_weekdays

    def _matches_week(self, day: date) -> bool:
        """Week numbers as in ISO 8601, but with the rule's own first day of the week."""
        first = _first_week(day.year, self._week_start)
        following = _first_week(day.year + 1, self._week_start)
        if day < first:
            # The last week of the year before: its days in January belong to that year's number.
            earlier = _first_week(day.year - 1, self._week_start)
            weeks = (first - earlier).days // 7
            return weeks in self._weeks or -1 in self._weeks
        if day >= following:
            return 1 in self._weeks
        weeks = (following - first).days // 7
        number = (day - first).days // 7 + 1
        return number in self._weeks or number - weeks - 1 in self._weeks


def _first_week(year: int, week_start: int) -> date:
    """The first day of week 1: the week that holds at least four days of the year."""
    fourth = date(min(year, MAXYEAR), 1, 4)
    return fourth - timedelta(days=(fourth.weekday() - week_start) % 7)


def _month_length(day: date) -> int:
    return (date(day.year + day.month // 12, day.month % 12 + 1, 1) - day.replace(day=1)).days


def _year_length(year: int) -> int:
    return 366 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 365


def _times(rule: Rule, start: datetime) -> list[time]:
    hours = sorted(set(rule.by_hour)) or [start.hour]
    return [moment for hour in hours for moment in _minutes_of(rule, start, hour)]


def _times_of_hour(rule: Rule, start: datetime, hour: int) -> list[time]:
    if rule.by_hour and hour not in rule.by_hour:
        return []
    return _minutes_of(rule, start, hour)


def _minutes_of(rule: Rule, start: datetime, hour: int) -> list[time]:
    return [
        time(hour, minute, second)
        for minute in sorted(set(rule.by_minute)) or [start.minute]
        for second in sorted(set(rule.by_second)) or [start.second]
    ]


def _positions(found: list[datetime], positions: tuple[int, ...]) -> list[datetime]:
    chosen = {found[n - 1 if n > 0 else n] for n in positions if abs(n) <= len(found)}
    return sorted(chosen)


def _number(text: str, name: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,9}", text) or not low <= int(text) <= high:
        raise RecurrenceError(f"{name} of the recurrence rule is not between {low} and {high}")
    return int(text)


def _numbers(parts: dict[str, str], name: str, low: int, high: int, *, signed: bool = False) -> tuple[int, ...]:
    text = parts.get(name, "")
    if not text:
        return ()
    items = text.split(",")
    if len(items) > MAX_LIST_LENGTH:
        raise RecurrenceError(f"{name} of the recurrence rule has more than {MAX_LIST_LENGTH} values")
    numbers = tuple(_number(item.strip(), name, -high if signed else low, high) for item in items)
    if signed and 0 in numbers:
        raise RecurrenceError(f"{name} of the recurrence rule holds 0")
    return numbers


def _count(text: str | None) -> int | None:
    """COUNT; a negative one is what some programs write for "without end"."""
    if text is None or re.fullmatch(r"-\d{1,9}", text):
        return None
    return _number(text, "COUNT", 1, 999_999_999)


def _until(text: str | None) -> Until | None:
    if text is None:
        return None
    match = _UNTIL.fullmatch(text)
    if match is None:
        raise RecurrenceError("UNTIL of the recurrence rule is not a date")
    try:
        at = datetime.strptime(match[1] + (match[2] or "000000"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - a wall time
    except ValueError:
        raise RecurrenceError("UNTIL of the recurrence rule is not a date") from None
    return Until(at=min(at, LATEST), has_time=match[2] is not None, is_utc=match[3] == "Z")


def _by_day(text: str) -> tuple[tuple[int, int], ...]:
    if not text:
        return ()
    items = text.split(",")
    if len(items) > MAX_LIST_LENGTH:
        raise RecurrenceError(f"BYDAY of the recurrence rule has more than {MAX_LIST_LENGTH} values")
    days = []
    for item in items:
        match = _BY_DAY.fullmatch(item.strip())
        if match is None or match[1] in {"0", "00", "+0", "-0"}:
            raise RecurrenceError("BYDAY of the recurrence rule is not a list of weekdays")
        days.append((int(match[1] or 0), _WEEKDAYS[match[2]]))
    return tuple(days)
