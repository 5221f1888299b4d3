"""No number of a row is given twice, and how databases came to that which SQLite numbered otherwise before."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from switchboard.db import migrate
from switchboard.db.engine import Database
from tests.servers import ROOT

BEFORE, REVISION = "0018", "0019"
VALUES = {"DATETIME": "2026-11-21 09:00:00.000000", "TIME": "09:00:00.000000", "DATE": "2026-11-21", "JSON": "{}"}
KILLED_BEFORE = """
import os, signal, sys
from sqlalchemy import Engine, event
from switchboard.db import migrate

@event.listens_for(Engine, "before_cursor_execute")
def die(connection, cursor, statement, *_):
    if statement == sys.argv[2]:
        os.kill(os.getpid(), signal.SIGKILL)

migrate.upgrade(sys.argv[1])
"""


class File:
    """A SQLite file as it is without us."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = f"sqlite:///{path}"

    def ask(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        connection = sqlite3.connect(self.path)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def tables(self) -> dict[str, str]:
        """What each was made with, without what makes it a table of its own: name and number."""
        found = self.ask("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        return {str(name): str(sql) for name, sql in found if name not in ("alembic_version", "database_place")}

    def indexes(self) -> list[tuple[object, ...]]:
        return self.ask("SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index' ORDER BY tbl_name, name")

    def rows(self) -> dict[str, list[tuple[object, ...]]]:
        return {name: self.ask(f"SELECT * FROM {name} ORDER BY 1, 2") for name in self.tables()}

    def fill(self, *numbers: int) -> None:
        """A row of each of these numbers in every table; each refers to those of its own number."""
        for table in self.tables():
            refers = {row[3]: row[4] for row in self.ask(f"PRAGMA foreign_key_list({table})")}
            columns = [(str(row[1]), str(row[2])) for row in self.ask(f"PRAGMA table_info({table})")]
            for number in numbers:
                values = [_value(str(refers.get(name, name)), kind, number) for name, kind in columns]
                marks = ", ".join("?" * len(values))
                self.ask(f"INSERT INTO {table} VALUES ({marks})", *values)

    def next_number(self, table: str) -> object:
        """That of a row which comes now."""
        (last,) = self.ask("SELECT seq FROM sqlite_sequence WHERE name = ?", table)
        return int(str(last[0])) + 1


def _value(name: str, kind: str, number: int) -> object:
    if kind in VALUES:
        return VALUES[kind]
    if kind == "BLOB":
        return f"{name}{number}".encode()
    return number if kind in ("INTEGER", "BIGINT", "BOOLEAN") else f"{name}{number}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> File:
    file = File(tmp_path_factory.mktemp("before") / "template.sqlite3")
    migrate.upgrade(file.url, BEFORE)
    file.fill(10, 11)
    return file


@pytest.fixture
def before(template: File, tmp_path: Path) -> File:
    """A database of the revision before, with rows in every table."""
    return File(Path(shutil.copyfile(template.path, tmp_path / "before.sqlite3")))


def by_alembic(url: str) -> None:
    """As Alembic's own command does it."""
    environment = os.environ | {"DATABASE_URL": url, "SECRET_KEYS": "k" * 32}
    alembic = [sys.executable, "-m", "alembic", "upgrade", REVISION]
    subprocess.run(alembic, cwd=ROOT, env=environment, check=True, capture_output=True, timeout=120)


def by_ourselves(url: str) -> None:
    migrate.upgrade(url, REVISION)


def plain(text: str, table: str) -> str:
    """The text of a table without how it is named and numbered."""
    for part, instead in (
        (f'CREATE TABLE "{table}"', f"CREATE TABLE {table}"),
        (f", \n\tCONSTRAINT pk_{table} PRIMARY KEY (id)", ""),
        (" PRIMARY KEY AUTOINCREMENT", ""),
    ):
        text = text.replace(part, instead)
    return text


@pytest.mark.parametrize("upgrade", [by_ourselves, by_alembic])
def test_rows_indexes_and_rules_stay_where_a_table_is_made_anew(before: File, upgrade: Callable[[str], None]) -> None:
    rows, indexes, tables = before.rows(), before.indexes(), before.tables()
    assert all(len(found) == 2 for found in rows.values())
    upgrade(before.url)
    assert before.rows() == rows
    assert before.indexes() == indexes
    after = before.tables()
    assert {name: plain(text, name) for name, text in after.items()} == {
        name: plain(text, name) for name, text in tables.items()
    }
    assert "AUTOINCREMENT" in after["recipients"]
    assert before.ask("PRAGMA foreign_key_check") == []


def test_numbers_go_on_behind_the_highest_that_is_named_anywhere(before: File) -> None:
    before.ask("DELETE FROM notice_templates")
    before.ask("UPDATE deliveries SET key = 'organisation.document|31|40|telegram|notice', sender = 17 WHERE id = 10")
    before.ask("UPDATE deliveries SET key = 'organisation.edit|64', subject = 'telegram:7:41' WHERE id = 11")
    before.ask(
        """UPDATE audit_log SET subject = 'organisation:52', details = '{"recipient_id": 39, "credential_id": 29}'"""
    )
    by_ourselves(before.url)
    assert before.next_number("recipients") == 42
    assert before.next_number("document_events") == 32
    assert before.next_number("telegram_accounts") == 18
    assert before.next_number("deliveries") == 65
    assert before.next_number("organisations") == 53
    assert before.next_number("organisation_credentials") == 30
    assert before.next_number("calendar_reminders") == 12
    assert before.next_number("notice_templates") == 1


def test_a_database_that_was_taken_back_comes_up_again_with_the_numbers_it_gave(before: File) -> None:
    by_ourselves(before.url)
    before.ask("UPDATE sqlite_sequence SET seq = 100 WHERE name = 'recipients'")
    migrate.downgrade(before.url, BEFORE)
    by_ourselves(before.url)
    assert before.next_number("recipients") == 101


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE recipients",
        pytest.param("ALTER TABLE recipients_anew RENAME TO recipients", marks=pytest.mark.full),
    ],
)
def test_a_migration_that_is_killed_midway_leaves_everything(before: File, statement: str) -> None:
    rows, tables = before.rows(), before.tables()
    killed = [sys.executable, "-c", KILLED_BEFORE, before.url, statement]
    assert subprocess.run(killed, cwd=ROOT, timeout=120, check=False).returncode == -signal.SIGKILL
    assert (before.rows(), before.tables()) == (rows, tables)
    assert before.ask("SELECT version_num FROM alembic_version") == [(BEFORE,)]
    by_ourselves(before.url)
    assert before.rows() == rows


def test_tables_are_not_made_anew_while_others_would_be_emptied(before: File) -> None:
    """DROP TABLE deletes the rows first where foreign keys are enforced, and with them those that refer to them."""
    rows = before.rows()
    database = Database(before.url)
    config = Config(ROOT / "alembic.ini")
    with migrate.locked(database) as connection:
        config.attributes["connection"] = connection
        with pytest.raises(RuntimeError, match="foreign keys"):
            command.upgrade(config, REVISION)
    database.dispose()
    assert before.rows() == rows
