"""Which meetings belong to a person's day, and in which order they are read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.wall_clock import day_window


@dataclass(frozen=True, slots=True)
class DayAgenda:
    """One local day: all-day meetings by title, the others by start; each meeting once."""

    local_date: date
    all_day: tuple[Occurrence, ...] = ()
    meetings: tuple[Occurrence, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the day holds nothing to tell."""
        return not (self.all_day or self.meetings)


def select_day(occurrences: Iterable[Occurrence], local_date: date, zone: ZoneInfo) -> DayAgenda:
    """The agenda of `local_date` in `zone` from occurrences of any calendars and days.

    A meeting across midnight belongs to both days. Declined and cancelled ones are hidden. The same meeting in several watched
    calendars (same UID, RECURRENCE-ID and start) is shown once, in its newest version.
    """
    begin, end = day_window(local_date, zone)
    chosen: dict[tuple[str, str, object], Occurrence] = {}
    for occurrence in occurrences:
        if occurrence.declined or occurrence.cancelled:
            continue
        if occurrence.all_day and occurrence.start_date is not None and occurrence.end_date is not None:
            if not occurrence.start_date <= local_date < occurrence.end_date:
                continue
            key = (occurrence.uid, occurrence.recurrence_id, occurrence.start_date)
        else:
            # A meeting of no length at midnight belongs to the day that begins.
            ends_after = occurrence.end > begin or occurrence.start == occurrence.end == begin
            if not (occurrence.start < end and ends_after):
                continue
            key = (occurrence.uid, occurrence.recurrence_id, occurrence.start)
        known = chosen.get(key)
        if known is None or occurrence.sequence > known.sequence:
            chosen[key] = occurrence
    shown = list(chosen.values())
    return DayAgenda(
        local_date=local_date,
        all_day=tuple(sorted((one for one in shown if one.all_day), key=lambda one: (one.title.casefold(), one.uid))),
        meetings=tuple(
            sorted(
                (one for one in shown if not one.all_day),
                key=lambda one: (one.start, one.end, one.title.casefold(), one.uid),
            )
        ),
    )
