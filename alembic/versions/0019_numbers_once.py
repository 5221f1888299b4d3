"""No number of a deleted row is given again on SQLite, as it never was on PostgreSQL.

SQLite takes AUTOINCREMENT only when a table is made, so each is made anew, filled and put in the place of the old one
(https://www.sqlite.org/lang_altertable.html#otheralter): from its own text, so that columns, defaults, unique keys and
ON DELETE rules stay as they are, and with its indexes. All of it is one transaction: a process that is killed leaves the old
tables. Numbers go on behind the highest that anything still names, also of rows that are gone.

Revision: 0019, after 0018
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

TABLES = (
    "audit_log",
    "calendar_accounts",
    "calendar_answers",
    "calendar_objects",
    "calendar_occurrences",
    "calendar_reminders",
    "calendar_snapshots",
    "calendar_subscribers",
    "calendars",
    "deliveries",
    "document_deliveries",
    "document_events",
    "mattermost_commands",
    "notice_templates",
    "organisation_credentials",
    "organisations",
    "recipients",
    "telegram_accounts",
    "telegram_messages",
    "telegram_peers",
)
NAMED_IN_KEYS = {
    "organisation.answer": ("telegram_accounts", "recipients"),
    "organisation.digest": ("recipients", "", "document_deliveries"),
    "organisation.document": ("document_events", "recipients"),
    "organisation.edit": ("deliveries", "document_deliveries"),
    "organisation.service": ("organisations", "", "", "recipients"),
    "organisation.test": ("recipients",),
}
"""Whose numbers the words of a ledger key are, behind its kind."""
NAMED_IN_SUBJECTS = {
    "calendar_account": "calendar_accounts",
    "calendar_subscriber": "calendar_subscribers",
    "organisation": "organisations",
    "telegram_account": "telegram_accounts",
}
"""Whose numbers the subjects of the audit log are."""
NAMED_IN_DETAILS = {
    "account_id": "telegram_accounts",
    "credential_id": "organisation_credentials",
    "event_id": "document_events",
    "recipient_id": "recipients",
    "subscriber_id": "calendar_subscribers",
}
"""Whose numbers stand in the details of the audit log."""
NAMED_IN_COLUMNS = (
    ("calendar_answers", "delivery_id", "deliveries"),
    ("document_deliveries", "delivery_id", "deliveries"),
    ("mailings", "last_event_id", "document_events"),
    ("deliveries", "sender", "telegram_accounts"),
)
"""Columns that name rows without being foreign keys."""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    if connection.exec_driver_sql("PRAGMA foreign_keys").scalar():
        raise RuntimeError("tables cannot be made anew while foreign keys are enforced: DROP TABLE would empty others")
    named = dict.fromkeys(TABLES, 0)
    for table, number in _named(connection):
        named[table] = max(named[table], number)
    for table in TABLES:
        _make_anew(connection, table)
        given = connection.exec_driver_sql("SELECT max(seq) FROM sqlite_sequence WHERE name = ?", (table,)).scalar()
        connection.exec_driver_sql("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (table, max(given or 0, named[table])))


def downgrade() -> None:
    """The tables stay: an older release works with them as well, and forgetting which numbers were given helps nobody."""


def _make_anew(connection: sa.Connection, table: str) -> None:
    text = connection.exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).scalar_one()
    if "AUTOINCREMENT" in text:
        return  # this revision was here before
    of_table = "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('index', 'trigger') AND sql IS NOT NULL"
    others = connection.exec_driver_sql(of_table, (table,)).scalars().all()
    for pattern, replacement in (
        (rf'^CREATE TABLE "?{table}"? \(', f"CREATE TABLE {table}_anew ("),
        (r"\bid INTEGER NOT NULL,", "id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,"),
        (rf",\s*CONSTRAINT pk_{table} PRIMARY KEY \(id\)", ""),
    ):
        text, count = re.subn(pattern, replacement, text)
        if count != 1:
            raise RuntimeError(f"the table {table} is not as it was made: {pattern} stands in it {count} times")
    connection.exec_driver_sql(text)
    connection.exec_driver_sql(f"INSERT INTO {table}_anew SELECT * FROM {table}")  # noqa: S608  TABLES
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(f"ALTER TABLE {table}_anew RENAME TO {table}")
    for other in others:
        connection.exec_driver_sql(other)


def _named(connection: sa.Connection) -> Iterator[tuple[str, int]]:
    """Tables, and numbers of rows they have or had."""
    for table, column, of_table in NAMED_IN_COLUMNS:
        yield of_table, connection.scalar(sa.select(sa.func.max(sa.column(column))).select_from(sa.table(table))) or 0
    of_organisations = "SELECT key, subject FROM deliveries WHERE key >= 'organisation.' AND key < 'organisation/'"
    for key, subject in connection.exec_driver_sql(of_organisations):
        kind, *words = key.split("|")
        yield from _numbers(NAMED_IN_KEYS.get(kind, ()), words)
        channel, *words = subject.split(":")
        if channel == "telegram":
            yield from _numbers(("telegram_accounts", "recipients"), words)
    for (subject,) in connection.exec_driver_sql("SELECT DISTINCT subject FROM audit_log"):
        kind, _, word = subject.partition(":")
        yield from _numbers((NAMED_IN_SUBJECTS.get(kind, ""),), [word])
    details = [sa.func.max(sa.func.json_extract(sa.column("details"), f"$.{name}")) for name in NAMED_IN_DETAILS]
    found = connection.execute(sa.select(*details).select_from(sa.table("audit_log"))).one()
    for table, number in zip(NAMED_IN_DETAILS.values(), found, strict=True):
        yield table, number or 0


def _numbers(tables: tuple[str, ...], words: list[str]) -> Iterator[tuple[str, int]]:
    for table, word in zip(tables, words, strict=False):
        if table and word.isdecimal():
            yield table, int(word)
