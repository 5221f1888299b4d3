"""Flower as we start it, as a real process over a real broker with a password."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from sandbox.ports import free_port
from tests.servers import dies_with_parent, running_valkey

BROKER_SECRET = "broker-secret-1234567"
PASSWORD = "flower-password-1234567"
CREDENTIALS = ("operator", PASSWORD)
ADDRESSES = (
    "/",
    "/workers",
    "/tasks",
    "/broker",
    "/metrics",
    "/healthcheck",
    "/api/workers?refresh=1",
    "/api/tasks",
    "/api/task/types",
    "/api/queues/length",
    "/static/css/flower.css",
    "/login",
    "/nothing",
)
CONTROLS = (
    "/api/worker/shutdown/{worker}",
    "/api/worker/pool/grow/{worker}",
    "/api/worker/queue/add-consumer/{worker}?queue=x",
    "/api/task/async-apply/throwaway.add",
    "/api/task/send-task/throwaway.add",
    "/api/task/revoke/1",
    "/api/task/rate-limit/throwaway.add",
)


@dataclass(frozen=True, slots=True)
class RunningFlower:
    """A Flower process and where it is."""

    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=10, allow_redirects=False, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=10, **options)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_valkey(tmp_path_factory.mktemp("broker")) as server:
        with redis.Redis.from_url(server.url, socket_timeout=5) as client:
            client.config_set("requirepass", BROKER_SECRET)
        yield f"redis://:{BROKER_SECRET}@127.0.0.1:{server.port}/0"


def _environment(broker: str, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWER_") and name != "PORT"}
    return {**kept, "THROWAWAY_BROKER": broker, "FLOWER_PASSWORD": PASSWORD, **more}


@contextmanager
def _flower(broker: str, folder: Path, *arguments: str, **more: str) -> Iterator[RunningFlower]:
    port = free_port()
    names = {"FLOWER_PORT": str(port)} if "--routed" not in arguments else {"PORT": str(port)}
    with (folder / "flower.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.throwaway_celery", *arguments],
            env=_environment(broker, **names, **more),
            stdout=log,
            stderr=log,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
    running = RunningFlower(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until(lambda: _answers(running))
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()


def _answers(running: RunningFlower) -> bool:
    assert running.process.poll() is None, "Flower ended"
    try:
        return running.get("/").status_code == 401
    except requests.ConnectionError:
        return False


def _wait_until(condition: Any, *, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def flower(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFlower]:
    more = {"FLOWER_MAX_TASKS": "100", "FLOWER_URL": "https://flower.example.org", "FLOWER_UNAUTHENTICATED_API": "1"}
    with _flower(broker, tmp_path_factory.mktemp("flower"), **more) as running:
        yield running


@pytest.fixture(scope="module")
def worker(broker: str, flower: RunningFlower, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a worker that Flower has seen."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "tests.integration.throwaway_celery",
        "worker",
        "-P",
        "solo",
        "-n",
        "w@here",
    ]
    with (tmp_path_factory.mktemp("worker") / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-l", "warning"],
            env=_environment(broker),
            stdout=log,
            stderr=log,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
    try:
        _wait_until(lambda: "w@here" in flower.get("/api/workers?refresh=1", auth=CREDENTIALS).json())
        yield "w@here"
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("path", ADDRESSES)
def test_every_address_is_closed_without_credentials(flower: RunningFlower, path: str) -> None:
    assert flower.get(path).status_code == 401
    assert flower.get(path, auth=("operator", "wrong")).status_code == 401
    assert flower.post(path).status_code == 401


@pytest.mark.parametrize("path", ["/", "/tasks", "/metrics", "/healthcheck", "/api/workers", "/api/tasks"])
def test_the_credentials_open_it(flower: RunningFlower, path: str) -> None:
    assert flower.get(path, auth=CREDENTIALS).status_code == 200


@pytest.mark.parametrize(
    "authorization", ["Basic", "Basic !!!", "Basic \xff\xfe", "Bearer x", "Basic b3BlcmF0b3I6", "x" * 5000]
)
def test_broken_credentials_are_401_and_no_error(flower: RunningFlower, authorization: str) -> None:
    assert flower.get("/", headers={"Authorization": authorization.encode("latin-1")}).status_code == 401


@pytest.mark.parametrize("control", CONTROLS)
def test_it_only_shows_and_does_not_control(flower: RunningFlower, worker: str, control: str) -> None:
    answer = flower.post(control.format(worker=worker), auth=CREDENTIALS, json={"args": [1, 2]})
    assert answer.status_code == 403


def test_a_setting_lets_operators_control(broker: str, worker: str, tmp_path: Path) -> None:
    with _flower(broker, tmp_path, FLOWER_WRITABLE="true") as writable:
        answer = writable.post("/api/task/send-task/throwaway.add", auth=CREDENTIALS, json={"args": [1, 2]})
        assert answer.status_code == 200


def test_the_brokers_password_is_shown_nowhere(flower: RunningFlower, worker: str) -> None:
    flower.get(f"/api/workers?refresh=1&workername={worker}", auth=CREDENTIALS)
    for path in (*ADDRESSES, f"/worker/{worker}", f"/api/workers?workername={worker}", "/task/none"):
        answer = flower.get(path, auth=CREDENTIALS)
        assert BROKER_SECRET not in answer.text, path
        assert PASSWORD not in answer.text, path


def test_tasks_appear_and_their_history_is_bounded(broker: str, flower: RunningFlower, worker: str) -> None:
    from tests.integration.throwaway_celery import add, app  # noqa: PLC0415

    with app.connection_for_write(url=broker) as connection:
        for number in range(130):
            add.apply_async((number, 1), connection=connection)
    _wait_until(lambda: len(_tasks(flower, "limit=1000")) == 100)
    assert {task["name"] for task in _tasks(flower, "limit=10")} == {"throwaway.add"}


def _tasks(flower: RunningFlower, query: str) -> list[dict[str, Any]]:
    return list(flower.get(f"/api/tasks?{query}", auth=CREDENTIALS).json().values())


def test_pages_cannot_be_framed_sniffed_or_stored(flower: RunningFlower) -> None:
    headers = flower.get("/", auth=CREDENTIALS).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_no_secret_stands_on_the_command_line(flower: RunningFlower) -> None:
    command = Path(f"/proc/{flower.process.pid}/cmdline")
    if not command.exists():
        pytest.skip("needs /proc")
    shown = command.read_bytes().decode()
    assert PASSWORD not in shown
    assert BROKER_SECRET not in shown


def test_it_refuses_to_start_without_a_password(broker: str) -> None:
    environment = _environment(broker, FLOWER_PASSWORD="")
    command = [sys.executable, "-m", "tests.integration.throwaway_celery"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode != 0
    assert "FLOWER_PASSWORD is not set" in ended.stderr


def test_as_an_application_of_its_own_it_listens_at_port_and_ends_on_sigterm(broker: str, tmp_path: Path) -> None:
    with _flower(broker, tmp_path, "--routed") as running:
        assert running.get("/healthcheck", auth=CREDENTIALS).status_code == 200
        running.process.terminate()
        assert running.process.wait(10) == 0


def test_sigterm_ends_it_cleanly_while_the_broker_is_away(tmp_path: Path) -> None:
    with _flower(f"redis://127.0.0.1:{free_port()}/0", tmp_path) as running:
        running.process.terminate()
        assert running.process.wait(10) == 0
