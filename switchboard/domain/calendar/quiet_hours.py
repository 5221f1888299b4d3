"""Hours in which nobody wants to be called: wall times of a person's zone."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.wall_clock import parse_wall_time, to_utc
from switchboard.errors import InvalidInputError


def quiet_hours_end(now: datetime, zone: ZoneInfo, begins: time | None, ends: time | None) -> datetime | None:
    """When the quiet hours that `now` lies in are over, in UTC; None outside of them and where none are set.

    They may pass midnight (22:00 to 08:00). The first instant is quiet, the last is not.
    """
    found = quiet_hours_around(now, zone, begins, ends)
    return None if found is None else found[1]


def quiet_hours_around(
    now: datetime, zone: ZoneInfo, begins: time | None, ends: time | None
) -> tuple[datetime, datetime] | None:
    """The same with their beginning."""
    if begins is None or ends is None:
        return None
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        begin = to_utc(day, begins, zone)
        end = to_utc(day if ends > begins else day + timedelta(days=1), ends, zone)
        if begin <= now < end:
            return begin, end
    return None


def parse_quiet_hours(begins: str, ends: str) -> tuple[time | None, time | None]:
    """`22:00` and `08:00` as times, two empty texts as no quiet hours; InvalidInputError for anything else."""
    if not begins.strip() and not ends.strip():
        return None, None
    first, last = _clock(begins, "quiet_from"), _clock(ends, "quiet_until")
    if first == last:
        raise InvalidInputError(
            "quiet hours end at another time than they begin; leave both empty for none", field="quiet_until"
        )
    return first, last


def _clock(text: str, field: str) -> time:
    found = parse_wall_time(text)
    if found is None:
        raise InvalidInputError("quiet hours are two times like 22:00 and 08:00", field=field)
    return found
