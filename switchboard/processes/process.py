"""One process as plain data: how it is started, when it is ready, how it is stopped."""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CONNECT_TIMEOUT_S = 0.5


class Phase(enum.IntEnum):
    """Phases start in this order, each when the one before is ready, and stop in the opposite order.

    So producers stop first, then workers finish what they hold, then the twins that they talk to, and the broker last:
    a worker whose broker vanishes while it stops dies with a connection error.
    """

    BROKER = 0
    PREPARATION = 1
    WORKERS = 2
    PRODUCERS = 3


@dataclass(frozen=True, slots=True)
class PortReady:
    """Ready once the port accepts a connection and, where `expected` is given, answers `greeting` with it."""

    port: int
    host: str = "127.0.0.1"
    greeting: bytes = field(default=b"", repr=False)
    expected: bytes = b""

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=CONNECT_TIMEOUT_S) as connection:
                if not self.expected:
                    return True
                connection.sendall(self.greeting)
                return connection.recv(len(self.expected), socket.MSG_WAITALL) == self.expected
        except OSError:
            return False

    def reset(self) -> None:
        """A port is closed with its process: nothing to undo."""


@dataclass(frozen=True, slots=True)
class FileReady:
    """Ready once the process has made this file."""

    path: Path

    def is_ready(self) -> bool:
        return self.path.exists()

    def reset(self) -> None:
        """Remove what an earlier start of the process left."""
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process of the list. `environment` is the whole environment, not an addition."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)
    phase: Phase = Phase.PRODUCERS
    ready: PortReady | FileReady | None = None
    settle_s: float = 0.0
    """For a process without a readiness check: how long it must have been up to count as running."""
    grace_s: float = 10.0
    """How long it may take to stop after SIGTERM before its whole process group gets SIGKILL."""
    once: bool = False
    """True for a step that ends by itself (migrations): its phase waits for its end, and a failure ends the start."""
    purpose: str = ""
    url: str = ""
    port: int | None = None
    hint: str = field(default="", repr=False)
    """Credentials and the like: shown on a terminal only."""
    show_warnings: bool = True
    """Whether its warnings are shown beside the table; its log file has everything either way."""
