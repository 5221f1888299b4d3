"""The sandbox as a process: the page, its stream, acting as a person, calendars, and a restart."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.caldav import running_radicale
from sandbox.mattermost import MattermostTwin
from sandbox.page import page_routes
from sandbox.page.feed import changes_since
from switchboard.processes.ports import PortChooser
from switchboard.processes.process import PortReady

BOT_TOKEN = "b" * 26


@contextlib.contextmanager
def running_page(**options: Any) -> Iterator[MattermostTwin]:
    desk, telegram_url = options.pop("desk", None), options.pop("telegram_url", "")
    original = MattermostTwin.start

    class WithPage(MattermostTwin):
        def start(self, port: int = 0) -> None:
            self.add_routes([*page_routes(self, desk, telegram_url)])
            original(self, port)

    with WithPage.running(**options) as twin:
        yield twin


def first_events(url: str, count: int) -> list[tuple[str, dict[str, Any]]]:
    """The first `count` server-sent events."""
    found: list[tuple[str, dict[str, Any]]] = []
    with requests.get(f"{url}/_sandbox/events", stream=True, timeout=10) as answer:
        name = ""
        for line in answer.iter_lines(decode_unicode=True):
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                found.append((name, json.loads(line.removeprefix("data: "))))
                if len(found) == count:
                    return found
    return found


def session(twin: MattermostTwin, username: str) -> dict[str, str]:
    answer = requests.post(f"{twin.url}/_sandbox/sessions", json={"username": username}, timeout=5)
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def direct(twin: MattermostTwin, headers: dict[str, str], other: str) -> str:
    me = requests.get(f"{twin.url}/api/v4/users/me", headers=headers, timeout=5).json()["id"]
    body = [me, twin.user_id(other)]
    return str(requests.post(f"{twin.url}/api/v4/channels/direct", headers=headers, json=body, timeout=5).json()["id"])


def test_the_page_loads_nothing_from_elsewhere() -> None:
    with running_page() as twin:
        page = requests.get(f"{twin.url}/", timeout=5)
        assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        for name in ("page.js", "telegram.js", "page.css"):
            file = requests.get(f"{twin.url}/_sandbox/{name}", timeout=5)
            assert file.status_code == 200
            assert "https://" not in file.text.replace("https?://", "")


def test_a_status_that_a_person_sets_by_hand_is_told_to_the_page_with_its_end() -> None:
    with running_page() as twin:
        anna, ends = session(twin, "anna"), "2100-01-01T00:00:00Z"
        before = twin.world.change_number
        body = {"emoji": "speech_balloon", "text": "Lunch", "duration": "date_and_time", "expires_at": ends}
        path = f"{twin.url}/api/v4/users/{twin.user_id('anna')}/status/custom"
        assert requests.put(path, headers=anna, json=body, timeout=5).ok
        [entry] = twin.call(lambda: changes_since(twin.world, before))
        assert (entry["username"], entry["custom_status"]["text"], entry["custom_status"]["expires_at"]) == (
            "anna",
            "Lunch",
            ends,
        )
        assert requests.delete(path, headers=anna, timeout=5).ok
        assert twin.call(lambda: changes_since(twin.world, before))[-1]["custom_status"] is None


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_another_site_cannot_use_the_page_through_a_browser(headers: dict[str, str]) -> None:
    with running_page() as twin:
        answer = requests.post(f"{twin.url}/_sandbox/sessions", json={"username": "anna"}, headers=headers, timeout=5)
        assert answer.status_code == 403
        assert "token" not in answer.text


def test_a_person_chosen_on_the_page_writes_as_themselves_and_it_is_shown_live() -> None:
    with running_page() as twin:
        anna = session(twin, "anna")
        channel = direct(twin, anna, "switchboard")
        events: list[tuple[str, dict[str, Any]]] = []
        reader = threading.Thread(target=lambda: events.extend(first_events(twin.url, 3)))
        reader.start()
        time.sleep(0.5)
        body = {"channel_id": channel, "message": "**hello**"}
        assert requests.post(f"{twin.url}/api/v4/posts", headers=anna, json=body, timeout=5).status_code == 201
        reader.join(timeout=10)
        assert [name for name, _ in events] == ["state", "changes", "changes"]
        entry = events[2][1]["entries"][-1]
        assert entry["html"] == "<p><strong>hello</strong></p>"
        assert entry["sender_id"] == twin.user_id("anna")
        assert entry["receiver_ids"] == [twin.user_id("switchboard")]


def test_a_page_opened_after_10000_posts_is_sent_the_last_200_alone() -> None:
    with running_page() as twin:
        headers = {"Authorization": f"Bearer {twin.bot_token}"}
        channel = direct(twin, headers, "anna")

        def fill() -> None:
            from sandbox.mattermost.api.posts import create_post  # noqa: PLC0415

            author = twin.world.user_named("switchboard")
            for number in range(10_000):
                create_post(twin.world, author, twin.world.channels[channel], {"message": f"post {number}"})

        twin.call(fill)
        state = first_events(twin.url, 1)[0][1]
        assert len(state["entries"]) == 200
        assert "post 9999" in state["entries"][-1]["html"]
        assert len(twin.call(lambda: changes_since(twin.world, 0))) <= 200


def test_integration_contexts_never_reach_the_page() -> None:
    with running_page() as twin:
        headers = {"Authorization": f"Bearer {twin.bot_token}"}
        action = {
            "name": "Go",
            "type": "button",
            "integration": {"url": "http://127.0.0.1:9/", "context": {"k": "s3cret"}},
        }
        body = {
            "channel_id": direct(twin, headers, "anna"),
            "message": "m",
            "props": {"attachments": [{"actions": [action]}]},
        }
        requests.post(f"{twin.url}/api/v4/posts", headers=headers, json=body, timeout=5)
        state = first_events(twin.url, 1)[0][1]
        assert state["entries"][-1]["attachments"][0]["actions"][0]["name"] == "Go"
        assert "s3cret" not in json.dumps(state)


def test_a_meeting_is_added_moved_and_cancelled_from_the_page(tmp_path: Path) -> None:
    with running_radicale(tmp_path, samples=True) as server, running_page(desk=server.desk) as twin:
        url = f"{twin.url}/_sandbox/calendar"
        assert requests.post(url, json={"action": "add", "user": "anna", "minutes": 9, "summary": "Now"}, timeout=15).ok
        meetings = requests.get(f"{url}?user=anna", timeout=15).json()["meetings"]
        uid = next(one["uid"] for one in meetings if one["summary"] == "Now")
        assert requests.post(url, json={"action": "move", "user": "anna", "uid": uid, "minutes": 30}, timeout=15).ok
        assert requests.post(url, json={"action": "cancel", "user": "anna", "uid": uid}, timeout=15).ok
        meetings = requests.get(f"{url}?user=anna", timeout=15).json()["meetings"]
        assert next(one["status"] for one in meetings if one["uid"] == uid) == "CANCELLED"
        invite = {"action": "invite", "user": "boris", "minutes": 9, "summary": "Asked"}
        assert requests.post(url, json=invite, timeout=15).ok
        [asked] = [
            text
            for path in server.folder.glob("collection-root/boris/work/*.ics")
            if "Asked" in (text := path.read_text())
        ]
        assert "PARTSTAT=NEEDS-ACTION" in asked
        wrong = requests.post(url, json={"action": "explode", "user": "anna"}, timeout=15)
        assert (wrong.status_code, wrong.json()["error"]) == (400, "action must be add, invite, move or cancel")


@contextlib.contextmanager
def sandbox_process(data: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    arguments = [sys.executable, "-m", "sandbox", "--port", "0", "--data", str(data)]
    environment = {**os.environ, "SANDBOX_BOT_TOKEN": BOT_TOKEN}
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[1].rstrip("/"), process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()


def test_a_restarted_sandbox_knows_its_people_bots_and_posts(tmp_path: Path) -> None:
    headers = {"Authorization": f"Bearer {BOT_TOKEN}"}
    with sandbox_process(tmp_path) as (url, _):
        me = requests.get(f"{url}/api/v4/users/me", headers=headers, timeout=5).json()
        anna = requests.get(f"{url}/api/v4/users/username/anna", headers=headers, timeout=5).json()
        boris = requests.get(f"{url}/api/v4/users/email/boris@example.org", headers=headers, timeout=5).json()
        assert (me["username"], anna["locale"], boris["locale"]) == ("switchboard", "ru", "en")
        pair = [me["id"], anna["id"]]
        channel = requests.post(f"{url}/api/v4/channels/direct", headers=headers, json=pair, timeout=5).json()["id"]
        body = {"channel_id": channel, "message": "kept"}
        post = requests.post(f"{url}/api/v4/posts", headers=headers, json=body, timeout=5).json()["id"]
    with sandbox_process(tmp_path) as (url, _):
        found = requests.get(f"{url}/api/v4/channels/{channel}/posts", headers=headers, timeout=5).json()
        assert found["order"] == [post]
    assert (tmp_path / "mattermost.jsonl").stat().st_mode & 0o077 == 0
    assert (tmp_path / "tokens.json").stat().st_mode & 0o077 == 0


@contextlib.contextmanager
def telegram_process(folder: Path) -> Iterator[str]:
    """The twin of Telegram as `run` starts it; gives the address of its side door."""
    ports = PortChooser(any_free=True)
    port, control_port = ports.choose(0), ports.choose(0)
    arguments = ("--port", str(port), "--control-port", str(control_port), "--data", str(folder))
    process = subprocess.Popen((sys.executable, "-m", "sandbox.telegram", *arguments), cwd=Path(__file__).parents[2])
    try:
        eventually(PortReady(control_port).is_ready)
        yield f"http://127.0.0.1:{control_port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def eventually(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_people_of_the_loopback_telegram_write_to_each_other_and_read_on_the_page(tmp_path: Path) -> None:
    with telegram_process(tmp_path) as door, running_page(telegram_url=door) as twin:
        url = f"{twin.url}/_sandbox/telegram"
        seen = requests.get(url, timeout=10).json()
        ids = {person["username"]: person["id"] for person in seen["people"]}
        phones = {person["username"]: person["phone"] for person in seen["people"]}
        assert seen["sample_passwords"] == {phones["office_demo"]: "sandbox"}
        office, anna = ids["office_demo"], ids["anna_ivanova"]

        written = {"as": office, "chat": anna, "text": "hello"}
        assert requests.post(f"{url}/messages", json=written, timeout=10).ok
        [chat] = requests.get(url, params={"as": anna}, timeout=10).json()["chats"]
        assert (chat["id"], chat["unread"]) == (office, 1)
        sender = {"as": office, "chat": anna}
        assert not requests.get(url, params=sender, timeout=10).json()["messages"][0]["read"]
        assert requests.post(f"{url}/reads", json={"as": anna, "chat": office}, timeout=10).ok
        [message] = requests.get(url, params=sender, timeout=10).json()["messages"]
        assert (message["text"], message["out"], message["read"]) == ("hello", True, True)

        refused = requests.post(f"{url}/messages", json={**written, "chat": "nobody at all"}, timeout=10)
        assert refused.status_code == 400
        assert "nobody at all" in refused.json()["error"]


def test_another_site_cannot_use_the_loopback_telegram_through_a_browser(tmp_path: Path) -> None:
    with telegram_process(tmp_path) as door, running_page(telegram_url=door) as twin:
        foreign = {"Origin": "https://evil.example"}
        for base in (door, twin.url):
            address = f"{base}/_sandbox/telegram"
            assert requests.get(f"{address}", headers=foreign, timeout=10).status_code == 403
            assert requests.get(f"{address}", headers={"Host": "evil.example:80"}, timeout=10).status_code == 403
        assert requests.get(f"{door}/_sandbox/telegram", timeout=10).status_code == 200


def test_the_page_says_when_the_loopback_telegram_is_absent_or_down() -> None:
    with running_page() as twin:
        assert first_events(twin.url, 1)[0][1]["has_telegram"] is False
        assert requests.get(f"{twin.url}/_sandbox/telegram", timeout=10).status_code == 404
    with running_page(telegram_url="http://127.0.0.1:1") as twin:
        answer = requests.get(f"{twin.url}/_sandbox/telegram", timeout=10)
        assert (answer.status_code, answer.json()["error"]) == (502, "The twin of Telegram does not answer")
