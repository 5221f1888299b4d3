"""Custom statuses from stored meetings to the server, with the real client against the twin, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as engine_event
from sqlalchemy import select

from sandbox.caldav.faulty import FaultyServer
from sandbox.mattermost import MattermostTwin
from sandbox.mattermost.model import Json
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.mattermost import MattermostClient, MattermostUser
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import CalendarObject, CalendarStatus
from switchboard.db.repositories.statuses import wake_account, want
from switchboard.domain.custom_status import CustomStatus
from switchboard.services.calendar.accounts import CalendarAccounts, Person, SubscriberSettings
from switchboard.services.calendar.statuses import LEASE, LOOK_AHEAD, Problem, Statuses
from tests.integration.calendar.household import NOW, Household, meeting
from tests.integration.calendar.test_polling import Desk, event

PUTS = {"method": "PUT", "path": "/api/v4/users/*/status/custom"}
READS = {"method": "GET", "path": "/api/v4/users/*"}
VACATION = {"emoji": "palm_tree", "text": "Vacation"}
HAND = {"emoji": "fire", "text": "Leave me alone"}


class Nobody:
    def find(self, username_or_id: str) -> Person | None:
        return None


class KilledError(Exception):
    """The process ends here."""


class Counting:
    """The real client; counts its calls, and may die or lose time at one of them."""

    def __init__(self, client: MattermostClient) -> None:
        self.client = client
        self.calls: list[str] = []
        self.dies_at: tuple[str, str] | None = None  # (call, before | after)

    def user(self, user_id: str) -> MattermostUser:
        found: MattermostUser = self._call("read", lambda: self.client.user(user_id))
        return found

    def set_custom_status(self, user_id: str, status: CustomStatus) -> None:
        self._call("set", lambda: self.client.set_custom_status(user_id, status))

    def clear_custom_status(self, user_id: str) -> None:
        self._call("clear", lambda: self.client.clear_custom_status(user_id))

    def _call(self, name: str, work: Any) -> Any:
        if self.dies_at == (name, "before"):
            raise KilledError
        self.calls.append(name)
        found = work()
        if self.dies_at == (name, "after"):
            raise KilledError
        return found


class Room:
    """Anna at a twin whose clock is ours, with one calendar; both services over one database."""

    def __init__(self, household: Household, twin: MattermostTwin) -> None:
        self.household, self.twin, self.clock = household, twin, household.clock
        self.server = Counting(MattermostClient(twin.url, twin.bot_token))
        self.statuses = Statuses(household.database, self.server, self.clock)
        box = SecretBox(["k" * 32])
        self.accounts = CalendarAccounts(
            household.database, lambda *_: pytest.fail("no server is asked"), box, Nobody(), AddressGuard(), self.clock
        )
        self.anna = household.person(twin.user_id("anna"))
        self.calendar = household.calendar(self.anna)
        self.switch(on=True)

    def switch(self, *, on: bool) -> None:
        self.accounts.configure(self.anna.id, SubscriberSettings(status_enabled=on), actor="test")

    def meets(self, begin: float, end: float, *lines: str, uid: str = "plan") -> None:
        """A meeting from minute to minute after NOW; the same uid again moves it."""
        start = NOW + timedelta(minutes=begin)
        raw = meeting(uid, start, *lines, minutes=int(end - begin))
        self.household.expand_all(self.calendar, raw, href=f"/{uid}.ics")

    def cancel(self, uid: str = "plan") -> None:
        """As a poll removes an object."""
        with self.household.database.write() as session:
            found = select(CalendarObject).where(CalendarObject.href == f"/{uid}.ics")
            session.delete(session.scalars(found).one())
            wake_account(session, self.calendar.account_id, self.clock())

    def at(self, minute: float) -> int:
        """The tick at that minute after NOW; how many statuses were written."""
        self.clock.now = NOW + timedelta(minutes=minute)
        return self.tick()

    def tick(self) -> int:
        return sum(self.statuses.reconcile(claims) for claims in self.statuses.claim_due())

    @property
    def shown(self) -> str | None:
        """What the clients show beside the name."""
        kept = self.kept
        if kept is None:
            return None
        return None if CustomStatus.from_json(kept).is_over(self.clock()) else str(kept["text"])

    @property
    def kept(self) -> Json | None:
        return self.twin.custom_status_of("anna")

    @property
    def rows(self) -> list[CalendarStatus]:
        with self.household.database.read() as session:
            return list(session.scalars(select(CalendarStatus)))


@pytest.fixture
def room(household: Household) -> Iterator[Room]:
    with MattermostTwin.running(clock=lambda: household.clock().timestamp()) as twin:
        twin.grant_rights()
        yield Room(household, twin)


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


def test_the_text_is_in_the_users_language_and_never_tells_the_title(room: Room) -> None:
    room.accounts.configure(room.anna.id, SubscriberSettings(locale="uk"), actor="test")
    room.meets(0, 30, uid="A secret title")
    room.at(0)
    assert room.shown == "На зустрічі"
    assert "secret" not in str([(row.written, row.previous) for row in room.rows])


def test_nobody_gets_a_status_who_did_not_ask_for_one(room: Room) -> None:
    room.switch(on=False)
    room.meets(0, 30)
    room.at(0)
    assert (room.shown, room.server.calls, room.rows) == (None, [], [])


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


@pytest.mark.parametrize(
    "line", ["TRANSP:TRANSPARENT", "STATUS:CANCELLED", "ATTENDEE;PARTSTAT=DECLINED:mailto:{email}"]
)
def test_free_cancelled_and_declined_meetings_do_not_count(room: Room, line: str) -> None:
    room.meets(0, 60, line.format(email=room.anna.email))
    assert room.at(1) == 0


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


# --- deaths, doubles, lost answers ------------------------------------------------------------------------------------


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


# --- refusals ---------------------------------------------------------------------------------------------------------


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


def test_an_installation_ends_the_wait(room: Room) -> None:
    room.twin.withdraw_rights()
    room.meets(0, 240)
    room.at(0)
    room.twin.grant_rights()
    room.statuses.retry_refused()
    assert room.at(1) == 1


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


def test_the_row_of_somebody_who_left_is_forgotten_in_the_end(room: Room) -> None:
    room.twin.set_custom_status("anna", **VACATION)
    room.meets(0, 60)
    room.at(0)
    room.twin.withdraw_rights()
    room.accounts.disconnect(room.calendar.account_id, actor="test")
    room.at(1)
    room.at(60 * 24 * 9)
    assert room.rows == []


# --- who wakes it -----------------------------------------------------------------------------------------------------


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
