"""What changed objects showed before, kept until their owner was told.

`take` runs in the transaction that changes or removes the objects, under the lock of their account; the same lock keeps
`take` out while somebody reads, tells and forgets.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnExpressionArgument, delete, exists, or_, select
from sqlalchemy.orm import Session, aliased

from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarSnapshot,
    CalendarSubscriber,
)
from switchboard.db.upsert import MAX_PARAMETERS, insert_new
from switchboard.domain.portions import portions

_OfAccount = aliased(Calendar)


@dataclass(frozen=True, slots=True)
class ReadySnapshot:
    """A snapshot whose changes can be told; `object_id` is None where the object is gone."""

    id: int
    calendar_id: int
    before: Sequence[Mapping[str, Any]]
    known: bool
    until: datetime | None
    object_id: int | None


def take(session: Session, calendar_id: int, hrefs: Collection[str], now: datetime) -> None:
    """Keep what these objects show now, new ones among them; an older snapshot that nobody was told of stands.

    An object that was never expanded before its change has no old state that anybody saw: nothing is told of it.
    """
    for some in portions(hrefs, MAX_PARAMETERS - 10):
        objects = session.execute(
            select(
                CalendarObject.id,
                CalendarObject.href,
                CalendarObject.expanded_until,
                CalendarObject.needs_expansion,
                CalendarObject.unreadable,
            ).where(CalendarObject.calendar_id == calendar_id, CalendarObject.href.in_(some))
        ).all()
        shown: dict[int, list[dict[str, Any]]] = {}
        for row in session.execute(
            select(CalendarOccurrence.object_id, CalendarOccurrence.details)
            .where(CalendarOccurrence.object_id.in_([one.id for one in objects]))
            .order_by(CalendarOccurrence.start_at)
        ):
            shown.setdefault(row.object_id, []).append(row.details)
        known = {one.href for one in objects}
        rows = [
            _row(calendar_id, one.href, shown.get(one.id, []), known=True, until=one.expanded_until, now=now)
            for one in objects
            if one.id in shown or one.expanded_until is not None or not (one.needs_expansion or one.unreadable)
        ]
        rows += [_row(calendar_id, href, [], known=False, until=None, now=now) for href in some if href not in known]
        insert_new(session, CalendarSnapshot, rows, CalendarSnapshot.id)


def subscribers_with_changes(session: Session, now: datetime, limit: int) -> list[int]:
    """Whom there may be something to tell at `now`; without those whose quiet hours go on, and the deactivated."""
    return list(
        session.scalars(
            select(CalendarAccount.subscriber_id)
            .join(Calendar, Calendar.account_id == CalendarAccount.id)
            .join(CalendarSnapshot, CalendarSnapshot.calendar_id == Calendar.id)
            .join(CalendarSubscriber, CalendarSubscriber.id == CalendarAccount.subscriber_id)
            .where(
                *_told_now(now),
                CalendarSubscriber.deactivated_at.is_(None),
                or_(CalendarSubscriber.changes_held_until.is_(None), CalendarSubscriber.changes_held_until <= now),
            )
            .distinct()
            .order_by(CalendarAccount.subscriber_id)
            .limit(limit)
        )
    )


def ready_snapshots(session: Session, subscriber_id: int, now: datetime) -> list[ReadySnapshot]:
    """The subscriber's snapshots whose calendars are polled and expanded to the end."""
    rows = session.execute(
        select(
            CalendarSnapshot.id,
            CalendarSnapshot.calendar_id,
            CalendarSnapshot.before,
            CalendarSnapshot.known,
            CalendarSnapshot.until,
            CalendarObject.id.label("object_id"),
        )
        .join(Calendar, Calendar.id == CalendarSnapshot.calendar_id)
        .join(CalendarAccount, CalendarAccount.id == Calendar.account_id)
        .outerjoin(
            CalendarObject,
            (CalendarObject.calendar_id == CalendarSnapshot.calendar_id)
            & (CalendarObject.href == CalendarSnapshot.href),
        )
        .where(CalendarAccount.subscriber_id == subscriber_id, *_told_now(now))
        .order_by(CalendarSnapshot.id)
    )
    return [ReadySnapshot(*row) for row in rows]


def forget(session: Session, ids: Sequence[int]) -> None:
    """Delete snapshots that were told."""
    for some in portions(ids, MAX_PARAMETERS - 10):
        session.execute(
            delete(CalendarSnapshot).where(CalendarSnapshot.id.in_(some)).execution_options(synchronize_session=False)
        )


def _told_now(now: datetime) -> tuple[ColumnExpressionArgument[bool], ...]:
    """When a snapshot can be compared: no poll of its account is under way or half done, and all is expanded.

    One whose object cannot be read waits until it can, because what is missing then was not cancelled.
    """
    waiting = (
        select(CalendarObject.id)
        .join(_OfAccount, _OfAccount.id == CalendarObject.calendar_id)
        .where(_OfAccount.account_id == CalendarAccount.id, _OfAccount.watched, CalendarObject.needs_expansion)
    )
    unreadable = select(CalendarObject.id).where(
        CalendarObject.calendar_id == CalendarSnapshot.calendar_id,
        CalendarObject.href == CalendarSnapshot.href,
        CalendarObject.unreadable,
    )
    return (
        Calendar.watched,
        ~Calendar.half_polled,
        or_(CalendarAccount.claimed_until.is_(None), CalendarAccount.claimed_until < now),
        ~exists(waiting.correlate(CalendarAccount)),
        ~exists(unreadable.correlate(CalendarSnapshot)),
    )


def _row(
    calendar_id: int, href: str, before: list[dict[str, Any]], *, known: bool, until: datetime | None, now: datetime
) -> dict[str, Any]:
    return {
        "calendar_id": calendar_id,
        "href": href,
        "before": before,
        "known": known,
        "until": until,
        "taken_at": now,
    }
