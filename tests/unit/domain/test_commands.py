"""Reading what a person typed."""

from __future__ import annotations

import contextlib
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.commands import (
    MAX_RANGE_DAYS,
    BadDayError,
    Command,
    CommandLine,
    DayRange,
    ReversedRangeError,
    TooLongRangeError,
    WrongDayCountError,
    asked_days,
    day_range,
    parse_command,
    parse_day,
)

TODAY = date(2026, 11, 21)


@pytest.mark.parametrize("command", list(Command))
def test_every_command_is_read_in_any_case_and_with_any_spaces(command: Command) -> None:
    assert parse_command(f"  {command.value.upper().replace(' ', '   ')} x ") == CommandLine(
        command, command.group, ("x",)
    )


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("", CommandLine(None)),
        ("   ", CommandLine(None)),
        ("calendars", CommandLine(None, "calendars")),
        ("calendars yesterday", CommandLine(None, "calendars", unknown="calendars yesterday")),
        ("help me", CommandLine(None, unknown="help")),
        ("today", CommandLine(Command.TODAY, "calendars")),
        ("update", CommandLine(None, unknown="update")),  # connections and notifications both know it
        ("x" * 5000, CommandLine(None, unknown="x" * 40)),
    ],
)
def test_what_is_no_command_says_so_and_what_only_one_group_knows_may_stand_alone(line: str, read: CommandLine) -> None:
    assert parse_command(line) == read


@given(st.text(max_size=200))
def test_no_line_breaks_the_reading(line: str) -> None:
    parse_command(line)
    with contextlib.suppress(BadDayError):
        parse_day(line)


@pytest.mark.parametrize("text", ["21.11.2026", "2026-11-21", " 21.11.2026 "])
def test_a_date_is_read_as_people_and_as_dialogs_write_it(text: str) -> None:
    assert parse_day(text) == TODAY


@pytest.mark.parametrize("text", ["31.02.2026", "11.21.2026", "21.11.26", "tomorrow", "", "01.01.9999", "١٢.١١.٢٠٢٦x"])
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(BadDayError):
        parse_day(text)


@pytest.mark.parametrize(
    "arguments",
    [("21.11.2026",), ("--date", "21.11.2026"), ("--date=21.11.2026",)],
)
def test_current_takes_its_date_plain_or_as_an_option(arguments: tuple[str, ...]) -> None:
    assert asked_days(Command.CURRENT, arguments, date(2020, 1, 1)) == DayRange(TODAY, TODAY)


@pytest.mark.parametrize(
    ("command", "last"),
    [(Command.TODAY, TODAY), (Command.WEEK, date(2026, 11, 27)), (Command.MONTH, date(2026, 12, 21))],
)
def test_a_week_is_today_and_six_days_and_a_month_ends_on_the_same_day_of_the_next(
    command: Command, last: date
) -> None:
    assert asked_days(command, (), TODAY) == DayRange(TODAY, last)


@pytest.mark.parametrize(
    ("today", "last"),
    [(date(2027, 1, 31), date(2027, 2, 28)), (date(2026, 12, 31), date(2027, 1, 31))],
)
def test_a_month_ends_at_the_latest_on_the_last_day_of_the_next(today: date, last: date) -> None:
    assert asked_days(Command.MONTH, (), today) == DayRange(today, last)


def test_without_dates_a_dialog_is_needed() -> None:
    assert asked_days(Command.CURRENT, (), TODAY) is None
    assert asked_days(Command.FROM_TO, (), TODAY) is None


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(Command.CURRENT, ("21.11.2026", "22.11.2026")), (Command.FROM_TO, ("21.11.2026",))],
)
def test_another_number_of_dates_is_refused(command: Command, arguments: tuple[str, ...]) -> None:
    with pytest.raises(WrongDayCountError):
        asked_days(command, arguments, TODAY)


def test_ranges_are_in_order_and_bounded() -> None:
    assert len(day_range(date(2026, 1, 1), date(2026, 3, 3)).days) == MAX_RANGE_DAYS
    with pytest.raises(TooLongRangeError):
        day_range(date(2026, 1, 1), date(2026, 3, 4))
    with pytest.raises(ReversedRangeError):
        day_range(date(2026, 1, 2), date(2026, 1, 1))
