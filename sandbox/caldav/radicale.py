"""A real Radicale as a process of its own: loopback, sign-in by htpasswd, its data in a given folder."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sandbox.caldav.meetings import CalendarDesk
from sandbox.caldav.samples import PEOPLE, write_samples
from sandbox.ports import free_port

PASSWORD_ENV = "SANDBOX_CALDAV_PASSWORD"  # noqa: S105 - the name of a variable
PASSWORD_FILE = "password"  # noqa: S105 - the name of a file
STORAGE = "storage"
START_TIMEOUT_S = 20.0


def prepare(data_dir: Path, port: int, *, users: Iterable[str] = PEOPLE, password: str = "") -> tuple[Path, str]:
    """Write the configuration and the password file; returns (configuration, password).

    The password is the given one, else the one of an earlier start, else a new one; it is kept in `password` (0600).
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    kept = data_dir / PASSWORD_FILE
    chosen = (
        password or (kept.read_text(encoding="utf-8").strip() if kept.exists() else "") or secrets.token_urlsafe(12)
    )
    _write_private(kept, chosen + "\n")
    htpasswd = data_dir / "users"
    _write_private(htpasswd, "".join(f"{user}:{chosen}\n" for user in users))
    configuration = data_dir / "radicale.conf"
    _write_private(
        configuration,
        f"[server]\nhosts = 127.0.0.1:{port}\nmax_connections = 60\ntimeout = 30\n"
        f"[auth]\ntype = htpasswd\nhtpasswd_filename = {htpasswd}\nhtpasswd_encryption = plain\ndelay = 0\n"
        f"[rights]\ntype = owner_only\n[storage]\nfilesystem_folder = {data_dir / STORAGE}\n"
        "[web]\ntype = none\n[logging]\nlevel = warning\nmask_passwords = True\n",
    )
    return configuration, chosen


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


@dataclass(frozen=True, slots=True)
class RadicaleServer:
    """A running server. `folder` is the storage that `seed_objects` and `make_calendar` write into."""

    url: str
    port: int
    users: tuple[str, ...]
    password: str
    folder: Path
    pid: int

    @property
    def desk(self) -> CalendarDesk:
        return CalendarDesk(self.url, self.password)


@contextmanager
def running_radicale(
    tmp_path: Path, *, users: Iterable[str] = PEOPLE, password: str = "", samples: bool = False, port: int = 0
) -> Iterator[RadicaleServer]:
    """Radicale on a free port until the block ends; with `samples` the sample calendars are there. No child is left."""
    users, port = tuple(users), port or free_port()
    configuration, chosen = prepare(tmp_path, port, users=users, password=password)
    if samples:
        write_samples(tmp_path / STORAGE, datetime.now(UTC))
    with child(
        [sys.executable, "-m", "radicale", "--config", str(configuration)], port, tmp_path / "radicale.log"
    ) as pid:
        yield RadicaleServer(f"http://127.0.0.1:{port}", port, users, chosen, tmp_path / STORAGE, pid)


@contextmanager
def child(arguments: list[str], port: int, log: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server until the block ends, and wait till it listens; RuntimeError with its last words when it does not."""
    with log.open("ab") as out:
        process = subprocess.Popen(arguments, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"{arguments[2]} did not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}"
                )
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=5)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
