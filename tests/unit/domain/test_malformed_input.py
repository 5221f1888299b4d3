"""Broken and hostile objects: each is read in bounded time and memory, says what it skipped, and hides nothing else."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.content import MAX_OBJECT_BYTES, MAX_PROBLEMS
from switchboard.domain.calendar.expansion import MAX_OCCURRENCES, Expansion, expand
from tests.unit.domain.icalendar_text import MARCH, calendar, expanded, starts

LIMIT_S = 5.0
"""Of processor time for one object, on a slow machine; most take milliseconds."""
GOOD = "UID:good\nDTSTART:20260303T100000Z\nDURATION:PT1H"


def _expand(raw: bytes) -> Expansion:
    return expand(raw, window=MARCH, zone=ZoneInfo("Europe/Moscow"))


def _series(rule: str, start: str = "20260303T100000Z") -> str:
    return f"UID:bad\nDTSTART:{start}\nRRULE:{rule}"


BAD_EVENTS = {
    "no uid": "DTSTART:20260303T100000Z",
    "no start": "UID:bad\nSUMMARY:x",
    "empty start": "UID:bad\nDTSTART:",
    "words for a start": "UID:bad\nDTSTART:tomorrow",
    "a day that does not exist": "UID:bad\nDTSTART:20260230T100000Z",
    "an hour that does not exist": "UID:bad\nDTSTART:20260303T250000Z",
    "the year 1": "UID:bad\nDTSTART:00010101T000000Z\nRRULE:FREQ=DAILY",
    "the year 9999": "UID:bad\nDTSTART:99991231T235959Z\nDURATION:P9D",
    "a start with a list": "UID:bad\nDTSTART:20260303T100000Z,20260304T100000Z",
    "a bad recurrence id": "UID:bad\nRECURRENCE-ID:x\nDTSTART:20260303T100000Z",
    "an endless uid": "UID:" + "u" * 100_000 + "\nDTSTART:20260303T100000Z",
    "a bad end": "UID:bad\nDTSTART:20260303T100000Z\nDTEND:x",
    "an end before the start": "UID:bad\nDTSTART:20260303T100000Z\nDTEND:20260303T090000Z",
    "a negative duration": "UID:bad\nDTSTART:20260303T100000Z\nDURATION:-PT1H",
    "a duration of words": "UID:bad\nDTSTART:20260303T100000Z\nDURATION:an hour",
    "a duration of ages": "UID:bad\nDTSTART:20260303T100000Z\nDURATION:P999999W",
    "a bad exdate": "UID:bad\nDTSTART:20260303T100000Z\nRRULE:FREQ=DAILY;COUNT=2\nEXDATE:x,20260304T100000Z",
    "a bad rdate": "UID:bad\nDTSTART:20260303T100000Z\nRDATE:x,20260304T100000Z/P99999W,20260304T100000Z/x",
    "interval zero": _series("FREQ=DAILY;INTERVAL=0"),
    "every second": _series("FREQ=SECONDLY"),
    "every second in disguise": _series("FREQ=DAILY;BYHOUR=9,10;BYMINUTE=" + ",".join(map(str, range(60)))),
    "a rule of words": _series("every day"),
    "a rule of nothing": _series(""),
    "a hundred million hours from long ago": _series("FREQ=HOURLY;COUNT=100000000", "19500101T000000Z"),
    "a move of all later meetings by centuries": (
        "UID:bad\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260303T100000Z\nDTSTART:99800101T000000Z"
    ),
    "an unknown zone": "UID:bad\nDTSTART;TZID=Middle/Earth:20260303T100000",
    "a line without a colon": "UID:bad\nDTSTART:20260303T100000Z\nSUMMARY;X",
    "parameters without values": "UID:bad\nDTSTART:20260303T100000Z\nATTENDEE;;=;CN:mailto:x",
    "an old exclusion rule": "UID:bad\nDTSTART:20260303T100000Z\nRRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY",
    "a nested event": "UID:bad\nDTSTART:20260303T100000Z\nBEGIN:VEVENT\nUID:bad2",
    "too many excluded dates": "UID:bad\nDTSTART:20260303T100000Z\nEXDATE:" + ",".join(["20260303T100000Z"] * 22_000),
    "too many rules": "UID:bad\nDTSTART:20260303T100000Z\n" + "RRULE:FREQ=SOMETIMES\n" * 5_000,
}


@pytest.mark.parametrize("event", BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_a_broken_event_is_noted_and_does_not_hide_its_neighbours(event: str) -> None:
    begun = process_time()
    found = expanded(event, GOOD, zone="Europe/Moscow")
    assert process_time() - begun < LIMIT_S
    assert [one.start for one in found.occurrences if one.uid == "good"] == [datetime(2026, 3, 3, 10, tzinfo=UTC)]
    assert found.problems
    assert all(problem.reason for problem in found.problems)


STRANGE_BUT_FINE = {
    "no matching day ever": _series("FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"),
    "an end in the year 9999": _series("FREQ=YEARLY;UNTIL=99991231T235959Z"),
    "a hundred million days": _series("FREQ=DAILY;COUNT=100000000"),
    "a negative count": _series("FREQ=DAILY;COUNT=-1"),
    "a birthday of 1604": "UID:bad\nDTSTART;VALUE=DATE:16040307\nRRULE:FREQ=YEARLY",
    "a leap second": "UID:bad\nDTSTART:20260303T100060Z",
    "lower case": "uid:bad\ndtstart;tzid=Europe/Berlin:20260303t100000",
    "spaces in odd places": "UID:bad\nDTSTART ; TZID = Europe/Berlin :20260303T100000",
    "an attachment of many lines": "UID:bad\nDTSTART:20260303T100000Z\nATTACH;ENCODING=BASE64:"
    + "\n ".join(["A" * 70] * 20_000),
    "a property that nobody knows": 'UID:bad\nDTSTART:20260303T100000Z\nX-A;X-B="c:d;e":f\n!!!\n:\n;',
}


@pytest.mark.parametrize("event", STRANGE_BUT_FINE.values(), ids=STRANGE_BUT_FINE)
def test_a_strange_event_is_read_without_complaint(event: str) -> None:
    begun = process_time()
    found = expanded(event, GOOD)
    assert process_time() - begun < LIMIT_S
    assert not found.problems
    assert "good" in {one.uid for one in found.occurrences}


MANY = calendar(GOOD, "UID:late\nDTSTART:20260304T100000Z\nSUMMARY:" + "Встреча " * 20)
HOSTILE_BYTES = {
    "nothing": b"",
    "zeros": bytes(100_000),
    "html": b"<!DOCTYPE html><html><body>Sign in</body></html>",
    "ends without begins": b"END:VEVENT\r\nEND:VCALENDAR\r\n" * 1000,
    "begins without ends": b"BEGIN:VEVENT\r\n" * 100_000,
    "nested without end": b"BEGIN:VEVENT\r\n" + b"BEGIN:VALARM\r\n" * 100_000,
    "nested time zones": b"BEGIN:VTIMEZONE\r\nBEGIN:STANDARD\r\n" * 50_000,
    "blank lines": b"\n" * 5_000_000,
    "short lines": b"A\n" * 2_000_000,
    "folds of nothing": b"DESCRIPTION:x" + b"\r\n " * 1_000_000,
    "one long line": b"X" * 10_000_000,
    "quotes": b'BEGIN:VEVENT\r\nATTENDEE;CN="' + b'"' * 1_000_000,
    "too large": b"A" * (MAX_OBJECT_BYTES + 1),
    "random": bytes((n * 7919 + n // 13) % 256 for n in range(200_000)),
}


@pytest.mark.parametrize("raw", HOSTILE_BYTES.values(), ids=HOSTILE_BYTES)
def test_bytes_that_are_no_calendar_give_nothing_in_bounded_time(raw: bytes) -> None:
    begun = process_time()
    found = _expand(raw)
    assert process_time() - begun < LIMIT_S
    assert not found.occurrences
    assert len(found.problems) <= MAX_PROBLEMS


@pytest.mark.parametrize("cut", range(0, len(MANY), 7))
def test_a_truncated_object_keeps_what_is_whole_and_never_half_an_event(cut: int) -> None:
    found = _expand(MANY[:cut])
    whole = {uid for uid in ("good", "late") if MANY[:cut].count(b"END:VEVENT") > ("good", "late").index(uid)}
    assert {one.uid for one in found.occurrences} == whole
    if MANY[:cut].count(b"UID:") > MANY[:cut].count(b"END:VEVENT"):
        assert found.problems


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_is_read_in_each_unicode_encoding(encoding: str) -> None:
    raw = MANY.decode().encode(encoding)
    found = _expand(raw)
    assert found.occurrences[1].title.startswith("Встреча Встреча")
    assert not found.problems


@pytest.mark.parametrize("encoding", ["cp1251", "koi8-r", "cp866"])
def test_another_encoding_costs_the_letters_but_not_the_meeting(encoding: str) -> None:
    found = _expand(MANY.decode().encode(encoding))
    assert starts(found) == ["0303T1000", "0304T1000"]
    assert "UTF-8" in found.problems[0].reason


@pytest.mark.parametrize("ending", ["\n", "\r", "\r\n"])
def test_each_kind_of_line_end_is_read(ending: str) -> None:
    assert len(_expand(MANY.replace(b"\r\n", ending.encode())).occurrences) == 2


def test_characters_that_a_database_refuses_are_dropped() -> None:
    (one,) = expanded(
        "UID:a\x00b\nDTSTART:20260303T100000Z\nSUMMARY:x\x00y\x07z\nORGANIZER;CN=q\x00:mailto:a@b"
    ).occurrences
    assert (one.uid, one.title) == ("ab", "xyz")
    assert one.organizer is not None
    assert one.organizer.name == "q"


def test_a_description_of_ten_megabytes_is_read_in_little_time_and_memory() -> None:
    raw = calendar(f"{GOOD}\nDESCRIPTION:" + "\n ".join(["x" * 74] * 140_000))
    begun = process_time()
    assert len(_expand(raw).occurrences) == 1
    assert process_time() - begun < LIMIT_S
    tracemalloc.start()
    _expand(raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * len(raw)


def test_a_hundred_thousand_occurrences_are_cut_at_the_limit() -> None:
    dates = ",".join(
        f"2026{month:02d}{day:02d}T{hour:02d}{minute:02d}00Z"
        for month in (3,)
        for day in range(1, 29)
        for hour in range(24)
        for minute in range(30)
    )
    begun = process_time()
    found = expanded(
        "UID:r\nDTSTART:20260301T000000Z\nRDATE:" + dates, _series("FREQ=HOURLY;BYMINUTE=0,15,30,45"), GOOD
    )
    assert process_time() - begun < LIMIT_S
    assert len(found.occurrences) == MAX_OCCURRENCES
    assert found.problems


def test_many_costly_series_in_one_object_cost_no_more_than_a_few() -> None:
    costly = [
        f"UID:c{n}\nDTSTART:10010101T000000Z\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=9" for n in range(200)
    ]
    begun = process_time()
    found = expanded(*costly)
    assert process_time() - begun < LIMIT_S
    assert "too long to be counted" in found.problems[0].reason


def test_a_hostile_time_zone_is_worked_out_in_bounded_time() -> None:
    rule = "DTSTART:16010101T000000\nRRULE:FREQ=YEARLY;BYMONTHDAY=31"
    block = f"BEGIN:STANDARD\n{rule}\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:STANDARD\n"
    zone = "BEGIN:VTIMEZONE\nTZID:Hostile\n" + block * 4_000 + "END:VTIMEZONE\n"
    dates = ",".join(f"{year}0301T000000" for year in range(1000, 9000))
    begun = process_time()
    expanded(f"UID:z\nDTSTART;TZID=Hostile:20260303T100000\nEXDATE;TZID=Hostile:{dates}\nRRULE:FREQ=DAILY", before=zone)
    assert process_time() - begun < LIMIT_S


@given(st.binary(max_size=400), st.integers(0, len(MANY)), st.integers(0, 60))
def test_damage_anywhere_never_raises(noise: bytes, at: int, lost: int) -> None:
    found = _expand(MANY[:at] + noise + MANY[at + lost :])
    assert all(one.start <= one.end for one in found.occurrences)


NAMES = st.sampled_from(
    "UID DTSTART DTEND DURATION RRULE RDATE EXDATE RECURRENCE-ID SEQUENCE STATUS ATTENDEE BEGIN END".split(" ")  # noqa: SIM905
)
VALUES = st.sampled_from(
    [
        *("20260303T100000Z", "20260303", "20260303T100000", "99801231T235959Z", "10000101"),
        *("P1D", "PT1H", "-P999999W", "PT999999999S"),
        *("FREQ=DAILY", "FREQ=YEARLY;BYWEEKNO=53;COUNT=3", "FREQ=MONTHLY;BYDAY=-5MO;BYSETPOS=-1"),
        *("20260303T100000Z/PT1H", "20260303T100000Z/20260301T000000Z"),
        *("CANCELLED", "1", "-1", "VEVENT", "x", "", "mailto:a@b"),
    ]
)
PARAMS = st.sampled_from(
    ["", ";TZID=Europe/Berlin", ";VALUE=DATE", ";RANGE=THISANDFUTURE", ";TZID=Company", ';X="', ";="]
)


@given(st.lists(st.builds("{}{}:{}".format, NAMES, PARAMS, VALUES), max_size=25))
def test_any_mixture_of_properties_never_raises(lines: list[str]) -> None:
    found = expanded("UID:a\n" + "\n".join(lines), "UID:a\nDTSTART:20260303T100000Z\n" + "\n".join(reversed(lines)))
    assert len(found.occurrences) <= MAX_OCCURRENCES
    assert all(one.start <= one.end for one in found.occurrences)
