"""Run the whole process list: in the foreground for a person, or in the background for the demo and the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console

from switchboard.errors import SwitchboardError
from switchboard.processes import generated_secrets
from switchboard.processes.process_list import ROOT, make_plan
from switchboard.processes.run_lock import RunLock
from switchboard.processes.screen import Screen
from switchboard.processes.supervisor import HERE, RUN_FILE, Supervisor
from switchboard.settings import Settings, environment_names

START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 75.0  # more than all phases may take together


def run(settings: Settings, *, sandbox: bool, quiet: bool, any_ports: bool = False) -> int:
    """Run everything until Ctrl-C or SIGTERM; return the exit status, 0 after a wished stop.

    `quiet` shows the children's warnings and errors only; their log files have everything either way.
    Must be called in the main thread. ConfigError when another run has this data folder or a set port is taken; StartError,
    with nothing left running, when a process does not come up.
    """
    lock = RunLock(settings.data_dir)
    try:
        plan = make_plan(
            settings, sandbox=sandbox, secrets=generated_secrets.read_or_make(settings.data_dir), any_ports=any_ports
        )
        with Screen(Console(), settings.data_dir, quiet=quiet) as screen:
            return Supervisor(plan.specs, settings.data_dir, lock, screen, plan.settings).run()
    finally:
        lock.release()


class Stack:
    """The whole process list in the background, on free ports, in a data folder of its own; a context manager.

        with Stack.start(tmp_path, sandbox=True, environment={"CALENDAR_POLL_SECONDS": "15"}) as stack:
            requests.get(stack.url("web") + "/healthz", timeout=5)

    It sees no setting of the caller's environment or `.env`, only those given. It also stops when the thread that started
    it ends, on Linux.
    """

    def __init__(self, data_dir: Path, process: subprocess.Popen[bytes]) -> None:
        self._data_dir = data_dir
        self._process = process

    @classmethod
    def start(
        cls,
        data_dir: Path,
        *,
        sandbox: bool,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = START_TIMEOUT_S,
    ) -> Stack:
        """Start and wait until everything is ready; StartError, with the supervisor's words, when it is not."""
        folder = (data_dir / "work").resolve()  # without a `.env`, and nothing that a module could be mistaken for
        folder.mkdir(parents=True, exist_ok=True)
        logs = data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        inherited = {name: value for name, value in os.environ.items() if name not in (*environment_names(), "DYNO")}
        with (logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                (
                    *(sys.executable, "-I", "-S", str(HERE / "child.py"), str(int(signal.SIGTERM)), str(os.getpid())),
                    *(sys.executable, "-m", "switchboard.processes", *(("--sandbox",) if sandbox else ())),
                ),
                cwd=folder,
                env=inherited
                | {"PYTHONPATH": str(ROOT)}
                | dict(environment or {})
                | {"DATA_DIR": str(data_dir.resolve())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        stack = cls(data_dir, process)
        try:
            stack.wait_ready(timeout_s)
        except BaseException:
            stack.stop()
            raise
        return stack

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def data_dir(self) -> Path:
        return self._data_dir

    @property
    def environment(self) -> dict[str, str]:
        """Settings that reach this stack, as environment variables, the sandbox's own credentials included."""
        return {name.upper(): value for name, value in self._state()["settings"].items()}

    def url(self, name: str) -> str:
        """Where a process answers, for example `http://127.0.0.1:40123`."""
        return str(self._state()["processes"][name]["url"])

    def pid(self, name: str) -> int | None:
        """The process id, None while it is down; `supervisor` is the supervisor itself."""
        if name == "supervisor":
            return self._process.pid
        found = self._state()["processes"][name]["pid"]
        return None if found is None else int(found)

    def restarts(self, name: str) -> int:
        """How often a process was started again."""
        return int(self._state()["processes"][name]["restarts"])

    def log(self, name: str) -> str:
        """What a process has written since the start of the stack; of `supervisor` too."""
        return (self._data_dir / "logs" / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to a process (its leader); the supervisor starts it again about a second after its end."""
        pid = self.pid(name)
        if pid is None:
            raise SwitchboardError(f"{name} is not running")
        os.kill(pid, number)

    def wait_restarted(self, name: str, *, since: int, timeout_s: float = 60.0) -> None:
        """Wait until a process runs again after more restarts than `since` (read `restarts` before the kill)."""
        self._wait(
            lambda state: (
                state["processes"][name]["restarts"] > since and state["processes"][name]["state"] == "running"
            ),
            timeout_s,
            f"{name} did not start again",
        )

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until every process is ready."""
        self._wait(lambda state: bool(state["ready"]), timeout_s, "the stack was not ready")

    def stop(self) -> int:
        """Stop everything in order and return the supervisor's exit status; harmless when it is stopped already."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        return self._process.wait()

    def _state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads((self._data_dir / RUN_FILE).read_text(encoding="utf-8"))
        return state

    def _wait(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float, otherwise: str) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                state = self._state()
                if state["pid"] == self._process.pid and holds(state):
                    return
            except FileNotFoundError:
                pass
            if self._process.poll() is not None:
                raise SwitchboardError(f"the supervisor ended:\n{self.log('supervisor')}")
            if time.monotonic() >= deadline:
                raise SwitchboardError(f"{otherwise} within {timeout_s:.0f} s:\n{self.log('supervisor')}")
            time.sleep(0.05)
