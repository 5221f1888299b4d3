"""What operators look at: lists and counts over other aggregates' tables, read-only and without texts or secrets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Row, and_, case, func, or_, select
from sqlalchemy.orm import Session

from switchboard.db.models import (
    OPEN_STATES,
    CalendarAccount,
    CalendarSubscriber,
    Delivery,
    DeliveryState,
    TelegramAccount,
    TelegramShard,
)
from switchboard.db.repositories.telegram import database_now
from switchboard.domain.telegram.states import AccountState


def account_rows(session: Session) -> Sequence[Row[CalendarAccount, str]]:
    """Every calendar account with the Mattermost user id of its owner, oldest first."""
    query = select(CalendarAccount, CalendarSubscriber.mattermost_user_id).join(
        CalendarSubscriber, CalendarSubscriber.id == CalendarAccount.subscriber_id
    )
    return session.execute(query.order_by(CalendarAccount.id)).all()


def account_row(session: Session, account_id: int) -> Row[CalendarAccount, str] | None:
    """One calendar account with the Mattermost user id of its owner."""
    query = select(CalendarAccount, CalendarSubscriber.mattermost_user_id).join(
        CalendarSubscriber, CalendarSubscriber.id == CalendarAccount.subscriber_id
    )
    return session.execute(query.where(CalendarAccount.id == account_id)).first()


def delivery_rows(session: Session, *, state: str | None, before_id: int | None, limit: int) -> Sequence[Delivery]:
    """Deliveries, newest first."""
    query = select(Delivery).order_by(Delivery.id.desc()).limit(limit)
    if state is not None:
        query = query.where(Delivery.state == state)
    if before_id is not None:
        query = query.where(Delivery.id < before_id)
    return session.scalars(query).all()


def account_counts(session: Session) -> dict[str, int]:
    """Calendar accounts by state."""
    query = select(CalendarAccount.state, func.count()).group_by(CalendarAccount.state)
    return dict(session.execute(query).all())


def telegram_account_counts(session: Session, now: datetime) -> dict[str, int]:
    """Telegram accounts by state; those whose holder is gone count as offline, whatever it said last."""
    held = TelegramAccount.state.in_((AccountState.ONLINE, AccountState.FLOOD_LIMITED))
    orphaned = or_(TelegramShard.leased_until.is_(None), TelegramShard.leased_until < database_now(session, now))
    state = case((and_(held, orphaned), AccountState.OFFLINE.value), else_=TelegramAccount.state)
    query = (
        select(state, func.count())
        .select_from(TelegramAccount)
        .outerjoin(TelegramShard, TelegramShard.shard == TelegramAccount.shard)
        .group_by(state)
    )
    return {row[0]: row[1] for row in session.execute(query)}


def open_delivery_counts(session: Session) -> dict[tuple[str, str], int]:
    """Open deliveries by channel and state."""
    query = select(Delivery.channel, Delivery.state, func.count()).where(Delivery.state.in_(OPEN_STATES))
    rows = session.execute(query.group_by(Delivery.channel, Delivery.state))
    return {(channel, state): count for channel, state, count in rows}


def finished_delivery_counts(session: Session, *, since: datetime) -> dict[tuple[str, str], int]:
    """Deliveries that ended at or after `since`, by channel and state."""
    query = select(Delivery.channel, Delivery.state, func.count()).where(Delivery.finished_at >= since)
    rows = session.execute(query.group_by(Delivery.channel, Delivery.state))
    return {(channel, state): count for channel, state, count in rows}


def oldest_open_deliveries(session: Session, now: datetime) -> dict[str, datetime]:
    """Since when the oldest open delivery of each channel could have been sent: entered, or put off until then."""
    put_off = and_(Delivery.state == DeliveryState.PENDING, Delivery.claimed_until.is_not(None))
    since = case((put_off, Delivery.claimed_until), else_=Delivery.created_at)
    query = select(Delivery.channel, func.min(since)).where(Delivery.state.in_(OPEN_STATES), since <= now)
    return dict(session.execute(query.group_by(Delivery.channel)).all())
