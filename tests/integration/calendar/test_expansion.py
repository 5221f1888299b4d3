"""Expansion of stored objects into occurrences and reminders, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, text

from switchboard.db.models import Calendar, CalendarAccount, CalendarObject, CalendarOccurrence, CalendarReminder
from switchboard.domain.calendar.expansion import expand as expand_object
from switchboard.services.calendar import expansion as module
from switchboard.services.calendar.expansion import BATCH, BUDGET, HORIZON, HORIZON_SLACK, MAX_ATTEMPTS
from tests.integration.calendar.household import NOW, Household, ics, meeting

BERLIN = """BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE
"""
DAILY = ics("UID:daily\nDTSTART:20260301T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY")


class Killed(BaseException):
    """The worker dies."""


@pytest.fixture
def calendar(household: Household) -> Calendar:
    return household.calendar(household.person("anna"))


def on_each(monkeypatch: pytest.MonkeyPatch, before: Callable[[bytes], object]) -> None:
    """Call `before` with each object that is about to be expanded."""
    original = expand_object

    def expand(raw: bytes, **options: Any) -> object:
        before(raw)
        return original(raw, **options)

    monkeypatch.setattr(module, "expand", expand)


def uids(household: Household) -> set[str]:
    return {occurrence.uid for occurrence in household.occurrences()}


def test_a_series_is_expanded_to_the_horizon_with_overrides_and_exceptions(
    household: Household, calendar: Calendar
) -> None:
    series = ics(
        "UID:w\nDTSTART:20260302T100000Z\nDURATION:PT30M\nRRULE:FREQ=WEEKLY\nEXDATE:20260309T100000Z",
        "UID:w\nRECURRENCE-ID:20260316T100000Z\nDTSTART:20260317T120000Z\nDURATION:PT1H",
    )
    object_id = household.put(calendar, series)
    assert household.expand(calendar).expanded == 1
    found = {occurrence.recurrence_id: occurrence.start_at for occurrence in household.occurrences()}
    assert found["20260302T100000Z"] == datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
    assert found["20260316T100000Z"] == datetime(2026, 3, 17, 12, 0, tzinfo=UTC)
    assert "20260309T100000Z" not in found
    assert max(found.values()) < NOW + HORIZON
    assert household.object(object_id).expanded_until == NOW + HORIZON


@pytest.mark.parametrize(
    "words", ["", BERLIN, "DESCRIPTION:no RRULE and no RDATE\n"], ids=["plain", "with a time zone's rules", "in words"]
)
def test_a_single_meeting_far_beyond_the_horizon_is_kept_and_reminds(
    household: Household, calendar: Calendar, words: str
) -> None:
    start = NOW + timedelta(days=200)
    raw = meeting("far", start, *words.splitlines() if words.startswith("D") else ())
    if words.startswith("B"):
        raw = raw.replace(b"BEGIN:VEVENT", words.encode() + b"BEGIN:VEVENT", 1)
    household.expand_all(calendar, raw)
    assert household.armed() == [(10, start - timedelta(minutes=10))]


def test_the_horizon_moves_on_and_only_repeating_objects_are_expanded_again(
    household: Household, calendar: Calendar
) -> None:
    household.expand_all(calendar, DAILY, meeting("single", NOW + timedelta(days=400)))
    last = household.occurrences()[-2].start_at
    household.clock.now = NOW + HORIZON_SLACK
    assert household.expansion.extend_horizon() == []
    household.clock.forward(seconds=1)
    assert household.expansion.extend_horizon() == [calendar.account_id]
    assert household.expand(calendar).expanded == 1
    assert household.occurrences()[-2].start_at - last == timedelta(days=7)
    assert household.expansion.extend_horizon() == []


def test_a_second_expansion_replaces_the_first(household: Household, calendar: Calendar) -> None:
    household.expand_all(calendar, DAILY, href="/d")
    household.expand_all(
        calendar, ics("UID:daily\nDTSTART:20260303T100000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=2"), href="/d"
    )
    assert [one.start_at.day for one in household.occurrences()] == [3, 4]
    assert len(household.armed()) == 2


def test_one_broken_object_hides_no_other_and_its_problem_is_noted(household: Household, calendar: Calendar) -> None:
    broken = household.put(calendar, b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:broken\nDTSTART:sometime\nEND:VEVENT\n")
    fine = household.put(calendar, meeting("fine", NOW + timedelta(hours=1)))
    report = household.expand(calendar)
    assert (report.expanded, report.problems, report.more) == (2, 1, False)
    assert "DTSTART" in (household.object(broken).problem or "")
    assert household.object(fine).problem is None
    assert uids(household) == {"fine"}


def test_an_object_that_kills_its_worker_is_left_out_and_hides_no_other(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer = household.put(calendar, meeting("killer", NOW + timedelta(hours=1)))
    others = {f"m{number}" for number in range(BATCH + 10)}
    for uid in sorted(others):
        household.put(calendar, meeting(uid, NOW + timedelta(hours=1)))

    def die(raw: bytes) -> None:
        if b"UID:killer" in raw:
            raise Killed

    on_each(monkeypatch, die)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(Killed):
            household.expand(calendar)
        household.expansion.extend_horizon()  # as each hour, and it must not begin the count anew
    assert household.expand(calendar).more is False
    assert uids(household) == others
    assert household.expansion.accounts_with_work() == []
    assert "did not finish" in (household.object(killer).problem or "")


def test_a_repeating_object_that_was_left_out_is_not_tried_each_hour(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_id = household.put(calendar, DAILY)
    household.expand(calendar)
    household.clock.forward(days=8)
    on_each(monkeypatch, _die)
    for _ in range(MAX_ATTEMPTS):
        household.expansion.extend_horizon()
        with pytest.raises(Killed):
            household.expand(calendar)
    household.expand(calendar)
    assert household.expansion.extend_horizon() == []
    monkeypatch.undo()
    household.expand_all(calendar, DAILY, href=household.object(object_id).href)
    assert household.object(object_id).problem is None


def test_an_object_changed_meanwhile_is_not_overwritten_by_its_old_content(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    household.put(calendar, meeting("old", NOW + timedelta(hours=1)), href="/x")
    household.put(calendar, meeting("other", NOW + timedelta(hours=1)))

    def change(raw: bytes) -> None:
        if b"UID:old" in raw:
            household.put(calendar, meeting("new", NOW + timedelta(hours=2)), href="/x")

    on_each(monkeypatch, change)
    household.expand(calendar)
    assert uids(household) == {"new", "other"}


def test_an_account_that_is_disconnected_meanwhile_leaves_nothing_behind(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    household.put(calendar, meeting("m", NOW + timedelta(hours=1)))
    on_each(monkeypatch, lambda _raw: household.delete(CalendarAccount, calendar.account_id))
    assert household.expand(calendar).more is False
    assert household.occurrences() == []
    assert household.expansion.expand_account(calendar.account_id).expanded == 0


def test_an_object_removed_meanwhile_leaves_nothing_behind(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    object_id = household.put(calendar, meeting("m", NOW + timedelta(hours=1)))
    on_each(monkeypatch, lambda _raw: household.delete(CalendarObject, object_id))
    household.expand(calendar)
    assert household.occurrences() == []


def test_removing_an_object_removes_its_occurrences_and_reminders(household: Household, calendar: Calendar) -> None:
    object_id = household.put(calendar, DAILY)
    household.expand(calendar)
    household.delete(CalendarObject, object_id)
    assert (household.occurrences(), household.armed()) == ([], [])


@pytest.mark.parametrize(
    "lines",
    [
        "SUMMARY:a\x00b",
        "DESCRIPTION:\x00\x01\x1f\x7f",
        "LOCATION:\\u0000",
        "ORGANIZER;CN=a\x00b:mailto:a%00b@example.org",
        'ATTENDEE;CN="x\x00":mailto:%00%ED%A0%80@example.org',
        "URL:https://example.org/%00\x00",
        "SUMMARY:\ud83d\ude00 and \ud83d",
        "CONFERENCE;VALUE=URI:https://telemost.example.org/%00",
        "RRULE:FREQ=DAILY\x00;COUNT=2",
    ],
)
def test_characters_that_databases_refuse_hide_nothing(household: Household, calendar: Calendar, lines: str) -> None:
    raw = meeting("odd", NOW + timedelta(hours=1)).replace(
        b"END:VEVENT", lines.encode("utf-8", "surrogatepass") + b"\nEND:VEVENT"
    )
    report = household.expand_all(calendar, raw, meeting("fine", NOW + timedelta(hours=1)))
    assert report.more is False
    assert uids(household) == {"odd", "fine"}
    household.clock.forward(minutes=50)
    assert len(household.tick()) == 2


@pytest.mark.parametrize("encoding", ["utf-16", "cp1251"])
def test_objects_in_other_encodings_are_read_or_noted(household: Household, calendar: Calendar, encoding: str) -> None:
    raw = meeting("odd", NOW + timedelta(hours=1), "LOCATION:Комната").decode().encode(encoding)
    household.expand_all(calendar, raw)
    assert uids(household) == {"odd"}


@pytest.mark.parametrize("uid", ["u" * 1_000, "ж" * 1_000, "😀" * 513])
def test_a_uid_too_long_for_a_key_is_left_out_and_noted(household: Household, calendar: Calendar, uid: str) -> None:
    object_id = household.put(calendar, meeting(uid, NOW + timedelta(hours=1)))
    household.put(calendar, meeting("fine", NOW + timedelta(hours=1)))
    assert household.expand(calendar).more is False
    assert uids(household) == {"fine"}
    assert "UID" in (household.object(object_id).problem or "")


def test_the_longest_uid_fits_into_the_keys(household: Household, calendar: Calendar) -> None:
    # Each character is another: PostgreSQL compresses before it compares with the limit of a key.
    uid = "".join(chr(0x1F300 + number) for number in range(512))
    household.expand_all(calendar, meeting(uid, NOW + timedelta(hours=1)))
    assert uids(household) == {uid}
    household.clock.forward(minutes=50)
    assert len(household.tick()) == 1


def test_an_object_that_the_database_refuses_is_found_and_hides_no_other(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    if household.database.dialect == "sqlite":
        pytest.skip("SQLite refuses no text")
    original = module._row

    def row(owner: Any, claimed: Any, occurrence: Any) -> dict[str, Any]:
        made = original(owner, claimed, occurrence)
        return made | ({"details": {"bad": "\x00"}} if occurrence.uid == "bad" else {})

    monkeypatch.setattr(module, "_row", row)
    for number in range(5):
        household.put(calendar, meeting(f"m{number}", NOW + timedelta(hours=1)))
    bad = household.put(calendar, meeting("bad", NOW + timedelta(hours=1)))
    report = household.expand(calendar)
    assert (report.expanded, report.more) == (5, False)
    assert uids(household) == {f"m{number}" for number in range(5)}
    assert household.object(bad).needs_expansion is False


def test_hostile_objects_end_in_time_and_hide_nothing(household: Household, calendar: Calendar) -> None:
    household.expand_all(
        calendar,
        ics("UID:s\nDTSTART:20000101T000000Z\nRRULE:FREQ=SECONDLY"),
        ics("UID:never\nDTSTART:20260101T000000Z\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"),
        ics(*(f"UID:e{number}\nDTSTART:20260303T100000Z" for number in range(3_000))),
        b"BEGIN:VEVENT\n" * 10_000,
        b"\x00" * 100_000,
        b"",
        meeting("fine", NOW + timedelta(hours=1)),
    )
    assert "fine" in uids(household)
    assert household.expansion.accounts_with_work() == []


def test_a_uid_in_two_objects_is_shown_once_and_found_again_when_the_first_goes(
    household: Household, calendar: Calendar
) -> None:
    first = household.put(calendar, meeting("twin", NOW + timedelta(hours=1)))
    second = household.put(calendar, meeting("twin", NOW + timedelta(hours=3)))
    assert household.expand(calendar).more is False
    assert [one.object_id for one in household.occurrences()] == [first]
    assert "same UID" in (household.object(second).problem or "")
    household.delete(CalendarObject, first)
    assert household.expansion.extend_horizon() == [calendar.account_id]
    household.expand(calendar)
    assert [one.object_id for one in household.occurrences()] == [second]
    assert household.armed() == [(10, NOW + timedelta(hours=2, minutes=50))]
    assert household.object(second).problem is None


def test_the_same_uid_in_two_calendars_is_kept_in_each(household: Household, calendar: Calendar) -> None:
    other = household.calendar(household.subscriber(household.person("boris")), calendar.account_id)
    for one in (calendar, other):
        household.put(one, meeting("both", NOW + timedelta(hours=1)))
    household.expand(calendar)
    assert {one.calendar_id for one in household.occurrences()} == {calendar.id, other.id}


def test_unwatched_calendars_are_passed_over(household: Household, calendar: Calendar) -> None:
    household.set(Calendar, calendar.id, watched=False)
    object_id = household.put(calendar, DAILY)
    assert household.expansion.accounts_with_work() == []
    assert household.expand(calendar).expanded == 0
    assert household.object(object_id).needs_expansion


def test_an_expansion_out_of_time_says_that_work_is_left_and_goes_on(
    household: Household, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        household.put(calendar, meeting(f"m{number}", NOW + timedelta(hours=1)))
    seconds = BUDGET.total_seconds() / 2
    on_each(monkeypatch, lambda _raw: household.clock.forward(seconds=seconds))
    report = household.expand(calendar)
    assert (report.expanded, report.more) == (2, True)
    while household.expand(calendar).more:
        pass
    assert len(uids(household)) == 5


def test_a_reminder_goes_only_where_the_owners_settings_want_it(household: Household) -> None:
    off = household.calendar(household.person("anna", reminders_enabled=False))
    several = household.calendar(household.person("boris", minutes=(30, 10)))
    for calendar in (off, several):
        household.expand_all(calendar, meeting("m", NOW + timedelta(hours=1)))
    with household.database.read() as session:
        assert session.scalar(select(func.count()).select_from(CalendarOccurrence)) == 2
        assert session.scalar(select(func.count()).select_from(CalendarReminder)) == 2


def test_objects_that_wait_are_found_by_their_index(household: Household, calendar: Calendar) -> None:
    if household.database.dialect != "sqlite":
        pytest.skip("PostgreSQL reads small tables whole")
    with household.database.read() as session:
        query = (
            select(CalendarObject.id)
            .where(CalendarObject.calendar_id.in_([calendar.id]), CalendarObject.needs_expansion)
            .compile(household.database.engine, compile_kwargs={"literal_binds": True})
        )
        plan = " ".join(row.detail for row in session.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert "ix_calendar_objects_needs_expansion" in plan


def _die(_raw: bytes) -> None:
    raise Killed
