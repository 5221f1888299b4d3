"""INSERT ... ON CONFLICT means the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select

from switchboard.db.engine import Database
from switchboard.db.models import AuditEntry, Heartbeat
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.upsert import MAX_PARAMETERS, insert_ignoring_conflicts, upsert

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


def new(key: str) -> NewDelivery:
    return NewDelivery("mattermost", "reminder", key, key, "anna")


def entry(number: int) -> dict[str, object]:
    return {"at": NOW, "actor": "cli", "action": "x.y", "subject": f"s:{number}", "details": {}}


def test_only_new_rows_are_returned(database: Database) -> None:
    with database.write() as session:
        first = DeliveryRepository(session).add([new("a"), new("b")], NOW)
    with database.write() as session:
        second = DeliveryRepository(session).add([new("b"), new("c"), new("a")], NOW)
    assert (len(first), len(second)) == (2, 1)
    assert not set(first) & set(second)


def test_a_key_that_stands_twice_in_one_call_makes_one_row(database: Database) -> None:
    with database.write() as session:
        assert len(DeliveryRepository(session).add([new("a"), new("a")], NOW)) == 1


def test_no_rows_are_no_statement(database: Database) -> None:
    with database.read() as session:
        assert insert_ignoring_conflicts(session, AuditEntry, [], AuditEntry.id) == []


def test_many_rows_go_in_several_statements_and_keep_their_order(database: Database) -> None:
    count = 2 * MAX_PARAMETERS // len(entry(0)) + 1
    with database.write() as session:
        ids = insert_ignoring_conflicts(session, AuditEntry, [entry(number) for number in range(count)], AuditEntry.id)
        assert session.scalar(select(func.count()).select_from(AuditEntry)) == count
        subjects = {row.id: row.subject for row in session.scalars(select(AuditEntry))}
    assert [subjects[row_id] for row_id in ids] == [f"s:{number}" for number in range(count)]


def test_an_upsert_makes_the_row_or_sets_its_other_columns(database: Database) -> None:
    for at in (NOW, NOW + timedelta(seconds=1)):
        with database.write() as session:
            upsert(session, Heartbeat, {"name": "tick", "at": at}, key=["name"])
    with database.write() as session:
        upsert(session, Heartbeat, {"name": "other", "at": NOW}, key=["name"])
    with database.read() as session:
        assert {row.name: row.at for row in session.scalars(select(Heartbeat))} == {
            "tick": NOW + timedelta(seconds=1),
            "other": NOW,
        }
