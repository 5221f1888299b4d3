"""Handling what was received: in order per chat, at least once, and never held up by one message that cannot be."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from switchboard.db.engine import Database
from switchboard.db.models import TelegramMessage
from switchboard.db.repositories.telegram_inbox import InboxRepository
from switchboard.domain.telegram.facts import Batch, MessageFact
from switchboard.services.retention import Retention
from switchboard.services.telegram.accounts import insert_account
from switchboard.services.telegram.handling import TRIES, InboxHandling, Received
from tests.integration.telegram.conftest import APPLICATION, BOX, utc_now


class Desk:
    """Rows of one account, and a handler that notes what it is given."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = utc_now()
        self.seen: list[str | None] = []
        self.broken: set[str] = set()
        with database.write() as session:
            self.account_id = insert_account(session, "user", "database", APPLICATION, BOX, now=self.now, values={}).id  # type: ignore[arg-type]
        self.handling = InboxHandling(database, lambda: self.now, {"test": self._handle})

    def _handle(self, message: Received) -> None:
        self.seen.append(message.text)
        if message.text in self.broken:
            raise ValueError("the handler's own mistake")

    def receive(self, *texts: str, chat: int = 7) -> None:
        with self.database.write() as session:
            number = len(self.rows())
            facts = tuple(
                MessageFact(chat, number + n, self.now, text, out=False, sender_id=chat) for n, text in enumerate(texts)
            )
            InboxRepository(session).store(self.account_id, Batch(facts=facts), self.now)

    def rows(self) -> list[TelegramMessage]:
        with self.database.read() as session:
            return list(session.scalars(select(TelegramMessage).order_by(TelegramMessage.id)))

    def states(self) -> list[str]:
        return [row.state for row in self.rows()]

    def run(self) -> int:
        return self.handling.handle(self.account_id)


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def test_what_was_received_is_handled_once_and_in_order(desk: Desk) -> None:
    texts = [f"message {n}" for n in range(120)]
    desk.receive(*texts)
    assert desk.handling.waiting() == [desk.account_id]
    assert desk.run() == 120
    assert desk.seen == texts
    assert (desk.run(), desk.handling.waiting()) == (0, [])


def test_a_message_that_fails_holds_back_its_chat_and_no_other(desk: Desk) -> None:
    desk.broken = {"bad"}
    desk.receive("bad", "after it")
    desk.receive("elsewhere", chat=8)
    assert desk.run() == 1
    assert desk.seen == ["bad", "elsewhere"]
    assert desk.states() == ["received", "received", "handled"]
    desk.broken = set()
    desk.now += timedelta(minutes=1)
    assert desk.run() == 2
    assert desk.seen[2:] == ["bad", "after it"]


def test_a_message_that_nothing_can_handle_is_given_up_and_the_chat_goes_on(desk: Desk) -> None:
    desk.broken = {"bad"}
    desk.receive("bad", "after it")
    for _ in range(TRIES):
        desk.now += timedelta(hours=1)
        desk.run()
    assert desk.states() == ["failed", "handled"]
    assert desk.seen == ["bad"] * TRIES + ["after it"]


def test_what_a_killed_process_had_in_hand_is_handled_by_the_next(desk: Desk) -> None:
    desk.receive("one", "two")
    with desk.database.write() as session:
        claimed = InboxRepository(session).claim(desk.account_id, now=desk.now, lease=timedelta(seconds=90), limit=1)
    assert [row.text for row in claimed] == ["one"]
    assert desk.run() == 0, "the younger row waits for the older of its chat"
    desk.now += timedelta(seconds=91)
    assert desk.run() == 2
    assert desk.seen == ["one", "two"]


def test_an_edit_that_comes_while_its_row_is_in_hand_is_handled_again(desk: Desk) -> None:
    desk.receive("one")
    with desk.database.write() as session:
        repository = InboxRepository(session)
        (row,) = repository.claim(desk.account_id, now=desk.now, lease=timedelta(seconds=90), limit=1)
        later = MessageFact(7, 0, desk.now, "one, changed", out=False, sender_id=7, edited=True)
        repository.store(desk.account_id, Batch(facts=(later,)), desk.now)
        repository.record([row.id], "handled")
    assert desk.states() == ["received"]
    assert desk.run() == 1
    assert desk.seen == ["one, changed"]


def test_retention_empties_texts_and_keeps_the_numbers(desk: Desk, tmp_path: Path) -> None:
    desk.receive("old")
    with desk.database.write() as session:
        session.execute(update(TelegramMessage).values(media={"kind": "photo"}))
    desk.receive("new")
    with desk.database.write() as session:
        first = session.scalars(select(TelegramMessage).order_by(TelegramMessage.id)).first()
        assert first is not None
        first.stored_at = desk.now - timedelta(days=91)
    assert Retention(desk.database, timedelta(days=90)).erase(desk.now).telegram_messages == 1
    old, new = desk.rows()
    assert (old.text, old.media, old.message_id, new.text) == (None, None, 0, "new")
    assert Retention(desk.database, timedelta(days=90)).erase(desk.now).telegram_messages == 0
