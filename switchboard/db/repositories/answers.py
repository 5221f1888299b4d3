"""Rows of answers to invitations.

Whoever works on an answer holds it by `fence` for a time; what it found is recorded only while the wish is the one it
worked on (`version`). A newer wish finds the row held and is taken up by the same holder.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, or_, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import AnswerState, CalendarAnswer


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person has just clicked, and where."""

    subscriber_id: int
    uid: str
    recurrence_id: str
    partstat: str
    give_up_at: datetime
    delivery_id: int
    post_id: str


@dataclass(frozen=True, slots=True)
class HeldAnswer:
    """An answer in the hands of one worker, as it was read last."""

    id: int
    subscriber_id: int
    uid: str
    recurrence_id: str
    partstat: str
    state: str
    reason: str | None
    version: int
    shown_version: int
    attempts: int
    give_up_at: datetime
    due_at: datetime | None
    fence: int
    delivery_id: int
    post_id: str


_HELD = [getattr(CalendarAnswer, name) for name in HeldAnswer.__slots__]


def ask(session: Session, wish: Wish, now: datetime) -> int:
    """Enter a wish, or put it in the place of an older one for the same meeting; return the row's id.

    The caller holds the subscriber's row, so that no two wishes of one person are entered at once.
    """
    row = session.scalars(
        select(CalendarAnswer).where(
            CalendarAnswer.subscriber_id == wish.subscriber_id,
            CalendarAnswer.uid == wish.uid,
            CalendarAnswer.recurrence_id == wish.recurrence_id,
        )
    ).one_or_none()
    if row is None:
        row = CalendarAnswer(
            subscriber_id=wish.subscriber_id,
            uid=wish.uid,
            recurrence_id=wish.recurrence_id,
            version=0,
            # A database that was restored gives ids again: whoever still works on one must not take another for it.
            fence=secrets.randbelow(1 << 30),
        )
        session.add(row)
    row.partstat, row.state, row.reason = wish.partstat, AnswerState.WAITING, None
    row.version, row.attempts = row.version + 1, 0
    row.asked_at, row.due_at, row.give_up_at = now, now, wish.give_up_at
    row.delivery_id, row.post_id = wish.delivery_id, wish.post_id
    session.flush()
    return row.id


def claim(session: Session, answer_id: int, now: datetime, until: datetime) -> HeldAnswer | None:
    """Take an answer with work that is due; None where there is none, or somebody has it."""
    row = session.execute(
        update(CalendarAnswer)
        .where(
            CalendarAnswer.id == answer_id,
            CalendarAnswer.due_at <= now,
            or_(CalendarAnswer.claimed_until.is_(None), CalendarAnswer.claimed_until <= now),
        )
        .values(claimed_until=until, fence=CalendarAnswer.fence + 1)
        .returning(*_HELD)
        .execution_options(synchronize_session=False)
    ).first()
    return HeldAnswer(*row) if row else None


def read_held(session: Session, held: HeldAnswer) -> HeldAnswer | None:
    """The answer as it is now, with a newer wish perhaps; None when the claim was lost."""
    row = session.execute(
        select(*_HELD).where(CalendarAnswer.id == held.id, CalendarAnswer.fence == held.fence)
    ).first()
    return HeldAnswer(*row) if row else None


def hold(session: Session, held: HeldAnswer, until: datetime) -> bool:
    """Prove that the wish is still wanted and ours to write, and lengthen the claim."""
    return _update(session, held, {"claimed_until": until})


def record(session: Session, held: HeldAnswer, **changes: Any) -> bool:
    """Change what the message has to show; False where there is a newer wish, or the claim was lost."""
    return _update(session, held, {**changes, "version": held.version + 1})


def release(session: Session, held: HeldAnswer, due_at: datetime | None) -> bool:
    """Give the claim back; what is left to do is due then. False where there is a newer wish, or the claim was lost."""
    return _update(session, held, {"claimed_until": None, "due_at": due_at})


def let_go(session: Session, held: HeldAnswer) -> None:
    """Give the claim back with all that is left to do, whatever was wished meanwhile."""
    session.execute(
        update(CalendarAnswer)
        .where(CalendarAnswer.id == held.id, CalendarAnswer.fence == held.fence)
        .values(claimed_until=None)
        .execution_options(synchronize_session=False)
    )


def mark_shown(session: Session, shown: Mapping[int, int]) -> bool:
    """Note the versions, by answer id, that a message shows now; False where one of them is no longer the newest."""
    newest = True
    for answer_id, version in shown.items():
        session.execute(
            update(CalendarAnswer)
            .where(CalendarAnswer.id == answer_id, CalendarAnswer.shown_version < version)
            .values(shown_version=version)
            .execution_options(synchronize_session=False)
        )
        newest = newest and session.scalar(select(CalendarAnswer.version).where(CalendarAnswer.id == answer_id)) in {
            version,
            None,
        }
    return newest


def of_delivery(session: Session, subscriber_id: int, delivery_id: int) -> list[CalendarAnswer]:
    """The answers that were last clicked in one message."""
    return list(
        session.scalars(
            select(CalendarAnswer).where(
                CalendarAnswer.delivery_id == delivery_id, CalendarAnswer.subscriber_id == subscriber_id
            )
        )
    )


def due_ids(session: Session, now: datetime, limit: int) -> list[int]:
    """Answers with work that is due and in nobody's hands."""
    return list(
        session.scalars(
            select(CalendarAnswer.id)
            .where(
                CalendarAnswer.due_at.is_not(None),
                CalendarAnswer.due_at <= now,
                or_(CalendarAnswer.claimed_until.is_(None), CalendarAnswer.claimed_until <= now),
            )
            .order_by(CalendarAnswer.due_at)
            .limit(limit)
        )
    )


def _update(session: Session, held: HeldAnswer, values: Mapping[str, Any]) -> bool:
    result = session.execute(
        update(CalendarAnswer)
        .where(CalendarAnswer.id == held.id, CalendarAnswer.fence == held.fence, CalendarAnswer.version == held.version)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", result).rowcount == 1
