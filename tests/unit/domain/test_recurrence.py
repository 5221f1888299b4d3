"""RRULE: compared with dateutil where dateutil is right, and bounded where dateutil is not."""

# ruff: noqa: DTZ001 - rules are walked in wall time

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import islice
from time import process_time

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given
from hypothesis import strategies as st

from switchboard.domain.calendar.recurrence import RecurrenceError, Steps, parse_rule, walk

DAYS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]


def _some(values: st.SearchStrategy[str], most: int = 3) -> st.SearchStrategy[str]:
    return st.lists(values, min_size=1, max_size=most, unique=True).map(",".join)


def _numbers(low: int, high: int, *, signed: bool = False) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return _some((number | number.map(lambda n: -n) if signed else number).map(str))


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules of the shapes that RFC 5545 allows for each frequency."""
    freq = draw(st.sampled_from(["YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY"]))
    parts = {"FREQ": freq, "INTERVAL": str(draw(st.integers(1, 5)))}
    options = {
        "BYMONTH": _numbers(1, 12),
        "BYDAY": _some(st.sampled_from(DAYS)),
        "WKST": st.sampled_from(["MO", "SU", "TH"]),
        "BYMINUTE": _numbers(0, 59),
    }
    if freq in {"YEARLY", "MONTHLY"}:
        # dateutil joins plain and numbered weekdays of one list by "and", RFC 5545 by "or": the lists here are of one kind.
        numbered = st.builds("{}{}".format, st.sampled_from(["1", "2", "-1", "5"]), st.sampled_from(DAYS))
        options["BYDAY"] = _some(st.sampled_from(DAYS)) | _some(numbered)
        options["BYSETPOS"] = _numbers(1, 3, signed=True)
    if freq != "WEEKLY":
        options["BYMONTHDAY"] = _numbers(1, 31, signed=True)
    if freq == "YEARLY":
        options["BYYEARDAY"] = _numbers(1, 366, signed=True)
        options["BYWEEKNO"] = _numbers(1, 53, signed=True)
    if freq != "HOURLY":
        options["BYHOUR"] = _numbers(0, 23)
    for name in draw(st.lists(st.sampled_from(sorted(options)), max_size=3, unique=True)):
        parts[name] = draw(options[name])
    if "BYWEEKNO" in parts and any(char.isdigit() for char in parts.get("BYDAY", "")):
        del parts["BYWEEKNO"]
    if "BYSETPOS" in parts and len(parts) == 3:
        del parts["BYSETPOS"]
    return ";".join(f"{name}={value}" for name, value in parts.items())


@given(rules(), st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)), st.integers(0, 4000), st.integers(1, 500))
def test_a_rule_gives_what_dateutil_gives(text: str, start: datetime, offset_days: int, length_days: int) -> None:
    start = start.replace(microsecond=0)
    after = start + timedelta(days=offset_days)
    before = after + timedelta(days=length_days)
    oracle = {one for one in rrulestr(f"{text};UNTIL={before:%Y%m%dT%H%M%S}", dtstart=start) if one >= after}
    assert set(walk(parse_rule(text), start, after=after, before=before)) - {start} == oracle - {start}


@given(rules(), st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)), st.integers(1, 40), st.integers(0, 400))
def test_count_is_counted_from_the_first_meeting(text: str, start: datetime, count: int, offset_days: int) -> None:
    end = start.replace(microsecond=0) + timedelta(days=3000)
    first = next(iter(rrulestr(f"{text};UNTIL={end:%Y%m%dT%H%M%S}", dtstart=start.replace(microsecond=0))), None)
    assume(first is not None)
    assert first is not None
    after = first + timedelta(days=offset_days)
    oracle = list(islice(rrulestr(f"{text};UNTIL={end:%Y%m%dT%H%M%S}", dtstart=first), count))
    assume(oracle[:1] == [first])
    found = list(walk(parse_rule(f"{text};COUNT={count}"), first, after=after, before=end))
    assert found == [one for one in oracle if one >= after]


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;BYWEEKNO=-1,1,20,53;BYDAY=MO,SU",
        "FREQ=YEARLY;BYWEEKNO=-53,52;BYDAY=WE;WKST=SU",
        "FREQ=YEARLY;BYYEARDAY=-1,1,-366,100",
        "FREQ=YEARLY;BYDAY=20MO,-1FR",
        "FREQ=YEARLY;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
        "FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=MONTHLY;BYMONTHDAY=-1,31",
        "FREQ=MONTHLY;INTERVAL=18;BYMONTHDAY=10,11,12",
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU",
        "FREQ=DAILY;INTERVAL=10;BYHOUR=9,17;BYMINUTE=0,30",
        "FREQ=HOURLY;INTERVAL=7;BYHOUR=8,9,10",
    ],
)
def test_rules_of_each_shape_give_what_dateutil_gives_over_thirty_years(text: str) -> None:
    start, before = datetime(2000, 2, 29, 9, 30), datetime(2030, 1, 1)
    oracle = set(rrulestr(f"{text};UNTIL={before:%Y%m%dT%H%M%S}", dtstart=start))
    assert len(oracle) > 10
    for after in (start, datetime(2012, 7, 4, 12)):
        found = list(walk(parse_rule(text), start, after=after, before=before))
        assert found == sorted(set(found))
        assert set(found) - {start} == {one for one in oracle if one >= after} - {start}


def test_the_first_meeting_counts_even_where_the_rule_would_not_make_it() -> None:
    sunday = datetime(2026, 3, 1, 9)
    found = walk(parse_rule("FREQ=WEEKLY;BYDAY=MO;COUNT=3"), sunday, after=sunday, before=datetime(2026, 12, 1))
    assert list(found) == [sunday, datetime(2026, 3, 2, 9), datetime(2026, 3, 9, 9)]


def test_plain_and_numbered_weekdays_of_one_list_are_alternatives() -> None:
    start = datetime(2026, 3, 4, 9)
    found = walk(parse_rule("FREQ=MONTHLY;BYDAY=WE,2MO"), start, after=start, before=datetime(2026, 3, 20))
    assert [one.day for one in found] == [4, 9, 11, 18]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "FREQ",
        "FREQ=",
        "FREQ=SOMETIMES",
        "FREQ=SECONDLY",
        "FREQ=MINUTELY;INTERVAL=15",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=DAILY;INTERVAL=99999999999999999999",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=x",
        "FREQ=DAILY;UNTIL=tomorrow",
        "FREQ=DAILY;UNTIL=20261341",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=MONTHLY;BYDAY=0MO",
        "FREQ=MONTHLY;BYMONTHDAY=0",
        "FREQ=MONTHLY;BYMONTHDAY=32",
        "FREQ=YEARLY;BYSETPOS=0",
        "FREQ=DAILY;BYHOUR=24",
        "FREQ=DAILY;BYSECOND=" + ",".join(map(str, range(60))) + ";BYMINUTE=" + ",".join(map(str, range(60))),
        "FREQ=HOURLY;BYMINUTE=0,10,20,30,40,50",
        "FREQ=YEARLY;BYYEARDAY=" + ",".join(["1"] * 100_000),
        "RSCALE=CHINESE;FREQ=YEARLY",
    ],
)
def test_a_rule_that_asks_for_nonsense_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(RecurrenceError):
        parse_rule(text)


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=300",
        "FREQ=DAILY;UNTIL=99991231T235959Z",
        "FREQ=HOURLY;BYHOUR=5;INTERVAL=24",
    ],
)
@pytest.mark.parametrize("year", [1001, 1970, 2026])
def test_a_rule_that_never_matches_or_began_long_ago_costs_only_its_window(text: str, year: int) -> None:
    begun = process_time()
    after = datetime(2026, 3, 1)
    list(walk(parse_rule(text), datetime(year, 1, 1, 4), after=after, before=after + timedelta(days=60)))
    assert process_time() - begun < 3


def test_a_count_too_far_to_be_counted_is_refused_and_not_walked_forever() -> None:
    after = datetime(2026, 3, 1)
    found = walk(
        parse_rule("FREQ=HOURLY;COUNT=100000000"), datetime(1950, 1, 1), after=after, before=after + timedelta(1)
    )
    with pytest.raises(RecurrenceError):
        list(found)


def test_walks_that_share_their_steps_stop_together() -> None:
    steps = Steps(1_000)
    rule = parse_rule("FREQ=DAILY;COUNT=600")
    start, end = datetime(2020, 1, 1), datetime(2030, 1, 1)
    assert len(list(walk(rule, start, after=start, before=end, together=steps))) == 600
    with pytest.raises(RecurrenceError):
        list(walk(rule, start, after=start, before=end, together=steps))
