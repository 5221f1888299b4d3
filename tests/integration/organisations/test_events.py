"""Document events on both databases: taken once, told to those who want it, over the channel that works."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import sqlalchemy.event
from sqlalchemy import func, select, update

from switchboard.db.models import AuditEntry, Delivery, DeliveryState, DocumentDelivery, DocumentEvent, Recipient
from switchboard.domain.telegram.pacing import Limits
from switchboard.domain.telegram.states import AccountState
from switchboard.errors import ConflictError, NotFoundError, RemoteRejectedError
from switchboard.services.organisations.events import Accepted, NewEvent
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.retention import Retention
from tests.integration.organisations.house import NOW, House, peer

NOTICE = "Document 7/A waits for you"
REMINDER = "Document 7/A still waits for you"
PROCESSED = "Document 7/A has been processed"
both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
PRIVACY = RemoteRejectedError("Telegram refused messages.sendMessage: privacy", status=403)


@both
def test_everybody_named_is_told_once_and_the_event_shows_it(house: House) -> None:
    house.add("anna")
    house.add("boris", channel="mattermost", mattermost="boris", telegram=None)
    accepted = house.post("anna", "boris", "anna", title="Lease", link="https://docs.example/7")
    assert (accepted.accounts, [len(batch) for batch in accepted.batches]) == ([house.account_id], [1])
    house.send()
    assert house.telegram.heads() == [("@anna", NOTICE)]
    assert house.mattermost.heads() == [("b" * 26, NOTICE)]
    assert house.following.follow().count == 0
    assert "STOP" in house.telegram.arrived[0][1]
    assert "STOP" not in house.mattermost.arrived[0][1]
    assert "[Open the document](https://docs.example/7)" in house.mattermost.rendered[0].message.text
    event = house.events.get(house.org, accepted.event_id)
    assert (event.recipients, event.counts, event.done, event.expected_by) == (2, {"sent": 2}, True, None)


def test_those_who_cannot_be_told_are_states_and_not_errors(house: House) -> None:
    house.add("anna", opted_in=False)
    house.add("boris")
    house.add("clara", channel="mattermost", mattermost="anna", telegram=None)
    house.recipients.hear(house.account_id, peer("boris"), "STOP")
    event_id = house.post("anna", "boris", "nobody", "clara").event_id
    house.send()
    assert house.states(event_id) == [
        ("anna", "notice", None, "opted_out"),
        ("boris", "notice", None, "stopped"),
        ("nobody", "notice", None, "unknown_recipient"),
        ("clara", "notice", "mattermost", "sent"),
    ]


def test_the_same_key_and_body_is_the_same_event(house: House) -> None:
    house.add("anna")
    first = house.post("anna")
    assert house.post("anna") == Accepted(first.event_id)
    house.send()
    assert len(house.telegram.arrived) == 1


def test_the_same_key_with_another_body_is_a_conflict_and_changes_nothing(house: House) -> None:
    house.add("anna")
    house.post("anna")
    with pytest.raises(ConflictError, match="another body"):
        house.post("anna", kind="to_read")
    assert len(house.rows()) == 1


def test_a_key_belongs_to_its_organisation(house: House) -> None:
    house.add("anna")
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    first = house.post("anna").event_id
    event = NewEvent(kind="to_sign", number="1", recipients=["anna"])
    assert house.events.accept(other, "k1", b"x", event).event_id != first
    with pytest.raises(NotFoundError):
        house.events.get(other, first)


def test_a_signature_serves_one_key(house: House) -> None:
    event = NewEvent(kind="to_sign", number="1", recipients=["anna"])
    first = house.events.accept(house.org, "k1", b"x", event, signature="v1=abc")
    assert house.events.accept(house.org, "k1", b"x", event, signature="v1=abc").event_id == first.event_id
    with pytest.raises(ConflictError, match="sign it anew"):
        house.events.accept(house.org, "k2", b"x", event, signature="v1=abc")


@both
def test_ten_requests_at_once_make_one_event_and_one_message(house: House) -> None:
    house.add("anna")
    start = threading.Barrier(10)
    ids: list[int] = []

    def post() -> None:
        start.wait()
        ids.append(house.post("anna").event_id)

    threads = [threading.Thread(target=post) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids) == 10
    assert len(set(ids)) == 1
    with house.database.read() as session:
        assert session.scalar(select(func.count()).select_from(DocumentEvent)) == 1
        assert session.scalar(select(func.count()).select_from(DocumentDelivery)) == 1
        assert session.scalar(select(func.count()).select_from(Delivery)) == 1


def test_the_ledger_and_the_audit_log_hold_ids_and_no_words(house: House) -> None:
    house.add("anna", telegram="+79990001122", name="Anna Petrova")
    house.post("anna", title="Lease of Mars")
    with house.database.read() as session:
        kept = [str(row.body) + row.key + row.subject + row.recipient for row in session.scalars(select(Delivery))]
        kept += [str(row.details) + row.subject for row in session.scalars(select(AuditEntry))]
    for word in ("0001122", "Petrova", "Lease", "7/A"):
        assert not [one for one in kept if word in one]


def test_a_refusal_falls_back_to_the_second_channel_and_says_why(house: House) -> None:
    house.add("anna", second_channel="mattermost", mattermost="anna")
    house.add("boris")
    house.telegram.refusals = {"@anna": PRIVACY, "@boris": PRIVACY}
    event_id = house.post("anna", "boris").event_id
    house.send()
    assert house.states(event_id) == [
        ("anna", "notice", "telegram", "undeliverable"),
        ("boris", "notice", "telegram", "undeliverable"),
        ("anna", "notice", "mattermost", "sent"),
    ]
    assert house.mattermost.heads() == [("a" * 26, NOTICE)]
    assert "privacy" in str(house.deliveries(event_id)[2].reason)
    assert house.events.get(house.org, event_id).counts == {"sent": 1, "undeliverable": 1}


def test_without_a_number_the_second_channel_is_taken_at_once(house: House) -> None:
    house.add("anna", second_channel="mattermost", mattermost="anna")
    house.add("boris")
    house.organisations.unset_telegram(house.org, actor="test")
    event_id = house.post("anna", "boris").event_id
    assert house.states(event_id) == [
        ("anna", "notice", "mattermost", "waiting"),
        ("boris", "notice", None, "no_channel"),
    ]
    assert "no number" in str(house.deliveries(event_id)[0].reason)


def test_in_quiet_hours_a_notice_waits_for_their_end_by_the_persons_clock(house: House) -> None:
    house.add("anna", quiet_from="11:30", quiet_until="13:00")  # 9:00 UTC is 12:00 in Moscow
    event_id = house.post("anna").event_id
    house.send()
    assert house.telegram.arrived == []
    (waiting,) = house.deliveries(event_id)
    assert (waiting.state, waiting.not_before, waiting.reason) == ("waiting", NOW + timedelta(hours=1), "quiet hours")
    house.clock.forward(hours=1)
    house.send()
    assert house.telegram.heads() == [("@anna", NOTICE)]


def test_what_has_been_processed_changes_what_was_sent_and_ends_the_rest(house: House) -> None:
    house.add("anna")
    house.add("boris", quiet_from="11:30", quiet_until="13:00")
    house.add("clara", channel="mattermost", mattermost="anna", telegram=None)
    event_id = house.post("anna", "boris", "clara", deadline_at=NOW + timedelta(days=2)).event_id
    house.send()
    house.events.processed(house.org, event_id)
    house.events.processed(house.org, event_id)
    house.send()
    assert house.telegram.texts["telegram-0"].startswith(PROCESSED)
    assert house.mattermost.texts["mattermost-0"].startswith(PROCESSED)
    assert len(house.telegram.arrived) == 1
    house.clock.forward(days=1, hours=1)
    assert house.following.remind().count == 0
    house.send()
    assert len(house.telegram.arrived) == 1
    assert house.states(event_id)[1] == ("boris", "notice", "telegram", "given_up")
    assert house.events.get(house.org, event_id).state == "processed"


@both
def test_a_notice_that_arrives_while_it_is_being_processed_is_changed_afterwards(house: House) -> None:
    house.add("anna")
    event_id = house.post("anna").event_id
    (row,) = house.rows()
    with house.database.write() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENDING))
    house.events.processed(house.org, event_id)
    assert house.following.follow().count == 0
    with house.database.write() as session:
        values = {"state": DeliveryState.SENT, "remote_id": "telegram-9", "finished_at": NOW}
        session.execute(update(Delivery).where(Delivery.id == row.id).values(**values))
    house.send()
    assert house.telegram.texts["telegram-9"].startswith(PROCESSED)


def test_a_reminder_goes_out_before_the_deadline_and_only_once(house: House) -> None:
    house.add("anna")
    event_id = house.post("anna", deadline_at=NOW + timedelta(days=2), remind_before=timedelta(hours=3)).event_id
    house.send()
    house.clock.forward(days=1, hours=20, minutes=59)
    assert house.following.remind().count == 0
    house.clock.forward(minutes=2)
    assert house.following.remind().accounts == [house.account_id]
    assert house.following.remind().count == 0
    house.send()
    assert house.telegram.heads() == [("@anna", NOTICE), ("@anna", REMINDER)]
    assert house.states(event_id)[1] == ("anna", "reminder", "telegram", "sent")


def test_a_reminder_that_quiet_hours_would_hold_past_the_deadline_comes_before_them(house: House) -> None:
    # the deadline is 9:00 in Moscow, a day and a night away, inside of quiet hours from 22:00 to 10:00
    house.add("anna", quiet_from="22:00", quiet_until="10:00")
    deadline = NOW + timedelta(hours=21)
    event_id = house.post("anna", deadline_at=deadline, remind_before=timedelta(hours=2)).event_id
    assert house.deliveries(event_id)[0].remind_at == NOW + timedelta(hours=9, minutes=59)


def test_a_person_over_the_second_channel_is_reminded_there(house: House) -> None:
    house.add("anna", second_channel="mattermost", mattermost="anna")
    house.telegram.refusals = {"@anna": PRIVACY}
    house.post("anna", deadline_at=NOW + timedelta(days=2))
    house.send()
    house.clock.forward(days=1, minutes=1)
    house.following.remind()
    house.send()
    assert house.mattermost.heads() == [("a" * 26, NOTICE), ("a" * 26, REMINDER)]


def test_a_sender_sees_who_has_not_read(house: House) -> None:
    for name in ("anna", "boris", "clara"):
        house.add(name)
    event_id = house.post("anna", "boris", "clara").event_id
    house.send()
    house.read_by("boris")
    assert [d.recipient for d in house.deliveries(event_id, unread=True)] == ["anna", "clara"]
    assert [d.recipient for d in house.deliveries(event_id, state="read")] == ["boris"]
    assert house.events.get(house.org, event_id).counts == {"sent": 2, "read": 1}


def test_who_stops_between_the_event_and_the_sending_gets_nothing(house: House) -> None:
    house.add("anna")
    event_id = house.post("anna").event_id
    house.recipients.hear(house.account_id, peer("anna"), "стоп")
    house.send()
    assert [text for _, text in house.telegram.heads()] == [
        "You get no more messages of Vega. To get them again, answer START."
    ]
    assert house.states(event_id) == [("anna", "notice", "telegram", "given_up")]


def test_a_mailing_is_spread_so_that_a_later_notice_overtakes_it_and_its_end_is_foreseen(house: House) -> None:
    house.pace(Limits(between_s=1, between_first_s=60))
    names = [f"person{number:02}" for number in range(40)]
    for name in names:
        house.add(name)
    with house.database.write() as session:  # the first ten were written to before
        known = select(Recipient.id).order_by(Recipient.id).limit(10).scalar_subquery()
        session.execute(update(Recipient).where(Recipient.id.in_(known)).values(contacted_at=NOW))
    event_id = house.post(*names).event_id
    due = [row.next_attempt_at - NOW for row in house.rows()]
    assert due[:10] == [timedelta(seconds=number) for number in range(10)]
    assert due[10:] == [timedelta(minutes=number) for number in range(30)]
    assert house.events.get(house.org, event_id).expected_by == NOW + timedelta(minutes=30)
    house.post("person39", key="k2", kind="urgent")
    house.send()
    assert [to for to, _ in house.telegram.arrived] == ["@person00", "@person10", "@person39"]
    house.clock.forward(minutes=10)
    house.send()
    event = house.events.get(house.org, event_id)
    assert event.counts == {"sent": 21, "waiting": 19}
    assert event.expected_by == house.clock() + timedelta(minutes=19)
    house.accounts.become(AccountState.SIGN_IN_AGAIN)
    assert house.events.get(house.org, event_id).expected_by is None


def test_five_thousand_recipients_are_taken_whole(house: House) -> None:
    with house.database.write() as session:
        session.add_all(
            Recipient(
                organisation_id=house.org,
                external_id=f"p{number:04}",
                name="",
                channel="telegram",
                telegram=str(10_000 + number),
                opted_in=True,
                is_contact=False,
                created_at=NOW,
                updated_at=NOW,
            )
            for number in range(5_000)
        )
    event_id = house.post(*(f"p{number:04}" for number in range(5_001))).event_id
    assert house.events.get(house.org, event_id).counts == {"waiting": 5_000, "unknown_recipient": 1}
    page = house.deliveries(event_id, limit=1_000)
    assert house.deliveries(event_id, after=page[-1].id, limit=1)[0].recipient == "p1000"


def test_what_was_said_of_a_document_is_erased_in_time_and_who_was_told_stays(house: House) -> None:
    house.add("anna")
    event_id = house.post("anna", title="Lease").event_id
    house.send()
    assert Retention(house.database, timedelta(days=90)).erase(NOW + timedelta(days=91)).document_events == 1
    event = house.events.get(house.org, event_id)
    assert (event.number, event.title, event.counts) == (None, None, {"sent": 1})


@both
def test_a_wave_of_messages_is_followed_in_few_statements(house: House) -> None:
    names = [f"person{number:02}" for number in range(50)]
    for name in names:
        house.add(name, second_channel="mattermost", mattermost="anna")
    event_id = house.post(*names).event_id
    with house.database.write() as session:
        ended = update(Delivery).values(state=DeliveryState.SENT, finished_at=NOW, first_attempt_at=NOW)
        session.execute(ended)
        first = session.scalars(select(Delivery.id).order_by(Delivery.id).limit(25)).all()
        session.execute(ended.where(Delivery.id.in_(first)).values(state=DeliveryState.DEAD, reason="privacy"))
    statements: list[str] = []

    @sqlalchemy.event.listens_for(house.database.engine, "before_cursor_execute")
    def keep(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    followed = house.following.follow()
    assert (followed.count, [len(batch) for batch in followed.batches]) == (50, [25])
    assert 0 < len(statements) < 50
    assert house.events.get(house.org, event_id).counts == {"sent": 25, "waiting": 25}
