"""The OpenAPI document against the routes: each takes the example that stands there, and answers as it is described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator

import routes.telegram
from api import create_app
from switchboard.domain.telegram.sessions import Application
from switchboard.services.telegram.accounts import TelegramAccounts
from switchboard.services.telegram.sign_in import SignIns
from tests.integration.organisations.house import API_HASH, API_ID, House
from tests.unit.routes.fakes import ADMIN, FakeQueue, FakeServices, settings

PREFIXES = ("/organisations", "/documents", "/telegram")
ORDER = ("post", "put", "patch", "get", "delete")
NOT_NOW = {
    # without a gateway no code is on its way
    ("post", "/telegram/accounts/{account_id}/resend"),
    ("post", "/telegram/accounts/{account_id}/submit"),
    ("post", "/telegram/accounts/{account_id}/password"),
    ("post", "/telegram/accounts/{account_id}/start"),
    # Telegram set no limit
    ("post", "/telegram/accounts/{account_id}/allow-strangers"),
}
"""What is refused with 409 as the example is sent here; tests of the gateway have the rest."""


class Caller:
    """Sends what the document says, as the administrator or as a document system."""

    def __init__(self, client: FlaskClient, document: dict[str, Any], token: str) -> None:
        self.client = client
        self.document = document
        self.token = token
        self.account_id = 0
        self.template = "/organisations/{organisation_id}/templates/{purpose}/{kind}/{language}"

    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """All of them: what makes something first, what removes it last, and what holds it after what it holds."""
        found = [
            (method, path, operation)
            for path, operations in self.document["paths"].items()
            for method, operation in operations.items()
            if path.startswith(PREFIXES)
        ]
        return sorted(found, key=lambda one: (ORDER.index(one[0]), -len(one[1]) if one[0] == "delete" else len(one[1])))

    def schema(self, described: dict[str, Any]) -> dict[str, Any]:
        """With all that it names."""
        return {**described, "components": self.document["components"]}

    def call(self, method: str, path: str, operation: dict[str, Any], house: House) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if path.startswith("/documents") else dict(ADMIN)
        headers["Idempotency-Key"] = "an-example"
        names = {
            "organisation_id": house.org,
            "external_id": "anna",
            "event_id": 1,
            "credential_id": 1,
            "mailing_id": 1,
            "account_id": self.account_id,
            "purpose": "notice",
            "kind": "to_sign",
            "language": "en",
        }
        body = self.example(operation)
        answer = self.client.open(path.format(**names), method=method.upper(), headers=headers, json=body)
        where = f"{method} {path}: {answer.status_code} {answer.text}"
        if (method, path) in NOT_NOW:
            assert answer.status_code == 409, where
        else:
            assert answer.status_code < 300, where
        described = operation["responses"][str(answer.status_code)]
        assert (answer.headers.get("Location") is not None) == ("Location" in described.get("headers", {})), where
        if "content" not in described:
            assert answer.data == b"", where
            return
        content = described["content"][answer.content_type.partition(";")[0]]
        Draft202012Validator(self.schema(content["schema"])).validate(answer.get_json())
        assert set(answer.get_json()) <= set(self.resolved(content["schema"])["properties"]), where
        if path == "/telegram/accounts" and method == "post":
            self.account_id = answer.get_json()["id"]

    def example(self, operation: dict[str, Any]) -> Any:
        """The body; None where the operation takes none."""
        if "requestBody" not in operation:
            return None
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        examples = self.resolved(schema).get("examples")
        assert examples, f"{operation['operationId']} shows no example of its body (routes.documentation.example)"
        Draft202012Validator(self.schema(schema)).validate(examples[0])
        return examples[0]

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        name = schema["$ref"].rpartition("/")[2] if "$ref" in schema else None
        found = schema if name is None else self.document["components"]["schemas"][name]
        return dict(found)


@pytest.fixture
def caller(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caller:
    monkeypatch.setattr(routes.telegram, "WAIT_S", 0.0)
    accounts = TelegramAccounts(
        house.database, house.box, house.clock, application=Application(API_ID, API_HASH), import_dir=tmp_path
    )
    services = FakeServices(
        organisations=house.services,
        telegram_accounts=accounts,
        telegram_sign_ins=SignIns(house.database, house.box, house.clock, accounts),
    )
    services.now = house.clock  # type: ignore[method-assign]
    client = create_app(settings(), services, FakeQueue()).test_client()
    return Caller(client, client.get("/openapi.json").get_json(), house.credentials.rotate(house.org, actor="t").token)


def test_every_route_takes_its_example_and_answers_as_described(caller: Caller, house: House) -> None:
    house.add("anna")
    operations = caller.operations()
    assert len(operations) > 30
    for method, path, operation in operations:
        caller.call(method, path, operation, house)


def test_what_may_come_without_a_body_is_described_so(caller: Caller, house: House) -> None:
    house.add("anna")
    house.post("anna")
    operation = caller.document["paths"]["/documents/events/{event_id}/processed"]["post"]
    assert operation["requestBody"]["required"] is False
    token = {"Authorization": f"Bearer {caller.token}"}
    assert caller.client.post("/documents/events/1/processed", headers=token).status_code == 200
