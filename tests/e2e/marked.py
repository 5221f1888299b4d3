"""Finding every process that a command started, however deep (Linux).

Children inherit a variable that marks them. Valkey writes its title over it, but works in its data folder.
"""

from __future__ import annotations

import sys
import time
import uuid
from pathlib import Path

import pytest

VARIABLE = "SWITCHBOARD_TEST_RUN"
PROC = Path("/proc")


class Marked:
    """The processes that are started with `environment` added to theirs, or that work below `folder`."""

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux":
            pytest.skip("processes are found by /proc")
        self.environment = {VARIABLE: uuid.uuid4().hex}
        self._entry = f"{VARIABLE}={self.environment[VARIABLE]}".encode()
        self._folder = str(folder.resolve())

    def command_lines(self) -> list[str]:
        """The command lines of those that run."""
        return [line for folder in PROC.iterdir() if folder.name.isdecimal() and (line := self._command_line(folder))]

    def left_after(self, seconds: float) -> list[str]:
        """What still runs after at most so many seconds."""
        end = time.monotonic() + seconds
        while (left := self.command_lines()) and time.monotonic() < end:
            time.sleep(0.1)
        return left

    def _command_line(self, process: Path) -> str:
        try:
            ours = self._entry in (process / "environ").read_bytes().split(b"\0")
            if ours or str((process / "cwd").readlink()).startswith(self._folder):
                return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            pass  # it ended meanwhile, or is somebody else's
        return ""
