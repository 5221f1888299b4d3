"""The custom status during meetings: what Mattermost shows is compared with what it should be, and rewritten until equal.

A status is desired state and no message, so it is not in the delivery ledger. The row says what we were about to write before
it is written; see switchboard.domain.calendar.presence for what follows when a process dies in between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.clients.mattermost import MattermostUser
from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarOccurrence, CalendarStatus, CalendarSubscriber
from switchboard.db.repositories import statuses as rows
from switchboard.deadlines import DeadlinePassedError
from switchboard.domain.calendar.occurrences import CANCELLED
from switchboard.domain.calendar.presence import (
    Action,
    Decision,
    Memory,
    Phase,
    Presence,
    Slot,
    Wanted,
    decide,
    decide_unseen,
    presence_at,
)
from switchboard.domain.custom_status import CustomStatus
from switchboard.domain.portions import portions
from switchboard.errors import (
    AuthError,
    LockLostError,
    NotFoundError,
    PermanentError,
    RemoteRejectedError,
    RemoteUnavailableError,
    TransientError,
)
from switchboard.logs import get_logger
from switchboard.texts.locales import Texts
from switchboard.texts.statuses import status_text

LEASE = timedelta(seconds=90)
"""Longer than the task may run and its last call may take: nobody writes after another has taken the row over."""
LOOK_AHEAD = timedelta(days=7)
LONGEST_PAST = timedelta(days=31)
CHAIN_PAST = timedelta(days=1)
"""Meetings of that long ago may begin the block that is under way."""
FIRST_RETRY = timedelta(seconds=15)
LONGEST_RETRY = timedelta(minutes=5)
RETRY_REFUSED = timedelta(hours=1)
FORGET_AFTER = timedelta(days=7)
FAILURES_THAT_MEAN_ALL = 2

log = get_logger(__name__)


class Problem(StrEnum):
    """What keeps us from changing a status."""

    NO_RIGHT = "no_right"
    SWITCHED_OFF = "switched_off"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a reason, no token
    DEACTIVATED = "deactivated"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


class StatusServer(Protocol):
    """What is needed of `switchboard.clients.mattermost.MattermostClient`."""

    def user(self, user_id: str) -> MattermostUser: ...

    def set_custom_status(self, user_id: str, status: CustomStatus) -> None: ...

    def clear_custom_status(self, user_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class StatusView:
    """How things stand with a person's status.

    `shown_until` is the end of ours, `left_alone_until` that of a block in which the person set one by hand; `next_at` is the
    begin of the next meeting that counts; `problem` says what kept us from the last change, since `problem_at`.
    """

    shown_until: datetime | None = None
    left_alone_until: datetime | None = None
    next_at: datetime | None = None
    problem: Problem | None = None
    problem_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a person's status should be; `is_wanted` is whether they want any, `looks_at` when it may have to change."""

    is_wanted: bool
    wanted: Wanted | None
    looks_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Work:
    """One person's row in the hands of one worker; `memory` is that of the beginning, `woken` tells later wake-ups."""

    user_id: str
    fence: int
    woken: int
    plan: _Plan
    memory: Memory


class _DeactivatedError(PermanentError):
    """Nobody sees the status of a deactivated user."""


class Statuses:
    """Makes custom statuses what the meetings ask for."""

    def __init__(self, database: Database, server: StatusServer, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._server = server
        self._clock = clock

    def claim_due(self, *, limit: int = 5_000, batch: int = 20) -> list[dict[str, int]]:
        """Claim the statuses that may have to change; return batches for `reconcile`. A lost batch is due again after 90 s."""
        now = self._clock()
        with self._database.write() as session:
            claims = list(rows.claim_due(session, now, now + LEASE, limit).items())
        return [dict(some) for some in portions(claims, batch)]

    def reconcile(self, claims: Mapping[str, int]) -> int:
        """Make the claimed statuses what they should be; return how many were written.

        Idempotent, and safe against a death at any step and a second worker with the same claims. Failures are kept in the
        rows and tried again from there. Where Mattermost failed twice running, the rest of the batch does not ask it.
        """
        written = failures = 0
        outage: TransientError | None = None
        for user_id, fence in claims.items():
            work = self._begin(user_id, fence)
            if work is None:
                continue
            try:
                changed, error = self._attempt(work, outage)
            except LockLostError:
                log.warning("custom_status_taken_over", user_id=user_id)
                continue
            written += changed
            failures = 0 if error is None else failures + 1
            outage = error if failures >= FAILURES_THAT_MEAN_ALL else None
        return written

    def list_all(self) -> list[tuple[str, StatusView]]:
        """User ids of everybody who wants a status or still has ours, and how things stand with theirs."""
        now = self._clock()
        with self._database.read() as session:
            user_ids = session.scalars(
                select(CalendarStatus.mattermost_user_id).order_by(CalendarStatus.mattermost_user_id)
            )
            return [(user_id, status_view(session, user_id, now)) for user_id in user_ids.all()]

    def retry_refused(self) -> None:
        """Try again soon what was refused: the bot may have got its rights."""
        with self._database.write() as session:
            rows.wake_refused(session, self._clock())

    def _begin(self, user_id: str, fence: int) -> _Work | None:
        """Take the row; None where there is nothing to ask the server, and then all is recorded."""
        now = self._clock()
        with self._database.write() as session:
            row = rows.begin(session, user_id, fence, now + LEASE)
            if row is None:
                return None
            work = _Work(user_id, row.fence, row.woken, _plan(session, user_id, now), rows.memory_of(row))
            unseen = decide_unseen(work.memory, work.plan.wanted)
            if unseen is not None:
                _finish(session, row, work, unseen, work.plan.looks_at)
                return None
            if row.retry_at is not None and row.retry_at > now:
                _finish(session, row, work, work.memory, row.retry_at)
                return None
            return work

    def _attempt(self, work: _Work, outage: TransientError | None) -> tuple[bool, TransientError | None]:
        """Whether the status was written, and the failure that the next one may meet too."""
        try:
            if outage is not None:
                raise outage
            return self._settle(work), None
        except LockLostError:
            raise
        except TransientError as error:
            self._put_off(work, error)
            return False, error
        except PermanentError as error:
            self._put_off(work, error)
            return False, None

    def _settle(self, work: _Work) -> bool:
        """Look, decide, write, record; whether anything was written."""
        decision = self._decide(work)
        try:
            self._write(work, decision)
        except DeadlinePassedError:
            raise
        except RemoteUnavailableError:  # the answer was lost: what became of it?
            decision = self._decide(work)
            self._write(work, decision)
        with self._database.write() as session:
            row = rows.hold(session, work.user_id, work.fence)
            row.problem, row.problem_at, row.retry_at, row.failures = None, None, None, 0
            _finish(session, row, work, decision.written(), work.plan.looks_at)
        return decision.action is not Action.LEAVE

    def _decide(self, work: _Work) -> Decision:
        """Look at the server and store what we are about to do."""
        user = self._server.user(work.user_id)
        if user.deactivated:
            raise _DeactivatedError("the user is deactivated")
        with self._database.write() as session:
            row = rows.hold(session, work.user_id, work.fence)
            decision = decide(rows.memory_of(row), work.plan.wanted, user.custom_status, self._clock())
            if decision.action is not Action.LEAVE:
                rows.remember(row, decision.memory)
        return decision

    def _write(self, work: _Work, decision: Decision) -> None:
        if decision.status is not None:
            self._server.set_custom_status(work.user_id, decision.status)
        elif decision.action is Action.CLEAR:
            self._server.clear_custom_status(work.user_id)

    def _put_off(self, work: _Work, error: TransientError | PermanentError) -> None:
        """Keep what went wrong, and when to try again. A refusal is certain: nothing of ours was written."""
        now = self._clock()
        with self._database.write() as session:
            row = rows.hold(session, work.user_id, work.fence)
            memory = work.memory if isinstance(error, PermanentError) else rows.memory_of(row)
            if isinstance(error, DeadlinePassedError):
                _finish(session, row, work, memory, now)
                return
            problem, wait = _problem(error, row.failures)
            if problem != row.problem:
                log.warning("custom_status_not_changed", user_id=work.user_id, problem=problem.value, error=str(error))
            if not work.plan.is_wanted and problem is not Problem.UNREACHABLE and _is_long_over(memory, now):
                session.delete(row)
                return
            row.problem, row.problem_at = problem.value, row.problem_at if row.problem == problem else now
            row.retry_at, row.failures = now + wait, row.failures + 1
            _finish(session, row, work, memory, row.retry_at)


def status_view(session: Session, mattermost_user_id: str, now: datetime) -> StatusView:
    """How things stand with a person's status; from the store alone."""
    row = session.get(CalendarStatus, mattermost_user_id)
    presence, _ = _presence(session, mattermost_user_id, now)
    memory = rows.memory_of(row) if row is not None else Memory()
    shown = [one.expires_at for one in memory.written if one.expires_at is not None and not one.is_over(now)]
    hands_off = (
        memory.hands_off_since is not None
        and presence.block is not None
        and presence.block.begin <= memory.hands_off_since
    )
    return StatusView(
        shown_until=max(shown) if shown and memory.phase is Phase.SHOWN else None,
        left_alone_until=presence.block.end if hands_off and presence.block is not None else None,
        next_at=presence.changes_at if presence.block is None else None,
        problem=Problem(row.problem) if row is not None and row.problem is not None else None,
        problem_at=row.problem_at if row is not None else None,
    )


def _plan(session: Session, user_id: str, now: datetime) -> _Plan:
    presence, locale = _presence(session, user_id, now)
    if locale is None:
        return _Plan(is_wanted=False, wanted=None, looks_at=None)
    text = status_text(Texts.for_locale(locale))
    wanted = Wanted.during(presence.block, text) if presence.block is not None else None
    return _Plan(is_wanted=True, wanted=wanted, looks_at=presence.changes_at or now + LOOK_AHEAD)


def _presence(session: Session, user_id: str, now: datetime) -> tuple[Presence, str | None]:
    """Whether somebody is in a meeting, and their language; None for the language of somebody who wants no status."""
    subscriber = session.execute(
        select(CalendarSubscriber.id, CalendarSubscriber.locale).where(
            CalendarSubscriber.mattermost_user_id == user_id, CalendarSubscriber.status_enabled
        )
    ).first()
    if subscriber is None:
        return Presence(None, None), None
    # Not one join: PostgreSQL would begin it with everybody's meetings of those days.
    accounts = session.scalars(select(CalendarAccount.id).where(CalendarAccount.subscriber_id == subscriber.id)).all()
    found = session.execute(
        select(
            CalendarOccurrence.start_at,
            CalendarOccurrence.end_at,
            CalendarOccurrence.all_day,
            CalendarOccurrence.details["transparent"].as_boolean().label("transparent"),
            CalendarOccurrence.declined,
            CalendarOccurrence.details["status"].as_string().label("status"),
        ).where(
            CalendarOccurrence.account_id.in_(accounts),
            CalendarOccurrence.start_at > now - LONGEST_PAST,
            CalendarOccurrence.start_at <= now + LOOK_AHEAD,
            CalendarOccurrence.end_at > now - CHAIN_PAST,
        )
    )
    slots = (
        Slot(
            start=row.start_at,
            end=row.end_at,
            all_day=row.all_day,
            transparent=bool(row.transparent),
            declined=row.declined,
            cancelled=row.status == CANCELLED,
        )
        for row in found
    )
    return presence_at(slots, now), subscriber.locale


def _finish(session: Session, row: CalendarStatus, work: _Work, memory: Memory, due_at: datetime | None) -> None:
    """Free the row until `due_at`; whoever woke it meanwhile has their say. It goes when nobody has use for it."""
    rows.remember(row, memory)
    row.claimed_until = None
    if row.woken != work.woken:
        return
    row.due_at = due_at
    if not work.plan.is_wanted and memory.phase is Phase.FREE:
        session.delete(row)


def _problem(error: TransientError | PermanentError, failures: int) -> tuple[Problem, timedelta]:
    """What an error means for a status, and when to try again."""
    match error:
        case TransientError():
            wait = min(FIRST_RETRY * 2 ** min(failures, 10), LONGEST_RETRY)
            return Problem.UNREACHABLE, max(wait, timedelta(seconds=error.retry_after_s or 0.0))
        case _DeactivatedError() | NotFoundError():
            return Problem.DEACTIVATED, RETRY_REFUSED
        case AuthError():
            return Problem.BAD_TOKEN, RETRY_REFUSED
        case RemoteRejectedError(status=403):
            return Problem.NO_RIGHT, RETRY_REFUSED
        case RemoteRejectedError(status=501):
            return Problem.SWITCHED_OFF, RETRY_REFUSED
        case _:
            return Problem.REFUSED, min(FIRST_RETRY * 2 ** min(failures, 10), RETRY_REFUSED)


def _is_long_over(memory: Memory, now: datetime) -> bool:
    """Whether ours ended so long ago that nobody waits any more for their own from before."""
    return all(one.expires_at is not None and one.expires_at < now - FORGET_AFTER for one in memory.written)
