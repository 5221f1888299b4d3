"""When mailings go out: each time of a rule once, on days when clocks change too, and after a downtime never a burst."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.domain.organisations import timetable
from switchboard.domain.organisations.timetable import GRACE, LEAST_BETWEEN, Due
from switchboard.errors import InvalidInputError

BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def local_times(rule: str, after: str, zone: ZoneInfo, count: int) -> list[str]:
    found = islice(timetable.instants(rule, datetime.fromisoformat(after).replace(tzinfo=zone), zone), count)
    return [f"{one.astimezone(zone):%d %H:%M %z}" for one in found]


@pytest.mark.parametrize(
    ("zone", "rule", "before", "expected"),
    [
        # clocks skip 02:00 to 03:00
        (BERLIN, "30 2 * * *", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:30 +0200"]),
        (BERLIN, "*/30 2 * * *", "2026-03-28 12:00", ["29 03:00 +0200", "30 02:00 +0200"]),
        (BERLIN, "*/15 * * * *", "2026-03-29 01:40", ["29 01:45 +0100", "29 03:00 +0200", "29 03:15 +0200"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["08 03:00 -0400", "09 02:30 -0400"]),
        (NEW_YORK, "0,30 2,3 * * *", "2026-03-07 12:00", ["08 03:00 -0400", "08 03:30 -0400", "09 02:00 -0400"]),
        # 02:00 to 03:00 and 01:00 to 02:00 come twice
        (BERLIN, "30 2 * * *", "2026-10-24 12:00", ["25 02:30 +0200", "26 02:30 +0100"]),
        (BERLIN, "0 * * * *", "2026-10-25 01:30", ["25 02:00 +0200", "25 03:00 +0100", "25 04:00 +0100"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", ["01 01:30 -0400", "02 01:30 -0500"]),
        (NEW_YORK, "*/30 1 * * *", "2026-10-31 12:00", ["01 01:00 -0400", "01 01:30 -0400", "02 01:00 -0500"]),
    ],
)
def test_a_time_that_is_skipped_or_comes_twice_is_one_time(
    zone: ZoneInfo, rule: str, before: str, expected: list[str]
) -> None:
    assert local_times(rule, before, zone, len(expected)) == expected


def test_between_the_two_passes_of_an_hour_nothing_comes_again() -> None:
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)
    assert timetable.next_instant("*/15 * * * *", second_pass, BERLIN) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.sampled_from(["0", "30", "*/15", "0,45", "59", "*/20"]),
    hours=st.sampled_from(["*", "0", "1", "2", "1-3", "*/2", "2,3", "23"]),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut", "America/Santiago"]
    ),
    begin=st.integers(0, 3 * 365 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes)),
)
def test_every_local_date_has_its_times_once_and_in_order(minutes: str, hours: str, zone: str, begin: datetime) -> None:
    rule, clocks = f"{minutes} {hours} * * *", ZoneInfo(zone)
    found = list(islice(timetable.instants(rule, begin, clocks), 200))
    assert begin < found[0]
    assert all(one < following for one, following in pairwise(found))
    shown = [one.astimezone(clocks).replace(tzinfo=None) for one in found]
    assert len(set(shown)) == len(shown)
    dates = {one.date() for one in shown}
    assert all((min(dates) + timedelta(days=day)) in dates for day in range((max(dates) - min(dates)).days))
    assert timetable.next_instant(rule, found[2], clocks) == found[3]


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("", "five fields"),
        ("@daily", "five fields"),
        ("0 0 9 * * MON", "five fields"),
        ("61 * * * *", "the minute (first field) is 0 to 59"),
        ("0 24 * * *", "the hour (second field)"),
        ("0 9 0 * *", "the day of the month (third field)"),
        ("0 9 * 13 *", "the month (fourth field)"),
        ("0 9 * * MO", "the day of the week (fifth field)"),
        ("0 9 * * 5-1", "the day of the week (fifth field)"),
        ("* * * * *", "every 15 minutes at most"),
        ("*/14 9 * * *", "every 15 minutes at most"),
        ("5,55 0,23 * * *", "every 15 minutes at most"),
        ("0 9 30 2 *", "no month of this rule has such a day"),
        ("0 9 */31 2 1#5", "it would never go out"),
        ("0 " * 60, "at most 100 characters"),
    ],
)
def test_a_wrong_rule_is_refused_with_what_is_right(rule: str, complaint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        timetable.check(rule, NOW, BERLIN)
    assert complaint in str(caught.value)
    assert caught.value.field == "rule"


@pytest.mark.parametrize(
    "rule", ["*/15 * * * *", "0 9 * * mon-fri", "0 9 L * *", "0 9 * * MON#1", "5,55 0,23 1 * *", "0 0 29 2 *"]
)
def test_a_right_rule_is_kept_in_one_spelling(rule: str) -> None:
    assert timetable.check(f"  {rule.replace(' ', '   ')} ", NOW, BERLIN) == rule.upper()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("0123456789*/,-#LWMONSU", min_size=1, max_size=8), min_size=5, max_size=5))
def test_any_rule_is_taken_or_refused_in_words(fields: list[str]) -> None:
    try:
        rule = timetable.check(" ".join(fields), NOW, BERLIN)
    except InvalidInputError:
        return
    first, second = islice(timetable.instants(rule, NOW, BERLIN), 2)
    assert second - first >= LEAST_BETWEEN


def test_a_time_that_was_missed_by_less_than_the_grace_is_due() -> None:
    at = NOW - GRACE
    assert timetable.due("0 7 * * *", at, NOW, ZoneInfo("UTC")) == Due(at, 0, None)


def test_a_time_that_was_missed_by_more_is_left_out() -> None:
    at = NOW - GRACE
    late = NOW + timedelta(seconds=1)
    assert timetable.due("0 7 * * *", at, late, ZoneInfo("UTC")) == Due(None, 1, at)


def test_of_several_times_that_were_missed_the_latest_is_due() -> None:
    first = NOW - timedelta(days=3)
    assert timetable.due("*/15 * * * *", first, NOW, BERLIN) == Due(NOW, 3 * 96, first)
    assert timetable.due("0 3 * * *", first.replace(hour=3), NOW, ZoneInfo("UTC")) == Due(
        None, 4, first.replace(hour=3)
    )


def test_a_long_downtime_is_counted_no_further_than_needed() -> None:
    first = NOW - timedelta(days=365)
    assert timetable.due("*/15 * * * *", first, NOW, BERLIN) == Due(NOW, timetable.MOST_COUNTED, first)


def test_a_time_that_new_rules_of_a_zone_moved_is_still_due() -> None:
    """What stands as next was computed with older ones."""
    at = NOW - timedelta(minutes=30)
    assert timetable.due("0 9 * * *", at, NOW - timedelta(minutes=1), ZoneInfo("UTC")) == Due(at, 0, None)
