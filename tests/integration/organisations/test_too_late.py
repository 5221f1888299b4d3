"""A message that waited in vain over one channel goes over the other while it is of use; else its sender sees why not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from switchboard.services.organisations.events import Accepted
from switchboard.services.organisations.mailings import MailingSettings
from tests.integration.organisations.house import NOW, House, peer

OUT_FOR = timedelta(days=8)
"""Longer than a notice waits."""


@pytest.fixture
def anna(house: House) -> House:
    house.add("anna", mattermost="anna", second_channel="mattermost")
    return house


def give_up(house: House) -> None:
    """The number is out for the whole time of what waits for it."""
    house.clock.forward(seconds=OUT_FOR.total_seconds())
    house.ledger.scan_open()
    house.following.follow()


def give_up_and_go_on(house: House) -> None:
    give_up(house)
    house.send()


def shown(house: House, event: Accepted) -> list[tuple[str | None, str, str | None]]:
    """Channel, state and reason of each message."""
    return [(one.channel, one.state, one.reason) for one in house.deliveries(event.event_id)]


@pytest.mark.parametrize("deadline", [None, NOW + timedelta(days=20)])
def test_a_notice_goes_over_the_second_channel_while_it_is_of_use(anna: House, deadline: object) -> None:
    event = anna.post("anna", deadline_at=deadline)
    give_up_and_go_on(anna)
    assert shown(anna, event)[:2] == [
        ("telegram", "given_up", "came too late"),
        ("mattermost", "sent", "telegram: came too late"),
    ]
    assert [head for _, head in anna.mattermost.heads()] == ["Document 7/A waits for you"]
    assert anna.telegram.arrived == []


def test_it_is_of_use_up_to_the_deadline_and_no_longer(anna: House) -> None:
    deadline = NOW + OUT_FOR + timedelta(hours=1)
    anna.post("anna", deadline_at=deadline)
    give_up(anna)
    assert [row.expires_at for row in anna.rows()][1:2] == [deadline]


def test_after_the_deadline_the_sender_sees_why_it_went_no_other_way(anna: House) -> None:
    event = anna.post("anna", deadline_at=NOW + timedelta(days=8))
    give_up_and_go_on(anna)
    assert shown(anna, event) == [("telegram", "given_up", "mattermost: the deadline has passed; came too late")]
    anna.events.processed(anna.org, event.event_id)
    anna.send()
    assert shown(anna, event) == [("telegram", "given_up", "mattermost: the deadline has passed; came too late")]
    assert anna.mattermost.arrived == []


def test_what_was_processed_meanwhile_goes_no_other_way(anna: House) -> None:
    event = anna.post("anna")
    anna.events.processed(anna.org, event.event_id)
    give_up_and_go_on(anna)
    assert shown(anna, event) == [
        ("telegram", "given_up", "mattermost: the document has been processed; came too late")
    ]
    assert anna.mattermost.arrived == []


def test_who_stopped_or_opted_out_meanwhile_gets_it_no_other_way(anna: House) -> None:
    anna.add("boris", mattermost="boris", second_channel="mattermost")
    event = anna.post("anna", "boris")
    anna.recipients.hear(anna.account_id, peer("anna"), "stop")
    anna.add("boris", mattermost="boris", second_channel="mattermost", opted_in=False)
    give_up_and_go_on(anna)
    assert shown(anna, event) == [
        ("telegram", "given_up", "mattermost: the recipient answered STOP; came too late"),
        ("telegram", "given_up", "mattermost: the recipient opted out; came too late"),
    ]
    assert anna.mattermost.arrived == []


def test_a_digest_goes_on_with_what_is_of_use(anna: House) -> None:
    anna.add("anna", mattermost="anna", second_channel="mattermost", digest="hour")
    early = anna.post("anna", key="1", deadline_at=NOW + timedelta(days=3))
    late = anna.post("anna", key="2", title="late", deadline_at=NOW + timedelta(days=30))
    anna.clock.forward(hours=1)
    assert anna.digests.collect().count == 2
    give_up_and_go_on(anna)
    assert shown(anna, early) == [("telegram", "given_up", "mattermost: the deadline has passed; came too late")]
    assert shown(anna, late)[1] == ("mattermost", "sent", "telegram: came too late")
    assert len(anna.mattermost.arrived) == 1


def test_a_mailing_is_over_with_its_time(anna: House) -> None:
    settings = MailingSettings(name="menu", rule="0 9 * * *", texts={"en": "Soup"})
    mailing = anna.mailings.create(anna.org, settings, actor="test")
    event = anna.mailings.send_now(anna.org, mailing.id, "now", actor="test")
    give_up_and_go_on(anna)
    assert shown(anna, event) == [
        ("telegram", "given_up", "mattermost: the time of the mailing is over; came too late")
    ]
    assert anna.mattermost.arrived == []


def test_who_has_one_channel_alone_is_told_nothing_more(house: House) -> None:
    house.add("anna")
    event = house.post("anna")
    give_up_and_go_on(house)
    assert shown(house, event) == [("telegram", "given_up", "came too late")]
