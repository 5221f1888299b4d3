"""A newcomer's way with `make run`: sign the sample organisation in, post an event, see the message arrive and be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from switchboard.processes.stack import Stack

EVENT = {
    "kind": "to_sign",
    "document": {"number": "17", "title": "Contract", "link": "https://docs.example.org/17"},
    "recipients": ["anna"],
}
Json = dict[str, Any]
_T = TypeVar("_T")


@pytest.mark.slow
def test_a_newcomer_signs_an_organisation_in_and_sees_a_notice_arrive_and_be_read(tmp_path: Path) -> None:
    with Stack.start(tmp_path, sandbox=True) as stack:
        web, page = stack.url("web"), f"{stack.url('sandbox')}/_sandbox/telegram"
        operator = requests.Session()
        operator.headers["Authorization"] = f"Bearer {stack.environment['ADMIN_TOKEN']}"
        [organisation] = eventually(lambda: _json(operator, f"{web}/organisations")["organisations"])
        account = f"{web}/telegram/accounts/{organisation['status']['account_id']}"
        seen = requests.get(page, timeout=30).json()
        people = {person["username"]: person["id"] for person in seen["people"]}
        [password] = seen["sample_passwords"].values()

        operator.post(f"{account}/code", timeout=60).raise_for_status()
        [code] = eventually(lambda: requests.get(page, timeout=30).json()["codes"])
        eventually(lambda: _json(operator, account)["state"] == "code_sent")
        operator.post(f"{account}/submit", json={"code": code["code"]}, timeout=60).raise_for_status()
        eventually(lambda: _json(operator, account)["state"] == "password_needed")
        operator.post(f"{account}/password", json={"password": password}, timeout=60).raise_for_status()
        eventually(lambda: _json(operator, account)["state"] == "online")

        minted = operator.post(f"{web}/organisations/{organisation['id']}/credentials", timeout=30).json()
        sender = requests.Session()
        sender.headers["Authorization"] = f"Bearer {minted['token']}"
        taken = sender.post(
            f"{web}/documents/events", json=EVENT, headers={"Idempotency-Key": "contract-17"}, timeout=30
        )
        assert taken.status_code == 202, taken.text
        event = web + taken.headers["Location"]
        chat = {"as": people["anna_ivanova"], "chat": people["office_demo"]}
        [message] = eventually(lambda: requests.get(page, params=chat, timeout=30).json()["messages"])
        assert "17" in message["text"]
        assert "https://docs.example.org/17" in [one["url"] for one in message["formats"]]
        eventually(lambda: _states(sender, event) == ["sent"])

        requests.post(f"{page}/reads", json=chat, timeout=30).raise_for_status()
        eventually(lambda: _states(sender, event) == ["read"])


def eventually(ask: Callable[[], _T], timeout_s: float = 90.0) -> _T:
    """The first answer that is not empty."""
    deadline = time.monotonic() + timeout_s
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return answer


def _states(sender: requests.Session, event: str) -> list[str]:
    return [one["state"] for one in _json(sender, event)["deliveries"]]


def _json(session: requests.Session, url: str) -> Json:
    answer = session.get(url, timeout=30)
    answer.raise_for_status()
    found: Json = answer.json()
    return found
