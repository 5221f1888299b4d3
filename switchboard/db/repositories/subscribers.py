"""Rows of people with calendars, locked in the order of every writer: subscriber, accounts, then what hangs on them.

Polls hold their account while they write its objects, so whoever writes a person's objects, occurrences or reminders locks
the accounts first: without it each could wait for the other.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.models import CalendarAccount, CalendarSubscriber


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
