"""Migrations lead to the models and back, once, whoever else runs them."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import OperationalError

from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import Base
from switchboard.errors import InvalidInputError
from tests.servers import ROOT

_SQLITE = """
SELECT tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND tbl_name NOT LIKE 'sqlite_%%'
"""
_POSTGRESQL = """
SELECT a.attrelid::regclass::text, concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       CASE WHEN pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval%%' THEN 'numbered' END)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT conrelid::regclass::text, concat_ws(' ', conname, pg_get_constraintdef(oid))
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0
UNION ALL
SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'
"""
UPGRADE = "import sys; from switchboard.db import migrate; print(migrate.upgrade(sys.argv[1]))"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path / 'empty.sqlite3'}"


@pytest.fixture
def empty_url_beside(database: Database, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A second one, of the same kind as `database`."""
    if database.dialect == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path / 'beside.sqlite3'}"


def described(database: Database) -> dict[str, list[str]]:
    """By table: columns, constraints and indexes as the database tells them, without defaults, which models leave to us."""
    tell = _SQLITE if database.dialect == "sqlite" else _POSTGRESQL
    found: dict[str, list[str]] = {}
    with database.engine.connect() as connection:
        for table, text_ in connection.exec_driver_sql(tell):
            found.setdefault(table.strip('"'), []).extend(_parts(text_))
    found.pop("alembic_version", None)
    return {table: sorted(parts) for table, parts in found.items()}


def _parts(of_sql: str) -> list[str]:
    """What a CREATE TABLE lists; any other text as it is."""
    if not of_sql.startswith("CREATE TABLE"):
        return [of_sql]
    listed = of_sql[of_sql.index("(") + 1 : of_sql.rindex(")")]
    parts = [" ".join(part.split()) for part in re.split(r",(?![^(]*\))", listed)]
    return [re.sub(r" DEFAULT \S+", "", part) for part in parts]


def tables(url: str) -> set[str]:
    database = Database(url)
    try:
        return set(inspect(database.engine).get_table_names())
    finally:
        database.dispose()


def test_the_schema_goes_up_and_down_and_up_again(empty_url: str) -> None:
    assert migrate.upgrade(empty_url) == migrate.head_revision()
    assert tables(empty_url) == {*Base.metadata.tables, "alembic_version"}
    assert migrate.upgrade(empty_url) == migrate.head_revision()
    assert migrate.downgrade(empty_url, "base") == ""
    assert tables(empty_url) == {"alembic_version"}
    assert migrate.upgrade(empty_url) == migrate.head_revision()


def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_make_every_table_as_the_models_do(database: Database, empty_url_beside: str) -> None:
    """Names of constraints, ON DELETE, conditions of indexes, AUTOINCREMENT: what Alembic's comparison does not look at."""
    beside = Database(empty_url_beside)
    Base.metadata.create_all(beside.engine)
    wanted = described(beside)
    beside.dispose()
    assert described(database) == wanted


def test_partial_indexes_and_unique_keys_stand_in_the_database(database: Database) -> None:
    """What Alembic's comparison does not look at: the conditions of indexes."""
    wanted = {
        index.name: bool(index.dialect_options[database.dialect].get("where") is not None)
        for table in Base.metadata.sorted_tables
        for index in table.indexes
    }
    inspector = inspect(database.engine)
    found = {
        index["name"]: bool(index.get("dialect_options", {}).get(f"{database.dialect}_where") is not None)
        for table in Base.metadata.tables
        for index in inspector.get_indexes(table)
        if not index.get("duplicates_constraint")
    }
    assert found == wanted


@pytest.mark.parametrize("word", ["head", "base", "0001"])
def test_migrate_goes_wherever_the_revision_lies(sqlite_url: str, word: str) -> None:
    known = migrate.head_revision()
    wanted = known if word == "0001" else word
    assert migrate.migrate(sqlite_url, wanted) == ("" if word == "base" else known)


def test_an_unknown_revision_is_refused_with_those_that_are_known(sqlite_url: str) -> None:
    with pytest.raises(InvalidInputError, match=migrate.head_revision()):
        migrate.migrate(sqlite_url, "nonsense")


def test_two_releases_at_once_migrate_once(empty_url: str) -> None:
    releases = [
        subprocess.Popen([sys.executable, "-c", UPGRADE, empty_url], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [release.communicate(timeout=60)[0].strip() for release in releases]
    assert [release.returncode for release in releases] == [0, 0]
    assert said == [migrate.head_revision()] * 2


def test_a_release_waits_for_the_lock_and_not_for_ever(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 200)
    other = Database(empty_postgres_url)
    with other.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrate.ADVISORY_LOCK})
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate.upgrade(empty_postgres_url)
        monkeypatch.setattr(migrate, "LOCK_TIMEOUT_MS", 20_000)
        waiting = threading.Thread(target=migrate.upgrade, args=(empty_postgres_url,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(20)
    other.dispose()
    assert "deliveries" in tables(empty_postgres_url)


def test_a_migration_has_a_statement_time_out(empty_postgres_url: str) -> None:
    database = Database(empty_postgres_url)
    with migrate.locked(database) as connection:
        assert connection.execute(text("SHOW statement_timeout")).scalar() == "5min"
        assert connection.execute(text("SHOW lock_timeout")).scalar() == "1min"
    database.dispose()


def test_a_migration_that_fails_leaves_the_database_as_it_was(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = command.downgrade

    def fail_at_the_end(config: Config, revision: str) -> None:
        whole(config, revision)
        raise RuntimeError("the last step fails")

    migrate.upgrade(empty_url)
    before = tables(empty_url)
    monkeypatch.setattr(command, "downgrade", fail_at_the_end)
    with pytest.raises(RuntimeError):
        migrate.downgrade(empty_url, "base")
    assert tables(empty_url) == before
