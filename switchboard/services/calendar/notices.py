"""Notices to the owner of a calendar account: it was paused, a calendar vanished, it is back. Each once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.services.channels.channel import Obsolete, Rendered
from switchboard.texts.messages import notice_message

KIND = "calendar.notice"
USEFUL_FOR = timedelta(days=7)


class CalendarNotices:
    """Enters notices in the ledger inside the transaction of what they tell of; renders them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def account_paused(self, session: Session, account: CalendarAccount, now: datetime) -> None:
        """The server refused the password several times; polling stopped until the owner gives a new one."""
        self._add(session, account, "account_paused", f"account:{account.id}", now, login=account.login)

    def calendar_lost(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None:
        """The server does not show a watched calendar any more."""
        self._add(session, account, "calendar_lost", f"calendar:{calendar.id}", now, calendar=calendar.name)

    def calendar_back(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None:
        """A lost calendar answers again."""
        self._add(session, account, "calendar_back", f"calendar:{calendar.id}", now, calendar=calendar.name)

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        """See Renderer."""
        rendered: dict[int, Rendered | Obsolete] = {}
        with self._database.read() as session:
            for delivery in deliveries:
                subscriber = session.get(CalendarSubscriber, delivery.body["subscriber_id"])
                rendered[delivery.id] = (
                    Obsolete("the account was disconnected") if subscriber is None else _render(delivery, subscriber)
                )
        return rendered

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
                    body={"subscriber_id": subscriber.id, "notice": notice, **facts},
                    expires_at=now + USEFUL_FOR,
                )
            ],
            now,
        )


def _render(delivery: ClaimedDelivery, subscriber: CalendarSubscriber) -> Rendered:
    facts = {name: value for name, value in delivery.body.items() if name not in ("subscriber_id", "notice")}
    return Rendered(
        notice_message(delivery.body["notice"], facts, locale=subscriber.locale), address=subscriber.dm_channel_id
    )
