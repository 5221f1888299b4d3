from __future__ import annotations

import pytest

from switchboard.db.engine import Database
from tests.integration.organisations.house import House


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def database_url(request: pytest.FixtureRequest) -> str:
    """SQLite by default, PostgreSQL too in the full matrix; a test that is about concurrency names both itself."""
    return str(request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url"))


@pytest.fixture
def house(database: Database) -> House:
    """An organisation that writes from one number."""
    return House(database)
