"""Clicks on the snooze of a reminder: kept at once, shown in its message afterwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from switchboard.db.engine import Database
from switchboard.db.models import Delivery
from switchboard.db.repositories import answers as answer_rows
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.subscribers import lock_clicker, reader_of
from switchboard.domain.calendar.reminders import AT_START, SNOOZE_MINUTES, snooze_ends, snoozed_to
from switchboard.errors import InvalidInputError, PermanentError, RemoteUnavailableError, UncertainError
from switchboard.logs import get_logger
from switchboard.services.calendar.questions import rows_of_message
from switchboard.services.calendar.reminders import reminded_meetings, reminder_key
from switchboard.services.calendar.snoozes import (
    REMINDER_KIND,
    ledger_subject,
    meeting_of,
    reminds_at,
    snoozes_of,
)
from switchboard.services.conversation.answers import ButtonRow

TRIES = 3

log = get_logger(__name__)


class Messages(Protocol):
    """switchboard.services.channels.mattermost.MattermostChannel."""

    def redraw(self, post_id: str, rows: Sequence[ButtonRow], recipient: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Snoozed:
    """When the reminder of the meeting `title` comes (aware UTC); or None, and the word for why not."""

    at: datetime | None
    title: str = ""
    reason: str = ""


class Snoozing:
    """Takes the clicks. Asks no server."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def ask(self, user_id: str, delivery_id: int, choice: int) -> Snoozed:
        """Remind of the meeting of a reminder once more; of one meeting the last click wins.

        `choice` is a number of minutes from now, or AT_START; one that would come after the start comes at the start.
        """
        if choice not in {*SNOOZE_MINUTES, AT_START}:
            raise InvalidInputError("there is no such snooze", field="choice")
        now = self._clock()
        with self._database.write() as session:
            clicked = lock_clicker(session, user_id, delivery_id)
            if clicked is None:
                return Snoozed(None, reason="gone")
            subscriber, body, delivery = clicked
            if delivery.kind != REMINDER_KIND:
                return Snoozed(None, reason="gone")
            meeting = meeting_of(body)
            *_, start = meeting
            if start <= now:
                return Snoozed(None, reason="begun")
            if not subscriber.reminders_enabled:
                return Snoozed(None, reason="off")
            found = reminded_meetings(session, [body]).get(meeting)
            if found is None or meeting[0] != subscriber.id:
                return Snoozed(None, reason="gone")
            new = _delivery(delivery, start, snoozed_to(start, choice, now))
            ledger = DeliveryRepository(session)
            ledger.add([new], now)
            others = [
                one.delivery_id
                for one in snoozes_of(session, [new.subject], now)
                if meeting_of(one.body) == meeting and one.at != new.not_before
            ]
            ledger.withdraw(others, reason="another time was asked for", now=now)
            return Snoozed(new.not_before, found.title)


class ReminderMessages:
    """Shows in a reminder's message what was asked for there."""

    def __init__(self, database: Database, messages: Messages, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._messages = messages
        self._clock = clock

    def show(self, delivery_id: int, post_id: str) -> bool:
        """Give the message the buttons that it should have now; False where it is gone. Safe to repeat; raises TransientError.

        It is looked again afterwards: an answer to the invitation may be shown in the same message at the same time.
        """
        for _ in range(TRIES):
            now = self._clock()
            wanted = self._wanted(delivery_id, now)
            if wanted is None:
                return False
            recipient, rows = wanted
            try:
                self._messages.redraw(post_id, rows, recipient)
            except UncertainError as error:
                raise RemoteUnavailableError(f"the message may not show it yet: {error}") from None
            except PermanentError as error:  # the message is gone, or may not be changed any more
                log.warning("snooze_cannot_be_shown", delivery_id=delivery_id, error=str(error))
                return False
            if self._wanted(delivery_id, now) == wanted:
                return True
        raise RemoteUnavailableError("the message is being changed")

    def _wanted(self, delivery_id: int, now: datetime) -> tuple[str, tuple[ButtonRow, ...]] | None:
        with self._database.read() as session:
            delivery = session.get(Delivery, delivery_id)
            if delivery is None or not delivery.body:
                return None
            subscriber = reader_of(session, delivery.recipient)
            if subscriber is None:
                return None
            answers = answer_rows.of_delivery(session, subscriber.id, delivery.id)
            return delivery.recipient, rows_of_message(session, delivery, subscriber, answers, now)


def _delivery(reminder: Delivery, start: datetime, minutes: int) -> NewDelivery:
    """The ledger's row: the reminder of so many minutes, which its reader asked for."""
    body = {**(reminder.body or {}), "minutes": minutes, "asked": True}
    return NewDelivery(
        channel=reminder.channel,
        kind=REMINDER_KIND,
        key=reminder_key(reminder.recipient, body),
        subject=ledger_subject(reminder.recipient),
        recipient=reminder.recipient,
        body=body,
        expires_at=snooze_ends(start, minutes),
        not_before=reminds_at(body),
    )
