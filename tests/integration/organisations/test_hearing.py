"""From a message in Telegram's inbox to what its writer wanted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import update

from switchboard.db.engine import Database
from switchboard.db.models import TelegramMessage
from switchboard.db.repositories.telegram_inbox import InboxRepository
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.domain.telegram.facts import Batch, MessageFact
from switchboard.domain.telegram.peers import Peer, PeerKind, SeenPeer
from switchboard.services.organisations.hearing import Hearing
from switchboard.services.telegram.handling import InboxHandling
from tests.integration.organisations.house import NOW, House

ANNA = 4_242
STOP = MessageFact(ANNA, 1, NOW, "STOP", out=False, sender_id=ANNA)


class Ear:
    """The inbox of the house's number."""

    def __init__(self, house: House, database: Database) -> None:
        self.house = house
        self.database = database
        house.add("anna")
        self.handling = InboxHandling(database, lambda: NOW, {"organisations": Hearing(database, house.recipients)})

    def meet(self, *, is_bot: bool = False) -> None:
        seen = SeenPeer(Peer(PeerKind.USER, ANNA, 1), "Anna", username="Anna", is_bot=is_bot)
        with self.database.write() as session:
            PeerRepository(session).remember(self.house.account_id, [seen], NOW)

    def hear(self, *facts: MessageFact) -> bool:
        """Whether Anna gets messages no more."""
        with self.database.write() as session:
            InboxRepository(session).store(self.house.account_id, Batch(facts=facts), NOW)
        assert self.handling.handle(self.house.account_id) == len(facts)
        return self.house.recipients.get(self.house.org, "anna").stopped_at is not None


@pytest.fixture
def ear(house: House, database: Database) -> Ear:
    return Ear(house, database)


def test_a_private_message_is_heard_from_whoever_our_peers_say_it_is(ear: Ear) -> None:
    ear.meet()
    assert ear.hear(STOP)
    assert not ear.hear(replace(STOP, message_id=2, text="START"))


def test_stop_and_start_count_in_the_order_in_which_they_were_written(ear: Ear) -> None:
    ear.meet()
    assert not ear.hear(STOP, replace(STOP, message_id=2, text="START"))


def test_what_is_handled_again_after_a_kill_is_answered_once(ear: Ear) -> None:
    ear.meet()
    ear.hear(STOP, replace(STOP, message_id=2, text="START"), replace(STOP, message_id=3, text="stop"))
    answered = [row.key for row in ear.house.rows()]
    assert len(answered) == 3
    with ear.database.write() as session:  # as if it had been killed before it could say that they were handled
        session.execute(update(TelegramMessage).values(state="received"))
    ear.house.clock.forward(seconds=90)
    assert ear.handling.handle(ear.house.account_id) == 3
    assert [row.key for row in ear.house.rows()] == answered
    assert ear.house.recipients.get(ear.house.org, "anna").stopped_at is not None


def test_nobody_is_heard_in_groups_by_edits_or_from_ourselves(ear: Ear) -> None:
    ear.meet()
    assert not ear.hear(
        replace(STOP, chat_id=-77),
        replace(STOP, message_id=2, edit=1_700_000_000, edited=True),
        replace(STOP, message_id=3, out=True),
        replace(STOP, message_id=4, text=""),
    )


def test_bots_are_not_heard(ear: Ear) -> None:
    ear.meet(is_bot=True)
    assert not ear.hear(STOP)
