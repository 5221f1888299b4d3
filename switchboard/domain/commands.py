"""What a person types after the slash command: which command it is, and which days it asks for."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from switchboard.errors import InvalidInputError

MAX_RANGE_DAYS = 62
MAX_WORD_CHARS = 40
YEARS = range(1970, 2101)
_DAY = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_DATE_OPTIONS = ("--date", "--from", "--to", "--from_date", "--to_date")


class Command(StrEnum):
    """Every command; the value is what a person types."""

    CONNECT = "connections connect"
    UPDATE = "connections update"
    DISCONNECT = "connections disconnect"
    PROFILE = "connections profile"
    TODAY = "calendars today"
    CURRENT = "calendars current"
    FROM_TO = "calendars from_to"
    WEEK = "calendars get_a_week"
    MONTH = "calendars get_a_month"
    REFRESH = "calendars refresh"
    CREATE = "notifications create"
    CHANGE = "notifications update"
    DELETE = "notifications delete"
    CHECK_ACCOUNT = "checks check_account"
    CHECK_SCHEDULER = "checks check_scheduler"
    INFO = "info"

    @property
    def group(self) -> str:
        """The first word."""
        return self.value.partition(" ")[0]

    @property
    def word(self) -> str:
        """The last word, which tells it apart within its group."""
        return self.value.rpartition(" ")[2]


GROUPS: tuple[str, ...] = tuple(dict.fromkeys(command.group for command in Command))


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A line that was read: `command` is None for a bare line, a group alone, and an unknown word (`unknown` repeats it)."""

    command: Command | None
    group: str = ""
    arguments: tuple[str, ...] = ()
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class DayRange:
    """Local days from `first` to `last`, both included."""

    first: date
    last: date

    @property
    def days(self) -> tuple[date, ...]:
        """Each day."""
        return tuple(self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1))


class BadDayError(InvalidInputError):
    """A text that is no date; `text` is what was typed."""

    def __init__(self, text: str, field: str) -> None:
        super().__init__("a date is written dd.mm.yyyy, for example 21.11.2026", field=field)
        self.text = text[:MAX_WORD_CHARS]


class ReversedRangeError(InvalidInputError):
    """The last day is before the first."""

    def __init__(self) -> None:
        super().__init__("the last day is before the first", field="last")


class TooLongRangeError(InvalidInputError):
    """More than MAX_RANGE_DAYS days."""

    def __init__(self) -> None:
        super().__init__(f"at most {MAX_RANGE_DAYS} days at once", field="last")


class WrongDayCountError(InvalidInputError):
    """More or fewer dates than the command takes."""

    def __init__(self, expected: int) -> None:
        super().__init__(f"this command takes {expected} dates", field="days")
        self.expected = expected


def parse_command(text: str) -> CommandLine:
    """The command in `text`, in any case; a word that only one group knows may stand alone (`today`)."""
    words = text.split()
    if not words:
        return CommandLine(None)
    first, rest = words[0].lower(), words[1:]
    alone = [command for command in Command if first == command.word]
    if len(alone) == 1:
        return CommandLine(alone[0], alone[0].group, tuple(rest))
    if first not in GROUPS:
        return CommandLine(None, unknown=words[0][:MAX_WORD_CHARS])
    if not rest:
        return CommandLine(None, first)
    for command in Command:
        if (first, rest[0].lower()) == (command.group, command.word):
            return CommandLine(command, first, tuple(rest[1:]))
    return CommandLine(None, first, unknown=f"{first} {rest[0][:MAX_WORD_CHARS]}")


def parse_day(text: str, field: str = "day") -> date:
    """`21.11.2026` (or `2026-11-21`, as date fields of dialogs write it) as a date; BadDayError otherwise."""
    found = _DAY.fullmatch(text.strip())
    try:
        day = date(int(found[3]), int(found[2]), int(found[1])) if found else date.fromisoformat(text.strip())
    except ValueError:
        raise BadDayError(text, field) from None
    if day.year not in YEARS:
        raise BadDayError(text, field)
    return day


def day_range(first: date, last: date) -> DayRange:
    """The range; ReversedRangeError or TooLongRangeError where there is none."""
    if last < first:
        raise ReversedRangeError
    if (last - first).days >= MAX_RANGE_DAYS:
        raise TooLongRangeError
    return DayRange(first, last)


def asked_days(command: Command, arguments: Sequence[str], today: date) -> DayRange | None:
    """The days that an agenda command asks for; None where it needs dates and none were typed.

    Week: today and the next six days. Month: to the same day of the next month, or its last. Raises BadDayError,
    WrongDayCountError, ReversedRangeError, TooLongRangeError.
    """
    if command is Command.TODAY:
        return DayRange(today, today)
    if command is Command.WEEK:
        return DayRange(today, today + timedelta(days=6))
    if command is Command.MONTH:
        return DayRange(today, _a_month_later(today))
    dates = _dates(arguments)
    if not dates:
        return None
    expected = 2 if command is Command.FROM_TO else 1
    if len(dates) != expected:
        raise WrongDayCountError(expected)
    days = [parse_day(text) for text in dates]
    return day_range(days[0], days[-1])


def _dates(arguments: Sequence[str]) -> list[str]:
    """The arguments without the names of options: `--date 21.11.2026` and `--date=21.11.2026` are the date alone."""
    dates = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if name in _DATE_OPTIONS:
            dates += [value] if equals else []
        else:
            dates.append(argument)
    return dates


def _a_month_later(day: date) -> date:
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
