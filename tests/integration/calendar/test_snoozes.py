"""A reminder that its reader asks for once more: from the click to the post, whatever happens to the meeting meanwhile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import select

from switchboard.db.engine import Database
from switchboard.db.models import CalendarSubscriber, Delivery
from switchboard.domain.calendar.answering import Reply
from switchboard.errors import InvalidInputError, NotFoundError, RemoteUnavailableError, UncertainError
from switchboard.services.calendar.accounts import CalendarAccounts, Person, SubscriberSettings
from switchboard.services.calendar.answering import Invitations
from switchboard.services.calendar.snoozing import ReminderMessages, Snoozed, Snoozing
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.conversation.answers import ButtonRow
from tests.integration.calendar.household import NOW, Household, OnePerson, Post, meeting
from tests.integration.calendar.test_reminders import at_once

START = NOW + timedelta(hours=1)  # 11:00 in Berlin
INVITED = ("ORGANIZER:mailto:boris@example.org", "ATTENDEE;PARTSTAT=NEEDS-ACTION:mailto:anna@example.org")


@dataclass
class Messages:
    """Shows what it is told to, unless a problem is left."""

    shown: dict[str, tuple[ButtonRow, ...]] = field(default_factory=dict)
    problems: list[Exception] = field(default_factory=list)
    meanwhile: list[object] = field(default_factory=list)

    def redraw(self, post_id: str, rows: Sequence[ButtonRow], recipient: str) -> None:
        assert recipient == "anna"
        if self.problems:
            raise self.problems.pop(0)
        if self.meanwhile:
            self.meanwhile.pop()()  # type: ignore[operator]
        self.shown[post_id] = tuple(rows)


class Evening:
    """Anna was reminded ten minutes before her meeting `Plan`."""

    def __init__(self, database: Database, *lines: str, minutes: Sequence[int] = (10,)) -> None:
        self.home = home = Household(database)
        self.anna = home.person("anna", minutes=minutes, agenda_enabled=False)
        self.calendar = home.calendar(self.anna)
        self.snoozing = Snoozing(database, home.clock)
        self.messages = Messages()
        self.reminder_messages = ReminderMessages(database, self.messages, home.clock)
        self.put(*lines)
        self.at(-10)
        home.tick()
        self.reminder = home.channel.sent[-1][0]

    def put(self, *lines: str, start: datetime = START) -> None:
        """The meeting as it is on the server now."""
        self.home.expand_all(self.calendar, meeting("Plan", start, *lines), href="/plan.ics")

    def at(self, minutes: float) -> None:
        """Minutes from the start."""
        self.home.clock.now = START + timedelta(minutes=minutes)

    def click(self, choice: int, reminder: int | None = None) -> Snoozed:
        return self.snoozing.ask("anna", reminder or self.reminder, choice)

    def sent_until(self, minutes: float) -> list[str]:
        """The first lines of what is sent by ticks to so many minutes from the start, each with its local time."""
        told = []
        while self.home.clock.now <= START + timedelta(minutes=minutes):
            for post in self.home.tick():
                local = self.home.clock.now + timedelta(hours=1)
                told.append(f"{local:%H:%M:%S} {post.text.splitlines()[0]}")
            self.home.clock.forward(seconds=30)
        return told

    def configure(self, **settings: object) -> None:
        accounts = CalendarAccounts(
            self.home.database,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            OnePerson(Person("anna", "anna", "anna@example.org", "en")),
            None,  # type: ignore[arg-type]
            self.home.clock,
        )
        accounts.configure(self.anna.id, SubscriberSettings(**settings), actor="test")  # type: ignore[arg-type]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def evening(request: pytest.FixtureRequest) -> Iterator[Evening]:
    database = Database(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))
    yield Evening(database)
    database.dispose()


def labels(rows: Sequence[ButtonRow]) -> list[str]:
    return [choice.label for row in rows for choice in row.choices]


def texts(rows: Sequence[ButtonRow]) -> list[str]:
    return [row.text for row in rows]


def test_a_reminder_offers_what_lies_before_the_start_and_the_start(evening: Evening) -> None:
    (_, rows) = evening.home.channel.sent[-1]
    assert (labels(rows), texts(rows)) == (["In 5 minutes", "At the start"], ["Remind me again:"])
    evening.click(0)
    evening.at(0)
    evening.home.tick()
    assert evening.home.channel.sent[-1][1] == (), "nothing is left to be reminded of"


def test_a_click_reminds_once_more_at_its_time(evening: Evening) -> None:
    evening.at(-9.6)
    assert evening.click(5) == Snoozed(START - timedelta(minutes=5), "Plan")
    assert evening.sent_until(1) == ["10:55:24 **In 5 minutes: Plan**"]
    assert evening.home.ledger() == {"SENT": 2}


def test_a_click_for_the_start_reminds_when_the_meeting_begins(evening: Evening) -> None:
    assert evening.click(0).at == START
    assert evening.sent_until(3) == ["11:00:00 **Now: Plan**"]


def test_a_reminder_that_was_asked_for_can_be_snoozed_again(evening: Evening) -> None:
    evening.click(5)
    assert evening.sent_until(-4) == ["10:55:00 **In 5 minutes: Plan**"]
    second, rows = evening.home.channel.sent[-1]
    assert labels(rows) == ["At the start"]
    evening.click(0, second)
    assert evening.sent_until(1) == ["11:00:00 **Now: Plan**"]


def test_two_clicks_are_one_reminder_and_the_last_one_wins(evening: Evening) -> None:
    for choice, seconds in ((5, 0), (5, 1), (0, 5), (5, 50), (5, 20)):
        evening.home.clock.forward(seconds=seconds)
        evening.click(choice)
    assert evening.sent_until(5) == ["10:56:16 **In 4 minutes: Plan**"]


def test_a_click_that_comes_back_to_a_time_that_was_given_up_is_kept(evening: Evening) -> None:
    for choice in (5, 0, 5):
        evening.click(choice)
    assert evening.sent_until(5) == ["10:55:00 **In 5 minutes: Plan**"]


def test_a_choice_that_would_come_after_the_start_comes_at_the_start(evening: Evening) -> None:
    evening.at(-3)
    assert evening.click(5).at == START


def test_clicks_at_once_are_one_reminder(database: Database) -> None:
    evening = Evening(database)
    other = Snoozing(database, evening.home.clock)
    choices = iter([5, 0, 5, 5, 0, 5, 0, 5])
    at_once(8, lambda: other.ask("anna", evening.reminder, next(choices)))
    assert evening.home.ledger()["PENDING"] == 1
    assert len(evening.sent_until(5)) == 1


def test_a_snooze_to_the_minute_of_a_reminder_that_comes_anyway_is_one_with_it(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    evening = Evening(database, minutes=(10, 5))
    evening.click(5)
    assert evening.sent_until(5) == ["10:55:00 **In 5 minutes: Plan**"]
    database.dispose()


def test_no_expansion_and_no_change_of_settings_loses_or_doubles_it(evening: Evening) -> None:
    evening.click(5)
    for lines in (["LOCATION:Room 1"], ["LOCATION:Room 2"], []):
        evening.home.clock.forward(seconds=30)
        evening.put(*lines)
        evening.configure(reminder_minutes=(30, 10), locale="en")  # which also wakes what was put off
        assert evening.home.tick() == []
    assert evening.sent_until(5) == ["10:55:00 **In 5 minutes: Plan**"]


@pytest.mark.parametrize(
    ("lines", "start"),
    [
        ([], START + timedelta(hours=2)),
        (["STATUS:CANCELLED"], START),
        (["ATTENDEE;PARTSTAT=DECLINED:mailto:anna@example.org"], START),
    ],
    ids=["moved", "cancelled", "declined"],
)
def test_it_vanishes_with_its_meeting(evening: Evening, lines: list[str], start: datetime) -> None:
    evening.click(5)
    evening.put(*lines, start=start)
    assert evening.sent_until(5) == []
    assert evening.home.reasons()[-1] == "the meeting was moved, cancelled or declined"


def test_a_meeting_that_is_moved_away_and_back_is_reminded_of(evening: Evening) -> None:
    evening.click(5)
    evening.put(start=START + timedelta(hours=2))
    evening.put()
    assert evening.sent_until(5) == ["10:55:00 **In 5 minutes: Plan**"]


def test_it_comes_in_quiet_hours_because_it_was_asked_for(evening: Evening) -> None:
    evening.configure(quiet_from="10:52", quiet_until="12:00")
    evening.click(5)
    assert evening.sent_until(5) == ["10:55:00 **In 5 minutes: Plan**"]


def test_reminders_that_are_switched_off_take_it_along(evening: Evening) -> None:
    evening.click(5)
    evening.configure(reminders_enabled=False)
    assert evening.sent_until(5) == []
    assert evening.click(5).reason == "begun"


@pytest.mark.parametrize(
    ("choice", "back_at", "told"),
    [(5, -2, ["10:58:00 **In 2 minutes: Plan**"]), (5, 0.5, []), (0, 4, ["11:04:00 **Now: Plan**"]), (0, 6, [])],
)
def test_after_a_downtime_it_comes_late_or_not_at_all(
    evening: Evening, choice: int, back_at: float, told: list[str]
) -> None:
    evening.click(choice)
    evening.at(back_at)
    assert evening.sent_until(8) == told


def test_it_holds_nothing_back_meanwhile(evening: Evening) -> None:
    evening.click(0)
    evening.home.expand_all(evening.calendar, meeting("Other", START + timedelta(minutes=8)))
    assert evening.sent_until(5) == ["10:58:00 **In 10 minutes: Other**", "11:00:00 **Now: Plan**"]


def test_the_same_meeting_in_a_second_calendar_reminds_once(evening: Evening) -> None:
    evening.home.expand_all(evening.home.calendar(evening.anna), meeting("Plan", START))
    evening.click(5)
    assert len(evening.sent_until(5)) == 1


def test_a_click_that_leads_to_nothing_says_why(evening: Evening) -> None:
    evening.home.person("boris")
    assert evening.snoozing.ask("boris", evening.reminder, 5).reason == "gone", "it is not his"
    assert evening.snoozing.ask("nobody", evening.reminder, 5).reason == "gone"
    assert evening.click(5, evening.reminder + 7).reason == "gone"
    evening.put(start=START + timedelta(hours=1))
    assert evening.click(5).reason == "gone"
    evening.put()
    evening.configure(reminders_enabled=False)
    assert evening.click(5).reason == "off"
    evening.at(0)
    assert evening.click(5).reason == "begun"
    with pytest.raises(InvalidInputError):
        evening.click(7)
    assert evening.home.ledger() == {"SENT": 1}


def test_other_messages_have_no_snooze(evening: Evening) -> None:
    with evening.home.database.write() as session:
        session.get_one(Delivery, evening.reminder).kind = "calendar.changes"
    assert evening.click(5).reason == "gone"


def test_the_message_shows_when_and_goes_on_asking(evening: Evening) -> None:
    evening.put(*INVITED)
    evening.click(5)
    assert evening.reminder_messages.show(evening.reminder, "post")
    rows = evening.messages.shown["post"]
    assert texts(rows) == ["You have not answered yet", "🔔 I will remind you at 10:55"]
    assert labels(rows) == ["Accept", "Maybe", "Decline", "In 5 minutes", "At the start"]


def test_who_declines_the_meeting_is_offered_no_reminder_of_it(evening: Evening) -> None:
    evening.put(*INVITED)
    evening.click(5)
    invitations = Invitations(evening.home.database, evening.home.clock)
    assert invitations.ask("anna", evening.reminder, 0, Reply.DECLINED, "post").answer_id
    assert evening.reminder_messages.show(evening.reminder, "post")
    assert labels(evening.messages.shown["post"]) == ["Accept", "Maybe", "✓ Decline"]
    assert invitations.ask("anna", evening.reminder, 0, Reply.ACCEPTED, "post").answer_id
    assert evening.reminder_messages.show(evening.reminder, "post")
    assert texts(evening.messages.shown["post"])[1] == "🔔 I will remind you at 10:55"


def test_what_is_answered_and_asked_while_it_is_drawn_is_shown_too(evening: Evening) -> None:
    evening.put(*INVITED)
    evening.click(5)
    invitations = Invitations(evening.home.database, evening.home.clock)
    evening.messages.meanwhile = [
        lambda: invitations.ask("anna", evening.reminder, 0, Reply.ACCEPTED, "post"),
        lambda: evening.click(0),
    ]
    evening.reminder_messages.show(evening.reminder, "post")
    assert texts(evening.messages.shown["post"]) == [
        "⏳ you accepted: being written to your calendar",
        "🔔 I will remind you at 11:00",
    ]


def test_another_reminder_of_the_meeting_shows_it_as_well(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    evening = Evening(database, minutes=(10, 5))
    evening.click(0)
    evening.at(-5)
    assert evening.home.tick() == [Post("anna", "**In 5 minutes: Plan**\n11:00–12:00")]
    assert texts(evening.home.channel.sent[-1][1]) == ["🔔 I will remind you at 11:00"]
    database.dispose()


def test_a_message_that_cannot_be_changed_is_left_and_a_lost_answer_tried_again(evening: Evening) -> None:
    evening.click(5)
    evening.messages.problems = [NotFoundError("gone"), UncertainError("lost")]
    assert not evening.reminder_messages.show(evening.reminder, "post")
    with pytest.raises(RemoteUnavailableError):
        evening.reminder_messages.show(evening.reminder, "post")
    assert evening.reminder_messages.show(evening.reminder, "post")
    evening.home.delete(CalendarSubscriber, evening.anna.id)
    assert not evening.reminder_messages.show(evening.reminder, "post")


def test_on_another_day_the_date_is_said(evening: Evening) -> None:
    late = datetime(2026, 3, 3, 0, 30, tzinfo=UTC)  # 01:30 in Berlin
    evening.home.clock.now = late - timedelta(hours=2)
    evening.configure(reminder_minutes=(120,))
    evening.home.expand_all(evening.calendar, meeting("Night", late))
    evening.home.tick()
    reminder, rows = evening.home.channel.sent[-1]
    assert labels(rows) == ["In 5 minutes", "In 15 minutes", "In 1 hour", "At the start"]
    evening.click(60, reminder)
    evening.reminder_messages.show(reminder, "post")
    assert texts(evening.messages.shown["post"]) == ["🔔 I will remind you on Mar 3, 00:30"]


def test_what_is_planned_counts_what_was_asked_for(evening: Evening) -> None:
    evening.home.expand_all(evening.calendar, meeting("Other", START + timedelta(minutes=7)))
    subscribers = Subscribers(evening.home.database)
    anna = subscribers.find("anna")
    assert anna is not None

    def planned() -> tuple[str, time] | None:
        found = subscribers.next_reminder(anna, evening.home.clock())
        return (found.title, found.fire_at.time()) if found else None

    assert planned() == ("Other", time(9, 57))
    evening.click(0)
    assert planned() == ("Other", time(9, 57))
    evening.click(5)
    assert planned() == ("Plan", time(9, 55))
    evening.put(start=START + timedelta(hours=5))
    assert planned() == ("Other", time(9, 57))
    with evening.home.database.read() as session:
        assert list(session.scalars(select(Delivery.state).order_by(Delivery.id))) == ["SENT", "EXPIRED", "PENDING"]
