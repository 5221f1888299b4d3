"""The Mattermost twin behaves as the vendor's server does (BEHAVIOUR of the REST API v4, server 11)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from sandbox.mattermost import MattermostTwin, Settings
from tests.contracts.mattermost_client import Caller, Integration, running_integration


class Clock:
    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def integration() -> Iterator[Integration]:
    with running_integration() as running:
        yield running


@pytest.fixture
def twin(clock: Clock, integration: Integration) -> Iterator[MattermostTwin]:
    settings = Settings(allowed_untrusted_internal_connections=(integration.host,))
    with MattermostTwin.running(clock=clock, settings=settings) as running:
        yield running


@pytest.fixture
def bot(twin: MattermostTwin) -> Caller:
    return Caller(twin, twin.bot_token)


@pytest.fixture
def admin(twin: MattermostTwin) -> Caller:
    return Caller(twin, twin.admin_token)


@pytest.fixture
def anna(twin: MattermostTwin) -> Caller:
    return Caller(twin, twin.token_of("anna"))


@pytest.fixture
def channel(bot: Caller, anna: Caller) -> str:
    return bot.direct(anna.id)


def error_id(answer: requests.Response) -> tuple[int, str]:
    body = answer.json()
    assert set(body) == {"id", "message", "detailed_error", "request_id", "status_code"}
    assert body["status_code"] == answer.status_code
    return answer.status_code, body["id"]


# --- who calls, paging, errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}])
def test_without_a_good_token_every_answer_is_401(twin: MattermostTwin, headers: dict[str, str]) -> None:
    answer = requests.get(f"{twin.url}/api/v4/users/me", headers=headers, timeout=5)
    assert error_id(answer) == (401, "api.context.session_expired.app_error")


def test_ping_and_client_config_need_no_token(twin: MattermostTwin) -> None:
    assert requests.get(f"{twin.url}/api/v4/system/ping", timeout=5).json()["status"] == "OK"
    assert requests.get(f"{twin.url}/api/v4/config/client", timeout=5).json()["EnableCustomUserStatuses"] == "true"


def test_unknown_routes_malformed_ids_and_absent_things_are_told_apart(bot: Caller) -> None:
    assert error_id(bot("GET", "/nothing/here"))[0] == 404
    assert error_id(bot("GET", "/users/short")) == (400, "api.context.invalid_url_param.app_error")
    assert error_id(bot("GET", f"/users/{'a' * 26}")) == (404, "app.user.missing_account.const")
    assert error_id(bot("GET", f"/posts/{'a' * 26}")) == (404, "app.post.get.app_error")


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff", b""])
def test_a_malformed_body_is_400(bot: Caller, body: bytes) -> None:
    answer = requests.post(f"{bot.base}/posts", data=body, headers=bot.headers, timeout=5)
    assert error_id(answer) == (400, "api.context.invalid_body_param.app_error")


def test_a_page_of_more_than_200_is_cut_without_a_word(twin: MattermostTwin, bot: Caller) -> None:
    for number in range(210):
        twin.add_user(f"person{number}")
    assert len(bot("GET", "/users?per_page=1000").json()) == 200
    assert len(bot("GET", "/users").json()) == 60
    assert len(bot("GET", "/users?per_page=200&page=1").json()) == 14


def test_a_rate_limited_server_answers_plain_text_with_seconds_left() -> None:
    with MattermostTwin.running(settings=Settings(rate_limit=(0.5, 2))) as twin:
        bot = Caller(twin, twin.bot_token)
        statuses = [bot("GET", "/users/me").status_code for _ in range(2)]
        limited = bot("GET", "/users/me")
        assert statuses == [200, 200]
        assert (limited.status_code, limited.text) == (429, "limit exceeded\n")
        assert limited.headers["Content-Type"].startswith("text/plain")
        assert 1 <= int(limited.headers["X-RateLimit-Reset"]) <= 2
        assert int(limited.headers["Retry-After"]) >= 1


# --- posts ----------------------------------------------------------------------------------------------------------


def test_a_direct_channel_is_made_once_and_answered_with_201_both_times(bot: Caller, anna: Caller) -> None:
    first, again = (bot("POST", "/channels/direct", [bot.id, anna.id]) for _ in range(2))
    turned = anna("POST", "/channels/direct", [anna.id, bot.id])
    assert (first.status_code, again.status_code, turned.status_code) == (201, 201, 201)
    assert first.json()["id"] == again.json()["id"] == turned.json()["id"]


def test_a_stranger_can_neither_read_nor_write_a_direct_channel(twin: MattermostTwin, channel: str) -> None:
    boris = Caller(twin, twin.token_of("boris"))
    assert error_id(boris("GET", f"/channels/{channel}/posts"))[0] == 403
    assert error_id(boris("POST", "/posts", {"channel_id": channel, "message": "x"}))[0] == 403
    assert error_id(boris("POST", "/channels/direct", [twin.user_id("anna"), twin.user_id("switchboard")]))[0] == 403


def test_the_same_pending_post_id_within_30_s_is_the_same_post(
    twin: MattermostTwin, bot: Caller, channel: str, clock: Clock
) -> None:
    body = {"channel_id": channel, "message": "once", "pending_post_id": "p1"}
    first, second = bot("POST", "/posts", body), bot("POST", "/posts", body)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    clock.ahead_s = 30.1
    assert bot("POST", "/posts", body).json()["id"] != first.json()["id"]
    assert len(twin.posts_to("anna")) == 2


def test_a_double_while_the_first_is_under_way_is_refused_with_500(
    twin: MattermostTwin, bot: Caller, channel: str
) -> None:
    twin.call(lambda: twin.world.remember_pending("p2", ""))
    answer = bot("POST", "/posts", {"channel_id": channel, "message": "x", "pending_post_id": "p2"})
    assert error_id(answer) == (500, "api.post.deduplicate_create_post.pending")


def test_a_refused_post_is_not_remembered_as_pending(bot: Caller, channel: str) -> None:
    long = {"channel_id": channel, "message": "x" * 16384, "pending_post_id": "p3"}
    assert error_id(bot("POST", "/posts", long)) == (400, "model.post.is_valid.message_length.app_error")
    assert bot("POST", "/posts", long | {"message": "x" * 16383}).status_code == 201


def test_posts_since_a_moment_hold_changed_and_deleted_ones(bot: Caller, channel: str) -> None:
    ids = [bot("POST", "/posts", {"channel_id": channel, "message": str(number)}).json()["id"] for number in range(3)]
    since = bot("GET", f"/posts/{ids[2]}").json()["update_at"]
    bot("PUT", f"/posts/{ids[0]}/patch", {"message": "changed"})
    bot("DELETE", f"/posts/{ids[1]}")
    answer = bot("GET", f"/channels/{channel}/posts?since={since}").json()
    assert answer["order"] == [ids[1], ids[0]]
    assert answer["posts"][ids[1]]["delete_at"] > 0
    assert answer["posts"][ids[0]]["edit_at"] > 0
    assert bot("GET", f"/channels/{channel}/posts").json()["order"] == [ids[2], ids[0]]


def test_posts_before_and_after_a_post_and_by_page(bot: Caller, channel: str) -> None:
    ids = [bot("POST", "/posts", {"channel_id": channel, "message": str(number)}).json()["id"] for number in range(5)]

    def order(query: str) -> list[str]:
        return list(bot("GET", f"/channels/{channel}/posts?{query}").json()["order"])

    assert order("per_page=2") == [ids[4], ids[3]]
    assert order("per_page=2&page=2") == [ids[0]]
    assert order(f"before={ids[2]}") == [ids[1], ids[0]]
    assert order(f"after={ids[2]}") == [ids[4], ids[3]]
    assert error_id(bot("GET", f"/channels/{channel}/posts?since=soon"))[0] == 400


def test_only_the_author_changes_a_post(bot: Caller, anna: Caller, channel: str) -> None:
    post = bot("POST", "/posts", {"channel_id": channel, "message": "x"}).json()["id"]
    assert error_id(anna("PUT", f"/posts/{post}/patch", {"message": "y"}))[0] == 403
    assert error_id(anna("DELETE", f"/posts/{post}"))[0] == 403
    assert bot("DELETE", f"/posts/{post}").json() == {"status": "OK"}
    assert error_id(bot("DELETE", f"/posts/{post}"))[0] == 403


def test_a_deactivated_person_gets_messages_and_has_no_session(
    twin: MattermostTwin, bot: Caller, anna: Caller, channel: str
) -> None:
    twin.deactivate("anna")
    assert bot("POST", "/posts", {"channel_id": channel, "message": "x"}).status_code == 201
    assert error_id(anna("GET", "/users/me"))[0] == 401
    assert bot("GET", f"/users/{twin.user_id('anna')}").json()["delete_at"] > 0


def test_ephemeral_posts_are_a_right_of_the_caller(
    twin: MattermostTwin, bot: Caller, admin: Caller, channel: str
) -> None:
    body = {"user_id": twin.user_id("anna"), "post": {"channel_id": channel, "message": "psst"}}
    assert error_id(bot("POST", "/posts/ephemeral", body))[0] == 403
    assert admin("POST", "/posts/ephemeral", body).json()["type"] == "system_ephemeral"
    assert [post["message"] for post in twin.ephemerals_to("anna")] == ["psst"]
    assert twin.posts_to("anna") == []


# --- buttons --------------------------------------------------------------------------------------------------------


def with_button(url: str, **action: Any) -> dict[str, Any]:
    button = {
        "name": "Join",
        "type": "button",
        "integration": {"url": url, "context": {"secret": "hidden-context"}},
        **action,
    }
    return {"attachments": [{"text": "meeting", "actions": [button]}]}


def test_a_click_calls_the_integration_and_its_context_is_never_shown(
    bot: Caller, anna: Caller, channel: str, integration: Integration
) -> None:
    made = bot("POST", "/posts", {"channel_id": channel, "message": "m", "props": with_button(integration.url)})
    assert "hidden-context" not in made.text
    assert "hidden-context" not in anna("GET", f"/posts/{made.json()['id']}").text
    action = made.json()["props"]["attachments"][0]["actions"][0]["id"]
    integration.answer = {"update": {"message": "joined", "props": {}}, "ephemeral_text": "only you"}
    answer = anna("POST", f"/posts/{made.json()['id']}/actions/{action}", {})
    assert answer.status_code == 200
    asked = json.loads(integration.received[0][1])
    assert asked["context"] == {"secret": "hidden-context"}
    assert (asked["user_id"], asked["user_name"], asked["post_id"]) == (anna.id, "anna", made.json()["id"])
    assert asked["trigger_id"]
    assert anna("GET", f"/posts/{made.json()['id']}").json()["message"] == "joined"


@pytest.mark.parametrize(("status", "shown"), [(500, 502), (503, 503), (429, 429), (404, 400)])
def test_a_failing_integration_is_told_by_its_status(
    bot: Caller, anna: Caller, channel: str, integration: Integration, status: int, shown: int
) -> None:
    made = bot("POST", "/posts", {"channel_id": channel, "message": "m", "props": with_button(integration.url)}).json()
    action = made["props"]["attachments"][0]["actions"][0]["id"]
    integration.status = status
    assert error_id(anna("POST", f"/posts/{made['id']}/actions/{action}", {})) == (
        shown,
        "api.post.do_action.action_integration.app_error",
    )


def test_a_private_host_that_is_not_allowed_is_not_called(bot: Caller, anna: Caller, channel: str) -> None:
    with running_integration() as other:
        made = bot("POST", "/posts", {"channel_id": channel, "message": "m", "props": with_button(other.url)}).json()
        action = made["props"]["attachments"][0]["actions"][0]["id"]
        assert error_id(anna("POST", f"/posts/{made['id']}/actions/{action}", {}))[0] == 400
        assert other.received == []


def test_a_button_of_an_ephemeral_post_works_by_its_cookie_and_cannot_update_the_post(
    bot: Caller, admin: Caller, anna: Caller, channel: str, integration: Integration
) -> None:
    post = {"channel_id": channel, "message": "menu", "props": with_button(integration.url)}
    made = admin("POST", "/posts/ephemeral", {"user_id": anna.id, "post": post})
    assert "hidden-context" not in made.text
    action = made.json()["props"]["attachments"][0]["actions"][0]
    path = f"/posts/{made.json()['id']}/actions/{action['id']}"
    assert anna("POST", path, {"cookie": action["cookie"]}).status_code == 200
    assert json.loads(integration.received[0][1])["context"] == {"secret": "hidden-context"}
    assert error_id(anna("POST", path, {}))[0] == 404
    assert error_id(anna("POST", path, {"cookie": action["cookie"][:-4] + "AAAA"}))[0] == 400
    integration.answer = {"update": {"message": "x"}}
    assert error_id(anna("POST", path, {"cookie": action["cookie"]}))[0] == 404


# --- commands and dialogs -------------------------------------------------------------------------------------------


def team_of(caller: Caller) -> str:
    return str(caller("GET", "/teams/name/demo").json()["id"])


def make_command(admin: Caller, url: str) -> dict[str, Any]:
    body = {
        "team_id": team_of(admin),
        "method": "P",
        "trigger": "Yandex-Calendar",
        "url": url,
        "auto_complete": True,
        "autocomplete_data": {"Trigger": "yandex-calendar"},
    }
    answer = admin("POST", "/commands", body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_command_is_an_administrators_and_keeps_no_autocomplete_data(
    admin: Caller, bot: Caller, integration: Integration
) -> None:
    made = make_command(admin, integration.url)
    assert made["trigger"] == "yandex-calendar"
    assert "autocomplete_data" not in made
    again = {"team_id": made["team_id"], "method": "P", "trigger": "yandex-calendar", "url": integration.url}
    assert error_id(bot("POST", "/commands", again))[0] == 403
    assert error_id(admin("POST", "/commands", again)) == (400, "api.command.duplicate_trigger.app_error")
    assert error_id(admin("POST", "/commands", again | {"trigger": "/x"}))[0] == 400
    fresh = admin("PUT", f"/commands/{made['id']}/regen_token").json()["token"]
    assert fresh != made["token"]


def test_a_slash_command_reaches_us_as_a_form_and_may_answer_later_five_times(
    twin: MattermostTwin, admin: Caller, anna: Caller, channel: str, integration: Integration, clock: Clock
) -> None:
    made = make_command(admin, f"{integration.url}/mattermost/command")
    integration.answer = {"response_type": "ephemeral", "text": "menu"}
    line = {"channel_id": channel, "command": "/yandex-calendar today now", "team_id": made["team_id"]}
    answer = anna("POST", "/commands/execute", line)
    assert answer.status_code == 200, answer.text
    headers, body = integration.received[0]
    form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    assert headers["authorization"] == f"Token {made['token']}"
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert (form["token"], form["command"], form["text"]) == (made["token"], "/yandex-calendar", "today now")
    assert (form["user_id"], form["channel_id"]) == (anna.id, channel)
    assert [post["message"] for post in twin.ephemerals_to("anna")] == ["menu"]
    later = [requests.post(form["response_url"], json={"text": f"more {n}"}, timeout=5).status_code for n in range(6)]
    assert later == [200, 200, 200, 200, 200, 400]
    clock.ahead_s = 30 * 60 + 1
    assert requests.post(form["response_url"], json={"text": "late"}, timeout=5).status_code == 404


def test_a_command_in_a_direct_channel_needs_a_team_of_the_caller(anna: Caller, channel: str) -> None:
    assert error_id(anna("POST", "/commands/execute", {"channel_id": channel, "command": "/x"}))[0] == 403
    line = {"channel_id": channel, "command": "/x", "team_id": team_of(anna)}
    assert error_id(anna("POST", "/commands/execute", line)) == (404, "api.command.execute_command.not_found.app_error")


def test_a_dialog_is_opened_by_a_trigger_for_30_s_and_submitted_to_us(
    twin: MattermostTwin, admin: Caller, anna: Caller, channel: str, integration: Integration, clock: Clock
) -> None:
    made = make_command(admin, integration.url)
    line = {"channel_id": channel, "command": "/yandex-calendar connect", "team_id": made["team_id"]}
    anna("POST", "/commands/execute", line)
    trigger = parse_qs(integration.received[0][1].decode())["trigger_id"][0]
    dialog = {"title": "Connect", "callback_id": "connect", "elements": []}
    body = {"trigger_id": trigger, "url": integration.url, "dialog": dialog}
    opened = requests.post(f"{twin.url}/api/v4/actions/dialogs/open", json=body, timeout=5)
    assert opened.json() == {"status": "OK"}
    assert twin.dialogs_of("anna")[0]["dialog"]["title"] == "Connect"
    integration.answer = {"errors": {"login": "wrong"}}
    sent = {"url": integration.url, "channel_id": channel, "callback_id": "connect", "submission": {"login": "a"}}
    assert anna("POST", "/actions/dialogs/submit", sent).json() == {"errors": {"login": "wrong"}}
    received = json.loads(integration.received[-1][1])
    assert (received["type"], received["user_id"], received["submission"]) == (
        "dialog_submission",
        anna.id,
        {"login": "a"},
    )
    integration.answer = {"items": [{"text": "A", "value": "a"}]}
    looked = anna("POST", "/actions/dialogs/lookup", sent).json()
    assert looked == {"items": [{"text": "A", "value": "a"}]}
    clock.ahead_s = 31
    late = requests.post(f"{twin.url}/api/v4/actions/dialogs/open", json=body, timeout=5)
    assert error_id(late) == (400, "interactive_message.decode_trigger_id.expired")


# --- statuses, bots, rights -------------------------------------------------------------------------------------------


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def test_a_custom_status_is_ones_own_unless_the_right_is_given(
    twin: MattermostTwin, bot: Caller, admin: Caller
) -> None:
    path = f"/users/{twin.user_id('anna')}/status/custom"
    status = {"emoji": "calendar", "text": "ы" * 150, "duration": "date_and_time", "expires_at": in_an_hour()}
    assert error_id(bot("PUT", path, status))[0] == 403
    assert admin("PUT", f"/users/{bot.id}/roles", {"roles": "system_user nonsense"}).status_code == 400
    role = admin("GET", "/roles/name/system_user_manager").json()
    admin("PUT", f"/roles/{role['id']}/patch", {"permissions": [*role["permissions"], "edit_other_users"]})
    assert admin("PUT", f"/users/{bot.id}/roles", {"roles": "system_user system_user_manager"}).status_code == 200
    assert bot("PUT", path, status).json() == {"status": "OK"}
    kept = twin.custom_status_of("anna")
    assert kept is not None
    assert kept["text"] == "ы" * 100
    bot("DELETE", path)
    assert twin.custom_status_of("anna") is None


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"duration": "forever"},
        {"emoji": "", "text": ""},
        {"expires_at": "tomorrow"},
    ],
)
def test_a_custom_status_of_the_past_or_malformed_is_refused(anna: Caller, change: dict[str, str]) -> None:
    status = {"emoji": "calendar", "text": "x", "duration": "date_and_time", "expires_at": in_an_hour(), **change}
    assert error_id(anna("PUT", "/users/me/status/custom", status))[0] == 400


def test_switched_off_features_answer_501() -> None:
    settings = Settings(enable_custom_user_statuses=False, enable_commands=False)
    with MattermostTwin.running(settings=settings) as twin:
        admin = Caller(twin, twin.admin_token)
        assert error_id(admin("PUT", "/users/me/status/custom", {"emoji": "x", "text": "x"}))[0] == 501
        body = {"team_id": team_of(admin), "method": "P", "trigger": "x", "url": "https://x.example"}
        assert error_id(admin("POST", "/commands", body)) == (501, "api.command.disabled.app_error")


def test_an_administrator_makes_a_bot_with_a_token_that_works(
    twin: MattermostTwin, admin: Caller, anna: Caller
) -> None:
    assert error_id(anna("POST", "/bots", {"username": "helper"}))[0] == 403
    made = admin("POST", "/bots", {"username": "helper", "display_name": "Helper"})
    assert made.status_code == 201
    bot_id = made.json()["user_id"]
    assert error_id(admin("POST", f"/users/{bot_id}/tokens", {"description": ""}))[0] == 400
    token = admin("POST", f"/users/{bot_id}/tokens", {"description": "calendar"}).json()["token"]
    helper = Caller(twin, token)
    assert helper.id == bot_id
    assert admin("POST", f"/bots/{bot_id}/disable").json()["delete_at"] > 0
    assert error_id(helper("GET", "/users/me"))[0] == 401
    assert admin("POST", f"/bots/{bot_id}/enable").json()["delete_at"] == 0
    assert helper("GET", "/users/me").status_code == 200


def test_joining_a_team_twice_is_201_with_the_same_member(admin: Caller, anna: Caller) -> None:
    team = team_of(admin)
    answers = [admin("POST", f"/teams/{team}/members", {"team_id": team, "user_id": anna.id}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()


# --- faults and restarts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "wanted", "stored", "outcome"),
    [
        ("rate_limit", {"retry_after_s": 7}, 0, 429),
        ("error", {}, 0, 500),
        ("error", {"when": "after", "status": 503}, 1, 503),
        ("slow", {"seconds": 0.2}, 1, 201),
        ("slow", {"seconds": 0.2, "when": "after"}, 1, 201),
        ("html", {}, 0, 200),
        ("cut", {}, 0, None),
        ("cut", {"when": "after"}, 1, None),
        ("cut_body", {}, 1, None),
    ],
)
def test_a_fault_does_what_it_says_and_no_more(
    twin: MattermostTwin, bot: Caller, channel: str, kind: Any, wanted: dict[str, Any], stored: int, outcome: int | None
) -> None:
    fault = {"kind": kind, "method": "POST", "path": "/api/v4/posts", "count": 1, **wanted}
    assert requests.post(f"{twin.url}/_sandbox/faults", json=fault, timeout=5).status_code == 201
    body = {"channel_id": channel, "message": "m"}
    if outcome is None:
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            bot("POST", "/posts", body)
    else:
        answer = bot("POST", "/posts", body)
        assert answer.status_code == outcome
        if outcome == 429:
            assert (answer.text, answer.headers["Retry-After"]) == ("limit exceeded\n", "7")
            assert answer.headers["X-RateLimit-Reset"] == "7"
        if kind == "html":
            assert answer.headers["Content-Type"].startswith("text/html")
    assert len(twin.posts_to("anna")) == stored
    assert bot("POST", "/posts", body).status_code == 201
    assert requests.get(f"{twin.url}/_sandbox/faults", timeout=5).json() == {"faults": [], "fired": 1}


def test_a_restart_keeps_people_rights_tokens_and_posts(tmp_path: Path) -> None:
    with MattermostTwin.running(data_dir=tmp_path, bot_token="b" * 26, admin_token="a" * 26) as twin:
        bot = Caller(twin, twin.bot_token)
        anna_id = twin.user_id("anna")
        channel = bot.direct(anna_id)
        kept = bot("POST", "/posts", {"channel_id": channel, "message": "kept"}).json()
        gone = bot("POST", "/posts", {"channel_id": channel, "message": "gone"}).json()
        bot("DELETE", f"/posts/{gone['id']}")
    with MattermostTwin.running(data_dir=tmp_path, bot_token="b" * 26, admin_token="a" * 26) as twin:
        assert twin.user_id("anna") == anna_id
        assert [post["id"] for post in twin.posts_to("anna")] == [kept["id"]]
        assert Caller(twin, "b" * 26).direct(anna_id) == channel
