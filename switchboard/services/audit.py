"""The audit log: who did what to whom. Entries are written in the transaction of the change they tell of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import AuditEntry


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One entry; `subject` is a kind and an id, for example `calendar_account:7`."""

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any]


def record(
    session: Session, *, actor: str, action: str, subject: str, now: datetime, details: Mapping[str, Any] | None = None
) -> None:
    """Write an entry with the change itself. `details` hold ids and settings, never secrets or texts."""
    session.add(AuditEntry(at=now, actor=actor, action=action, subject=subject, details=dict(details or {})))


def record_of_organisation(
    session: Session, organisation_id: int, action: str, actor: str, now: datetime, **details: object
) -> None:
    """As `record`, of an organisation and what is its own."""
    subject = f"organisation:{organisation_id}"
    record(session, actor=actor, action=action, subject=subject, now=now, details=details)


class AuditLog:
    """Reading the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(
        self, *, limit: int = 100, before_id: int | None = None, subject: str | None = None
    ) -> list[AuditRecord]:
        """Newest entries first; `before_id` pages on, `subject` picks one subject's."""
        query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
        if before_id is not None:
            query = query.where(AuditEntry.id < before_id)
        if subject is not None:
            query = query.where(AuditEntry.subject == subject)
        with self._database.read() as session:
            return [
                AuditRecord(
                    id=entry.id,
                    at=entry.at,
                    actor=entry.actor,
                    action=entry.action,
                    subject=entry.subject,
                    details=entry.details,
                )
                for entry in session.scalars(query)
            ]
