"""The rules of the expansion, one by one."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.events import MAX_ATTENDEES, MAX_DESCRIPTION_CHARS
from switchboard.domain.calendar.expansion import expand
from tests.unit.domain.icalendar_text import calendar, expanded, spans, starts

WEEKLY = (
    "UID:w\nDTSTART;TZID=Europe/Berlin:20260302T100000\nDTEND;TZID=Europe/Berlin:20260302T110000\nRRULE:FREQ=WEEKLY\n"
)
COMPANY = """BEGIN:VTIMEZONE
TZID:Company time
BEGIN:STANDARD
DTSTART:16011028T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010325T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE
"""


def test_a_single_meeting_has_no_recurrence_id() -> None:
    found = expanded("UID:a\nDTSTART:20260303T100000Z\nDTEND:20260303T110000Z\nSUMMARY:Plan")
    assert spans(found) == [("", "0303T1000", "0303T1100")]
    assert not found.recurring
    assert found.occurrences[0].title == "Plan"


def test_a_series_keeps_its_clock_time_over_the_change_of_clocks() -> None:
    found = expanded(WEEKLY)
    assert found.recurring
    assert spans(found) == [
        ("20260302T090000Z", "0302T0900", "0302T1000"),
        ("20260309T090000Z", "0309T0900", "0309T1000"),
        ("20260316T090000Z", "0316T0900", "0316T1000"),
        ("20260323T090000Z", "0323T0900", "0323T1000"),
        ("20260330T080000Z", "0330T0800", "0330T0900"),
    ]


@pytest.mark.parametrize(
    "recurrence_id",
    [
        "RECURRENCE-ID;TZID=Europe/Berlin:20260309T100000",
        "RECURRENCE-ID:20260309T090000Z",
        "RECURRENCE-ID;TZID=Europe/Moscow:20260309T120000",
        "RECURRENCE-ID;TZID=Russian Standard Time:20260309T120000",
        "RECURRENCE-ID;VALUE=DATE:20260309",
    ],
)
def test_an_override_is_found_whatever_zone_spells_its_id(recurrence_id: str) -> None:
    found = expanded(WEEKLY, f"UID:w\n{recurrence_id}\nDTSTART:20260310T120000Z\nDTEND:20260310T123000Z")
    assert ("20260309T090000Z", "0310T1200", "0310T1230") in spans(found)
    assert len(found.occurrences) == 5


def test_an_override_moved_out_of_the_window_leaves_it_and_one_moved_in_from_months_away_enters() -> None:
    out = "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260909T090000Z"
    into = "UID:w\nRECURRENCE-ID:20261116T090000Z\nDTSTART:20260305T070000Z"
    found = expanded(WEEKLY, out, into)
    assert [key for key, _, _ in spans(found)] == [
        "20260302T090000Z",
        "20261116T090000Z",
        "20260316T090000Z",
        "20260323T090000Z",
        "20260330T080000Z",
    ]


def test_who_is_invited_to_one_occurrence_only_sees_it_without_its_series() -> None:
    found = expanded(
        "UID:o\nRECURRENCE-ID;TZID=Europe/Berlin:20260309T100000\nDTSTART;TZID=Europe/Berlin:20260309T100000"
    )
    assert spans(found) == [("20260309T090000Z", "0309T0900", "0309T0900")]
    assert found.recurring


@pytest.mark.parametrize(
    "exdate",
    [
        "EXDATE;TZID=Europe/Berlin:20260309T100000",
        "EXDATE:20260309T090000Z",
        "EXDATE;TZID=Europe/Moscow:20260309T120000",
        "EXDATE;VALUE=DATE:20260309",
        "EXDATE:20200101T000000Z,20260309T090000Z",
    ],
)
def test_an_excluded_date_is_left_out_whatever_zone_spells_it(exdate: str) -> None:
    found = expanded(WEEKLY + exdate)
    assert starts(found) == ["0302T0900", "0316T0900", "0323T0900", "0330T0800"]


def test_an_excluded_date_takes_its_override_along() -> None:
    found = expanded(
        WEEKLY + "EXDATE:20260309T090000Z", "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260310T120000Z"
    )
    assert "0310T1200" not in starts(found)


def test_extra_dates_join_the_series_and_a_period_has_its_own_length() -> None:
    found = expanded(
        "UID:r\nDTSTART:20260303T100000Z\nDURATION:PT1H\nRDATE:20260304T100000Z,20260303T100000Z\n"
        "RDATE;VALUE=PERIOD:20260305T100000Z/PT2H,20260306T100000Z/20260306T103000Z"
    )
    assert spans(found) == [
        ("20260303T100000Z", "0303T1000", "0303T1100"),
        ("20260304T100000Z", "0304T1000", "0304T1100"),
        ("20260305T100000Z", "0305T1000", "0305T1200"),
        ("20260306T100000Z", "0306T1000", "0306T1030"),
    ]


def test_this_and_future_moves_what_follows_and_keeps_the_keys() -> None:
    change = (
        "UID:w\nRECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260316T100000\n"
        "DTSTART;TZID=Europe/Berlin:20260317T150000\nDTEND;TZID=Europe/Berlin:20260317T153000\nSUMMARY:Later"
    )
    found = expanded(WEEKLY, change)
    assert spans(found) == [
        ("20260302T090000Z", "0302T0900", "0302T1000"),
        ("20260309T090000Z", "0309T0900", "0309T1000"),
        ("20260316T090000Z", "0317T1400", "0317T1430"),
        ("20260323T090000Z", "0324T1400", "0324T1430"),
        ("20260330T080000Z", "0331T1300", "0331T1330"),
    ]
    assert [one.title for one in found.occurrences] == ["", "", "Later", "Later", "Later"]


def test_this_and_future_moves_the_clock_time_also_over_the_change_of_clocks() -> None:
    series = "UID:s\nDTSTART;TZID=Europe/Berlin:20260328T100000\nRRULE:FREQ=WEEKLY"
    change = (
        "UID:s\nRECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20260328T100000\n"
        "DTSTART;TZID=Europe/Berlin:20260330T100000"
    )
    window = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 12, tzinfo=UTC))
    assert starts(expanded(series, change, window=window)) == ["0330T0800", "0406T0800"]


def test_a_later_change_of_one_meeting_wins_over_this_and_future() -> None:
    onwards = (
        "UID:w\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260309T090000Z\nDTSTART:20260309T100000Z\nDTEND:20260309T110000Z"
    )
    single = "UID:w\nRECURRENCE-ID:20260316T090000Z\nDTSTART:20260316T180000Z\nDTEND:20260316T190000Z"
    found = expanded(WEEKLY, onwards, single)
    assert starts(found)[:4] == ["0302T0900", "0309T1000", "0316T1800", "0323T1000"]


def test_cancelled_meetings_are_left_out() -> None:
    assert not expanded("UID:a\nDTSTART:20260303T100000Z\nSTATUS:CANCELLED").occurrences
    assert not expanded(
        WEEKLY + "STATUS:CANCELLED", "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260310T1"
    ).occurrences
    one = expanded(WEEKLY, "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260309T090000Z\nSTATUS:CANCELLED")
    assert starts(one) == ["0302T0900", "0316T0900", "0323T0900", "0330T0800"]
    rest = expanded(
        WEEKLY, "UID:w\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260309T090000Z\nDTSTART:20260309T090000Z\nSTATUS:CANCELLED"
    )
    assert starts(rest) == ["0302T0900"]


def test_declined_meetings_are_kept_and_marked() -> None:
    event = "UID:a\nDTSTART:20260303T100000Z\nATTENDEE;PARTSTAT=DECLINED:MAILTO:Me@Example.com\nATTENDEE:mailto:b@example.com"
    (occurrence,) = expanded(event, own=["me@example.com"]).occurrences
    assert occurrence.declined
    assert occurrence.own_partstat == "DECLINED"
    assert [attendee.address for attendee in occurrence.unanswered] == ["b@example.com"]
    (theirs,) = expanded(event, own=["b@example.com"]).occurrences
    assert not theirs.declined
    assert theirs.own_partstat == "NEEDS-ACTION"


def test_an_all_day_meeting_has_dates_and_the_midnights_of_the_user() -> None:
    (one,) = expanded("UID:d\nDTSTART;VALUE=DATE:20260310\nDTEND;VALUE=DATE:20260312").occurrences
    assert (one.all_day, one.start_date, one.end_date) == (True, date(2026, 3, 10), date(2026, 3, 12))
    assert (one.start, one.end) == (datetime(2026, 3, 9, 21, tzinfo=UTC), datetime(2026, 3, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize(
    "end", ["", "\nDTEND;VALUE=DATE:20260310", "\nDURATION:P1D", "\nDURATION:PT24H", "\nDURATION:PT3H"]
)
def test_an_all_day_meeting_lasts_a_day_where_nothing_longer_is_said(end: str) -> None:
    (one,) = expanded("UID:d\nDTSTART;VALUE=DATE:20260310" + end).occurrences
    assert one.end_date == date(2026, 3, 11)


def test_an_all_day_series_is_keyed_by_dates() -> None:
    found = expanded(
        "UID:d\nDTSTART;VALUE=DATE:20260310\nRRULE:FREQ=DAILY;UNTIL=20260313T235959Z\nEXDATE;VALUE=DATE:20260311",
        "UID:d\nRECURRENCE-ID;VALUE=DATE:20260312\nDTSTART;VALUE=DATE:20260320",
    )
    assert [(one.recurrence_id, one.start_date) for one in found.occurrences] == [
        ("20260310", date(2026, 3, 10)),
        ("20260313", date(2026, 3, 13)),
        ("20260312", date(2026, 3, 20)),
    ]


def test_an_all_day_series_has_days_of_23_hours() -> None:
    found = expanded("UID:d\nDTSTART;VALUE=DATE:20260328\nRRULE:FREQ=DAILY;COUNT=2", zone="Europe/Berlin")
    assert [one.end - one.start for one in found.occurrences] == [timedelta(hours=24), timedelta(hours=23)]


def test_floating_times_are_in_the_zone_of_the_user() -> None:
    assert starts(expanded("UID:f\nDTSTART:20260303T100000")) == ["0303T0700"]
    assert starts(expanded("UID:f\nDTSTART:20260303T100000", zone="America/Santiago")) == ["0303T1300"]


def test_a_meeting_without_an_end_has_no_length() -> None:
    assert spans(expanded("UID:a\nDTSTART:20260303T100000Z")) == [("", "0303T1000", "0303T1000")]


def test_a_time_in_a_gap_is_shown_shifted_and_keeps_its_exact_length() -> None:
    found = expanded("UID:g\nDTSTART;TZID=Europe/Berlin:20260301T023000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=SU")
    assert spans(found)[-1] == ("20260329T013000Z", "0329T0130", "0329T0230")


def test_a_time_that_comes_twice_is_the_first_and_keeps_its_exact_length() -> None:
    window = (datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 26, tzinfo=UTC))
    event = "UID:g\nDTSTART;TZID=Europe/Berlin:20261004T023000\nDURATION:PT1H\nRRULE:FREQ=WEEKLY;BYDAY=SU"
    assert spans(expanded(event, window=window)) == [("20261025T003000Z", "1025T0030", "1025T0130")]


def test_days_of_a_duration_are_nominal_and_its_hours_exact() -> None:
    night = "UID:n\nDTSTART;TZID=Europe/Berlin:20260327T220000\nRRULE:FREQ=DAILY;COUNT=2\nDURATION:"
    assert spans(expanded(night + "P1D"))[1] == ("20260328T210000Z", "0328T2100", "0329T2000")
    assert spans(expanded(night + "PT24H"))[1] == ("20260328T210000Z", "0328T2100", "0329T2100")


def test_an_end_gives_every_instance_the_same_exact_length() -> None:
    times = "DTSTART;TZID=Europe/Berlin:20260327T220000\nDTEND;TZID=Europe/Berlin:20260328T060000"
    assert spans(expanded(f"UID:n\n{times}\nRRULE:FREQ=DAILY;COUNT=2")) == [
        ("20260327T210000Z", "0327T2100", "0328T0500"),
        ("20260328T210000Z", "0328T2100", "0329T0500"),
    ]


def test_a_meeting_may_end_in_another_zone_than_it_begins() -> None:
    flight = "UID:f\nDTSTART;TZID=Europe/Moscow:20260303T100000\nDTEND;TZID=Europe/Berlin:20260303T113000"
    assert spans(expanded(flight)) == [("", "0303T0700", "0303T1030")]


@pytest.mark.parametrize(
    ("until", "last"),
    [("20260316T090000Z", "0316"), ("20260316T085959Z", "0309"), ("20260316", "0316"), ("20260316T100000", "0316")],
)
def test_until_is_inclusive_in_each_of_its_forms(until: str, last: str) -> None:
    assert starts(expanded(WEEKLY.replace("FREQ=WEEKLY", f"FREQ=WEEKLY;UNTIL={until}")))[-1].startswith(last)


def test_a_series_that_ends_before_it_begins_is_empty() -> None:
    assert not expanded(WEEKLY.replace("FREQ=WEEKLY", "FREQ=WEEKLY;UNTIL=20260201T000000Z")).occurrences


def test_a_meeting_that_overlaps_an_edge_of_the_window_is_in_it() -> None:
    window = (datetime(2026, 3, 3, 10, 30, tzinfo=UTC), datetime(2026, 3, 3, 11, tzinfo=UTC))
    event = "UID:a\nDTSTART:20260303T100000Z\nDURATION:PT1H"
    assert expanded(event, window=window).occurrences
    assert not expanded(event.replace("T10", "T11"), window=window).occurrences
    assert not expanded("UID:a\nDTSTART:20260303T093000Z\nDURATION:PT1H", window=window).occurrences
    assert expanded("UID:a\nDTSTART:20260303T103000Z", window=window).occurrences


def test_a_long_meeting_of_a_series_reaches_into_the_window() -> None:
    window = (datetime(2026, 3, 20, tzinfo=UTC), datetime(2026, 3, 21, tzinfo=UTC))
    found = expanded("UID:l\nDTSTART:20260101T100000Z\nDURATION:P30D\nRRULE:FREQ=MONTHLY", window=window)
    assert starts(found) == ["0301T1000"]


@pytest.mark.parametrize(
    "tzid", ["Europe/Berlin", "W. Europe Standard Time", "/citadel.org/20250101_1/Europe/Berlin", '"Europe/Berlin"']
)
def test_zone_names_of_many_programs_are_known(tzid: str) -> None:
    found = expanded(f"UID:z\nDTSTART;TZID={tzid}:20260303T100000")
    assert (starts(found), found.problems) == (["0303T0900"], ())


@pytest.mark.parametrize(
    ("wall", "utc"),
    [
        ("20260303T100000", "0303T0900"),
        ("20260329T013000", "0329T0030"),
        ("20260329T023000", "0329T0130"),
        ("20260329T033000", "0329T0130"),
        ("20260330T100000", "0330T0800"),
    ],
)
def test_a_zone_that_only_the_object_describes_follows_its_rules(wall: str, utc: str) -> None:
    found = expanded(f"UID:z\nDTSTART;TZID=Company time:{wall}", before=COMPANY)
    assert (starts(found), found.problems) == ([utc], ())


def test_the_hour_that_comes_twice_is_the_first_in_a_described_zone() -> None:
    window = (datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 10, 27, tzinfo=UTC))
    events = [f"UID:{wall}\nDTSTART;TZID=Company time:202610{wall}" for wall in ("25T013000", "25T023000", "25T033000")]
    assert starts(expanded(*events, before=COMPANY, window=window)) == ["1024T2330", "1025T0030", "1025T0230"]


def test_a_described_zone_of_one_object_says_nothing_about_another() -> None:
    assert starts(expanded("UID:z\nDTSTART;TZID=Company time:20260303T100000", before=COMPANY)) == ["0303T0900"]
    other = expanded(
        "UID:z\nDTSTART;TZID=Company time:20260303T100000", before=COMPANY.replace("+01", "+05").replace("+02", "+05")
    )
    assert starts(other) == ["0303T0500"]


def test_an_unknown_zone_is_taken_for_the_users_own_and_noted() -> None:
    found = expanded("UID:z\nDTSTART;TZID=Nowhere/At All:20260303T100000")
    assert starts(found) == ["0303T0700"]
    assert "Nowhere/At All" in found.problems[0].reason


def test_tasks_journals_and_alarms_are_not_meetings() -> None:
    raw = calendar("UID:a\nDTSTART:20260303T100000Z\nBEGIN:VALARM\nTRIGGER:-PT5M\nDESCRIPTION:Wake up\nEND:VALARM")
    raw = raw.replace(
        b"END:VCALENDAR", b"BEGIN:VTODO\r\nUID:t\r\nDTSTART:20260303T100000Z\r\nEND:VTODO\r\nEND:VCALENDAR"
    )
    found = expand(
        raw, window=(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)), zone=ZoneInfo("UTC")
    )
    assert [(one.uid, one.description) for one in found.occurrences] == [("a", "")]


@pytest.mark.parametrize("freq", ["SECONDLY", "MINUTELY;INTERVAL=15"])
def test_a_series_finer_than_hourly_keeps_its_first_meeting_and_says_so(freq: str) -> None:
    found = expanded(f"UID:m\nDTSTART:20260303T100000Z\nRRULE:FREQ={freq}")
    assert spans(found) == [("20260303T100000Z", "0303T1000", "0303T1000")]
    assert "more often than hourly" in found.problems[0].reason


def test_an_hourly_series_is_cut_at_the_limit_and_says_so() -> None:
    window = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2027, 3, 1, tzinfo=UTC))
    raw = calendar("UID:h\nDTSTART:20200101T000000Z\nRRULE:FREQ=HOURLY")
    found = expand(raw, window=window, zone=ZoneInfo("UTC"), max_occurrences=100)
    assert len(found.occurrences) == 100
    assert found.occurrences[-1].start == window[0] + timedelta(hours=99)
    assert "more than 100" in found.problems[0].reason


def test_of_two_versions_the_higher_sequence_and_then_the_later_stamp_wins() -> None:
    old = "UID:v\nDTSTART:20260303T100000Z\nSEQUENCE:1\nDTSTAMP:20260202T000000Z"
    new = "UID:v\nDTSTART:20260303T120000Z\nSEQUENCE:2\nDTSTAMP:20260201T000000Z"
    assert starts(expanded(old, new)) == starts(expanded(new, old)) == ["0303T1200"]
    first = "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260309T130000Z\nDTSTAMP:20260201T000000Z"
    second = (
        "UID:w\nRECURRENCE-ID;TZID=Europe/Moscow:20260309T120000\nDTSTART:20260309T140000Z\nDTSTAMP:20260202T000000Z"
    )
    assert "0309T1400" in starts(expanded(WEEKLY, first, second))
    assert "0309T1400" in starts(expanded(WEEKLY, second, first))
    assert len(expanded(WEEKLY, second, first).occurrences) == 5


def test_people_texts_and_marks_are_read() -> None:
    (one,) = expanded(
        "UID:p\nDTSTART:20260303T100000Z\nSEQUENCE:7\nDTSTAMP:20260201T101112Z\nTRANSP:TRANSPARENT\nSTATUS:confirmed\n"
        "SUMMARY:Plan\\, part 1\\; \\\\o/\nDESCRIPTION:a\\nb\nLOCATION:Room\nURL:https://example.com/e\n"
        'ORGANIZER;CN="Анна Б.":mailto:Anna@Example.com\n'
        "ATTENDEE;CUTYPE=ROOM;CN=Big room:mailto:room@example.com\n"
        "ATTENDEE;PARTSTAT=ACCEPTED;ROLE=OPT-PARTICIPANT:urn:uuid:1\n"
        "ATTENDEE;EMAIL=c@example.com;CN=C:/principals/users/c\n"
    ).occurrences
    assert (one.title, one.description, one.place, one.link) == (
        "Plan, part 1; \\o/",
        "a\nb",
        "Room",
        "https://example.com/e",
    )
    assert (one.sequence, one.stamp, one.transparent, one.status) == (
        7,
        datetime(2026, 2, 1, 10, 11, 12, tzinfo=UTC),
        True,
        "CONFIRMED",
    )
    assert one.organizer is not None
    assert (one.organizer.name, one.organizer.address) == ("Анна Б.", "anna@example.com")
    assert [attendee.address for attendee in one.attendees] == ["room@example.com", "urn:uuid:1", "c@example.com"]
    assert [attendee.address for attendee in one.unanswered] == ["c@example.com"]
    assert one.own_partstat == ""


def test_long_texts_and_long_lists_are_cut_and_the_user_stays_in_the_list() -> None:
    people = "\n".join(f"ATTENDEE:mailto:p{n}@example.com" for n in range(MAX_ATTENDEES + 100))
    people += "\nATTENDEE;PARTSTAT=DECLINED:mailto:me@example.com"
    event = f"UID:b\nDTSTART:20260303T100000Z\nDESCRIPTION:{'x' * 100_000}\n{people}"
    (one,) = expanded(event, own=["me@example.com"]).occurrences
    assert len(one.description) == MAX_DESCRIPTION_CHARS
    assert len(one.attendees) == MAX_ATTENDEES
    assert one.declined
    assert any(attendee.own for attendee in one.attendees)


def test_a_series_passes_its_rule_to_its_overrides() -> None:
    found = expanded(WEEKLY, "UID:w\nRECURRENCE-ID:20260309T090000Z\nDTSTART:20260309T120000Z")
    assert {one.recurrence for one in found.occurrences} == {"FREQ=WEEKLY"}


def test_a_moved_series_of_a_whole_calendar_stays_in_order() -> None:
    found = expanded(WEEKLY, "UID:a\nDTSTART:20260310T100000Z", "UID:b\nDTSTART:20260301T100000Z")
    assert starts(found) == sorted(starts(found))
