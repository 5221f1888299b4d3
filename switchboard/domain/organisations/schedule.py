"""When a reminder of a document is due."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.quiet_hours import quiet_hours_around


def reminder_at(
    deadline: datetime,
    before: timedelta,
    *,
    now: datetime,
    zone: ZoneInfo,
    quiet_from: time | None,
    quiet_until: time | None,
) -> datetime | None:
    """The instant of the reminder, None where it would come too late to be one.

    In quiet hours it waits for their end; where that is not before the deadline, it comes a minute before they begin.
    """
    wanted = deadline - before
    quiet = quiet_hours_around(wanted, zone, quiet_from, quiet_until)
    if quiet is not None:
        begin, end = quiet
        wanted = end if end < deadline else begin - timedelta(minutes=1)
    return wanted if now < wanted < deadline else None
