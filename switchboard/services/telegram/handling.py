"""What becomes of received messages: each use of an account (notifications, and others to come) has a handler.

A message is handled at least once: a handler must not mind a repeat. Of a chat they come in order, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from switchboard.db.engine import Database
from switchboard.db.models import TelegramMessage
from switchboard.db.repositories.telegram_inbox import FAILED, HANDLED, InboxRepository
from switchboard.deadlines import current_deadline
from switchboard.logs import get_logger

AT_ONCE = 50
LEASE = timedelta(seconds=90)
TRIES = 8
FIRST_WAIT = timedelta(seconds=5)

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, repr=False)
class Received:
    """A row of the inbox. `kind` is message or button (then `text` is the button's data); `edit` 0 for a message not edited.

    `text` and `media` None: nothing, or erased by retention.
    """

    id: int
    account_id: int
    chat_id: int
    message_id: int
    kind: str
    edit: int
    out: bool
    sender_id: int | None
    text: str | None
    media: Mapping[str, Any] | None
    reply_to: int | None
    album: int | None
    sent_at: datetime
    is_deleted: bool

    @property
    def is_private(self) -> bool:
        """Whether it was written in a chat with one person."""
        return self.chat_id > 0


Handler = Callable[[Received], None]
"""Does what a use of accounts wants done with a message; passes over what does not concern it."""


class InboxHandling:
    """Hands received messages to every handler, and notes that it did."""

    def __init__(self, database: Database, clock: Callable[[], datetime], handlers: Mapping[str, Handler]) -> None:
        self._database = database
        self._clock = clock
        self._handlers = dict(handlers)

    def waiting(self) -> list[int]:
        """Accounts with something to handle."""
        with self._database.read() as session:
            return InboxRepository(session).accounts_waiting(self._clock())

    def handle(self, account_id: int) -> int:
        """Handle what waits for an account until nothing does or the time is over; return how many were handled.

        Several at once do not meet: each takes other rows, and the younger rows of a chat wait for the older.
        """
        total = 0
        while _time_is_left():
            with self._database.write() as session:
                rows = InboxRepository(session).claim(account_id, now=self._clock(), lease=LEASE, limit=AT_ONCE)
            if not rows:
                break
            total += self._handle_rows(rows)
        return total

    def _handle_rows(self, rows: list[TelegramMessage]) -> int:
        handled: list[int] = []
        failed: list[TelegramMessage] = []
        held_back: set[int] = set()  # chats in which one could not be handled
        for row in rows:
            if row.chat_id in held_back:
                failed.append(row)
            elif self._offer(row):
                handled.append(row.id)
            else:
                held_back.add(row.chat_id)
                failed.append(row)
        with self._database.write() as session:
            repository = InboxRepository(session)
            repository.record(handled, HANDLED)
            self._record_failed(repository, failed)
        return len(handled)

    def _record_failed(self, repository: InboxRepository, failed: list[TelegramMessage]) -> None:
        now = self._clock()
        seen: set[int] = set()
        for row in failed:
            if row.chat_id in seen:
                repository.give_back(row.id)
            elif row.attempts + 1 >= TRIES:
                repository.record([row.id], FAILED)
                _log.error("telegram message given up", account_id=row.account_id, row=row.id)
            else:
                repository.record_failed_try(row.id, next_attempt_at=now + FIRST_WAIT * 2**row.attempts)
            seen.add(row.chat_id)

    def _offer(self, row: TelegramMessage) -> bool:
        message = _received(row)
        for use, handler in self._handlers.items():
            try:
                handler(message)
            except Exception as error:  # noqa: BLE001  one message must not hold back all others; the row says it was not done
                _log.error("telegram message not handled", use=use, row=row.id, error=type(error).__name__)
                return False
        return True


def _received(row: TelegramMessage) -> Received:
    return Received(
        id=row.id,
        account_id=row.account_id,
        chat_id=row.chat_id,
        message_id=row.message_id,
        kind=row.kind,
        edit=row.edit,
        out=row.out,
        sender_id=row.sender_id,
        text=row.text,
        media=row.media,
        reply_to=row.reply_to,
        album=row.album,
        sent_at=row.sent_at,
        is_deleted=row.deleted_at is not None,
    )


def _time_is_left() -> bool:
    deadline = current_deadline()
    return deadline is None or deadline.remaining_s() > 0
