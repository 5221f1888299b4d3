"""Sending: in order, once, at Telegram's pace, whatever happens to the gateway or the line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from sandbox.telegram.model import Post
from switchboard.db.models import Delivery, DeliveryState, TelegramAccount, TelegramMessage, TelegramWait
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.domain.organisations.markup import Formatted, Span, Style
from switchboard.domain.telegram.messages import Attachment, FileKind
from switchboard.domain.telegram.pacing import Limits
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.services.files import DatabaseFileStore
from switchboard.services.telegram.hosting import Host
from switchboard.services.telegram.inbox import TelegramInbox
from switchboard.services.telegram.outbox import TelegramOutbox
from switchboard.services.telegram.outbox_rows import Done, OutboxRows, Turn, Wait, mark_read
from switchboard.services.telegram.peers import Peers
from switchboard.services.telegram.shards import Fence
from switchboard.texts.markdown import Message
from tests.integration.telegram.conftest import Office, utc_now, wait_for

FULL = pytest.mark.full
AT_ONCE = Limits(0.0, 0.0)
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffc0000b080001000101011100ffd9")


@dataclass
class Words:
    """Renders what the body says; `more` gives other things of a rendering, by key."""

    more: dict[str, dict[str, Any]] = field(default_factory=dict)

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        plain = {row.id: {"formatted": Formatted(row.body["text"])} for row in deliveries}
        return {row.id: Rendered(Message(""), **(plain[row.id] | self.more.get(row.key, {}))) for row in deliveries}


class Sender:
    """Ann's account, what is entered for it, and its gateways."""

    def __init__(self, office: Office, limits: Limits = AT_ONCE) -> None:
        self.office, self.twin, self.database = office, office.twin, office.database
        self.words = Words()
        self.now = utc_now
        self.limits = limits
        self.files = DatabaseFileStore(self.database)
        self.twin.add_person("Ann", phone="+79160000001")
        self.bob = self.twin.add_person("Bob", phone="+79160000002", username="bobby")
        self.account = office.add_signed_in("Ann")

    def outbox(self, rows: OutboxRows | None = None) -> TelegramOutbox:
        rows = rows or self.rows()
        return TelegramOutbox(rows, Peers(self.database, self.clock), self.files, self.clock, self.limits)

    def rows(self) -> OutboxRows:
        return OutboxRows(self.database, {"words": self.words}, self.clock)

    def clock(self) -> datetime:
        return self.now()

    def start(self, outbox: TelegramOutbox | None = None) -> Host:
        return self.office.gateway(outbox=outbox or self.outbox())

    def enter(self, *texts: str, to: str = "@bobby", subject: str = "bob", **more: Any) -> list[str]:
        """Rows of the ledger; `more` is what their renderings say beside the text."""
        keys = [f"{subject}-{text[:40]}-{len(text)}" for text in texts]
        for key in keys:
            if more:
                self.words.more[key] = more
        with self.database.write() as session:
            DeliveryRepository(session).add(
                [
                    NewDelivery(
                        channel="telegram",
                        kind="words",
                        key=key,
                        subject=f"telegram:{self.account.id}:{subject}",
                        recipient=to,
                        body={"text": text},
                    )
                    for key, text in zip(keys, texts, strict=True)
                ],
                utc_now(),
            )
        return keys

    def row(self, key: str) -> Delivery:
        with self.database.read() as session:
            return session.scalars(select(Delivery).where(Delivery.key == key)).one()

    def states(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery.state).order_by(Delivery.id)))

    def wait_states(self, *states: str) -> None:
        wait_for(lambda: self.states() == list(states), f"{states}, not {self.states()}")

    def wait_all(self, state: str = DeliveryState.SENT) -> None:
        wait_for(lambda: set(self.states()) == {state}, f"all to be {state}")

    def wait_row(self, key: str, holds: Callable[[Delivery], bool]) -> Delivery:
        wait_for(lambda: holds(self.row(key)), f"{key}")
        return self.row(key)

    def make_due(self) -> bool:
        with self.database.write() as session:
            session.execute(
                update(Delivery)
                .where(Delivery.state.in_([DeliveryState.PENDING, DeliveryState.UNCERTAIN]))
                .values(next_attempt_at=utc_now())
            )
        return True

    def receives(self) -> bool:
        """Whether the account's receiving has begun: what was before that is not told."""
        return self.pts() is not None

    def pts(self) -> int | None:
        with self.database.read() as session:
            return session.get_one(TelegramAccount, self.account.id).pts

    def stored(self) -> int:
        with self.database.read() as session:
            return len(session.scalars(select(TelegramMessage.id)).all())

    def got(self, by: str = "Bob") -> list[str]:
        return self.twin.texts(by, "Ann")

    def posts(self) -> list[Post]:
        return self.twin.messages("Bob", "Ann")


@pytest.fixture
def sender(office: Office) -> Sender:
    return Sender(office)


# --- what arrives ---------------------------------------------------------------------------------------------------


def test_rows_arrive_once_and_in_order_and_say_where_they_stand(sender: Sender) -> None:
    keys = sender.enter(*(f"message {number}" for number in range(30)))
    sender.start()
    sender.wait_all()
    assert sender.got() == [f"message {number}" for number in range(30)]
    assert (
        sender.row(keys[0]).remote_id == f"{sender.bob.id}:{sender.twin.messages('Ann', 'Bob')[0].copies[own(sender)]}"
    )


def own(sender: Sender) -> int:
    view = sender.office.accounts.get(sender.account.id)
    assert view.own_id is not None
    return view.own_id


def test_a_wake_up_sends_what_was_entered_meanwhile(sender: Sender) -> None:
    host = sender.start()
    sender.office.wait_state(sender.account.id, "online")
    sender.enter("hello")
    host.wake(sender.account.id)
    sender.wait_all()
    assert sender.got() == ["hello"]


@pytest.mark.parametrize("to", ["@bobby", "+79160000002"])
def test_a_name_or_phone_is_asked_for_once(sender: Sender, to: str) -> None:
    sender.enter("one", "two", to=to)
    sender.start()
    sender.wait_all()
    sender.twin.faults.add("error", method="contacts.*", name="FLOOD_WAIT_900")
    sender.enter("three", to=to)
    sender.wait_all()
    assert sender.got() == ["one", "two", "three"]


def test_nobody_behind_a_phone_is_said_and_not_asked_for_again(sender: Sender) -> None:
    key = sender.enter("one", to="+79169999999")[0]
    sender.start()
    row = sender.wait_row(key, lambda row: row.state == DeliveryState.DEAD)
    assert (row.reason or "").startswith("unknown: ")
    sender.twin.faults.add("error", method="contacts.*", name="FLOOD_WAIT_900")
    again = sender.enter("two", to="+79169999999")[0]
    sender.wait_row(again, lambda row: row.state == DeliveryState.DEAD)


def test_a_long_text_arrives_in_parts_in_order_with_its_style(sender: Sender) -> None:
    words = " ".join(f"word{number:05d}" for number in range(1100))
    text = Formatted(words, (Span(Style.BOLD, 0, len(words)),))
    key = sender.enter("long", formatted=text)[0]
    sender.enter("after")
    sender.start()
    sender.wait_all()
    *parts, last = sender.posts()
    assert (" ".join(part.text for part in parts), last.text) == (words, "after")
    assert len(parts) == 3
    assert all([(one.offset, one.length) for one in part.entities] == [(0, len(part.text))] for part in parts)
    assert (sender.row(key).remote_id or "").count(",") == 2


def test_styles_are_counted_as_telegram_counts(sender: Sender) -> None:
    text = Formatted("😀 see this", (Span(Style.LINK, 2, 5, "https://example.org/"), Span(Style.ITALIC, 6, 10)))
    sender.enter("styled", formatted=text)
    sender.start()
    sender.wait_all()
    link, italic = sender.posts()[0].entities
    assert (link.offset, link.length, link.url) == (3, 3, "https://example.org/")
    assert (italic.offset, italic.length) == (7, 4)


def test_files_arrive_as_what_they_are(sender: Sender) -> None:
    kinds = [FileKind.PHOTO, FileKind.DOCUMENT, FileKind.VOICE, FileKind.VIDEO]
    files = [
        Attachment(sender.files.save("a.jpg", "image/jpeg", [JPEG], utc_now()).id, kind, 2, 64, 48) for kind in kinds
    ]
    for file in files:
        sender.enter(f"caption {file.kind}", files=(file,))
    sender.enter("album", files=(files[0], files[0], files[3]))
    sender.start()
    sender.wait_all()
    *single, first, second, third = sender.posts()
    assert [post.text for post in single] == [f"caption {kind}" for kind in kinds]
    assert [post.media.kind for post in single if post.media] == ["photo", "document", "document", "document"]
    assert (first.text, second.text) == ("album", "")
    assert first.grouped_id == second.grouped_id == third.grouped_id != 0


def test_answers_and_edits_name_the_earlier_message(sender: Sender) -> None:
    first = sender.enter("first")[0]
    sender.start()
    sender.wait_all()
    remote_id = sender.row(first).remote_id
    sender.enter("answer", reply_to=remote_id)
    sender.enter("changed", edits=remote_id)
    sender.wait_all()
    changed, answer = sender.posts()
    assert (changed.text, answer.text, answer.reply_to) == ("changed", "answer", changed.uid)


def test_what_was_read_is_read_also_when_the_mark_came_first(sender: Sender) -> None:
    key = sender.enter("long", formatted=Formatted("x " * 3000))[0]
    sender.start()
    sender.wait_all()
    last = int((sender.row(key).remote_id or "").rpartition(",")[2])
    mark(sender, last - 1)
    assert sender.states() == [DeliveryState.SENT]
    mark(sender, last)
    assert sender.states() == [DeliveryState.READ]
    mark(sender, last + 1)
    sender.enter("next")
    sender.wait_all(DeliveryState.READ)


def test_a_read_receipt_brings_the_row_to_read(sender: Sender) -> None:
    inbox = TelegramInbox(sender.database, utc_now, mark_read=mark_read)
    sender.enter("one")
    sender.office.gateway(inbox=inbox, outbox=sender.outbox())
    sender.wait_all()
    wait_for(sender.receives, "the first state of updates")
    sender.twin.read_as("Bob", "Ann")
    sender.wait_all(DeliveryState.READ)


def test_what_is_sent_moves_the_position_with_what_is_told_next_and_at_the_end(sender: Sender) -> None:
    """Not with a commit for each message."""
    inbox = TelegramInbox(sender.database, utc_now, position_s=3600)
    host = sender.office.gateway(inbox=inbox, outbox=sender.outbox())
    wait_for(sender.receives, "the first state of updates")
    sender.twin.write_as("Bob", "Ann", "who I am")
    wait_for(lambda: sender.stored() == 1, "Bob's message")
    begun = sender.pts() or 0
    sender.enter("one", "two", "three")
    sender.wait_all()
    assert sender.pts() == begun
    sender.twin.write_as("Bob", "Ann", "hello")
    wait_for(lambda: sender.pts() == begun + 4, "the position after what Bob wrote")
    sender.enter("four")
    sender.wait_all()
    host.stop()
    assert sender.pts() == begun + 5


def mark(sender: Sender, max_id: int) -> None:
    with sender.database.write() as session:
        mark_read(session, sender.account.id, sender.bob.id, max_id)


# --- once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pytest.param("lost", marks=FULL), "cut"])
def test_a_lost_answer_makes_no_second_message(sender: Sender, kind: Any) -> None:
    """Without the line's end the call takes its 30 s to be given up."""
    sender.twin.faults.add(kind, method="messages.sendMessage", when="after", count=1)
    keys = sender.enter("one", "two", "three")
    sender.start()
    sender.wait_row(keys[0], lambda row: row.state in (DeliveryState.UNCERTAIN, DeliveryState.SENT))
    wait_for(lambda: sender.make_due() and set(sender.states()) == {"SENT"}, "all to be sent")
    assert sender.got() == ["one", "two", "three"]
    assert not (sender.row(keys[0]).remote_id or ":0").endswith(":0")
    calls = sender.twin.call(lambda: sender.twin.server.calls["messages.sendMessage"])
    assert calls == 4, "Telegram says in one answer that it has the message already"


def test_a_row_older_than_telegrams_memory_is_looked_for_in_the_chat(sender: Sender) -> None:
    keys = sender.enter("one", "two")
    sender.start()
    sender.wait_all()
    with sender.database.write() as session:  # as if its answer had been lost, two hours ago
        session.execute(
            update(Delivery)
            .where(Delivery.key == keys[1])
            .values(state=DeliveryState.UNCERTAIN, remote_id=None, first_attempt_at=utc_now() - timedelta(hours=2))
        )
        session.connection().exec_driver_sql("DELETE FROM telegram_sent")
    sender.twin.call(sender.twin.world.random_ids.clear)
    sender.wait_all()
    assert sender.got() == ["one", "two"]
    assert not (sender.row(keys[1]).remote_id or ":0").endswith(":0")


def test_two_messages_of_the_same_words_are_told_apart_when_telegram_has_both_already(sender: Sender) -> None:
    keys = [sender.enter("same", subject=subject)[0] for subject in ("one", "two")]
    sender.start()
    sender.wait_all()
    stood = {sender.row(key).remote_id for key in keys}
    with sender.database.write() as session:  # as if both answers had been lost
        session.execute(update(Delivery).values(state=DeliveryState.UNCERTAIN, remote_id=None))
        session.connection().exec_driver_sql("DELETE FROM telegram_sent")
    sender.wait_all()
    assert sender.got() == ["same", "same"]
    assert {sender.row(key).remote_id for key in keys} == stood


class Dying(OutboxRows):
    """A gateway that dies at a step of its first row: nothing is written any more."""

    at: str = ""
    dead = threading.Event()

    def do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        begins, sent = any(turn.begin for turn in turns), any(turn.results.sent for turn in turns)
        self._die("before", begins)
        self._die("sent", sent)
        done = super().do(turns)
        self._die("sending", begins)
        return done

    def _die(self, step: str, reached: bool) -> None:
        if reached and self.at == step:
            self.dead.set()
        if self.dead.is_set():
            raise KilledError


class KilledError(Exception):
    """Stands for a process that is no more."""


@pytest.mark.parametrize("at", [pytest.param("before", marks=FULL), "sending", pytest.param("sent", marks=FULL)])
def test_a_gateway_that_dies_at_any_step_leaves_nothing_out_of_order_lost_or_twice(sender: Sender, at: str) -> None:
    dying = Dying(sender.database, {"words": sender.words}, sender.clock)
    dying.at, dying.dead = at, threading.Event()
    sender.enter("one", "two", "three")
    first = sender.start(sender.outbox(dying))
    wait_for(dying.dead.is_set, "the gateway to die")
    first.stop()
    assert set(sender.states()) <= {"PENDING", "CLAIMED", "SENDING"}
    sender.start()
    sender.wait_all()
    assert sender.got() == ["one", "two", "three"]


class Losing(OutboxRows):
    """The lease ends between the claim and the first send; `seen` is what had arrived when the account was opened again."""

    look: Callable[[], list[str]]
    seen: list[list[str]]

    def begin(self, account_id: int, fence: Fence) -> dict[str, Wait]:
        self.seen.append(self.look())
        return super().begin(account_id, fence)

    def do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        done = super().do(turns)
        if len(self.seen) == 1 and turns[0].begin:
            turns[0].fence.leases.drop()
        return done


def test_nothing_is_sent_after_the_lease_ended_not_even_what_is_being_sent(sender: Sender) -> None:
    losing = Losing(sender.database, {"words": sender.words}, sender.clock)
    losing.look, losing.seen = sender.got, []
    sender.enter("one", "two")
    sender.start(sender.outbox(losing))
    sender.wait_all()
    assert losing.seen[:2] == [[], []]
    assert sender.got() == ["one", "two"]


@FULL
def test_parts_that_were_sent_are_not_sent_again(sender: Sender) -> None:
    words = " ".join(f"word{number:05d}" for number in range(1100))
    sender.enter("long", formatted=Formatted(words))
    host = sender.start(sender.outbox())
    wait_for(lambda: len(sender.got()) >= 1, "a part")
    sender.twin.cut("Ann")
    wait_for(lambda: sender.make_due() and set(sender.states()) == {"SENT"}, "all parts")
    host.stop()
    assert " ".join(sender.got()) == words


# --- what Telegram asks for -----------------------------------------------------------------------------------------


def test_a_flood_wait_survives_a_restart_and_is_the_methods_own(sender: Sender) -> None:
    photo = Attachment(sender.files.save("a.jpg", "image/jpeg", [JPEG], utc_now()).id, FileKind.PHOTO)
    sender.twin.faults.add("error", method="messages.sendMessage", name="FLOOD_WAIT_600", count=1)
    key = sender.enter("one")[0]
    first = sender.start()
    row = sender.wait_row(key, lambda row: row.state == DeliveryState.PENDING and row.attempts == 1)
    assert row.next_attempt_at > utc_now() + timedelta(seconds=500)
    first.stop()
    assert sender.twin.faults.listing() == []
    sender.make_due()
    sender.enter("picture", subject="other", files=(photo,))
    sender.start()
    sender.wait_states("PENDING", "SENT")
    again = sender.wait_row(key, lambda row: row.next_attempt_at > utc_now() + timedelta(seconds=400))
    assert "asks to wait" in (again.reason or "")
    assert sender.got() == ["picture"]
    sender.now = lambda: utc_now() + timedelta(seconds=700)
    sender.wait_states("SENT", "SENT")


def test_peer_flood_pauses_strangers_on_a_ladder_and_nobody_else(sender: Sender) -> None:
    sender.twin.add_person("Cid", username="cid_c")
    sender.twin.write_as("Ann", "Bob", "we know each other")
    sender.enter("known")
    sender.start()
    sender.wait_all()  # Bob was a stranger to the ledger, and is none now
    sender.twin.faults.add("error", method="messages.sendMessage", name="PEER_FLOOD", count=1)
    key = sender.enter("hello", to="@cid_c", subject="cid")[0]
    row = sender.wait_row(key, lambda row: row.state == DeliveryState.PENDING and row.attempts == 1)
    assert timedelta(seconds=15) < row.next_attempt_at - utc_now() <= timedelta(seconds=30)
    sender.enter("still works")
    sender.wait_states("SENT", "PENDING", "SENT")
    with sender.database.read() as session:
        wait = session.get_one(TelegramWait, (sender.account.id, "first_contact"))
    assert wait.times == 1
    sender.now = lambda: utc_now() + timedelta(seconds=40)
    sender.wait_all()
    with sender.database.read() as session:
        assert session.get_one(TelegramWait, (sender.account.id, "first_contact")).times == 0


def test_after_the_last_step_of_the_ladder_strangers_get_nothing_and_the_sender_hears_it(sender: Sender) -> None:
    sender.twin.faults.add("error", method="messages.sendMessage", name="PEER_FLOOD")
    with sender.database.write() as session:
        session.add(TelegramWait(account_id=sender.account.id, method="first_contact", not_before=utc_now(), times=5))
    first, second = sender.enter("one")[0], sender.enter("two", to="+79160000002", subject="phone")[0]
    sender.start()
    for key in (first, second):
        row = sender.wait_row(key, lambda row: row.state == DeliveryState.DEAD)
        assert (row.reason or "").startswith("peer_flood: ")
    assert sender.twin.faults.fired["PEER_FLOOD"] == 1


def test_strangers_go_one_at_a_time_and_keep_nobody_waiting(office: Office) -> None:
    sender = Sender(office, Limits(0.0, 3600.0))
    for name in ("Cid", "Dan"):
        sender.twin.add_person(name, username=f"{name.lower()}_x")
        sender.enter(f"to {name}", to=f"@{name.lower()}_x", subject=name)
    sender.start()
    sender.wait_states("SENT", "PENDING")
    sender.enter("again", to="@cid_x", subject="Cid")
    sender.wait_states("SENT", "PENDING", "SENT")
    assert timedelta(minutes=50) < sender.row(sender_key("Dan")).next_attempt_at - utc_now() <= timedelta(hours=1)


def sender_key(name: str) -> str:
    text = f"to {name}"
    return f"{name}-{text}-{len(text)}"


@pytest.mark.parametrize(
    ("error", "word"),
    [
        ("PRIVACY_PREMIUM_REQUIRED", "privacy"),
        ("INPUT_USER_DEACTIVATED", "deactivated"),
        pytest.param("USER_PRIVACY_RESTRICTED", "privacy", marks=FULL),
        pytest.param("USER_IS_BLOCKED", "blocked_by_user", marks=FULL),
    ],
)
def test_a_refusal_ends_the_row_with_its_reason_and_lets_the_next_go(sender: Sender, error: str, word: str) -> None:
    sender.twin.faults.add("error", method="messages.sendMessage", name=error, count=1)
    key = sender.enter("one", "two")[0]
    sender.start()
    sender.wait_states("DEAD", "SENT")
    assert (sender.row(key).reason or "").startswith(f"{word}: ")
    assert sender.got() == ["two"]


def test_slow_mode_holds_one_chat_back(sender: Sender) -> None:
    sender.twin.faults.add("error", method="messages.sendMessage", name="SLOWMODE_WAIT_300", count=1)
    sender.enter("slow")
    sender.start()
    sender.wait_states("PENDING")
    sender.enter("other", subject="other")
    sender.wait_states("PENDING", "SENT")


def test_an_access_hash_that_is_out_of_date_is_asked_for_anew(sender: Sender) -> None:
    sender.enter("one")
    sender.start()
    sender.wait_all()
    with sender.database.write() as session:
        session.connection().exec_driver_sql("UPDATE telegram_peers SET access_hash = 5")
    sender.enter("two")
    sender.wait_all()
    assert sender.got() == ["one", "two"]


def test_a_dead_session_keeps_its_rows(sender: Sender) -> None:
    sender.office.gateway()
    sender.office.wait_state(sender.account.id, "online")
    sender.office.hosts[0].stop()
    sender.twin.faults.add("error", method="messages.sendMessage", name="SESSION_REVOKED", count=1)
    sender.enter("one", "two")
    sender.start()
    sender.office.wait_state(sender.account.id, "sign_in_again")
    sender.wait_states("PENDING", "PENDING")


def test_a_bot_sends_to_those_who_wrote_to_it(office: Office) -> None:
    sender = Sender(office)
    bot = office.twin.add_bot("Helper", "helper_bot")
    environment = office.environment(bot_token=bot.token)
    environment.apply()
    account = next(one for one in office.accounts.list_accounts() if one.kind == "bot")
    office.twin.write_as("Bob", "Helper", "/start")
    sender.account = account
    sender.enter("hello", "again")
    sender.start()
    sender.wait_all()
    assert office.twin.texts("Bob", "Helper") == ["/start", "hello", "again"]
