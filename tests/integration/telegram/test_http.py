"""Telegram accounts over HTTP: each step waits for its answer, each refusal has its words, and nothing secret comes back."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

import routes.telegram
from api import create_app
from switchboard.errors import RemoteUnavailableError
from tests.integration.telegram.conftest import Office
from tests.unit.routes.fakes import ADMIN, FakeServices, settings

PHONE, PASSWORD = "+79161234567", "open sesame"


class Hints:
    """The queue: what is queued reaches the gateways at once; None is a broker that is down."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.queued: list[tuple[str, dict[str, object]]] = []
        self.down = False

    def __call__(self, task: str, /, **arguments: object) -> str:
        if self.down:
            raise RemoteUnavailableError("the broker did not take it")
        self.queued.append((task, arguments))
        for host in self.office.hosts:
            host.look(int(str(arguments["account_id"])))
        return "id"


@pytest.fixture
def hints(office: Office) -> Hints:
    return Hints(office)


@pytest.fixture
def client(office: Office, hints: Hints, monkeypatch: pytest.MonkeyPatch) -> FlaskClient:
    monkeypatch.setattr(routes.telegram, "WAIT_S", 30.0)
    services = FakeServices(telegram_accounts=office.accounts, telegram_sign_ins=office.sign_ins)
    client = create_app(settings(), services, hints).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = ADMIN["Authorization"]
    return client


def code(office: Office) -> str:
    return office.twin.codes(PHONE)[-1].code


def test_without_the_token_nothing_is_shown(office: Office, client: FlaskClient) -> None:
    for method, path in (("GET", ""), ("POST", ""), ("GET", "/1"), ("DELETE", "/1"), ("POST", "/1/code")):
        answer = client.open(f"/telegram/accounts{path}", method=method, headers={"Authorization": ""})
        assert answer.status_code == 401


def test_a_newcomer_signs_a_number_in_with_a_code_and_a_password(
    office: Office, client: FlaskClient, hints: Hints
) -> None:
    office.twin.add_person("Ann", phone=PHONE, password=PASSWORD, hint="a cave")
    office.gateway()
    made = client.post("/telegram/accounts", json={"phone": "+7 916 123-45-67"})
    assert made.status_code == 201
    place = made.headers["Location"]
    assert client.get(place).get_json()["state"] == "new"

    sent = client.post(f"{place}/code")
    assert sent.status_code == 200
    assert sent.get_json()["sign_in"]["sent_by"] == "sms"

    right = code(office)
    wrong = client.post(f"{place}/submit", json={"code": "00000" if right != "00000" else "00001"})
    assert wrong.status_code == 409
    assert "not the code" in wrong.get_json()["detail"]
    assert wrong.get_json()["problem"] == "code_wrong"

    next_step = client.post(f"{place}/submit", json={"code": f" {right[:2]}-{right[2:]} "})
    assert next_step.status_code == 200
    assert next_step.get_json()["state"] == "password_needed"
    assert next_step.get_json()["sign_in"]["hint"] == "a cave"

    wrong = client.post(f"{place}/password", json={"password": "wrong"})
    assert (wrong.status_code, wrong.get_json()["problem"]) == (409, "password_wrong")
    done = client.post(f"{place}/password", json={"password": PASSWORD})
    assert done.status_code == 200
    started = client.post(f"{place}/start")
    assert started.status_code == 200
    assert started.get_json()["state"] == "online"
    assert {task for task, _ in hints.queued} == {"telegram.accounts.look"}
    assert all(set(arguments) == {"account_id"} for _, arguments in hints.queued)
    shown = client.get("/telegram/accounts").text
    for secret in (right, PASSWORD, office.twin.codes(PHONE)[-1].hash):
        assert secret not in shown


def test_a_step_that_no_gateway_answers_is_202_with_the_account_as_location(
    office: Office, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes.telegram, "WAIT_S", 0.2)
    office.twin.add_person("Ann", phone=PHONE)
    place = client.post("/telegram/accounts", json={"phone": PHONE}).headers["Location"]
    answer = client.post(f"{place}/code")
    assert answer.status_code == 202
    assert answer.headers["Location"] == place
    assert answer.get_json()["sign_in"]["pending"] is True
    assert client.post(f"{place}/code").status_code == 409


def test_a_broker_that_is_down_costs_a_moment_and_no_step(office: Office, client: FlaskClient, hints: Hints) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.gateway()
    hints.down = True
    place = client.post("/telegram/accounts", json={"phone": PHONE}).headers["Location"]
    assert client.post(f"{place}/code").status_code == 200


def test_a_flood_wait_is_429_with_its_seconds(office: Office, client: FlaskClient) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.twin.faults.add("error", method="auth.sendCode", name="FLOOD_WAIT_420", count=1)
    office.gateway()
    place = client.post("/telegram/accounts", json={"phone": PHONE}).headers["Location"]
    answer = client.post(f"{place}/code")
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) > 0
    assert "wait" in answer.get_json()["detail"]
    assert answer.get_json()["problem"] == "flood"


def test_resend_before_its_time_is_429_and_cancel_ends_it(office: Office, client: FlaskClient) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.twin.session_string("Ann")
    office.gateway()
    place = client.post("/telegram/accounts", json={"phone": PHONE}).headers["Location"]
    client.post(f"{place}/code")
    early = client.post(f"{place}/resend")
    assert early.status_code == 429
    assert 0 < int(early.headers["Retry-After"]) <= 60
    ended = client.post(f"{place}/cancel")
    assert ended.status_code == 200
    assert ended.get_json()["state"] == "new"
    assert client.post(f"{place}/submit", json={"code": "12345"}).status_code == 409


def test_a_bot_is_online_when_the_answer_comes(office: Office, client: FlaskClient) -> None:
    bot = office.twin.add_bot("Helper", "helper_bot")
    office.gateway()
    answer = client.post("/telegram/accounts", json={"token": bot.token})
    assert answer.status_code == 201
    assert answer.get_json()["state"] == "online"
    assert bot.token not in answer.text
    assert client.post("/telegram/accounts", json={"token": bot.token}).status_code == 409


def test_stop_start_and_removal_wait_until_it_is_so(office: Office, client: FlaskClient) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    office.wait_state(account.id, "online")
    place = f"/telegram/accounts/{account.id}"
    assert client.post(f"{place}/stop").get_json()["state"] == "stopped"
    assert client.post(f"{place}/start").get_json()["state"] == "online"
    assert client.delete(f"{place}?log_out=false").status_code == 204
    assert client.get(place).status_code == 404
    assert client.delete(place).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"phone": PHONE, "token": "1:a"}, {"phone": PHONE, "extra": 1}, {"phone": "x"}, {"token": "not-a-token"}],
)
def test_bad_input_is_422_and_not_repeated(client: FlaskClient, body: dict[str, object]) -> None:
    answer = client.post("/telegram/accounts", json=body)
    assert answer.status_code == 422
    assert "not-a-token" not in answer.text
