"""No secret, phone or text of Telegram in task arguments, Flower, the broker, logs or command lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests
from sqlalchemy import select

from sandbox.telegram.handshake import ServerKey
from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin, running_telegram
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount
from switchboard.processes.stack import Stack
from tests.e2e.exposed import flower_pages, redis_values, wait_for
from tests.e2e.marked import Marked

OFFICE, PASSWORD, HINT = "+79161234501", "correct-horse-battery-staple", "the-horse-of-the-office"
WRONG_CODE, WRONG_PASSWORD = "98761234509", "another-horse-altogether"
ANNA, UNKNOWN = "+79161234502", "+79161234503"
BOT_TOKEN = "5000000002:AAbot-token-of-the-secrets-test"
NUMBER, TITLE, LINK = "Walrus-77431", "Quarrelsome walrus contract", "https://example.org/walrus/77431"
SAID, ASKED = "A confidential word about walruses", "STOP"


@pytest.mark.full
def test_nothing_of_telegram_stands_where_operators_look(tmp_path: Path) -> None:
    marked = Marked(tmp_path)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    key = tmp_path / "key.pem"
    with running_telegram(key=ServerKey.make()) as twin:
        key.write_text(twin.public_pem, encoding="ascii")
        environment = {
            "LOG_LEVEL": "DEBUG",
            "SANDBOX_SAMPLES": "empty",
            "TELEGRAM_API_ID": str(API_ID),
            "TELEGRAM_API_HASH": API_HASH,
            "TELEGRAM_DC_ADDRESS": f"127.0.0.1:{twin.port}",
            "TELEGRAM_DC_KEY": str(key),
            **marked.environment,
        }
        with Stack.start(data_dir, sandbox=True, environment=environment) as stack:
            made = _use(stack, twin)
            places = {
                "command lines": "\n".join(marked.command_lines()),
                **{f"flower {page}": text for page, text in flower_pages(stack)},
                **{f"redis {name}": text for name, text in redis_values(stack.environment["REDIS_URL"])},
                "metrics": _api(stack, "GET", "/metrics").text,
            }
    for pattern in ("logs/*", "valkey/appendonlydir/*"):  # the second: all that was ever queued
        for path in data_dir.glob(pattern):
            places[str(path.relative_to(data_dir))] = path.read_bytes().decode("utf-8", errors="replace")
    kept = b"".join(path.read_bytes() for path in data_dir.glob("switchboard.sqlite3*"))

    said = {"flower /api/tasks?limit=500": "telegram.accounts.", "logs/telegram.log": "telegram account online"}
    assert [place for place, word in said.items() if word not in places[place]] == [], "or the search proves nothing"
    assert "telegram.inbox.handle" in "".join(text for place, text in places.items() if place.startswith("valkey/"))
    sealed = {
        "api_hash": API_HASH,
        "password": PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "hint": HINT,
        "wrong code": WRONG_CODE,
        "bot token": BOT_TOKEN,
        "code hash": twin.codes(OFFICE)[-1].hash,
        **made,
    }
    plain = {
        **{f"phone {phone}": phone.lstrip("+") for phone in (OFFICE, ANNA, UNKNOWN)},
        "number": NUMBER,
        "title": TITLE,
        "link": LINK,
        "received": SAID,
    }
    assert all(len(value) >= 10 for value in sealed.values())
    found = [
        (name, place)
        for place, text in places.items()
        for name, value in (sealed | plain).items()
        if value in text or json.dumps(value)[1:-1] in text
    ]
    assert found == []
    assert [name for name, value in sealed.items() if value.encode() in kept] == []
    assert TITLE.encode() in kept, "or the search of the database proves nothing"


def _use(stack: Stack, twin: TelegramTwin) -> dict[str, str]:
    """Sign in with every kind of failure, tell people of a document, hear from them; returns the secrets that were made."""
    twin.add_person("Office", phone=OFFICE, password=PASSWORD, hint=HINT)
    twin.add_person("Anna", phone=ANNA, username="anna_walrus")
    _api(stack, "POST", "/organisations", {"name": "Vega"})
    settings = {"phone": OFFICE, "api_id": API_ID, "api_hash": API_HASH}
    _api(stack, "PUT", "/organisations/1/telegram", settings)
    for name, address in (("anna", ANNA), ("nobody", UNKNOWN)):
        _api(stack, "PUT", f"/organisations/1/recipients/{name}", {"opted_in": True, "telegram": address})
    _api(stack, "POST", "/telegram/accounts/1/code")
    wait_for(lambda: _account(stack)["state"] == "code_sent", "the code", seconds=90)
    assert _api(stack, "POST", "/telegram/accounts/1/submit", {"code": WRONG_CODE}, refused=True).status_code == 409
    _api(stack, "POST", "/telegram/accounts/1/submit", {"code": twin.codes(OFFICE)[-1].code})
    wait_for(lambda: _account(stack)["state"] == "password_needed", "the question for the password", seconds=90)
    wrong = {"password": WRONG_PASSWORD}
    assert _api(stack, "POST", "/telegram/accounts/1/password", wrong, refused=True).status_code == 409
    _api(stack, "POST", "/telegram/accounts/1/password", {"password": PASSWORD})
    wait_for(lambda: _account(stack)["state"] == "online", "the account to be online", seconds=90)
    session_string = _session(stack)
    _api(stack, "POST", "/telegram/accounts", {"token": BOT_TOKEN})  # which Telegram does not know
    pair = _api(stack, "POST", "/organisations/1/credentials").json()

    _tell(stack, pair["token"], "1")
    wait_for(lambda: any(NUMBER in text for text in twin.texts("Anna", "Office")), "the message", seconds=90)
    twin.faults.add("error", method="messages.sendMessage", name="PEER_FLOOD", count=1)
    twin.faults.add("cut", method="messages.sendMessage", when="after", count=1)
    _tell(stack, pair["token"], "2")
    wait_for(lambda: twin.faults.fired["PEER_FLOOD"] > 0, "the refusal", seconds=90)
    for text in (SAID, ASKED):
        twin.write_as("Anna", "Office", text)
    twin.read_as("Anna", "Office")
    wait_for(lambda: _stopped(stack), "the STOP to be heard", seconds=90)
    twin.cut()
    twin.revoke_sessions("Office")
    wait_for(lambda: _account(stack)["state"] == "sign_in_again", "the end of the session", seconds=90)
    return {"session": session_string, "token": pair["token"], "secret": pair["secret"]}


def _tell(stack: Stack, token: str, key: str) -> None:
    document = {"number": NUMBER, "title": TITLE, "link": LINK}
    body = {"kind": "to_sign", "document": document, "recipients": ["anna", "nobody"]}
    answer = requests.post(
        stack.url("web") + "/documents/events",
        json=body,
        headers={"Authorization": f"Bearer {token}", "Idempotency-Key": key},
        timeout=20,
    )
    assert answer.status_code == 202, answer.text


def _account(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = _api(stack, "GET", "/telegram/accounts/1").json()
    return found


def _stopped(stack: Stack) -> bool:
    return _api(stack, "GET", "/organisations/1/recipients/anna").json()["stopped_at"] is not None


def _api(
    stack: Stack, method: str, path: str, body: dict[str, Any] | None = None, *, refused: bool = False
) -> requests.Response:
    headers = {"Authorization": f"Bearer {stack.environment['ADMIN_TOKEN']}"}
    answer = requests.request(method, stack.url("web") + path, json=body, headers=headers, timeout=30)
    assert answer.ok or refused, (path, answer.text)
    return answer


def _session(stack: Stack) -> str:
    """The session string of the account that is signed in."""
    database = Database(f"sqlite:///{stack.data_dir / 'switchboard.sqlite3'}")
    with database.read() as session:
        sealed = session.scalar(select(TelegramAccount.session).where(TelegramAccount.id == 1))
    database.dispose()
    assert sealed is not None
    return SecretBox(stack.environment["SECRET_KEYS"].split(",")).decrypt(sealed)
