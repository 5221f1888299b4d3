"""An organisation's number changes or goes: what waits for the old one goes elsewhere, what may have been sent does not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from switchboard.db.models import Delivery, DeliveryState, Recipient, TelegramAccount
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.domain.telegram.pacing import Limits
from switchboard.services.organisations.moving import MOVED, NO_NUMBER, move_waiting
from switchboard.services.organisations.organisations import OrganisationChanges
from tests.integration.organisations.house import API_HASH, API_ID, PHONE, House

OTHER = "+79160001122"
both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


def change_number(house: House, phone: str = OTHER) -> int:
    """The account of the new number."""
    view = house.organisations.set_telegram(house.org, phone, api_id=API_ID, api_hash=API_HASH, actor="test")
    assert view.status.account_id is not None
    return view.status.account_id


def set_row(house: House, name: str, **values: Any) -> None:
    """The row of a person, as a sender leaves it."""
    with house.database.write() as session:
        recipient = session.scalars(select(Recipient).where(Recipient.external_id == name)).one()
        session.execute(update(Delivery).where(Delivery.recipient == str(recipient.id)).values(**values))


def where(house: House) -> list[tuple[int | None, str]]:
    """Who sends each row, and how it stands."""
    found = [(row.sender, row.state) for row in house.rows()]
    assert all(row.subject == f"telegram:{row.sender}:{row.recipient}" for row in house.rows() if row.sender)
    return found


@both
def test_what_waits_goes_from_the_new_number_and_says_so(house: House) -> None:
    house.add("anna", mattermost="anna", second_channel="mattermost")
    event_id = house.post("anna").event_id
    flood = {"next_attempt_at": house.clock() + timedelta(hours=20), "reason": "Telegram asks to wait"}
    set_row(house, "anna", **flood)
    new = change_number(house)
    assert new != house.account_id
    assert where(house) == [(new, DeliveryState.PENDING)]
    house.send()
    assert [to for to, _ in house.telegram.arrived] == ["@anna"]
    assert house.mattermost.arrived == []
    (shown,) = house.deliveries(event_id)
    assert (shown.state, shown.reason) == ("sent", MOVED)


@pytest.mark.parametrize(
    "begun",
    [
        {"state": DeliveryState.SENDING},
        {"state": DeliveryState.UNCERTAIN},
        {"state": DeliveryState.CLAIMED},
        {"body": {"event_id": 1, "recipient_id": 1, "purpose": "notice", "telegram": {"done": [[7]], "parts": []}}},
    ],
)
@pytest.mark.parametrize("removed", [False, True])
def test_what_may_have_been_sent_in_part_or_whole_stays_where_it_is(
    house: House, begun: dict[str, Any], removed: bool
) -> None:
    house.add("anna", mattermost="anna", second_channel="mattermost")
    house.post("anna")
    set_row(house, "anna", **begun)
    before = where(house)
    if removed:
        house.organisations.unset_telegram(house.org, actor="test")
    else:
        change_number(house)
    house.following.move()
    house.following.follow()
    assert where(house) == before


def test_what_a_sender_had_in_hand_goes_with_the_next_pass(house: House) -> None:
    house.add("anna")
    house.post("anna")
    set_row(house, "anna", state=DeliveryState.CLAIMED)
    new = change_number(house)
    set_row(house, "anna", state=DeliveryState.PENDING)  # it gave it back
    moved = house.following.move()
    assert (moved.count, moved.accounts) == (1, [new])
    assert where(house) == [(new, DeliveryState.PENDING)]
    assert house.following.move().count == 0


def test_a_row_that_moved_is_out_of_reach_of_the_account_it_left(house: House) -> None:
    house.add("anna")
    house.post("anna")
    now = house.clock()
    with house.database.write() as session:
        ids = DeliveryRepository(session).due_in_order(house.account_id, now, limit=5)
    assert len(ids) == 1
    change_number(house)
    with house.database.write() as session:
        claimed, _ = DeliveryRepository(session).claim_in_order(
            {house.account_id: ids}, owner="old", now=now, lease=timedelta(minutes=1)
        )
    assert claimed == []


@pytest.mark.parametrize("how", ["number", "account"])
def test_without_a_number_the_second_channel_is_taken_or_the_sender_hears_why(house: House, how: str) -> None:
    house.add("anna", mattermost="anna", second_channel="mattermost")
    house.add("clara")
    event_id = house.post("anna", "clara").event_id
    if how == "number":
        house.organisations.unset_telegram(house.org, actor="test")
    else:
        with house.database.write() as session:
            session.delete(session.get_one(TelegramAccount, house.account_id))
        assert house.following.move().count == 2
    house.send()
    assert house.telegram.arrived == []
    assert [to for to, _ in house.mattermost.arrived] == ["a" * 26]
    assert [(d.recipient, d.channel, d.state, d.reason) for d in house.deliveries(event_id)] == [
        ("anna", "telegram", "undeliverable", NO_NUMBER),
        ("clara", "telegram", "undeliverable", NO_NUMBER),
        ("anna", "mattermost", "sent", f"telegram: {NO_NUMBER}"),
    ]


def test_the_same_number_set_again_moves_nothing(house: House) -> None:
    house.add("anna")
    house.post("anna")
    before = where(house)
    assert change_number(house, PHONE) == house.account_id
    assert where(house) == before
    assert house.following.move().count == 0


def test_another_organisation_on_the_old_number_keeps_it(house: House) -> None:
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    house.organisations.set_telegram(other, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    house.add("anna", other)
    house.add("boris")
    house.post("boris")
    home, house.org = house.org, other
    house.post("anna")
    house.org = home
    new = change_number(house)
    house.following.move()
    assert where(house) == [(new, DeliveryState.PENDING), (house.account_id, DeliveryState.PENDING)]


def test_a_time_that_somebody_wants_stays_and_known_people_are_strangers_again(house: House) -> None:
    house.pace(Limits(between_s=60, between_first_s=600))
    house.add("anna")
    house.add("boris")
    with house.database.write() as session:
        session.execute(update(Recipient).values(contacted_at=house.clock()))
    house.post("anna", "boris")
    slots = [row.next_attempt_at - house.clock() for row in house.rows()]
    assert slots == [timedelta(0), timedelta(seconds=60)]
    change_number(house)
    assert [row.next_attempt_at - house.clock() for row in house.rows()] == slots
    house.post("anna", "boris", key="k2")
    assert [row.next_attempt_at - house.clock() for row in house.rows()][2:] == [timedelta(0), timedelta(minutes=10)]


def test_a_large_mailing_moves_in_passes(house: House) -> None:
    for number in range(5):
        house.add(f"p{number}xx")
    house.post(*(f"p{number}xx" for number in range(5)))
    with house.database.write() as session:
        session.execute(update(Delivery).values(subject="telegram:9999:x", sender=9999))
    counts = []
    for _ in range(4):
        with house.database.write() as session:
            counts.append(move_waiting(session, house.clock(), limit=2).count)
    assert counts == [2, 2, 1, 0]
