"""Which meetings belong to a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.agenda import select_day
from switchboard.domain.calendar.occurrences import Attendee, Occurrence

MOSCOW = ZoneInfo("Europe/Moscow")
DAY = date(2026, 11, 21)


def _meeting(uid: str, start: str, end: str | None = None) -> Occurrence:
    """A meeting by Moscow wall times."""
    begin = datetime.fromisoformat(f"{start}+03:00").astimezone(UTC)
    finish = datetime.fromisoformat(f"{end}+03:00").astimezone(UTC) if end else begin + timedelta(hours=1)
    return Occurrence(uid=uid, recurrence_id="", start=begin, end=finish, title=uid)


def _all_day(uid: str, first: date, last: date) -> Occurrence:
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return Occurrence(
        uid=uid,
        recurrence_id="",
        start=begin,
        end=begin + (last - first),
        all_day=True,
        start_date=first,
        end_date=last,
        title=uid,
    )


def test_a_day_is_ordered_by_time_with_all_day_meetings_apart() -> None:
    b, a = _all_day("b", DAY, DAY + timedelta(1)), _all_day("A", DAY, DAY + timedelta(1))
    late, early = _meeting("1", "2026-11-21T15:00"), _meeting("2", "2026-11-21T09:00")
    found = select_day([late, b, early, a], DAY, MOSCOW)
    assert found.all_day == (a, b)
    assert found.meetings == (early, late)
    assert not found.is_empty


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        ("2026-11-20T23:00", "2026-11-21T01:00", True),
        ("2026-11-21T23:00", "2026-11-22T01:00", True),
        ("2026-11-19T10:00", "2026-11-23T10:00", True),
        ("2026-11-20T23:00", "2026-11-21T00:00", False),
        ("2026-11-22T00:00", "2026-11-22T01:00", False),
        ("2026-11-21T00:00", "2026-11-21T00:00", True),
        ("2026-11-22T00:00", "2026-11-22T00:00", False),
    ],
)
def test_a_meeting_belongs_to_each_day_that_it_touches(start: str, end: str, inside: bool) -> None:
    assert bool(select_day([_meeting("a", start, end)], DAY, MOSCOW).meetings) is inside


@pytest.mark.parametrize(
    ("first", "last", "inside"), [(21, 22, True), (20, 21, False), (20, 22, True), (22, 23, False), (1, 30, True)]
)
def test_an_all_day_meeting_belongs_to_its_dates_in_any_zone(first: int, last: int, inside: bool) -> None:
    meeting = _all_day("a", date(2026, 11, first), date(2026, 11, last))
    for zone in ("Pacific/Apia", "Pacific/Honolulu", "Europe/Moscow"):
        assert bool(select_day([meeting], DAY, ZoneInfo(zone)).all_day) is inside


def test_the_same_meeting_in_two_calendars_is_shown_once_in_its_newest_version() -> None:
    old = replace(_meeting("a", "2026-11-21T10:00"), title="old", sequence=1)
    new = replace(old, title="new", sequence=2)
    assert select_day([old, new, old], DAY, MOSCOW).meetings == (new,)
    assert len(select_day([old, replace(old, recurrence_id="20261121T070000Z")], DAY, MOSCOW).meetings) == 2


def test_declined_and_cancelled_meetings_are_hidden() -> None:
    meeting = _meeting("a", "2026-11-21T10:00")
    hidden = [replace(meeting, own_partstat="DECLINED"), replace(meeting, uid="b", status="CANCELLED")]
    assert select_day(hidden, DAY, MOSCOW).is_empty


def test_an_occurrence_survives_the_way_through_json() -> None:
    ann = Attendee("ann@example.com", "Анна", "ACCEPTED", "CHAIR", "INDIVIDUAL", own=True)
    full = replace(
        _all_day("a", DAY, DAY + timedelta(1)),
        organizer=ann,
        attendees=(ann,),
        stamp=datetime(2026, 1, 1, tzinfo=UTC),
        sequence=3,
    )
    for occurrence in (full, _meeting("b", "2026-11-21T10:00")):
        assert Occurrence.from_json(occurrence.to_json()) == occurrence
