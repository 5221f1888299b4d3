"""What is free of a working day between its meetings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.presence import Block, Slot, busy_blocks
from switchboard.domain.calendar.wall_clock import parse_wall_time, to_utc
from switchboard.errors import InvalidInputError

LEAST_GAP = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class WorkingHours:
    """Wall times between which a person wants to hear of free time; `begins` is before `ends`."""

    begins: time
    ends: time


DEFAULT_HOURS = WorkingHours(time(9), time(18))


def free_gaps(
    meetings: Iterable[Occurrence], day: date, hours: WorkingHours | None, zone: ZoneInfo, now: datetime
) -> tuple[Block, ...]:
    """The gaps in the working hours of a local day of which at least LEAST_GAP is ahead at `now`, in UTC and in order.

    What occupies their reader is what presence counts: neither all-day meetings nor free (TRANSPARENT), declined and
    cancelled ones. A day whose working hours no meeting touches has no gaps: it is free as a whole, and nobody needs to be
    told. None for `hours` means that the reader wants none named.
    """
    if hours is None:
        return ()
    begin, end = to_utc(day, hours.begins, zone), to_utc(day, hours.ends, zone)
    slots = [
        Slot(
            one.start, one.end, one.all_day, transparent=one.transparent, declined=one.declined, cancelled=one.cancelled
        )
        for one in meetings
    ]
    busy = [block for block in busy_blocks(slots) if block.begin < end and block.end > begin]
    if not busy:
        return ()
    free_from = [begin, *(block.end for block in busy)]
    free_until = [*(block.begin for block in busy), end]
    gaps = (Block(*edges) for edges in zip(free_from, free_until, strict=True))
    return tuple(gap for gap in gaps if gap.end - max(gap.begin, now) >= LEAST_GAP)


def parse_working_hours(begins: str, ends: str) -> WorkingHours | None:
    """`09:00` and `18:00` as working hours, two empty texts as None; InvalidInputError for anything else."""
    if not begins.strip() and not ends.strip():
        return None
    first, last = parse_wall_time(begins), parse_wall_time(ends)
    if first is None or last is None:
        field = "work_from" if first is None else "work_until"
        raise InvalidInputError("working hours are two times like 09:00 and 18:00", field=field)
    if first >= last:
        raise InvalidInputError("working hours end later on the day than they begin", field="work_until")
    return WorkingHours(first, last)
