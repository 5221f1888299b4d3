"""The supervisor with real, small children: what it promises about starts, restarts, stops and its own death."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from switchboard.processes.embedded_valkey import valkey_process, valkey_url
from switchboard.processes.ports import PortChooser
from switchboard.settings import running_settings

ROOT = Path(__file__).resolve().parents[2]
SLEEPER = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({path!r}, 'w').close(); time.sleep(600)"
)
FAMILY = """
import os, pathlib, signal, time
children = []
for _ in range(2):
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        time.sleep(600)
    children.append(pid)
path = pathlib.Path({path!r})
path.with_suffix(".new").write_text(" ".join(map(str, children)))
path.with_suffix(".new").rename(path)
time.sleep(600)
"""
LAST_WORDS = """
import signal, sys, time
def end(*_):
    with open({path!r}, "a") as file:
        file.write({name!r} + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
open({ready!r}, "w").close()
time.sleep(600)
"""
TINY_APP = """
from celery import Celery
app = Celery("tiny_app", broker={url!r})
app.conf.worker_hijack_root_logger = True
def web(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]
"""


class Run:
    """A supervisor in a process of its own."""

    def __init__(self, data_dir: Path, plan: list[dict[str, Any]]) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        plan_file = data_dir / "plan.json"
        plan_file.write_text(json.dumps(plan), encoding="utf-8")
        self.process = subprocess.Popen(
            (sys.executable, "-m", "tests.e2e.supervised", str(data_dir), str(plan_file)),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def state(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.data_dir / "run.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {"ready": False, "processes": {}}
        return state

    def pid(self, name: str) -> int:
        return int(self.state()["processes"][name]["pid"])

    def wait_ready(self) -> None:
        wait_until(lambda: bool(self.state()["ready"]) or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.communicate()[0]

    def wait_restarted(self, name: str, restarts: int = 1) -> None:
        wait_until(
            lambda: (
                self.state()["processes"][name]["restarts"] >= restarts
                and self.state()["processes"][name]["state"] == "running"
            )
        )

    def end(self, *signals: signal.Signals, timeout_s: float = 15.0) -> tuple[int, str]:
        """Send the signals, half a second apart; return exit status and output."""
        for index, number in enumerate(signals):
            time.sleep(0.5 if index else 0)
            self.process.send_signal(number)
        output, _ = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, output


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts supervisors; ends what a failed test leaves."""
    runs: list[Run] = []

    def begin(*plan: dict[str, Any], data_dir: Path = tmp_path / "data") -> Run:
        runs.append(Run(data_dir, list(plan)))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()
        if run.process.stdout is not None:
            run.process.stdout.close()


def wait_until(holds: Callable[[], bool], timeout_s: float = 15.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.03)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits for its parent to notice its end does not."""
    found = subprocess.run(("ps", "-o", "stat=", "-p", str(pid)), capture_output=True, text=True, check=False)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")


def members(sessions: set[int]) -> set[int]:
    """Processes of these sessions: a child and everything it forked."""
    listed = subprocess.run(("ps", "-e", "-o", "pid=,sess=,stat="), capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {int(pid) for pid, session, state, *_ in rows if int(session) in sessions and not state.startswith("Z")}


def family(tmp_path: Path, name: str = "family") -> tuple[dict[str, Any], Callable[[], list[int]]]:
    """A child that forks two which ignore SIGTERM and SIGHUP, and what reads their ids."""
    path = tmp_path / f"{name}.children"
    plan = {"name": name, "code": FAMILY.format(path=str(path)), "ready_file": str(path)}
    return plan, lambda: [int(pid) for pid in path.read_text(encoding="utf-8").split()]


def test_a_child_that_dies_is_started_again_and_the_others_stay(start: Callable[..., Run]) -> None:
    run = start({"name": "one", "code": SLEEPER}, {"name": "two", "code": SLEEPER})
    run.wait_ready()
    one, two = run.pid("one"), run.pid("two")

    os.kill(one, signal.SIGKILL)
    run.wait_restarted("one")

    assert run.pid("one") != one
    assert run.pid("two") == two
    status, output = run.end(signal.SIGTERM)
    assert status == 0
    assert "one ended (killed by SIGKILL), starting it again in" in output


def test_restarts_of_a_child_that_keeps_dying_are_spaced_out(start: Callable[..., Run], tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    dying = f"import time; open({str(starts)!r}, 'a').write(f'{{time.time()}}\\n'); time.sleep(0.3)"
    run = start({"name": "dying", "code": dying})
    run.wait_ready()

    wait_until(lambda: starts.exists() and len(starts.read_text(encoding="utf-8").splitlines()) >= 5)

    times = [float(line) for line in starts.read_text(encoding="utf-8").splitlines()]
    pauses = [later - earlier - 0.3 for earlier, later in itertools.pairwise(times)]
    # Given pauses of 0.1, 0.2, 0.4 and 0.8 s, less up to a fifth, plus the time a start takes
    for pause, least in zip(pauses, (0.08, 0.16, 0.32, 0.64), strict=False):
        assert pause >= least
    assert run.end(signal.SIGTERM)[0] == 0


def test_what_a_dead_child_had_forked_is_gone_before_its_restart(start: Callable[..., Run], tmp_path: Path) -> None:
    plan, forked = family(tmp_path)
    run = start(plan)
    run.wait_ready()
    before = forked()

    os.kill(run.pid("family"), signal.SIGKILL)
    run.wait_restarted("family")

    assert not any(is_alive(pid) for pid in before)
    assert not set(before) & set(forked())
    run.end(signal.SIGTERM)


def test_phases_stop_in_the_opposite_order_of_their_start(start: Callable[..., Run], tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    def child(name: str, phase: int) -> dict[str, Any]:
        ready = str(tmp_path / f"{name}.ready")
        return {
            "name": name,
            "code": LAST_WORDS.format(path=str(ended), name=name, ready=ready),
            "phase": phase,
            "ready_file": ready,
        }

    run = start(child("producer", 3), child("broker", 0), child("worker", 2), child("twin", 1))
    run.wait_ready()

    assert run.end(signal.SIGTERM)[0] == 0

    assert ended.read_text(encoding="utf-8").split() == ["producer", "worker", "twin", "broker"]


def test_a_phase_starts_when_the_one_before_is_ready(start: Callable[..., Run], tmp_path: Path) -> None:
    ready, seen = tmp_path / "ready", tmp_path / "seen"
    run = start(
        {
            "name": "late",
            "code": f"import os; open({str(seen)!r}, 'w').write(str(os.path.exists({str(ready)!r}))); {SLEEPER}",
        },
        {
            "name": "slow",
            "code": f"import time; time.sleep(0.5); open({str(ready)!r}, 'w'); {SLEEPER}",
            "phase": 0,
            "ready_file": str(ready),
        },
    )
    run.wait_ready()
    wait_until(lambda: seen.exists() and seen.read_text(encoding="utf-8") != "")

    assert seen.read_text(encoding="utf-8") == "True"
    run.end(signal.SIGTERM)


def test_ctrl_c_leaves_no_process_and_no_run_file(start: Callable[..., Run], tmp_path: Path) -> None:
    plan, forked = family(tmp_path)
    run = start(plan, {"name": "other", "code": SLEEPER})
    run.wait_ready()
    sessions = {run.pid("family"), run.pid("other")}
    assert members(sessions) >= {*sessions, *forked()}
    assert (run.data_dir / "run.json").stat().st_mode & 0o777 == 0o600

    status, _ = run.end(signal.SIGINT)

    assert status == 0
    wait_until(lambda: not members(sessions), timeout_s=2)
    assert not (run.data_dir / "run.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_a_supervisor_killed_by_sigkill_leaves_nothing_not_even_grandchildren(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    plan, forked = family(tmp_path)
    run = start(plan, {"name": "other", "code": SLEEPER})
    run.wait_ready()
    sessions = {run.pid("family"), run.pid("other")}
    everyone = [*sessions, *forked()]

    run.process.kill()

    wait_until(lambda: not members(sessions) and not any(is_alive(pid) for pid in everyone), timeout_s=5)


def test_the_guard_is_replaced_when_it_dies_and_still_knows_every_child(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    plan, forked = family(tmp_path)
    run = start(plan)
    run.wait_ready()
    guard = guard_of(run)
    assert guard > 0
    os.kill(guard, signal.SIGKILL)
    wait_until(lambda: guard_of(run) not in (0, guard))
    time.sleep(0.3)

    run.process.kill()

    wait_until(lambda: not any(is_alive(pid) for pid in forked()), timeout_s=5)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_children_die_with_the_supervisor_even_when_the_guard_died_just_before(start: Callable[..., Run]) -> None:
    run = start({"name": "one", "code": SLEEPER})
    run.wait_ready()
    one, guard = run.pid("one"), guard_of(run)
    assert guard > 0

    run.process.send_signal(signal.SIGSTOP)  # so that it cannot replace the guard
    os.kill(guard, signal.SIGKILL)
    run.process.kill()

    wait_until(lambda: not is_alive(one), timeout_s=5)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_the_children_of_celery_and_granian_are_gone_after_a_sigkill_of_the_supervisor(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    data_dir, port, web_port = tmp_path / "data", PortChooser().choose(0), PortChooser().choose(0)
    (tmp_path / "tiny_app.py").write_text(
        TINY_APP.format(url=valkey_url(port=port, password="secret-word")), encoding="utf-8"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    celery = ("celery", "-A", "tiny_app", "worker", "-P", "prefork", "-c", "2", "-l", "info")
    granian = ("granian", "--interface", "wsgi", "--port", str(web_port), "--http", "1", "--no-ws", "tiny_app:web")
    run = start(
        valkey_plan(data_dir, port),
        {"name": "worker", "argv": [sys.executable, "-m", *celery], "environment": environment},
        {"name": "web", "argv": [sys.executable, "-m", *granian], "environment": environment},
    )
    run.wait_ready()
    logs = data_dir / "logs"
    wait_until(lambda: " ready." in (logs / "worker.log").read_text(encoding="utf-8"), timeout_s=30)
    wait_until(lambda: "Started worker" in (logs / "web.log").read_text(encoding="utf-8"), timeout_s=30)
    sessions = {run.pid(name) for name in ("valkey", "worker", "web")}
    assert len(members(sessions)) >= 1 + (1 + 2) + (1 + 1)  # Valkey; Celery and its two; granian and its one

    run.process.kill()

    wait_until(lambda: not members(sessions), timeout_s=5)


def guard_of(run: Run) -> int:
    listed = subprocess.run(
        ("ps", "-ww", "-e", "-o", "pid=,ppid=,stat=,args="), capture_output=True, text=True, check=True
    ).stdout
    for line in listed.splitlines():
        pid, parent, state, arguments = line.split(None, 3)
        if int(parent) == run.process.pid and arguments.endswith("guard.py") and not state.startswith("Z"):
            return int(pid)
    return 0


def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(start: Callable[..., Run], tmp_path: Path) -> None:
    ready = str(tmp_path / "ready")
    run = start({"name": "stubborn", "code": STUBBORN.format(path=ready), "ready_file": ready, "grace_s": 1.0})
    run.wait_ready()
    pid, began = run.pid("stubborn"), time.monotonic()

    status, output = run.end(signal.SIGTERM)

    assert status == 0
    assert time.monotonic() - began >= 1.0
    assert "stubborn did not stop within 1 s and was killed" in output
    assert not is_alive(pid)


def test_a_second_ctrl_c_does_not_wait_for_the_grace(start: Callable[..., Run], tmp_path: Path) -> None:
    ready = str(tmp_path / "ready")
    run = start({"name": "stubborn", "code": STUBBORN.format(path=ready), "ready_file": ready, "grace_s": 60.0})
    run.wait_ready()
    pid = run.pid("stubborn")

    status, _ = run.end(signal.SIGINT, signal.SIGINT, timeout_s=5)

    assert status == 0
    assert not is_alive(pid)


def test_a_second_start_on_the_same_data_says_who_runs_and_changes_nothing(start: Callable[..., Run]) -> None:
    first = start({"name": "one", "code": SLEEPER})
    first.wait_ready()

    second = start({"name": "one", "code": SLEEPER})
    output, _ = second.process.communicate(timeout=15)

    assert second.process.returncode == 1
    assert f"already runs on {first.data_dir} (process {first.process.pid})" in output
    assert is_alive(first.pid("one"))
    assert running_settings(first.data_dir) == {"port": "1"}
    first.end(signal.SIGTERM)


def test_a_start_after_a_killed_supervisor_works_at_once_and_its_leftover_file_is_ignored(
    start: Callable[..., Run],
) -> None:
    first = start({"name": "one", "code": SLEEPER})
    first.wait_ready()
    first.process.kill()
    first.process.communicate()
    wait_until(lambda: running_settings(first.data_dir) == {}, timeout_s=5)
    assert (first.data_dir / "run.json").exists()

    second = start({"name": "one", "code": SLEEPER})
    wait_until(lambda: second.state().get("pid") == second.process.pid)
    second.wait_ready()

    assert second.end(signal.SIGTERM)[0] == 0


def test_a_process_that_never_comes_up_ends_the_start_with_its_last_words(start: Callable[..., Run]) -> None:
    run = start(
        {"name": "good", "code": SLEEPER, "phase": 0},
        {"name": "bad", "code": "raise SystemExit('no such table')", "once": True},
    )

    output, _ = run.process.communicate(timeout=15)

    assert run.process.returncode == 1
    assert "bad ended at once" in output
    assert "no such table" in output
    assert not (run.data_dir / "run.json").exists()


def test_a_step_that_ends_by_itself_is_not_started_again(start: Callable[..., Run], tmp_path: Path) -> None:
    done = tmp_path / "done"
    run = start(
        {"name": "step", "code": f"open({str(done)!r}, 'a').write('x')", "once": True, "phase": 1},
        {"name": "one", "code": SLEEPER},
    )
    run.wait_ready()
    time.sleep(0.5)

    assert done.read_text(encoding="utf-8") == "x"
    assert run.state()["processes"]["step"]["state"] == "done"
    run.end(signal.SIGTERM)


def test_a_warning_of_a_child_is_shown_and_everything_is_in_its_log(start: Callable[..., Run]) -> None:
    talk = "import sys, time; print('all is well'); print('WARNING: disk nearly full'); sys.stdout.flush(); time.sleep(600)"
    run = start({"name": "talker", "code": talk})
    run.wait_ready()
    log = run.data_dir / "logs" / "talker.log"
    wait_until(lambda: log.read_text(encoding="utf-8").count("\n") == 2)
    time.sleep(0.3)

    _, output = run.end(signal.SIGTERM)

    assert "talker said WARNING: disk nearly full" in output
    assert "all is well" not in output
    assert log.stat().st_mode & 0o777 == 0o600


def valkey_plan(data_dir: Path, port: int) -> dict[str, Any]:
    """The real process, as the supervisor's fake list takes it."""
    spec = valkey_process(data_dir, port=port, password="secret-word", environment={})
    assert "secret-word" not in " ".join(spec.argv)
    return {"name": "valkey", "argv": list(spec.argv), "phase": 0, "grace_s": 10.0}


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False


def test_a_killed_valkey_comes_back_on_its_port_with_its_data_and_a_second_start_keeps_them(
    start: Callable[..., Run], tmp_path: Path
) -> None:
    data_dir, port = tmp_path / "data", PortChooser().choose(0)
    run = start(valkey_plan(data_dir, port))
    run.wait_ready()
    with redis.Redis.from_url(valkey_url(port=port, password="secret-word"), socket_timeout=2) as client:
        wait_until(lambda: answers(client))
        client.rpush("queue", "one", "two")

        # When it is killed at once after the write
        os.kill(run.pid("valkey"), signal.SIGKILL)
        run.wait_restarted("valkey")
        wait_until(lambda: answers(client))
        assert client.lrange("queue", 0, -1) == [b"one", b"two"]

        # When everything is stopped and started again
        assert run.end(signal.SIGTERM)[0] == 0
        again = start(valkey_plan(data_dir, port))
        again.wait_ready()
        wait_until(lambda: answers(client))
        assert client.lrange("queue", 0, -1) == [b"one", b"two"]
        again.end(signal.SIGTERM)


def test_the_embedded_valkey_refuses_clients_without_the_password(start: Callable[..., Run], tmp_path: Path) -> None:
    data_dir, port = tmp_path / "data", PortChooser().choose(0)
    spec = valkey_process(data_dir, port=port, password="secret-word", environment={})
    assert (data_dir / "valkey" / "valkey.conf").stat().st_mode & 0o777 == 0o600
    run = start(valkey_plan(data_dir, port))
    run.wait_ready()
    assert spec.ready is not None
    wait_until(spec.ready.is_ready)

    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"KEYS *\r\n")
        assert connection.recv(7) == b"-NOAUTH"
    run.end(signal.SIGTERM)
