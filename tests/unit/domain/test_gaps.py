"""What is free of a working day, also against an oracle that walks from minute to minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.gaps import (
    DEFAULT_HOURS,
    LEAST_GAP,
    WorkingHours,
    free_gaps,
    parse_working_hours,
)
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.errors import InvalidInputError
from tests.unit.domain.icalendar_text import ODD_ZONES, instant

DAY = date(2026, 11, 23)
MINUTE = timedelta(minutes=1)
EARLY = datetime(2000, 1, 1, tzinfo=UTC)


def met(begin: str, end: str, **facts: object) -> Occurrence:
    """A meeting of DAY in UTC."""
    start, finish = (datetime.combine(DAY, time.fromisoformat(at), UTC) for at in (begin, end))
    return Occurrence("a", "", start, finish, **facts)  # type: ignore[arg-type]


def gaps(*meetings: Occurrence, hours: WorkingHours | None = DEFAULT_HOURS, now: datetime = EARLY) -> str:
    found = free_gaps(meetings, DAY, hours, ZoneInfo("UTC"), now)
    return ", ".join(f"{gap.begin:%H:%M}-{gap.end:%H:%M}" for gap in found)


def test_gaps_lie_before_between_and_after_the_meetings() -> None:
    assert gaps(met("14:00", "15:00"), met("10:00", "11:30")) == "09:00-10:00, 11:30-14:00, 15:00-18:00"


def test_meetings_that_overlap_or_touch_leave_nothing_between() -> None:
    assert gaps(met("09:00", "12:00"), met("10:00", "11:00"), met("12:00", "16:00")) == "16:00-18:00"


@pytest.mark.parametrize(("end", "found"), [("17:30", "17:30-18:00"), ("17:31", "")])
def test_a_gap_has_half_an_hour_at_least(end: str, found: str) -> None:
    assert gaps(met("09:00", end)) == found


def test_a_day_whose_working_hours_no_meeting_touches_names_none() -> None:
    assert gaps() == ""
    assert gaps(met("07:00", "09:00"), met("18:00", "19:00")) == ""
    assert gaps(met("07:00", "09:01")) == "09:01-18:00"


@pytest.mark.parametrize(
    "facts",
    [{"all_day": True}, {"transparent": True}, {"own_partstat": "DECLINED"}, {"status": "CANCELLED"}],
)
def test_only_meetings_that_occupy_their_reader_count(facts: dict[str, object]) -> None:
    assert gaps(met("10:00", "11:00"), met("13:00", "17:00", **facts)) == "09:00-10:00, 11:00-18:00"
    assert gaps(met("13:00", "17:00", **facts)) == ""


def test_an_invitation_that_is_not_answered_counts() -> None:
    assert gaps(met("09:00", "12:00", own_partstat="NEEDS-ACTION")) == "12:00-18:00"


def test_gaps_that_are_over_or_nearly_over_are_left_out() -> None:
    meetings = (met("10:00", "11:30"), met("14:00", "15:00"))
    for at, found in (
        ("10:00", "11:30-14:00, 15:00-18:00"),
        ("13:30", "11:30-14:00, 15:00-18:00"),
        ("13:31", "15:00-18:00"),
        ("18:00", ""),
    ):
        assert gaps(*meetings, now=datetime.combine(DAY, time.fromisoformat(at), UTC)) == found


def test_without_working_hours_no_gap_is_named() -> None:
    assert gaps(met("10:00", "11:00"), hours=None) == ""


@pytest.mark.parametrize(
    ("zone", "day", "expected"),
    [
        ("Europe/Berlin", date(2026, 3, 29), [("00:00", "01:30"), ("04:00", "08:00")]),  # 02:00 becomes 03:00
        ("Europe/Berlin", date(2026, 10, 25), [("00:00", "01:30"), ("04:00", "08:00")]),  # 03:00 becomes 02:00
        ("Africa/Cairo", date(2026, 4, 24), [("01:00", "01:30"), ("04:00", "08:00")]),  # midnight is skipped
    ],
)
def test_a_day_when_clocks_change_is_read_by_its_clocks(zone: str, day: date, expected: list[tuple[str, str]]) -> None:
    local = ZoneInfo(zone)
    begin, end = (instant(datetime.combine(day, at), local) for at in (time(1, 30), time(4)))
    found = free_gaps([Occurrence("a", "", begin, end)], day, WorkingHours(time(0), time(8)), local, EARLY)
    assert [tuple(f"{at.astimezone(local):%H:%M}" for at in (gap.begin, gap.end)) for gap in found] == expected


@given(st.data(), st.sampled_from(ODD_ZONES).map(ZoneInfo), st.dates(date(2000, 1, 1), date(2037, 1, 1)))
def test_gaps_are_what_a_walk_from_minute_to_minute_finds(data: st.DataObject, zone: ZoneInfo, day: date) -> None:
    first = data.draw(st.integers(0, 24 * 60 - 2))
    last = data.draw(st.integers(first + 1, 24 * 60 - 1))
    walls = [time(*divmod(minute, 60)) for minute in (first, last)]
    begin, end = (instant(datetime.combine(day, wall), zone) for wall in walls)
    now = begin + data.draw(st.integers(-10, 1500)) * MINUTE
    spans = st.tuples(st.integers(-300, 1500), st.integers(0, 300), st.booleans())
    drawn = data.draw(st.lists(spans, max_size=8))
    meetings = [
        Occurrence("a", "", begin + start * MINUTE, begin + (start + length) * MINUTE, transparent=free)
        for start, length, free in drawn
    ]
    taken = [(one.start, one.end) for one in meetings if not one.transparent]

    expected: list[tuple[datetime, datetime]] = []
    minutes = [begin + number * MINUTE for number in range(int((end - begin) / MINUTE))]
    run: list[datetime] = []
    for minute in [*minutes, None]:
        if minute is not None and not any(start <= minute < finish for start, finish in taken):
            run.append(minute)
            continue
        if sum(now <= free for free in run) * MINUTE >= LEAST_GAP:
            expected.append((run[0], run[-1] + MINUTE))
        run = []
    if not any(start <= minute < finish for minute in minutes for start, finish in taken):
        expected = []

    found = free_gaps(meetings, day, WorkingHours(*walls), zone, now)
    assert [(gap.begin, gap.end) for gap in found] == expected


def test_working_hours_are_two_times_or_none() -> None:
    assert parse_working_hours(" 9:00", "18:30") == WorkingHours(time(9), time(18, 30))
    assert parse_working_hours("", " ") is None


@pytest.mark.parametrize(
    ("begins", "ends", "field"),
    [
        ("9", "18:00", "work_from"),
        ("", "18:00", "work_from"),
        ("09:00", "24:00", "work_until"),
        ("09:00", "", "work_until"),
        ("09:00", "09:00", "work_until"),
        ("22:00", "06:00", "work_until"),
    ],
)
def test_bad_working_hours_name_their_field(begins: str, ends: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_working_hours(begins, ends)
    assert caught.value.field == field
