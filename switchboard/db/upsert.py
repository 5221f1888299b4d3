"""INSERT ... ON CONFLICT, spelt alike for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from switchboard.db.models import Base

MAX_PARAMETERS = 900  # below SQLite's oldest limit of 999 bound values in a statement


def insert_ignoring_conflicts(
    session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]], returning: InstrumentedAttribute[int]
) -> list[int]:
    """Insert rows, leave out those that a unique key already holds; return `returning` of the new ones.

    All rows name the same columns.
    """
    made: list[int] = []
    if not rows:
        return made
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    step = max(1, MAX_PARAMETERS // len(rows[0]))
    for start in range(0, len(rows), step):
        statement = insert(model).values([dict(row) for row in rows[start : start + step]])
        made.extend(session.scalars(statement.on_conflict_do_nothing().returning(returning)))
    return made


def upsert(session: Session, model: type[Base], row: Mapping[str, Any], key: Sequence[str]) -> None:
    """Insert a row, or set its other columns where one with the same key stands."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    statement = insert(model).values(dict(row))
    changes = {name: statement.excluded[name] for name in row if name not in key}
    session.execute(statement.on_conflict_do_update(index_elements=list(key), set_=changes))
