"""DATE, DATE-TIME and DURATION values as they are written (RFC 5545 3.3.4 to 3.3.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_YEAR = 1000
LAST_YEAR = 9980
_WALL = re.compile(r"(\d{4})(\d\d)(\d\d)(?:T(\d\d)(\d\d)(\d\d)(Z?))?", re.IGNORECASE)
_DURATION = re.compile(
    r"([+-]?)P(?:(\d{1,6})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,9})S)?)?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Wall:
    """A date or a wall time; `at` is naive, midnight for a date. `is_utc` is the trailing Z."""

    at: datetime
    is_date: bool
    is_utc: bool


@dataclass(frozen=True, slots=True)
class Length:
    """A DURATION: `days` are nominal (a day of 23 or 25 hours is one day), `exact` is exact time."""

    days: int
    exact: timedelta

    @property
    def span(self) -> timedelta:
        """The length when no clock changes."""
        return timedelta(days=self.days) + self.exact


def parse_wall(text: str) -> Wall:
    """Read `20260301`, `20260301T093000` or `20260301T093000Z`; ValueError says what is wrong."""
    match = _WALL.fullmatch(text.strip())
    if match is None:
        raise ValueError("is not a date or time")
    year = int(match[1])
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise ValueError(f"is outside the years {FIRST_YEAR} to {LAST_YEAR}")
    is_date = match[4] is None
    clock = (0, 0, 0) if is_date else (int(match[4]), int(match[5]), 59 if match[6] == "60" else int(match[6]))
    try:
        at = datetime(year, int(match[2]), int(match[3]), *clock)  # noqa: DTZ001 - a wall time
    except ValueError:
        raise ValueError("is a date or time that does not exist") from None
    return Wall(at=at, is_date=is_date, is_utc=bool(match[7]))


def parse_length(text: str) -> Length:
    """Read `PT1H`, `P1D`, `-PT15M`; ValueError says what is wrong."""
    cleaned = text.strip()
    match = _DURATION.fullmatch(cleaned)
    if match is None or not any(match[part] for part in range(2, 7)):
        raise ValueError("is not a duration")
    weeks, days, hours, minutes, seconds = (int(match[part] or 0) for part in range(2, 7))
    sign = -1 if match[1] == "-" else 1
    return Length(sign * (weeks * 7 + days), sign * timedelta(hours=hours, minutes=minutes, seconds=seconds))
