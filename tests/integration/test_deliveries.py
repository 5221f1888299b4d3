"""The delivery ledger on both databases: who may send what, and what becomes of a call whose answer was lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from switchboard.db.engine import Database
from switchboard.db.models import Delivery, DeliveryState
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.errors import AuthError, RateLimitedError, RemoteRejectedError, RemoteUnavailableError, UncertainError
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.services.deliveries import LEASE, SEND_BUDGET, Deliveries
from switchboard.texts.markdown import Message

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class Clock:
    """A clock that tests move by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass
class RecordingChannel:
    """A channel whose remote keeps what arrived; `failures` are raised in order, before or after the effect."""

    name: str = "test"
    call_timeout: timedelta = timedelta(seconds=5)
    settle: timedelta = timedelta(seconds=15)
    arrived: list[str] = field(default_factory=list)
    before: list[Exception] = field(default_factory=list)
    after: list[Exception] = field(default_factory=list)
    unreachable_for_look_ups: bool = False

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        if self.before:
            raise self.before.pop(0)
        self.arrived.append(delivery.key)
        if self.after:
            raise self.after.pop(0)
        return f"remote-{delivery.key}"

    def find(self, delivery: ClaimedDelivery) -> str | None:
        if self.unreachable_for_look_ups:
            raise RemoteUnavailableError("down")
        return f"remote-{delivery.key}" if delivery.key in self.arrived else None


class PlainRenderer:
    """Renders any delivery; keys that begin with `gone` are of no use any more, with `night` not wanted for an hour.

    For that hour those with `broken` cannot be written at all.
    """

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        return {delivery.id: self._render(delivery.key, now) for delivery in deliveries}

    def _render(self, key: str, now: datetime) -> Rendered | Obsolete | Postponed:
        morning = NOW + timedelta(hours=1)
        if key.startswith("broken") and now < morning:
            raise OverflowError("date value out of range")
        if key.startswith("gone"):
            return Obsolete("gone")
        if key.startswith("night") and now < morning:
            return Postponed(morning, "quiet hours")
        return Rendered(Message(text=key))


@dataclass
class Ledger:
    database: Database
    channel: RecordingChannel
    clock: Clock
    deliveries: Deliveries

    def add(
        self,
        *keys: str,
        subject: str | None = None,
        expires_at: datetime | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> list[int]:
        with self.database.write() as session:
            return DeliveryRepository(session).add(
                [
                    NewDelivery(
                        channel="test",
                        kind="plain",
                        key=key,
                        subject=subject or key,
                        recipient="somebody",
                        expires_at=expires_at,
                        body=body or {},
                    )
                    for key in keys
                ],
                self.clock(),
            )

    def states(self) -> dict[str, str]:
        with self.database.read() as session:
            return {row.key: row.state for row in session.scalars(select(Delivery))}

    def row(self, key: str) -> Delivery:
        with self.database.read() as session:
            return session.scalars(select(Delivery).where(Delivery.key == key)).one()

    def claim(self, ids: Sequence[int]) -> list[ClaimedDelivery]:
        with self.database.write() as session:
            return DeliveryRepository(session).claim("test", owner="x", now=self.clock(), lease=LEASE, ids=ids)


@pytest.fixture
def ledger(database: Database) -> Ledger:
    clock, channel = Clock(), RecordingChannel()
    return Ledger(database, channel, clock, Deliveries(database, {"test": channel}, {"plain": PlainRenderer()}, clock))


def test_a_message_is_sent_once_however_often_it_is_entered_and_queued(ledger: Ledger) -> None:
    ids = ledger.add("one")
    assert ledger.add("one") == []
    assert ledger.deliveries.send("test", ids).sent == 1
    assert ledger.deliveries.send("test", ids).sent == 0
    assert ledger.channel.arrived == ["one"]
    row = ledger.row("one")
    assert (row.state, row.remote_id, row.attempts, row.finished_at) == ("SENT", "remote-one", 1, NOW)


def test_only_the_oldest_open_message_of_a_subject_may_be_sent(ledger: Ledger) -> None:
    first, second, other = (
        ledger.add("first", subject="anna")[0],
        ledger.add("second", subject="anna")[0],
        ledger.add("other", subject="boris")[0],
    )
    report = ledger.deliveries.send("test", [second, first, other])
    assert ledger.channel.arrived == ["first", "other"]
    assert report.following == [second]
    ledger.deliveries.send("test", report.following)
    assert ledger.channel.arrived == ["first", "other", "second"]


def test_an_uncertain_message_holds_its_subject_back_until_it_is_looked_up(ledger: Ledger) -> None:
    first, second = ledger.add("first", "second", subject="anna")
    ledger.channel.after.append(UncertainError("no answer"))
    assert ledger.deliveries.send("test", [first, second]).uncertain == 1
    assert ledger.deliveries.send("test", [first, second]).sent == 0
    ledger.clock.forward(seconds=16)
    report = ledger.deliveries.look_up("test", [first])
    assert report.sent == 1
    assert ledger.deliveries.send("test", [second]).sent == 1
    assert ledger.channel.arrived == ["first", "second"]


def test_an_uncertain_message_is_not_looked_up_before_the_remote_has_settled(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    ledger.channel.after.append(UncertainError("no answer"))
    ledger.deliveries.send("test", [only])
    ledger.clock.forward(seconds=14)
    assert ledger.deliveries.scan_open().to_look_up["test"] == []
    assert ledger.deliveries.look_up("test", [only]).sent == 0
    ledger.clock.forward(seconds=2)
    assert ledger.deliveries.scan_open().to_look_up["test"] == [[only]]


def test_an_uncertain_message_that_did_not_arrive_is_sent_again(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    ledger.channel.before.append(UncertainError("cut"))
    ledger.deliveries.send("test", [only])
    ledger.clock.forward(seconds=16)
    report = ledger.deliveries.look_up("test", [only])
    assert report.following == [only]
    assert ledger.deliveries.send("test", [only]).sent == 1
    assert ledger.channel.arrived == ["only"]


def test_an_uncertain_message_whose_remote_cannot_be_asked_stays_uncertain(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    ledger.channel.after.append(UncertainError("cut"))
    ledger.channel.unreachable_for_look_ups = True
    ledger.deliveries.send("test", [only])
    ledger.clock.forward(seconds=16)
    ledger.deliveries.look_up("test", [only])
    assert ledger.states() == {"only": "UNCERTAIN"}
    ledger.channel.unreachable_for_look_ups = False
    ledger.clock.forward(minutes=10)
    assert ledger.deliveries.look_up("test", [only]).sent == 1


def test_a_claim_whose_sender_died_goes_back_and_is_sent_by_another(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    dead_claim = ledger.claim([only])
    assert ledger.deliveries.send("test", [only]).sent == 0
    ledger.clock.forward(seconds=LEASE.total_seconds() + 1)
    work = ledger.deliveries.scan_open()
    assert (work.swept.released, work.to_send["test"]) == (1, [[only]])
    assert ledger.deliveries.send("test", [only]).sent == 1
    with ledger.database.write() as session:
        assert DeliveryRepository(session).begin_sending(dead_claim, ledger.clock()) == set()


def test_a_sender_that_died_during_the_call_leaves_an_uncertain_message(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    claimed = ledger.claim([only])
    with ledger.database.write() as session:
        assert DeliveryRepository(session).begin_sending(claimed, ledger.clock()) == {only}
    ledger.channel.arrived.append("only")
    ledger.clock.forward(seconds=LEASE.total_seconds() + 1)
    assert ledger.deliveries.scan_open().swept.uncertain == 1
    ledger.clock.forward(seconds=16)
    assert ledger.deliveries.look_up("test", [only]).sent == 1
    with ledger.database.write() as session:
        assert DeliveryRepository(session).record_sent({claimed[0]: "late"}, ledger.clock()) == 0
    assert ledger.channel.arrived == ["only"]
    assert ledger.row("only").remote_id == "remote-only"


def test_the_remotes_wait_is_honoured_and_nothing_is_lost(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    ledger.channel.before.append(RateLimitedError("429", retry_after_s=40))
    assert ledger.deliveries.send("test", [only]).deferred == 1
    ledger.clock.forward(seconds=39)
    assert ledger.deliveries.send("test", [only]).sent == 0
    ledger.clock.forward(seconds=2)
    assert ledger.deliveries.send("test", [only]).sent == 1


def test_a_refused_message_is_dead_with_its_reason_and_does_not_hold_others_back(ledger: Ledger) -> None:
    first, second = ledger.add("first", "second", subject="anna")
    ledger.channel.before.append(RemoteRejectedError("POST /posts: 403", status=403))
    report = ledger.deliveries.send("test", [first])
    assert (report.dead, report.following) == (1, [second])
    assert ledger.row("first").reason == "POST /posts: 403"


def test_a_postponed_message_waits_for_its_time_and_lets_others_pass(ledger: Ledger) -> None:
    first, second, third = ledger.add("night 1", "day", "night 2", subject="anna")
    report = ledger.deliveries.send("test", [first])
    assert (report.deferred, report.following) == (1, [second])
    assert ledger.deliveries.send("test", [second]).following == [third]
    assert ledger.deliveries.send("test", [third]).following == []
    assert (ledger.channel.arrived, ledger.row("night 1").attempts) == (["day"], 0)
    assert ledger.deliveries.scan_open().to_send["test"] == []
    ledger.clock.forward(hours=1)
    [fourth] = ledger.add("after", subject="anna")
    assert ledger.deliveries.send("test", [fourth]).sent == 0  # in the morning the order holds again
    report = ledger.deliveries.send("test", [first])
    while report.following:
        report = ledger.deliveries.send("test", report.following)
    assert ledger.channel.arrived == ["day", "night 1", "night 2", "after"]


def test_a_message_that_cannot_be_written_keeps_no_other_back_and_is_not_lost(ledger: Ledger) -> None:
    broken = ledger.add("broken", subject="anna")
    rest = [*ledger.add("later", subject="anna"), *ledger.add("other")]
    ledger.deliveries.send("test", broken)
    ledger.deliveries.send("test", [*broken, *rest])
    assert ledger.states() == {"broken": "PENDING", "later": "SENT", "other": "SENT"}
    assert "could not be written (OverflowError" in (ledger.row("broken").reason or "")
    ledger.clock.now += timedelta(hours=1)
    ledger.deliveries.send("test", broken)
    assert ledger.states()["broken"] == "SENT"


def test_a_message_that_failed_still_holds_back_what_comes_after_it(ledger: Ledger) -> None:
    first, second = ledger.add("first", "second", subject="anna")
    ledger.channel.before.append(RateLimitedError("429", retry_after_s=40))
    assert ledger.deliveries.send("test", [first]).following == []
    assert ledger.deliveries.send("test", [second]).sent == 0


def test_a_channel_that_refuses_our_token_keeps_every_message(ledger: Ledger) -> None:
    ids = ledger.add("a", "b", "c")
    ledger.channel.before.append(AuthError("401"))
    assert ledger.deliveries.send("test", ids).deferred == 3
    assert set(ledger.states().values()) == {"PENDING"}
    ledger.clock.forward(minutes=2)
    assert ledger.deliveries.send("test", ids).sent == 3


def test_a_message_that_came_too_late_or_is_of_no_use_expires_unsent(ledger: Ledger) -> None:
    late, gone = (
        *ledger.add("late", expires_at=NOW + timedelta(minutes=1)),
        *ledger.add("gone"),
    )
    ledger.clock.forward(minutes=2)
    assert ledger.deliveries.send("test", [late, gone]).expired == 1
    ledger.deliveries.scan_open()
    assert ledger.states() == {"late": "EXPIRED", "gone": "EXPIRED"}
    assert ledger.channel.arrived == []


def test_a_message_that_is_wanted_again_says_what_is_wanted_now(ledger: Ledger) -> None:
    (made,) = ledger.add("gone", body={"subscriber_id": 1})
    assert ledger.deliveries.send("test", [made]).expired == 1
    assert ledger.add("gone", body={"subscriber_id": 2}) == [made]
    assert ledger.row("gone").body == {"subscriber_id": 2}


def test_two_senders_at_once_never_send_the_same_message(ledger: Ledger) -> None:
    ids = ledger.add(*(f"message-{number}" for number in range(60)))
    start = threading.Barrier(4)

    def send() -> None:
        start.wait()
        for first in range(0, 60, 20):
            ledger.deliveries.send("test", ids[first : first + 20])

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for batch in ledger.deliveries.scan_open().to_send["test"]:
        ledger.deliveries.send("test", batch)
    assert sorted(ledger.channel.arrived) == sorted(f"message-{number}" for number in range(60))


def test_a_sender_out_of_time_gives_back_what_it_did_not_begin(ledger: Ledger) -> None:
    ids = ledger.add(*(f"message-{number:02}" for number in range(30)))
    original = ledger.channel.send

    def slow(delivery: ClaimedDelivery, rendered: Rendered) -> str:
        ledger.clock.forward(seconds=1)
        return original(delivery, rendered)

    ledger.channel.send = slow  # type: ignore[method-assign]
    report = ledger.deliveries.send("test", ids)
    in_time = int(SEND_BUDGET.total_seconds())
    assert (report.sent, report.deferred) == (in_time, 30 - in_time)
    assert sorted(ledger.states().values()) == ["PENDING"] * (30 - in_time) + ["SENT"] * in_time
    assert report.following == ids[in_time:]


def test_a_row_that_another_took_over_is_not_recorded_by_the_first(ledger: Ledger) -> None:
    (only,) = ledger.add("only")
    stale = ledger.claim([only])
    with ledger.database.write() as session:
        session.execute(update(Delivery).values(state=DeliveryState.PENDING, claimed_until=None))
    ledger.claim([only])
    with ledger.database.write() as session:
        DeliveryRepository(session).record_dead(stale, reason="stale", now=NOW)
    assert ledger.states() == {"only": "CLAIMED"}


def test_a_message_that_became_useless_and_is_wanted_again_in_time_is_sent(ledger: Ledger) -> None:
    """A meeting moved away and back: expired means never sent, so this sends nothing twice."""
    soon = NOW + timedelta(minutes=5)
    ids = ledger.add("gone", "late", "sent", expires_at=soon)
    assert ledger.deliveries.send("test", ids).expired == 1
    again = ledger.add("gone", "late", "sent", "new", expires_at=soon)
    assert again == [ids[0], ledger.row("new").id]
    assert ledger.states()["gone"] == "PENDING"
    ledger.clock.forward(minutes=10)
    ledger.deliveries.scan_open()
    assert ledger.states() == {"gone": "EXPIRED", "late": "SENT", "sent": "SENT", "new": "EXPIRED"}
    assert ledger.add("gone", expires_at=soon) == []
