"""Notices to the owner of a calendar account: it was paused, a calendar vanished, it is back. Each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber
from switchboard.db.repositories.calendars import LOST, PAUSED
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.db.repositories.subscribers import reader_of
from switchboard.services.channels.channel import Obsolete, Rendered
from switchboard.services.mattermost_commands import TRIGGERS
from switchboard.texts.accounts import account_back_message, account_paused_message, calendar_lost_message
from switchboard.texts.markdown import Message

KIND = "calendar.notice"
USEFUL_FOR = timedelta(days=7)


class CalendarNotices:
    """Enters notices in the ledger inside the transaction of what they tell of; renders them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def account_paused(self, session: Session, account: CalendarAccount, now: datetime) -> None:
        """The server refused the password several times; polling stopped until the owner gives a new one."""
        self._add(session, account, "account_paused", f"account:{account.id}", now)

    def calendar_lost(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None:
        """The server does not show a watched calendar any more."""
        self._add(
            session,
            account,
            "calendar_lost",
            f"calendar:{calendar.id}",
            now,
            calendar_id=calendar.id,
            calendar=calendar.name,
        )

    def calendar_back(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None:
        """A lost calendar answers again."""
        self._add(session, account, "calendar_back", f"calendar:{calendar.id}", now, calendar_id=calendar.id)

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        """See Renderer. What is not so any more is not told."""
        with self._database.read() as session:
            return {delivery.id: _render(session, delivery) for delivery in deliveries}

    def _add(
        self, session: Session, account: CalendarAccount, notice: str, about: str, now: datetime, **facts: Any
    ) -> None:
        subscriber = session.get_one(CalendarSubscriber, account.subscriber_id)
        DeliveryRepository(session).add(
            [
                NewDelivery(
                    channel="mattermost",
                    kind=KIND,
                    key=f"{notice}|{about}|{now.isoformat()}",
                    subject=f"mattermost:{subscriber.mattermost_user_id}",
                    recipient=subscriber.mattermost_user_id,
                    body={
                        "subscriber_id": subscriber.id,
                        "notice": notice,
                        "account_id": account.id,
                        "login": account.login,
                        **facts,
                    },
                    expires_at=now + USEFUL_FOR,
                )
            ],
            now,
        )


def _render(session: Session, delivery: ClaimedDelivery) -> Rendered | Obsolete:
    account = session.get(CalendarAccount, delivery.body["account_id"])
    subscriber = reader_of(session, delivery.recipient)
    if account is None or subscriber is None or account.subscriber_id != subscriber.id:
        return Obsolete("the account was disconnected")
    if delivery.body["notice"] == "account_paused":
        if account.state != PAUSED:
            return Obsolete("the account works again")
    else:
        calendar = session.get(Calendar, delivery.body["calendar_id"])
        if calendar is None or not calendar.watched:
            return Obsolete("the calendar is not watched any more")
        if (calendar.state == LOST) != (delivery.body["notice"] == "calendar_lost"):
            return Obsolete("the calendar's state has changed again")
    return Rendered(_message(delivery.body, subscriber.locale), address=subscriber.dm_channel_id)


def _message(body: Mapping[str, Any], locale: str) -> Message:
    """What the owner reads, with the command that helps."""
    if body["notice"] == "account_paused":
        command = f"/{TRIGGERS[0]} connections update"
        return account_paused_message(body["login"], command, locale)
    if body["notice"] == "calendar_lost":
        command = f"/{TRIGGERS[0]} notifications update"
        return calendar_lost_message(body["calendar"], body["login"], command, locale)
    return account_back_message(body["login"], locale)
