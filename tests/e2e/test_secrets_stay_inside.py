"""No secret leaves its place: not into a log, Flower, the broker, a command line or, but for sealed ones, the database."""

from __future__ import annotations

import base64
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests

from sandbox.caldav import CalendarDesk
from switchboard.clients.mattermost import MattermostClient
from switchboard.processes.stack import Stack
from tests.e2e.exposed import flower_pages, redis_values, wait_for
from tests.e2e.marked import Marked
from tests.servers import ROOT

WRONG_PASSWORD = "wrong-pass-0123456789"
SECRETS = ("SECRET_KEYS", "ADMIN_TOKEN", "MATTERMOST_TOKEN", "MATTERMOST_ADMIN_TOKEN", "SANDBOX_CALDAV_PASSWORD")
WEB_PAGES = ("/healthz", "/readyz", "/metrics", "/openapi.json")


@pytest.mark.slow
def test_secrets_stay_inside(tmp_path: Path) -> None:
    marked = Marked(tmp_path)
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    settings = {"SANDBOX_SAMPLES": "empty", "CALENDAR_POLL_SECONDS": "15", "LOG_LEVEL": "DEBUG", **marked.environment}
    with Stack.start(data_dir, sandbox=True, environment=settings) as stack:
        environment = stack.environment
        said = _use(stack)
        places = {
            "what commands print": said,
            "command lines": "\n".join(marked.command_lines()),
            **{f"flower {page}": text for page, text in flower_pages(stack)},
            **{f"redis {key}": text for key, text in redis_values(environment["REDIS_URL"])},
            **{f"web {page}": text for page, text in _web(stack, environment["ADMIN_TOKEN"])},
        }
    for pattern in ("logs/*", "switchboard.sqlite3*", "valkey/appendonlydir/*"):  # the last: all that was ever queued
        for path in data_dir.glob(pattern):
            places[str(path.relative_to(data_dir))] = path.read_bytes().decode("latin-1")

    assert _missing(places) == []
    secrets = {name: environment[name] for name in SECRETS} | {"a wrong password": WRONG_PASSWORD}
    assert all(len(value) >= 12 for value in secrets.values())
    found = [
        (name, place)
        for place, text in places.items()
        for name, value in secrets.items()
        if any(form in text for form in _forms(value))
    ]
    assert found == []


def _missing(places: dict[str, str]) -> list[str]:
    """What must stand there, or the search proves nothing: each place was really used."""
    wanted = {
        "what commands print": "Account 1 is connected",
        "command lines": "valkey",
        "flower /api/tasks?limit=500": "delivery.mattermost.send",
        "logs/worker.log": "calendar_poll_failed",
        "logs/sandbox.log": "sandbox",
        "switchboard.sqlite3": "anna",
        "web /metrics": "# HELP",
    }
    queued = "".join(text for place, text in places.items() if place.startswith("valkey/"))
    absent = [f"{place}: {word}" for place, word in wanted.items() if word not in places.get(place, "")]
    return absent + [task for task in ("delivery.mattermost.send", "calendar.accounts.poll") if task not in queued]


def _forms(secret: str) -> tuple[str, ...]:
    """As it is, in a URL, and in Basic credentials (of the people of the sandbox)."""
    basic = (base64.b64encode(f"{login}:{secret}".encode()).decode().rstrip("=") for login in ("anna", "boris"))
    return (secret, quote(secret, safe=""), *basic)


def _use(stack: Stack) -> str:
    """The calendar job with every kind of failure; returns what the commands printed."""
    environment = stack.environment
    password = environment["SANDBOX_CALDAV_PASSWORD"]
    client = MattermostClient(environment["MATTERMOST_URL"], environment["MATTERMOST_TOKEN"])
    channel = client.open_direct_channel(client.me().id, client.user_by_username("anna").id)

    def posts() -> int:
        return len(list(client.posts_since(channel, datetime.fromtimestamp(0, UTC))))

    calendar = stack.url("radicale")
    connect = ("calendar", "connect", calendar, "anna", "anna", "--zone", "Europe/Moscow")
    said = [_command(stack, *connect, password=WRONG_PASSWORD), _command(stack, *connect, password=password)]
    said.append(_command(stack, "calendar", "agenda", "1", "--send"))
    wait_for(lambda: posts() >= 1, "the agenda", seconds=40)
    faults = f"{environment['MATTERMOST_URL']}/_sandbox/faults"
    for fault in ({"kind": "error", "status": 401}, {"kind": "cut", "when": "after"}):
        body: dict[str, Any] = {**fault, "method": "POST", "path": "/api/v4/posts", "count": 1}
        requests.post(faults, json=body, timeout=5).raise_for_status()
    CalendarDesk(calendar, password).add("anna", "Review", datetime.now(UTC) + timedelta(minutes=5))
    said.append(_command(stack, "calendar", "poll", "1"))
    wait_for(lambda: _was_refused(stack), "the refused post", seconds=40)
    said.append(_command(stack, "deliveries"))
    assert "401" in said[-1]
    stack.kill("radicale")
    said.append(_command(stack, "calendar", "poll", "1"))
    (stack.data_dir / "radicale" / "users").write_text("anna:another\n", encoding="utf-8")
    stack.wait_restarted("radicale", since=0)
    said += [_command(stack, *command) for command in (("doctor",), ("audit",), ("calendar", "list"))]
    wait_for(lambda: "calendar_poll_failed" in stack.log("worker"), "a poll of the worker to fail", seconds=40)
    return "\n".join(said)


def _was_refused(stack: Stack) -> bool:
    """Whether the refusal of a post stands in the ledger. A command that asks would take seconds to start, again and again."""
    with closing(sqlite3.connect(f"file:{stack.data_dir / 'switchboard.sqlite3'}?mode=ro", uri=True)) as connection:
        return bool(connection.execute("SELECT 1 FROM deliveries WHERE reason LIKE '%401%'").fetchone())


def _command(stack: Stack, *arguments: str, password: str = "") -> str:
    """What a command in another terminal prints, whether it succeeds or not."""
    names = {"PATH", "HOME", "LANG"}
    ended = subprocess.run(
        (sys.executable, "-m", "switchboard", *arguments),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name in names}
        | {"DATA_DIR": str(stack.data_dir), "CALENDAR_PASSWORD": password, "LOG_LEVEL": "DEBUG"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return f"{ended.stdout}\n{ended.stderr}"


def _web(stack: Stack, admin_token: str) -> Iterator[tuple[str, str]]:
    """The web process's pages, asked for with the token and with a wrong one (which its log must not show either)."""
    for page in WEB_PAGES:
        for token in (admin_token, WRONG_PASSWORD):
            answer = requests.get(stack.url("web") + page, headers={"Authorization": f"Bearer {token}"}, timeout=20)
            if token == admin_token:
                yield page, answer.text
