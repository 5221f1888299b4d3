"""Days and agenda times over zones whose clocks change oddly."""

# ruff: noqa: DTZ001 - hypothesis adds the zone

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.wall_clock import (
    EVERY_DAY,
    agenda_is_still_useful,
    agenda_times,
    day_window,
    next_agenda,
    parse_agenda_time,
    parse_zone,
    start_of_day,
    to_utc,
)
from switchboard.errors import InvalidInputError
from tests.unit.domain.icalendar_text import ODD_ZONES, instant

ZONES = st.sampled_from(ODD_ZONES).map(ZoneInfo)
DATES = st.dates(date(2000, 1, 2), date(2037, 12, 30))
INSTANTS = st.datetimes(datetime(2000, 1, 2), datetime(2037, 12, 30), timezones=st.just(UTC))
TIMES = st.sampled_from(agenda_times())
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Europe/Moscow", "2026-03-29", 24),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Beirut", "2026-03-29", 23),
        ("Africa/Cairo", "2026-04-24", 23),
        ("America/Santiago", "2026-09-06", 23),
        ("America/Santiago", "2026-04-04", 25),
        ("Pacific/Apia", "2011-12-30", 0),
    ],
)
def test_a_local_day_is_as_long_as_its_clock_says(zone: str, day: str, hours: float) -> None:
    begin, end = day_window(date.fromisoformat(day), ZoneInfo(zone))
    assert end - begin == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("zone", "day"), [("Asia/Beirut", "2026-03-29"), ("Africa/Cairo", "2026-04-24"), ("America/Santiago", "2026-09-06")]
)
def test_a_day_whose_midnight_is_skipped_begins_at_one(zone: str, day: str) -> None:
    begin = start_of_day(date.fromisoformat(day), ZoneInfo(zone)).astimezone(ZoneInfo(zone))
    assert (begin.date().isoformat(), begin.time()) == (day, time(1))


@given(DATES, ZONES)
def test_days_touch_and_hold_exactly_their_own_times(day: date, zone: ZoneInfo) -> None:
    begin, end = day_window(day, zone)
    assert start_of_day(day + timedelta(days=1), zone) == end
    assert begin <= end
    if begin == end:
        assert (zone.key, day) == ("Pacific/Apia", date(2011, 12, 30))
        return
    assert begin.astimezone(zone).date() == day
    assert (begin - SECOND).astimezone(zone).date() < day
    assert end.astimezone(zone).date() > day
    assert begin.tzinfo is UTC


@given(DATES, TIMES, ZONES)
def test_a_wall_time_is_the_instant_that_shows_it(day: date, at: time, zone: ZoneInfo) -> None:
    assert to_utc(day, at, zone) == instant(datetime.combine(day, at), zone)


@given(INSTANTS, TIMES, ZONES, st.sets(st.integers(0, 6), min_size=1))
def test_the_next_agenda_is_the_first_one_after_now(
    now: datetime, at: time, zone: ZoneInfo, weekdays: set[int]
) -> None:
    day, fire_at = next_agenda(now, zone, at, weekdays)
    first = now.astimezone(zone).date() - timedelta(days=2)
    candidates = [first + timedelta(days=n) for n in range(12)]
    expected = min(
        (instant(datetime.combine(candidate, at), zone), candidate)
        for candidate in candidates
        if candidate.weekday() in weekdays
        and (zone.key, candidate) != ("Pacific/Apia", date(2011, 12, 30))
        and instant(datetime.combine(candidate, at), zone) > now
    )
    assert (fire_at, day) == expected


@given(INSTANTS, TIMES, ZONES)
def test_a_year_of_agendas_has_one_for_each_local_date(now: datetime, at: time, zone: ZoneInfo) -> None:
    seen = []
    for _ in range(20):
        day, now = next_agenda(now, zone, at, EVERY_DAY)
        seen.append(day)
    skipped = {date(2011, 12, 30)} if zone.key == "Pacific/Apia" else set()
    whole = [seen[0] + timedelta(days=n) for n in range((seen[-1] - seen[0]).days + 1)]
    assert seen == [day for day in whole if day not in skipped]


def test_an_agenda_in_a_gap_comes_shifted_and_in_an_overlap_once() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    gap = next_agenda(datetime(2026, 3, 28, 12, tzinfo=UTC), berlin, time(2, 30), EVERY_DAY)
    assert gap == (date(2026, 3, 29), datetime(2026, 3, 29, 1, 30, tzinfo=UTC))
    first = next_agenda(datetime(2026, 10, 24, 12, tzinfo=UTC), berlin, time(2, 30), EVERY_DAY)
    assert first == (date(2026, 10, 25), datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    assert next_agenda(first[1], berlin, time(2, 30), EVERY_DAY)[0] == date(2026, 10, 26)


def test_a_date_that_never_was_has_no_agenda() -> None:
    apia = ZoneInfo("Pacific/Apia")
    day, fire_at = next_agenda(datetime(2011, 12, 29, 12, tzinfo=UTC), apia, time(8), EVERY_DAY)
    assert (day, fire_at) == (date(2011, 12, 29), datetime(2011, 12, 29, 18, tzinfo=UTC))
    assert next_agenda(fire_at, apia, time(8), EVERY_DAY) == (
        date(2011, 12, 31),
        datetime(2011, 12, 30, 18, tzinfo=UTC),
    )


def test_only_chosen_weekdays_have_an_agenda_and_none_is_an_error() -> None:
    friday = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert next_agenda(friday, ZoneInfo("Europe/Moscow"), time(7), {0, 1, 2, 3, 4})[0] == date(2026, 11, 23)
    with pytest.raises(InvalidInputError) as caught:
        next_agenda(friday, ZoneInfo("Europe/Moscow"), time(7), set())
    assert caught.value.field == "weekdays"


@pytest.mark.parametrize(
    ("at", "now", "useful"),
    [
        (time(7), "2026-11-21T06:59:59+03:00", False),
        (time(7), "2026-11-21T07:00:00+03:00", True),
        (time(7), "2026-11-21T11:00:00+03:00", True),
        (time(7), "2026-11-21T11:00:01+03:00", False),
        (time(22), "2026-11-21T23:59:59+03:00", True),
        (time(22), "2026-11-22T00:00:00+03:00", False),
    ],
)
def test_a_late_agenda_is_useful_on_its_day_for_four_hours(at: time, now: str, useful: bool) -> None:
    zone = ZoneInfo("Europe/Moscow")
    day = date(2026, 11, 21)
    instant_now = datetime.fromisoformat(now).astimezone(UTC)
    assert agenda_is_still_useful(day, to_utc(day, at, zone), instant_now, zone) is useful


def test_the_grid_of_agenda_times_is_a_day_in_quarters_of_an_hour() -> None:
    grid = agenda_times()
    assert (len(grid), grid[0], grid[1], grid[-1]) == (96, time(0), time(0, 15), time(23, 45))
    assert parse_agenda_time(" 7:30 ") == parse_agenda_time("07:30") == time(7, 30)
    for wrong in ("07:31", "24:00", "7", "", "seven"):
        with pytest.raises(InvalidInputError):
            parse_agenda_time(wrong)


def test_a_zone_is_found_in_any_case() -> None:
    assert parse_zone(" europe/moscow ").key == "Europe/Moscow"
    assert parse_zone("America/New York").key == "America/New_York"


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("Moscow", "Europe/Moscow"),
        ("Europe/Moskow", "Europe/Moscow"),
        ("Europe/Kyev", "Europe/Kyiv"),
        ("Asia/Berlin", "Europe/Berlin"),
    ],
)
def test_an_unknown_zone_is_answered_with_close_names(text: str, suggestion: str) -> None:
    with pytest.raises(InvalidInputError, match=suggestion) as caught:
        parse_zone(text)
    assert caught.value.field == "zone"


@pytest.mark.parametrize("text", ["", "../etc/passwd", "/etc/localtime", "Europe", "x" * 100_000, "\x00"])
def test_what_is_no_zone_at_all_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        parse_zone(text)
