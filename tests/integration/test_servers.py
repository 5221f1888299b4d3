"""The fixtures themselves: what a test gets is real, migrated and its own."""

from __future__ import annotations

import pytest
import redis
from sqlalchemy import select

from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models.upkeep import KeyCheck
from tests import servers


def test_a_database_is_migrated_to_the_newest_revision(database: Database) -> None:
    with database.engine.connect() as connection:
        assert migrate.current_revision(connection) == migrate.head_revision() != ""


@pytest.mark.parametrize("turn", [1, 2])
def test_a_database_holds_nothing_of_another_test(database: Database, turn: int) -> None:
    with database.write() as session:
        assert session.scalars(select(KeyCheck)).all() == []
        session.add(KeyCheck(id=1, token="sealed"))


def test_valkey_answers(valkey: str) -> None:
    with redis.Redis.from_url(valkey) as client:
        assert client.dbsize() == 0


def test_an_absent_server_is_a_skip_at_home_and_a_failure_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception):
        servers.absent("Valkey", "no wheel")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception):
        servers.absent("Valkey", "no wheel")
