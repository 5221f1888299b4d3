"""Real Celery processes over a real Valkey, and a producer to give them work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from celery import Celery

from tests.servers import ROOT, dies_with_parent


class Cluster:
    """Starts workers and beats of tests.e2e.probe_app; every process is killed by `close`."""

    def __init__(self, redis_url: str, folder: Path, **environment: str) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "lines"
        self.file.touch()
        self.log = folder / "log"
        self._environment = {
            **os.environ,
            "REDIS_URL": redis_url,
            "DATA_DIR": str(folder),
            "DATABASE_URL": "",
            "PROBE_FILE": str(self.file),
            "LOG_FORMAT": "json",
            **environment,
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._producer = Celery("producer", broker=redis_url, set_as_current=False)

    def close(self) -> None:
        self._producer.close()
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)

    def worker(
        self, *, pool: str = "threads", size: int = 4, queue: str = "upkeep", module: str = "tests.e2e.probe_app"
    ) -> subprocess.Popen[bytes]:
        """A worker that consumes."""
        name = uuid.uuid4().hex
        options = ["-P", pool, "-c", str(size), "-Q", queue, "-n", f"{name}@test", "-I", "tasks.readiness"]
        ready = self.file.with_name(name)
        process = self._start(["worker", *options], module, SWITCHBOARD_READY_FILE=str(ready))
        self.wait_for(ready.exists, 30, "the worker to be ready")
        return process

    def beat(self) -> subprocess.Popen[bytes]:
        return self._start(["beat", "-s", str(self.file.with_name("beat"))], "tests.e2e.probe_app")

    def send(self, task: str, *, task_id: str | None = None, queue: str = "upkeep", **arguments: object) -> None:
        self._producer.send_task(f"upkeep.probe.{task}", kwargs=arguments, queue=queue, task_id=task_id)

    def lines(self, beginning: str = "") -> list[str]:
        return [line for line in self.file.read_text(encoding="utf-8").splitlines() if line.startswith(beginning)]

    def wait_for_lines(self, line: str, count: int, seconds: float) -> None:
        self.wait_for(lambda: len(self.lines(line)) >= count, seconds, f"{count} x {line!r}")

    def wait_for(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                log = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise AssertionError(f"waited {seconds} s for {what}; lines: {self.lines()}; log:\n{log}")
            time.sleep(0.05)

    def _start(self, command: list[str], module: str, **environment: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", module, *command],
                cwd=ROOT,
                env={**self._environment, **environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=dies_with_parent,  # noqa: PLW1509
            )
        self._processes.append(process)
        return process
