"""INSERT ... ON CONFLICT, spelt alike for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from switchboard.db.models import Base

MAX_PARAMETERS = 900  # below SQLite's oldest limit of 999 bound values in a statement


def insert_ignoring_conflicts(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]], returning: InstrumentedAttribute[int]
) -> list[int]:
    """Insert rows, leave out those that a unique key already holds; return the new ones' numbers in the order of the rows."""
    return sorted(row[0] for row in insert_new(session, model, rows, returning))


def insert_new(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]], *returning: InstrumentedAttribute[Any]
) -> list[Row[*tuple[Any, ...]]]:
    """Insert rows, leave out those that a unique key already holds; return these columns of the new ones, in any order.

    All rows name the same columns. SQLAlchemy compiles the statement once and sends the rows in large portions.
    """
    if not rows:
        return []
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    table = model.metadata.tables[model.__tablename__]
    statement = insert(table).on_conflict_do_nothing().returning(*(table.c[column.key] for column in returning))
    return list(session.execute(statement, [dict(row) for row in rows]))


def upsert(session: Session, model: type[Base], row: Mapping[str, Any], key: Sequence[str]) -> None:
    """Insert a row, or set its other columns where one with the same key stands."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(model).values(dict(row))
    changes = {name: statement.excluded[name] for name in row if name not in key}
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changes))
