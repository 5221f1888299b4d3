"""Gateways as processes of their own, over a real broker that restarts: warm shutdowns, kills, and stops past a lease."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import func, select

from sandbox.telegram.world import Settings
from switchboard.db.models import TelegramGateway
from switchboard.domain.telegram.sharding import SHARD_QUEUES, shard_of
from switchboard.services.telegram.accounts import AccountView
from tests.e2e.telegram_gateways import (
    API_HASH_SECRET,
    LONG_LEASE_S,
    PASSWORD,
    PHONE,
    SECRET,
    WAIT_S,
    Gateways,
    running_gateways,
)


@pytest.fixture
def gateways(sqlite_url: str, tmp_path: Path) -> Iterator[Gateways]:
    with running_gateways(tmp_path, sqlite_url) as made:
        yield made


def test_connections_live_through_a_restart_of_the_broker_and_a_warm_shutdown_hands_over(gateways: Gateways) -> None:
    accounts = [gateways.add_signed_in(f"P{number}") for number in range(5)]
    process = gateways.start(lease_s=LONG_LEASE_S)
    gateways.wait_online(*accounts)
    accepted = gateways.accepted()
    assert gateways.lines() == 5

    gateways.valkey.kill()
    time.sleep(1.0)
    gateways.valkey.start()
    # a hint that arrives after the restart shows that the shards' queues are consumed again
    gateways.accounts.stop(accounts[0], actor="test")
    gateways.send("telegram.accounts.look", account_id=accounts[0])
    with (
        Celery("reader", broker=gateways.valkey.url, set_as_current=False) as reader,
        reader.connection() as connection,
    ):
        queue = SHARD_QUEUES[shard_of(accounts[0])]
        length = connection.default_channel.client.llen
        gateways.wait_for(lambda: length(queue) == 0, "the hint to be taken")
    gateways.wait_for(lambda: gateways.accounts.get(accounts[0]).state == "stopped", "the account to stop")
    assert gateways.accepted() == accepted, "connections were opened anew"
    assert gateways.lines() == 4

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert gateways.lines() == 0
    assert gateways.owners() == {0}
    assert [gateways.accounts.get(each).reason for each in accounts[1:]] == ["moving"] * 4


def test_a_warm_shutdown_keeps_accounts_open_until_the_pool_has_drained(gateways: Gateways) -> None:
    account = gateways.add_signed_in("P0")
    process = gateways.start(app="tests.e2e.probe_app", lease_s=LONG_LEASE_S)
    gateways.wait_online(account)
    probe, end = gateways.folder / "probe", gateways.folder / "end"
    gateways.send("upkeep.probe.wait_for", text="a task in hand", path=str(end))
    gateways.wait_for(probe.exists, "the task to begin")

    process.send_signal(signal.SIGTERM)
    gateways.wait_for(lambda: "Warm shutdown" in gateways.log.read_text(), "the shutdown to begin")
    late = gateways.add_signed_in("Late")  # which a host that was closed would never open
    gateways.wait_online(account, late)
    assert gateways.lines() == 2

    end.touch()
    assert process.wait(30) == 0
    assert probe.read_text().splitlines() == ["begin a task in hand", "end a task in hand"]
    assert gateways.lines() == 0
    assert gateways.owners() == {0}
    assert [gateways.accounts.get(each).reason for each in (account, late)] == ["moving"] * 2


def test_a_killed_gateway_is_followed_by_another_and_a_stopped_one_does_nothing_when_it_wakes(
    gateways: Gateways,
) -> None:
    accounts = [gateways.add_signed_in(f"P{number}") for number in range(4)]
    first = gateways.start()
    gateways.wait_online(*accounts)
    first.kill()
    first.wait(10)
    second = gateways.start()
    gateways.wait_for(lambda: gateways.owners() == {second.pid} and gateways.lines() == 4, "the take-over")
    online = "telegram account online"  # of the second, too: the rows have said so since the first
    gateways.wait_for(lambda: gateways.log.read_text().count(online) >= 2 * len(accounts), "every account to be online")

    # stopped past its lease while a third takes everything over; its lines stay open, as nobody there can close them
    gateways.twin.call(lambda: setattr(gateways.twin.world, "settings", Settings(duplicate_key="never")))
    gateways.stop_between_writes(second)
    third = gateways.start()
    gateways.wait_for(lambda: gateways.owners() == {third.pid}, "the third gateway to hold every shard")
    gateways.wait_for(lambda: gateways.lines() == 8, "the third gateway to open every account")
    second.send_signal(signal.SIGCONT)
    gateways.wait_for(
        lambda: "telegram leases ran out" in gateways.log.read_text(), "the second to let go of everything"
    )
    gateways.wait_for(lambda: gateways.owners() == {second.pid, third.pid}, "the second to get its share again")
    gateways.wait_for(lambda: gateways.lines() == 4, "every account to be open once")
    assert {view.state for view in gateways.wait_online(*accounts)} == {"online"}


def test_a_sign_in_over_processes_leaves_no_secret_in_the_broker_or_the_log(gateways: Gateways) -> None:
    gateways.twin.add_person("Ann", phone=PHONE, password=PASSWORD)
    process = gateways.start()
    account_id = gateways.accounts.add_user(PHONE, actor="test").id
    seen: list[str] = []

    def step(number: int) -> AccountView:
        gateways.send("telegram.accounts.look", account_id=account_id)
        view = gateways.sign_ins.wait(account_id, number, seconds=WAIT_S)
        assert view is not None
        return view

    assert step(gateways.sign_ins.request_code(account_id, actor="test")).state == "code_sent"
    code = gateways.twin.codes(PHONE)[-1]
    seen += [code.code, code.hash]
    step(gateways.sign_ins.submit_code(account_id, code.code, actor="test"))
    step(gateways.sign_ins.submit_password(account_id, PASSWORD, actor="test"))
    gateways.wait_online(account_id)
    process.terminate()
    assert process.wait(30) == 0
    log = gateways.log.read_text(encoding="utf-8")
    kept = (gateways.folder / "switchboard.sqlite3").read_bytes()
    queued = b"".join(path.read_bytes() for path in gateways.valkey.folder.rglob("*") if path.is_file())
    assert b"telegram.accounts.look" in queued
    for secret in (*seen[1:], PHONE, PASSWORD, API_HASH_SECRET, SECRET):
        assert secret not in log
        assert secret.encode() not in queued
    for secret in (*seen[1:], PASSWORD, API_HASH_SECRET):
        assert secret.encode() not in kept
    with gateways.database.read() as session:
        assert session.scalar(select(func.count()).select_from(TelegramGateway)) == 0
