"""The twin against the vendor's specification: no route of its own, and every body of the shape that is written there.

The specification is not part of this repository: it is looked for in SWITCHBOARD_SPECS, else in `../shared/specs`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jsonschema
import pytest
import requests

from sandbox.mattermost import MattermostTwin, Settings
from sandbox.mattermost.api.routes import ROUTES, pattern
from tests.contracts.mattermost_client import Caller, Integration, running_integration

CHECKOUT = Path(__file__).resolve().parents[2]
SPECS = Path(os.environ.get("SWITCHBOARD_SPECS") or CHECKOUT.parent / "shared" / "specs") / "mattermost"
pytestmark = pytest.mark.skipif(
    not SPECS.exists(), reason="the vendor's specifications are absent: set SWITCHBOARD_SPECS"
)

# Documented by the vendor (api.mattermost.com and the server's own routes), left out of the trimmed specification.
DOCUMENTED_ELSEWHERE = {
    "POST /api/v4/users/{}/tokens": "user access tokens: how a bot gets its token",
    "PUT /api/v4/users/{}/roles": "roles of a user: how a bot gets edit_other_users",
    "PUT /api/v4/users/{}/active": "deactivation of a person",
    "GET /api/v4/users/{}/teams": "the teams of a person",
    "GET /api/v4/roles/name/{}": "a role by its name",
    "PUT /api/v4/roles/{}/patch": "the permissions of a role",
    "POST /hooks/commands/{}": "response_url of a slash command; no part of the API",
}


def shape(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


class Specification:
    def __init__(self) -> None:
        self.openapi = json.loads((SPECS / "mattermost-v4.openapi.json").read_text(encoding="utf-8"))
        self.wire = json.loads((SPECS / "integrations.schema.json").read_text(encoding="utf-8"))
        # A slip of the vendor's: UpdatePost declares props as a text; the server and every other operation have an object.
        update = self.openapi["paths"]["/api/v4/posts/{post_id}"]["put"]["requestBody"]["content"]["application/json"]
        update["schema"]["properties"]["props"] = {"type": "object"}
        self.operations = {
            f"{method.upper()} {shape(path)}": operation
            for path, methods in self.openapi["paths"].items()
            for method, operation in methods.items()
            if method != "parameters"
        }

    def operation(self, method: str, path: str) -> tuple[str, dict[str, Any] | None]:
        """(route, operation) of a request; the operation is None for routes documented elsewhere."""
        for methods, template, _ in ROUTES:
            if method in methods.split() and re.fullmatch(pattern(template), path):
                name = f"{method} {shape(template)}"
                return name, self.operations.get(name)
        raise AssertionError(f"no route takes {method} {path}")

    def check(self, body: object, schema: dict[str, Any]) -> None:
        whole = {**schema, "components": self.openapi["components"]}
        jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker()).validate(body)

    def check_wire(self, body: dict[str, Any], name: str) -> None:
        """Against the server's own type: the types of fields, and that every field is there that it always writes."""
        definition = self.wire["$defs"][name]
        whole = {"$ref": f"#/$defs/{name}", "$defs": self.wire["$defs"]}
        jsonschema.Draft202012Validator(whole).validate(
            {key: value for key, value in body.items() if value is not None}
        )
        missing = set(definition.get("x-always-written", ())) - set(body)
        assert not missing, f"{name} lacks {sorted(missing)}"

    def check_answer(self, name: str, operation: dict[str, Any], answer: requests.Response) -> None:
        assert str(answer.status_code) in operation["responses"], (
            f"{name} answered {answer.status_code}: {answer.text[:300]}"
        )
        response = operation["responses"][str(answer.status_code)]
        if "$ref" in response:
            response = self.openapi["components"]["responses"][response["$ref"].rpartition("/")[2]]
        if "content" in response:
            self.check(answer.json(), response["content"]["application/json"]["schema"])


class Guide(Caller):
    """A caller that holds each request and each answer against the specification and notes which routes were seen."""

    def __init__(self, twin: MattermostTwin, token: str, specification: Specification, seen: set[str]) -> None:
        super().__init__(twin, token)
        self.specification = specification
        self.seen = seen

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        name, operation = self.specification.operation(method, "/api/v4" + path.partition("?")[0])
        self.seen.add(name)
        answer = super().__call__(method, path, body, **options)
        if operation is None:
            assert answer.ok, answer.text
            return answer
        if answer.ok and "requestBody" in operation:
            self.specification.check(body, operation["requestBody"]["content"]["application/json"]["schema"])
        self.specification.check_answer(name, operation, answer)
        return answer


@pytest.fixture(scope="module")
def specification() -> Specification:
    return Specification()


@pytest.fixture
def integration() -> Iterator[Integration]:
    with running_integration() as running:
        yield running


def test_every_route_is_the_vendors(specification: Specification) -> None:
    ours = {f"{method} {shape(path)}" for methods, path, _ in ROUTES for method in methods.split()}
    unknown = ours - set(specification.operations) - set(DOCUMENTED_ELSEWHERE)
    assert not unknown
    assert not set(DOCUMENTED_ELSEWHERE) & set(specification.operations), "now in the specification: drop the exception"
    assert not set(DOCUMENTED_ELSEWHERE) - ours, "no such route any more: drop the exception"


def test_every_route_answers_in_the_shape_of_the_specification(
    specification: Specification, integration: Integration
) -> None:
    seen: set[str] = set()
    settings = Settings(allowed_untrusted_internal_connections=(integration.host,))
    with MattermostTwin.running(settings=settings) as twin:
        admin = Guide(twin, twin.admin_token, specification, seen)
        bot = Guide(twin, twin.bot_token, specification, seen)
        anna = Guide(twin, twin.token_of("anna"), specification, seen)
        team = admin("GET", "/teams/name/demo").json()["id"]
        tour_people(admin, bot, anna, twin, specification)
        tour_places(admin, anna, team)
        channel = bot.direct(anna.id)
        square = twin.call(lambda: next(one.id for one in twin.world.channels.values() if one.name == "town-square"))
        tour_posts(admin, bot, anna, channel, square, integration, specification)
        tour_commands(admin, anna, team, channel, integration, specification)
    seen.add("POST /hooks/commands/{}")
    ours = {f"{method} {shape(path)}" for methods, path, _ in ROUTES for method in methods.split()}
    assert not ours - seen, "routes the tour leaves out"


def tour_people(admin: Guide, bot: Guide, anna: Guide, twin: MattermostTwin, specification: Specification) -> None:
    admin("GET", "/system/ping?get_server_status=true")
    admin("GET", "/config/client")
    admin("GET", "/users?per_page=3")
    me = anna("GET", "/users/me").json()
    anna("POST", "/users/ids", [me["id"]])
    anna("POST", "/users/usernames", ["anna", "nobody"])
    anna("POST", "/users/search", {"term": "bor"})
    anna("GET", "/users/username/boris")
    anna("GET", "/users/email/boris@example.org")
    anna("PUT", f"/users/{me['id']}", {"id": me["id"], "email": me["email"], "username": "anna", "locale": "uk"})
    anna(
        "PUT",
        f"/users/{me['id']}/patch",
        {"timezone": {"manualTimezone": "Europe/Kyiv", "useAutomaticTimezone": "false"}},
    )
    specification.check_wire(anna("GET", f"/users/{me['id']}/status").json(), "Status")
    anna("PUT", f"/users/{me['id']}/status", {"user_id": me["id"], "status": "dnd"})
    anna("POST", "/users/status/ids", [me["id"]])
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    anna(
        "PUT", "/users/me/status/custom", {"emoji": "calendar", "text": "x", "duration": "one_hour", "expires_at": ends}
    )
    specification.check_wire(twin.custom_status_of("anna") or {}, "CustomStatus")
    anna("DELETE", "/users/me/status/custom")
    anna("GET", f"/users/{me['id']}/teams")
    made = admin("POST", "/bots", {"username": "helper", "display_name": "Helper"}).json()
    specification.check_wire(made, "Bot")
    admin("GET", "/bots?include_deleted=true")
    admin("GET", f"/bots/{made['user_id']}")
    admin("PUT", f"/bots/{made['user_id']}", {"username": "helper", "description": "helps"})
    admin("POST", f"/bots/{made['user_id']}/disable")
    admin("POST", f"/bots/{made['user_id']}/enable")
    admin("POST", f"/users/{made['user_id']}/tokens", {"description": "x"})
    role = admin("GET", "/roles/name/system_user_manager").json()
    admin("PUT", f"/roles/{role['id']}/patch", {"permissions": role["permissions"]})
    admin("PUT", f"/users/{bot.id}/roles", {"roles": "system_user"})
    admin("PUT", f"/users/{made['user_id']}/active", {"active": True})
    specification.check_wire(denied(anna), "AppError")


def denied(anna: Guide) -> dict[str, Any]:
    answer = anna("POST", "/bots", {"username": "x"})
    assert answer.status_code == 403
    body: dict[str, Any] = answer.json()
    return body


def tour_places(admin: Guide, anna: Guide, team: str) -> None:
    admin("GET", "/teams")
    admin("GET", f"/teams/{team}")
    admin("GET", f"/teams/{team}/members")
    admin("POST", f"/teams/{team}/members", {"team_id": team, "user_id": anna.id})
    admin("POST", f"/teams/{team}/members/batch", [{"team_id": team, "user_id": anna.id}])
    admin("GET", f"/teams/{team}/members/{anna.id}")
    admin("DELETE", f"/teams/{team}/members/{anna.id}")
    admin("POST", f"/teams/{team}/members", {"team_id": team, "user_id": anna.id})


def tour_posts(
    admin: Guide,
    bot: Guide,
    anna: Guide,
    channel: str,
    square: str,
    integration: Integration,
    specification: Specification,
) -> None:
    bot("GET", f"/channels/{channel}")
    bot("GET", f"/channels/{channel}/members")
    bot("GET", f"/channels/{channel}/members/{anna.id}")
    admin("DELETE", f"/channels/{square}/members/{anna.id}")
    admin("POST", f"/channels/{square}/members", {"user_id": anna.id})
    action = {"name": "Join", "type": "button", "integration": {"url": integration.url, "context": {"a": 1}}}
    props = {"attachments": [{"text": "t", "actions": [action]}]}
    made = bot("POST", "/posts", {"channel_id": channel, "message": "m", "props": props}).json()
    button = made["props"]["attachments"][0]["actions"][0]
    specification.check_wire(button, "PostAction")
    bot("GET", f"/posts/{made['id']}")
    bot("PUT", f"/posts/{made['id']}", {"id": made["id"], "message": "n", "props": props})
    bot("PUT", f"/posts/{made['id']}/patch", {"message": "o", "is_pinned": True})
    bot("GET", f"/channels/{channel}/posts?since=1")
    current = bot("GET", f"/channels/{channel}/posts").json()["posts"][made["id"]]
    action_id = current["props"]["attachments"][0]["actions"][0]["id"]
    anna("POST", f"/posts/{made['id']}/actions/{action_id}", {})
    specification.check_wire(json.loads(integration.received[-1][1]), "PostActionIntegrationRequest")
    admin("POST", "/posts/ephemeral", {"user_id": anna.id, "post": {"channel_id": channel, "message": "e"}})
    bot("DELETE", f"/posts/{made['id']}")


def tour_commands(
    admin: Guide, anna: Guide, team: str, channel: str, integration: Integration, specification: Specification
) -> None:
    made = admin("POST", "/commands", {"team_id": team, "method": "P", "trigger": "cal", "url": integration.url}).json()
    specification.check_wire(made, "Command")
    admin("GET", f"/commands?team_id={team}&custom_only=true")
    admin("GET", f"/commands/{made['id']}")
    admin("PUT", f"/commands/{made['id']}", {**made, "display_name": "Calendar"})
    admin("PUT", f"/commands/{made['id']}/regen_token")
    integration.answer = {"text": "menu", "attachments": [{"text": "a"}]}
    line = {"channel_id": channel, "command": "/cal x", "team_id": team}
    answer = anna("POST", "/commands/execute", line).json()
    specification.check_wire(answer, "CommandResponse")
    trigger = parse_qs(integration.received[-1][1].decode())["trigger_id"][0]
    dialog = {"title": "Connect", "elements": [], "callback_id": "c"}
    admin("POST", "/actions/dialogs/open", {"trigger_id": trigger, "url": integration.url, "dialog": dialog})
    integration.answer = {"errors": {"login": "wrong"}}
    sent = {"url": integration.url, "channel_id": channel, "submission": {"login": "x"}}
    specification.check_wire(anna("POST", "/actions/dialogs/submit", sent).json(), "SubmitDialogResponse")
    specification.check_wire(json.loads(integration.received[-1][1]), "SubmitDialogRequest")
    integration.answer = {"items": []}
    specification.check_wire(anna("POST", "/actions/dialogs/lookup", sent).json(), "LookupDialogResponse")
    admin("DELETE", f"/commands/{made['id']}")
