"""One supervisor per data folder: a lock on DATA_DIR/run.lock that ends with the process that holds it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from switchboard.errors import ConfigError

if sys.platform != "win32":
    import fcntl

FILE_NAME = "run.lock"
PATIENCE_S = 2.0
"""A supervisor that was killed leaves its lock to the guard until all its children are gone; a reader takes it for a moment."""


class RunLock:
    """Taken by the constructor; ConfigError that says who holds it otherwise."""

    def __init__(self, data_dir: Path) -> None:
        if sys.platform == "win32":
            raise ConfigError("`run` needs Linux or macOS; on Windows use WSL 2")
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = (data_dir / FILE_NAME).open("a+", encoding="utf-8")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    self._file.seek(0)
                    holder = self._file.read().strip() or "unknown"
                    self._file.close()
                    raise ConfigError(
                        f"Switchboard already runs on {data_dir} (process {holder}): stop it there with Ctrl-C, "
                        f"or with `kill {holder}`, or set DATA_DIR to another folder"
                    ) from None
                time.sleep(0.05)
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def fileno(self) -> int:
        """For handing the lock to the guard; never give it to a child that may outlive us."""
        return self._file.fileno()

    def release(self) -> None:
        self._file.close()
