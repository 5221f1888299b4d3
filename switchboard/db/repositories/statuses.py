"""Rows of custom statuses: woken by whatever changes meetings or settings, claimed when due, kept by fence.

A transaction wakes at most one person's row and does so last, so that nobody who holds it waits for anything else. Waking
somebody who wants no status finds no row and costs next to nothing.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from switchboard.db.claims import found_once
from switchboard.db.models import CalendarAccount, CalendarStatus, CalendarSubscriber
from switchboard.domain.calendar.presence import Memory, Phase
from switchboard.domain.custom_status import CustomStatus
from switchboard.errors import LockLostError


def wake_account(session: Session, account_id: int, now: datetime) -> None:
    """The meetings of an account have changed: its owner's status is due."""
    owner = (
        select(CalendarSubscriber.mattermost_user_id)
        .join(CalendarAccount, CalendarAccount.subscriber_id == CalendarSubscriber.id)
        .where(CalendarAccount.id == account_id)
        .scalar_subquery()
    )
    session.execute(
        update(CalendarStatus)
        .where(CalendarStatus.mattermost_user_id == owner)
        .values(due_at=now, woken=CalendarStatus.woken + 1)
        .execution_options(synchronize_session=False)
    )


def wake(session: Session, mattermost_user_id: str, now: datetime) -> None:
    """What a person wants has changed: their status is due, and a refusal of before is no reason to wait."""
    session.execute(
        update(CalendarStatus)
        .where(CalendarStatus.mattermost_user_id == mattermost_user_id)
        .values(due_at=now, woken=CalendarStatus.woken + 1, retry_at=None)
        .execution_options(synchronize_session=False)
    )


def want(session: Session, mattermost_user_id: str, now: datetime) -> None:
    """The same for a person who wants a status: the row is made where there is none."""
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = {
        "mattermost_user_id": mattermost_user_id,
        "due_at": now,
        "woken": 0,
        "fence": 0,
        "phase": Phase.FREE.value,
        "written": [],
        "failures": 0,
    }
    # One statement: between two of them the row could be deleted by a worker that knows of the old wish.
    session.execute(
        insert(CalendarStatus)
        .values(row)
        .on_conflict_do_update(
            index_elements=["mattermost_user_id"],
            set_={"due_at": now, "woken": CalendarStatus.woken + 1, "retry_at": None},
        )
    )


def wake_refused(session: Session, now: datetime) -> None:
    """Everybody's status that could not be changed is due: the rights may have been given."""
    session.execute(
        update(CalendarStatus)
        .where(CalendarStatus.problem.is_not(None))
        .values(due_at=now, woken=CalendarStatus.woken + 1, retry_at=None)
        .execution_options(synchronize_session=False)
    )


def claim_due(session: Session, now: datetime, until: datetime, limit: int) -> dict[str, int]:
    """Claim the statuses that are due, for `until`: user ids with the fence of the claim, those that waited longest first."""
    due = (
        select(CalendarStatus.mattermost_user_id.label("id"))
        .where(
            CalendarStatus.due_at <= now,
            or_(CalendarStatus.claimed_until.is_(None), CalendarStatus.claimed_until < now),
        )
        .order_by(CalendarStatus.due_at)
        .limit(limit)
    )
    claimed = session.execute(
        update(CalendarStatus)
        .where(CalendarStatus.mattermost_user_id.in_(found_once(due)))
        .values(claimed_until=until, fence=CalendarStatus.fence + 1)
        .returning(CalendarStatus.due_at, CalendarStatus.mattermost_user_id, CalendarStatus.fence)
        .execution_options(synchronize_session=False)
    ).all()
    return {row.mattermost_user_id: row.fence for row in sorted(claimed)}


def begin(session: Session, mattermost_user_id: str, fence: int, until: datetime) -> CalendarStatus | None:
    """The row for one worker, under a fence of its own; None when another has begun with this claim, or took it over."""
    row = session.get(CalendarStatus, mattermost_user_id, with_for_update=True)
    if row is None or row.fence != fence:
        return None
    row.fence += 1
    row.claimed_until = until
    return row


def hold(session: Session, mattermost_user_id: str, fence: int) -> CalendarStatus:
    """The row, locked, where it is still ours; LockLostError where another has taken it over."""
    row = session.get(CalendarStatus, mattermost_user_id, with_for_update=True, populate_existing=True)
    if row is None or row.fence != fence:
        raise LockLostError(f"the custom status of {mattermost_user_id} was taken over")
    return row


def memory_of(row: CalendarStatus) -> Memory:
    """What the row remembers."""
    return Memory(
        phase=Phase(row.phase),
        written=tuple(CustomStatus.from_json(one) for one in row.written),
        previous=CustomStatus.from_json(row.previous) if row.previous is not None else None,
        hands_off_since=row.hands_off_since,
    )


def remember(row: CalendarStatus, memory: Memory) -> None:
    """Write it down in the row."""
    row.phase = memory.phase.value
    row.written = [one.to_json() for one in memory.written]
    row.previous = memory.previous.to_json() if memory.previous is not None else None
    row.hands_off_since = memory.hands_off_since
