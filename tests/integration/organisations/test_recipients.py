"""Recipients: upserts that never undo a STOP, addresses that are understood, answers, and the words they get."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from switchboard.db.models import AuditEntry, Recipient, TelegramPeer
from switchboard.domain.telegram import peers
from switchboard.errors import ConflictError, InvalidInputError, InvalidInputsError, NotFoundError
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.organisations.recipients import Heard, Peer, RecipientSettings, telegram_address
from switchboard.services.telegram.peers import Peers
from tests.integration.organisations.house import API_HASH, API_ID, NOW, PHONE, SUPPORT, House, peer

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)


def test_the_same_again_changes_nothing(house: House) -> None:
    house.add("anna", name="Anna", quiet_from="22:00", quiet_until="8:00", zone="Asia/Tokyo", language="ru")
    before = house.recipients.get(house.org, "anna")
    house.clock.forward(hours=1)
    house.add("anna", name="Anna", quiet_from="22:00", quiet_until="8:00", zone="Asia/Tokyo", language="ru")
    assert house.recipients.get(house.org, "anna") == before
    with house.database.read() as session:
        count = select(func.count()).where(AuditEntry.action == "recipient.put")
        assert session.scalar(count) == 1


@both
def test_ten_upserts_at_once_make_one_recipient(house: House) -> None:
    start = threading.Barrier(10)
    created: list[bool] = []

    def put(number: int) -> None:
        start.wait()
        settings = RecipientSettings(opted_in=True, telegram="@anna", name=f"n{number}")
        created.append(house.recipients.put(house.org, "anna", settings, actor="test")[1])

    threads = [threading.Thread(target=put, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(created) == [False] * 9 + [True]
    assert house.view().recipients == 1


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"channel": "email"}, "channel"),
        ({"second_channel": "telegram"}, "second_channel"),
        ({"second_channel": "fax"}, "second_channel"),
        ({"second_channel": "mattermost"}, "mattermost"),
        ({"telegram": None}, "telegram"),
        ({"telegram": "anna"}, "telegram"),
        ({"telegram": "89161234567"}, "telegram"),
        ({"telegram": str(2**40)}, "telegram"),
        ({"mattermost": "nobody"}, "mattermost"),
        ({"quiet_from": "25:00", "quiet_until": "8:00"}, "quiet_from"),
        ({"zone": "Mars/Base"}, "zone"),
        ({"language": "xx"}, "language"),
    ],
)
def test_a_wrong_setting_is_named(house: House, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        house.add("anna", **settings)
    assert refused.value.field == field
    assert "nobody" not in str(refused.value)


@pytest.mark.parametrize("name", ["", " a", "a/b", "x" * 129, "a\n"])
def test_an_external_id_that_no_address_can_hold_is_refused(house: House, name: str) -> None:
    with pytest.raises(InvalidInputError):
        house.add(name, telegram="@anna")


def test_a_number_as_long_as_a_phone_is_an_id_only_of_somebody_whom_an_account_has_met(house: House) -> None:
    number = 79161234567
    with pytest.raises(InvalidInputError, match="begin a phone with"):
        house.add("anna", telegram=str(number))
    seen = peers.SeenPeer(peers.Peer(peers.PeerKind.USER, number, 1), "Anna")
    Peers(house.database, house.clock).remember(house.account_id, [seen])
    house.add("anna", telegram=str(number))
    house.add("boris", telegram="9999999999")
    assert house.recipients.get(house.org, "anna").telegram == str(number)


def test_addresses_have_one_spelling() -> None:
    assert telegram_address(" @Anna_I ") == "@anna_i"
    assert telegram_address("+7 (916) 123-45-67") == PHONE
    assert telegram_address("123456789") == "123456789"


def test_stop_is_heard_answered_and_outlives_upserts_until_start(house: House) -> None:
    house.add("anna")
    assert house.recipients.hear(house.account_id, peer("anna"), "Стоп!") is Heard.STOPPED
    assert house.recipients.hear(house.account_id, peer("anna"), "STOP") is Heard.STOPPED
    house.send()
    assert house.telegram.arrived == [("@anna", "You get no more messages of Vega. To get them again, answer START.")]
    house.add("anna", name="Anna P.")
    assert house.recipients.get(house.org, "anna").stopped_at == NOW
    assert house.states(house.post("anna").event_id) == [("anna", "notice", None, "stopped")]
    house.clock.forward(minutes=1)
    assert house.recipients.hear(house.account_id, peer("anna"), "/start") is Heard.STARTED
    house.send()
    assert house.telegram.heads()[-1][1].startswith("You get the messages of Vega again.")
    house.post("anna", key="k2", kind="again")
    house.send()
    assert house.telegram.heads()[-1][1] == "Document 7/A waits for you"


def test_a_stop_outlives_the_removal_and_another_name_for_the_same_address(house: House) -> None:
    house.add("anna", name="Anna")
    house.recipients.hear(house.account_id, peer("anna"), "stop")
    house.add("anna-2", telegram="@ANNA")
    assert house.recipients.get(house.org, "anna-2").stopped_at == NOW
    house.recipients.remove(house.org, "anna", actor="test")
    with pytest.raises(NotFoundError):
        house.recipients.get(house.org, "anna")
    with house.database.read() as session:
        kept = session.scalars(select(Recipient).where(Recipient.external_id == "anna")).one()
    assert (kept.name, kept.telegram, kept.telegram_user_id, kept.stopped_at) == ("", None, None, NOW)
    house.add("anna")
    assert house.recipients.get(house.org, "anna").stopped_at == NOW


def test_who_did_not_stop_is_forgotten_whole(house: House) -> None:
    house.add("anna")
    house.post("anna")
    house.recipients.remove(house.org, "anna", actor="test")
    house.send()
    assert house.telegram.arrived == []
    with house.database.read() as session:
        assert session.scalars(select(Recipient)).all() == []


def test_stop_counts_for_every_organisation_of_the_number_and_no_other(house: House) -> None:
    branch = house.organisations.create("Branch", OrganisationChanges(), actor="test").id
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    house.organisations.set_telegram(branch, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    house.organisations.set_telegram(other, "+79169999999", api_id=1, api_hash="f" * 32, actor="test")
    for one in (house.org, branch, other):
        house.add("anna", one)
    house.recipients.hear(house.account_id, peer("anna"), "stop")
    stopped = [house.recipients.get(one, "anna").stopped_at is not None for one in (house.org, branch, other)]
    assert stopped == [True, True, False]
    house.send()
    assert house.telegram.heads() == [
        ("@anna", "You get no more messages of Vega, Branch. To get them again, answer START.")
    ]


def test_a_person_is_known_by_phone_and_afterwards_by_id_whatever_name_they_take(house: House) -> None:
    house.add("anna", telegram="+7 916 000 11 22")
    assert house.recipients.hear(house.account_id, Peer(77, "annie", "79160001122"), "ok") is Heard.ANSWERED
    assert house.recipients.hear(house.account_id, Peer(77, "renamed"), "stop") is Heard.STOPPED
    assert house.recipients.hear(house.account_id, Peer(78, "stranger"), "stop") is Heard.NOT_OURS


@pytest.mark.parametrize("address", ["@anna", "+79160001122", "1077"])
def test_who_was_reached_is_known_under_any_name_and_nobody_else_under_theirs(house: House, address: str) -> None:
    house.add("anna", telegram=address)
    with house.database.write() as session:  # the gateway met them when it sent
        session.add(
            TelegramPeer(
                account_id=house.account_id,
                peer_id=1077,
                kind="user",
                access_hash=1,
                username="Anna",
                phone="+79160001122",
                name="A",
                seen_at=NOW,
            )
        )
    house.post("anna")
    house.send()
    freed = Peer(666, "anna", "+79160001122")
    assert house.recipients.hear(house.account_id, freed, "stop") is Heard.NOT_OURS
    assert house.recipients.get(house.org, "anna").stopped_at is None
    assert house.recipients.hear(house.account_id, Peer(1077, "renamed"), "stop") is Heard.STOPPED


def test_other_answers_are_answered_once_a_day_with_whom_to_ask(house: House) -> None:
    house.add("anna")
    for text in ("thanks", "who are you?"):
        assert house.recipients.hear(house.account_id, peer("anna"), text) is Heard.ANSWERED
    house.send()
    ((_, text),) = house.telegram.arrived
    assert SUPPORT in text
    house.clock.forward(days=1)
    house.recipients.hear(house.account_id, peer("anna"), "hello?")
    house.send()
    assert len(house.telegram.arrived) == 2


def put(house: House, source: str, organisation: int | None = None, **where: str) -> None:
    place = {"kind": "default", "purpose": "notice", "language": "en", **where}
    house.wording.put(
        organisation or house.org, place["kind"], place["purpose"], place["language"], source, actor="test"
    )


def test_the_nearest_template_is_used_for_the_kind_the_purpose_and_the_language(house: House) -> None:
    branch = house.organisations.create("Branch", OrganisationChanges(parent_id=house.org), actor="test").id
    house.organisations.set_telegram(branch, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
    house.add("anna", branch, name="Anna")
    house.add("ivan", branch, language="ru")
    house.org, head = branch, house.org
    said: list[str] = []

    def tell(key: str, kind: str = "to_sign", who: str = "anna") -> None:
        house.post(who, key=key, kind=kind)
        house.send()
        said.append(house.telegram.heads()[-1][1])

    tell("built-in")
    put(house, "holding: {{ number }} of {{ organisation }}", head)
    tell("holding")
    put(house, "holding signs: {{ number }}", head, kind="to_sign")
    tell("holding's kind")
    put(house, "branch: {{ number }} for {{ recipient }}")
    tell("own")
    tell("other language", who="ivan")
    house.wording.remove(branch, "default", "notice", "en", actor="test")
    tell("removed")
    tell("other kind", kind="to_read")
    assert said == [
        "Document 7/A waits for you",
        "holding: 7/A of Branch",
        "holding signs: 7/A",
        "branch: 7/A for Anna",
        "Документ 7/A ждёт вас",
        "holding signs: 7/A",
        "holding: 7/A of Branch",
    ]


def test_a_wrong_template_is_refused_with_every_problem_and_not_stored(house: House) -> None:
    with pytest.raises(InvalidInputsError) as refused:
        put(house, "{{ titel }} {{ number|safe }}")
    assert len(refused.value.problems) == 2
    wrong: list[dict[str, Any]] = [{"kind": "Bad Kind"}, {"purpose": "greeting"}, {"language": "xx"}]
    for where in wrong:
        with pytest.raises(InvalidInputError):
            put(house, "{{ number }}", **where)
    assert house.wording.list_all(house.org) == []


def test_a_test_goes_to_one_who_wants_messages_and_says_it_is_one(house: House) -> None:
    house.add("anna")
    put(house, "<b>{{ number }}</b>: {{ title }}")
    accepted = house.wording.send_test(house.org, "anna", kind="to_sign", purpose="notice", actor="test")
    assert accepted.accounts == [house.account_id]
    house.send()
    assert house.telegram.arrived == [("@anna", "A test of the template:\n123/45: Contract")]
    (rendered,) = house.telegram.rendered
    assert rendered.formatted is not None
    (span,) = rendered.formatted.spans
    assert rendered.formatted.text[span.start : span.end] == "123/45"
    house.recipients.hear(house.account_id, peer("anna"), "stop")
    with pytest.raises(ConflictError, match="STOP"):
        house.wording.send_test(house.org, "anna", kind="to_sign", purpose="notice", actor="test")


def test_the_deadline_is_told_by_the_persons_clock(house: House) -> None:
    house.add("anna", zone="Asia/Tokyo")
    house.post("anna", deadline_at=NOW + timedelta(hours=30))
    house.send()
    assert "Deadline: Nov 25, 00:00" in house.telegram.arrived[0][1]
