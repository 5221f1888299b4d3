"""What Mattermost calls: who is let in, and what becomes of the answer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from switchboard.errors import RemoteUnavailableError
from switchboard.services.conversation.answers import Later, Step
from switchboard.services.conversation.desk import Handled
from switchboard.services.conversation.tickets import Ticket, Tickets
from tests.unit.routes.fakes import NOW, SLASH_TOKEN, FakeQueue, FakeServices

FORM = {"token": SLASH_TOKEN, "user_id": "u1", "channel_id": "c1", "text": "info", "trigger_id": "t"}


def ticket(tickets: Tickets) -> str:
    return tickets.sign(Ticket(Step.KEEP, "u1", NOW + timedelta(hours=1)))


def test_a_command_with_its_token_is_answered(client: FlaskClient, services: FakeServices) -> None:
    services.desk.given = Handled({"text": "help"})
    answer = client.post("/mattermost/command", data=FORM)
    assert (answer.status_code, answer.get_json()) == (200, {"text": "help"})
    [(call, text)] = services.desk.calls
    assert text == "info"
    assert "response" not in repr(call)


@pytest.mark.parametrize("token", [None, "", "wrong", SLASH_TOKEN[:-1], SLASH_TOKEN + "x"])
def test_a_command_with_another_token_is_401(client: FlaskClient, services: FakeServices, token: str | None) -> None:
    data = {name: value for name, value in {**FORM, "token": token}.items() if value is not None}
    assert client.post("/mattermost/command", data=data).status_code == 401
    assert not services.desk.calls


def test_before_the_installation_a_command_is_503_and_says_what_to_do(
    client: FlaskClient, services: FakeServices
) -> None:
    services.command_tokens.tokens = []
    answer = client.post("/mattermost/command", data={**FORM, "token": ""})
    assert answer.status_code == 503
    assert "mattermost install" in answer.get_json()["detail"]


def test_any_installed_command_is_accepted(client: FlaskClient, services: FakeServices) -> None:
    services.command_tokens.tokens = ["other", SLASH_TOKEN]
    assert client.post("/mattermost/command", data=FORM).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("action", {"user_id": "u1", "context": {"ticket": "forged"}}),
        ("action", {"user_id": "u1", "context": {}}),
        ("action", {"user_id": "u1", "context": None}),
        ("action", []),
        ("dialog", {"user_id": "u1", "state": "forged"}),
        ("dialog", {"user_id": "u1"}),
        ("dialog", {"user_id": "u1", "state": 7}),
    ],
)
def test_clicks_and_dialogs_without_a_ticket_of_ours_are_401(
    client: FlaskClient, services: FakeServices, path: str, body: Any
) -> None:
    assert client.post(f"/mattermost/{path}", json=body).status_code == 401
    assert not services.desk.calls


@pytest.mark.parametrize("field", ["user_id", "channel_id", "trigger_id"])
def test_an_id_with_characters_that_are_not_seen_is_422(
    client: FlaskClient, services: FakeServices, field: str
) -> None:
    body = {"user_id": "u1", "context": {"ticket": ticket(services.tickets)}}
    assert client.post("/mattermost/action", json={**body, field: "u\x001"}).status_code == 422
    assert client.post("/mattermost/command", data={**FORM, field: "u\x001"}).status_code == 422
    assert not services.desk.calls


def test_a_ticket_of_other_keys_is_401(client: FlaskClient) -> None:
    foreign = ticket(Tickets(["x" * 32]))
    assert client.post("/mattermost/dialog", json={"user_id": "u1", "state": foreign}).status_code == 401


def test_slow_work_is_queued_with_ids_and_a_sealed_address_alone(
    client: FlaskClient, services: FakeServices, queue: FakeQueue
) -> None:
    services.desk.given = Handled({"text": "working"}, "u1", Later.REFRESH, "sealed", poll=(3,), expand=(4,))
    client.post("/mattermost/command", data=FORM)
    assert queue.queued == [
        ("calendar.accounts.poll", {"account_id": 3}),
        ("calendar.occurrences.expand", {"account_id": 4}),
        ("calendar.conversations.refresh", {"user_id": "u1", "reply": "sealed"}),
    ]


def test_work_that_cannot_be_queued_is_told_at_once(
    client: FlaskClient, services: FakeServices, queue: FakeQueue
) -> None:
    queue.fault = RemoteUnavailableError("no broker")
    services.desk.given = Handled({"text": "working"}, "u1", Later.CHECK_ACCOUNT, "sealed")
    assert client.post("/mattermost/command", data=FORM).get_json()["text"] == "try again"
    click = {"user_id": "u1", "context": {"ticket": ticket(services.tickets)}}
    assert client.post("/mattermost/action", json=click).get_json() == {"ephemeral_text": "try again"}


def test_a_poll_that_cannot_be_queued_is_left_to_the_next_scan(
    client: FlaskClient, services: FakeServices, queue: FakeQueue
) -> None:
    queue.fault = RemoteUnavailableError("no broker")
    services.desk.given = Handled({}, "u1", poll=(3,))
    body = {"user_id": "u1", "state": ticket(services.tickets), "submission": {"login": "anna"}}
    assert client.post("/mattermost/dialog", json=body).get_json() == {}


def test_a_dialog_that_was_left_changes_nothing(client: FlaskClient, services: FakeServices) -> None:
    body = {"user_id": "u1", "state": ticket(services.tickets), "cancelled": True}
    assert client.post("/mattermost/dialog", json=body).get_json() == {}
    assert not services.desk.calls


def test_a_request_without_a_user_is_422(client: FlaskClient, services: FakeServices) -> None:
    body = {"state": ticket(services.tickets)}
    assert client.post("/mattermost/dialog", json=body).status_code == 422
    assert client.post("/mattermost/command", data={"token": SLASH_TOKEN}).status_code == 422
