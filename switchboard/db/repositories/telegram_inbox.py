"""What Telegram accounts received: stored once each, with how far the account stands; and handled after that.

A row is `received`, then `handling` while somebody holds it, then `handled`; `failed` ends a row that no try could handle.
Of a chat nothing is handed out before all that is older in it is through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from switchboard.db.claims import found_once
from switchboard.db.models import TelegramAccount, TelegramChat, TelegramMessage
from switchboard.db.upsert import MAX_PARAMETERS, insert_new
from switchboard.domain.portions import portions
from switchboard.domain.telegram.facts import (
    SERVICE_CHAT,
    Batch,
    ChannelPosition,
    DeletedFact,
    MessageFact,
    Position,
    PressedFact,
    ReadFact,
)
from switchboard.domain.telegram.peers import CHANNEL_BASE

RECEIVED, HANDLING, HANDLED, FAILED = "received", "handling", "handled", "failed"
MESSAGE, BUTTON = "message", "button"


class InboxRepository:
    """The inbox inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # --- storing ----------------------------------------------------------------------------------------------------

    def positions(self, account_id: int) -> tuple[Position | None, dict[int, ChannelPosition]]:
        """How far an account and its channels are stored; None before its first connection."""
        account = self._session.get_one(TelegramAccount, account_id)
        channels = self._session.scalars(
            select(TelegramChat).where(TelegramChat.account_id == account_id, TelegramChat.pts.is_not(None))
        )
        known = {chat.chat_id: ChannelPosition(chat.pts or 0, chat.top_message) for chat in channels}
        if account.pts is None:
            return None, {}
        position = Position(
            account.pts, account.qts or 0, account.date or 0, account.seq or 0, account.top_message or 0
        )
        return position, known

    def store(self, account_id: int, batch: Batch, now: datetime) -> int:
        """Store a batch's facts, in their order, and the position after them. Return how many rows are to be handled."""
        self._lock(account_id)
        news = 0
        together: list[MessageFact | PressedFact] = []
        reads: dict[int, list[ReadFact]] = {}
        for fact in batch.facts:
            match fact:
                case MessageFact() | PressedFact():
                    together.append(fact)
                case DeletedFact():
                    news += self._insert(account_id, together, now)
                    together = []
                    self._mark_deleted(account_id, fact, now)
                case ReadFact():
                    reads.setdefault(fact.chat_id, []).append(fact)
        news += self._insert(account_id, together, now)
        for chat_id in sorted({*reads, *batch.channels}):  # one order for all, so that no two wait for each other
            self._move_chat(account_id, chat_id, batch.channels.get(chat_id), reads.get(chat_id, ()))
        if batch.left:
            self._session.execute(
                update(TelegramChat)
                .where(TelegramChat.account_id == account_id, TelegramChat.chat_id.in_(batch.left))
                .values(pts=None)
            )
        if batch.position is not None:
            self._session.execute(
                update(TelegramAccount)
                .where(TelegramAccount.id == account_id)
                .values(
                    pts=batch.position.pts,
                    qts=batch.position.qts,
                    date=batch.position.date,
                    seq=batch.position.seq,
                    top_message=batch.position.top_message,
                )
            )
        return news

    def forget_chats(self, account_id: int) -> None:
        """Before the first connection of whoever the account is now: nothing is known of chats."""
        self._session.execute(delete(TelegramChat).where(TelegramChat.account_id == account_id))

    def _lock(self, account_id: int) -> None:
        self._session.execute(select(TelegramAccount.id).where(TelegramAccount.id == account_id).with_for_update())

    def _insert(self, account_id: int, facts: Sequence[MessageFact | PressedFact], now: datetime) -> int:
        if not facts:
            return 0
        rows = [{**_row(fact), "account_id": account_id, "stored_at": now, "next_attempt_at": now} for fact in facts]
        table = TelegramMessage
        made = insert_new(self._session, table, rows, table.chat_id, table.message_id, table.edit)
        known = {tuple(row) for row in made}
        changed = 0
        for fact in facts:
            if isinstance(fact, PressedFact) or not fact.edited:
                continue
            if (fact.chat_id, fact.message_id, fact.edit) not in known:
                changed += self._change(account_id, fact, now)
        return len(made) + changed

    def _change(self, account_id: int, fact: MessageFact, now: datetime) -> int:
        """Two edits within a second have one row: the later stands, and is handled again where it says something else."""
        row = self._session.scalars(
            select(TelegramMessage)
            .where(
                TelegramMessage.account_id == account_id,
                TelegramMessage.chat_id == fact.chat_id,
                TelegramMessage.message_id == fact.message_id,
                TelegramMessage.edit == fact.edit,
            )
            .with_for_update()
        ).one()
        values = _row(fact)
        if row.erased_at is not None or (row.text == values["text"] and _file(row.media) == _file(values["media"])):
            return 0
        row.text, row.media = values["text"], values["media"]
        row.state, row.attempts, row.next_attempt_at, row.claimed_until = RECEIVED, 0, now, None
        self._session.flush()
        return 1

    def _mark_deleted(self, account_id: int, fact: DeletedFact, now: datetime) -> None:
        rows = TelegramMessage
        chat = rows.chat_id == fact.chat_id if fact.chat_id is not None else rows.chat_id >= -CHANNEL_BASE
        for some in portions(fact.message_ids, MAX_PARAMETERS // 2):
            self._session.execute(
                update(rows)
                .where(rows.account_id == account_id, rows.message_id.in_(some), chat, rows.deleted_at.is_(None))
                .values(deleted_at=now)
                .execution_options(synchronize_session=False)
            )

    def _move_chat(
        self, account_id: int, chat_id: int, channel: ChannelPosition | None, reads: Iterable[ReadFact]
    ) -> None:
        row = {"account_id": account_id, "chat_id": chat_id, "top_message": 0, "read_in": 0, "read_out": 0}
        insert_new(self._session, TelegramChat, [row], TelegramChat.chat_id)
        chat = self._session.get_one(TelegramChat, (account_id, chat_id), with_for_update=True)
        if channel is not None:
            chat.pts, chat.top_message = channel.pts, channel.top_message
        for read in reads:
            if read.by_us:
                chat.read_in = max(chat.read_in, read.max_id)
            else:
                chat.read_out = max(chat.read_out, read.max_id)
        self._session.flush()

    # --- handling ---------------------------------------------------------------------------------------------------

    def claim(self, account_id: int, *, now: datetime, lease: timedelta, limit: int) -> list[TelegramMessage]:
        """Take the oldest rows that may be handled now, in order."""
        self._lock(account_id)  # or two claims at once could take the younger rows of a chat and leave the older
        older = aliased(TelegramMessage)
        due = (
            select(TelegramMessage.id)
            .where(
                TelegramMessage.account_id == account_id,
                _is_open(TelegramMessage),
                _is_due(TelegramMessage, now),
                ~exists().where(
                    older.account_id == TelegramMessage.account_id,
                    older.chat_id == TelegramMessage.chat_id,
                    older.id < TelegramMessage.id,
                    _is_open(older),
                    ~_is_due(older, now),
                ),
            )
            .order_by(TelegramMessage.id)
            .limit(limit)
        )
        claimed = self._session.scalars(
            update(TelegramMessage)
            .where(TelegramMessage.id.in_(found_once(due)))
            .values(state=HANDLING, claimed_until=now + lease)
            .returning(TelegramMessage)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).all()
        return sorted(claimed, key=lambda row: row.id)

    def record(self, ids: Iterable[int], state: str) -> None:
        """The end of rows that are still in hand: one that changed meanwhile waits to be handled again."""
        for some in portions(list(ids), MAX_PARAMETERS // 2):
            self._session.execute(
                update(TelegramMessage)
                .where(TelegramMessage.id.in_(some), TelegramMessage.state == HANDLING)
                .values(state=state, claimed_until=None)
                .execution_options(synchronize_session=False)
            )

    def record_failed_try(self, row_id: int, *, next_attempt_at: datetime) -> None:
        """It waits for another try, and what is younger in its chat with it."""
        self._session.execute(
            update(TelegramMessage)
            .where(TelegramMessage.id == row_id, TelegramMessage.state == HANDLING)
            .values(
                state=RECEIVED,
                claimed_until=None,
                attempts=TelegramMessage.attempts + 1,
                next_attempt_at=next_attempt_at,
            )
            .execution_options(synchronize_session=False)
        )

    def give_back(self, row_id: int) -> None:
        """It was not tried."""
        self._session.execute(
            update(TelegramMessage)
            .where(TelegramMessage.id == row_id, TelegramMessage.state == HANDLING)
            .values(state=RECEIVED, claimed_until=None)
            .execution_options(synchronize_session=False)
        )

    def accounts_waiting(self, now: datetime) -> list[int]:
        """Accounts with something to handle now."""
        return list(
            self._session.scalars(
                select(TelegramMessage.account_id)
                .where(_is_open(TelegramMessage), _is_due(TelegramMessage, now))
                .distinct()
                .order_by(TelegramMessage.account_id)
            )
        )


def _row(fact: MessageFact | PressedFact) -> dict[str, Any]:
    common = {
        "chat_id": fact.chat_id,
        "message_id": fact.message_id,
        "sender_id": fact.sender_id,
        "state": RECEIVED,
        "attempts": 0,
    }
    if isinstance(fact, PressedFact):
        data = fact.data.decode(errors="replace").replace("\0", "")
        pressed = {"edit": fact.query_id, "kind": BUTTON, "out": False, "text": data, "media": None}
        return {**common, **pressed, "reply_to": None, "album": None, "sent_at": fact.at}
    return {
        **common,
        "edit": fact.edit,
        "kind": MESSAGE,
        "out": fact.out,
        # Telegram's own chat holds sign-in codes, which nobody needs to find here.
        "text": None if fact.chat_id == SERVICE_CHAT else fact.text.replace("\0", ""),
        "media": dict(fact.media) if fact.media else None,
        "reply_to": fact.reply_to,
        "album": fact.album,
        "sent_at": fact.sent_at,
    }


def _file(media: Any) -> Any:
    """What tells one file from another: references to the same one differ each time."""
    return None if media is None else (media.get("kind"), media.get("id"))


def _is_open(row: type[TelegramMessage]) -> ColumnElement[bool]:
    """Written out as in the table's partial index: SQLite uses one only where it sees its condition in the statement."""
    return row.state.in_(bindparam(None, [RECEIVED, HANDLING], expanding=True, literal_execute=True))


def _is_due(row: type[TelegramMessage], now: datetime) -> ColumnElement[bool]:
    return or_(
        and_(row.state == RECEIVED, row.next_attempt_at <= now),
        and_(row.state == HANDLING, row.claimed_until < now),
    )
