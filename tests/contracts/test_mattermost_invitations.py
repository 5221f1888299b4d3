"""The buttons of a reminder as a person in Mattermost meets them: from the message over the click to the changed message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.caldav.faulty import running_faulty
from sandbox.mattermost import MattermostTwin, Settings
from sandbox.ports import free_port
from switchboard.db.engine import Database
from switchboard.db.models import CalendarAnswer
from switchboard.errors import RemoteUnavailableError
from switchboard.services.calendar import reminders as reminder_service
from switchboard.services.calendar.answering import Answering
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling
from switchboard.services.calendar.reminders import Reminders
from switchboard.services.calendar.snoozing import ReminderMessages
from switchboard.services.channels.mattermost import DELIVERY_PROP, MattermostChannel
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Step
from switchboard.services.deliveries import Deliveries
from tests.contracts.mattermost_client import Caller
from tests.contracts.test_mattermost_commands import NOW, Actor, Office, running_app

START = NOW + timedelta(minutes=10)
LINK = "https://telemost.example.org/j/1"


def invitation(partstat: str = "NEEDS-ACTION") -> bytes:
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:plan\r\nSUMMARY:Plan\r\n"
        f"DTSTART:{START:%Y%m%dT%H%M%SZ}\r\nDURATION:PT1H\r\nX-TELEMOST-CONFERENCE:{LINK}\r\n"
        f"ORGANIZER:mailto:boris@example.org\r\nATTENDEE;PARTSTAT={partstat}:mailto:anna@example.org\r\n"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


class NoLocks:
    def attempt(self, _name: str, _lease_s: float) -> AbstractContextManager[object]:
        return contextlib.nullcontext()


class Reminded:
    """Anna (whose language is Russian) has got a reminder of a meeting that she has not answered."""

    def __init__(self, office: Office) -> None:
        self.office, self.twin = office, office.twin
        self.anna = Actor(office, "anna")
        office.caldav.put("plan.ics", invitation())
        self.account_id = office.connect("anna")
        database, clock = office.database, lambda: office.now
        CalendarPolling(
            database, office.open_server, office.box, CalendarNotices(database), clock, poll_period_s=120
        ).poll(self.account_id)
        self.expansion = CalendarExpansion(database, clock)
        self.expansion.expand_account(self.account_id)
        self.channel = MattermostChannel(office.client, office.drawing)
        self.reminders = Reminders(database, clock)
        self.deliveries = Deliveries(
            database, {"mattermost": self.channel}, {reminder_service.KIND: self.reminders}, clock
        )
        self.answering = Answering(database, office.open_server, office.box, self.channel, NoLocks(), clock)
        self.send()

    def send(self) -> None:
        """A tick of what sends."""
        for batch in (*self.reminders.claim_due(), *self.deliveries.scan_open().to_send["mattermost"]):
            self.deliveries.send("mattermost", batch)

    def post(self) -> dict[str, Any]:
        """The first reminder."""
        return self.twin.posts_to("anna")[0]

    def rows(self) -> list[tuple[str, list[str]]]:
        """The text over each row of buttons, and what they say."""
        attachments = [one for one in self.post()["props"]["attachments"] if one.get("actions")]
        return [(one["text"], [action["name"] for action in one["actions"]]) for one in attachments]

    def labels(self) -> list[str]:
        """The buttons that answer."""
        return self.rows()[0][1]

    def texts(self) -> list[str]:
        """Over the buttons that answer."""
        return [self.rows()[0][0]]

    def press(self, label: str, username: str = "anna") -> str:
        """Click; what is said at once."""
        action = next(
            action
            for one in self.post()["props"]["attachments"]
            for action in one.get("actions") or ()
            if action["name"] == label
        )
        caller = Caller(self.twin, self.twin.token_of(username))
        answer = caller("POST", f"/posts/{self.post()['id']}/actions/{action['id']}", {})
        assert answer.status_code == 200, answer.text
        return str(self.twin.ephemerals_to(username)[-1]["message"])

    def work(self) -> None:
        """Let the queued tasks run."""
        for name, arguments in self.office.queue.queued:
            if name == "calendar.answers.write":
                self.answering.write(int(str(arguments["answer_id"])))
            elif name == "calendar.reminders.show":
                messages = ReminderMessages(self.office.database, self.channel, lambda: self.office.now)
                messages.show(int(str(arguments["delivery_id"])), str(arguments["post_id"]))
        self.office.queue.queued.clear()


@pytest.fixture
def reminded(sqlite_url: str) -> Iterator[Reminded]:
    port = free_port()
    database = Database(sqlite_url)
    settings = Settings(allowed_untrusted_internal_connections=(f"127.0.0.1:{port}",))
    with MattermostTwin.running(settings=settings) as twin, running_faulty() as caldav:
        office = Office(twin, caldav, database, f"http://127.0.0.1:{port}")
        with running_app(port, office.app()):
            office.install()
            yield Reminded(office)
    database.dispose()


def test_a_click_is_answered_at_once_and_the_message_shows_the_result(reminded: Reminded) -> None:
    before = reminded.post()
    assert reminded.labels() == ["Принять", "Возможно", "Отклонить"]
    assert reminded.texts() == ["Вы ещё не ответили"]
    said = reminded.press("Принять")
    assert said == "Plan: вы приняли приглашение. Записываем в календарь … Итог будет виден в сообщении."
    assert b"PARTSTAT=ACCEPTED" not in reminded.office.caldav.objects[reminded.office.caldav.calendar + "plan.ics"][1]
    reminded.work()
    assert b"PARTSTAT=ACCEPTED" in reminded.office.caldav.objects[reminded.office.caldav.calendar + "plan.ics"][1]
    assert reminded.labels() == ["✓ Принять", "Возможно", "Отклонить"]
    assert reminded.texts() == ["✅ вы приняли приглашение"]
    after = reminded.post()
    assert after["message"] == before["message"]
    assert after["props"][DELIVERY_PROP] == before["props"][DELIVERY_PROP]
    assert [one["title_link"] for one in after["props"]["attachments"] if "title_link" in one] == [LINK]


def test_the_buttons_of_the_changed_message_work(reminded: Reminded) -> None:
    for label, partstat in (("Принять", b"ACCEPTED"), ("Отклонить", b"DECLINED"), ("Возможно", b"TENTATIVE")):
        reminded.press(label)
        reminded.work()
        stored = reminded.office.caldav.objects[reminded.office.caldav.calendar + "plan.ics"][1]
        assert b"PARTSTAT=" + partstat in stored


def test_a_refusal_of_the_server_is_shown_in_the_message(reminded: Reminded) -> None:
    reminded.office.caldav.quirks.put_status = 403
    reminded.press("Принять")
    reminded.work()
    assert reminded.labels() == ["Принять", "Возможно", "Отклонить"]
    [text] = reminded.texts()
    assert text.startswith("⚠️ вы приняли приглашение, но записать это в календарь не удалось: сервер календаря")


def test_a_refused_password_names_the_command_that_helps(reminded: Reminded) -> None:
    reminded.office.caldav.password = "other"
    reminded.press("Принять")
    reminded.work()
    assert "`/yandex-calendar connections update`" in reminded.texts()[0]


def test_a_click_after_the_meeting_says_so_and_keeps_nothing(reminded: Reminded) -> None:
    reminded.office.now = START + timedelta(hours=1)
    assert reminded.press("Принять") == "Ответить на это здесь нельзя: встреча уже закончилась."
    reminded.office.now = START + timedelta(days=40)
    assert "устарел" in reminded.press("Принять").lower()
    assert reminded.office.count(CalendarAnswer) == 0


def test_a_click_after_disconnecting_says_to_connect(reminded: Reminded) -> None:
    reminded.office.accounts.disconnect(reminded.account_id, actor="test")
    reminded.press("Принять")
    assert not reminded.office.queue.queued


def test_a_click_whose_task_is_not_queued_is_kept(reminded: Reminded) -> None:
    reminded.office.queue.fault = RemoteUnavailableError("the broker is away")
    reminded.press("Принять")
    assert len(reminded.answering.scan_open()) == 1


def test_a_message_that_shows_the_buttons_already_is_not_changed(reminded: Reminded) -> None:
    reminded.press("Принять")
    reminded.work()
    changed_at = reminded.post()["update_at"]
    with reminded.office.database.read() as session:
        answer = session.scalars(select(CalendarAnswer)).one()
    rows = [
        ButtonRow(
            tuple(
                Choice(label, Step.ANSWER, {}, "primary" if label.startswith("✓") else "default") for label in labels
            ),
            text,
        )
        for text, labels in reminded.rows()
    ]
    reminded.channel.redraw(answer.post_id, rows, reminded.twin.user_id("anna"))
    assert reminded.post()["update_at"] == changed_at
    reminded.channel.redraw(answer.post_id, (), reminded.twin.user_id("anna"))
    assert reminded.rows() == []
    assert reminded.post()["update_at"] > changed_at


def test_a_snooze_is_answered_at_once_shown_in_the_message_and_kept(reminded: Reminded) -> None:
    choices = ["Через 5 минут", "В начале"]
    before = reminded.post()
    assert reminded.rows()[1] == ("Напомнить ещё раз:", choices)
    assert reminded.press("Через 5 минут") == "Plan: напомню в 09:05."
    reminded.work()
    assert reminded.rows() == [
        ("Вы ещё не ответили", ["Принять", "Возможно", "Отклонить"]),
        ("🔔 Напомню в 09:05", choices),
    ]
    assert reminded.post()["message"] == before["message"]
    reminded.press("Принять")
    reminded.work()
    assert [text for text, _ in reminded.rows()] == ["✅ вы приняли приглашение", "🔔 Напомню в 09:05"]
    reminded.send()
    assert len(reminded.twin.posts_to("anna")) == 1
    reminded.office.now = START - timedelta(minutes=5)
    reminded.send()
    [_, again] = reminded.twin.posts_to("anna")
    assert again["message"].startswith("**Через 5 минут: Plan**")


def test_a_snooze_whose_task_is_not_queued_is_kept(reminded: Reminded) -> None:
    reminded.office.queue.fault = RemoteUnavailableError("the broker is away")
    assert reminded.press("В начале") == "Plan: напомню в 09:10."
    reminded.office.now = START
    reminded.send()
    assert reminded.twin.posts_to("anna")[-1]["message"].startswith("**Сейчас: Plan**")


def test_a_snooze_of_a_meeting_that_has_begun_says_so(reminded: Reminded) -> None:
    reminded.office.now = START
    assert reminded.press("Через 5 минут") == "Напомнить ещё раз не получится: встреча уже началась."
    assert not reminded.office.queue.queued


def test_tickets_of_a_meeting_live_as_long_as_it_is_to_come(reminded: Reminded) -> None:
    spring = datetime(2027, 3, 1, tzinfo=UTC)
    answer = Answer(rows=(ButtonRow((Choice("x", Step.ANSWER, until=spring),)),))
    [drawn] = reminded.office.drawing.attachments(answer, reminded.twin.user_id("anna"))
    signed = drawn["actions"][0]["integration"]["context"]["ticket"]
    assert reminded.office.tickets.open(signed).expires_at == spring
