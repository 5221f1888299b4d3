"""Turns stored calendar objects into occurrences and arms their reminders.

Expanding is pure work on data that strangers wrote, so it runs where a hard time limit can end it. An object whose
expansion never finished is tried alone, then left out with its problem noted; it never hides the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnExpressionArgument, delete, insert, select, update
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session

from switchboard.db.claims import found_once
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSnapshot,
    CalendarSubscriber,
)
from switchboard.db.repositories.statuses import wake_account
from switchboard.db.repositories.subscribers import lock_accounts
from switchboard.db.upsert import insert_new
from switchboard.domain.calendar.expansion import Expansion, expand
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.reminders import DueReminder, due_before, due_reminders
from switchboard.logs import get_logger

HORIZON = timedelta(days=62)
HORIZON_SLACK = timedelta(days=7)
PAST = timedelta(days=1)
PAST_OF_CHANGED = timedelta(days=31)
"""So far back a changed object is expanded: a meeting that was moved into the past is told as moved, not as cancelled."""
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
    """An object whose expansion is begun, with what tells whether it was changed meanwhile."""

    id: int
    calendar_id: int
    raw: bytes
    etag: str
    changed_at: datetime
    changed: bool
    """Whether its owner is to be told what changed, and not only the horizon or the zone moved."""


@dataclass(frozen=True, slots=True)
class _Owner:
    """Whose calendar it is, as far as expansion asks."""

    account_id: int
    subscriber_id: int
    zone: ZoneInfo
    addresses: frozenset[str]
    reminder_minutes: tuple[int, ...]

    def reads_as(self, other: _Owner) -> bool:
        """Whether the same objects give the same occurrences for both."""
        return (self.zone.key, self.addresses) == (other.zone.key, other.addresses)


class CalendarExpansion:
    """Expansion of an account's changed objects, and of repeating ones as time moves on."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def expand_account(self, account_id: int) -> ExpansionReport:
        """Expand what needs it, in batches, for up to 40 s. Idempotent; a killed call is repeated by the next."""
        expanded = problems = 0
        stop_at = self._clock() + BUDGET
        while self._clock() < stop_at:
            owner, batch, is_last = self._claim(account_id)
            if owner is None or not batch:
                return ExpansionReport(expanded, problems, more=False)
            now = self._clock()
            results: list[tuple[_Claimed, Expansion]] = []
            for claimed in batch:
                if results and self._clock() >= stop_at:
                    break  # the rest counts as begun, and comes one by one
                results.append((claimed, _expand(claimed, owner, now)))
            try:
                with self._database.write() as session:
                    stored = self._store(session, owner, results, now)
            except DataError:
                # The database refuses something in one of them: taken one by one they show which, and it is left out.
                log.warning("calendar_objects_refused", object_ids=[claimed.id for claimed, _ in results])
                continue
            expanded += len(results)
            problems += sum(bool(expansion.problems) for _, expansion in results)
            if is_last and stored == len(batch):  # whoever marks an object from now on queues its expansion
                return ExpansionReport(expanded, problems, more=False)
        return ExpansionReport(expanded, problems, more=True)

    def extend_horizon(self, *, limit: int = 10_000) -> list[int]:
        """Mark repeating objects whose occurrences run out soon; return the accounts that have work, marked ones included."""
        now = self._clock()
        with self._database.write() as session:
            ending = (
                select(CalendarObject.id)
                .where(CalendarObject.expanded_until < now + HORIZON - HORIZON_SLACK, ~CalendarObject.needs_expansion)
                .order_by(CalendarObject.expanded_until)
                .limit(limit)
            )
            session.execute(
                update(CalendarObject)
                .where(CalendarObject.id.in_(found_once(ending)))
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

    def _claim(self, account_id: int) -> tuple[_Owner | None, list[_Claimed], bool]:
        """The next batch, for whom, and whether nothing waits beside it.

        Objects that were begun before and not finished come last and alone.
        """
        with self._database.write() as session:
            owner = _lock_owner(session, account_id)
            if owner is None:
                return None, [], True
            waits = (
                CalendarObject.calendar_id.in_(
                    select(Calendar.id).where(Calendar.account_id == account_id, Calendar.watched)
                ),
                CalendarObject.needs_expansion,
            )
            _give_up(session, *waits)
            rows = session.execute(
                select(CalendarObject.id, CalendarObject.expansion_attempts)
                .where(*waits)
                .order_by(CalendarObject.expansion_attempts, CalendarObject.id)
                .limit(BATCH)
            ).all()
            if not rows:
                return owner, [], True
            ids = [row.id for row in rows if row.expansion_attempts == 0] or [rows[0].id]
            is_last = len(ids) == len(rows) < BATCH
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
            changed = set(
                session.scalars(
                    select(CalendarObject.id)
                    .join(
                        CalendarSnapshot,
                        (CalendarSnapshot.calendar_id == CalendarObject.calendar_id)
                        & (CalendarSnapshot.href == CalendarObject.href),
                    )
                    .where(CalendarObject.id.in_(ids))
                )
            )
        batch = sorted((_Claimed(*row, row.id in changed) for row in claimed), key=lambda one: one.id)
        return owner, batch, is_last

    def _store(
        self, session: Session, owner: _Owner, results: Sequence[tuple[_Claimed, Expansion]], now: datetime
    ) -> int:
        """Replace the objects' occurrences, but not where a poll or a change of settings has made them old meanwhile.

        Return of how many objects.
        """
        current = _lock_owner(session, owner.account_id)
        if current is None or not current.reads_as(owner):
            return 0
        unchanged = _unchanged(session, [claimed for claimed, _ in results])
        results = [(claimed, expansion) for claimed, expansion in results if claimed.id in unchanged]
        if not results:
            return 0
        session.execute(
            delete(CalendarOccurrence)
            .where(CalendarOccurrence.object_id.in_(unchanged))
            .execution_options(synchronize_session=False)
        )
        occurrences = {
            (claimed.id, *occurrence.key): (claimed, occurrence)
            for claimed, expansion in results
            for occurrence in expansion.occurrences
        }
        stored = {
            (row.object_id, row.uid, row.recurrence_id): row.id
            for row in insert_new(
                session,
                CalendarOccurrence,
                [_row(owner, claimed, occurrence) for claimed, occurrence in occurrences.values()],
                *(CalendarOccurrence.id, CalendarOccurrence.object_id),
                *(CalendarOccurrence.uid, CalendarOccurrence.recurrence_id),
            )
        }
        hidden = {claimed.id for key, (claimed, _) in occurrences.items() if key not in stored}
        session.execute(
            update(CalendarObject),
            [_done(claimed, expansion, hidden=claimed.id in hidden, now=now) for claimed, expansion in results],
        )
        _arm(
            session,
            current.subscriber_id,
            {
                stored[key]: due_reminders(occurrence, current.reminder_minutes, now)
                for key, (_, occurrence) in occurrences.items()
                if key in stored
            },
        )
        wake_account(session, owner.account_id, now)
        return len(results)


def rearm(session: Session, subscriber_id: int, now: datetime) -> None:
    """Make what is to come in the due table of a subscriber anew from the store, after a change of reminder settings.

    What is due already stays due, and nothing becomes due by the change: a meeting that was reminded of is not told again
    because its reader now wants to hear of meetings earlier.

    The caller holds the subscriber's row: changed in this transaction, or locked. Nothing happens where it is gone.
    """
    subscriber = session.get(CalendarSubscriber, subscriber_id)
    if subscriber is None:
        return
    accounts = lock_accounts(session, subscriber_id)
    outdated = delete(CalendarReminder).where(CalendarReminder.subscriber_id == subscriber_id)
    if _is_reminded(subscriber):
        outdated = outdated.where(CalendarReminder.fire_at > now)
    session.execute(outdated.execution_options(synchronize_session=False))
    if not _is_reminded(subscriber):
        return
    rows = session.execute(
        select(CalendarOccurrence.id, CalendarOccurrence.start_at).where(
            CalendarOccurrence.account_id.in_(accounts),
            CalendarOccurrence.start_at > now,
            ~CalendarOccurrence.all_day,
            ~CalendarOccurrence.declined,
        )
    ).all()
    upcoming = {row.id: due_before(row.start_at, subscriber.reminder_minutes, now) for row in rows}
    _arm(session, subscriber_id, {id_: [due for due in dues if due.fire_at > now] for id_, dues in upcoming.items()})


def _arm(session: Session, subscriber_id: int, reminders: Mapping[int, Sequence[DueReminder]]) -> None:
    """Enter reminders, by occurrence id, in the due table."""
    rows = [
        {"subscriber_id": subscriber_id, "occurrence_id": occurrence_id, "minutes": due.minutes, "fire_at": due.fire_at}
        for occurrence_id, dues in reminders.items()
        for due in dues
    ]
    if rows:
        session.execute(insert(CalendarReminder), rows)


def _lock_owner(session: Session, account_id: int) -> _Owner | None:
    """Whose account it is and with which settings now, locked to the end of the transaction; None when it is gone.

    Subscriber, account, objects, occurrences, reminders: every writer locks in this order, so none waits in a circle, and
    no setting changes between the arming of a reminder and its commit.
    """
    of_account = CalendarAccount.id == account_id
    subscriber = session.scalars(
        select(CalendarSubscriber)
        .where(CalendarSubscriber.id == select(CalendarAccount.subscriber_id).where(of_account).scalar_subquery())
        .with_for_update(read=True)
    ).first()
    addresses = session.scalars(
        select(CalendarAccount.addresses).where(of_account).with_for_update(key_share=True)
    ).first()
    if subscriber is None or addresses is None:
        return None
    return _Owner(
        account_id=account_id,
        subscriber_id=subscriber.id,
        zone=ZoneInfo(subscriber.zone),
        addresses=frozenset(address.lower() for address in (*addresses, subscriber.email) if address),
        reminder_minutes=tuple(subscriber.reminder_minutes) if _is_reminded(subscriber) else (),
    )


def _is_reminded(subscriber: CalendarSubscriber) -> bool:
    return subscriber.reminders_enabled and subscriber.deactivated_at is None


def _give_up(session: Session, *waits: ColumnExpressionArgument[bool]) -> None:
    """Leave out those of the waiting objects whose expansion was begun and never finished too often."""
    ids = session.scalars(
        update(CalendarObject)
        .where(*waits, CalendarObject.expansion_attempts >= MAX_ATTEMPTS)
        .values(
            needs_expansion=False,
            expanded_until=None,
            unreadable=True,
            problem=f"left out: its expansion did not finish in {MAX_ATTEMPTS} tries",
        )
        .returning(CalendarObject.id)
        .execution_options(synchronize_session=False)
    ).all()
    if ids:
        log.warning("calendar_objects_left_out", object_ids=list(ids))


def _unchanged(session: Session, batch: Sequence[_Claimed]) -> set[int]:
    """Those that are as they were when their expansion began, locked."""
    seen = {(claimed.id, claimed.etag, claimed.changed_at) for claimed in batch}
    rows = session.execute(
        select(CalendarObject.id, CalendarObject.etag, CalendarObject.changed_at)
        .where(CalendarObject.id.in_([claimed.id for claimed in batch]))
        .order_by(CalendarObject.id)
        .with_for_update(key_share=True)
    )
    return {row.id for row in rows if tuple(row) in seen}


def _done(claimed: _Claimed, expansion: Expansion, *, hidden: bool, now: datetime) -> dict[str, Any]:
    """The marks of an expanded object.

    Where another object of the calendar has the same UID, its occurrences hide this one's; it is looked at again with every
    extension of the horizon, because nobody says when the other goes.
    """
    until = now + HORIZON if expansion.recurring else None
    reasons = [problem.reason for problem in expansion.problems]
    if hidden:
        reasons.append("another object of the calendar has the same UID and is shown instead")
    return {
        "id": claimed.id,
        "needs_expansion": False,
        "expansion_attempts": 0,
        "expanded_until": now if hidden else until,
        "problem": "; ".join(reasons)[:2_000] or None,
        "unreadable": not expansion.whole,
    }


def _expand(claimed: _Claimed, owner: _Owner, now: datetime) -> Expansion:
    return expand(
        claimed.raw,
        window=(now - (PAST_OF_CHANGED if claimed.changed else PAST), now + HORIZON),
        singles_until=END_OF_TIME,
        zone=owner.zone,
        own_addresses=owner.addresses,
    )


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
