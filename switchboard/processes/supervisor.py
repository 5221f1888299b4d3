"""Starts the processes in order, keeps them running, stops them in the opposite order, and leaves nothing behind.

Every child leads a session and process group of its own, so Ctrl-C in the terminal reaches only the supervisor, and what a
child forked can be killed with it. When the supervisor itself is killed, child.py ends each child and guard.py the rest.

One thread does everything; it must be the main thread, because of the signals and because Linux binds a child's life to the
thread that started it.
"""

from __future__ import annotations

import contextlib
import enum
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from switchboard.errors import SwitchboardError
from switchboard.processes.log_files import LogFile
from switchboard.processes.private_file import write_private
from switchboard.processes.process import Phase, ProcessSpec
from switchboard.processes.run_lock import RunLock

HERE = Path(__file__).parent
RUN_FILE = "run.json"
TICK_S = 0.1
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READY_WITHIN_S = 90.0
ATTEMPTS_AT_START = 3
LINES_OF_A_FAILURE = 15


class StartError(SwitchboardError):
    """A process did not come up; the message holds the end of its log."""


class State(enum.StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    BACKOFF = "ended, waiting"
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses before a restart: doubled each time up to `longest_s`, from the first again after `healthy_s` of health.

    Up to a fifth is taken off at random, so that what fell together does not rise together.
    """

    first_s: float = 1.0
    longest_s: float = 30.0
    healthy_s: float = 60.0

    def pause_s(self, failures: int) -> float:
        """The pause after the given number (1 or more) of failures in a row."""
        doubled = self.first_s * 2.0 ** min(failures - 1, 16)
        return min(doubled, self.longest_s) * random.uniform(0.8, 1.0)  # noqa: S311 - not a secret


@dataclass(slots=True)
class Child:
    """A process of the list and what is known of it. Times are of the monotonic clock."""

    spec: ProcessSpec
    log: LogFile
    state: State = State.WAITING
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    failures: int = 0
    started_at: float = 0.0
    start_again_at: float = 0.0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None


class View(Protocol):
    """What people see of a run."""

    def changed(self, children: Sequence[Child]) -> None:
        """A process changed its state."""

    def said(self, child: Child, line: str) -> None:
        """A process wrote a line to its log."""

    def note(self, text: str) -> None:
        """The supervisor has something to say."""


@dataclass(slots=True)
class Supervisor:
    """`run` blocks until the stop; `settings` is what other commands need to reach this run, written to run.json (0600)."""

    specs: Sequence[ProcessSpec]
    data_dir: Path
    lock: RunLock
    view: View
    settings: Mapping[str, str] = field(default_factory=dict)
    backoff: Backoff = field(default_factory=Backoff)
    _children: list[Child] = field(init=False)
    _guard: subprocess.Popen[bytes] | None = field(init=False, default=None)
    _stop_requests: int = field(init=False, default=0)
    _up: bool = field(init=False, default=False)
    _wake_read: int = field(init=False, default=-1)

    def __post_init__(self) -> None:
        folder = self.data_dir / "logs"
        self._children = [Child(spec, LogFile(folder, spec.name)) for spec in self.specs]

    def run(self) -> int:
        """Start all, watch until SIGINT, SIGTERM or SIGHUP, stop all; 0 after a wished stop. StartError, with nothing left
        running, when a process does not come up."""
        with self._signals():
            try:
                self._start_guard()
                if self._start_all():
                    self._up = True
                    self._report()
                    while not self._stop_requests:
                        self._tick()
            finally:
                self._stop_all()
        return 0

    # Starting

    def _start_all(self) -> bool:
        """Start phase after phase; False when a stop was asked for meanwhile."""
        for phase in sorted({child.spec.phase for child in self._children}):
            members = [child for child in self._children if child.spec.phase == phase]
            for child in members:
                self._start(child)
            deadline = time.monotonic() + READY_WITHIN_S
            while not all(child.state in (State.RUNNING, State.DONE) for child in members):
                if self._stop_requests:
                    return False
                self._tick()
                for child in members:
                    if child.failures >= ATTEMPTS_AT_START or (child.failures and child.spec.once):
                        raise self._failure(child, "ended at once")
                    if time.monotonic() >= deadline and child.state not in (State.RUNNING, State.DONE):
                        raise self._failure(child, f"was not ready within {READY_WITHIN_S:.0f} s")
        return True

    def _failure(self, child: Child, what: str) -> StartError:
        tail = "\n".join(f"  {line}" for line in child.log.last_lines(LINES_OF_A_FAILURE))
        return StartError(f"{child.spec.name} {what}. The end of {child.log.path}:\n{tail}")

    def _start(self, child: Child) -> None:
        if child.spec.ready is not None:
            child.spec.ready.reset()
        output = child.log.open_for_child()
        try:
            child.process = subprocess.Popen(
                (*_bound_to_us(), *child.spec.argv),
                env=dict(child.spec.environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(output)
        self._tell_guard(f"+{child.process.pid}")
        child.started_at = time.monotonic()
        child.state = State.STARTING
        self._report()

    # Watching

    def _tick(self) -> None:
        """Wait a moment or for a signal, then look after everything."""
        select.select([self._wake_read], [], [], TICK_S)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        if self._guard is None or self._guard.poll() is not None:
            self._start_guard()
        for child in self._children:
            self._look_after(child)
            for line in child.log.new_lines():
                self.view.said(child, line)

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.state in (State.STARTING, State.RUNNING) and self._has_ended(child):
            self._ended(child, now)
        elif child.state is State.STARTING and not child.spec.once and _is_ready(child, now):
            child.state = State.RUNNING
            self._report()
        elif child.state is State.BACKOFF and now >= child.start_again_at:
            child.restarts += 1
            self._start(child)

    def _has_ended(self, child: Child) -> bool:
        """Whether the child is gone; what it forked is killed with it, so that a restart never meets a remnant."""
        if child.process is None or child.process.poll() is None:
            return child.process is None
        _kill_group(child.process.pid)
        self._tell_guard(f"-{child.process.pid}")
        return True

    def _ended(self, child: Child, now: float) -> None:
        status = child.process.returncode if child.process else 0
        child.process = None
        if child.spec.once and status == 0:
            child.state = State.DONE
            self._report()
            return
        if now - child.started_at >= self.backoff.healthy_s:
            child.failures = 0
        child.failures += 1
        pause_s = self.backoff.pause_s(child.failures)
        child.start_again_at = now + pause_s
        child.state = State.BACKOFF
        if not child.spec.once:
            what = f"{child.spec.name} ended ({_in_words(status)})"
            self.view.note(f"{what}, starting it again in {pause_s:.1f} s; log: {child.log.path}")
        self._report()

    # Stopping

    def _stop_all(self) -> None:
        """Stop phase after phase, the last started first. A second request kills what is still there."""
        self._up = False
        if self._stop_requests:
            self.view.note("Stopping; press Ctrl-C once more to kill instead")
        for phase in sorted({child.spec.phase for child in self._children}, reverse=True):
            self._stop_phase(phase)
        (self.data_dir / RUN_FILE).unlink(missing_ok=True)
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.close()
            self._guard.wait()

    def _stop_phase(self, phase: Phase) -> None:
        members = [child for child in self._children if child.spec.phase == phase]
        for child in members:
            if child.process is not None:
                # The leader alone: Celery's master lets its children finish, a signal to the group would end their tasks.
                child.process.terminate()
        began = time.monotonic()
        while alive := [child for child in members if child.process is not None and not self._has_ended(child)]:
            for child in alive:
                if child.process is not None and (
                    self._stop_requests > 1 or time.monotonic() - began >= child.spec.grace_s
                ):
                    if self._stop_requests <= 1:
                        self.view.note(
                            f"{child.spec.name} did not stop within {child.spec.grace_s:.0f} s and was killed"
                        )
                    _kill_group(child.process.pid)
                    child.process.wait()
            select.select([self._wake_read], [], [], TICK_S)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4096)
        for child in members:
            child.process = None
            if child.state is not State.DONE:
                child.state = State.STOPPED
        self._report()

    # The guard, the signals, and what others see

    def _start_guard(self) -> None:
        """Start the guard, or a new one when it is gone, and name it the groups that live."""
        self._guard = subprocess.Popen(
            (sys.executable, "-I", "-S", str(HERE / "guard.py")),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            start_new_session=True,
            pass_fds=(self.lock.fileno(),),
        )
        for child in self._children:
            if child.process is not None:
                self._tell_guard(f"+{child.process.pid}")

    def _tell_guard(self, line: str) -> None:
        if self._guard is not None and self._guard.stdin is not None:
            with contextlib.suppress(
                BrokenPipeError
            ):  # it is gone: the next tick starts another and tells it everything
                self._guard.stdin.write(f"{line}\n".encode())
                self._guard.stdin.flush()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Count requests to stop, and wake the loop on every signal, the end of a child included."""
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(wake_write, False)
        previous_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._request_stop) for number in STOP_SIGNALS}
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(previous_wakeup)
            os.close(self._wake_read)
            os.close(wake_write)

    def _request_stop(self, number: int, _frame: FrameType | None) -> None:
        # A terminal that closes may send more than one kind of signal: only a second Ctrl-C or SIGTERM hurries.
        if number != signal.SIGHUP or self._stop_requests == 0:
            self._stop_requests += 1

    def _report(self) -> None:
        """Write run.json and tell the view."""
        state = {
            "pid": os.getpid(),
            "ready": self._up,
            "settings": dict(self.settings),
            "processes": {
                child.spec.name: {
                    "pid": child.pid,
                    "state": child.state.value,
                    "restarts": child.restarts,
                    "url": child.spec.url,
                    "port": child.spec.port,
                    "log": str(child.log.path),
                }
                for child in self._children
            },
        }
        write_private(self.data_dir / RUN_FILE, json.dumps(state, indent=2) + "\n")
        self.view.changed(self._children)


def _bound_to_us() -> tuple[str, ...]:
    """The beginning of a command line whose process dies when we do."""
    return (sys.executable, "-I", "-S", str(HERE / "child.py"), str(int(signal.SIGKILL)), str(os.getpid()))


def _is_ready(child: Child, now: float) -> bool:
    if child.spec.ready is None:
        return now - child.started_at >= child.spec.settle_s
    return child.spec.ready.is_ready()


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing left of it (macOS: zombies only)
        os.killpg(group, signal.SIGKILL)


def _in_words(status: int) -> str:
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"
