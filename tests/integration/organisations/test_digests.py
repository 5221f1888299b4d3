"""Digests: documents are collected, go out in one message, and none of them is lost or told twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import func, select, update
from sqlalchemy.exc import SQLAlchemyError

from switchboard.db.models import Delivery, DeliveryState, DocumentDelivery, DocumentEvent, Recipient
from switchboard.domain.organisations.digests import MOST_DOCUMENTS
from switchboard.domain.organisations.markup import Style
from switchboard.domain.telegram.pacing import Limits
from switchboard.errors import InvalidInputsError, RemoteRejectedError
from switchboard.services.organisations.digests import Digests
from switchboard.services.organisations.events import Accepted, NewEvent
from switchboard.services.organisations.following import Following
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.retention import Retention
from tests.integration.organisations.house import NOW, House, peer

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
PRIVACY = RemoteRejectedError("Telegram refused messages.sendMessage: privacy", status=403)
HOUR = NOW + timedelta(hours=1)  # NOW is noon in Moscow; an event of that instant waits an hour
REMINDER = "Document 1 still waits for you"


def post(house: House, *names: str, number: int | str, **document: Any) -> int:
    event = NewEvent(kind="to_sign", number=str(number), recipients=names, **document)
    return accept(house, f"key {number}", event).event_id


def accept(house: House, key: str, event: NewEvent) -> Accepted:
    return house.events.accept(house.org, key, f"{event.number} {event.recipients}".encode(), event)


def collect(house: House, *, hours: float = 1) -> int:
    """The documents that a pass so much later took."""
    house.clock.forward(hours=hours)
    return house.digests.collect().count


def states(house: House, event_ids: Sequence[int]) -> list[list[str]]:
    return [[one.state for one in house.deliveries(event_id)] for event_id in event_ids]


def links(house: House) -> Sequence[DocumentDelivery]:
    with house.database.read() as session:
        return session.scalars(select(DocumentDelivery).order_by(DocumentDelivery.id)).all()


def test_what_comes_within_an_hour_is_one_message_that_names_each_document(house: House) -> None:
    house.add("anna", digest="hour")
    first = post(house, "anna", number="7/A", title="Lease", link="https://docs.example/7")
    second = post(house, "anna", number="8/B", deadline_at=NOW + timedelta(days=2))
    third = post(house, "anna", number="9/C", title="Act")
    assert collect(house, hours=0.99) == 0
    (waiting,) = house.deliveries(first)
    assert (waiting.state, waiting.channel, waiting.digest_at) == ("collected", "telegram", HOUR)
    view = house.events.get(house.org, first)
    assert (view.counts, view.done, view.expected_by) == ({"collected": 1}, False, HOUR)
    assert [one.id for one in house.deliveries(first, state="collected")] == [waiting.id]
    assert collect(house, hours=0.01) == 3
    assert states(house, [first, second, third]) == [["waiting"]] * 3
    house.send()
    ((to, text),) = house.telegram.arrived
    assert (to, text.split("\n")) == (
        "@anna",
        [
            "3 documents wait for you",
            "• 7/A Lease",
            "• 8/B, until Nov 25, 12:00",
            "• 9/C Act",
            "Vega",
            "To get no more of these messages, answer STOP.",
        ],
    )
    assert states(house, [first, second, third]) == [["sent"]] * 3
    assert [one.digest_at for one in house.deliveries(first)] == [None]
    (row,) = house.rows()
    assert row.body == {"recipient_id": house_recipient(house).id}
    assert house_recipient(house).contacted_at == house.clock.now
    house.read_by("anna")
    assert states(house, [first, second, third]) == [["read"]] * 3
    assert house.events.get(house.org, second).done


def house_recipient(house: House, name: str = "anna") -> Recipient:
    with house.database.read() as session:
        return session.scalars(select(Recipient).where(Recipient.external_id == name)).one()


def test_one_document_is_told_as_a_notice_and_who_has_not_read_is_known_of_each(house: House) -> None:
    house.add("anna", digest="hour")
    house.add("boris", digest="hour")
    alone = post(house, "anna", number=1)
    collect(house)
    house.send()
    assert house.telegram.heads() == [("@anna", "Document 1 waits for you")]
    event_ids = [post(house, "anna", "boris", number=number) for number in (2, 3)]
    collect(house)
    house.send()
    house.read_by("boris")
    assert [d.recipient for d in house.deliveries(event_ids[0], unread=True)] == ["anna"]
    assert [d.recipient for d in house.deliveries(event_ids[1], unread=True)] == ["anna"]
    house.events.processed(house.org, alone)
    house.send()
    assert house.telegram.texts["telegram-0"].startswith("Document 1 has been processed")


def test_a_digest_goes_over_mattermost_too(house: House) -> None:
    house.add("anna", channel="mattermost", mattermost="anna", telegram=None, digest="hour")
    for number in (1, 2):
        post(house, "anna", number=number, title="Lease", link="https://docs.example/7")
    house.clock.forward(hours=1)
    assert [len(batch) for batch in house.digests.collect().batches] == [1]
    house.send()
    assert house.mattermost.heads() == [("a" * 26, "2 documents wait for you")]
    assert "• **1** [Lease](https://docs.example/7)" in house.mattermost.rendered[0].message.text
    assert "STOP" not in house.mattermost.arrived[0][1]


def test_what_is_urgent_or_due_before_the_digest_goes_out_at_once(house: House) -> None:
    house.add("anna", digest="day")
    urgent = post(house, "anna", number=1, urgent=True)
    soon = post(house, "anna", number=2, deadline_at=NOW + timedelta(hours=20))
    later = post(house, "anna", number=3, deadline_at=NOW + timedelta(days=2))
    house.send()
    assert states(house, [urgent, soon, later]) == [["sent"], ["sent"], ["collected"]]
    assert house.deliveries(later)[0].digest_at == NOW + timedelta(hours=21)  # nine in the morning in Moscow


def test_the_same_event_again_is_not_collected_again(house: House) -> None:
    house.add("anna", digest="hour")
    first = post(house, "anna", number=1)
    assert post(house, "anna", number=1) == first
    assert collect(house) == 1
    assert post(house, "anna", number=1) == first
    assert house.digests.collect().count == 0
    assert len(house.rows()) == len(links(house)) == 1


def test_nothing_of_a_large_digest_is_left_unnamed(house: House) -> None:
    house.add("anna", digest="hour")
    for number in range(2 * MOST_DOCUMENTS + 1):
        post(house, "anna", number=f"no{number:02}", title="W" * 500, deadline_at=NOW + timedelta(days=2))
    assert collect(house) == 2 * MOST_DOCUMENTS + 1
    assert house.digests.collect().count == 0
    house.send()
    assert [head for _, head in house.telegram.heads()] == [
        *[f"{MOST_DOCUMENTS} documents wait for you"] * 2,
        f"Document no{2 * MOST_DOCUMENTS} waits for you",
    ]
    told = "\n".join(text for _, text in house.telegram.arrived)
    assert all(told.count(f"no{number:02}") == 1 for number in range(2 * MOST_DOCUMENTS + 1))


# --- once and never lost ------------------------------------------------------------------------------------------------


@both
def test_passes_at_once_name_every_document_once_while_events_keep_coming(house: House) -> None:
    people = [f"person{number}" for number in range(5)]
    for name in people:
        house.add(name, digest="hour")
    for number in range(8):
        post(house, *people, number=number)
    house.clock.forward(hours=2)
    start = threading.Barrier(7)
    failures: list[Exception] = []

    def of_a_pass(_: int) -> None:
        for _ in range(4):
            Digests(house.database, house.clock, Limits(between_s=0, between_first_s=0)).collect(limit=3)

    def of_a_late_event(number: int) -> None:  # stored by one whose clock is behind: its hour went out already
        for late in range(3):
            event_id = post(house, *people, number=f"late {number} {late}")
            with house.database.write() as session:
                of_it = update(DocumentDelivery).where(DocumentDelivery.event_id == event_id)
                session.execute(of_it.where(DocumentDelivery.digest_at.is_not(None)).values(digest_at=HOUR))

    def work(act: Callable[[int], None], number: int) -> None:
        start.wait(60)
        try:
            act(number)
        except (SQLAlchemyError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(of_a_pass, number)) for number in range(5)]
    threads += [threading.Thread(target=work, args=(of_a_late_event, number)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    while house.digests.collect().count:
        pass
    house.send()
    told: Counter[tuple[str, str]] = Counter()
    for to, text in house.telegram.arrived:
        head, *rest = text.split("\n")
        numbers = [line.removeprefix("• ") for line in rest if line.startswith("• ")]
        told.update(
            (to, number) for number in numbers or [head.removeprefix("Document ").removesuffix(" waits for you")]
        )
    numbers = [*map(str, range(8)), *(f"late {number} {late}" for number in range(2) for late in range(3))]
    assert told == Counter({(f"@{name}", number): 1 for name in people for number in numbers})
    of_rows = Counter(link.delivery_id for link in links(house))
    assert set(of_rows) == {row.id for row in house.rows()}
    assert {link.state for link in links(house)} == {None}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_person_whom_another_pass_has_in_hand_is_left_to_it(house: House) -> None:
    house.add("anna", digest="hour")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    house.clock.forward(hours=1)
    in_hand, go_on = threading.Event(), threading.Event()
    counts: dict[str, int] = {}

    def collect_as(name: str) -> None:
        counts[name] = house.digests.collect().count

    first = threading.Thread(target=collect_as, args=("first",))
    second = threading.Thread(target=collect_as, args=("second",))

    def hold(*_: object) -> None:
        if threading.current_thread() is first:
            in_hand.set()
            go_on.wait(60)

    sqlalchemy_event.listen(house.database.engine, "commit", hold)
    try:
        first.start()
        assert in_hand.wait(60)
        event_ids.append(post(house, "anna", number=3))
        with house.database.write() as session:
            late = update(DocumentDelivery).where(DocumentDelivery.event_id == event_ids[2])
            session.execute(late.values(digest_at=HOUR))
        second.start()
        second.join(20)
        assert counts == {"second": 0}
    finally:
        go_on.set()
        first.join(60)
        second.join(60)
        sqlalchemy_event.remove(house.database.engine, "commit", hold)
    assert counts == {"first": 2, "second": 0}
    house.send()
    assert house.digests.collect().count == 1
    house.send()
    assert [head for _, head in house.telegram.heads()] == ["2 documents wait for you", "Document 3 waits for you"]


@both
def test_a_pass_that_dies_before_its_end_leaves_everything_to_the_next(house: House) -> None:
    house.add("anna", digest="hour")
    for number in (1, 2):
        post(house, "anna", number=number)
    house.clock.forward(hours=1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    sqlalchemy_event.listen(house.database.engine, "commit", die)
    try:
        with pytest.raises(KeyboardInterrupt):
            house.digests.collect()
    finally:
        sqlalchemy_event.remove(house.database.engine, "commit", die)
    assert house.rows() == []
    assert house.digests.collect().count == 2
    house.send()
    assert house.telegram.heads() == [("@anna", "2 documents wait for you")]


def test_a_pass_whose_hint_was_lost_is_sent_by_the_scan_of_the_ledger(house: House) -> None:
    house.add("anna", digest="hour")
    post(house, "anna", number=1)
    collect(house)  # nobody heard what it returned
    house.send()
    assert len(house.telegram.arrived) == 1


def test_an_event_that_is_stored_late_for_the_same_hour_is_told_in_a_digest_of_its_own(house: House) -> None:
    house.add("anna", digest="hour")
    first = post(house, "anna", number=1)
    assert collect(house) == 1
    house.send()
    late = post(house, "anna", number=2)
    with house.database.write() as session:
        session.execute(update(DocumentDelivery).where(DocumentDelivery.event_id == late).values(digest_at=HOUR))
    assert house.digests.collect().count == 1
    house.send()
    assert [head for _, head in house.telegram.heads()] == ["Document 1 waits for you", "Document 2 waits for you"]
    assert states(house, [first, late]) == [["sent"], ["sent"]]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_document_that_is_changed_just_now_is_left_to_the_next_pass(house: House) -> None:
    house.add("anna", digest="hour")
    first, second = (post(house, "anna", number=number) for number in (1, 2))
    house.clock.forward(hours=1)
    with house.database.write() as session:
        session.execute(update(DocumentDelivery).where(DocumentDelivery.event_id == first).values(reason="in hand"))
        assert house.digests.collect().count == 1
    assert states(house, [first, second]) == [["collected"], ["waiting"]]
    assert house.digests.collect().count == 1


# --- what changes meanwhile ---------------------------------------------------------------------------------------------


def test_what_is_processed_before_the_digest_is_not_in_it(house: House) -> None:
    house.add("anna", digest="hour")
    event_ids = [post(house, "anna", number=number) for number in (1, 2, 3)]
    house.events.processed(house.org, event_ids[0])
    (closed,) = house.deliveries(event_ids[0])
    assert (closed.state, closed.reason) == ("given_up", "the document has been processed")
    assert collect(house) == 2
    house.events.processed(house.org, event_ids[1])
    house.send()
    assert house.telegram.heads() == [("@anna", "Document 3 waits for you")]
    assert house.events.get(house.org, event_ids[0]).done


def test_a_digest_of_which_everything_is_processed_is_not_sent(house: House) -> None:
    house.add("anna", digest="hour")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    collect(house)
    for event_id in event_ids:
        house.events.processed(house.org, event_id)
    house.send()
    assert house.telegram.arrived == []
    assert states(house, event_ids) == [["given_up"], ["given_up"]]


def test_what_a_digest_left_out_because_it_was_processed_is_not_said_to_be_sent(house: House) -> None:
    house.add("anna", digest="hour", quiet_from="12:30", quiet_until="12:40")
    event_ids = [post(house, "anna", number=number) for number in (1, 2, 3)]
    assert collect(house) == 3
    house.events.processed(house.org, event_ids[0])
    house.clock.forward(minutes=30)
    house.send()
    assert [head for _, head in house.telegram.heads()] == ["2 documents wait for you"]
    assert len(house.telegram.rendered) == 1
    assert states(house, event_ids) == [["given_up"], ["sent"], ["sent"]]
    assert house.deliveries(event_ids[0], unread=True) == []


def test_processed_documents_are_struck_out_of_the_digest_with_one_change_for_several(house: House) -> None:
    house.add("anna", digest="hour")
    event_ids = [post(house, "anna", number=number, title="Lease") for number in (1, 2, 3)]
    collect(house)
    house.send()
    for event_id in event_ids[:2]:
        house.events.processed(house.org, event_id)
    house.send()
    assert len(house.telegram.arrived) == 1
    edits = [one for one in house.telegram.rendered if one.edits is not None]
    assert [one.edits for one in edits] == ["telegram-0"]
    assert edits[0].formatted is not None
    assert edits[0].formatted.text.startswith("1 document waits for you\n• 3 Lease\n• 1 Lease\n• 2 Lease\nVega")
    struck = [edits[0].formatted.text[s.start : s.end] for s in edits[0].formatted.spans if s.style is Style.STRIKE]
    assert struck == ["• 1 Lease", "• 2 Lease"]
    house.events.processed(house.org, event_ids[2])
    house.send()
    assert house.telegram.texts["telegram-0"].startswith("All these documents have been processed\n• 1 Lease")
    assert len(house.telegram.rendered) == 3


def test_a_refused_digest_goes_to_the_second_channel_as_one_and_is_read_of_there(house: House) -> None:
    house.add("anna", digest="hour", second_channel="mattermost", mattermost="anna")
    event_ids = [post(house, "anna", number=number) for number in (1, 2, 3)]
    house.telegram.refusals = {"@anna": PRIVACY}
    collect(house)
    house.events.processed(house.org, event_ids[2])
    house.send()
    assert house.mattermost.heads() == [("a" * 26, "2 documents wait for you")]
    assert states(house, event_ids[:2]) == [["undeliverable", "sent"]] * 2
    assert [one.channel for one in house.deliveries(event_ids[0])] == ["telegram", "mattermost"]
    assert "privacy" in str(house.deliveries(event_ids[1])[1].reason)
    assert house.events.get(house.org, event_ids[0]).counts == {"sent": 1}
    house.events.processed(house.org, event_ids[0])
    house.send()
    assert house.mattermost.texts["mattermost-0"].startswith("1 document waits for you\n• 2\n• 1")


def test_a_digest_that_waits_for_a_number_which_was_given_up_goes_to_the_second_channel_as_one(house: House) -> None:
    house.add("anna", digest="hour", second_channel="mattermost", mattermost="anna")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    collect(house)
    house.organisations.unset_telegram(house.org, actor="test")
    house.following.move()
    house.send()
    assert house.telegram.arrived == []
    assert house.mattermost.heads() == [("a" * 26, "2 documents wait for you")]
    assert states(house, event_ids) == [["undeliverable", "sent"]] * 2


@both
def test_two_passes_over_a_refused_digest_make_one_of_it(house: House) -> None:
    house.add("anna", digest="hour", second_channel="mattermost", mattermost="anna")
    for number in range(6):
        post(house, "anna", number=number)
    collect(house)
    with house.database.write() as session:
        session.execute(update(Delivery).values(state=DeliveryState.DEAD, finished_at=NOW, reason="privacy"))
    start = threading.Barrier(4)

    def follow() -> None:
        start.wait(60)
        Following(house.database, house.clock).follow(limit=4)

    threads = [threading.Thread(target=follow) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    while house.following.follow().count:
        pass
    by_row = Counter(link.delivery_id for link in links(house) if link.channel == "mattermost")
    assert sum(by_row.values()) == 6
    house.send()
    told = "\n".join(text for _, text in house.mattermost.arrived)
    assert [told.count(f"• {number}\n") for number in range(6)] == [1] * 6


def test_nobody_is_told_who_meanwhile_stopped_opted_out_or_was_removed(house: House) -> None:
    for name in ("anna", "boris", "clara", "dmitry", "erika"):
        house.add(name, digest="hour")
    event_id = post(house, "anna", "boris", "clara", "dmitry", "erika", number=1)
    house.recipients.hear(house.account_id, peer("anna"), "STOP")
    house.add("boris", digest="hour", opted_in=False)
    house.recipients.remove(house.org, "clara", actor="test")
    house.recipients.hear(house.account_id, peer("dmitry"), "STOP")
    house.recipients.remove(house.org, "dmitry", actor="test")
    house.add("erika", digest="hour", channel="mattermost", mattermost="anna", telegram=None)
    house.organisations.unset_telegram(house.org, actor="test")
    collect(house)
    house.send()
    assert [(d.recipient, d.channel, d.state) for d in house.deliveries(event_id)] == [
        ("anna", None, "stopped"),
        ("boris", None, "opted_out"),
        ("clara", None, "removed"),
        ("dmitry", None, "removed"),
        ("erika", "mattermost", "sent"),
    ]
    assert [one for one in links(house) if one.digest_at is not None] == []


def test_who_stops_between_the_digest_and_the_sending_gets_nothing(house: House) -> None:
    house.add("anna", digest="hour")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    collect(house)
    house.recipients.hear(house.account_id, peer("anna"), "стоп")
    house.send()
    assert [head for _, head in house.telegram.heads()] == [
        "You get no more messages of Vega. To get them again, answer START."
    ]
    assert states(house, event_ids) == [["given_up"], ["given_up"]]


def test_a_reminder_is_single_and_none_is_sent_of_a_digest_that_did_not_go_out(house: House) -> None:
    house.add("anna", digest="hour")
    house.add("boris", digest="hour")
    deadline = NOW + timedelta(days=2)
    event_ids = [post(house, "anna", number=number, deadline_at=deadline) for number in (1, 2)]
    collect(house)
    house.send()
    early = post(house, "boris", number=3, deadline_at=deadline, remind_before=timedelta(hours=46, minutes=30))
    house.clock.forward(minutes=45)
    assert house.following.remind().count == 1
    house.send()
    assert states(house, [early]) == [["collected"]]
    house.clock.forward(days=1)
    house.events.processed(house.org, event_ids[1])
    house.following.remind()
    house.send()
    assert [text for to, text in house.telegram.heads() if to == "@anna"] == ["2 documents wait for you", REMINDER]


def test_what_was_erased_while_it_was_collected_is_not_told(house: House) -> None:
    house.add("anna", digest="day")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    with house.database.write() as session:
        old = update(DocumentEvent).where(DocumentEvent.id == event_ids[0])
        session.execute(old.values(created_at=NOW - timedelta(days=91)))
    assert Retention(house.database, timedelta(days=90)).erase(NOW).document_events == 1
    assert collect(house, hours=21) == 2
    house.send()
    assert house.telegram.heads() == [("@anna", "Document 2 waits for you")]
    assert states(house, event_ids) == [["given_up"], ["sent"]]


def test_a_digest_that_quiet_hours_hold_back_waits_for_their_end(house: House) -> None:
    house.add("anna", digest="hour", quiet_from="12:30", quiet_until="15:00")
    event_ids = [post(house, "anna", number=number) for number in (1, 2)]
    assert house.deliveries(event_ids[0])[0].digest_at == NOW + timedelta(hours=3)
    house.add("anna", digest="none", quiet_from="12:30", quiet_until="15:00")
    assert collect(house, hours=0.75) == 2
    house.send()
    (held, *_) = house.deliveries(event_ids[0])
    assert (held.state, held.reason, held.not_before) == ("waiting", "quiet hours", NOW + timedelta(hours=3))
    house.clock.forward(hours=3)
    house.send()
    assert house.telegram.heads() == [("@anna", "2 documents wait for you")]


def test_many_digests_of_one_hour_are_dealt_out_like_a_mailing(house: House) -> None:
    house.pace(Limits(between_s=1, between_first_s=60))
    names = [f"person{number}" for number in range(5)]
    for name in names:
        house.add(name, digest="hour")
    event_id = post(house, *names, number=1)
    assert house.events.get(house.org, event_id).expected_by == HOUR + timedelta(minutes=5)
    collect(house)
    assert [row.next_attempt_at - HOUR for row in house.rows()] == [timedelta(minutes=number) for number in range(5)]


# --- whose habit it is --------------------------------------------------------------------------------------------------


def test_a_recipient_without_a_habit_has_that_of_the_nearest_organisation_above(house: House) -> None:
    def due(key: str) -> list[datetime | None]:
        event_id = accept(
            house, key, NewEvent(kind="to_sign", number=key, recipients=["anna", "boris", "clara"])
        ).event_id
        return [one.digest_at for one in house.deliveries(event_id)]

    house.add("anna")
    house.add("boris", digest="none")
    house.add("clara", digest="day", digest_at="13:30")
    parent = house.organisations.create("Holding", OrganisationChanges(digest="day"), actor="test").id
    half_past = NOW + timedelta(hours=1, minutes=30)
    assert due("1") == [None, None, half_past]
    house.organisations.update(house.org, OrganisationChanges(parent_id=parent), actor="test")
    assert due("2") == [NOW + timedelta(hours=21), None, half_past]
    house.organisations.update(parent, OrganisationChanges(digest_at="18:00"), actor="test")
    assert due("3") == [NOW + timedelta(hours=6), None, half_past]
    house.organisations.update(house.org, OrganisationChanges(digest="hour"), actor="test")
    assert due("4") == [HOUR, None, half_past]
    house.organisations.update(house.org, OrganisationChanges(digest=""), actor="test")
    assert due("5") == [NOW + timedelta(hours=6), None, half_past]
    view = house.organisations.get(parent)
    assert (view.digest, view.digest_at, house.view().digest) == ("day", "18:00", "")


def test_when_the_habit_changes_what_was_collected_goes_out_with_the_next_pass(house: House) -> None:
    parent = house.organisations.create("Holding", OrganisationChanges(digest="day"), actor="test").id
    house.organisations.update(house.org, OrganisationChanges(parent_id=parent), actor="test")
    house.add("anna")
    house.add("boris", digest="day")
    event_id = post(house, "anna", "boris", number=1)
    house.organisations.update(parent, OrganisationChanges(support_contact="101"), actor="test")
    house.add("anna", name="Anna")
    assert house.digests.collect().count == 0
    house.organisations.update(parent, OrganisationChanges(digest="none"), actor="test")
    assert house.digests.collect().count == 1
    assert [one.state for one in house.deliveries(event_id)] == ["waiting", "collected"]
    house.add("boris", digest="none")
    assert house.digests.collect().count == 1
    house.send()
    assert house.events.get(house.org, event_id).counts == {"sent": 2}


def test_an_organisation_words_the_lines_of_its_digests_by_kind(house: House) -> None:
    with pytest.raises(InvalidInputsError, match="name the number"):
        house.wording.put(house.org, "to_sign", "digest", "en", "{{ title }}", actor="test")
    source = "<b>sign {{ number }}</b>{% if title %} {{ title }}{% endif %}"
    house.wording.put(house.org, "to_sign", "digest", "en", source, actor="test")
    house.add("anna", digest="hour")
    post(house, "anna", number=1, title="Lease\nof Mars")
    accept(house, "other", NewEvent(kind="to_read", number="2", recipients=["anna"]))
    collect(house)
    house.send()
    assert house.telegram.arrived[0][1].split("\n")[1:3] == ["sign 1 Lease of Mars", "• 2"]
    house.wording.send_test(house.org, "anna", kind="to_sign", purpose="digest", actor="test")
    house.send()
    assert house.telegram.arrived[1][1] == "A test of the template:\nsign 123/45 Contract"


def test_a_pass_counts_nothing_where_nothing_is_due(house: House) -> None:
    house.add("anna", digest="hour")
    post(house, "anna", number=1)
    assert house.digests.collect().count == 0
    with house.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 0
