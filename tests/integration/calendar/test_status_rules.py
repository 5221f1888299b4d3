"""What a status does in every turn that meetings, people and servers take; the full run repeats it on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta

import pytest

from switchboard.services.calendar.accounts import SubscriberSettings
from switchboard.services.calendar.statuses import LOOK_AHEAD, Problem
from tests.integration.calendar.household import NOW, meeting
from tests.integration.calendar.status_room import HAND, PUTS, READS, VACATION, KilledError, Room
from tests.servers import ANY_DATABASE

pytestmark = ANY_DATABASE


def test_the_text_is_in_the_users_language_and_never_tells_the_title(room: Room) -> None:
    room.accounts.configure(room.anna.id, SubscriberSettings(locale="uk"), actor="test")
    room.meets(0, 30, uid="A secret title")
    room.at(0)
    assert room.shown == "На зустрічі"
    assert "secret" not in str([(row.written, row.previous) for row in room.rows])


def test_nothing_is_called_while_nothing_changes(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(10, 40)
    for quarter in range(4 * 60):
        room.at(quarter / 4)
    assert room.server.calls == ["read", "set", "read", "set"]
    room.household.put_again(room.calendar)
    room.household.expand(room.calendar)
    assert room.tick() == 0
    assert room.server.calls == ["read", "set", "read", "set"]


def test_a_row_is_looked_at_again_only_when_something_may_change(room: Room) -> None:
    room.meets(10, 40)
    room.at(0)
    (row,) = room.rows
    assert row.due_at == NOW + timedelta(minutes=10)
    room.at(10)
    (row,) = room.rows
    assert (row.due_at, row.claimed_until) == (NOW + timedelta(minutes=40), None)
    room.at(40)
    (row,) = room.rows
    assert row.due_at == room.clock() + LOOK_AHEAD


@pytest.mark.parametrize("second", [(30, 60), (20, 60)])
def test_back_to_back_and_overlapping_meetings_are_shown_once_and_restored_once(
    room: Room, second: tuple[int, int]
) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 30, uid="a")
    room.meets(*second, uid="b")
    assert [room.at(minute) for minute in (0, 20, 30, 45, 60, 61)] == [1, 0, 0, 0, 1, 0]
    assert room.shown == "Vacation"


def test_a_meeting_that_is_added_during_another_extends_it_and_the_first_status_comes_back(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 30, uid="a")
    room.at(0)
    room.meets(30, 50, uid="b")
    assert room.at(1) == 1
    assert room.at(30) == 0
    assert room.shown == "In a meeting"
    assert room.at(50) == 1
    assert room.shown == "Vacation"


def test_all_day_meetings_do_not_count(room: Room) -> None:
    raw = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:d\nDTSTART;VALUE=DATE:20260302\nSUMMARY:d\nEND:VEVENT\nEND:VCALENDAR\n"
    room.household.expand_all(room.calendar, raw)
    assert room.at(1) == 0


def test_a_status_set_by_hand_is_left_alone_until_the_next_meeting(room: Room) -> None:
    room.meets(0, 30)
    room.meets(60, 90, uid="next")
    room.at(0)
    room.twin.set_custom_status("anna", **HAND)
    room.meets(0, 40)
    for minute in (1, 2, 39, 40, 59):
        assert room.at(minute) == 0
        assert room.shown == "Leave me alone"
    assert room.at(60) == 1
    assert room.shown == "In a meeting"
    assert room.at(90) == 1
    assert room.shown == "Leave me alone"


def test_a_status_taken_away_by_hand_is_not_brought_back(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 30)
    room.at(0)
    room.twin.set_custom_status("anna")
    assert room.at(30) == 0
    assert room.shown is None


def test_a_previous_status_that_ended_meanwhile_does_not_come_back(room: Room) -> None:
    ends = NOW + timedelta(minutes=10)
    room.twin.set_custom_status("anna", **VACATION, duration="one_hour", expires_at=ends.isoformat())
    room.meets(0, 60)
    room.at(0)
    room.clock.forward(minutes=20)
    room.cancel()
    assert room.tick() == 1
    assert room.kept is None


def test_a_previous_status_with_an_end_comes_back_with_its_end(room: Room) -> None:
    ends = (NOW + timedelta(hours=5)).isoformat().replace("+00:00", "Z")
    room.twin.set_custom_status("anna", **VACATION, duration="today", expires_at=ends)
    before = room.kept
    room.meets(0, 30)
    room.at(0)
    room.at(30)
    assert room.kept == before


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_at_an_extension_loses_nothing(room: Room, when: str) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 30)
    room.at(0)
    room.meets(0, 60)
    room.server.dies_at = ("set", when)
    with pytest.raises(KilledError):
        room.at(1)
    room.server.dies_at = None
    room.at(5)
    assert room.kept is not None
    assert room.kept["expires_at"].startswith("2026-03-02T10:00:00")
    room.at(60)
    assert room.shown == "Vacation"


def test_what_a_person_sets_between_a_death_and_its_repair_is_theirs(room: Room) -> None:
    room.meets(0, 60)
    room.server.dies_at = ("set", "after")
    with pytest.raises(KilledError):
        room.at(0)
    room.server.dies_at = None
    room.twin.set_custom_status("anna", **HAND)
    room.at(5)
    room.at(60)
    assert room.shown == "Leave me alone"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_is_looked_up_at_once(room: Room, when: str) -> None:
    room.meets(0, 60)
    room.twin.faults.add("cut", when=when, count=1, **PUTS)
    room.at(0)
    assert room.shown == "In a meeting"
    assert room.server.calls == ["read", "set", "read", *(["set"] if when == "before" else [])]
    assert [(row.phase, row.problem) for row in room.rows] == [("shown", None)]


def test_without_the_right_the_row_says_why_and_an_hour_later_it_is_tried_again(room: Room) -> None:
    room.twin.withdraw_rights()
    room.meets(0, 240)
    room.at(0)
    view = dict(room.statuses.list_all())[room.anna.mattermost_user_id]
    assert (view.problem, view.problem_at, view.shown_until) == (Problem.NO_RIGHT, NOW, None)
    calls = len(room.server.calls)
    for minute in range(1, 60):
        room.at(minute)
    assert len(room.server.calls) == calls
    room.twin.grant_rights()
    assert room.at(60) == 1
    assert dict(room.statuses.list_all())[room.anna.mattermost_user_id].problem is None


def test_after_a_refusal_neither_a_changed_meeting_nor_its_end_makes_us_ask(room: Room) -> None:
    room.twin.withdraw_rights()
    room.meets(0, 50)
    room.at(0)
    calls = len(room.server.calls)
    room.meets(0, 40)
    room.at(1)
    room.cancel()
    room.at(2)
    room.at(120)
    assert len(room.server.calls) == calls
    assert [row.phase for row in room.rows] == ["free"]


def test_a_server_without_custom_statuses_is_a_reason_of_its_own(room: Room) -> None:
    room.twin.call(lambda: setattr(room.twin.world.settings, "enable_custom_user_statuses", False))
    room.meets(0, 60)
    room.at(0)
    assert [row.problem for row in room.rows] == [Problem.SWITCHED_OFF]


def test_a_deactivated_person_is_left_alone(room: Room) -> None:
    room.twin.deactivate("anna")
    room.meets(0, 60)
    room.at(0)
    assert room.server.calls == ["read"]
    assert [row.problem for row in room.rows] == [Problem.DEACTIVATED]


def test_an_outage_is_tried_again_soon_and_the_status_is_right_afterwards(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    fault = room.twin.faults.add("error", status=503, **READS)
    for quarter in range(8):
        room.at(quarter / 4)
    assert [(row.problem, row.problem_at) for row in room.rows] == [(Problem.UNREACHABLE, NOW)]
    assert 2 <= len(room.server.calls) <= 5
    room.twin.faults.remove(fault.id)
    room.at(8)
    assert room.shown == "In a meeting"
    room.at(60)
    assert room.shown == "Vacation"


def test_after_two_failures_the_rest_of_a_batch_does_not_ask(room: Room) -> None:
    for name in ("b", "c", "d", "e"):
        person = room.household.person(room.twin.add_user(f"user-{name}"))
        room.accounts.configure(person.id, SubscriberSettings(status_enabled=True), actor="test")
        room.household.expand_all(room.household.calendar(person), meeting(name, NOW))
    room.meets(0, 60)
    room.twin.faults.add("error", status=503, **READS)
    room.at(0)
    assert len(room.server.calls) == 2
    assert [row.problem for row in room.rows] == [Problem.UNREACHABLE] * 5


def test_the_row_of_somebody_who_left_is_forgotten_in_the_end(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    room.at(0)
    room.twin.withdraw_rights()
    room.accounts.disconnect(room.calendar.account_id, actor="test")
    room.at(1)
    room.at(60 * 24 * 9)
    assert room.rows == []
