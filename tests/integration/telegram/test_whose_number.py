"""Who is behind an address, and behind a number: nothing goes to who said STOP, and nothing from somebody else."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from sandbox.telegram.twin import API_HASH, API_ID
from switchboard.db.models import Delivery, DeliveryState, TelegramAccount, TelegramStop
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.domain.telegram.peers import Peer, PeerKind, SeenPeer
from switchboard.services.organisations.organisations import OrganisationChanges, Organisations
from switchboard.services.organisations.recipients import Recipients, RecipientSettings
from switchboard.services.organisations.stops import ANSWERED_STOP, Stops
from switchboard.services.telegram.outbox_rows import OutboxRows
from switchboard.services.telegram.records import ANOTHER_NUMBER
from tests.integration.telegram.conftest import BOX, Office, utc_now
from tests.integration.telegram.test_outbox import Sender, own

ANNS, BEAS = "+79160000001", "+79160000003"


def test_nothing_goes_to_who_said_stop_whatever_address_turns_out_to_be_theirs(office: Office) -> None:
    sender = Sender(office)
    office.twin.add_person("Cat", username="catty")
    stops = Stops(office.database, except_kinds=["answer"])
    rows = OutboxRows(office.database, {"words": sender.words}, utc_now, stops.refusals)
    host = sender.start(sender.outbox(rows))
    office.wait_state(sender.account.id, "online")
    with office.database.write() as session:
        session.add(TelegramStop(own_id=own(sender), user_id=sender.bob.id, stopped_at=utc_now()))
    (by_phone,) = sender.enter("by phone", to="+79160000002", subject="1")
    (by_name,) = sender.enter("by name", to="@bobby", subject="2")
    (wanted,) = sender.enter("wanted", to="@catty", subject="3")
    host.wake(sender.account.id)
    sender.wait_row(wanted, lambda row: row.state == DeliveryState.SENT)
    for key in (by_phone, by_name):
        assert sender.wait_row(key, lambda row: row.state == DeliveryState.EXPIRED).reason == ANSWERED_STOP
    assert sender.got() == []
    assert sender.got("Cat") == ["wanted"]


class NobodyElse:
    """No Mattermost."""

    def find(self, username_or_id: str) -> None: ...


class Bound:
    """An organisation that writes from Ann's number, whose session an environment variable gives."""

    def __init__(self, office: Office) -> None:
        self.office = office
        office.twin.add_person("Ann", phone=ANNS)
        office.gateway()
        office.environment(session=office.twin.session_string("Ann")).apply()
        self.account_id = office.accounts.list_accounts()[0].id
        office.wait_state(self.account_id, "online")
        self.organisations = Organisations(office.database, BOX, office.accounts, utc_now, support_contact="")
        self.id = self.organisations.create("Vega", OrganisationChanges(), actor="test").id
        self.organisations.set_telegram(self.id, ANNS, api_id=API_ID, api_hash=API_HASH, actor="test")
        with office.database.write() as session:
            waiting = NewDelivery(
                channel="telegram",
                kind="words",
                key="k",
                subject=f"telegram:{self.account_id}:1",
                recipient="1",
            )
            DeliveryRepository(session).add([waiting], utc_now())

    def become(self, name: str) -> None:
        """Another session in the variable."""
        self.office.environment(session=self.office.twin.session_string(name)).apply()

    def row(self) -> tuple[str, str | None]:
        with self.office.database.read() as session:
            state, reason = session.execute(select(Delivery.state, Delivery.reason)).one()
        return state, reason


@pytest.fixture
def bound(office: Office) -> Bound:
    return Bound(office)


def test_no_organisation_writes_from_an_account_that_became_another_number(bound: Bound) -> None:
    bea = bound.office.twin.add_person("Bea", phone=BEAS)
    assert bound.organisations.get(bound.id).status.online
    bound.become("Bea")
    view = bound.office.wait(bound.account_id, lambda view: view.own_id == bea.id and view.state == "online")
    assert view.phone == BEAS
    status = bound.organisations.get(bound.id).status
    assert (status.online, status.state, status.account_id) == (False, "no_account", None)
    assert "signed in as +79*****0003 now" in (status.reason or "")
    assert bound.row() == (DeliveryState.DEAD, ANOTHER_NUMBER)

    bound.become("Ann")
    bound.office.wait(bound.account_id, lambda view: view.phone == ANNS and view.state == "online")
    view_again = bound.organisations.set_telegram(bound.id, ANNS, api_id=API_ID, api_hash=API_HASH, actor="test")
    assert (view_again.status.online, view_again.status.account_id) == (True, bound.account_id)


def test_who_said_stop_to_the_number_that_an_account_was_stays_stopped_there(bound: Bound) -> None:
    bound.office.twin.add_person("Bea", phone=BEAS)
    recipients = Recipients(bound.office.database, NobodyElse(), utc_now)
    recipients.put(bound.id, "cat", RecipientSettings(opted_in=True, telegram="@catty"), actor="test")
    with bound.office.database.write() as session:
        seen = SeenPeer(Peer(PeerKind.USER, 501, 1), "Cat", username="catty")
        PeerRepository(session).remember(bound.account_id, [seen], utc_now())
        own_id = session.get_one(TelegramAccount, bound.account_id).own_id
        session.add(TelegramStop(own_id=own_id, user_id=501, stopped_at=utc_now()))
    bound.become("Bea")
    bound.office.wait(bound.account_id, lambda view: view.phone == BEAS and view.state == "online")
    assert bound.organisations.get(bound.id).status.account_id is None
    assert recipients.get(bound.id, "cat").stopped_at is not None


def test_the_same_person_under_a_new_number_goes_on_writing(bound: Bound) -> None:
    with bound.office.database.write() as session:  # as it was before they changed it at Telegram
        session.execute(update(TelegramAccount).values(phone=BEAS))
    bound.organisations.unset_telegram(bound.id, actor="test")
    bound.organisations.set_telegram(bound.id, BEAS, api_id=API_ID, api_hash=API_HASH, actor="test")
    bound.become("Ann")
    view = bound.office.wait(bound.account_id, lambda view: view.phone == ANNS and view.state == "online")
    status = bound.organisations.get(bound.id).status
    assert (status.account_id, status.phone) == (view.id, "+79*****0001")
    assert bound.row()[0] == DeliveryState.PENDING


def test_a_number_that_was_typed_and_never_seen_is_not_taken_for_another_either(bound: Bound) -> None:
    with bound.office.database.write() as session:
        session.execute(update(TelegramAccount).values(own_id=None, phone=BEAS))
    bound.organisations.unset_telegram(bound.id, actor="test")
    bound.organisations.set_telegram(bound.id, BEAS, api_id=API_ID, api_hash=API_HASH, actor="test")
    bound.become("Ann")
    bound.office.wait(bound.account_id, lambda view: view.phone == ANNS and view.state == "online")
    assert bound.organisations.get(bound.id).status.account_id is None
    assert bound.row() == (DeliveryState.DEAD, ANOTHER_NUMBER)
