"""Statuses and answers stand once and rightly, whatever dies: real processes, killed before and after each write.

The remotes count what is written. The calendar server is the twin with one calendar, because it can stand still at a PUT.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import select

from sandbox.caldav.faulty import CALENDAR, FaultyServer
from sandbox.faults import FaultBook
from switchboard.db.models import CalendarAnswer, CalendarStatus
from switchboard.domain.calendar.answering import Reply
from switchboard.services.calendar.accounts import SubscriberSettings
from switchboard.services.calendar.answering import Invitations
from tests.e2e.calendar_servers import FaultyCalendars
from tests.e2e.deployment import ANSWERS, STATUSES, Deployment, Person, now

pytestmark = pytest.mark.parametrize(
    "running",
    [
        pytest.param(("postgresql", "faulty"), id="postgresql"),
        pytest.param(("sqlite", "faulty"), id="sqlite", marks=pytest.mark.full),
    ],
    indirect=True,
)
VACATION = {"emoji": "palm_tree", "text": "Vacation"}


@pytest.fixture
def server(deployment: Deployment) -> Iterator[FaultyServer]:
    """The calendar server without objects; the bot may set statuses."""
    assert isinstance(deployment.calendars, FaultyCalendars)
    deployment.twin.grant_rights()
    server = deployment.calendars.server
    yield server
    server.faults.clear()
    for href in tuple(server.objects):
        server.delete(href.removeprefix(CALENDAR))


def name_for(person: Person) -> str:
    """Of their only object."""
    return f"{person.name}.ics"


def meeting(uid: str, begins_in: timedelta, *lines: str) -> bytes:
    """An hour."""
    begin = (now() + begins_in).replace(microsecond=0)
    times = f"DTSTART:{begin:%Y%m%dT%H%M%SZ}\nDTEND:{begin + timedelta(hours=1):%Y%m%dT%H%M%SZ}"
    body = "\n".join((f"UID:{uid}", f"SUMMARY:{uid}", times, *lines))
    return f"BEGIN:VCALENDAR\nBEGIN:VEVENT\n{body}\nEND:VEVENT\nEND:VCALENDAR\n".encode()


class Writes:
    """Counts the requests of a method and path, and lets one of them stand still for a minute."""

    def __init__(self, faults: FaultBook, path: str) -> None:
        self._faults, self._match = faults, {"method": "PUT", "path": path}
        self._counter = faults.add("slow", seconds=0, **self._match).id

    def hold_next(self, when: str) -> None:
        """The next one stands still before or after its effect."""
        self._faults.remove(self._counter)
        self._stalls = self._faults.add("slow", seconds=60, count=1, when=when, **self._match).id
        self._counter = self._faults.add("slow", seconds=0, **self._match).id

    @property
    def is_held(self) -> bool:
        """Whether the one to hold has come."""
        return self._stalls not in {fault.id for fault in self._faults.listing()}

    @property
    def let_through(self) -> int:
        """Those since the last one that was held."""
        return next(fault.hits for fault in self._faults.listing() if fault.id == self._counter)


def until(deployment: Deployment, task: str, holds: Callable[[], bool], what: str) -> None:
    """Tick until it holds."""

    def ticked() -> bool:
        if not holds():
            deployment.tick(task)
            deployment.wait_idle()
        return holds()

    deployment.wait(ticked, what)


def kill_at(deployment: Deployment, writes: Writes, when: str, task: str, is_there: Callable[[], bool]) -> None:
    """Kill the worker at its next write, before or after the effect; then let its leases end and start another."""
    writes.hold_next(when)
    deployment.tick(task)
    deployment.wait(lambda: writes.is_held and is_there() == (when == "after"), "the write")
    deployment.kill(deployment.the_worker())
    deployment.end_leases()
    deployment.worker()
    deployment.redeliver()  # the killed task's message


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_status_whose_worker_was_killed_is_set_once_and_restored_once(
    deployment: Deployment, server: FaultyServer, when: str
) -> None:
    person = in_a_meeting(deployment, server)
    writes = Writes(deployment.twin.faults, f"/api/v4/users/{person.user_id}/status/custom")
    for shown in ("In a meeting", "Vacation"):
        if shown == "Vacation":
            server.delete(name_for(person))
            deployment.poll(person)
        kill_at(deployment, writes, when, STATUSES, partial(shows, deployment, person, shown))
        until(deployment, STATUSES, partial(has_settled, deployment, person, shown), shown)
        assert writes.let_through == (1 if when == "before" else 0), "written again only where it was not"
    deployment.tick(STATUSES, times=3)
    deployment.wait_idle()
    assert writes.let_through == (1 if when == "before" else 0)


def test_two_workers_and_every_message_ten_times_write_a_status_once(
    deployment: Deployment, server: FaultyServer
) -> None:
    person = in_a_meeting(deployment, server)
    writes = Writes(deployment.twin.faults, f"/api/v4/users/{person.user_id}/status/custom")
    rival = deployment.worker()
    for count, shown in enumerate(("In a meeting", "Vacation"), start=1):
        if shown == "Vacation":
            server.delete(name_for(person))
            deployment.poll(person)
        deployment.tick(STATUSES, times=10)
        until(deployment, STATUSES, partial(has_settled, deployment, person, shown), shown)
        deployment.tick(STATUSES, times=10)
        deployment.wait_idle()
        assert shows(deployment, person, shown)
        assert writes.let_through == count
    deployment.kill(rival)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_whose_worker_was_killed_is_written_once_and_shown(
    deployment: Deployment, server: FaultyServer, when: str
) -> None:
    person = invited(deployment, server)
    writes = Writes(server.faults, f"{CALENDAR}*")
    click(deployment, person)
    kill_at(deployment, writes, when, ANSWERS, lambda: accepted(server, person))
    until(deployment, ANSWERS, lambda: "you accepted" in message(deployment, person), "the answer")
    assert accepted(server, person)
    assert writes.let_through == (1 if when == "before" else 0), "written again only where it was not"
    assert versions(server, person) == 2, "the invitation and one answer"
    nothing_more(deployment, server, person)


def test_two_workers_and_every_click_ten_times_write_an_answer_once(
    deployment: Deployment, server: FaultyServer
) -> None:
    person = invited(deployment, server)
    rival = deployment.worker()
    for _click in range(10):
        answer_id = click(deployment, person)
        deployment.send("calendar.answers.write", answer_id=answer_id)
        deployment.tick(ANSWERS)
    until(deployment, ANSWERS, lambda: has_answered(deployment, person), "the answer")
    deployment.wait_idle()
    assert (accepted(server, person), versions(server, person)) == (True, 2)
    deployment.kill(rival)
    nothing_more(deployment, server, person)


def in_a_meeting(deployment: Deployment, server: FaultyServer) -> Person:
    """Somebody on vacation who is in a meeting, whose status nobody has changed yet."""
    person = deployment.connect()
    deployment.accounts.configure(person.subscriber_id, SubscriberSettings(status_enabled=True), actor="test")
    deployment.twin.set_custom_status(person.name, **VACATION)
    server.put(name_for(person), meeting("Plan", -timedelta(minutes=10)))
    deployment.poll(person)
    return person


def invited(deployment: Deployment, server: FaultyServer) -> Person:
    """Somebody who was told of an invitation."""
    person = deployment.connect(changes=True)
    deployment.poll(person)
    people = ("ORGANIZER:mailto:boris@example.org", "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:anna@example.org")
    server.put(name_for(person), meeting("Plan", timedelta(hours=5), *people))
    deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ["changes"]
    assert "you have not answered yet" in message(deployment, person)
    return person


def click(deployment: Deployment, person: Person) -> int:
    """Accept in the message; the answer's id."""
    [row] = deployment.rows([person])
    [post] = deployment.twin.posts_to(person.name)
    taken = Invitations(deployment.database, now).ask(person.user_id, row.id, 0, Reply.ACCEPTED, str(post["id"]))
    assert taken.answer_id is not None, taken.reason
    return taken.answer_id


def nothing_more(deployment: Deployment, server: FaultyServer, person: Person) -> None:
    """The next poll tells nothing of the own answer, and no tick writes or shows anything again."""
    shown = deployment.twin.posts_to(person.name)
    deployment.poll(person)
    deployment.tick(times=3)
    deployment.wait_idle()
    assert deployment.received(person) == ["changes"]
    assert (deployment.twin.posts_to(person.name), versions(server, person)) == (shown, 2)


def shows(deployment: Deployment, person: Person, text: str) -> bool:
    """Whether this is the person's status."""
    kept = deployment.twin.custom_status_of(person.name)
    return kept is not None and kept["text"] == text


def has_settled(deployment: Deployment, person: Person, text: str) -> bool:
    """Whether it is, and our row knows it."""
    with deployment.database.read() as session:
        phase = session.get_one(CalendarStatus, person.user_id).phase
    return shows(deployment, person, text) and phase == ("shown" if text == "In a meeting" else "free")


def has_answered(deployment: Deployment, person: Person) -> bool:
    """Whether the message says so, and our row knows it: one that is due still would be shown once more, rightly."""
    with deployment.database.read() as session:
        due = select(CalendarAnswer.due_at).where(CalendarAnswer.subscriber_id == person.subscriber_id)
        return "you accepted" in message(deployment, person) and session.scalars(due).all() == [None]


def message(deployment: Deployment, person: Person) -> str:
    """The person's only message, buttons included."""
    [post] = deployment.twin.posts_to(person.name)
    return str(post)


def accepted(server: FaultyServer, person: Person) -> bool:
    return server.objects[CALENDAR + name_for(person)][1].count(b"PARTSTAT=ACCEPTED") == 1


def versions(server: FaultyServer, person: Person) -> int:
    """How often the object was stored."""
    return server.history.count((CALENDAR + name_for(person), False))
