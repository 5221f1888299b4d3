"""STOP is a person's own word to a number: it holds under every name, address and organisation, until their START."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import delete, select

from switchboard.db.models import Recipient, TelegramAccount, TelegramStop
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.organisations.words import Word
from switchboard.errors import ConflictError
from switchboard.services.conversation.speakers import Speaker
from switchboard.services.conversation.subscriptions import press_subscription
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.organisations.recipients import ANSWER_KIND, Heard, Peer, Pressed
from switchboard.services.organisations.stops import ANSWERED_STOP, Stops
from switchboard.texts.locales import Texts
from tests.integration.organisations.house import API_HASH, API_ID, NOW, OWN_ID, PHONE, FakePeople, House

ANNA = Peer(1_077, "anna", "+79160001122")
ANNAS_PHONE = "+7 916 000-11-22"
UNKNOWN_PHONE = "+79160003344"


def hear(house: House, text: str, person: Peer = ANNA) -> Heard:
    house.clock.forward(seconds=1)
    return house.recipients.hear(house.account_id, person, text)


def stopped(house: House, external_id: str, organisation_id: int | None = None) -> bool:
    return house.recipients.get(organisation_id or house.org, external_id).stopped_at is not None


def told(house: House, external_id: str, organisation_id: int | None = None) -> str:
    """What became of an event for one person."""
    home, house.org = house.org, organisation_id or house.org
    house.clock.forward(minutes=1)
    event_id = house.post(external_id, key=house.clock().isoformat()).event_id
    house.send()
    ((_, _, _, state),) = house.states(event_id)
    house.org = home
    return state


def another(house: House, name: str = "Rigel") -> int:
    """One more organisation that writes from the number."""
    organisation_id = house.organisations.create(name, OrganisationChanges(), actor="test").id
    house.organisations.set_telegram(organisation_id, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    return organisation_id


@pytest.fixture
def known(house: House) -> House:
    """Anna gets messages, and the number knows her."""
    house.add("anna")
    house.meet(ANNA)
    return house


def test_it_counts_for_an_organisation_that_puts_the_person_later(known: House) -> None:
    hear(known, "stop")
    rigel = another(known)
    known.add("a-1", rigel, telegram="@anna")
    assert known.recipients.get(rigel, "a-1").stopped_at == NOW + timedelta(seconds=1)
    assert known.recipients.page(rigel)[0].stopped_at is not None
    assert told(known, "a-1", rigel) == "stopped"
    assert hear(known, "start") is Heard.STARTED
    known.send()
    assert "Vega, Rigel again" in known.telegram.heads()[-1][1]
    assert (told(known, "anna"), told(known, "a-1", rigel)) == ("sent", "sent")


@pytest.mark.parametrize("address", ["@anna", ANNAS_PHONE, "1077"])
def test_it_outlives_the_removal_under_another_name_and_address(known: House, address: str) -> None:
    hear(known, "stop")
    known.recipients.remove(known.org, "anna", actor="test")
    known.add("other", telegram=address)
    assert stopped(known, "other")
    assert told(known, "other") == "stopped"
    hear(known, "start")
    known.add("anna")
    assert not stopped(known, "other")
    assert not stopped(known, "anna")


def test_nothing_of_the_person_is_kept_but_who_they_are_and_when_they_said_it(known: House) -> None:
    hear(known, "stop")
    known.recipients.remove(known.org, "anna", actor="test")
    with known.database.read() as session:
        (stop,) = session.scalars(select(TelegramStop))
        (kept,) = session.scalars(select(Recipient))
    assert (stop.own_id, stop.user_id, stop.stopped_at) == (OWN_ID, 1_077, NOW + timedelta(seconds=1))
    assert (kept.name, kept.telegram, kept.mattermost, kept.telegram_user_id) == ("", None, None, None)


def test_start_is_heard_of_whoever_said_stop_whatever_their_address_is_now(known: House) -> None:
    rigel = another(known)
    known.add("a-1", rigel, telegram="@anna")
    hear(known, "stop")
    known.add("anna", telegram=UNKNOWN_PHONE)
    assert stopped(known, "anna")
    hear(known, "start", Peer(1_077, "anna"))
    assert not stopped(known, "anna")
    assert not stopped(known, "a-1", rigel)


def test_start_lifts_nobody_elses_stop(known: House) -> None:
    boris = Peer(2_088, "boris", UNKNOWN_PHONE)
    hear(known, "stop")
    known.meet(boris)
    hear(known, "stop", boris)
    known.add("anna", telegram=UNKNOWN_PHONE)
    hear(known, "start")
    assert stopped(known, "anna")
    hear(known, "start", boris)
    assert not stopped(known, "anna")


def test_it_is_kept_of_somebody_who_is_nobodys_recipient_yet(house: House) -> None:
    assert hear(house, "stop") is Heard.NOT_OURS
    house.meet(ANNA)
    house.add("anna")
    assert told(house, "anna") == "stopped"
    assert house.rows() == []


def test_a_number_without_organisations_keeps_nothing(house: House) -> None:
    house.organisations.unset_telegram(house.org, actor="test")
    hear(house, "stop")
    with house.database.read() as session:
        assert session.scalars(select(TelegramStop)).all() == []


def test_what_waits_is_refused_when_it_is_written_and_they_are_known_by_then(known: House) -> None:
    rigel = another(known)
    known.add("a-1", rigel, telegram=UNKNOWN_PHONE)
    hear(known, "stop")
    known.org = rigel
    event_id = known.post("a-1").event_id
    assert known.states(event_id) == [("a-1", "notice", "telegram", "waiting")]
    known.meet(Peer(1_077, "anna", UNKNOWN_PHONE))
    known.send()
    (delivery,) = known.deliveries(event_id)
    assert (delivery.state, delivery.reason) == ("given_up", ANSWERED_STOP)
    assert stopped(known, "a-1")


def test_the_last_look_is_by_the_person_whatever_the_row_calls_them(house: House) -> None:
    def row(number: int, kind: str = "organisation.document") -> ClaimedDelivery:
        return ClaimedDelivery(number, "telegram", kind, f"k{number}", "s", "r", {}, 1, NOW, None, 0, None)

    hear(house, "stop")
    stops = Stops(house.database, except_kinds=[ANSWER_KIND])
    hers, others, answer = row(1), row(2), row(3, ANSWER_KIND)
    found = {hers: 1_077, others: 2_088, answer: 1_077}
    assert stops.refusals(house.account_id, found) == {hers: ANSWERED_STOP}
    assert stops.refusals(house.account_id + 1, found) == {}
    hear(house, "start")
    assert stops.refusals(house.account_id, found) == {}


def test_a_number_that_is_removed_and_added_again_is_the_same_to_the_person(known: House) -> None:
    hear(known, "stop")
    known.recipients.remove(known.org, "anna", actor="test")
    with known.database.write() as session:
        session.execute(delete(TelegramAccount))
    known.organisations.set_telegram(known.org, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    account_id = known.view().status.account_id
    assert account_id is not None
    known.account_id = account_id
    known.sign_in(account_id, OWN_ID)
    known.meet(ANNA)
    known.add("other", telegram="@anna")
    assert stopped(known, "other")
    known.sign_in(account_id, OWN_ID + 1)  # the same account, but somebody else
    assert not stopped(known, "other")


def test_it_goes_along_with_an_organisation_to_another_number(known: House) -> None:
    hear(known, "stop")
    known.add("other", telegram=ANNAS_PHONE)
    known.organisations.set_telegram(known.org, "+79169999999", api_id=1, api_hash="f" * 32, actor="test")
    assert stopped(known, "other")
    account_id = known.view().status.account_id
    assert account_id is not None
    known.sign_in(account_id, OWN_ID + 1)
    known.account_id = account_id
    hear(known, "start")
    assert not stopped(known, "anna")
    assert not stopped(known, "other")


def test_a_test_of_a_template_is_not_sent_to_who_stopped(known: House) -> None:
    hear(known, "stop")
    known.add("other", telegram=ANNAS_PHONE)
    with pytest.raises(ConflictError, match="STOP"):
        known.wording.send_test(known.org, "other", kind="default", purpose="notice", actor="test")


def test_a_click_over_mattermost_does_not_lift_what_was_said_over_telegram(known: House) -> None:
    boris = FakePeople.ids["boris"]
    known.add("anna", mattermost="boris", second_channel="mattermost")
    recipient_id = _id(known, "anna")
    hear(known, "stop")
    assert known.recipients.press(boris, recipient_id, Word.START) == Pressed("Vega", stays_stopped=True)
    speaker = Speaker(boris, Texts.for_locale("en"), "UTC", None, ())
    answer = press_subscription(speaker, known.recipients, {"recipient": str(recipient_id), "word": "start"})
    assert "answer START there" in answer.text
    assert answer.rows == ()
    assert stopped(known, "anna")
    hear(known, "start")
    assert known.recipients.press(boris, recipient_id, Word.STOP) == Pressed("Vega")
    assert stopped(known, "anna")
    assert known.recipients.press(boris, recipient_id, Word.START) == Pressed("Vega")
    assert not stopped(known, "anna")


def _id(house: House, external_id: str) -> int:
    with house.database.read() as session:
        return session.scalars(select(Recipient.id).where(Recipient.external_id == external_id)).one()
