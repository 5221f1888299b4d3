"""Rows of people with calendars, locked in the order of every writer: subscriber, accounts, then what hangs on them.

Polls hold their account while they write its objects, so whoever writes a person's objects, occurrences or reminders locks
the accounts first: without it each could wait for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import null, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import CalendarAccount, CalendarSubscriber, Delivery, DeliveryState


def lock_subscriber(session: Session, subscriber_id: int) -> CalendarSubscriber | None:
    """The person's row, locked to the end of the transaction; None where it is gone."""
    return session.get(CalendarSubscriber, subscriber_id, with_for_update=True, populate_existing=True)


def lock_accounts(session: Session, subscriber_id: int) -> list[int]:
    """Ids of the person's accounts, which no poll can write to until the transaction ends. The caller holds the person."""
    return list(
        session.scalars(
            select(CalendarAccount.id)
            .where(CalendarAccount.subscriber_id == subscriber_id)
            .order_by(CalendarAccount.id)
            .with_for_update(key_share=True)
        )
    )


def reader_of(session: Session, mattermost_user_id: str) -> CalendarSubscriber | None:
    """The reader of a message. Not by the id in its body: who disconnected and connected again has another."""
    return session.scalars(
        select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == mattermost_user_id)
    ).one_or_none()


def lock_clicker(
    session: Session, mattermost_user_id: str, delivery_id: int
) -> tuple[CalendarSubscriber, dict[str, Any], Delivery] | None:
    """Who clicked in a message, what it says (its body), and the message; None where one is gone or it is not theirs.

    The person is locked to the end of the transaction: clicks of one person come one after the other.
    """
    subscriber = session.scalars(
        select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == mattermost_user_id).with_for_update()
    ).one_or_none()
    delivery = session.get(Delivery, delivery_id)
    if subscriber is None or delivery is None or delivery.recipient != mattermost_user_id or not delivery.body:
        return None
    return subscriber, delivery.body, delivery


def forget_messages(session: Session, mattermost_user_id: str, kinds: Sequence[str], now: datetime) -> None:
    """Send none of these kinds that waits, and erase what the others said. One that is being sent is left to retention."""
    theirs = (Delivery.subject == f"mattermost:{mattermost_user_id}", Delivery.kind.in_(kinds))
    session.execute(
        update(Delivery)
        .where(*theirs, Delivery.state == DeliveryState.PENDING)
        .values(
            state=DeliveryState.EXPIRED, reason="the calendar was disconnected", finished_at=now, claimed_until=None
        )
        .execution_options(synchronize_session=False)
    )
    session.execute(
        update(Delivery)
        .where(*theirs, Delivery.finished_at.is_not(None))
        .values(body=null())
        .execution_options(synchronize_session=False)
    )
