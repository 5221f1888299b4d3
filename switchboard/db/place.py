"""Where a database stands: the same for its whole life, and another for a copy that was restored elsewhere.

PostgreSQL: the identifier that `initdb` gave the cluster, and the database's number in it. Fail-over to a standby keeps both;
a dump that is restored into another database has others, and so has a cluster after pg_upgrade. What a base backup or a disk
snapshot makes has the same and is not known as a copy.

SQLite: a random name in a file beside the database's own. A backup of the database alone comes without it; a copy of the whole
folder is not known as one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from switchboard.db.engine import Database

FILE = "telegram-place"
_POSTGRESQL = text(
    "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()"
)


def place_of(database: Database) -> str | None:
    """The place as text; None where the server does not tell it, or somebody is just making it."""
    if database.dialect == "sqlite":
        path = database.engine.url.database
        name = _name_beside(Path(path)) if path and path != ":memory:" else None
        return name and f"sqlite:{name}"
    try:
        with database.read() as session:
            cluster, number = session.execute(_POSTGRESQL).one()
    except DBAPIError:
        return None
    return f"postgresql:{cluster}:{number}"


def _name_beside(database_file: Path) -> str | None:
    """The name in the file, which is made where it is missing; whoever makes it first decides. None while it is written."""
    path = database_file.parent / FILE
    if not path.exists():
        made = path.with_name(f"{FILE}.{secrets.token_hex(8)}")  # not the pid: containers on one volume may share it
        _write(made)
        try:
            with contextlib.suppress(FileExistsError):
                _give_name(made, path)
        finally:
            made.unlink()
    return path.read_text(encoding="ascii").strip() or None


def _give_name(made: Path, path: Path) -> None:
    """The whole file at once; where the file system has no hard links, another of its kind. FileExistsError: it stands."""
    try:
        os.link(made, path)
    except FileExistsError:
        raise
    except OSError:
        _write(path)


def _write(path: Path) -> None:
    """A name in a new file; FileExistsError where there is one."""
    with path.open("x", encoding="ascii") as out:
        try:
            out.write(secrets.token_hex(16))
            out.flush()
            os.fsync(out.fileno())
        except OSError:
            path.unlink()
            raise
