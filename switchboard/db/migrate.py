"""Migrations under a lock, so that two releases at once apply each of them once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from switchboard.db.engine import Database
from switchboard.errors import ConfigError, InvalidInputError

ROOT = Path(__file__).resolve().parents[2]
ADVISORY_LOCK = 7_317_492_206  # any number, the same in every release
STATEMENT_TIMEOUT_MS = 300_000
LOCK_TIMEOUT_MS = 60_000


_Apply = Callable[[Config], None]


def upgrade(database_url: str, revision: str = "head") -> str:
    """Bring the schema to `revision`; return the revision it is at afterwards. Waits up to a minute for another release."""
    return _run(database_url, lambda config: command.upgrade(config, revision))


def downgrade(database_url: str, revision: str) -> str:
    """Take the schema back to `revision` ("base" for an empty one); return the revision it is at afterwards."""
    return _run(database_url, lambda config: command.downgrade(config, revision))


def migrate(database_url: str, revision: str) -> str:
    """Go to `revision`, up or down, whichever way it lies; return the revision the database is at afterwards."""
    known = [script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()]
    if revision not in ("head", "base", *known):
        raise InvalidInputError(
            f"there is no revision {revision!r}; known: {', '.join(reversed(known))}", field="revision"
        )
    database = Database(database_url, connections=1)
    try:
        with database.engine.connect() as connection:
            current = current_revision(connection)
    finally:
        database.dispose()
    newest_first = [*known, "base"]
    goes_down = revision != "head" and current and newest_first.index(revision) > newest_first.index(current)
    return downgrade(database_url, revision) if goes_down else upgrade(database_url, revision)


def head_revision() -> str:
    """The newest revision this code knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def current_revision(connection: Connection) -> str:
    """The revision the database is at; empty for a database that was never migrated."""
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config() -> Config:
    return Config(ROOT / "alembic.ini")


def _run(database_url: str, apply: _Apply) -> str:
    database = Database(database_url, connections=1, enforce_foreign_keys=False)
    config = _config()
    try:
        with locked(database) as connection:
            config.attributes["connection"] = connection
            apply(config)
            return current_revision(connection)
    finally:
        database.dispose()


@contextmanager
def locked(database: Database) -> Iterator[Connection]:
    """A connection in a write transaction that only one process can hold; all migrations of a run commit together."""
    with database.engine.execution_options(switchboard_write=True).connect() as connection, connection.begin():
        if database.dialect == "postgresql":
            connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))
            connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        yield connection
        if database.dialect == "sqlite" and connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
            raise ConfigError("The migration left rows that point nowhere; nothing was changed")
