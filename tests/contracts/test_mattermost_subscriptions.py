"""The button of an organisation's message in Mattermost: no more of them, and again; from the post to the click and back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from sandbox.caldav.faulty import running_faulty
from sandbox.mattermost import MattermostTwin, Settings
from sandbox.ports import free_port
from switchboard.db.engine import Database
from switchboard.domain.organisations.words import Word
from switchboard.services.channels.mattermost import MattermostChannel
from switchboard.services.deliveries import Deliveries
from switchboard.services.organisations.notices import KINDS, Notices
from switchboard.services.organisations.recipients import Pressed
from tests.contracts.mattermost_client import Caller
from tests.contracts.test_mattermost_commands import Office, running_app
from tests.integration.organisations.house import House

STOP, START = "Больше не присылать", "Присылать снова"
"""Anna's language is Russian."""


class Told:
    """Anna and Boris get an organisation's messages in Mattermost."""

    def __init__(self, office: Office, house: House) -> None:
        self.office, self.house, self.twin = office, house, office.twin
        self.events = 0
        channel = MattermostChannel(office.client, office.drawing)
        notices = Notices(office.database, support_contact="")
        self.ledger = Deliveries(office.database, {"mattermost": channel}, dict.fromkeys(KINDS, notices), house.clock)
        for name in ("anna", "boris"):
            self.add(name, name)

    def add(self, external_id: str, username: str) -> None:
        self.house.add(
            external_id, telegram=None, channel="mattermost", mattermost=self.twin.user_id(username), language="ru"
        )

    def tell(self, *names: str) -> list[tuple[str, str]]:
        """Post an event, send what is due; how it stands, by name."""
        self.events += 1
        event_id = self.house.post(*names, key=f"k{self.events}").event_id
        self.send()
        return [(delivery.recipient, delivery.state) for delivery in self.house.deliveries(event_id)]

    def send(self) -> None:
        self.house.following.follow()
        for batch in self.ledger.scan_open().to_send["mattermost"]:
            self.ledger.send("mattermost", batch)

    def buttons(self, username: str = "anna") -> list[tuple[str, str, str]]:
        """Of all posts to a person, the oldest first: post, action, label."""
        return [
            (post["id"], action["id"], action["name"])
            for post in self.twin.posts_to(username)
            for one in post["props"].get("attachments", ())
            for action in one.get("actions") or ()
        ]

    def press(self, label: str, *, by: str = "anna", of: str = "anna") -> str:
        """Click the newest button of `of` with this label; what is shown to whoever clicked."""
        post_id, action_id, _ = next(one for one in reversed(self.buttons(of)) if one[2] == label)
        caller = Caller(self.twin, self.twin.token_of(by))
        answer = caller("POST", f"/posts/{post_id}/actions/{action_id}", {})
        assert answer.status_code in (200, 403, 404), answer.text
        said: list[dict[str, Any]] = [*self.twin.ephemerals_to(by), *self.twin.posts_to(by)]
        return str(max(said, key=lambda one: one["create_at"])["message"]) if said else ""


@pytest.fixture
def told(sqlite_url: str) -> Iterator[Told]:
    port = free_port()
    database = Database(sqlite_url)
    settings = Settings(allowed_untrusted_internal_connections=(f"127.0.0.1:{port}",))
    with MattermostTwin.running(settings=settings) as twin, running_faulty() as caldav:
        office = Office(twin, caldav, database, f"http://127.0.0.1:{port}")
        house = House(database)
        house.recipients = office.recipients
        with running_app(port, office.app()):
            yield Told(office, house)
    database.dispose()


def test_a_click_ends_the_messages_of_the_organisation_for_this_person_alone(told: Told) -> None:
    assert told.tell("anna", "boris") == [("anna", "sent"), ("boris", "sent")]
    assert [label for _, _, label in told.buttons()] == [STOP]
    told.press(STOP)
    assert told.tell("anna", "boris") == [("anna", "stopped"), ("boris", "sent")]


def test_the_answer_has_the_button_that_brings_them_back(told: Told) -> None:
    told.tell("anna")
    told.press(STOP)
    (shown,) = [one for one in told.twin.ephemerals_to("anna") + told.twin.posts_to("anna") if START in str(one)]
    assert "Вы больше не получаете сообщения: Vega." in shown["message"]


def test_a_button_of_somebody_else_and_of_nobody_does_nothing(told: Told) -> None:
    told.tell("anna", "boris")
    recipients = told.house.recipients
    anna, boris = told.twin.user_id("anna"), told.twin.user_id("boris")
    assert recipients.press(boris, 1, Word.STOP) is None
    assert recipients.press(anna, 99, Word.STOP) is None
    assert recipients.get(told.house.org, "anna").stopped_at is None
    assert recipients.press(anna, 1, Word.STOP) == Pressed("Vega")
    assert recipients.press(anna, 1, Word.STOP) == Pressed("Vega")
    assert recipients.get(told.house.org, "boris").stopped_at is None
    assert recipients.press(anna, 1, Word.START) == Pressed("Vega")
    assert told.tell("anna") == [("anna", "sent")]


def test_the_stop_holds_under_every_name_that_the_person_has_or_gets(told: Told) -> None:
    told.add("anna2", "anna")
    told.tell("anna")
    told.press(STOP)
    told.add("anna3", "anna")
    told.add("clara", "boris")
    assert told.tell("anna2", "anna3", "clara") == [("anna2", "stopped"), ("anna3", "stopped"), ("clara", "sent")]


def test_a_message_that_is_changed_keeps_its_button_and_an_old_one_works(told: Told) -> None:
    told.tell("anna")
    told.house.events.processed(told.house.org, 1)
    told.send()
    told.send()
    (post,) = told.twin.posts_to("anna")
    assert "обработан" in post["message"]
    assert [label for _, _, label in told.buttons()] == [STOP]
    told.office.now = told.house.clock() + timedelta(days=3 * 365)
    told.press(STOP)
    assert told.house.recipients.get(told.house.org, "anna").stopped_at is not None


def test_messages_over_telegram_and_tests_have_no_button(told: Told) -> None:
    told.house.wording.send_test(told.house.org, "anna", kind="default", purpose="notice", actor="test")
    told.send()
    assert len(told.twin.posts_to("anna")) == 1
    assert told.buttons() == []
    told.house.add("timothy")
    told.house.post("timothy", key="t")
    told.house.send()
    assert told.house.telegram.rendered[0].rows == ()
