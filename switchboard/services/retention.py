"""Erases texts, files and answers that were kept long enough. Ids stay, so that nothing is ever sent twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, null, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute

from switchboard.db.engine import Database
from switchboard.db.models import (
    Base,
    CalendarAnswer,
    CalendarOccurrence,
    Delivery,
    DocumentEvent,
    StoredFile,
    TelegramMessage,
)
from switchboard.deadlines import current_deadline

BATCH = 1_000
FILE_BATCH = 10  # a file of 100 MiB is 400 chunks
UNFINISHED_FILE_AGE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many of each were erased."""

    message_texts: int
    files: int
    occurrences: int
    answers: int = 0
    document_events: int = 0
    telegram_messages: int = 0


class Retention:
    """Erases what is older than `keep`."""

    def __init__(self, database: Database, keep: timedelta) -> None:
        self._database = database
        self._keep = keep

    def erase(self, now: datetime) -> Erased:
        """Erase in small transactions until nothing is left or the deadline of the work is over; safe to stop and to repeat."""
        before = now - self._keep
        return Erased(
            message_texts=self._erase_message_texts(before),
            files=self._delete(
                StoredFile,
                StoredFile.id,
                FILE_BATCH,
                or_(
                    StoredFile.created_at < before,
                    and_(StoredFile.sha256.is_(None), StoredFile.created_at < now - UNFINISHED_FILE_AGE),
                ),
            ),
            occurrences=self._delete(
                CalendarOccurrence, CalendarOccurrence.id, BATCH, CalendarOccurrence.end_at < before
            ),
            answers=self._delete(CalendarAnswer, CalendarAnswer.id, BATCH, CalendarAnswer.asked_at < before),
            document_events=self._erase_document_events(before),
            telegram_messages=self._erase_telegram_messages(before, now),
        )

    def _erase_document_events(self, before: datetime) -> int:
        """What was said of a document; that something was said to whom stays."""
        total = 0
        while _time_is_left():
            with self._database.write() as session:
                ids = (
                    select(DocumentEvent.id)
                    .where(DocumentEvent.created_at < before, DocumentEvent.number.is_not(None))
                    .limit(BATCH)
                )
                erased = session.scalars(
                    update(DocumentEvent)
                    .where(DocumentEvent.id.in_(ids))
                    .values(number=None, title=None, link=None)
                    .returning(DocumentEvent.id)
                ).all()
            total += len(erased)
            if len(erased) < BATCH:
                break
        return total

    def _erase_message_texts(self, before: datetime) -> int:
        total = 0
        while _time_is_left():
            with self._database.write() as session:
                ids = select(Delivery.id).where(Delivery.finished_at < before, Delivery.body.is_not(None)).limit(BATCH)
                erased = session.scalars(
                    update(Delivery).where(Delivery.id.in_(ids)).values(body=null(), reason=None).returning(Delivery.id)
                ).all()
            total += len(erased)
            if len(erased) < BATCH:
                break
        return total

    def _erase_telegram_messages(self, before: datetime, now: datetime) -> int:
        total = 0
        while _time_is_left():
            with self._database.write() as session:
                rows = TelegramMessage
                ids = select(rows.id).where(rows.stored_at < before, rows.erased_at.is_(None)).limit(BATCH)
                erased = session.scalars(
                    update(rows)
                    .where(rows.id.in_(ids))
                    .values(text=None, media=null(), erased_at=now)
                    .returning(rows.id)
                ).all()
            total += len(erased)
            if len(erased) < BATCH:
                break
        return total

    def _delete(
        self, model: type[Base], key: InstrumentedAttribute[Any], batch: int, condition: ColumnElement[bool]
    ) -> int:
        total = 0
        while _time_is_left():
            with self._database.write() as session:
                ids = select(key).where(condition).limit(batch)
                deleted = session.scalars(delete(model).where(key.in_(ids)).returning(key)).all()
            total += len(deleted)
            if len(deleted) < batch:
                break
        return total


def _time_is_left() -> bool:
    deadline = current_deadline()
    return deadline is None or deadline.remaining_s() > 0
