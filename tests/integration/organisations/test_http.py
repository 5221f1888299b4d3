"""Organisations and document events over HTTP: who may, what is refused, and what a repeat gets."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import create_app
from switchboard.errors import RemoteUnavailableError
from switchboard.services.organisations.organisations import OrganisationChanges
from tests.integration.organisations.house import API_HASH, API_ID, PHONE, House
from tests.unit.routes.fakes import ADMIN, FakeQueue, FakeServices, settings

EVENTS = "/documents/events"
BODY: dict[str, Any] = {
    "kind": "to_sign",
    "document": {
        "number": "7/A",
        "title": "Lease",
        "link": "https://docs.example/7",
        "deadline": "2026-11-25T18:00+03:00",
    },
    "recipients": ["anna", "nobody"],
}
both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


class Sender:
    """A document system with its token and secret."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.queue = FakeQueue()
        services = FakeServices(organisations=house.services)
        services.now = house.clock  # type: ignore[method-assign]
        self.app = create_app(settings(), services, self.queue)
        self.pair = house.credentials.rotate(house.org, actor="test")

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    @property
    def token(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.pair.token}"}

    def post(self, body: Any = BODY, *, key: str | None = "k1", headers: dict[str, str] | None = None) -> TestResponse:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {**(self.token if headers is None else headers), **({} if key is None else {"Idempotency-Key": key})}
        return self.client.post(EVENTS, data=data, headers=sent)

    def signed(self, data: bytes, *, at_s: float = 0, secret: str | None = None) -> dict[str, str]:
        timestamp = str(int(self.house.clock().timestamp() + at_s))
        made = hmac.new((secret or self.pair.secret).encode(), timestamp.encode() + b"." + data, hashlib.sha256)
        return {
            "X-Switchboard-Organisation": str(self.house.org),
            "X-Switchboard-Timestamp": timestamp,
            "X-Switchboard-Signature": f"v1={made.hexdigest()}",
        }


@pytest.fixture
def sender(house: House) -> Sender:
    house.add("anna")
    return Sender(house)


def test_an_event_is_202_with_its_id_and_its_address_shows_every_delivery(sender: Sender, house: House) -> None:
    answer = sender.post()
    assert answer.status_code == 202
    event_id = answer.get_json()["id"]
    assert answer.headers["Location"] == f"{EVENTS}/{event_id}"
    assert sender.queue.queued == [("telegram.accounts.wake", {"account_id": house.account_id})]
    house.send()
    shown = sender.client.get(answer.headers["Location"], headers=sender.token).get_json()
    assert [(d["recipient"], d["state"]) for d in shown["deliveries"]] == [
        ("anna", "sent"),
        ("nobody", "unknown_recipient"),
    ]
    assert shown["event"]["counts"] == {"sent": 1, "unknown_recipient": 1}
    assert shown["event"]["deadline_at"] == "2026-11-25T15:00:00Z"
    assert shown["deliveries"][0]["remind_at"] == "2026-11-24T15:00:00Z"
    unread = sender.client.get(f"{EVENTS}/{event_id}?unread=true", headers=sender.token).get_json()
    assert [d["recipient"] for d in unread["deliveries"]] == ["anna"]


def test_who_wants_digests_is_collected_for_until_they_do_not_and_urgent_is_at_once(sender: Sender) -> None:
    anna = f"/organisations/{sender.house.org}/recipients/anna"
    wanted = {"opted_in": True, "telegram": "@anna", "digest": "day", "digest_at": "8:30"}
    stored = sender.client.put(anna, json=wanted, headers=sender.token).get_json()
    assert (stored["digest"], stored["digest_at"]) == ("day", "08:30")
    place = sender.post().headers["Location"]
    assert sender.queue.queued == []
    shown = sender.client.get(f"{place}?state=collected", headers=sender.token).get_json()
    assert [(d["state"], d["digest_at"]) for d in shown["deliveries"]] == [("collected", "2026-11-24T05:30:00Z")]
    assert (shown["event"]["done"], shown["event"]["expected_by"]) == (False, "2026-11-24T05:30:00Z")
    urgent = sender.post({**BODY, "urgent": True}, key="k2").headers["Location"]
    shown = sender.client.get(urgent, headers=sender.token).get_json()
    assert next((d["state"], d["digest_at"]) for d in shown["deliveries"]) == ("waiting", None)
    for field, value in (("digest", "weekly"), ("digest_at", "25:00")):
        refused = sender.client.put(anna, json={**wanted, field: value}, headers=sender.token)
        assert (refused.status_code, field in refused.get_data(as_text=True)) == (422, True)
    mine = f"/organisations/{sender.house.org}"
    changed = sender.client.patch(mine, json={"digest": "hour", "digest_at": "10:00"}, headers=ADMIN).get_json()
    assert (changed["digest"], changed["digest_at"]) == ("hour", "10:00")
    assert sender.client.patch(mine, json={"digest": ""}, headers=ADMIN).get_json()["digest"] == ""
    assert sender.client.patch(mine, json={"digest": "often"}, headers=ADMIN).status_code == 422


def test_202_holds_while_the_broker_is_down(sender: Sender, house: House) -> None:
    sender.queue.fault = RemoteUnavailableError("no broker")
    answer = sender.post()
    assert answer.status_code == 202
    house.send()  # the next scan finds it
    assert len(house.telegram.arrived) == 1
    processed = sender.client.post(f"{answer.headers['Location']}/processed", headers=sender.token)
    assert (processed.status_code, processed.get_json()["state"]) == (200, "processed")


def test_a_repeat_is_the_same_answer_and_another_body_is_409(sender: Sender) -> None:
    first = sender.post()
    again = sender.post()
    assert (again.status_code, again.get_json()) == (202, first.get_json())
    assert len(sender.queue.queued) == 1
    assert sender.post({**BODY, "kind": "to_read"}).status_code == 409
    assert sender.post({**BODY, "kind": "to_read"}, key="k2").get_json() != first.get_json()


@both
def test_repeats_at_once_make_one_event(sender: Sender) -> None:
    start = threading.Barrier(6)
    answers: list[tuple[int, int]] = []

    def post() -> None:
        start.wait()
        answer = sender.post()
        answers.append((answer.status_code, answer.get_json()["id"]))

    threads = [threading.Thread(target=post) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 6
    assert len(set(answers)) == 1
    assert answers[0][0] == 202
    assert len(sender.house.rows()) == 1


@pytest.mark.parametrize("key", [None, "", " ", "x" * 201, "é"])
def test_without_a_usable_key_it_is_400_and_says_so(sender: Sender, key: str | None) -> None:
    answer = sender.post(key=key)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "To Sign"}, "kind"),
        ({"recipients": []}, "recipients"),
        ({"recipients": ["a\nb"]}, "recipients.0"),
        ({"recipients": "anna"}, "recipients"),
        ({"document": {"number": ""}}, "document.number"),
        ({"document": {"number": "1", "title": "x" * 501}}, "document.title"),
        ({"document": {"number": "1", "link": "javascript:alert(1)"}}, "document.link"),
        ({"document": {"number": "1", "deadline": "2026-11-25T18:00"}}, "document.deadline"),
        ({"remind_minutes": -1}, "remind_minutes"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_a_wrong_field_is_422_by_name(sender: Sender, change: dict[str, Any], field: str) -> None:
    answer = sender.post({**BODY, **change})
    assert answer.status_code == 422
    assert [wrong["field"] for wrong in answer.get_json()["errors"]] == [field]
    assert sender.house.rows() == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
def test_a_body_that_is_no_event_is_422(sender: Sender, body: bytes) -> None:
    assert sender.post(body).status_code == 422


def test_a_signed_event_is_accepted_from_its_organisation_alone(sender: Sender, house: House) -> None:
    data = json.dumps(BODY).encode()
    assert sender.post(data, headers=sender.signed(data)).status_code == 202
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    stranger = {**sender.signed(data), "X-Switchboard-Organisation": str(other)}
    assert sender.post(data, key="k2", headers=stranger).status_code == 401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Switchboard-Signature", "v1=" + "0" * 64),
        ("X-Switchboard-Signature", ""),
        ("X-Switchboard-Timestamp", "yesterday"),
        ("X-Switchboard-Organisation", ""),
        ("X-Switchboard-Organisation", "one"),
        ("X-Switchboard-Organisation", "999"),
    ],
)
def test_a_wrong_header_of_a_signature_is_401(sender: Sender, name: str, value: str) -> None:
    data = json.dumps(BODY).encode()
    assert sender.post(data, headers={**sender.signed(data), name: value}).status_code == 401
    assert sender.house.rows() == []


def test_a_signature_over_another_body_or_of_another_secret_is_401(sender: Sender) -> None:
    data = json.dumps(BODY).encode()
    assert sender.post(data + b" ", headers=sender.signed(data)).status_code == 401
    assert sender.post(data, headers=sender.signed(data, secret="x")).status_code == 401


@pytest.mark.parametrize(("at_s", "status"), [(-299, 202), (-301, 401), (301, 401)])
def test_a_signature_is_of_use_for_five_minutes(sender: Sender, at_s: float, status: int) -> None:
    data = json.dumps(BODY).encode()
    answer = sender.post(data, headers=sender.signed(data, at_s=at_s))
    assert answer.status_code == status


def test_a_captured_request_cannot_be_sent_under_another_key(sender: Sender) -> None:
    data = json.dumps(BODY).encode()
    headers = sender.signed(data)
    assert sender.post(data, headers=headers).status_code == 202
    assert sender.post(data, headers=headers).status_code == 202
    assert sender.post(data, key="k2", headers=headers).status_code == 409
    assert len(sender.house.rows()) == 1


def test_a_captured_reading_cannot_be_turned_into_a_change(sender: Sender) -> None:
    event_id = sender.post().get_json()["id"]
    address = f"{EVENTS}/{event_id}"
    empty = sender.signed(b"")
    assert sender.client.get(address, headers=empty).status_code == 200
    assert sender.client.post(f"{address}/processed", headers=empty).status_code == 401
    for body, status in (({}, 422), ({"event": event_id + 1}, 422), ({"event": event_id}, 200)):
        data = json.dumps(body).encode()
        answer = sender.client.post(f"{address}/processed", data=data, headers=sender.signed(data))
        assert answer.status_code == status


def test_with_a_token_an_empty_body_is_as_good_as_none(sender: Sender) -> None:
    address = f"{EVENTS}/{sender.post().get_json()['id']}/processed"
    for body, status in (({"event": 999}, 422), ({"other": 1}, 422), ({}, 200)):
        assert sender.client.post(address, json=body, headers=sender.token).status_code == status


def test_the_administrator_and_other_organisations_see_no_events(sender: Sender, house: House) -> None:
    address = f"{EVENTS}/{sender.post().get_json()['id']}"
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    pair = house.credentials.rotate(other, actor="test")
    assert sender.client.get(address, headers=ADMIN).status_code == 401
    assert sender.client.get(address, headers={"Authorization": f"Bearer {pair.token}"}).status_code == 404
    assert sender.client.get(address).status_code == 401
    shown = sender.client.get(f"/organisations/{house.org}/events", headers=ADMIN).get_json()["events"]
    assert [event["number"] for event in shown] == ["7/A"]


def test_an_organisations_token_reaches_its_own_recipients_and_nothing_else(sender: Sender, house: House) -> None:
    mine = f"/organisations/{house.org}/recipients/boris"
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    body = {"opted_in": True, "telegram": "@boris"}
    assert sender.client.put(mine, json=body, headers=sender.token).status_code == 201
    assert sender.client.put(mine, json={**body, "name": "B"}, headers=sender.token).status_code == 200
    assert sender.client.get(mine, headers=sender.token).get_json()["name"] == "B"
    assert sender.client.put(f"/organisations/{other}/recipients/b", json=body, headers=sender.token).status_code == 403
    assert sender.client.get("/organisations", headers=sender.token).status_code == 401
    assert sender.client.post(f"/organisations/{house.org}/credentials", headers=sender.token).status_code == 401
    data = json.dumps(body).encode()
    assert sender.client.put(mine, data=data, headers=sender.signed(data)).status_code == 401
    assert sender.client.delete(mine, headers=sender.token).status_code == 204
    assert sender.client.get(mine, headers=ADMIN).status_code == 404


def test_whether_a_person_agreed_has_to_be_said(sender: Sender, house: House) -> None:
    answer = sender.client.put(
        f"/organisations/{house.org}/recipients/boris", json={"telegram": "@boris"}, headers=ADMIN
    )
    assert answer.status_code == 422
    assert answer.get_json()["errors"][0]["field"] == "opted_in"


def test_recipients_come_in_pages(sender: Sender, house: House) -> None:
    for name in ("boris", "clara", "dina"):
        house.add(name)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        query = {"limit": "2", "after": after}
        page = sender.client.get(f"/organisations/{house.org}/recipients", query_string=query, headers=ADMIN).get_json()
        seen += [one["external_id"] for one in page["recipients"]]
        after = page["next_after"]
    assert seen == ["anna", "boris", "clara", "dina"]


def test_an_organisation_is_set_up_over_http(sender: Sender) -> None:
    client = sender.client
    made = client.post("/organisations", json={"name": "Altair", "zone": "Asia/Tokyo"}, headers=ADMIN)
    assert made.status_code == 201
    address = made.headers["Location"]
    assert client.post("/organisations", json={"name": "Altair"}, headers=ADMIN).status_code == 409
    changed = client.patch(address, json={"parent_id": sender.house.org, "language": "ru"}, headers=ADMIN).get_json()
    assert (changed["parent_id"], changed["language"], changed["zone"]) == (sender.house.org, "ru", "Asia/Tokyo")
    number = {"phone": PHONE, "api_id": API_ID + 1, "api_hash": API_HASH}
    refused = client.put(f"{address}/telegram", json=number, headers=ADMIN)
    assert (refused.status_code, "one api_id" in refused.get_json()["detail"]) == (409, True)
    assert API_HASH not in refused.text
    set_up = client.put(f"{address}/telegram", json={**number, "api_id": API_ID}, headers=ADMIN)
    assert set_up.get_json()["status"]["online"] is True
    assert API_HASH not in set_up.text
    assert client.get(f"{address}/status", headers=ADMIN).get_json()["phone"] == "+79*****4567"
    assert client.delete(f"{address}/telegram", headers=ADMIN).get_json()["status"]["state"] == "not_set"
    pair = client.post(f"{address}/credentials", headers=ADMIN)
    assert pair.status_code == 201
    listed = client.get(f"{address}/credentials", headers=ADMIN)
    assert pair.get_json()["token"] not in listed.text
    (one,) = listed.get_json()["credentials"]
    assert client.delete(f"{address}/credentials/{one['id']}", headers=ADMIN).status_code == 204
    assert client.delete(address, headers=ADMIN).status_code == 204
    assert client.get(address, headers=ADMIN).status_code == 404


def test_a_mailing_is_kept_over_http(sender: Sender, house: House) -> None:
    address = f"/organisations/{house.org}/mailings"
    body: dict[str, Any] = {"name": "Menu", "rule": "0 9 * * *", "texts": {"en": "Soup"}}
    wrong = sender.client.post(address, json={**body, "texts": {"en": "{{ x }}", "de": "x"}}, headers=ADMIN)
    assert wrong.status_code == 422
    assert [problem["field"] for problem in wrong.get_json()["errors"]] == ["texts", "texts"]
    assert wrong.get_json()["detail"] == "The request has a field with several mistakes; `errors` names each."
    one_mistake = sender.client.post(address, json={**body, "texts": {"en": "{{ x }}"}}, headers=ADMIN)
    assert one_mistake.get_json()["detail"] == "The request has a field with a mistake; `errors` names each."
    often = sender.client.post(address, json={**body, "rule": "* * * * *"}, headers=ADMIN).get_json()
    assert [problem["field"] for problem in often["errors"]] == ["rule"]
    assert sender.client.post(address, json=body, headers=sender.token).status_code == 401
    made = sender.client.post(address, json=body, headers=ADMIN)
    assert (made.status_code, len(made.get_json()["ahead"])) == (201, 3)
    assert sender.client.post(address, json=body, headers=ADMIN).status_code == 409
    one = made.headers["Location"]
    assert sender.client.get(f"{one}/dry-run", headers=ADMIN).get_json()["channels"] == {"telegram": 1}
    assert sender.client.post(f"{one}/send", headers=ADMIN).status_code == 400
    ids = [
        sender.client.post(f"{one}/send", headers={**ADMIN, "Idempotency-Key": "k"}).get_json()["id"] for _ in range(2)
    ]
    assert ids[0] == ids[1]
    house.send()
    assert house.telegram.arrived == [("@anna", "Soup\nVega\nTo get no more of these messages, answer STOP.")]
    assert sender.client.get(f"{EVENTS}/{ids[0]}", headers=sender.token).get_json()["event"]["counts"] == {"sent": 1}
    assert sender.client.post(f"{one}/stop", headers=ADMIN).get_json()["active"] is False
    assert sender.client.put(one, json={**body, "rule": "0 8 * * *"}, headers=ADMIN).get_json()["ahead"] == []
    assert len(sender.client.post(f"{one}/resume", headers=ADMIN).get_json()["ahead"]) == 3
    assert sender.client.delete(one, headers=ADMIN).status_code == 204
    assert sender.client.get(one, headers=ADMIN).status_code == 404


def test_a_template_is_stored_tried_and_removed_over_http(sender: Sender, house: House) -> None:
    address = f"/organisations/{house.org}/templates"
    wrong = sender.client.put(
        f"{address}/notice/default/en", json={"source": "{{ titel }}\n{% for x in y %}{% endfor %}"}, headers=ADMIN
    )
    assert wrong.status_code == 422
    assert [problem["detail"].partition(":")[0] for problem in wrong.get_json()["errors"]] == ["line 1", "line 2"]
    stored = sender.client.put(f"{address}/notice/default/en", json={"source": "№ {{ number }}"}, headers=ADMIN)
    assert stored.status_code == 200
    assert len(sender.client.get(address, headers=ADMIN).get_json()["templates"]) == 1
    test = sender.client.post(f"/organisations/{house.org}/test-messages", json={"recipient": "anna"}, headers=ADMIN)
    assert test.status_code == 202
    house.send()
    assert house.telegram.arrived == [("@anna", "A test of the template:\n№ 123/45")]
    assert sender.client.delete(f"{address}/notice/default/en", headers=ADMIN).status_code == 204
    assert sender.client.delete(f"{address}/notice/default/en", headers=ADMIN).status_code == 404
