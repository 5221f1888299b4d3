"""What is told of two states of a calendar: every case as expanded iCalendar, and edits that hypothesis makes up."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.domain.calendar.answering import Reply, Verdict, answer
from switchboard.domain.calendar.changes import AnswerKind, Change, ChangeKind, Snapshot, find_changes
from switchboard.domain.calendar.expansion import expand
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from tests.unit.domain.icalendar_text import calendar

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
BEFORE = (NOW - timedelta(days=1), NOW + timedelta(days=62))
LATER = NOW + timedelta(days=5)
OWN = frozenset({"me@example.org"})

SINGLE = """
UID:one
DTSTART:20260305T100000Z
DTEND:20260305T110000Z
SUMMARY:Review
LOCATION:Room 1
DESCRIPTION:Agenda
"""
DAILY = """
UID:series
DTSTART;TZID=Europe/Berlin:20260303T100000
DTEND;TZID=Europe/Berlin:20260303T103000
RRULE:FREQ=WEEKLY;COUNT=6
SUMMARY:Standup
ORGANIZER:mailto:boss@example.org
"""
PEOPLE = """
ORGANIZER:mailto:me@example.org
ATTENDEE;PARTSTAT=ACCEPTED:mailto:me@example.org
ATTENDEE;CN=Ann;PARTSTAT=NEEDS-ACTION:mailto:ann@example.org
"""


def shown(
    *events: str, window: tuple[datetime, datetime] = BEFORE, zone: str = "Europe/Moscow"
) -> tuple[Occurrence, ...]:
    return read(calendar(*events), window, zone)


def read(raw: bytes, window: tuple[datetime, datetime] = BEFORE, zone: str = "Europe/Moscow") -> tuple[Occurrence, ...]:
    found = expand(
        raw, window=window, zone=ZoneInfo(zone), own_addresses=OWN, singles_until=datetime(2100, 1, 1, tzinfo=UTC)
    )
    return found.occurrences


def changes(
    before: tuple[Occurrence, ...] | None,
    after: tuple[Occurrence, ...],
    *,
    now: datetime = NOW,
    elsewhere: tuple[Occurrence, ...] = (),
    until: datetime | None = BEFORE[1],
) -> tuple[Change, ...]:
    snapshot = Snapshot(1, before or (), after, known=before is not None, until=until if before is not None else None)
    return find_changes([snapshot], now, elsewhere=elsewhere)


def told(found: tuple[Change, ...]) -> list[tuple[str, str, int]]:
    return [(one.kind.value, one.title, one.count) for one in found]


def times(change: Change) -> tuple[str | None, str | None]:
    return (
        f"{change.old.start:%m%dT%H%M}" if change.old else None,
        f"{change.new.start:%m%dT%H%M}" if change.new else None,
    )


@pytest.mark.parametrize(
    ("event", "edit"),
    [
        (SINGLE, ("", "")),
        # the same instant written in another zone, and DST of the organiser's zone
        (SINGLE, ("DTSTART:20260305T100000Z", "DTSTART;TZID=Europe/Moscow:20260305T130000")),
        (SINGLE, ("DTEND:20260305T110000Z", "DURATION:PT1H")),
        (SINGLE, ("SUMMARY:Review", "SUMMARY: Review ")),
        (SINGLE, ("UID:one", "UID:one\nSEQUENCE:7\nDTSTAMP:20260302T070000Z\nLAST-MODIFIED:20260302T070000Z")),
        (SINGLE, ("DESCRIPTION:Agenda", "DESCRIPTION:Agenda\\n\nX-SERVER:touched")),
        (DAILY, ("COUNT=6", "UNTIL=20260407T080000Z")),
        (SINGLE + PEOPLE, ("PARTSTAT=ACCEPTED:mailto:me", "PARTSTAT=TENTATIVE:mailto:me")),
        (SINGLE + PEOPLE, ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:me@example.org\n", "")),
        (
            DAILY + "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:me@example.org",
            ("PARTSTAT=NEEDS-ACTION", "PARTSTAT=ACCEPTED"),
        ),
        (SINGLE + PEOPLE, ("mailto:ann@example.org", "MAILTO:Ann@Example.org")),
        (
            SINGLE + PEOPLE.replace("CN=Ann;PARTSTAT=NEEDS-ACTION", "CN=Ann;PARTSTAT=ACCEPTED"),
            ("CN=Ann;PARTSTAT=ACCEPTED", "CN=Ann;PARTSTAT=NEEDS-ACTION"),
        ),
        (
            SINGLE + PEOPLE.replace("CN=Ann", "CUTYPE=ROOM"),
            ("CUTYPE=ROOM;PARTSTAT=NEEDS-ACTION", "CUTYPE=ROOM;PARTSTAT=ACCEPTED"),
        ),
        (
            SINGLE + PEOPLE.replace("me@example.org", "other@example.org"),
            ("PARTSTAT=NEEDS-ACTION", "PARTSTAT=ACCEPTED"),
        ),
    ],
)
def test_what_nobody_would_notice_is_not_told(event: str, edit: tuple[str, str]) -> None:
    assert edit[0] in event
    assert changes(shown(event), shown(event.replace(*edit))) == ()


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (None, (SINGLE,), ("added", 1)),
        (None, (DAILY,), ("added", 6)),
        ((SINGLE,), (), ("cancelled", 1)),  # the last one too
        ((DAILY,), (), ("cancelled", 6)),
        ((SINGLE,), (SINGLE + "STATUS:CANCELLED",), ("cancelled", 1)),
        ((DAILY,), (DAILY + "EXDATE;TZID=Europe/Berlin:20260310T100000",), ("cancelled", 1)),
        ((DAILY,), (DAILY.replace("COUNT=6", "COUNT=2"),), ("cancelled", 4)),
        ((DAILY,), (DAILY.replace("COUNT=6", "UNTIL=20260311T000000Z"),), ("cancelled", 4)),
        ((DAILY,), (DAILY.replace("COUNT=6", "COUNT=8"),), ("added", 2)),
        ((SINGLE,), (SINGLE.replace("T100000Z", "T093000Z"),), ("moved", 1)),
        ((SINGLE,), (SINGLE.replace("T110000Z", "T113000Z"),), ("moved", 1)),
        ((SINGLE,), (SINGLE.replace("20260305", "20260201"),), ("moved", 1)),  # into the past
        ((DAILY,), (DAILY.replace("T100000", "T110000").replace("T103000", "T113000"),), ("moved", 6)),
        ((DAILY,), (DAILY.replace("20260303", "20260304"),), ("moved", 6)),
        ((SINGLE,), (SINGLE + "RRULE:FREQ=WEEKLY;COUNT=3",), ("added", 2)),
        ((SINGLE,), (SINGLE.replace("Review", "Retro"),), ("changed", 1)),
        ((SINGLE,), (SINGLE.replace("Room 1", "Room 2"),), ("changed", 1)),
        ((SINGLE,), (SINGLE.replace("Agenda", "Other"),), ("changed", 1)),
        ((SINGLE,), (SINGLE + "CONFERENCE:https://telemost.yandex.ru/j/1",), ("changed", 1)),
        ((DAILY,), (DAILY.replace("Standup", "Daily"),), ("changed", 6)),
    ],
)
def test_an_edit_is_one_change(
    before: tuple[str, ...] | None, after: tuple[str, ...], expected: tuple[str, int]
) -> None:
    past = (NOW - timedelta(days=31), BEFORE[1])
    [change] = changes(None if before is None else shown(*before), shown(*after, window=past))
    assert (change.kind.value, change.count) == expected
    assert Change.from_json(change.to_json()) == change


def test_a_moved_occurrence_is_told_with_both_times_and_its_new_place() -> None:
    override = DAILY.replace("RRULE:FREQ=WEEKLY;COUNT=6", "RECURRENCE-ID:20260310T090000Z")
    override = override.replace("20260303T10", "20260311T12") + "LOCATION:Attic"
    [change] = changes(shown(DAILY), shown(DAILY, override))
    assert (change.kind, change.count, change.whole, change.series) == (ChangeKind.MOVED, 1, False, True)
    assert times(change) == ("0310T0900", "0311T1100")
    assert [(one.name, one.old, one.new) for one in change.fields] == [("place", "", "Attic")]


def test_a_shifted_series_is_one_line_with_the_next_meeting() -> None:
    shifted = DAILY.replace("T100000", "T110000").replace("T103000", "T113000")
    [change] = changes(shown(DAILY), shown(shifted))
    assert times(change) == ("0303T0900", "0303T1000")
    assert change.whole


def test_a_series_that_shifts_on_the_day_of_a_meeting_shows_that_meeting() -> None:
    shifted = DAILY.replace("T100000", "T110000").replace("T103000", "T113000")
    [change] = changes(shown(DAILY), shown(shifted), now=datetime(2026, 3, 10, 9, 45, tzinfo=UTC))
    assert times(change) == ("0310T0900", "0310T1000")


def test_a_series_put_off_beyond_what_was_known_of_it_is_moved() -> None:
    later = shown(DAILY.replace("20260303", "20260428"))
    [change] = changes(shown(DAILY), later, until=datetime(2026, 4, 20, tzinfo=UTC))
    assert change.kind is ChangeKind.MOVED


def test_a_series_whose_known_meetings_are_all_excluded_is_cancelled_and_not_put_off() -> None:
    weekly = DAILY.replace("20260303", "20260301").replace("COUNT=6", "COUNT=12")
    excluded = [NOW.date() - timedelta(days=1) + timedelta(weeks=week) for week in range(1, 9)]
    dates = ",".join(f"{day:%Y%m%d}T100000" for day in excluded)
    after = shown(
        weekly + f"EXDATE;TZID=Europe/Berlin:{dates}", window=(NOW - timedelta(days=31), NOW + timedelta(days=70))
    )
    assert told(changes(shown(weekly), after)) == [("cancelled", "Standup", 8)]


def test_the_weekday_of_half_a_series_moves() -> None:
    twice = DAILY.replace("COUNT=6", "COUNT=8;BYDAY=TU,FR")
    [change] = changes(shown(twice), shown(twice.replace("TU,FR", "TU,TH")))
    assert (change.kind, change.count, change.whole) == (ChangeKind.MOVED, 4, False)
    assert times(change) == ("0306T0900", "0305T0900")


@pytest.mark.parametrize("uid", ["series_R20260324T090000@google.com", "apple-made-a-new-one"])
@pytest.mark.parametrize(("hour", "kinds"), [("10", []), ("12", ["moved"])])
def test_this_and_following_is_one_series_that_goes_on(uid: str, hour: str, kinds: list[str]) -> None:
    begun = DAILY.replace("UID:series", "UID:series@google.com")
    rest = begun.replace("UID:series@google.com", f"UID:{uid}").replace("COUNT=6", "COUNT=3")
    rest = rest.replace("20260303T10", f"20260324T{hour}")
    found = find_changes(
        [
            Snapshot(1, shown(begun), shown(begun.replace("COUNT=6", "UNTIL=20260323T000000Z")), until=BEFORE[1]),
            Snapshot(1, (), shown(rest), known=False),
        ],
        NOW,
    )
    assert [one.kind.value for one in found] == kinds
    for change in found:
        assert (change.count, times(change)) == (3, ("0324T0900", "0324T1100"))


def test_a_meeting_stored_anew_under_another_uid_is_not_news() -> None:
    again = shown(SINGLE.replace("UID:one", "UID:two"))
    snapshots = [Snapshot(1, shown(SINGLE), ()), Snapshot(1, (), again, known=False)]
    assert find_changes(snapshots, NOW) == ()


def test_a_calendar_that_is_stored_anew_under_other_uids_is_compared_in_time() -> None:
    before = [replace(shown(SINGLE)[0], uid=f"old-{number}", title=f"{number % 40}") for number in range(3_000)]
    after = [replace(one, uid=f"new{one.uid}") for one in before]
    begun = process_time()
    snapshots = [Snapshot(1, (one,), ()) for one in before] + [Snapshot(1, (), (one,), known=False) for one in after]
    assert find_changes(snapshots, NOW) == ()
    assert process_time() - begun < 5


@pytest.mark.parametrize("rule", ["FREQ=DAILY", "FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"])
def test_time_that_passes_is_no_change(rule: str) -> None:
    endless = DAILY.replace("FREQ=WEEKLY;COUNT=6", rule).replace("20260303", "20260102")
    before = shown(endless)
    for window in ((LATER - timedelta(days=1), LATER + timedelta(days=62)), (LATER - timedelta(days=31), LATER)):
        after = shown(endless, window=window)
        if window[1] > BEFORE[1]:
            assert changes(before, after, now=LATER) == ()
    edited = shown(endless.replace("Standup", "Daily"), window=(LATER - timedelta(days=31), LATER + timedelta(days=62)))
    assert [one.kind.value for one in changes(before, edited, now=LATER)] == ["changed"]


def test_a_meeting_in_progress_stays() -> None:
    running = datetime(2026, 3, 5, 10, 30, tzinfo=UTC)
    assert changes(shown(SINGLE), shown(SINGLE), now=running) == ()
    assert told(changes(shown(SINGLE), (), now=running)) == [("cancelled", "Review", 1)]


def test_what_is_over_is_cancelled_and_edited_in_silence() -> None:
    over = datetime(2026, 3, 6, tzinfo=UTC)
    assert changes(shown(SINGLE), (), now=over) == ()
    assert changes(shown(SINGLE), shown(SINGLE.replace("Review", "Retro")), now=over) == ()
    assert changes(None, shown(SINGLE), now=over) == ()
    [moved] = changes(shown(SINGLE), shown(SINGLE.replace("20260305", "20260309")), now=over)
    assert moved.kind is ChangeKind.MOVED


def test_the_users_zone_moves_no_all_day_meeting() -> None:
    day = "UID:day\nDTSTART;VALUE=DATE:20260305\nSUMMARY:Fair"
    assert changes(shown(day, zone="Europe/Moscow"), shown(day, zone="America/Santiago")) == ()
    [moved] = changes(shown(day), shown(day.replace("0305", "0306")))
    assert moved.kind is ChangeKind.MOVED


@pytest.mark.parametrize("rule", ["", "\nRRULE:FREQ=WEEKLY"])
@pytest.mark.parametrize(
    "times",
    [
        "DTSTART;VALUE=DATE:20260305",
        "DTSTART:20260305T233000\nDURATION:PT1H",
        "DTSTART;TZID=Europe/Berlin:20260305T100000\nDURATION:PT1H",  # in the reader's own zone, and not because of it
        "DTSTART;TZID=Nowhere:20260305T100000\nDURATION:PT1H",
        "DTSTART:20260305T100000Z\nDURATION:PT1H",
    ],
)
@pytest.mark.parametrize("zone", ["America/Santiago", "Asia/Tokyo", "Pacific/Apia"])
def test_a_reader_who_moves_to_another_zone_has_moved_no_meeting(times: str, rule: str, zone: str) -> None:
    event = f"UID:e\n{times}{rule}\nSUMMARY:Fair"
    before, after = shown(event, zone="Europe/Berlin"), shown(event, zone=zone)
    snapshot = Snapshot(1, before, after, until=BEFORE[1]).read_in(ZoneInfo(zone))
    assert find_changes([snapshot], NOW) == ()
    assert snapshot.before[:8] == after[:8]
    moved = replace(snapshot, after=shown(event.replace("20260305", "20260306"), zone=zone))
    assert [one.kind for one in find_changes([moved], NOW)] == [ChangeKind.MOVED]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("NEEDS-ACTION", "ACCEPTED", AnswerKind.ACCEPTED),
        ("ACCEPTED", "DECLINED", AnswerKind.DECLINED),
        ("NEEDS-ACTION", "TENTATIVE", AnswerKind.TENTATIVE),
        (None, "NEEDS-ACTION", AnswerKind.INVITED),
        ("ACCEPTED", None, AnswerKind.REMOVED),
    ],
)
@pytest.mark.parametrize("event", [SINGLE, DAILY.replace("ORGANIZER:mailto:boss@example.org\n", "")])
def test_an_answer_is_told_once_a_series(event: str, old: str | None, new: str | None, kind: AnswerKind) -> None:
    def with_ann(partstat: str | None) -> str:
        line = "" if partstat is None else f"ATTENDEE;CN=Ann;PARTSTAT={partstat}:mailto:ann@example.org"
        return event + PEOPLE.replace("ATTENDEE;CN=Ann;PARTSTAT=NEEDS-ACTION:mailto:ann@example.org", line)

    [change] = changes(shown(with_ann(old)), shown(with_ann(new)))
    assert (change.kind, change.whole) == (ChangeKind.ANSWERED, True)
    assert [(one.name, one.kind) for one in change.answers] == [("Ann", kind)]


@pytest.mark.parametrize("reply", Reply)
@pytest.mark.parametrize("before", ["NEEDS-ACTION", "ACCEPTED", "DECLINED"])
@pytest.mark.parametrize(("event", "recurrence_id"), [(SINGLE, ""), (DAILY, ""), (DAILY, "20260310T090000Z")])
def test_an_answer_written_from_mattermost_is_never_told_to_who_gave_it(
    event: str, recurrence_id: str, before: str, reply: Reply
) -> None:
    """Also where one meeting of a series gets a component of its own for it."""
    invited = event if "ORGANIZER" in event else event + "ORGANIZER:mailto:boss@example.org\n"
    raw = calendar(f"{invited}ATTENDEE;PARTSTAT={before}:mailto:me@example.org\nATTENDEE:mailto:ann@example.org")
    answered = answer(
        raw,
        uid="one" if event is SINGLE else "series",
        recurrence_id=recurrence_id,
        reply=reply,
        own_addresses=OWN,
        zone=ZoneInfo("Europe/Moscow"),
        now=NOW,
    )
    assert answered.verdict is (Verdict.ALREADY if reply.value == before else Verdict.CHANGED)
    assert changes(read(raw), read(answered.raw or raw)) == ()


@pytest.mark.parametrize(
    ("edit", "kind"),
    [(("T100000Z", "T093000Z"), ChangeKind.MOVED), (("Review", "Retro"), ChangeKind.CHANGED)],
)
def test_what_organisers_change_in_their_own_meetings_is_told_to_them_too(
    edit: tuple[str, str], kind: ChangeKind
) -> None:
    """CalDAV does not say who wrote: it may have been an assistant, or somebody who shares the calendar."""
    own = SINGLE + PEOPLE
    [change] = changes(shown(own), shown(own.replace(*edit)))
    assert change.kind is kind


def test_a_declined_meeting_is_told_only_when_it_moves() -> None:
    declined = SINGLE + "ATTENDEE;PARTSTAT=DECLINED:mailto:me@example.org\n"
    assert changes(shown(declined), shown(declined.replace("Review", "Retro"))) == ()
    assert changes(shown(declined), ()) == ()
    assert changes(None, shown(declined)) == ()
    assert told(changes(shown(declined), shown(declined.replace("T110000Z", "T120000Z")))) == [("moved", "Review", 1)]


class TestCopiesInTwoCalendars:
    """A meeting that stands in two watched calendars is told once, whichever is polled first."""

    MOVED = SINGLE.replace("T10", "T09")

    def test_both_in_one_poll(self) -> None:
        both = [Snapshot(number, shown(SINGLE), shown(self.MOVED)) for number in (1, 2)]
        assert len(find_changes(both, NOW)) == 1
        assert len(find_changes([replace(one, after=()) for one in both], NOW)) == 1
        assert len(find_changes([replace(one, before=(), known=False) for one in both], NOW)) == 1

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (SINGLE, SINGLE.replace("T10", "T09")),
            (SINGLE, SINGLE.replace("Review", "Retro")),
            (SINGLE + PEOPLE, (SINGLE + PEOPLE).replace("NEEDS-ACTION", "ACCEPTED")),
            (DAILY, DAILY.replace("T10", "T11")),
            (DAILY, DAILY.replace("COUNT=6", "COUNT=3")),
            (DAILY, DAILY.replace("COUNT=6", "COUNT=7")),
        ],
    )
    def test_one_after_the_other(self, before: str, after: str) -> None:
        first = changes(shown(before), shown(after), elsewhere=shown(before))
        second = changes(shown(before), shown(after), elsewhere=shown(after))
        assert (len(first), second) == (1, ())

    def test_a_copy_that_stands_keeps_the_meeting(self) -> None:
        assert changes(shown(SINGLE), (), elsewhere=shown(SINGLE)) == ()
        assert changes(None, shown(SINGLE), elsewhere=shown(SINGLE)) == ()
        moved_between = [Snapshot(1, shown(SINGLE), ()), Snapshot(2, (), shown(SINGLE), known=False)]
        assert find_changes(moved_between, NOW) == ()


ATTENDEE = st.builds(
    Attendee,
    address=st.sampled_from(["ann@example.org", "bob@example.org"]),
    partstat=st.sampled_from(["NEEDS-ACTION", "ACCEPTED"]),
)
MEETINGS = st.lists(
    st.builds(
        lambda uid, hours, minutes, title, person: Occurrence(
            uid=uid,
            recurrence_id="",
            start=NOW + timedelta(hours=hours),
            end=NOW + timedelta(hours=hours, minutes=minutes),
            title=title,
            organizer=Attendee("me@example.org", own=True),
            attendees=(person,),
            own_partstat="ACCEPTED",
        ),
        uid=st.uuids().map(str),
        hours=st.integers(1, 1000),
        minutes=st.integers(0, 300),
        title=st.sampled_from(["A", "B", "C"]),
        person=ATTENDEE,
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda one: one.uid,
)
EDITS = {
    "moved": lambda one: replace(one, start=one.start + timedelta(minutes=5), end=one.end + timedelta(minutes=5)),
    "changed": lambda one: replace(one, title=one.title + "!"),
    "answered": lambda one: replace(one, attendees=(replace(one.attendees[0], partstat="DECLINED"),)),
}


def of_each(before: list[Occurrence], after: dict[str, Occurrence | None]) -> list[Snapshot]:
    return [Snapshot(1, (one,), (new,) if (new := after[one.uid]) else ()) for one in before]


@settings(max_examples=150, deadline=None)
@given(meetings=MEETINGS)
def test_a_state_differs_from_itself_in_nothing(meetings: list[Occurrence]) -> None:
    assert find_changes(of_each(meetings, {one.uid: one for one in meetings}), NOW) == ()
    assert find_changes([], NOW, elsewhere=meetings) == ()


@settings(max_examples=200, deadline=None)
@given(meetings=MEETINGS, data=st.data())
def test_random_edits_are_told_exactly(meetings: list[Occurrence], data: st.DataObject) -> None:
    after: dict[str, Occurrence | None] = {}
    expected = []
    for one in meetings:
        kind = data.draw(st.sampled_from([*EDITS, "cancelled", "none"]))
        after[one.uid] = EDITS[kind](one) if kind in EDITS else (None if kind == "cancelled" else one)
        if kind != "none":
            expected.append((kind, one.uid))
    found = find_changes(of_each(meetings, after), NOW)
    assert sorted((one.kind.value, one.uid) for one in found) == sorted(expected)
    for one in meetings:
        new = after[one.uid]
        for change in found:
            if change.uid == one.uid and change.old is not None:
                assert change.old.start == one.start
                assert (change.new.start if change.new else None) == (new.start if new else None)
