"""The expansion against arithmetic that shares nothing with it, over zones whose clocks change oddly."""

# ruff: noqa: DTZ001 - wall times

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.expansion import expand
from tests.unit.domain.icalendar_text import ODD_ZONES, calendar, instant

ZONES = st.sampled_from(ODD_ZONES).map(ZoneInfo)
WALLS = st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)).map(lambda at: at.replace(second=0, microsecond=0))


def _spelled(name: str, at: datetime, zone: ZoneInfo | None, params: str = "") -> str:
    """A property with an instant as `zone` writes it, or in UTC."""
    if zone is None:
        return f"{name}{params}:{at:%Y%m%dT%H%M%SZ}"
    return f"{name}{params};TZID={zone.key}:{at.astimezone(zone):%Y%m%dT%H%M%S}"


def _says_the_same(at: datetime, zone: ZoneInfo) -> bool:
    """Whether the wall time of `at` means `at` again: not the second pass of an hour that comes twice."""
    return instant(at.astimezone(zone).replace(tzinfo=None), zone) == at


@given(st.data(), ZONES, ZONES, WALLS)
def test_a_series_with_exceptions_is_what_arithmetic_says(
    data: st.DataObject, zone: ZoneInfo, other: ZoneInfo, first: datetime
) -> None:
    every_days = data.draw(st.integers(1, 9))
    count = data.draw(st.integers(1, 120))
    length = timedelta(minutes=data.draw(st.integers(1, 3000)))
    originals = [instant(first + timedelta(days=every_days * n), zone) for n in range(count)]
    places = {at: at for at in originals}
    lines = []
    overrides = []
    for at in data.draw(st.sets(st.sampled_from(originals), max_size=4)):
        spelled_in = data.draw(st.sampled_from([None, other]))
        lines.append(_spelled("EXDATE", at, spelled_in if spelled_in and _says_the_same(at, spelled_in) else None))
        places.pop(at)
    for at in data.draw(st.sets(st.sampled_from(originals), max_size=4)):
        moved = at + timedelta(minutes=data.draw(st.integers(-200_000, 200_000)))
        spelled_in = other if _says_the_same(at, other) else None
        recurrence_id = _spelled("RECURRENCE-ID", at, spelled_in)
        end = moved + length
        overrides.append(f"UID:s\n{recurrence_id}\n{_spelled('DTSTART', moved, None)}\n{_spelled('DTEND', end, None)}")
        if at in places:
            places[at] = moved
    minutes = int(length.total_seconds()) // 60
    master = (
        f"UID:s\nDTSTART;TZID={zone.key}:{first:%Y%m%dT%H%M%S}\nDURATION:PT{minutes}M\n"
        f"RRULE:FREQ=DAILY;INTERVAL={every_days};COUNT={count}\n" + "\n".join(lines)
    )
    begin = originals[0] + timedelta(days=data.draw(st.integers(-20, 400)), minutes=data.draw(st.integers(0, 1440)))
    window = (begin, begin + timedelta(minutes=data.draw(st.integers(1, 100_000))))

    found = expand(calendar(master, *overrides), window=window, zone=zone)

    expected = {
        (at.strftime("%Y%m%dT%H%M%SZ"), start, start + length)
        for at, start in places.items()
        if start < window[1] and start + length > window[0]
    }
    assert {(one.recurrence_id, one.start, one.end) for one in found.occurrences} == expected
    assert not found.problems


@given(ZONES, WALLS, st.integers(1, 10), st.integers(0, 400))
def test_an_all_day_series_covers_whole_local_days_of_the_user(
    zone: ZoneInfo, first: datetime, days: int, offset: int
) -> None:
    event = f"UID:d\nDTSTART;VALUE=DATE:{first:%Y%m%d}\nDURATION:P{days}D\nRRULE:FREQ=WEEKLY"
    begin = instant(first, zone) + timedelta(days=offset)
    window = (begin, begin + timedelta(days=20))
    found = expand(calendar(event), window=window, zone=zone)
    assert found.occurrences
    for one in found.occurrences:
        assert one.start_date is not None
        assert one.end_date is not None
        assert (one.start_date - first.date()).days % 7 == 0
        assert (one.end_date - one.start_date).days == days
        second = timedelta(seconds=1)
        assert (one.start - second).astimezone(zone).date() < one.start_date or one.start_date.year == 2011
        assert one.start.astimezone(zone).date() >= one.start_date
        assert one.end.astimezone(zone).date() >= one.end_date


@given(WALLS, ZONES, ZONES, st.integers(-2000, 2000))
def test_a_single_meeting_is_where_its_zone_says_whatever_the_user_s_zone(
    wall: datetime, zone: ZoneInfo, user: ZoneInfo, offset_minutes: int
) -> None:
    at = instant(wall, zone)
    window = (at + timedelta(minutes=offset_minutes), at + timedelta(minutes=offset_minutes + 600))
    raw = calendar(f"UID:a\nDTSTART;TZID={zone.key}:{wall:%Y%m%dT%H%M%S}\nDURATION:PT1H")
    found = expand(raw, window=window, zone=user)
    inside = window[0] - timedelta(hours=1) < at < window[1]
    assert [(one.start, one.end) for one in found.occurrences] == ([(at, at + timedelta(hours=1))] if inside else [])
    assert all(one.start.tzinfo is UTC for one in found.occurrences)
