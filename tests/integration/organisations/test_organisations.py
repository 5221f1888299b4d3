"""Organisations: holdings without circles, one number for several, credentials, service status and word to contacts."""

from __future__ import annotations

import hashlib
import hmac
import threading
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import select

from switchboard.db.models import OrganisationCredential, OrganisationTelegram, TelegramAccount
from switchboard.domain.telegram.states import AccountState
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError
from switchboard.services.organisations.contacts import Contacts
from switchboard.services.organisations.organisations import OrganisationChanges
from tests.integration.organisations.house import API_HASH, API_ID, PHONE, SUPPORT, House

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


def make(house: House, name: str, **settings: object) -> int:
    return house.organisations.create(name, OrganisationChanges(**settings), actor="test").id  # type: ignore[arg-type]


def under(house: House, child: int, parent: int) -> None:
    house.organisations.update(child, OrganisationChanges(parent_id=parent), actor="test")


def test_a_holding_has_no_circles(house: House) -> None:
    branch = make(house, "Branch", parent_id=house.org)
    shop = make(house, "Shop", parent_id=branch)
    with pytest.raises(ConflictError, match="itself or to one below"):
        under(house, house.org, shop)
    with pytest.raises(ConflictError, match="itself"):
        under(house, shop, shop)
    with pytest.raises(NotFoundError):
        under(house, shop, 999)
    under(house, shop, 0)
    assert house.organisations.get(shop).parent_id is None


@both
def test_names_that_differ_in_case_made_at_once_make_one_organisation(house: House) -> None:
    start = threading.Barrier(2)
    made: list[int] = []

    def add(name: str) -> None:
        start.wait()
        with suppress(ConflictError):
            made.append(make(house, name))

    threads = [threading.Thread(target=add, args=(name,)) for name in ("Rigel", "RIGEL")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 1


@both
def test_two_changes_at_once_make_no_circle(house: House) -> None:
    pairs = [(make(house, f"first {number}"), make(house, f"second {number}")) for number in range(8)]
    start = threading.Barrier(2)
    refused: list[ConflictError] = []

    def join(swapped: bool) -> None:
        for first, second in pairs:
            start.wait()
            try:
                under(house, *((second, first) if swapped else (first, second)))
            except ConflictError as error:
                refused.append(error)

    threads = [threading.Thread(target=join, args=(swapped,)) for swapped in (False, True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) == len(pairs)
    for pair in pairs:
        assert None in {house.organisations.get(one).parent_id for one in pair}


def test_a_holding_is_not_deeper_than_ten_levels(house: House) -> None:
    last = house.org
    for number in range(9):
        last = make(house, f"level {number}", parent_id=last)
    with pytest.raises(ConflictError, match="10 levels"):
        make(house, "too deep", parent_id=last)
    lone = make(house, "lone")
    below = make(house, "below lone", parent_id=lone)
    assert below
    with pytest.raises(ConflictError, match="10 levels"):
        under(house, lone, house.organisations.get(last).parent_id or 0)


def test_names_are_unique_and_zones_and_languages_are_known(house: House) -> None:
    for taken in (" Vega ", "vega", "VEGA"):
        with pytest.raises(ConflictError, match=f"has this name: {house.org}"):
            make(house, taken)
    house.organisations.update(house.org, OrganisationChanges(name="VEGA"), actor="test")
    other = make(house, "Straße")
    with pytest.raises(ConflictError, match="has this name"):
        house.organisations.update(house.org, OrganisationChanges(name="STRASSE"), actor="test")
    house.organisations.update(other, OrganisationChanges(name="Straße", zone="Asia/Tokyo"), actor="test")
    with pytest.raises(InvalidInputError):
        make(house, "X", zone="Mars/Base")
    with pytest.raises(InvalidInputError, match="en, ru, uk"):
        make(house, "X", language="xx")


def test_an_organisation_with_others_below_it_is_not_removed(house: House) -> None:
    branch = make(house, "Branch", parent_id=house.org)
    house.add("anna")
    house.post("anna")
    with pytest.raises(ConflictError, match="1 organisations belong"):
        house.organisations.remove(house.org, actor="test")
    house.organisations.remove(branch, actor="test")
    house.organisations.remove(house.org, actor="test")
    house.send()
    assert house.telegram.arrived == []
    assert [row.reason for row in house.rows()] == ["the recipient was removed"]


def test_one_number_serves_several_organisations_with_one_account(house: House) -> None:
    branch = make(house, "Branch")
    view = house.organisations.set_telegram(
        branch, "+7 (916) 123-45-67", api_id=API_ID, api_hash=API_HASH, actor="test"
    )
    assert (view.status.account_id, view.status.online) == (house.account_id, True)
    with house.database.read() as session:
        assert len(session.scalars(select(TelegramAccount)).all()) == 1
        sealed = session.scalars(select(OrganisationTelegram.api_hash)).all()
    assert [house.box.decrypt(one) for one in sealed] == [API_HASH, API_HASH]


def test_a_number_has_one_api_id_and_another_is_refused_with_the_reason(house: House) -> None:
    branch = make(house, "Branch")
    with pytest.raises(
        ConflictError, match=f"organisation {house.org} with api_id {API_ID}: one number has one api_id"
    ):
        house.organisations.set_telegram(branch, PHONE, api_id=1, api_hash=API_HASH, actor="test")
    with pytest.raises(ConflictError, match="another api_hash"):
        house.organisations.set_telegram(branch, PHONE, api_id=API_ID, api_hash="f" * 32, actor="test")


def test_a_mistyped_pair_is_mended_while_nobody_signed_in_with_it(house: House) -> None:
    house.organisations.set_telegram(house.org, PHONE, api_id=7, api_hash="f" * 32, actor="test")
    with house.database.write() as session:
        account = session.get_one(TelegramAccount, house.account_id)
        assert (account.api_id, house.box.decrypt(account.api_hash), account.revision) == (7, "f" * 32, 1)
        account.session = house.box.encrypt("a session")
    with pytest.raises(ConflictError, match=f"account {house.account_id} with api_id 7"):
        house.organisations.set_telegram(house.org, PHONE, api_id=8, api_hash="f" * 32, actor="test")


@pytest.mark.parametrize(("api_id", "api_hash"), [(0, API_HASH), (2**31, API_HASH), (1, "short"), (1, "g" * 32)])
def test_a_pair_that_is_none_is_refused(house: House, api_id: int, api_hash: str) -> None:
    with pytest.raises(InvalidInputError):
        house.organisations.set_telegram(house.org, PHONE, api_id=api_id, api_hash=api_hash, actor="test")


def test_the_status_says_whether_why_and_whom_to_ask(house: House) -> None:
    status = house.view().status
    assert (status.online, status.phone, status.support_contact) == (True, "+79*****4567", "")
    house.accounts.become(AccountState.SIGN_IN_AGAIN)
    status = house.view().status
    assert (status.online, status.state, status.since, status.support_contact) == (
        False,
        "sign_in_again",
        house.clock(),
        SUPPORT,
    )
    house.organisations.update(house.org, OrganisationChanges(support_contact="Eva, 101"), actor="test")
    assert house.view().status.support_contact == "Eva, 101"
    below = make(house, "Shop", parent_id=make(house, "Branch", parent_id=house.org))
    assert house.organisations.get(below).status.support_contact == "Eva, 101"
    assert house.organisations.list_all()[-1].status.support_contact == "Eva, 101"
    house.organisations.update(below, OrganisationChanges(support_contact="Ivo"), actor="test")
    assert house.organisations.status(below).support_contact == "Ivo"
    house.organisations.unset_telegram(house.org, actor="test")
    assert house.view().status.state == "not_set"


def test_contacts_are_told_once_when_it_falls_out_and_once_when_it_is_back(house: House) -> None:
    house.add("anna", is_contact=True, mattermost="anna")
    house.add("boris", mattermost="boris")
    assert house.contacts.watch() == []
    house.accounts.become(AccountState.SIGN_IN_AGAIN)
    house.contacts.watch()
    assert house.contacts.watch() == []
    house.send()
    ((to, text),) = house.mattermost.arrived
    assert to == "a" * 26
    assert text.startswith(
        "⚠️ Telegram messages of Vega do not go out since Nov 23, 12:00: the number has to be signed in"
    )
    assert SUPPORT in text
    house.accounts.become(AccountState.ONLINE)
    house.contacts.watch()
    assert house.contacts.watch() == []
    house.send()
    assert [line for _, line in house.mattermost.heads()][1:] == ["Telegram messages of Vega go out again."]


def test_a_short_absence_is_told_to_nobody(house: House) -> None:
    house.add("anna", is_contact=True, mattermost="anna")
    house.contacts.watch()
    house.accounts.become(AccountState.OFFLINE)
    house.clock.forward(minutes=4)
    assert house.contacts.watch() == []
    house.clock.forward(minutes=2)
    assert len(house.contacts.watch()) == 1


def test_nobody_is_told_of_a_number_that_was_never_online_or_is_back_before_the_message(house: House) -> None:
    house.add("anna", is_contact=True, mattermost="anna")
    house.accounts.become(AccountState.NEW)
    house.clock.forward(days=1)
    assert house.contacts.watch() == []
    house.accounts.become(AccountState.ONLINE)
    assert house.contacts.watch() == []
    house.accounts.become(AccountState.STOPPED)
    house.contacts.watch()
    house.accounts.become(AccountState.ONLINE)
    house.contacts.watch()
    house.send()
    assert [line for _, line in house.mattermost.heads()] == ["Telegram messages of Vega go out again."]


@both
def test_two_looks_at_once_tell_once(house: House) -> None:
    house.add("anna", is_contact=True, mattermost="anna")
    house.contacts.watch()
    house.accounts.become(AccountState.SIGN_IN_AGAIN)
    start = threading.Barrier(4)

    def look(late_s: int) -> None:
        at = house.clock() + timedelta(seconds=late_s)
        contacts = Contacts(house.database, house.accounts, lambda: at, support_contact=SUPPORT)
        start.wait()
        contacts.watch()

    threads = [threading.Thread(target=look, args=(late_s,)) for late_s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(house.rows()) == 1


def test_the_pair_before_stays_valid_until_the_next_rotation(house: House) -> None:
    first = house.credentials.rotate(house.org, actor="test")
    second = house.credentials.rotate(house.org, actor="test")
    assert house.credentials.by_token(first.token) == house.credentials.by_token(second.token) == house.org
    third = house.credentials.rotate(house.org, actor="test")
    assert house.credentials.by_token(first.token) is None
    assert [one.id for one in house.credentials.list_all(house.org)] == [third.id, second.id]
    house.credentials.end(house.org, second.id, actor="test")
    assert house.credentials.by_token(second.token) is None
    with pytest.raises(NotFoundError):
        house.credentials.end(house.org, second.id, actor="test")
    assert house.credentials.by_token("") is None


def test_neither_token_nor_secret_stands_in_the_database(house: House) -> None:
    made = house.credentials.rotate(house.org, actor="test")
    with house.database.read() as session:
        row = session.scalars(select(OrganisationCredential)).one()
    assert made.token not in (row.token_digest, row.secret)
    assert made.secret not in row.secret
    assert house.box.decrypt(row.secret) == made.secret


def test_a_signature_is_the_hmac_of_time_and_body(house: House) -> None:
    made, other = (house.credentials.rotate(house.org, actor="test") for _ in range(2))
    wanted = "v1=" + hmac.new(made.secret.encode(), b"1700000000." + b'{"a": 1}', hashlib.sha256).hexdigest()

    def accepted(organisation: int = house.org, timestamp: str = "1700000000", body: bytes = b'{"a": 1}') -> bool:
        return house.credentials.is_signed(organisation, timestamp=timestamp, signature=wanted, body=body)

    assert other.secret != made.secret
    assert accepted()
    assert not accepted(body=b'{"a":1}')
    assert not accepted(timestamp="1700000001")
    assert not accepted(organisation=house.org + 1)
    assert not house.credentials.is_signed(house.org, timestamp="1", signature="v1=\udcff", body=b"")


@pytest.mark.parametrize(("offset", "timely"), [(0, True), (300, True), (-300, True), (301, False), (-301, False)])
def test_a_signature_holds_for_five_minutes_either_way(house: House, offset: int, timely: bool) -> None:
    assert house.credentials.is_timely(str(int(house.clock().timestamp()) + offset)) is timely


@pytest.mark.parametrize("timestamp", ["", "now", "-1", "1e9", "9" * 40, "١٧"])
def test_a_time_that_is_none_is_not_timely(house: House, timestamp: str) -> None:
    assert not house.credentials.is_timely(timestamp)
