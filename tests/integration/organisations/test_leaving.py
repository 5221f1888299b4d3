"""Whoever comes after somebody who was removed gets nothing of theirs: a number is given once, and what waited has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from switchboard.db.models import Delivery, DeliveryState
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.services.organisations.events import RECIPIENT_REMOVED
from switchboard.services.organisations.organisations import OrganisationChanges
from tests.integration.organisations.house import API_HASH, API_ID, PHONE, House, peer

both = pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.full)], indirect=True
)


def put_in(house: House, state: DeliveryState) -> None:
    with house.database.write() as session:
        session.execute(update(Delivery).values(state=state))


def remove(house: House, who: str) -> None:
    house.recipients.remove(house.org, who, actor="test")


@pytest.mark.parametrize("over", [{}, {"channel": "mattermost", "mattermost": "anna"}], ids=["telegram", "mattermost"])
def test_what_waits_for_a_recipient_ends_with_their_removal(house: House, over: dict[str, Any]) -> None:
    house.add("anna", **over)
    event = house.post("anna", deadline_at=house.clock() + timedelta(days=9)).event_id
    remove(house, "anna")
    house.add("boris", **over)
    (told,) = house.deliveries(event)
    assert (told.state, told.reason, told.remind_at) == ("removed", RECIPIENT_REMOVED, None)
    assert told.finished_at == house.clock()
    assert house.events.get(house.org, event).done
    house.send()
    assert house.telegram.arrived == house.mattermost.arrived == []


def test_what_a_sender_had_in_hand_reaches_nobody_else(house: House) -> None:
    house.add("anna")
    event = house.post("anna").event_id
    put_in(house, DeliveryState.CLAIMED)
    remove(house, "anna")
    house.add("boris")
    put_in(house, DeliveryState.PENDING)  # it gave it back
    house.send()
    assert house.telegram.arrived == []
    assert [(told.state, told.reason) for told in house.deliveries(event)] == [("removed", RECIPIENT_REMOVED)]


@pytest.mark.parametrize("state", [DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN])
def test_what_was_begun_is_left_to_whoever_began_it(house: House, state: DeliveryState) -> None:
    house.add("anna")
    house.post("anna")
    put_in(house, state)
    remove(house, "anna")
    assert [row.state for row in house.rows()] == [state]


def test_what_was_sent_stays_sent(house: House) -> None:
    house.add("anna")
    event = house.post("anna").event_id
    house.send()
    remove(house, "anna")
    assert house.states(event) == [("anna", "notice", "telegram", "sent")]


def test_what_was_collected_for_a_digest_ends_too(house: House) -> None:
    house.add("anna", digest="hour")
    event = house.post("anna").event_id
    assert house.states(event) == [("anna", "notice", "telegram", "collected")]
    remove(house, "anna")
    assert [(told.state, told.digest_at) for told in house.deliveries(event)] == [("removed", None)]


def test_an_answer_that_waits_ends_with_who_asked(house: House) -> None:
    house.add("anna")
    house.add("boris")
    house.post("anna", "boris")
    house.recipients.hear(house.account_id, peer("anna"), "stop")
    remove(house, "anna")
    anna, boris, answer = house.rows()
    assert [(row.state, row.reason) for row in (anna, answer)] == [(DeliveryState.EXPIRED, RECIPIENT_REMOVED)] * 2
    assert boris.state == DeliveryState.PENDING


def make_again(house: House) -> None:
    """Remove the organisation and make another just the same."""
    house.organisations.remove(house.org, actor="test")
    house.org = house.organisations.create("Vega", OrganisationChanges(), actor="test").id
    house.organisations.set_telegram(house.org, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")


@both
def test_an_organisation_made_anew_has_numbers_and_messages_of_its_own(house: House) -> None:
    house.add("anna")
    old, event = house.org, house.post("anna").event_id
    house.send()
    assert len(house.telegram.arrived) == 1
    make_again(house)
    house.clock.forward(hours=1)
    house.add("anna")
    again = house.post("anna").event_id
    assert (house.org > old, again > event) == (True, True)
    house.send()
    assert len(house.telegram.arrived) == 2
    (told,) = house.deliveries(again)
    assert (told.state, told.finished_at) == ("sent", house.clock())


@both
def test_what_waits_for_the_people_of_an_organisation_ends_with_it(house: House) -> None:
    house.add("anna")
    house.add("boris", channel="mattermost", mattermost="boris")
    house.post("anna", "boris")
    make_again(house)
    ended = [(DeliveryState.EXPIRED, RECIPIENT_REMOVED)] * 2
    assert [(row.state, row.reason) for row in house.rows()] == ended
    house.add("clara")
    house.send()
    assert house.telegram.arrived == house.mattermost.arrived == []


def test_an_account_made_anew_sends_nothing_of_the_one_before(house: House) -> None:
    house.add("anna")
    house.recipients.hear(house.account_id, peer("anna"), "hello")
    old = house.account_id
    house.post("anna")
    assert house.accounts.real.remove(old, log_out=False, actor="test")
    view = house.organisations.set_telegram(house.org, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    new = view.status.account_id
    assert new is not None
    assert new > old
    answer, notice = house.rows()
    assert (answer.sender, notice.sender) == (old, new)
    with house.database.read() as session:
        due = DeliveryRepository(session).due_in_order(new, house.clock(), limit=9)
    assert due == [notice.id]
