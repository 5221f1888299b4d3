"""Custom statuses from stored meetings to the server, with the real client against the twin, on both databases."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as engine_event

from sandbox.caldav.faulty import FaultyServer
from switchboard.db.engine import Database
from switchboard.db.models import CalendarStatus
from switchboard.db.repositories.statuses import want
from switchboard.domain.custom_status import CustomStatus
from switchboard.services.calendar.statuses import LEASE
from tests.integration.calendar.household import NOW
from tests.integration.calendar.status_room import HAND, VACATION, KilledError, Room
from tests.integration.calendar.test_polling import Desk, event
from tests.servers import ANY_DATABASE


def test_a_meeting_is_shown_to_its_end_and_gives_the_previous_status_back(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(10, 40)
    assert room.at(9) == 0
    assert room.shown == "Vacation"
    assert room.at(10) == 1
    assert room.kept == {
        "emoji": "calendar",
        "text": "In a meeting",
        "duration": "date_and_time",
        "expires_at": (NOW + timedelta(minutes=40)).isoformat().replace("+00:00", "Z"),
    }
    assert room.at(40) == 1
    assert room.kept == {**VACATION, "duration": "", "expires_at": "0001-01-01T00:00:00Z"}


def test_nobody_gets_a_status_who_did_not_ask_for_one(room: Room) -> None:
    room.switch(on=False)
    room.meets(0, 30)
    room.at(0)
    assert (room.shown, room.server.calls, room.rows) == (None, [], [])


@ANY_DATABASE
@pytest.mark.parametrize(
    "how", ["cancelled", "shortened", "moved", "declined", "switched off", "deleted", "disconnected"]
)
def test_whatever_ends_a_meeting_early_restores_at_the_next_tick(room: Room, how: str) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    room.at(0)
    assert room.shown == "In a meeting"
    room.clock.forward(minutes=10)
    match how:
        case "cancelled":
            room.cancel()
        case "shortened":
            room.meets(0, 10)
        case "moved":
            room.meets(120, 180)
        case "declined":
            room.meets(0, 60, f"ATTENDEE;PARTSTAT=DECLINED:mailto:{room.anna.email}")
        case "switched off":
            room.switch(on=False)
        case "deleted":
            room.accounts.watch(room.calendar.account_id, [], actor="test")
        case "disconnected":
            room.accounts.disconnect(room.calendar.account_id, actor="test")
    assert room.tick() == 1
    assert room.shown == "Vacation"
    assert [row.phase for row in room.rows] == ([] if how in ("switched off", "disconnected") else ["free"])


@ANY_DATABASE
@pytest.mark.parametrize(
    "line", ["TRANSP:TRANSPARENT", "STATUS:CANCELLED", "ATTENDEE;PARTSTAT=DECLINED:mailto:{email}"]
)
def test_free_cancelled_and_declined_meetings_do_not_count(room: Room, line: str) -> None:
    room.meets(0, 60, line.format(email=room.anna.email))
    assert room.at(1) == 0


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", ["read", "set"])
def test_a_worker_killed_at_any_step_sets_once_and_restores_once(room: Room, call: str, when: str) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    for minute, expected in ((0, "In a meeting"), (60, "Vacation")):
        room.server.dies_at = (call, when)
        with pytest.raises(KilledError):
            room.at(minute)
        room.server.dies_at = None
        assert room.tick() == 0  # its claim stands
        room.clock.forward(seconds=LEASE.total_seconds() + 1)
        room.tick()
        assert room.shown == expected
        assert room.tick() == 0
    (row,) = room.rows
    assert (row.phase, row.written, row.previous) == ("free", [], None)


def test_two_beats_and_two_workers_at_once_write_once(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    for minute, shown in ((0, "In a meeting"), (60, "Vacation")):
        room.clock.now = NOW + timedelta(minutes=minute)
        room.server.calls.clear()
        start, failures = threading.Barrier(4), list[BaseException]()

        def run(start: threading.Barrier = start, failures: list[BaseException] = failures) -> None:
            start.wait()
            try:
                room.tick()
            except BaseException as failure:  # noqa: BLE001  handed over to the test's thread
                failures.append(failure)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert sorted(room.server.calls) == ["read", "set"]
        assert room.shown == shown


def test_the_same_message_twice_is_worked_on_once(room: Room) -> None:
    room.meets(0, 60)
    room.clock.now = NOW
    (claims,) = room.statuses.claim_due()
    assert room.statuses.reconcile(claims) == 1
    assert room.statuses.reconcile(claims) == 0
    assert room.server.calls == ["read", "set"]


def test_a_change_during_the_call_is_not_forgotten(room: Room) -> None:
    """Between our look at the meetings and our record the meeting is cancelled: the next tick restores."""
    room.meets(0, 60)
    room.clock.now = NOW
    (claims,) = room.statuses.claim_due()
    real = room.server.client.set_custom_status

    def cancel_first(user_id: str, status: CustomStatus) -> None:
        room.cancel()
        real(user_id, status)

    room.server.set_custom_status = cancel_first  # type: ignore[method-assign]
    room.statuses.reconcile(claims)
    del room.server.set_custom_status
    assert room.shown == "In a meeting"
    room.tick()
    assert room.shown is None


def test_an_installation_ends_the_wait(room: Room) -> None:
    room.twin.withdraw_rights()
    room.meets(0, 240)
    room.at(0)
    room.twin.grant_rights()
    room.statuses.retry_refused()
    assert room.at(1) == 1


def test_whoever_disconnects_while_the_right_is_missing_gets_their_status_back_once_it_is_there(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    room.at(0)
    room.twin.withdraw_rights()
    room.accounts.disconnect(room.calendar.account_id, actor="test")
    room.at(1)
    assert room.shown == "In a meeting"
    room.twin.grant_rights()
    room.at(70)
    assert room.shown == "Vacation"
    assert room.rows == []


def test_a_poll_that_changes_meetings_makes_the_status_due_and_another_does_not(
    database: Database, faulty: FaultyServer
) -> None:
    desk = Desk(database, faulty)

    def is_woken() -> bool:
        desk.poll()
        with database.write() as session:
            row = session.get_one(CalendarStatus, "u1")
            woken, row.due_at = row.due_at is not None, None
            return woken

    with database.write() as session:
        want(session, "u1", NOW)
    desk.server.put("a.ics", event("a"))
    desk.server.put("b.ics", event("b"))
    assert is_woken()
    assert not is_woken()
    desk.server.delete("a.ics")
    assert is_woken()
    desk.server.delete("b.ics")
    desk.server.put("c.ics", event("c"))
    assert is_woken()


def test_only_what_is_due_is_claimed_and_by_one(room: Room) -> None:
    room.meets(10, 40)
    room.at(0)
    assert room.statuses.claim_due() == []
    room.clock.now = NOW + timedelta(minutes=10)
    assert room.statuses.claim_due() != []
    assert room.statuses.claim_due() == []


def test_the_view_says_what_is_and_what_comes(room: Room) -> None:
    user_id = room.anna.mattermost_user_id
    room.meets(10, 40)
    room.meets(60, 90, uid="next")

    def view() -> Any:
        return dict(room.statuses.list_all())[user_id]

    room.at(0)
    assert view().next_at == NOW + timedelta(minutes=10)
    room.at(10)
    assert view().shown_until == NOW + timedelta(minutes=40)
    room.twin.set_custom_status("anna", **HAND)
    room.meets(10, 45)
    room.at(11)
    assert (view().shown_until, view().left_alone_until) == (None, NOW + timedelta(minutes=45))


def test_nobody_is_locked_while_mattermost_is_asked(room: Room) -> None:
    """No transaction is open during a call: a person can change their settings meanwhile, on SQLite too."""
    room.meets(0, 60)
    open_now: list[int] = []
    count = 0

    def began(_connection: object) -> None:
        nonlocal count
        count += 1

    def ended(_connection: object) -> None:
        nonlocal count
        count -= 1

    engine = room.household.database.engine
    for name, listener in (("begin", began), ("commit", ended), ("rollback", ended)):
        engine_event.listen(engine, name, listener)
    room.server._call = lambda name, work: (open_now.append(count), work())[1]  # type: ignore[method-assign,func-returns-value]
    room.at(0)
    for name, listener in (("begin", began), ("commit", ended), ("rollback", ended)):
        engine_event.remove(engine, name, listener)
    assert open_now == [0, 0]
