"""Whatever is sent, the answer is a refusal that says what would be right, never a 500 and never a row."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from api import create_app
from switchboard.errors import InvalidInputError
from switchboard.services.organisations.mailings import MailingSettings
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.organisations.previews import PreviewOf
from tests.integration.organisations.house import House
from tests.unit.routes.fakes import ADMIN, FakeQueue, FakeServices, settings

TOO_LARGE = 10**18
DEEP = b"[" * 200_000 + b"]" * 200_000
EVENT: dict[str, Any] = {"kind": "to_sign", "document": {"number": "7/A"}, "recipients": ["anna"]}
NUMBER: dict[str, Any] = {"phone": "+79161230000", "api_id": 1, "api_hash": "0" * 32}


@pytest.fixture
def client(house: House) -> FlaskClient:
    services = FakeServices(organisations=house.services, telegram_accounts=house.accounts.real)
    services.now = house.clock  # type: ignore[method-assign]
    return create_app(settings(), services, FakeQueue()).test_client()


@pytest.fixture
def token(house: House) -> dict[str, str]:
    house.add("anna")
    return {"Authorization": f"Bearer {house.credentials.rotate(house.org, actor='test').token}"}


@pytest.mark.parametrize("number", [TOO_LARGE, 2**63, 10**40])
@pytest.mark.parametrize(
    "address",
    [
        "/organisations/{}",
        "/organisations/{}/recipients",
        "/organisations/1/credentials/{}",
        "/organisations/1/mailings/{}",
        "/telegram/accounts/{}",
        "/telegram/accounts/{}/start",
        "/admin/calendar/accounts/{}",
    ],
)
def test_a_number_that_no_database_holds_names_nothing(client: FlaskClient, address: str, number: int) -> None:
    for method in (client.get, client.post, client.put, client.patch, client.delete):
        assert method(address.format(number), headers=ADMIN).status_code == 404


def test_the_largest_number_is_looked_for(client: FlaskClient) -> None:
    answer = client.get(f"/organisations/{TOO_LARGE - 1}", headers=ADMIN)
    assert (answer.status_code, answer.get_json()["detail"]) == (404, f"there is no organisation {TOO_LARGE - 1}")


def test_numbers_in_queries_and_bodies_are_bounded_too(client: FlaskClient, token: dict[str, str]) -> None:
    assert client.get(f"/documents/events?before={TOO_LARGE}", headers=token).status_code == 422
    event = client.post("/documents/events", json=EVENT, headers={**token, "Idempotency-Key": "k"})
    place = event.headers["Location"]
    assert client.get(f"{place}?after={TOO_LARGE}", headers=token).status_code == 422
    assert client.get(f"/documents/events/{TOO_LARGE}", headers=token).status_code == 404
    assert client.post(f"{place}/processed", json={"event": TOO_LARGE}, headers=token).status_code == 422
    assert client.patch("/organisations/1", json={"parent_id": TOO_LARGE}, headers=ADMIN).status_code == 422
    for page in ("deliveries", "audit"):
        assert client.get(f"/admin/{page}?before={TOO_LARGE}", headers=ADMIN).status_code == 422


@pytest.mark.parametrize("character", ["\x00", "\x07", "\u202e"])
def test_no_text_with_characters_that_are_not_seen_is_stored(
    client: FlaskClient, house: House, token: dict[str, str], character: str
) -> None:
    mine, text = f"/organisations/{house.org}", f"a{character}b"
    keyed = {**token, "Idempotency-Key": "k"}
    recipient = {"opted_in": True, "telegram": "@boris"}
    mailing = {"name": "Menu", "rule": "0 9 * * *", "texts": {"en": "Soup"}}
    document: dict[str, Any] = {"number": "7/A"}
    refused = [
        client.post("/organisations", json={"name": text}, headers=ADMIN),
        client.patch(mine, json={"support_contact": text}, headers=ADMIN),
        client.put(f"{mine}/recipients/boris", json={**recipient, "name": text}, headers=ADMIN),
        client.put(f"{mine}/recipients/boris", json={**recipient, "telegram": text}, headers=ADMIN),
        client.put(f"{mine}/templates/notice/default/en", json={"source": f"{{{{ number }}}} {text}"}, headers=ADMIN),
        client.post(f"{mine}/mailings", json={**mailing, "title": text}, headers=ADMIN),
        client.post(f"{mine}/mailings", json={**mailing, "texts": {"en": text}}, headers=ADMIN),
        client.post(f"{mine}/mailings", json={**mailing, "recipients": [text]}, headers=ADMIN),
        client.post("/documents/events", json={**EVENT, "document": {"number": text}}, headers=keyed),
        client.post("/documents/events", json={**EVENT, "document": {**document, "title": text}}, headers=keyed),
        client.post("/documents/events", json={**EVENT, "recipients": [text]}, headers=keyed),
        client.get(f"{mine}/recipients", query_string={"after": text}, headers=ADMIN),
        client.get("/admin/audit", query_string={"subject": text}, headers=ADMIN),
    ]
    assert [answer.status_code for answer in refused] == [422] * len(refused)
    assert all(answer.get_json()["errors"] for answer in refused)
    named = f"{mine}/recipients/a%{ord(character):02x}b" if character != "\u202e" else f"{mine}/recipients/a\u202eb"
    for method in (client.get, client.delete, client.put):
        assert method(named, json=recipient, headers=ADMIN).status_code == 404
    assert client.delete(named.replace("recipients", "templates/notice/x"), headers=ADMIN).status_code == 404


def test_a_line_break_in_a_title_is_a_space_in_the_message(
    client: FlaskClient, house: House, token: dict[str, str]
) -> None:
    body = {**EVENT, "document": {"number": "7/A", "title": "Lease\r\nof\tland"}}
    client.post("/documents/events", json=body, headers={**token, "Idempotency-Key": "k"})
    house.send()
    assert "Lease of land" in house.telegram.arrived[0][1]


@pytest.mark.parametrize(
    ("deadline", "said"),
    [
        ("0001-01-01T00:00:00+14:00", "2000 to 2199"),
        ("9999-12-31T23:59:59+00:00", "2000 to 2199"),
        ("1999-12-31T23:59:59Z", "2000 to 2199"),
        (-99999999999, "RFC 3339"),
        ("1764000000", "RFC 3339"),
        ("2026-11-25", "RFC 3339"),
        ("2026-11-25T18:00:00", "RFC 3339"),
        (True, "RFC 3339"),
    ],
)
def test_a_deadline_that_is_no_time_of_ours_is_refused(
    client: FlaskClient, token: dict[str, str], deadline: object, said: str
) -> None:
    body = {**EVENT, "document": {"number": "7/A", "deadline": deadline}}
    answer = client.post("/documents/events", json=body, headers={**token, "Idempotency-Key": "k"})
    assert answer.status_code == 422
    (wrong,) = answer.get_json()["errors"]
    assert wrong["field"] == "document.deadline"
    assert said in wrong["detail"]


@pytest.mark.parametrize("deadline", ["2000-01-01T00:00:00+14:00", "2199-12-31T23:59:59.5-11:00", "2026-11-25t18:00z"])
def test_a_deadline_at_the_edge_is_taken(
    client: FlaskClient, house: House, token: dict[str, str], deadline: str
) -> None:
    house.add("anna", zone="Pacific/Kiritimati")
    body = {**EVENT, "document": {"number": "7/A", "deadline": deadline}}
    answer = client.post("/documents/events", json=body, headers={**token, "Idempotency-Key": "k"})
    assert answer.status_code == 202
    house.send()
    assert len(house.telegram.arrived) == 1


@pytest.mark.parametrize(
    ("method", "address", "body", "field"),
    [
        ("PUT", "/organisations/1/telegram", {**NUMBER, "api_id": True}, "api_id"),
        ("PUT", "/organisations/1/telegram", {**NUMBER, "api_id": "1"}, "api_id"),
        ("POST", "/telegram/accounts", {**NUMBER, "api_id": True}, "api_id"),
        ("PUT", "/organisations/1/recipients/b", {"opted_in": "yes", "telegram": "@boris"}, "opted_in"),
        ("PUT", "/organisations/1/recipients/b", {"opted_in": 1, "telegram": "@boris"}, "opted_in"),
        ("PATCH", "/organisations/1", {"parent_id": True}, "parent_id"),
    ],
)
def test_a_value_of_another_type_is_refused(
    client: FlaskClient, method: str, address: str, body: dict[str, object], field: str
) -> None:
    answer = client.open(address, method=method, json=body, headers=ADMIN)
    assert (answer.status_code, [one["field"] for one in answer.get_json()["errors"]]) == (422, [field])


def test_a_body_that_is_nested_too_deep_is_refused(client: FlaskClient, token: dict[str, str]) -> None:
    for address in ("/telegram/accounts", "/organisations", "/organisations/1/mailings"):
        assert client.post(address, data=DEEP, headers=ADMIN, content_type="application/json").status_code == 422
    keyed = {**token, "Idempotency-Key": "k"}
    assert client.post("/documents/events", data=DEEP, headers=keyed).status_code == 422
    for address in ("/mattermost/action", "/mattermost/dialog"):
        assert client.post(address, data=DEEP, content_type="application/json").status_code == 401


def test_only_states_that_there_are_can_be_asked_for(client: FlaskClient, token: dict[str, str]) -> None:
    made = client.post("/documents/events", json=EVENT, headers={**token, "Idempotency-Key": "k"})
    place = made.headers["Location"]
    shown = client.get(f"{place}?state=waiting", headers=token).get_json()
    assert [one["recipient"] for one in shown["deliveries"]] == ["anna"]
    answer = client.get(f"{place}?state=nonsense", headers=token)
    assert answer.status_code == 422
    (wrong,) = answer.get_json()["errors"]
    assert wrong["field"] == "state"
    for state in ("waiting", "collected", "undeliverable", "unknown_recipient"):
        assert state in wrong["detail"]


@pytest.mark.parametrize("address", ["9999999999999999999", "79996612002", "9223372036854775808"])
def test_a_number_that_is_no_id_of_telegram_is_no_address(client: FlaskClient, address: str) -> None:
    body = json.dumps({"opted_in": True, "telegram": address})
    answer = client.put("/organisations/1/recipients/b", data=body, headers=ADMIN)
    assert answer.status_code == 422
    (wrong,) = answer.get_json()["errors"]
    assert wrong["field"] == "telegram"
    assert "+" in wrong["detail"]


@pytest.mark.parametrize("character", ["\x07", "\u202e", "\udcff"])
def test_the_command_line_stores_no_such_text_either(house: House, character: str) -> None:
    text = f"a{character}b"
    mailing = MailingSettings(name="Menu", rule="0 9 * * *", texts={"en": "Soup"})
    tries: list[Callable[[], object]] = [
        lambda: house.organisations.create(text, OrganisationChanges(), actor="cli"),
        lambda: house.organisations.update(house.org, OrganisationChanges(name=text), actor="cli"),
        lambda: house.organisations.update(house.org, OrganisationChanges(support_contact=text), actor="cli"),
        lambda: house.add("boris", name=text),
        lambda: house.add("boris", mattermost=text),
        lambda: house.wording.put(house.org, "default", "notice", "en", f"{{{{ number }}}} {text}", actor="cli"),
        lambda: house.mailings.create(house.org, replace(mailing, name=text), actor="cli"),
        lambda: house.mailings.create(house.org, replace(mailing, title=text), actor="cli"),
        lambda: house.mailings.create(house.org, replace(mailing, texts={"en": text}), actor="cli"),
        lambda: house.notices.preview(house.org, PreviewOf(values={"title": text}), now=house.clock()),
    ]
    for attempt in tries:
        with pytest.raises(InvalidInputError):
            attempt()
