"""Output of the children: a file each in DATA_DIR/logs, kept small, and read along for warnings.

A child writes to its file itself, not through the supervisor: nothing that blocks the terminal ever blocks a child.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

MAX_BYTES = 10 * 1024 * 1024
MAX_LINE_BYTES = 64 * 1024
PLAIN_WARNING = re.compile(r"(?<![\w%])(WARNING|ERROR|CRITICAL|FATAL)\b")
SHORTENED_AWAY = {"event", "level", "timestamp", "logger", "exception"}
WARNING_LEVELS = {"warning", "error", "critical"}


class LogFile:
    """The log of one process: the last run's is kept as NAME.log.1."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = folder / f"{name}.log"
        self._previous = folder / f"{name}.log.1"
        self._offset = 0
        if self.path.exists():
            self.path.replace(self._previous)

    def open_for_child(self) -> int:
        """A descriptor that appends, so that the file can be cut while the child writes; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def new_lines(self) -> list[str]:
        """Complete lines written since the last call; a file grown too large is moved aside afterwards."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read(MAX_LINE_BYTES)
        except FileNotFoundError:
            return []
        end = chunk.rfind(b"\n") + 1
        if end == 0 and len(chunk) == MAX_LINE_BYTES:  # one endless line
            end = len(chunk)
        self._offset += end
        if self._offset > MAX_BYTES:
            self._cut()
        return chunk[:end].decode("utf-8", errors="replace").splitlines()

    def last_lines(self, count: int) -> list[str]:
        """The end of the log, for a message about a process that did not start."""
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_LINE_BYTES))
                return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
        except FileNotFoundError:
            return []

    def _cut(self) -> None:
        """Copy aside and empty in place (the child keeps its descriptor); lines written in between may be lost."""
        self._previous.write_bytes(self.path.read_bytes())
        os.truncate(self.path, 0)
        self._offset = 0


def warning_in(line: str) -> str | None:
    """A short form of a log line that is a warning or worse, else None.

    JSON lines of our own logs are judged by their level, others by a level's name in capital letters.
    """
    if line.startswith("{"):
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict) or record.get("level") not in WARNING_LEVELS:
            return None
        fields = " ".join(f"{name}={value}" for name, value in record.items() if name not in SHORTENED_AWAY)
        event = str(record.get("event", "")).strip().partition("\n")[0]
        return f"{record['level']}: {event} {fields}".rstrip()
    return line if PLAIN_WARNING.search(line[:200]) else None
