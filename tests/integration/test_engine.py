"""The engine's promises: no lost update, no write in a read, bounded waits and connections."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from switchboard.db import engine
from switchboard.db.engine import Database
from switchboard.db.models import FileChunk, Heartbeat
from tests.integration import counting_writer
from tests.servers import ROOT

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
PROCESSES, TIMES = 4, 100


def beat(database: Database, name: str, at: datetime = NOW) -> None:
    with database.write() as session:
        session.add(Heartbeat(name=name, at=at))


def names(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(Heartbeat.name)))


@contextmanager
def opened(url: str, connections: int = 5) -> Iterator[Database]:
    database = Database(url, connections=connections)
    try:
        yield database
    finally:
        database.dispose()


def test_many_processes_that_read_and_then_write_lose_no_update(database: Database, database_url: str) -> None:
    beat(database, counting_writer.NAME)
    processes = [
        subprocess.Popen([sys.executable, "-m", counting_writer.__name__, database_url, str(TIMES)], cwd=ROOT)
        for _ in range(PROCESSES)
    ]
    assert [process.wait(60) for process in processes] == [0] * PROCESSES
    with database.read() as session:
        counted = session.scalars(select(Heartbeat.at)).one() - NOW
    assert counted == timedelta(seconds=PROCESSES * TIMES)


def test_a_write_is_committed_at_its_end_or_not_at_all(database: Database) -> None:
    beat(database, "kept")

    def fail() -> None:
        with database.write() as session:
            session.add(Heartbeat(name="lost", at=NOW))
            session.flush()
            raise RuntimeError("later")

    with pytest.raises(RuntimeError):
        fail()
    assert names(database) == ["kept"]


def test_what_is_written_in_a_read_is_not_kept(database: Database) -> None:
    with database.read() as session:
        session.add(Heartbeat(name="lost", at=NOW))
        session.flush()
    assert names(database) == []


def test_a_writer_holds_the_next_one_back_from_its_first_statement(sqlite_url: str) -> None:
    with opened(sqlite_url) as database, opened(sqlite_url) as other:
        waited: list[float] = []

        def write() -> None:
            began = time.monotonic()
            beat(other, "second")
            waited.append(time.monotonic() - began)

        with database.write() as session:
            session.execute(text("SELECT 1"))  # nothing written yet: BEGIN IMMEDIATE alone takes the lock
            thread = threading.Thread(target=write)
            thread.start()
            time.sleep(0.3)
            assert waited == []
        thread.join(10)
        assert waited[0] >= 0.25


def test_a_reader_is_never_held_back_by_a_writer(sqlite_url: str) -> None:
    with opened(sqlite_url) as database, opened(sqlite_url) as other:
        beat(database, "before")
        with database.write() as session:
            session.add(Heartbeat(name="during", at=NOW))
            session.flush()
            began = time.monotonic()
            assert names(other) == ["before"]
            assert time.monotonic() - began < 8  # a wait for the writer would last 10 s


def test_a_wait_for_the_only_writer_ends(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine.BUSY_TIMEOUT_MS == 10_000
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 200)
    with opened(sqlite_url) as database, opened(sqlite_url) as other, database.write() as session:
        session.execute(text("SELECT 1"))
        began = time.monotonic()
        with pytest.raises(OperationalError, match="locked"):
            beat(other, "refused")
        assert 0.15 < time.monotonic() - began < 8


def test_every_connection_to_sqlite_is_set_up(sqlite_url: str) -> None:
    with opened(sqlite_url, connections=2) as database, database.read() as one, database.read() as two:
        for session in (one, two):
            found = {
                name: session.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "busy_timeout", "foreign_keys", "synchronous")
            }
            assert found == {"journal_mode": "wal", "busy_timeout": 10_000, "foreign_keys": 1, "synchronous": 2}


def test_a_session_on_postgresql_has_its_time_outs(postgres_url: str) -> None:
    with opened(postgres_url) as database, database.read() as session:
        found = {
            name: session.execute(text(f"SHOW {name}")).scalar()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "TimeZone")
        }
    assert found == {
        "statement_timeout": "30s",
        "lock_timeout": "10s",
        "idle_in_transaction_session_timeout": "1min",
        "TimeZone": "UTC",
    }


def test_a_connection_that_the_server_ended_meanwhile_is_replaced(postgres_url: str) -> None:
    with opened(postgres_url, connections=1) as database, opened(postgres_url) as other:
        with database.read() as session:
            pid = session.execute(text("SELECT pg_backend_pid()")).scalar()
        with other.read() as session:
            session.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        assert names(database) == []


def test_foreign_keys_are_enforced(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(FileChunk(file_id="nowhere", number=0, data=b""))


def test_threads_wait_for_a_free_connection_and_no_more_are_opened(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "POOL_TIMEOUT_S", 5)
    with opened(database_url, connections=2) as database:
        most = 0

        def read() -> None:
            nonlocal most
            with database.read() as session:
                session.execute(text("SELECT 1"))
                most = max(most, database.engine.pool.checkedout())  # type: ignore[attr-defined]
                time.sleep(0.02)

        threads = [threading.Thread(target=read) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert most == 2


def test_the_wait_for_a_free_connection_ends(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "POOL_TIMEOUT_S", 0.1)
    with opened(database_url, connections=1) as database, database.read() as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(PoolTimeoutError):
            names(database)


def test_times_are_kept_to_the_microsecond_and_come_back_in_utc(database: Database) -> None:
    moscow = timezone(timedelta(hours=3))
    at = datetime(2026, 11, 21, 9, 0, 0, 123456, tzinfo=moscow)
    beat(database, "x", at)
    with database.read() as session:
        found = session.scalars(select(Heartbeat.at)).one()
        assert found == at
        assert found.utcoffset() == timedelta(0)
        assert session.scalars(select(Heartbeat.name).where(Heartbeat.at <= at)).all() == ["x"]
        assert session.scalars(select(Heartbeat.name).where(Heartbeat.at < at)).all() == []


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    with pytest.raises(StatementError, match="without a zone"):
        beat(database, "x", datetime(2026, 11, 21))  # noqa: DTZ001


def test_the_text_of_an_error_holds_no_password(tmp_path: object) -> None:
    with (
        opened("postgresql+psycopg://app:hunter2hunter2@127.0.0.1:1/hub") as database,
        pytest.raises(SQLAlchemyError) as caught,
    ):
        names(database)
    assert "hunter2hunter2" not in f"{caught.value} {caught.value!r}"
