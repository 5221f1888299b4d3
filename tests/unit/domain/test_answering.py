"""An answer changes the person's PARTSTAT in the object, and nothing else; read again, only that differs."""

# ruff: noqa: DTZ001 - wall times

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.answering import Answered, Reply, Verdict, answer
from switchboard.domain.calendar.expansion import Expansion, expand
from switchboard.domain.calendar.occurrences import Occurrence
from tests.unit.domain.icalendar_text import MARCH, ODD_ZONES, calendar

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ANNA = "anna@example.org"
BERLIN = ZoneInfo("Europe/Berlin")
ASKED = "ORGANIZER:mailto:boris@example.org\nATTENDEE;CN=Anna;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:Anna@Example.org"
SINGLE = f"UID:a\nDTSTAMP:20260201T000000Z\nDTSTART:20260310T090000Z\nDTEND:20260310T100000Z\n{ASKED}"
WEEKLY = (
    f"UID:a\nDTSTAMP:20260201T000000Z\nSEQUENCE:3\nDTSTART;TZID=Europe/Berlin:20260302T100000\n"
    f"DTEND;TZID=Europe/Berlin:20260302T110000\nRRULE:FREQ=WEEKLY;COUNT=6\nEXDATE;TZID=Europe/Berlin:20260316T100000\n"
    f"X-KEPT:yes\n{ASKED}\nBEGIN:VALARM\nACTION:DISPLAY\nATTENDEE:mailto:anna@example.org\nTRIGGER:-PT15M\nEND:VALARM"
)
SECOND = "20260309T090000Z"
MOVED = (
    f"UID:a\nDTSTAMP:20260201T000000Z\nRECURRENCE-ID:20260323T090000Z\nDTSTART:20260324T150000Z\n"
    f"DTEND:20260324T160000Z\n{ASKED}"
)


def answered(
    raw: bytes, recurrence_id: str = "", reply: Reply = Reply.ACCEPTED, *, zone: ZoneInfo = BERLIN, own: str = ANNA
) -> Answered:
    return answer(raw, uid="a", recurrence_id=recurrence_id, reply=reply, own_addresses={own}, zone=zone, now=NOW)


def read(raw: bytes, zone: ZoneInfo = BERLIN, window: tuple[datetime, datetime] = MARCH) -> Expansion:
    return expand(raw, window=window, zone=zone, own_addresses=frozenset({ANNA}))


def partstats(raw: bytes) -> dict[str, str]:
    """Own answers by RECURRENCE-ID as `0309`."""
    return {one.recurrence_id[4:8]: one.own_partstat for one in read(raw).occurrences}


def without_answer(one: Occurrence) -> Occurrence:
    """The occurrence as it is for somebody who does not look at the person's own answer, nor at its stamp."""
    people = tuple(replace(person, partstat="") if person.own else person for person in one.attendees)
    return replace(one, attendees=people, own_partstat="", stamp=None)


def unfolded(raw: bytes) -> list[bytes]:
    return raw.replace(b"\r\n ", b"").split(b"\r\n")


# --- a single meeting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reply", list(Reply))
def test_the_answer_stands_in_the_object_and_nothing_else_differs(reply: Reply) -> None:
    raw = calendar(f'{SINGLE}\nX-UNKNOWN;P="a;b:c":d\nx-lower:e')
    new = answered(raw, reply=reply)
    assert new.verdict is Verdict.CHANGED
    asked = b"ATTENDEE;CN=Anna;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:Anna@Example.org"
    written = b"ATTENDEE;CN=Anna;PARTSTAT=%s:mailto:Anna@Example.org" % reply.encode()
    assert new.raw == raw.replace(asked, written).replace(b"METHOD:PUBLISH\r\n", b"")


def test_only_a_method_of_the_calendar_itself_is_taken_out() -> None:
    raw = calendar(f"{SINGLE}\nMETHOD:odd", method="REQUEST")
    assert b"METHOD:odd" in answered(raw).raw
    assert b"METHOD:REQUEST" not in answered(raw).raw


def test_an_answer_that_stands_is_not_written_again() -> None:
    new = answered(calendar(SINGLE)).raw
    assert answered(new) == Answered(Verdict.ALREADY)
    assert answered(new, reply=Reply.DECLINED).verdict is Verdict.CHANGED


def test_an_attendee_without_partstat_gets_one() -> None:
    raw = calendar(SINGLE.replace(";PARTSTAT=NEEDS-ACTION;RSVP=TRUE", ""))
    assert b"ATTENDEE;CN=Anna;PARTSTAT=ACCEPTED:mailto:Anna@Example.org\r\n" in answered(raw).raw


def test_folded_lines_are_read_whole_and_a_long_line_is_folded_between_characters() -> None:
    name = "Анна " * 30
    line = f'ATTENDEE;CN="{name}";PARTSTAT=NEEDS-ACTION:mailto:anna@example.org'
    folded = "\n ".join(line[at : at + 20] for at in range(0, len(line), 20))
    raw = calendar(f"UID:a\nDTSTART:20260310T090000Z\n{folded}")
    new = answered(raw).raw
    assert all(len(piece) <= 75 for piece in new.split(b"\r\n"))
    assert all(piece.decode() is not None for piece in new.split(b"\r\n"))  # each is whole UTF-8
    assert line.replace("NEEDS-ACTION", "ACCEPTED").encode() in unfolded(new)


@pytest.mark.parametrize("address", ["mailto:anna@example.org", "MAILTO:ANNA@EXAMPLE.ORG", "mailto:anna%40example.org"])
def test_the_person_is_known_in_any_case(address: str) -> None:
    raw = calendar(f"UID:a\nDTSTART:20260310T090000Z\nATTENDEE:{address}")
    assert answered(raw, own=" Anna@example.org ").verdict is Verdict.CHANGED


def test_every_address_of_the_person_gets_the_answer() -> None:
    raw = calendar(f"UID:a\nDTSTART:20260310T090000Z\nATTENDEE:mailto:anna@example.org\nATTENDEE:mailto:{ANNA.upper()}")
    assert answered(raw).raw.count(b"PARTSTAT=ACCEPTED") == 2


def test_others_and_attendees_of_alarms_are_left_alone() -> None:
    other = "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:clara@example.org"
    alarm = "BEGIN:VALARM\nATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:anna@example.org\nEND:VALARM"
    new = answered(calendar(f"{SINGLE}\n{other}\n{alarm}")).raw
    assert other.encode() in new
    assert b"ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:anna@example.org" in new


@pytest.mark.parametrize(
    ("body", "verdict"),
    [
        ("UID:a\nDTSTART:20260310T090000Z", Verdict.NOT_INVITED),
        ("UID:a\nDTSTART:20260310T090000Z\nATTENDEE:mailto:boris@example.org", Verdict.NOT_INVITED),
        (f"UID:a\nDTSTART:20260310T090000Z\nORGANIZER:mailto:{ANNA}\nATTENDEE:mailto:{ANNA}", Verdict.ORGANISER),
        ("UID:other\nDTSTART:20260310T090000Z", Verdict.GONE),
        (f"{SINGLE}\nSTATUS:CANCELLED", Verdict.GONE),
        ("UID:a\nDTSTART:nonsense", Verdict.UNREADABLE),
        (f"{SINGLE}\nBEGIN:VALARM", Verdict.UNREADABLE),
    ],
)
def test_what_cannot_be_answered_is_said(body: str, verdict: Verdict) -> None:
    assert answered(calendar(body)) == Answered(verdict)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"BEGIN:VCALENDAR",
        calendar(SINGLE)[:-60],
        calendar(SINGLE).decode().encode("utf-16"),
        calendar(f"{SINGLE}\nSUMMARY:bad").replace(b"bad", b"caf\xe9"),
        b"END:VEVENT\n",
    ],
)
def test_a_broken_object_is_not_changed(raw: bytes) -> None:
    assert answered(raw) == Answered(Verdict.UNREADABLE)


# --- a series -----------------------------------------------------------------------------------------------------


def test_an_answer_to_the_series_is_one_to_its_moved_meetings_too() -> None:
    new = answered(calendar(WEEKLY, MOVED)).raw
    assert partstats(new) == dict.fromkeys(["0302", "0309", "0323", "0330"], "ACCEPTED")
    assert new.count(b"BEGIN:VEVENT") == 2
    assert answered(new).verdict is Verdict.ALREADY


def test_an_answer_to_one_meeting_makes_a_component_of_its_own() -> None:
    new = answered(calendar(WEEKLY, MOVED), SECOND, Reply.DECLINED).raw
    assert partstats(new) == {
        "0302": "NEEDS-ACTION",
        "0309": "DECLINED",
        "0323": "NEEDS-ACTION",
        "0330": "NEEDS-ACTION",
    }
    made = new.split(b"BEGIN:VEVENT\r\n")[-1].split(b"END:VCALENDAR")[0]
    assert made.decode().splitlines() == [
        "UID:a",
        "DTSTAMP:20260301T120000Z",
        "SEQUENCE:3",
        "DTSTART;TZID=Europe/Berlin:20260309T100000",
        "RECURRENCE-ID;TZID=Europe/Berlin:20260309T100000",
        "DTEND;TZID=Europe/Berlin:20260309T110000",
        "X-KEPT:yes",
        "ORGANIZER:mailto:boris@example.org",
        "ATTENDEE;CN=Anna;PARTSTAT=DECLINED:mailto:Anna@Example.org",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "ATTENDEE:mailto:anna@example.org",
        "TRIGGER:-PT15M",
        "END:VALARM",
        "END:VEVENT",
    ]


def test_an_answer_to_one_meeting_that_has_a_component_changes_that_one() -> None:
    raw = calendar(WEEKLY, MOVED)
    new = answered(raw, "20260323T090000Z").raw
    assert new.count(b"BEGIN:VEVENT") == 2
    assert partstats(new)["0323"] == "ACCEPTED"
    assert partstats(new)["0302"] == "NEEDS-ACTION"


def test_a_meeting_that_the_series_answers_alike_needs_no_component() -> None:
    raw = answered(calendar(WEEKLY)).raw
    assert answered(raw, SECOND) == Answered(Verdict.ALREADY)


def test_an_all_day_series_gets_dates() -> None:
    raw = calendar(f"UID:a\nDTSTART;VALUE=DATE:20260302\nDTEND;VALUE=DATE:20260304\nRRULE:FREQ=WEEKLY\n{ASKED}")
    new = answered(raw, "20260309").raw
    for line in (b"DTSTART;VALUE=DATE:20260309", b"RECURRENCE-ID;VALUE=DATE:20260309", b"DTEND;VALUE=DATE:20260311"):
        assert line in new.split(b"\r\n")
    assert partstats(new)["0309"] == "ACCEPTED"


def test_a_meeting_after_a_change_of_all_later_ones_keeps_that_change() -> None:
    since = "RECURRENCE-ID;RANGE=THISANDFUTURE:20260309T090000Z"
    later = f"UID:a\n{since}\nDTSTART:20260309T130000Z\nDURATION:PT2H\nSUMMARY:Later\n{ASKED}"
    raw = calendar(WEEKLY, later)
    before = read(raw).occurrences
    after = read(answered(raw, "20260330T080000Z").raw).occurrences  # summer time has begun
    assert [without_answer(one) for one in after] == [without_answer(one) for one in before]
    assert [one.own_partstat for one in after if one.recurrence_id == "20260330T080000Z"] == ["ACCEPTED"]


@pytest.mark.parametrize(
    "recurrence_id",
    ["20260316T090000Z", "20260310T090000Z", "20260413T080000Z", "20260309", "nonsense", "99990101T000000Z"],
)
def test_a_meeting_that_is_not_in_the_series_is_gone(recurrence_id: str) -> None:
    assert answered(calendar(WEEKLY, MOVED), recurrence_id) == Answered(Verdict.GONE)


def test_a_cancelled_meeting_of_a_series_is_gone_and_stays_out_of_an_answer_to_all() -> None:
    raw = calendar(WEEKLY, f"{MOVED}\nSTATUS:CANCELLED")
    assert answered(raw, "20260323T090000Z") == Answered(Verdict.GONE)
    assert answered(raw).raw.count(b"PARTSTAT=NEEDS-ACTION") == 1


def test_one_who_is_invited_to_one_meeting_alone_can_answer_it() -> None:
    assert partstats(answered(calendar(MOVED), "20260323T090000Z").raw) == {"0323": "ACCEPTED"}
    assert partstats(answered(calendar(MOVED)).raw) == {"0323": "ACCEPTED"}


@given(
    zone=st.sampled_from(ODD_ZONES).map(ZoneInfo),
    first=st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)).map(lambda at: at.replace(second=0, microsecond=0)),
    spelled=st.sampled_from(["zone", "utc", "floating", "date"]),
    end=st.sampled_from(["DTEND", "DURATION", "none"]),
    minutes=st.integers(1, 3000),
    days=st.integers(1, 40),
    chosen=st.integers(0, 5),
    reply=st.sampled_from(list(Reply)),
)
def test_read_again_only_the_own_answer_of_the_chosen_meeting_differs(
    zone: ZoneInfo, first: datetime, spelled: str, end: str, minutes: int, days: int, chosen: int, reply: Reply
) -> None:
    params, form = {
        "zone": (f";TZID={zone.key}", "%Y%m%dT%H%M%S"),
        "utc": ("", "%Y%m%dT%H%M%SZ"),
        "floating": ("", "%Y%m%dT%H%M%S"),
        "date": (";VALUE=DATE", "%Y%m%d"),
    }[spelled]
    length = {
        "DTEND": f"DTEND{params}:{first + timedelta(minutes=minutes + 1440 * (spelled == 'date')):{form}}\n",
        "DURATION": f"DURATION:P{1 + minutes // 1440}D\n" if spelled == "date" else f"DURATION:PT{minutes}M\n",
        "none": "",
    }[end]
    raw = calendar(
        f"UID:a\nDTSTAMP:20000101T000000Z\nDTSTART{params}:{first:{form}}\n{length}RRULE:FREQ=DAILY;INTERVAL={days};COUNT=6\n{ASKED}"
    )
    begin = first.replace(tzinfo=UTC) - timedelta(days=2)
    window = (begin, begin + timedelta(days=300))
    before = read(raw, zone, window).occurrences
    meeting = before[chosen % len(before)]

    after = read(answered(raw, meeting.recurrence_id, reply, zone=zone).raw, zone, window).occurrences

    assert [without_answer(one) for one in after] == [without_answer(one) for one in before]
    changed = [
        one.recurrence_id for one, old in zip(after, before, strict=True) if one.own_partstat != old.own_partstat
    ]
    assert changed == [meeting.recurrence_id]
    assert {one.own_partstat for one in after if one.recurrence_id == meeting.recurrence_id} == {reply.value}
