"""Session files as Telethon's SQLite storage writes them: read, never opened as a session and never changed."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from pathlib import Path

from telethon.crypto import AuthKey
from telethon.sessions import StringSession

from switchboard.clients.telegram.connection import read_session
from switchboard.clients.telegram.errors import SessionLostError
from switchboard.errors import InvalidInputError

KEY_BYTES = 256


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
    session = StringSession()
    session.set_dc(int(row[0]), str(row[1]), int(row[2]))
    session.auth_key = AuthKey(row[3])
    try:
        return str(session.save())
    except ValueError:
        raise refusal from None


def key_digest(session: str) -> str:
    """SHA-256 of the session's key, as hexadecimal: tells two sessions apart and nothing else.

    InvalidInputError for a string that is no session.
    """
    try:
        key = read_session(session).auth_key
    except SessionLostError:
        key = None
    if key is None:
        raise InvalidInputError("this is no session string of a signed-in account", field="session")
    return hashlib.sha256(key.key).hexdigest()
