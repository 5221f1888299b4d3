"""Quiet hours: wall times of a zone, over midnight and over clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.quiet_hours import parse_quiet_hours, quiet_hours_end
from switchboard.errors import InvalidInputError

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "begins", "ends", "over"),
    [
        ("2026-03-02T20:59", "22:00", "08:00", None),
        ("2026-03-02T21:00", "22:00", "08:00", "2026-03-03T07:00"),
        ("2026-03-03T06:59", "22:00", "08:00", "2026-03-03T07:00"),
        ("2026-03-03T07:00", "22:00", "08:00", None),
        ("2026-03-03T12:30", "13:00", "14:00", "2026-03-03T13:00"),
        ("2026-03-28T22:00", "22:00", "08:00", "2026-03-29T06:00"),  # the clocks go forward in this night
        ("2026-10-24T21:00", "22:00", "08:00", "2026-10-25T07:00"),  # and back
        ("2026-03-29T00:30", "02:30", "04:00", None),  # 02:30 is skipped: it is 03:30
        ("2026-03-29T01:30", "02:30", "04:00", "2026-03-29T02:00"),
    ],
)
def test_quiet_hours_follow_the_wall_clock(now: str, begins: str, ends: str, over: str | None) -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    found = quiet_hours_end(at(now), BERLIN, time.fromisoformat(begins), time.fromisoformat(ends))
    assert found == (at(over) if over else None)


def test_without_both_times_it_is_never_quiet() -> None:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    assert quiet_hours_end(now, BERLIN, None, None) is None
    assert quiet_hours_end(now, BERLIN, time(0), None) is None


def test_two_times_or_none_are_read() -> None:
    assert parse_quiet_hours(" 22:00", "8:05 ") == (time(22), time(8, 5))
    assert parse_quiet_hours("", " ") == (None, None)


@pytest.mark.parametrize(
    ("begins", "ends", "field"),
    [
        ("22", "08:00", "quiet_from"),
        ("22:00", "", "quiet_until"),
        ("22:00", "24:00", "quiet_until"),
        ("22:60", "08:00", "quiet_from"),
        ("22:00", "22:00", "quiet_until"),
        ("22:00", "٠٨:٠٠x", "quiet_until"),
    ],
)
def test_anything_else_is_refused_at_its_field(begins: str, ends: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_quiet_hours(begins, ends)
    assert caught.value.field == field
