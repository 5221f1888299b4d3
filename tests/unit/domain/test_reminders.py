"""When reminders are due, and the keys of deliveries."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.reminders import (
    AT_START,
    DueReminder,
    agenda_key,
    clean_minutes,
    delivery_key,
    due_reminders,
    is_current,
    snooze_choices,
    snooze_ends,
    snoozed_to,
)
from switchboard.errors import InvalidInputError

START = datetime(2026, 3, 29, 1, 5, tzinfo=UTC)
MEETING = Occurrence(uid="a", recurrence_id="", start=START, end=START + timedelta(hours=1))


def _before(minutes: float) -> datetime:
    return START - timedelta(minutes=minutes)


def _minutes(reminders: tuple[DueReminder, ...]) -> list[int]:
    return [one.minutes for one in reminders]


def test_each_minute_of_the_list_has_its_reminder_earliest_first() -> None:
    assert due_reminders(MEETING, [5, 15, 10, 10], _before(60)) == (
        DueReminder(_before(15), 15),
        DueReminder(_before(10), 10),
        DueReminder(_before(5), 5),
    )


def test_a_reminder_counts_real_minutes_when_clocks_change_before_the_meeting() -> None:
    # In Berlin the meeting is at 03:05 on the day when 02:00 becomes 03:00.
    assert due_reminders(MEETING, [10], _before(60))[0].fire_at == datetime(2026, 3, 29, 0, 55, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes_ahead", "expected"),
    [
        (60, [15, 10, 5]),
        (15, [15, 10, 5]),
        (14, [15, 10, 5]),
        (10, [10, 5]),
        (7, [10, 5]),
        (5, [5]),
        (1, [5]),
        (0, []),
        (-1, []),
    ],
)
def test_of_reminders_whose_time_is_past_only_the_smallest_is_due_at_once(
    minutes_ahead: float, expected: list[int]
) -> None:
    assert _minutes(due_reminders(MEETING, [15, 10, 5], _before(minutes_ahead))) == expected


def test_asking_again_gives_the_same_pairs_and_a_moved_meeting_new_ones() -> None:
    early = due_reminders(MEETING, [15, 10, 5], _before(30))
    assert set(due_reminders(MEETING, [15, 10, 5], _before(7))) <= set(early)
    moved = replace(MEETING, start=START + timedelta(minutes=30))
    assert not set(due_reminders(moved, [15, 10, 5], _before(7))) & set(early)


@pytest.mark.parametrize(
    ("change", "count"),
    [
        ({"all_day": True}, 0),
        ({"own_partstat": "DECLINED"}, 0),
        ({"status": "CANCELLED"}, 0),
        ({"transparent": True}, 1),
        ({"own_partstat": "TENTATIVE"}, 1),
        ({"own_partstat": "NEEDS-ACTION"}, 1),
    ],
)
def test_all_day_declined_and_cancelled_meetings_have_no_reminder(change: dict[str, object], count: int) -> None:
    assert len(due_reminders(replace(MEETING, **change), [10], _before(60))) == count  # type: ignore[arg-type]


@given(st.sets(st.integers(1, 120), min_size=1, max_size=6), st.integers(-600, 9000))
def test_at_any_moment_at_most_one_reminder_of_a_meeting_is_current(minutes: set[int], seconds_ahead: int) -> None:
    now = START - timedelta(seconds=seconds_ahead)
    current = [value for value in minutes if is_current(START, value, minutes, now)]
    assert len(current) <= 1
    assert bool(current) == (0 < seconds_ahead <= max(minutes) * 60)
    due = due_reminders(MEETING, minutes, now)
    assert [one.minutes for one in due if one.fire_at <= now] == current
    assert list(due) == sorted(due)


def test_the_list_of_minutes_is_cleaned_and_checked() -> None:
    assert clean_minutes([5, 10, 5]) == (10, 5)
    assert clean_minutes([]) == ()
    for wrong in ([0], [-5], [7 * 24 * 60 + 1], list(range(1, 12))):
        with pytest.raises(InvalidInputError):
            clean_minutes(wrong)


def test_the_delivery_key_holds_everything_that_makes_a_reminder_another_one() -> None:
    def key(
        user_id: str = "u", minutes: int = 10, uid: str = "a", recurrence_id: str = "", start: datetime = START
    ) -> str:
        return delivery_key(
            user_id=user_id, kind="reminder", minutes=minutes, uid=uid, recurrence_id=recurrence_id, start=start
        )

    others = [
        key(user_id="v"),
        key(minutes=5),
        key(uid="b"),
        key(recurrence_id="20260329T010500Z"),
        key(start=START + timedelta(minutes=1)),
    ]
    assert len({key(), *others}) == 6
    assert key() == key()
    assert len(key(user_id="u" * 26, uid="x" * 10_000, recurrence_id="20260329T010500Z")) < 150


def test_the_delivery_key_never_changes_its_form() -> None:
    # Stored keys decide what was sent: another form would send everything again.
    assert (
        delivery_key(user_id="u1", kind="reminder", minutes=10, uid="a@b", recurrence_id="", start=START)
        == "reminder:u1:10:7508d8b5018ea640b85269861a101203:-:20260329T010500Z"
    )
    assert agenda_key(user_id="u1", local_date=date(2026, 3, 29)) == "agenda:u1:2026-03-29"


@pytest.mark.parametrize(
    ("left", "choices"),
    [
        (90, (5, 15, 60, AT_START)),
        (61, (5, 15, 60, AT_START)),
        (60, (5, 15, AT_START)),
        (10, (5, AT_START)),
        (6, (5, AT_START)),
        (5.4, (AT_START,)),
        (1, (AT_START,)),
        (0.9, ()),
        (0, ()),
        (-5, ()),
    ],
)
def test_only_what_lies_before_the_start_or_at_it_can_be_chosen(left: float, choices: tuple[int, ...]) -> None:
    assert snooze_choices(START, _before(left)) == choices


@given(st.floats(0.01, 10_000), st.sampled_from([5, 15, 60, AT_START]))
def test_a_snooze_comes_at_a_whole_minute_near_the_wish_and_never_after_the_start(left: float, choice: int) -> None:
    now = _before(left)
    minutes = snoozed_to(START, choice, now)
    at = START - timedelta(minutes=minutes)
    wished = START if choice == AT_START else min(START, now + timedelta(minutes=choice))
    assert now < at <= START
    assert abs(at - wished) <= timedelta(seconds=30)


def test_a_snooze_is_of_use_to_the_start_and_one_at_the_start_for_five_minutes_more() -> None:
    assert snooze_ends(START, 5) == START
    assert snooze_ends(START, AT_START) == START + timedelta(minutes=5)
