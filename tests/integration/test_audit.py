"""The audit log stands and falls with the change it tells of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from switchboard.db.engine import Database
from switchboard.services import audit
from switchboard.services.audit import AuditLog

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


def record(database: Database, subject: str, at: datetime = NOW) -> None:
    with database.write() as session:
        audit.record(
            session, actor="cli", action="calendar_account.watched", subject=subject, now=at, details={"ids": [1, 2]}
        )


def test_entries_come_newest_first_with_all_they_tell(database: Database) -> None:
    record(database, "calendar_account:1")
    record(database, "calendar_account:2", NOW + timedelta(seconds=1))
    newest, oldest = AuditLog(database).latest()
    assert newest.id > oldest.id
    assert (oldest.at, oldest.actor, oldest.action, oldest.subject, oldest.details) == (
        NOW,
        "cli",
        "calendar_account.watched",
        "calendar_account:1",
        {"ids": [1, 2]},
    )


def test_an_entry_goes_when_its_change_does(database: Database) -> None:
    def change() -> None:
        with database.write() as session:
            audit.record(session, actor="cli", action="x.y", subject="z:1", now=NOW)
            session.flush()
            raise RuntimeError("the change cannot be made")

    with pytest.raises(RuntimeError):
        change()
    assert AuditLog(database).latest() == []


def test_pages_follow_each_other_without_gap_or_repeat(database: Database) -> None:
    for number in range(7):
        record(database, f"calendar_account:{number}")
    log, seen, before = AuditLog(database), [], None
    while page := log.latest(limit=3, before_id=before):
        seen += [entry.subject for entry in page]
        before = page[-1].id
    assert seen == [f"calendar_account:{number}" for number in range(6, -1, -1)]


def test_one_subjects_entries_are_exactly_its_own(database: Database) -> None:
    for number in (1, 11, 1):
        record(database, f"calendar_account:{number}")
    assert len(AuditLog(database).latest(subject="calendar_account:1")) == 2
