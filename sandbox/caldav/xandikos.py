"""A real Xandikos for tests: no sign-in, one person (`/user/`), calendars under `/user/calendars/`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.caldav.meetings import CalendarDesk
from sandbox.caldav.radicale import child
from sandbox.ports import free_port


@dataclass(frozen=True, slots=True)
class XandikosServer:
    """A running server; `folder` is what `seed_xandikos` writes into (before a request reads it)."""

    url: str
    port: int
    folder: Path
    pid: int

    @property
    def desk(self) -> CalendarDesk:
        return CalendarDesk(self.url, "", path="user/calendars/{calendar}")


@contextmanager
def running_xandikos(tmp_path: Path, *, port: int = 0) -> Iterator[XandikosServer]:
    """Xandikos on a free port until the block ends; the calendar `calendar` is there."""
    port, folder = port or free_port(), tmp_path / "xandikos"
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "xandikos", "serve", "--directory", str(folder), "--defaults",
                 "--listen-address", "127.0.0.1", "--port", str(port), "--no-detect-systemd",
                 "--state-dir", str(tmp_path / "state")]  # fmt: skip
    environment = {**os.environ, "HOME": str(tmp_path)}
    with child(arguments, port, tmp_path / "xandikos.log", environment) as pid:
        yield XandikosServer(f"http://127.0.0.1:{port}", port, folder, pid)
