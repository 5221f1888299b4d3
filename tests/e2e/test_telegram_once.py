"""Whatever dies on the way, every message goes out once and every message that came is stored and handled once, in order.

Real gateways over a loopback Telegram that, as Telegram does, ends a key which two connections use at once.
"""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pytest

from sandbox.telegram.world import Settings
from switchboard.db.models import DeliveryState
from tests.e2e.telegram_gateways import LONG_LEASE_S, Gateways, running_gateways
from tests.e2e.telegram_mail import FAST, Mail

DATABASES = [pytest.param("postgres_url", id="postgresql"), pytest.param("sqlite_url", id="sqlite")]
SEND: dict[str, Any] = {"method": "messages.sendMessage"}
MOVING_LEASE_S = 16  # a renewal, and with it a change of hands, every four seconds
pytestmark = pytest.mark.timeout(600)  # a thousand messages each way on a busy machine


@pytest.fixture
def gateways(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateways]:
    """On PostgreSQL, or on what the test asks for."""
    url = request.getfixturevalue(getattr(request, "param", "postgres_url"))
    with running_gateways(tmp_path, url, **FAST) as made:
        yield made


def test_a_gateway_killed_while_it_sends_and_receives_loses_nothing_and_doubles_nothing(gateways: Gateways) -> None:
    mail = Mail(gateways, offices=4, people=5)
    _kill_at(mail, mail.open(), documents=10, messages=10, kills=(0.3,))


@pytest.mark.full
@pytest.mark.parametrize("gateways", DATABASES, indirect=True)
def test_a_gateway_killed_three_times_during_a_thousand_sends_and_receives(gateways: Gateways) -> None:
    mail = Mail(gateways, offices=10, people=10)
    _kill_at(mail, mail.open(), documents=10, messages=10, kills=(0.1, 0.4, 0.8))


def _kill_at(
    mail: Mail, process: subprocess.Popen[bytes], *, documents: int, messages: int, kills: tuple[float, ...]
) -> None:
    """Kill when these parts of all documents are sent, while others write."""
    people = sum(len(office.readers) for office in mail.offices)
    with ThreadPoolExecutor(1) as writers:
        mail.enter(documents)
        writing = writers.submit(mail.write, messages, between_s=0.01)
        for part in kills:
            mail.wait_sent(int(part * documents * people))
            process = mail.kill(process)
        writing.result()
    mail.settle()
    mail.check()


@pytest.mark.full
def test_a_broker_killed_while_messages_go_and_come_cuts_no_connection(gateways: Gateways) -> None:
    mail = Mail(gateways, offices=10, people=10)
    process = mail.open(lease_s=LONG_LEASE_S)
    accepted = gateways.accepted()
    mail.enter(10)
    mail.write(4)
    mail.wait_sent(100)
    gateways.valkey.kill()
    mail.write(6)
    mail.wait_sent(700)  # the ledger does not wait for the broker
    gateways.valkey.start()
    mail.end_claims()
    mail.settle()
    mail.check()
    assert gateways.accepted() == accepted, "connections were opened anew"
    assert process.poll() is None


@pytest.mark.full
@pytest.mark.parametrize("gateways", DATABASES, indirect=True)
def test_accounts_that_move_among_gateways_are_never_in_two_hands(gateways: Gateways) -> None:
    """A second gateway comes, the first one goes, a third comes: each send is made once, and none is cut off and repeated."""
    mail = Mail(gateways, offices=4, people=3)
    first = mail.open(lease_s=MOVING_LEASE_S)
    moved = threading.Event()
    with ThreadPoolExecutor(1) as clerks:
        entering = clerks.submit(_enter_until, moved, mail)
        try:
            mail.wait_sent(40)
            second = gateways.start(lease_s=MOVING_LEASE_S)
            mail.write(5)
            gateways.wait_for(lambda: gateways.owners() == {first.pid, second.pid}, "the second to get its share")
            mail.write(5)
            first.send_signal(signal.SIGTERM)
            assert first.wait(40) == 0
            gateways.wait_for(lambda: gateways.owners() == {second.pid}, "the second to hold every shard")
            mail.write(5)
            third = gateways.start(lease_s=MOVING_LEASE_S)
            gateways.wait_for(lambda: gateways.owners() == {second.pid, third.pid}, "the third to get its share")
        finally:
            moved.set()
        entering.result()
    mail.settle()
    mail.check()
    assert _sends(gateways) == mail.made()
    assert gateways.lines() == len(mail.offices)


def _enter_until(moved: threading.Event, mail: Mail) -> None:
    """Nearly as many documents as may be sent, so that there are always some in hand."""
    while not moved.wait(0.15):
        mail.enter(1)


@pytest.mark.full
def test_connections_that_are_cut_again_and_again_lose_nothing(gateways: Gateways) -> None:
    mail = Mail(gateways, offices=5, people=10)
    mail.open()
    for already in (0, 250, 500, 750):
        mail.write(5)
        mail.enter(5)
        mail.wait_sent(already + 50)
        gateways.wait_for(lambda: gateways.lines() == len(mail.offices), "every account to be open")
        assert gateways.twin.cut() > 0
    mail.settle()
    mail.check()


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "repeated"),
    [
        pytest.param({"kind": "cut", "when": "after"}, "duplicate", id="cut after the effect"),
        pytest.param({"kind": "cut", "when": "after"}, "silent", id="cut after the effect, and silent at the repeat"),
        pytest.param({"kind": "cut", "when": "before"}, "duplicate", id="cut before the effect"),
        pytest.param({"kind": "lost"}, "duplicate", id="the answer never comes"),
        pytest.param({"kind": "error", "when": "after", "name": "RPC_CALL_FAIL"}, "duplicate", id="an error after it"),
    ],
)
def test_an_answer_that_is_lost_is_no_message_that_is_lost_or_doubled(
    gateways: Gateways, fault: dict[str, Any], repeated: Literal["duplicate", "silent"]
) -> None:
    """One answer of each account, in the middle of its messages. `repeated`: what Telegram says to a known random_id."""
    settings = Settings(duplicate_key="connection", random_id=repeated)
    gateways.twin.call(lambda: setattr(gateways.twin.world, "settings", settings))
    mail = Mail(gateways, offices=4, people=5)
    mail.open()
    mail.enter(3)
    mail.settle()
    for office in mail.offices:
        gateways.twin.faults.add(account=mail.user_id(office.name), count=1, **SEND, **fault)
    mail.enter(7)
    mail.write(4)
    mail.settle()
    mail.check()
    assert gateways.twin.faults.fired[fault.get("name", fault["kind"])] == 4


@pytest.mark.full
@pytest.mark.parametrize("gateways", DATABASES, indirect=True)
def test_a_holder_stopped_past_its_lease_sends_nothing_when_it_wakes(gateways: Gateways) -> None:
    """It is stopped while it waits for an answer, with more rows claimed; the answer is there when it wakes."""
    mail = Mail(gateways, offices=4, people=5)
    first = mail.open()
    mail.enter(10)
    mail.wait_sent(20)
    gateways.twin.call(lambda: setattr(gateways.twin.world, "settings", Settings(duplicate_key="never")))
    slow = gateways.twin.faults.add("slow", when="after", seconds=2.0, **SEND)
    gateways.wait_for(
        lambda: mail.sent(DeliveryState.SENDING) >= 8 and _fired(gateways, "slow") >= 4, "answers to be awaited"
    )
    gateways.stop_between_writes(first)
    try:
        gateways.twin.faults.remove(slow.id)
        second = gateways.start()
        gateways.wait_for(lambda: gateways.owners() == {second.pid}, "the second to hold every shard")
        gateways.wait_for(lambda: gateways.lines() == 8, "the second to open every account")
        mail.write(5)  # reaches both lines of each account
        mail.enter(5)
        mail.settle()
        mail.check()
        calls = _sends(gateways)
        gateways.twin.call(gateways.twin.world.random_ids.clear)  # so that a repeat would be a message
    finally:
        first.send_signal(signal.SIGCONT)
    gateways.wait_for(lambda: "telegram leases ran out" in gateways.log.read_text(), "the first to let go")
    gateways.wait_for(lambda: gateways.owners() == {first.pid, second.pid}, "the first to get its share again")
    gateways.wait_for(lambda: gateways.lines() == 4, "every account to be open once")
    assert _sends(gateways) == calls
    mail.check()

    mail.enter(5)
    mail.write(5)
    mail.settle()
    mail.check()


@pytest.mark.full
@pytest.mark.parametrize("gateways", DATABASES, indirect=True)
def test_a_warm_shutdown_ends_what_is_in_hand_and_leaves_the_rest(gateways: Gateways) -> None:
    """Telegram forgets what it was sent after each shutdown: what was not recorded would come twice."""
    mail = Mail(gateways, offices=4, people=5)
    process = mail.open()
    mail.enter(20)
    for least in (40, 120, 240):
        mail.write(2)
        mail.wait_sent(least)
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        assert mail.sent(DeliveryState.SENDING, DeliveryState.CLAIMED, DeliveryState.UNCERTAIN) == 0
        arrived = sum(len(mail.documents(office, one)) for office in mail.offices for one in office.readers)
        assert arrived == mail.sent()
        assert gateways.lines() == 0
        gateways.twin.call(gateways.twin.world.random_ids.clear)
        process = gateways.start()
    mail.settle()
    mail.check()


def _sends(gateways: Gateways) -> int:
    return gateways.twin.call(lambda: gateways.twin.server.calls["messages.sendMessage"])


def _fired(gateways: Gateways, kind: str) -> int:
    return gateways.twin.faults.fired[kind]
