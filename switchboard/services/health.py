"""Whether this deployment can work: each dependency by name, with its time and its reason."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import text

from switchboard.db.engine import Database
from switchboard.db.migrate import current_revision, head_revision
from switchboard.db.repositories.heartbeats import heartbeats
from switchboard.logs import get_logger

DEADLINE_S = 2.0

_log = get_logger(__name__)


class DependencyFaultError(Exception):
    """A probe's finding that its dependency cannot be used; the message is shown to whoever asks."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One dependency: `look` returns a short fact ("PostgreSQL 15.4") or raises; without a `needed` one we are not ready."""

    name: str
    look: Callable[[], str]
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Finding:
    """What a probe found; `ms` is the time it took, `reason` a fact when it is well and the fault when it is not."""

    name: str
    ok: bool
    needed: bool
    ms: float
    reason: str


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All findings, in the order of the probes."""

    findings: tuple[Finding, ...]

    @property
    def ready(self) -> bool:
        """Whether everything that is needed is well."""
        return all(finding.ok for finding in self.findings if finding.needed)


class Health:
    """Looks at every dependency at once, each under the same deadline.

    A probe that hangs keeps its thread; until that returns no second one is started, so asking again and again costs nothing.
    """

    def __init__(self, probes: Sequence[Probe], *, deadline_s: float = DEADLINE_S) -> None:
        self._watched = [_Watched(probe) for probe in probes]
        self._deadline_s = deadline_s

    def report(self) -> HealthReport:
        """The state now; returns after `deadline_s` at the latest."""
        deadline = time.monotonic() + self._deadline_s
        looks = [watched.begin() for watched in self._watched]
        return HealthReport(tuple(look.wait(deadline) for look in looks))


class _Watched:
    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._lock = threading.Lock()
        self._running: _Look | None = None

    def begin(self) -> _Look:
        """The look under way, or a new one: callers at the same time share it."""
        with self._lock:
            if self._running is None or self._running.done.is_set():
                self._running = _Look(self._probe)
            return self._running


class _Look:
    def __init__(self, probe: Probe) -> None:
        self.done = threading.Event()
        self._probe = probe
        self._started = time.monotonic()
        self._finding: Finding | None = None
        threading.Thread(target=self._run, name=f"health-{probe.name}", daemon=True).start()

    def wait(self, deadline: float) -> Finding:
        self.done.wait(max(0.0, deadline - time.monotonic()))
        return self._finding or self._conclude(ok=False, reason="no answer in time")

    def _run(self) -> None:
        try:
            self._finding = self._conclude(ok=True, reason=self._probe.look())
        except DependencyFaultError as fault:
            self._finding = self._conclude(ok=False, reason=str(fault))
        except Exception as error:  # noqa: BLE001  a probe's thread is an outermost handler, and any fault is a finding
            _log.warning("health probe failed", probe=self._probe.name, error=str(error))
            self._finding = self._conclude(
                ok=False, reason=type(error).__name__
            )  # its text may hold an address or a login
        finally:
            self.done.set()

    def _conclude(self, *, ok: bool, reason: str) -> Finding:
        elapsed_ms = round((time.monotonic() - self._started) * 1000, 1)
        return Finding(name=self._probe.name, ok=ok, needed=self._probe.needed, ms=elapsed_ms, reason=reason)


class RedisServer(Protocol):
    """The one command of a Redis client that a probe needs."""

    def info(self, section: str, /) -> Any:
        """The facts of a section."""


def database_probe(database: Database) -> Probe:
    """The database answers a query."""

    def look() -> str:
        with database.read() as session:
            session.execute(text("SELECT 1"))
        return database.dialect

    return Probe("database", look)


def schema_probe(database: Database) -> Probe:
    """The schema is at the newest revision this code knows."""

    def look() -> str:
        with database.read() as session:
            revision = current_revision(session.connection())
        head = head_revision()
        if revision != head:
            raise DependencyFaultError(
                f"the schema is at {revision or 'no revision'}, this code needs {head}: run the migrations"
            )
        return revision

    return Probe("schema", look)


def redis_probe(client: RedisServer) -> Probe:
    """Redis or Valkey answers."""

    def look() -> str:
        facts = client.info("server")
        name = facts.get("server_name", "redis")
        return f"{name} {facts.get(f'{name}_version', facts.get('redis_version', ''))}".strip()

    return Probe("redis", look)


def heartbeat_probe(
    database: Database, heartbeat: str, *, within: timedelta, clock: Callable[[], datetime], name: str | None = None
) -> Probe:
    """Something regular happened lately. Not needed for readiness: a web process serves while workers start again."""

    def look() -> str:
        with database.read() as session:
            last = heartbeats(session).get(heartbeat)
        if last is None:
            raise DependencyFaultError("never seen")
        age_s = (clock() - last).total_seconds()
        if age_s > within.total_seconds():
            raise DependencyFaultError(f"last seen {age_s:.0f} s ago, expected within {within.total_seconds():.0f} s")
        return f"seen {age_s:.0f} s ago"

    return Probe(name or heartbeat, look, needed=False)
