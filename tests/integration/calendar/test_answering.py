"""An answer from the click to the calendar server and back into the message, over an odd server."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from sandbox.caldav.faulty import LOGIN, FaultyServer
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    AnswerState,
    CalendarAccount,
    CalendarAnswer,
    CalendarObject,
    CalendarOccurrence,
    CalendarSubscriber,
    Delivery,
)
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.calendar.answering import Reply
from switchboard.errors import NotFoundError, RemoteUnavailableError
from switchboard.services.calendar import changes as change_service
from switchboard.services.calendar import reminders as reminder_service
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person
from switchboard.services.calendar.answering import Answering, Invitations, Taken
from switchboard.services.calendar.changes import Changes
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling
from switchboard.services.calendar.questions import MAX_QUESTIONS
from switchboard.services.calendar.reminders import Reminders
from switchboard.services.calendar.snoozing import Snoozing
from switchboard.services.channels.channel import Rendered
from switchboard.services.conversation.answers import ButtonRow
from switchboard.services.deliveries import Deliveries
from switchboard.services.retention import Retention
from tests.integration.calendar.household import OnePerson

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)  # a Monday
BOX = SecretBox(["k" * 32])
ANNA = "u-anna"
ASKED = "ORGANIZER:mailto:boris@example.org\r\nATTENDEE;PARTSTAT={0};RSVP=TRUE:mailto:anna@example.org\r\n"
WEEKLY = "RRULE:FREQ=WEEKLY;COUNT=5\r\n"


def invitation(uid: str, *more: str, at: str = "20261124T100000Z", partstat: str = "NEEDS-ACTION") -> bytes:
    end = at.replace("T10", "T11")
    return (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nMETHOD:PUBLISH\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n"
        f"DTSTAMP:20261101T000000Z\r\nSUMMARY:{uid}\r\nDTSTART:{at}\r\nDTEND:{end}\r\n{ASKED.format(partstat)}"
        f"{''.join(more)}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


@dataclass
class Channel:
    """Remembers what was sent and what it shows."""

    name: str = "mattermost"
    settle: timedelta = timedelta(seconds=15)
    posts: dict[str, tuple[ButtonRow, ...]] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)
    redrawn: int = 0
    problems: list[Exception] = field(default_factory=list)
    before_redraw: Callable[[], object] | None = None

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        self.texts.append(rendered.message.text)
        self.posts[f"post-{delivery.id}"] = rendered.rows
        return f"post-{delivery.id}"

    def find(self, delivery: ClaimedDelivery) -> str | None:
        raise AssertionError(f"nothing was lost, and {delivery.key} was looked up")

    def redraw(self, post_id: str, rows: Sequence[ButtonRow], recipient: str) -> None:
        assert recipient == ANNA
        if self.before_redraw is not None:
            before, self.before_redraw = self.before_redraw, None
            before()
        if self.problems:
            raise self.problems.pop(0)
        self.redrawn += 1
        self.posts[post_id] = tuple(rows)


@dataclass
class Locks:
    """Free, or held by a poll."""

    busy: bool = False

    def attempt(self, name: str, lease_s: float) -> AbstractContextManager[object] | None:
        assert name.startswith("calendar-account:")
        assert lease_s > 60
        return None if self.busy else contextlib.nullcontext()


class Life:
    """Anna with one calendar on the twin; time stands until it is moved."""

    def __init__(self, database: Database, faulty: FaultyServer) -> None:
        self.database, self.faulty, self.now = database, faulty, NOW
        self.guard = AddressGuard([f"127.0.0.1:{faulty.port}"])
        self.channel, self.locks = Channel(), Locks()
        self.accounts = CalendarAccounts(
            database,
            self.open,
            BOX,
            OnePerson(Person(ANNA, "anna", "anna@example.org", "en", "Europe/Berlin")),
            self.guard,
            self.clock,
        )
        self.polling = CalendarPolling(
            database, self.open, BOX, CalendarNotices(database), self.clock, poll_period_s=120, budget_s=30
        )
        self.expansion = CalendarExpansion(database, self.clock)
        self.changes, self.reminders = Changes(database, self.clock), Reminders(database, self.clock)
        self.deliveries = Deliveries(
            database,
            {"mattermost": self.channel},
            {change_service.KIND: self.changes, reminder_service.KIND: self.reminders},
            self.clock,
        )
        self.invitations = Invitations(database, self.clock)
        self.answering = Answering(database, self.open, BOX, self.channel, self.locks, self.clock, lock_wait_s=0.1)
        request = ConnectRequest(faulty.url, LOGIN, faulty.password, "anna", "Europe/Berlin")
        self.account_id = self.accounts.connect(request, actor="test").account_id
        self.live()

    def clock(self) -> datetime:
        return self.now

    @contextmanager
    def open(self, url: str, login: str, password: str) -> Iterator[CaldavClient]:
        with CaldavClient(url, login, password, guard=self.guard, timeout_s=10, deadline_s=40) as client:
            yield client

    def live(self) -> list[str]:
        """A poll, an expansion and a scan; returns the posts that were sent."""
        self.polling.poll(self.account_id)
        self.expansion.expand_account(self.account_id)
        before = list(self.channel.posts)
        for batch in (*self.changes.claim_due(), *self.reminders.claim_due()):
            self.deliveries.send("mattermost", batch)
        return [post for post in self.channel.posts if post not in before]

    def invite(self, *objects: bytes) -> str:
        """Put invitations on the server; the post that tells of them."""
        for number, raw in enumerate(objects):
            self.faulty.put(f"{number}.ics", raw)
        [post] = self.live()
        return post

    def ask(self, post: str, reply: Reply, row: int = 0) -> Taken:
        """Click a button of a row."""
        choice = next(one for one in self.channel.posts[post][row].choices if one.details["answer"] == reply)
        details = choice.details
        return self.invitations.ask(ANNA, int(details["delivery"]), int(details["meeting"]), reply, post)

    def click(self, post: str, reply: Reply, row: int = 0) -> int:
        """Click, and let the task run; returns the answer's id."""
        taken = self.ask(post, reply, row)
        assert taken.answer_id is not None, taken.reason
        self.answering.write(taken.answer_id)
        return taken.answer_id

    def answer(self, answer_id: int) -> CalendarAnswer:
        with self.database.read() as session:
            return session.get_one(CalendarAnswer, answer_id)

    def state(self, answer_id: int) -> tuple[str, str | None]:
        row = self.answer(answer_id)
        return row.state, row.reason

    def shown(self, post: str, row: int = 0) -> str:
        return self.channel.posts[post][row].text

    def ticked(self, post: str, row: int = 0) -> list[str]:
        return [choice.label for choice in self.channel.posts[post][row].choices if choice.style == "primary"]

    def stored(self, name: str = "0.ics") -> bytes:
        return self.faulty.objects[self.faulty.calendar + name][1]

    def puts(self) -> int:
        return sum(request.startswith("PUT") for request in self.faulty.requests)

    def own(self) -> list[str]:
        """Own answers in the store, by start."""
        with self.database.read() as session:
            found = session.scalars(select(CalendarOccurrence.details).order_by(CalendarOccurrence.start_at))
            return [details["own_partstat"] for details in found]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def life(request: pytest.FixtureRequest, faulty: FaultyServer) -> Iterator[Life]:
    database = Database(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))
    yield Life(database, faulty)
    database.dispose()


# --- which messages ask -------------------------------------------------------------------------------------------


def labels(rows: Sequence[ButtonRow]) -> list[str]:
    return [choice.label for row in rows for choice in row.choices]


def test_a_new_invitation_a_moved_one_and_a_reminder_ask(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    assert labels(life.channel.posts[post]) == ["Accept", "Maybe", "Decline"]
    assert life.shown(post) == "**Plan**: you have not answered yet"
    moved = life.invite(invitation("Plan", at="20261125T100000Z", partstat="DECLINED"))
    assert labels(life.channel.posts[moved]) == ["Accept", "Maybe", "✓ Decline"]
    assert life.shown(moved) == "**Plan**: ❌ you declined"
    life.invite(invitation("Plan", at="20261125T100000Z", partstat="TENTATIVE"), invitation("Other"))
    life.now = datetime(2026, 11, 25, 9, 50, tzinfo=UTC)
    [reminder] = life.live()
    assert life.shown(reminder) == "❔ you said maybe"
    assert life.ticked(reminder) == ["✓ Maybe"]


@pytest.mark.parametrize(
    "raw",
    [
        invitation("Plan", partstat="ACCEPTED"),
        invitation("Plan").replace(b"mailto:anna", b"mailto:clara"),
        invitation("Plan").replace(b"ORGANIZER:mailto:boris", b"ORGANIZER:mailto:anna"),
    ],
    ids=["answered", "not invited", "own"],
)
def test_a_new_meeting_that_wants_no_answer_has_no_buttons(life: Life, raw: bytes) -> None:
    assert life.channel.posts[life.invite(raw)] == ()


def test_a_notice_of_many_asks_about_the_first_and_says_how_to_answer_the_others(life: Life) -> None:
    post = life.invite(*(invitation(f"Plan {number}") for number in range(MAX_QUESTIONS + 2)))
    assert len(life.channel.posts[post]) == MAX_QUESTIONS
    assert "2 more invitations wait for your answer" in life.channel.texts[-1]


def test_a_reminder_shows_a_snooze_and_an_answer_that_come_at_once(life: Life) -> None:
    life.invite(invitation("Plan"))
    life.now = datetime(2026, 11, 24, 9, 50, tzinfo=UTC)
    [reminder] = life.live()
    delivery_id = int(life.channel.posts[reminder][0].choices[0].details["delivery"])
    life.channel.before_redraw = lambda: Snoozing(life.database, life.clock).ask(ANNA, delivery_id, 5)
    life.click(reminder, Reply.ACCEPTED)
    assert [row.text for row in life.channel.posts[reminder]] == ["✅ you accepted", "🔔 I will remind you at 10:55"]


# --- writing ------------------------------------------------------------------------------------------------------


def test_an_answer_stands_on_the_server_in_the_store_and_in_the_message(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    answer_id = life.click(post, Reply.ACCEPTED)
    assert b"ATTENDEE;PARTSTAT=ACCEPTED:mailto:anna@example.org\r\n" in life.stored()
    assert b"METHOD" not in life.stored()
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert (life.shown(post), life.ticked(post)) == ("**Plan**: ✅ you accepted", ["✓ Accept"])
    row = life.answer(answer_id)
    assert (row.due_at, row.claimed_until, row.shown_version) == (None, None, row.version)
    life.expansion.expand_account(life.account_id)
    assert life.own() == ["ACCEPTED"]


def test_an_own_answer_is_not_told_as_a_change_and_not_fetched_again(life: Life) -> None:
    post = life.invite(invitation("Plan"), invitation("Series", WEEKLY))
    life.click(post, Reply.DECLINED, 0)
    life.click(post, Reply.TENTATIVE, 1)
    before = len(life.faulty.requests)
    assert life.live() == []
    assert [request for request in life.faulty.requests[before:] if "sync" not in request] == []


def test_an_invitation_to_a_series_answers_all_of_it_and_a_reminder_one_meeting(life: Life) -> None:
    post = life.invite(invitation("Series", WEEKLY))
    assert life.shown(post) == "**Series**, the whole series: you have not answered yet"
    life.click(post, Reply.ACCEPTED)
    life.expansion.expand_account(life.account_id)
    assert life.own() == ["ACCEPTED"] * 5
    life.now = datetime(2026, 12, 1, 9, 50, tzinfo=UTC)
    [reminder] = life.live()
    assert life.shown(reminder) == "This meeting of the series alone: ✅ you accepted"
    life.click(reminder, Reply.DECLINED)
    assert life.shown(reminder) == "This meeting of the series alone: ❌ you declined"
    life.expansion.expand_account(life.account_id)
    assert life.own()[-4:] == ["DECLINED", "ACCEPTED", "ACCEPTED", "ACCEPTED"]
    assert life.live() == []


def test_the_last_wish_wins_and_the_same_wish_writes_nothing(database: Database, faulty: FaultyServer) -> None:
    life = Life(database, faulty)
    post = life.invite(invitation("Plan"))
    life.click(post, Reply.ACCEPTED)
    life.click(post, Reply.ACCEPTED)
    assert life.puts() == 1
    life.ask(post, Reply.DECLINED)
    life.click(post, Reply.TENTATIVE)
    assert b"PARTSTAT=TENTATIVE" in life.stored()
    assert life.ticked(post) == ["✓ Maybe"]
    assert life.puts() == 2


def test_what_somebody_else_changed_meanwhile_is_kept_and_told(database: Database, faulty: FaultyServer) -> None:
    life = Life(database, faulty)
    post = life.invite(invitation("Plan"))
    theirs = invitation("Plan", "LOCATION:Room 7\r\nX-THEIRS:1\r\n", at="20261126T100000Z")
    life.faulty.quirks.edits.append(lambda: life.faulty.touch("0.ics", theirs))
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert life.puts() == 2
    for part in (b"X-THEIRS:1", b"DTSTART:20261126T100000Z", b"PARTSTAT=ACCEPTED"):
        assert part in life.stored()
    [notice] = life.live()
    assert "Moved" in life.channel.texts[-1]
    assert life.ticked(notice) == ["✓ Accept"]


def test_a_meeting_that_changes_all_the_time_is_left_for_later_and_written_then(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    life.faulty.quirks.edits = [lambda: life.faulty.touch("0.ics")] * 3
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.puts() == 3
    assert life.state(answer_id) == (AnswerState.WAITING, "conflict")
    assert "being changed by somebody else; it is tried again" in life.shown(post)
    assert life.answering.scan_open() == []
    life.now += timedelta(seconds=11)
    assert life.answering.scan_open() == [answer_id]
    life.answering.write(answer_id)
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert life.shown(post) == "**Plan**: ✅ you accepted"


@pytest.mark.parametrize("count", [1, None])
def test_a_put_whose_answer_is_lost_is_looked_up_and_not_repeated(life: Life, count: int | None) -> None:
    post = life.invite(invitation("Plan"))
    life.faulty.faults.add("cut", method="PUT", when="after", count=count)
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert life.puts() == 1


def test_a_server_that_stores_other_bytes_is_read_again(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    life.faulty.quirks.rewrites = lambda raw: raw.replace(b"END:VEVENT", b"X-SERVER:1\r\nEND:VEVENT")
    life.click(post, Reply.ACCEPTED)
    with life.database.read() as session:
        stored = session.scalars(select(CalendarObject)).one()
    assert b"X-SERVER:1" in stored.raw
    assert stored.etag == life.faulty.objects[stored.href][0]


def test_a_server_that_does_not_answer_is_tried_again_until_a_day_has_passed(life: Life) -> None:
    post = life.invite(invitation("Series", WEEKLY))
    life.faulty.faults.add("error", status=502)
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.state(answer_id) == (AnswerState.WAITING, "no_answer")
    waits = []
    for _ in range(9):
        due_at = life.answer(answer_id).due_at
        assert due_at is not None
        waits.append((due_at - life.now).total_seconds())
        life.now = due_at
        life.answering.write(answer_id)
    assert 5 <= waits[0] <= 10
    assert 7 * 60 <= waits[-1] <= 15 * 60
    life.now = NOW + timedelta(days=1)
    life.answering.write(answer_id)
    assert life.state(answer_id) == (AnswerState.FAILED, "no_answer")
    assert "could not be written to your calendar: the calendar server does not answer" in life.shown(post)
    assert life.ticked(post) == []


def test_a_meeting_that_is_over_meanwhile_is_given_up(life: Life) -> None:
    post = life.invite(invitation("Plan", at="20261123T100000Z"))
    life.locks.busy = True
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.state(answer_id) == (AnswerState.WAITING, "no_answer")
    life.locks.busy = False
    life.now = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)
    life.answering.write(answer_id)
    assert life.state(answer_id)[0] == AnswerState.FAILED
    assert life.puts() == 0


@pytest.mark.parametrize("reason", ["refused", "password", "gone", "unsafe", "not_invited", "organiser"])
def test_what_will_never_work_is_said_at_once(life: Life, reason: str) -> None:
    post = life.invite(invitation("Plan"))
    taken = life.ask(post, Reply.ACCEPTED)
    assert taken.answer_id is not None
    quirks = life.faulty.quirks
    if reason == "refused":
        quirks.put_status = 403
    elif reason == "password":
        life.faulty.password = "other"
    elif reason == "gone":
        life.faulty.delete("0.ics")
    elif reason == "unsafe":
        quirks.gives_no_etag = True
    elif reason == "not_invited":
        life.faulty.touch("0.ics", invitation("Plan").replace(b"mailto:anna", b"mailto:clara"))
    else:
        life.faulty.touch("0.ics", invitation("Plan").replace(b"mailto:boris", b"mailto:anna"))
    life.answering.write(taken.answer_id)
    assert life.state(taken.answer_id) == (AnswerState.FAILED, reason)
    assert b"PARTSTAT=ACCEPTED" not in life.faulty.objects.get(life.faulty.calendar + "0.ics", ("", b""))[1]
    assert "could not be written" in life.shown(post)
    assert ("connections update" in life.shown(post)) is (reason == "password")
    assert life.answering.scan_open() == []


def test_a_paused_account_is_not_called(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    with life.database.write() as session:
        session.execute(update(CalendarAccount).values(state="paused"))
    requests = len(life.faulty.requests)
    assert life.state(life.click(post, Reply.ACCEPTED)) == (AnswerState.FAILED, "password")
    assert len(life.faulty.requests) == requests


# --- clicks that lead to nothing ----------------------------------------------------------------------------------


def test_a_click_on_a_past_or_vanished_meeting_or_on_a_foreign_message_says_so(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    [choice, *_] = life.channel.posts[post][0].choices
    delivery_id = int(choice.details["delivery"])
    assert life.invitations.ask("u-boris", delivery_id, 0, Reply.ACCEPTED, post).reason == "gone"
    assert life.invitations.ask(ANNA, delivery_id + 1, 0, Reply.ACCEPTED, post).reason == "gone"
    assert life.invitations.ask(ANNA, delivery_id, 7, Reply.ACCEPTED, post).reason == "gone"
    life.now = datetime(2026, 11, 24, 11, 0, tzinfo=UTC)
    assert life.ask(post, Reply.ACCEPTED).reason == "over"
    life.faulty.delete("0.ics")
    life.polling.poll(life.account_id)
    assert life.ask(post, Reply.ACCEPTED).reason == "gone"
    with life.database.write() as session:
        session.execute(update(Delivery).values(body=None))  # as retention leaves it
    assert life.ask(post, Reply.ACCEPTED).reason == "gone"
    with life.database.read() as session:
        assert session.scalars(select(CalendarAnswer)).all() == []


# --- workers that die, and that meet ------------------------------------------------------------------------------


class _KilledError(Exception):
    """Stands for a process that is no more."""


def killed(*_args: Any, **_kwargs: Any) -> Any:
    raise _KilledError


@pytest.mark.parametrize("step", ["get", "put", "after put", "redraw"])
def test_whatever_step_a_worker_dies_at_the_answer_is_written_once_and_shown(
    life: Life, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = life.invite(invitation("Plan"))
    taken = life.ask(post, Reply.ACCEPTED)
    assert taken.answer_id is not None
    whole = CaldavClient.put

    def put_and_die(*args: Any) -> str:
        whole(*args)
        raise _KilledError

    with monkeypatch.context() as patched, contextlib.suppress(_KilledError):
        if step == "redraw":
            life.channel.before_redraw = killed
        else:
            name, dying = {"get": ("get", killed), "put": ("put", killed), "after put": ("put", put_and_die)}[step]
            patched.setattr(CaldavClient, name, dying)
        life.answering.write(taken.answer_id)
        raise AssertionError("it lived")
    assert life.answering.scan_open() == []  # its claim stands
    life.now += timedelta(seconds=91)
    assert life.answering.scan_open() == [taken.answer_id]
    life.answering.write(taken.answer_id)
    assert life.state(taken.answer_id) == (AnswerState.WRITTEN, None)
    assert life.shown(post) == "**Plan**: ✅ you accepted"
    assert life.puts() == 1
    assert life.stored().count(b"PARTSTAT=ACCEPTED") == 1


def test_wishes_that_come_faster_than_they_can_be_written_hold_nothing_up(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    taken = life.ask(post, Reply.DECLINED)

    class Restless(Locks):
        def attempt(self, name: str, lease_s: float) -> AbstractContextManager[object] | None:
            life.ask(post, Reply.ACCEPTED)  # between the claim and the PUT
            return super().attempt(name, lease_s)

    restless = Answering(life.database, life.open, BOX, life.channel, Restless(), life.clock)
    restless.write(taken.answer_id or 0)
    assert life.puts() == 0
    assert life.answering.scan_open() == [taken.answer_id], "no lease has to end first"
    life.answering.write(taken.answer_id or 0)
    assert life.shown(post) == "**Plan**: ✅ you accepted"
    assert life.puts() == 1


def test_a_worker_whose_claim_was_taken_over_does_not_undo_a_newer_wish(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = life.invite(invitation("Plan"))
    taken = life.ask(post, Reply.ACCEPTED)
    assert taken.answer_id is not None
    whole, answer_id = CaldavClient.get, taken.answer_id

    def stall(*args: Any) -> Any:
        found = whole(*args)
        monkeypatch.setattr(CaldavClient, "get", whole)
        life.ask(post, Reply.DECLINED)
        life.now += timedelta(seconds=91)
        life.answering.write(answer_id)  # another worker, while this one stands still
        return found

    monkeypatch.setattr(CaldavClient, "get", stall)
    life.answering.write(answer_id)
    assert b"PARTSTAT=DECLINED" in life.stored()
    assert life.puts() == 1
    assert life.ticked(post) == ["✓ Decline"]


def test_a_wish_that_comes_while_an_older_one_is_written_is_written_too(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = life.invite(invitation("Plan"))
    whole = CaldavClient.put

    def put_and_click(*args: Any) -> str:
        monkeypatch.setattr(CaldavClient, "put", whole)
        etag = whole(*args)
        second = life.ask(post, Reply.TENTATIVE)
        assert second.answer_id is not None
        life.answering.write(second.answer_id)  # finds it held
        return etag

    monkeypatch.setattr(CaldavClient, "put", put_and_click)
    answer_id = life.click(post, Reply.ACCEPTED)
    assert b"PARTSTAT=TENTATIVE" in life.stored()
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert life.ticked(post) == ["✓ Maybe"]


# --- showing ------------------------------------------------------------------------------------------------------


def test_a_message_that_could_not_be_changed_is_changed_later(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    life.channel.problems = [RemoteUnavailableError("away")]
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.state(answer_id) == (AnswerState.WRITTEN, None)
    assert life.shown(post) == "**Plan**: you have not answered yet"
    life.now += timedelta(seconds=31)
    assert life.answering.scan_open() == [answer_id]
    life.answering.write(answer_id)
    assert life.shown(post) == "**Plan**: ✅ you accepted"
    assert life.puts() == 1


def test_a_message_that_is_gone_ends_the_work(life: Life) -> None:
    post = life.invite(invitation("Plan"))
    life.channel.problems = [NotFoundError("gone")]
    answer_id = life.click(post, Reply.ACCEPTED)
    assert life.answer(answer_id).due_at is None


def test_a_message_with_several_answers_shows_all_of_them(life: Life) -> None:
    post = life.invite(invitation("A"), invitation("B", at="20261125T100000Z"), invitation("C", at="20261126T100000Z"))
    life.click(post, Reply.ACCEPTED, 0)
    taken = life.ask(post, Reply.DECLINED, 1)
    life.channel.before_redraw = lambda: life.answering.write(taken.answer_id or 0)
    life.click(post, Reply.TENTATIVE, 2)  # both are drawn at once; whoever is last has drawn the newest
    assert [row.text for row in life.channel.posts[post]] == [
        "**A**: ✅ you accepted",
        "**B**: ❌ you declined",
        "**C**: ❔ you said maybe",
    ]


def test_disconnecting_forgets_the_answers(life: Life) -> None:
    life.click(life.invite(invitation("Plan")), Reply.ACCEPTED)
    with life.database.write() as session:
        session.execute(delete(CalendarSubscriber))
    with life.database.read() as session:
        assert session.scalars(select(CalendarAnswer)).all() == []


def test_old_answers_are_erased(life: Life) -> None:
    life.click(life.invite(invitation("Plan")), Reply.ACCEPTED)
    retention = Retention(life.database, timedelta(days=90))
    assert retention.erase(NOW + timedelta(days=89)).answers == 0
    assert retention.erase(NOW + timedelta(days=91)).answers == 1
