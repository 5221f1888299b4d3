"""Real workers and beats of the real app, killed, stopped and cut off from their broker."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from switchboard.clients.redis import connect_redis
from tests.e2e.cluster import Cluster
from tests.servers import running_valkey


@pytest.fixture
def cluster(valkey: str, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(valkey, tmp_path / "cluster", PROBE_VISIBILITY_S="4", PROBE_TICK_S="1", PROBE_BEAT_LOCK_S="5")
    yield made
    made.close()


def alive(process_id: str) -> bool:
    """Whether a process runs; one that ended and was not yet reaped does not."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_task_of_a_killed_worker_runs_again(cluster: Cluster) -> None:
    doomed = cluster.worker()
    cluster.send("work", text="a", seconds=2)
    cluster.wait_for_lines("begin a", 1, 10)
    doomed.kill()
    cluster.worker()
    cluster.wait_for_lines("end a", 1, 20)
    assert cluster.lines("begin a") == ["begin a"] * 2


@pytest.mark.slow
def test_a_worker_ends_within_25_seconds_of_sigterm_whatever_its_tasks_do(cluster: Cluster, valkey: str) -> None:
    """A short task ends well, one that calls remotes is queued again at its next call, one that sleeps is given back."""
    worker = cluster.worker()
    cluster.send("work", text="short", seconds=2)
    cluster.send("call_remotes_long", text="caller", seconds=60)
    cluster.send("work", text="long", seconds=60)
    cluster.wait_for_lines("begin", 3, 10)
    worker.send_signal(signal.SIGTERM)
    stopped_at = time.monotonic()
    time.sleep(2)  # the read of the queue that was under way at SIGTERM lasts a second
    cluster.send("note", text="too late for this worker")
    worker.wait(25)
    assert 15 < time.monotonic() - stopped_at < 25
    assert cluster.lines("end") == ["end short"]
    assert cluster.lines("too late") == []
    assert "worker_cut_off" in cluster.log.read_text()
    with connect_redis(valkey) as client:
        assert client.llen("upkeep") == 3  # the late note, the caller's next try, the long one given back
        assert client.hlen("unacked") == 0


def test_an_idle_worker_ends_at_once(cluster: Cluster) -> None:
    worker = cluster.worker()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(8) == 0


def test_a_task_past_its_deadline_is_cut_at_its_next_remote_call_and_tried_again(cluster: Cluster) -> None:
    cluster.worker()
    cluster.send("call_remotes", text="a", seconds=30)
    cluster.wait_for_lines("begin a", 1, 10)
    begun_at = time.monotonic()
    cluster.wait_for(lambda: "task_to_be_tried_again" in cluster.log.read_text(), 10, "the cut")
    assert time.monotonic() - begun_at < 15  # uncut it would last 30 s
    cluster.wait_for_lines("begin a", 2, 10)
    cluster.wait_for(lambda: "task_left_to_its_row" in cluster.log.read_text(), 10, "the end of retries")
    assert cluster.lines("end a") == []


def test_the_same_message_twice_has_its_effect_once(cluster: Cluster) -> None:
    cluster.worker()
    for _copy in range(2):
        cluster.send("effect_once", key="k", task_id="the-same-id")
    cluster.wait_for_lines("nothing k", 1, 20)
    assert cluster.lines("effect k") == ["effect k"]
    assert len(cluster.lines("begin k")) >= 3  # one of the two met the lock and came again


def test_a_permanent_error_is_not_tried_again(cluster: Cluster) -> None:
    cluster.worker()
    cluster.send("refuse", text="r")
    cluster.wait_for(lambda: "task_refused" in cluster.log.read_text(), 10, "the refusal")
    time.sleep(3)
    assert cluster.lines("r") == ["r"]
    assert "Traceback" not in cluster.log.read_text()


def test_argument_values_never_reach_the_log(cluster: Cluster) -> None:
    cluster.worker()
    cluster.send("note", text="PRIVATE-TEXT")
    cluster.send("refuse", text="PRIVATE-TEXT")
    cluster.send("note", text="PRIVATE-TEXT", nonsense=1)  # a TypeError with a traceback
    cluster.wait_for(lambda: "task_refused" in cluster.log.read_text(), 10, "the refusal")
    cluster.wait_for(lambda: "TypeError" in cluster.log.read_text(), 10, "the error")
    cluster.wait_for_lines("PRIVATE", 2, 5)
    assert "PRIVATE-TEXT" not in cluster.log.read_text()


def test_the_prefork_pool_kills_a_task_at_its_hard_limit_and_goes_on(cluster: Cluster) -> None:
    cluster.worker(pool="prefork", size=1, queue="expansion")
    cluster.send("hang", text="h", queue="expansion")
    cluster.wait_for_lines("begin h", 1, 10)
    cluster.send("note", text="next", queue="expansion")
    cluster.wait_for_lines("next", 1, 15)


@pytest.mark.slow
def test_a_prefork_worker_ends_within_25_seconds_of_sigterm_and_leaves_no_child(cluster: Cluster, valkey: str) -> None:
    worker = cluster.worker(pool="prefork", size=1, queue="expansion")
    cluster.send("work", text="long", seconds=60, queue="expansion")
    cluster.wait_for_lines("begin long", 1, 10)
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert children
    worker.send_signal(signal.SIGTERM)
    worker.wait(25)
    cluster.wait_for(lambda: not any(map(alive, children)), 2, "the children to end")
    with connect_redis(valkey) as client:
        assert client.llen("expansion") == 1


@pytest.mark.full  # test_exactly_once has two beats too
@pytest.mark.slow
def test_two_beats_tick_once_and_the_second_goes_on_when_the_first_is_killed(cluster: Cluster) -> None:
    cluster.worker()
    leader = cluster.beat()
    cluster.wait_for_lines("tick", 1, 15)
    standby = cluster.beat()
    time.sleep(3)
    before = len(cluster.lines("tick"))
    time.sleep(10)
    assert 8 <= len(cluster.lines("tick")) - before <= 11
    leader.kill()
    leader.wait(5)
    time.sleep(1)
    after = len(cluster.lines("tick"))
    cluster.wait_for_lines("tick", after + 3, 20)
    assert standby.poll() is None


def test_queued_tasks_survive_a_killed_broker_and_the_worker_connects_again(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "valkey") as server:
        cluster = Cluster(server.url, tmp_path / "cluster")
        try:
            worker = cluster.worker()
            cluster.send("note", text="before")
            cluster.wait_for_lines("before", 1, 10)
            worker.send_signal(signal.SIGSTOP)
            for number in range(20):
                cluster.send("note", text=f"queued {number}")
            time.sleep(1.5)  # appendfsync everysec
            server.kill()
            server.start()
            worker.send_signal(signal.SIGCONT)
            cluster.wait_for_lines("queued", 20, 30)
            cluster.send("note", text="after")
            cluster.wait_for_lines("after", 1, 10)
            assert sorted(cluster.lines("queued")) == sorted(f"queued {number}" for number in range(20))
            assert worker.poll() is None
        finally:
            cluster.close()
