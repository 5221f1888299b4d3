"""The tables are as every caller relies on."""

from __future__ import annotations

import pytest
from sqlalchemy import BigInteger, Integer, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateTable

from switchboard.db.models import Base

NUMBERED_BY_OTHERS = {"database_place", "key_check", "telegram_shards"}
"""Their only number comes from us, not from the database."""


def has_a_number_of_its_own(table: Table) -> bool:
    columns = list(table.primary_key)
    return len(columns) == 1 and isinstance(columns[0].type, Integer) and not columns[0].foreign_keys


NUMBERED = [table for table in Base.metadata.sorted_tables if has_a_number_of_its_own(table)]


def test_those_that_number_their_rows_are_looked_at() -> None:
    names = {table.name for table in NUMBERED}
    assert names >= {"recipients", "organisations", "telegram_accounts", "deliveries", *NUMBERED_BY_OTHERS}


@pytest.mark.parametrize("table", NUMBERED, ids=lambda table: table.name)
def test_no_number_of_a_row_is_given_twice(table: Table) -> None:
    """SQLite gives the highest again after its row was deleted, unless told otherwise; PostgreSQL never does."""
    made = str(CreateTable(table).compile(dialect=sqlite.dialect()))
    assert ("PRIMARY KEY AUTOINCREMENT" in made) == (table.name not in NUMBERED_BY_OTHERS)
    (number,) = table.primary_key
    assert isinstance(number.type, BigInteger) == (table.name not in NUMBERED_BY_OTHERS)
