"""The engine and its two kinds of transaction: `read` and `write`.

On SQLite every write transaction begins IMMEDIATE: the driver's own deferred begin reads under one snapshot and writes
under another, and so loses updates without an error. On PostgreSQL both kinds are ordinary transactions.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

BUSY_TIMEOUT_MS = 10_000
WAL_RETRY_S = 0.02
CONNECT_TIMEOUT_S = 5
STATEMENT_TIMEOUT_MS = 30_000
LOCK_TIMEOUT_MS = 10_000
POOL_TIMEOUT_S = 10
_WRITE = "switchboard_write"


class Database:
    """One database of one process; safe to share between threads, made anew after a fork.

    `connections` bounds the pool: a thread waits up to 10 s for a free one. Foreign keys are left unenforced on SQLite
    for migrations alone, which alter a table by copying it.
    """

    def __init__(self, url: str, *, connections: int = 5, enforce_foreign_keys: bool = True) -> None:
        self.engine = _create_engine(url, connections, enforce_foreign_keys)
        self.dialect = self.engine.dialect.name
        self._read = sessionmaker(self.engine, expire_on_commit=False)
        self._write = sessionmaker(self.engine.execution_options(**{_WRITE: True}), expire_on_commit=False)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading; anything written in it is rolled back."""
        with self._read() as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes are committed at the end, or rolled back when the block raises.

        Keep it short and free of remote calls: on SQLite it is the only writer.
        """
        with self._write() as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


def _create_engine(url: str, connections: int, enforce_foreign_keys: bool) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, pool_size=connections, max_overflow=0, pool_timeout=POOL_TIMEOUT_S)
        event.listen(engine, "connect", partial(_prepare_sqlite, enforce_foreign_keys))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = (
        f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
        " -c idle_in_transaction_session_timeout=60000 -c timezone=UTC"
    )
    return create_engine(
        parsed,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT_S,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options, "application_name": "switchboard"},
    )


def _prepare_sqlite(enforce_foreign_keys: bool, connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself; _begin_sqlite does
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    _switch_to_wal(cursor)
    cursor.execute(
        "PRAGMA synchronous=FULL"
    )  # SENDING must be on disk before the first byte leaves, a power cut included
    cursor.execute(f"PRAGMA foreign_keys={'ON' if enforce_foreign_keys else 'OFF'}")
    cursor.close()


def _switch_to_wal(cursor: Any) -> None:
    """Two processes may meet at the birth of the file, and SQLite does not wait for this one lock by itself."""
    give_up_at = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() >= give_up_at:
                raise
            time.sleep(WAL_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
