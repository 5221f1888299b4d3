"""Sending by one holder at a time, and by each account alone: under its fence, in order, and whoever else is slow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.data_centre import DataCentre
from switchboard.db.engine import Database
from switchboard.db.models import DeliveryState
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.telegram.messages import Attachment, FileKind
from switchboard.domain.telegram.pacing import Limits
from switchboard.domain.telegram.sessions import Application
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.services.telegram.outbox_rows import Done, OutboxRows, Turn
from switchboard.services.telegram.shards import LeaseLostError, LeaseTimes
from tests.integration.telegram.conftest import Office, utc_now, wait_for
from tests.integration.telegram.test_outbox import JPEG, Sender, Words
from tests.integration.telegram.test_outbox_rows import Desk

NO_RENEWAL = LeaseTimes(lease_s=600, renew_s=200, margin_s=50)  # a lease that is lost stays lost
LONG = Formatted(" ".join(f"word{number:05d}" for number in range(1100)))  # three parts
SENDS = ("messages.sendMessage", "messages.sendMedia", "messages.sendMultiMedia", "messages.editMessage")


@pytest.fixture
def sender(office: Office) -> Sender:
    return Sender(office)


def calls(sender: Sender, *methods: str) -> int:
    """How many calls of these methods Telegram had."""
    return sender.twin.call(lambda: sum(sender.twin.server.calls[method] for method in methods))


# --- the fence ------------------------------------------------------------------------------------------------------


class Rendering(Words):
    """Does something while messages are written, which is before anybody is asked for."""

    act: Callable[[], None]

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        self.act()
        return super().render(deliveries, now)


class Answering(Connection):
    """Does something after the first answer to a method, before the answer is worked with."""

    method = ""
    act: Callable[[], None]

    async def call(self, request: Any, **options: Any) -> Any:
        answer = await super().call(request, **options)
        if type(request).__name__ == self.method:
            self.act()
        return answer


class Loss:
    """The end of the lease as the watchdog makes it, but for the lines: only the fence is left to keep anything back."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._happened = threading.Event()

    def __call__(self) -> None:
        self._sender.office.hosts[-1]._leases.drop()
        self._happened.set()

    def wait_closed(self) -> None:
        wait_for(self._happened.is_set, "the lease to be lost")
        wait_for(lambda: not self._sender.office.hosts[-1]._sessions, "the account to be let go")


@pytest.fixture
def loss(sender: Sender) -> Loss:
    return Loss(sender)


def test_nobody_is_looked_for_once_the_lease_is_lost(sender: Sender, loss: Loss) -> None:
    rendering = Rendering()
    rendering.act = loss
    rows = OutboxRows(sender.database, {"words": rendering}, sender.clock)
    sender.enter("hello")
    sender.office.gateway(outbox=sender.outbox(rows), times=NO_RENEWAL)
    loss.wait_closed()
    assert calls(sender, "contacts.resolveUsername", *SENDS) == 0
    assert sender.states() == [DeliveryState.CLAIMED]


class Beginning(OutboxRows):
    """Does something once rows are being sent, which is right before the first call."""

    act: Callable[[], None]

    def do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        done = super().do(turns)
        if any(turn.begin for turn in turns):
            self.act()
        return done


def test_nothing_is_edited_once_the_lease_is_lost(sender: Sender, loss: Loss) -> None:
    first = sender.enter("first")[0]
    sender.start()
    sender.wait_all()
    sender.office.hosts[-1].stop()
    rows = Beginning(sender.database, {"words": sender.words}, sender.clock)
    rows.act = loss
    sender.enter("changed", edits=sender.row(first).remote_id)
    sender.office.gateway(outbox=sender.outbox(rows), times=NO_RENEWAL)
    loss.wait_closed()
    assert calls(sender, "messages.editMessage") == 0
    assert sender.states() == [DeliveryState.SENT, DeliveryState.SENDING]


@pytest.mark.parametrize(
    ("after", "arrived"),
    [
        pytest.param("ResolveUsernameRequest", [], id="before the first part"),
        pytest.param("SaveFilePartRequest", [], id="a file was brought up"),
        pytest.param("SendMediaRequest", ["caption"], id="a message went"),
        pytest.param("SendMessageRequest", ["caption", LONG.text[:4095]], id="a part went"),
    ],
)
def test_nothing_is_sent_once_the_lease_is_lost(sender: Sender, loss: Loss, after: str, arrived: list[str]) -> None:
    """A picture, and a text in three parts, to one chat; the lease is lost in their midst, and no line is cut."""

    class Losing(Answering):
        method = after
        act = staticmethod(loss)

    def open_connection(application: Application, session: str, signing_in: bool) -> Connection:
        return Losing(application, session, DataCentre("127.0.0.1", sender.twin.port), signing_in=signing_in)

    photo = Attachment(sender.files.save("a.jpg", "image/jpeg", [JPEG], sender.now()).id, FileKind.PHOTO)
    sender.enter("caption", files=(photo,))
    sender.enter("long", formatted=LONG)
    sender.office.gateway(outbox=sender.outbox(), times=NO_RENEWAL, opener=open_connection)
    loss.wait_closed()
    assert [text[:4000] for text in sender.got()] == [text[:4000] for text in arrived]
    assert calls(sender, *SENDS) == len(arrived)
    in_hand = max(0, len(arrived) - 1)
    assert sender.states()[in_hand] != DeliveryState.SENT, (
        "an answer that came after the lease was lost is not recorded"
    )
    sender.office.hosts[-1].stop()
    sender.start()
    sender.wait_all()
    assert [sender.got()[0], " ".join(sender.got()[1:])] == ["caption", LONG.text]


def test_a_former_holder_takes_over_nothing_from_the_present_one(database: Database) -> None:
    desk = Desk(database)
    desk.enter("one")
    desk.begin()
    fence = desk.fence
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE telegram_shards SET owner = 'two', fence = fence + 1")
    with pytest.raises(LeaseLostError):
        desk.rows.begin(desk.ann, fence)
    assert desk.states() == {"one": DeliveryState.SENDING}


# --- what may have been sent ----------------------------------------------------------------------------------------


def test_a_row_that_may_have_been_sent_stays_uncertain_while_it_has_to_wait(sender: Sender) -> None:
    """Pending it could still expire, be withdrawn or be written anew, although its reader has it."""
    sender.twin.faults.add("cut", method="messages.sendMessage", when="after", count=1)
    sender.twin.faults.add("error", method="messages.sendMessage", name="FLOOD_WAIT_600", count=1)
    key = sender.enter("one")[0]
    sender.start()
    sender.wait_row(key, lambda row: sender.make_due() and bool(sender.twin.faults.fired["FLOOD_WAIT_600"]))
    row = sender.wait_row(key, lambda row: row.state != DeliveryState.SENDING and "wait" in (row.reason or ""))
    assert row.state == DeliveryState.UNCERTAIN
    sender.office.hosts[-1].stop()
    sender.start()  # Telethon remembers the wait by its own clock as long as the connection lasts
    sender.now = lambda: utc_now() + timedelta(seconds=700)
    sender.wait_all()
    assert sender.got() == ["one"]


def test_what_was_sent_is_recorded_before_the_account_is_given_up(office: Office) -> None:
    """So that the next holder has nothing to doubt: amid a batch, of which nothing was recorded yet."""
    sender = Sender(office, Limits(0.04, 0.0))
    sender.enter("known")
    host = sender.start()
    sender.wait_all()  # and the next go together
    sender.enter(*(f"message {number}" for number in range(50)))
    wait_for(lambda: len(sender.got()) > 5, "some of them to arrive")
    host.stop()
    states = sender.states()
    assert set(states) == {DeliveryState.SENT, DeliveryState.PENDING}
    assert states.count(DeliveryState.SENT) == len(sender.got())


# --- order ----------------------------------------------------------------------------------------------------------


def test_wake_ups_from_four_threads_at_once_send_in_order_and_once(sender: Sender) -> None:
    """As four tasks of one account do that a worker runs at once."""
    host = sender.start()
    sender.office.wait_state(sender.account.id, "online")
    texts = [f"message {number}" for number in range(40)]
    with ThreadPoolExecutor(4) as threads:
        for at in range(0, len(texts), 4):
            sender.enter(*texts[at : at + 4])
            list(threads.map(host.wake, [sender.account.id] * 4))
    sender.wait_all()
    assert sender.got() == texts
    assert calls(sender, *SENDS) == len(texts)


def test_what_follows_in_a_chat_waits_with_what_has_to_wait(sender: Sender) -> None:
    """Also where all of it was taken together."""
    sender.enter("known")
    sender.start()
    sender.wait_all()  # and the next may go together: they go to no stranger
    sender.twin.faults.add("error", method="messages.sendMessage", name="SLOWMODE_WAIT_300", count=1)
    keys = sender.enter("one", "two", "three")
    sender.wait_row(keys[0], lambda row: "SLOW" in (row.reason or "").upper())
    sender.enter("elsewhere", subject="elsewhere", to="+79160000002")
    sender.wait_states("SENT", "PENDING", "PENDING", "PENDING", "SENT")
    assert sender.got() == ["known", "elsewhere"]
    sender.now = lambda: utc_now() + timedelta(seconds=400)
    sender.wait_all()
    assert sender.got() == ["known", "elsewhere", "one", "two", "three"]


# --- each account alone ---------------------------------------------------------------------------------------------


@contextmanager
def slow_answers(sender: Sender) -> Iterator[None]:
    """Telegram answers no send of Ann's while this lasts."""
    ann = sender.twin.call(lambda: sender.twin.world.peer("Ann").id)
    sender.twin.faults.add("lost", method="messages.sendMessage", account=ann)
    yield
    sender.twin.faults.clear()
    sender.twin.cut("Ann")


def test_an_account_that_gets_no_answer_keeps_no_other_waiting(office: Office) -> None:
    ann = Sender(office)
    office.twin.add_person("Eve", phone="+79160000009")
    eve = office.add_signed_in("Eve")
    with slow_answers(ann):
        keys = ann.enter("slow")
        host = ann.start()
        ann.wait_row(keys[0], lambda row: row.state == DeliveryState.SENDING)
        ann_account, ann.account = ann.account, eve
        texts = [f"message {number}" for number in range(20)]
        ann.enter(*texts, subject="from-eve")
        host.wake(eve.id)
        wait_for(lambda: office.twin.texts("Bob", "Eve") == texts, "the other account's messages")
        ann.account = ann_account
        assert ann.row(keys[0]).state == DeliveryState.SENDING, "its answer was given up, and only then the others went"
    wait_for(lambda: ann.make_due() and set(ann.states()) == {DeliveryState.SENT}, "the slow one's message")
    assert ann.got() == ["slow"]
