"""Turns stored calendar objects into occurrences and arms their reminders.

Expanding is pure work on data that strangers wrote, so it runs where a hard time limit can end it. An object whose
expansion never finished is tried alone, then left out with its problem noted; it never hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSubscriber,
)
from switchboard.db.upsert import insert_ignoring_conflicts
from switchboard.domain.calendar.expansion import Expansion, expand
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.reminders import due_reminders
from switchboard.logs import get_logger

HORIZON = timedelta(days=62)
HORIZON_SLACK = timedelta(days=7)
PAST = timedelta(days=1)
END_OF_TIME = datetime(2100, 1, 1, tzinfo=UTC)
BATCH = 50
MAX_ATTEMPTS = 3
BUDGET = timedelta(seconds=40)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExpansionReport:
    """How many objects were expanded, how many of them had a problem, and whether work is left for another call."""

    expanded: int
    problems: int
    more: bool


@dataclass(frozen=True, slots=True)
class _Claimed:
    id: int
    calendar_id: int
    raw: bytes
    etag: str
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose calendar it is, as far as expansion asks."""

    account_id: int
    subscriber_id: int
    zone: ZoneInfo
    addresses: frozenset[str]
    reminder_minutes: tuple[int, ...]


class CalendarExpansion:
    """Expansion of an account's changed objects, and of repeating ones as time moves on."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def expand_account(self, account_id: int) -> ExpansionReport:
        """Expand what needs it, in batches, for up to 40 s. Idempotent; a killed call is repeated by the next."""
        owner = self._owner(account_id)
        expanded = problems = 0
        if owner is None:
            return ExpansionReport(0, 0, more=False)
        stop_at = self._clock() + BUDGET
        while self._clock() < stop_at:
            batch = self._claim(account_id)
            if not batch:
                return ExpansionReport(expanded, problems, more=False)
            now = self._clock()
            results = [(claimed, _expand(claimed, owner, now)) for claimed in batch]
            with self._database.write() as session:
                for claimed, expansion in results:
                    self._store(session, owner, claimed, expansion, now)
            expanded += len(results)
            problems += sum(bool(expansion.problems) for _, expansion in results)
        return ExpansionReport(expanded, problems, more=True)

    def extend_horizon(self, *, limit: int = 10_000) -> list[int]:
        """Mark repeating objects whose occurrences run out soon; return the accounts that have work, marked ones included."""
        now = self._clock()
        with self._database.write() as session:
            ending = (
                select(CalendarObject.id)
                .where(CalendarObject.expanded_until < now + HORIZON - HORIZON_SLACK)
                .order_by(CalendarObject.expanded_until)
                .limit(limit)
            )
            session.execute(
                update(CalendarObject)
                .where(CalendarObject.id.in_(ending))
                .values(needs_expansion=True, expansion_attempts=0)
                .execution_options(synchronize_session=False)
            )
        return self.accounts_with_work()

    def accounts_with_work(self) -> list[int]:
        """Accounts with objects that wait for expansion: the repair of lost queue messages."""
        with self._database.read() as session:
            return list(
                session.scalars(
                    select(Calendar.account_id)
                    .join(CalendarObject, CalendarObject.calendar_id == Calendar.id)
                    .where(CalendarObject.needs_expansion, Calendar.watched)
                    .distinct()
                )
            )

    def _owner(self, account_id: int) -> _Owner | None:
        with self._database.read() as session:
            row = session.execute(
                select(CalendarAccount, CalendarSubscriber)
                .join(CalendarSubscriber, CalendarSubscriber.id == CalendarAccount.subscriber_id)
                .where(CalendarAccount.id == account_id)
            ).first()
        if row is None:
            return None
        account, subscriber = row
        return _Owner(
            account_id=account.id,
            subscriber_id=subscriber.id,
            zone=ZoneInfo(subscriber.zone),
            addresses=frozenset(address.lower() for address in (*account.addresses, subscriber.email) if address),
            reminder_minutes=tuple(subscriber.reminder_minutes) if subscriber.reminders_enabled else (),
        )

    def _claim(self, account_id: int) -> list[_Claimed]:
        """The next batch; objects that were begun before and not finished come last and alone."""
        waiting = (
            select(CalendarObject.id, CalendarObject.expansion_attempts)
            .join(Calendar, Calendar.id == CalendarObject.calendar_id)
            .where(Calendar.account_id == account_id, Calendar.watched, CalendarObject.needs_expansion)
            .order_by(CalendarObject.expansion_attempts, CalendarObject.id)
            .limit(BATCH)
        )
        with self._database.write() as session:
            rows = session.execute(waiting).all()
            fresh = [row.id for row in rows if row.expansion_attempts == 0]
            given_up = [row.id for row in rows if row.expansion_attempts >= MAX_ATTEMPTS]
            if given_up:
                self._give_up(session, given_up)
            ids = fresh or [row.id for row in rows if row.id not in given_up][:1]
            claimed = session.execute(
                update(CalendarObject)
                .where(CalendarObject.id.in_(ids))
                .values(expansion_attempts=CalendarObject.expansion_attempts + 1)
                .returning(
                    CalendarObject.id,
                    CalendarObject.calendar_id,
                    CalendarObject.raw,
                    CalendarObject.etag,
                    CalendarObject.changed_at,
                )
                .execution_options(synchronize_session=False)
            ).all()
        return [_Claimed(row.id, row.calendar_id, row.raw, row.etag, row.changed_at) for row in claimed]

    def _give_up(self, session: Session, ids: Sequence[int]) -> None:
        log.warning("calendar_objects_left_out", object_ids=list(ids))
        session.execute(
            update(CalendarObject)
            .where(CalendarObject.id.in_(ids))
            .values(needs_expansion=False, problem=f"left out: its expansion did not finish in {MAX_ATTEMPTS} tries")
            .execution_options(synchronize_session=False)
        )

    def _store(self, session: Session, owner: _Owner, claimed: _Claimed, expansion: Expansion, now: datetime) -> None:
        """Replace the object's occurrences, unless a poll has stored newer content meanwhile."""
        still_same = session.scalars(
            update(CalendarObject)
            .where(
                CalendarObject.id == claimed.id,
                CalendarObject.etag == claimed.etag,
                CalendarObject.changed_at == claimed.changed_at,
            )
            .values(
                needs_expansion=False,
                expansion_attempts=0,
                expanded_until=now + HORIZON if expansion.recurring else None,
                problem="; ".join(problem.reason for problem in expansion.problems)[:2_000] or None,
            )
            .returning(CalendarObject.id)
            .execution_options(synchronize_session=False)
        ).first()
        if still_same is None:
            return
        session.execute(delete(CalendarOccurrence).where(CalendarOccurrence.object_id == claimed.id))
        by_key = {occurrence.key: occurrence for occurrence in expansion.occurrences}
        for occurrence in by_key.values():
            ids = insert_ignoring_conflicts(
                session, CalendarOccurrence, [_row(owner, claimed, occurrence)], CalendarOccurrence.id
            )
            if ids:
                _arm(session, owner.subscriber_id, ids[0], occurrence, owner.reminder_minutes, now)


def rearm(session: Session, subscriber_id: int, now: datetime) -> None:
    """Make the due table of a subscriber anew from the store, after a change of reminder settings."""
    subscriber = session.get_one(CalendarSubscriber, subscriber_id)
    session.execute(delete(CalendarReminder).where(CalendarReminder.subscriber_id == subscriber_id))
    if not subscriber.reminders_enabled:
        return
    rows = session.execute(
        select(CalendarOccurrence.id, CalendarOccurrence.details)
        .join(CalendarAccount, CalendarAccount.id == CalendarOccurrence.account_id)
        .where(CalendarAccount.subscriber_id == subscriber_id, CalendarOccurrence.start_at > now)
    ).all()
    for row in rows:
        _arm(session, subscriber_id, row.id, Occurrence.from_json(row.details), tuple(subscriber.reminder_minutes), now)


def _arm(
    session: Session,
    subscriber_id: int,
    occurrence_id: int,
    occurrence: Occurrence,
    minutes: Iterable[int],
    now: datetime,
) -> None:
    session.add_all(
        CalendarReminder(
            subscriber_id=subscriber_id, occurrence_id=occurrence_id, minutes=due.minutes, fire_at=due.fire_at
        )
        for due in due_reminders(occurrence, tuple(minutes), now)
    )


def _expand(claimed: _Claimed, owner: _Owner, now: datetime) -> Expansion:
    repeats = any(word in _unfolded(claimed.raw) for word in (b"RRULE", b"RDATE"))
    window = (now - PAST, now + HORIZON if repeats else END_OF_TIME)
    return expand(claimed.raw, window=window, zone=owner.zone, own_addresses=owner.addresses)


def _unfolded(raw: bytes) -> bytes:
    """Content lines made whole again (RFC 5545 section 3.1), so that a folded property name is still found."""
    return raw.upper().replace(b"\r\n ", b"").replace(b"\r\n\t", b"").replace(b"\n ", b"").replace(b"\n\t", b"")


def _row(owner: _Owner, claimed: _Claimed, occurrence: Occurrence) -> dict[str, Any]:
    return {
        "account_id": owner.account_id,
        "calendar_id": claimed.calendar_id,
        "object_id": claimed.id,
        "uid": occurrence.uid,
        "recurrence_id": occurrence.recurrence_id,
        "start_at": occurrence.start,
        "end_at": occurrence.end,
        "all_day": occurrence.all_day,
        "declined": occurrence.declined,
        "details": occurrence.to_json(),
    }
