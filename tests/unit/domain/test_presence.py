"""Who is in a meeting, and what becomes of their custom status, whatever happens in between."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.domain.calendar.presence import (
    Action,
    Block,
    Memory,
    Phase,
    Presence,
    Slot,
    Wanted,
    decide,
    decide_unseen,
    presence_at,
)
from switchboard.domain.custom_status import CustomStatus

TEN = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
OWN = CustomStatus("palm_tree", "Vacation")
HAND = CustomStatus("fire", "Leave me alone")


def at(minutes: float) -> datetime:
    return TEN + timedelta(minutes=minutes)


def slot(begin: float, end: float, **marks: bool) -> Slot:
    return Slot(at(begin), at(end), **marks)


# --- who is in a meeting ----------------------------------------------------------------------------------------------


def test_a_meeting_lasts_from_its_start_to_just_before_its_end() -> None:
    meeting = [slot(0, 60)]
    assert presence_at(meeting, at(-1)) == Presence(None, at(0))
    assert presence_at(meeting, at(0)) == Presence(Block(at(0), at(60)), at(60))
    assert presence_at(meeting, at(59.99)).block is not None
    assert presence_at(meeting, at(60)) == Presence(None, None)


@pytest.mark.parametrize("second", [(60, 90), (30, 90), (59, 90)])
def test_overlapping_and_back_to_back_meetings_are_one(second: tuple[float, float]) -> None:
    assert presence_at([slot(*second), slot(0, 60)], at(10)) == Presence(Block(at(0), at(90)), at(90))
    assert presence_at([slot(*second), slot(0, 60)], at(80)).block == Block(at(0), at(90))


def test_a_meeting_inside_another_does_not_end_it() -> None:
    assert presence_at([slot(0, 60), slot(10, 20)], at(30)).changes_at == at(60)


def test_a_gap_of_a_second_divides_meetings() -> None:
    meetings = [slot(0, 60), Slot(at(60) + timedelta(seconds=1), at(90))]
    assert presence_at(meetings, at(10)).changes_at == at(60)
    assert presence_at(meetings, at(60)) == Presence(None, at(60) + timedelta(seconds=1))


@pytest.mark.parametrize("mark", ["all_day", "transparent", "declined", "cancelled"])
def test_all_day_free_declined_and_cancelled_meetings_do_not_count(mark: str) -> None:
    assert presence_at([slot(0, 60, **{mark: True})], at(10)) == Presence(None, None)
    assert presence_at([slot(0, 60, **{mark: True}), slot(30, 40)], at(35)).block == Block(at(30), at(40))


def test_a_meeting_without_length_is_none() -> None:
    assert presence_at([slot(0, 0), slot(10, 5)], at(0)) == Presence(None, None)


_SLOTS = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20), st.booleans()).map(
        lambda one: slot(one[0], one[0] + one[1], transparent=one[2])
    ),
    max_size=8,
)


@given(_SLOTS, st.integers(-5, 90))
def test_blocks_are_the_minutes_that_some_busy_meeting_covers(slots: list[Slot], minute: int) -> None:
    def covered(moment: int) -> bool:
        return any(one.busy and one.start <= at(moment) < one.end for one in slots)

    found = presence_at(slots, at(minute))
    assert (found.block is not None) == covered(minute)
    later = [moment for moment in range(minute + 1, 100) if covered(moment) != covered(minute)]
    assert found.changes_at == (at(later[0]) if later else None)


# --- what becomes of the status ---------------------------------------------------------------------------------------


def wanted(begin: float, end: float, text: str = "In a meeting") -> Wanted:
    return Wanted.during(Block(at(begin), at(end)), text)


@dataclass
class Desk:
    """A person's status at the server, and our memory of it; counts what was asked and written."""

    current: CustomStatus | None = OWN
    memory: Memory = field(default_factory=Memory)
    reads: int = 0
    writes: list[Action] = field(default_factory=list)

    def tick(self, minute: float, want: Wanted | None, *, dies: str = "") -> None:
        """One look; the process `dies` "before" or "after" the write, or not."""
        unseen = decide_unseen(self.memory, want)
        if unseen is not None:
            self.memory = unseen
            return
        self.reads += 1
        decision = decide(self.memory, want, self.current, at(minute))
        self.memory = decision.memory
        if decision.action is Action.LEAVE:
            return
        if dies == "before":
            return
        self.current = decision.status
        self.writes.append(decision.action)
        if dies != "after":
            self.memory = decision.written()


def test_the_previous_status_comes_back_after_the_meeting() -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    assert desk.current == CustomStatus("calendar", "In a meeting", "date_and_time", at(60))
    desk.tick(60, None)
    assert (desk.current, desk.memory) == (OWN, Memory())


def test_nothing_is_asked_while_nothing_changes() -> None:
    desk = Desk()
    for minute in range(60):
        desk.tick(minute, wanted(0, 60))
    for minute in range(60, 120):
        desk.tick(minute, None)
    assert (desk.reads, desk.writes) == (2, [Action.SET, Action.RESTORE])


def test_an_extension_keeps_the_first_previous_status_and_restores_once() -> None:
    desk = Desk()
    for minute, want in ((0, wanted(0, 30)), (10, wanted(0, 60)), (20, wanted(0, 90)), (30, wanted(0, 45)), (45, None)):
        desk.tick(minute, want)
    assert desk.writes == [Action.SET] * 4 + [Action.RESTORE]
    assert desk.current == OWN


def test_without_a_previous_status_ours_ends_by_itself_and_is_cleared_only_when_it_ends_early() -> None:
    desk = Desk(current=None)
    desk.tick(0, wanted(0, 60))
    desk.tick(60, None)
    assert desk.writes == [Action.SET]
    early = Desk(current=None)
    early.tick(0, wanted(0, 60))
    early.tick(20, None)
    assert (early.current, early.writes) == (None, [Action.SET, Action.CLEAR])


def test_a_previous_status_that_ended_meanwhile_is_not_given_back() -> None:
    desk = Desk(current=replace(OWN, duration="one_hour", expires_at=at(20)))
    desk.tick(0, wanted(0, 60))
    desk.tick(30, None)
    assert (desk.current, desk.writes) == (None, [Action.SET, Action.CLEAR])


def test_a_status_that_was_over_before_the_meeting_counts_as_none() -> None:
    desk = Desk(current=replace(OWN, duration="one_hour", expires_at=at(-20)))
    desk.tick(0, wanted(0, 60))
    assert desk.memory.previous is None


@pytest.mark.parametrize("by_hand", [HAND, OWN, None])
def test_a_status_set_by_hand_is_left_alone_to_the_end_of_the_block_and_not_in_the_next(
    by_hand: CustomStatus | None,
) -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    desk.current = by_hand
    desk.tick(10, wanted(0, 70))
    desk.tick(20, wanted(0, 90))
    desk.tick(90, None)
    assert (desk.current, desk.writes, desk.reads) == (by_hand, [Action.SET], 2)
    desk.tick(100, wanted(100, 110))
    assert desk.writes == [Action.SET, Action.SET]
    desk.tick(110, None)
    assert desk.current is not None or by_hand is None
    assert by_hand is None or desk.current == by_hand


def test_a_hand_of_an_earlier_meeting_does_not_stop_the_next_one() -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    desk.current = HAND
    desk.tick(120, wanted(120, 180))
    assert desk.memory.previous == HAND
    desk.tick(180, None)
    assert desk.current == HAND


def test_the_same_words_with_another_end_are_the_persons_own() -> None:
    """Mattermost proposes "In a meeting" with the calendar emoji to everybody."""
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    assert desk.current is not None
    desk.current = own = replace(desk.current, expires_at=at(45))
    desk.tick(50, None)
    assert desk.current == own


def test_what_was_not_given_back_before_the_next_meeting_is_given_back_after_it() -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    desk.tick(70, wanted(65, 90))
    desk.tick(90, None)
    assert desk.current == OWN


def test_a_meeting_about_to_end_gets_no_status() -> None:
    desk = Desk()
    desk.tick(59.95, wanted(0, 60))
    assert desk.writes == []


def test_the_language_of_the_status_follows_its_reader() -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60))
    desk.tick(5, wanted(0, 60, "На встрече"))
    assert desk.current is not None
    assert desk.current.text == "На встрече"
    desk.tick(60, None)
    assert desk.current == OWN


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_process_that_dies_at_a_write_is_made_good(dies: str) -> None:
    desk = Desk()
    desk.tick(0, wanted(0, 60), dies=dies)
    desk.tick(1, wanted(0, 60))
    assert desk.memory == Memory(Phase.SHOWN, (wanted(0, 60).status,), OWN)
    desk.tick(10, wanted(0, 90), dies=dies)
    desk.tick(11, wanted(0, 90))
    assert desk.current == wanted(0, 90).status
    desk.tick(20, None, dies=dies)
    desk.tick(21, None)
    assert (desk.current, desk.memory) == (OWN, Memory())


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_meeting_that_comes_back_during_the_restore_is_shown_again(dies: str) -> None:
    for own in (OWN, None, replace(OWN, expires_at=at(5))):
        desk = Desk(current=own)
        desk.tick(0, wanted(0, 60))
        desk.tick(10, None, dies=dies)
        desk.tick(11, wanted(0, 60))
        assert desk.current == wanted(0, 60).status
        desk.tick(60, None)
        assert desk.current == OWN if own == OWN else desk.current != OWN


@dataclass(frozen=True)
class Step:
    """A minute of a day: the meetings change, the person's hand moves, a look dies."""

    minute: int
    meetings: list[Slot] | None
    hand: bool
    dies: str


_STEPS = st.lists(
    st.builds(
        Step,
        minute=st.integers(1, 15),
        meetings=st.none() | _SLOTS,
        hand=st.sampled_from([False, False, False, True]),
        dies=st.sampled_from(["", "", "before", "after"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=400)
@given(_STEPS, st.booleans())
def test_a_persons_own_status_is_never_lost_or_overwritten_during_a_meeting(
    steps: list[Step], begins_empty: bool
) -> None:
    """The last status of the person's own comes back in the end; one set while ours was shown is not touched in that block."""
    desk, meetings, minute, hands = Desk(current=None if begins_empty else OWN), list[Slot](), 0, 0
    own = desk.current
    guarded: Block | None = None  # the block in which ours was shown when the person set a status of their own
    for step in steps:
        minute += step.minute
        meetings = meetings if step.meetings is None else step.meetings
        block = presence_at(meetings, at(minute)).block
        if guarded is not None and (block is None or block.begin > at(minute - step.minute)):
            guarded = None
        if step.hand:
            hands += 1
            shown = desk.memory.phase is Phase.SHOWN and desk.current in desk.memory.written
            own = desk.current = CustomStatus("fire", f"my status {hands}")
            guarded = block if shown and desk.memory.written[-1].expires_at > at(minute) else None  # type: ignore[operator]
        want = None if block is None else Wanted.during(block, "In a meeting")
        before = desk.current
        desk.tick(minute, want, dies=step.dies)
        if guarded is not None and want is not None:
            assert desk.current == before == own
        if want is None and not step.dies:
            assert desk.memory.phase is Phase.FREE
    desk.tick(minute + 100, None)
    left = desk.current if desk.current is not None and not desk.current.is_over(at(minute + 100)) else None
    assert left == own
    assert desk.memory == Memory()


@given(_SLOTS, st.integers(0, 60), st.sampled_from(["", "before", "after"]))
def test_a_status_converges_whatever_dies(slots: list[Slot], minute: int, dies: str) -> None:
    desk = Desk()
    for offset in (0, 1):
        block = presence_at(slots, at(minute)).block
        desk.tick(
            minute, None if block is None else Wanted.during(block, "In a meeting"), dies=dies if offset == 0 else ""
        )
    assert desk.current == (OWN if block is None else Wanted.during(block, "In a meeting").status)


# --- the server's spelling --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        {"emoji": "calendar", "text": "x", "duration": "date_and_time", "expires_at": "2026-03-02T10:00:00Z"},
        {"emoji": "calendar", "text": "x", "duration": "", "expires_at": "2026-03-02T10:00:00.000000001Z"},
        {"emoji": "calendar", "text": "x ", "duration": "one_hour", "expires_at": "2026-03-02T13:00:00+03:00"},
    ],
)
def test_one_status_is_known_in_every_spelling_of_the_server(wire: dict[str, str]) -> None:
    assert CustomStatus.from_json(wire).same(CustomStatus("calendar", "x", "date_and_time", TEN))


@pytest.mark.parametrize("ends", ["0001-01-01T00:00:00Z", "", None, "soon", "2026-03-02T10:00:00"])
def test_no_end_is_no_end_in_every_spelling(ends: str | None) -> None:
    assert CustomStatus.from_json({"emoji": "x", "text": "y", "expires_at": ends}).expires_at is None


@given(st.text(max_size=5), st.text(max_size=5), st.none() | st.datetimes(timezones=st.just(UTC)))
def test_a_status_survives_its_json(emoji: str, text: str, ends: datetime | None) -> None:
    status = CustomStatus(emoji, text, "" if ends is None else "date_and_time", ends)
    if ends is not None and ends.year == 1:
        return  # the year that means no end
    assert CustomStatus.from_json(json.loads(json.dumps(status.to_json()))) == status
