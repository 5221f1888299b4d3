"""Session files as Telethon's SQLite storage writes them: read, never opened as a session and never changed."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from switchboard.domain.telegram.sessions import KEY_BYTES, pack
from switchboard.errors import InvalidInputError


def read_session_file(path: Path) -> str:
    """The session in the file, as a string. InvalidInputError for a file without one."""
    refusal = InvalidInputError("this file holds no session of a signed-in account", field="file")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as opened:
            row = opened.execute("SELECT dc_id, server_address, port, auth_key FROM sessions").fetchone()
    except sqlite3.Error:
        raise refusal from None
    if row is None or not isinstance(row[3], bytes) or len(row[3]) != KEY_BYTES or not any(row[3]):
        raise refusal
    try:
        return pack(int(row[0]), str(row[1]), int(row[2]), row[3])
    except (TypeError, ValueError):
        raise refusal from None
