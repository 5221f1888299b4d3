"""The lease on a real Valkey, held by real processes."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from sandbox.ports import free_port
from switchboard.clients.redis import connect_redis
from switchboard.errors import LockBusyError, LockLostError, RemoteUnavailableError, TransientError
from switchboard.locks import FENCE_KEY, KEY_PREFIX, LockFactory
from tests.servers import ROOT, dies_with_parent, running_valkey

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    with connect_redis(valkey) as opened:
        yield opened


@pytest.fixture
def locks(client: redis.Redis) -> LockFactory:
    return LockFactory(client)


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts lock_holder processes and ends them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.lock_holder", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate(timeout=10)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    return said(process)


def require_within(locks: LockFactory, name: str, seconds: float) -> int:
    """Try until the lock is free; its fence."""
    end = time.monotonic() + seconds
    while True:
        try:
            with locks.require(name) as lease:
                return lease.fence
        except LockBusyError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def test_a_lock_held_by_another_process_is_busy_for_the_rest_of_its_lease(
    valkey: str, locks: LockFactory, start: Start
) -> None:
    assert said(start("hold", valkey, "account:1", "30")).isdigit()
    assert locks.attempt("account:1") is None
    with pytest.raises(LockBusyError) as caught:
        locks.require("account:1")
    assert caught.value.retry_after_s is not None
    assert 25 < caught.value.retry_after_s <= 30
    with locks.require("account:2") as other:
        assert not other.lost


def test_after_a_sigkill_the_next_holder_waits_for_the_lease_and_gets_a_higher_fence(
    valkey: str, locks: LockFactory, start: Start
) -> None:
    process = start("hold", valkey, "account:1", "1")
    fence = int(said(process))
    time.sleep(1.5)  # renewed at least once
    assert ask(process) == "held"
    process.kill()
    process.wait(10)
    assert locks.attempt("account:1") is None
    assert require_within(locks, "account:1", 5) > fence


def test_a_holder_stopped_past_its_lease_knows_that_it_lost_the_lock_before_any_effect(
    valkey: str, locks: LockFactory, start: Start
) -> None:
    process = start("hold", valkey, "account:1", "1")
    fence = int(said(process))
    process.send_signal(signal.SIGSTOP)
    assert require_within(locks, "account:1", 5) > fence
    assert process.stdin is not None
    process.stdin.write("?\n")  # asked before it wakes: the answer is its first step
    process.stdin.flush()
    process.send_signal(signal.SIGCONT)
    assert said(process) == "lost"
    time.sleep(0.5)
    assert ask(process) == "lost"


def test_renewal_keeps_a_lock_far_beyond_its_lease(locks: LockFactory, client: redis.Redis) -> None:
    with locks.require("account:1", lease_s=0.6) as lease, locks.require("account:2", lease_s=0.9):
        end = time.monotonic() + 2.5
        while time.monotonic() < end:
            assert client.get(KEY_PREFIX + "account:1") == lease.owner
            lease.check()
            time.sleep(0.05)
    assert client.get(KEY_PREFIX + "account:1") is None


def test_renewal_ends_at_the_longest_hold_so_that_a_hung_thread_frees_its_subject(
    locks: LockFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchboard.locks.LONGEST_HOLD_S", 0.8)
    with locks.require("account:1", lease_s=0.5) as lease:
        time.sleep(1.5)
        assert lease.lost
        assert locks.attempt("account:1") is not None


def test_a_lock_taken_by_another_is_neither_extended_nor_released(locks: LockFactory, client: redis.Redis) -> None:
    with locks.require("account:1", lease_s=0.6) as lease:
        client.set(KEY_PREFIX + "account:1", "another", px=60_000)
        time.sleep(0.4)  # a renewal has met it
        assert lease.lost
        with pytest.raises(LockLostError):
            lease.check()
    assert client.get(KEY_PREFIX + "account:1") == "another"
    assert int(str(client.pttl(KEY_PREFIX + "account:1"))) > 55_000


def test_a_lost_lock_is_a_transient_error() -> None:
    assert issubclass(LockLostError, TransientError)


def test_a_released_lock_is_free_at_once_and_the_fence_rises(locks: LockFactory) -> None:
    fences = [require_within(locks, name, 0) for name in ("a", "b", "a", "a", "b")]
    assert fences == sorted(set(fences))


def test_the_fence_rises_after_the_server_lost_everything(locks: LockFactory, client: redis.Redis) -> None:
    before = require_within(locks, "account:1", 0)
    client.flushall()
    assert require_within(locks, "account:1", 0) > before


def test_the_fence_rises_even_if_the_clock_of_the_server_is_set_back(locks: LockFactory, client: redis.Redis) -> None:
    ahead = 4_000_000_000_000_000  # microseconds: the year 2096
    client.set(FENCE_KEY, ahead)
    assert require_within(locks, "account:1", 0) == ahead + 1
    assert client.ttl(FENCE_KEY) == -1  # never expires


def test_a_lease_and_the_fence_outlive_a_killed_server_with_aof(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "valkey") as server, connect_redis(server.url) as client:
        locks = LockFactory(client)
        with locks.require("account:1", lease_s=3) as lease:
            time.sleep(1.2)  # appendfsync everysec
            server.kill()
            server.start()
            assert LockFactory(client).attempt("account:1") is None
            time.sleep(2.5)  # past the lease: renewed through the restart
            lease.check()
        assert require_within(locks, "account:1", 1) > lease.fence


def test_a_holder_cut_off_from_the_server_loses_the_lock_by_its_own_clock(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "valkey") as server, connect_redis(server.url) as client:
        lease = LockFactory(client).require("account:1", lease_s=1)
        server.kill()
        lease.check()
        time.sleep(1.1)
        assert lease.lost
        lease.release()


def test_no_answer_of_the_server_is_a_remote_that_is_unavailable() -> None:
    with connect_redis(f"redis://127.0.0.1:{free_port()}/0") as client, pytest.raises(RemoteUnavailableError):
        LockFactory(client).require("account:1")


def test_an_owner_that_asks_again_gets_its_lock_again(locks: LockFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """As redis-py does when the first answer was lost on the way."""
    monkeypatch.setattr("switchboard.locks.secrets.token_hex", lambda _bytes: "the same")
    first = locks.require("account:1")
    second = locks.require("account:1")
    assert second.fence > first.fence
    second.release()


def test_increments_of_eight_processes_never_interleave(valkey: str, start: Start, tmp_path: Path) -> None:
    path = tmp_path / "counter.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE counter (value INTEGER, fence INTEGER)")
        database.execute("INSERT INTO counter VALUES (0, 0)")
    database.close()
    processes = [start("count", valkey, "counter", str(path), "25") for _ in range(8)]
    assert [process.wait(60) for process in processes] == [0] * 8
    database = sqlite3.connect(path)
    assert database.execute("SELECT value FROM counter").fetchone() == (200,)
    database.close()
