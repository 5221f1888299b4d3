"""People who are deactivated in Mattermost: their accounts are paused, and go on by themselves when they are back.

Mattermost takes messages for a deactivated person without a word (its server refuses neither the post nor the direct channel),
so nobody would notice: everybody is looked at regularly, 200 people with one call. Settings are kept, and nobody is told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarSubscriber
from switchboard.db.repositories import statuses
from switchboard.db.repositories.calendars import ACTIVE, PAUSED
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.db.repositories.subscribers import lock_accounts, lock_subscriber
from switchboard.domain.portions import portions
from switchboard.logs import get_logger
from switchboard.services import audit
from switchboard.services.calendar.agendas import schedule_next
from switchboard.services.calendar.expansion import rearm
from switchboard.services.calendar.polling import AUTH_FAILURES_TO_PAUSE

REASON = "the person is deactivated in Mattermost"
PEOPLE_A_CALL = 200

log = get_logger(__name__)


class Registry(Protocol):
    """Who may sign in to Mattermost."""

    def deactivated(self, user_ids: Sequence[str]) -> Mapping[str, bool]:
        """Whether each of at most 200 users is deactivated; who does not exist is left out. Raises TransientError."""


class Deactivations:
    """Follows what the administrators of Mattermost do with people."""

    def __init__(self, database: Database, registry: Registry, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._registry = registry
        self._clock = clock

    def follow(self) -> int:
        """Pause who was deactivated, let go on who is back; return how many changed. Idempotent.

        A person whom Mattermost does not know at all is left as they are: that may be another server by mistake.
        """
        with self._database.read() as session:
            known = {row.mattermost_user_id: row for row in session.execute(_everybody())}
        changed = 0
        for user_ids in portions(known, PEOPLE_A_CALL):
            for user_id, deactivated in self._registry.deactivated(user_ids).items():
                person = known[user_id]
                is_stopped = person.deactivated_at is not None and not person.is_polled
                if deactivated and not is_stopped:
                    self._change(person.id, _stop)
                elif not deactivated and person.deactivated_at is not None:
                    self._change(person.id, _go_on)
                else:
                    continue
                changed += 1
        return changed

    def _change(self, subscriber_id: int, change: Callable[[Session, CalendarSubscriber, datetime], str]) -> None:
        now = self._clock()
        with self._database.write() as session:
            subscriber = lock_subscriber(session, subscriber_id)
            if subscriber is None:
                return
            action = change(session, subscriber, now)
            schedule_next(subscriber, now)
            session.flush()
            rearm(session, subscriber_id, now)
            if subscriber.deactivated_at is not None:
                subject = f"mattermost:{subscriber.mattermost_user_id}"
                DeliveryRepository(session).give_up(subject, reason=REASON, now=now)
            audit.record(
                session,
                actor="mattermost",
                action=f"calendar_subscriber.{action}",
                subject=f"calendar_subscriber:{subscriber_id}",
                now=now,
            )
            statuses.wake(session, subscriber.mattermost_user_id, now)
        log.info("calendar_person_followed", subscriber_id=subscriber_id, action=action)


def _everybody() -> Select[int, str, datetime | None, bool]:
    is_polled = exists().where(CalendarAccount.subscriber_id == CalendarSubscriber.id, CalendarAccount.state == ACTIVE)
    return select(
        CalendarSubscriber.id,
        CalendarSubscriber.mattermost_user_id,
        CalendarSubscriber.deactivated_at,
        is_polled.label("is_polled"),
    ).order_by(CalendarSubscriber.id)


def _stop(session: Session, subscriber: CalendarSubscriber, now: datetime) -> str:
    """Pause what is polled; what was not sent yet is given up."""
    subscriber.deactivated_at = now
    for account in _accounts(session, subscriber):
        if account.state == ACTIVE:
            account.state, account.reason, account.paused_at = PAUSED, REASON, now
    return "deactivated"


def _go_on(session: Session, subscriber: CalendarSubscriber, now: datetime) -> str:
    """Poll again, at once; an account whose password was refused stays paused for that."""
    subscriber.deactivated_at = None
    for account in _accounts(session, subscriber):
        if account.state == PAUSED and account.auth_failures < AUTH_FAILURES_TO_PAUSE:
            account.state, account.reason, account.paused_at, account.next_poll_at = ACTIVE, None, None, now
    return "activated"


def _accounts(session: Session, subscriber: CalendarSubscriber) -> Sequence[CalendarAccount]:
    ids = lock_accounts(session, subscriber.id)
    return session.scalars(select(CalendarAccount).where(CalendarAccount.id.in_(ids))).all()
