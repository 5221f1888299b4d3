"""What our base task costs: a task that does nothing, as ours and as Celery's own, in one worker on one broker.

Rounds of both alternate. In each the worker is stopped while the messages are queued, then goes on; time runs until the
last one is acknowledged. Both run with task events on, late acknowledgement and prefetch 1, at log level INFO; Celery's
own log lines are off, ours are on (none for a quick task that ends well). `ratio` is the median over the rounds of our
throughput divided by Celery's; CPU is user and system time of the worker.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from celery import Celery

from tests.servers import ROOT, dies_with_parent, running_valkey

QUEUE = "upkeep"
TASKS = ("ours", "celerys")
SIZES = {"full": (4_000, 9), "small": (500, 3)}  # tasks in a round, rounds of each
THREADS = 8
TIMEOUT_S = 120.0
POLL_S = 0.002
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def run(scale: str) -> dict[str, Any]:
    """`ratio`, tasks a second and CPU microseconds a task (medians, with the spread of the rounds)."""
    count, rounds = SIZES[scale]
    rates: dict[str, list[float]] = {name: [] for name in TASKS}
    cpu_us: dict[str, list[float]] = {name: [] for name in TASKS}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_valkey(Path(folder) / "valkey") as server,
        _worker(server.url, Path(folder)) as process,
        redis.Redis.from_url(server.url) as client,
        Celery("producer", broker=server.url, set_as_current=False) as producer,
    ):
        for number in range(rounds + 1):
            for name in TASKS if number % 2 else reversed(TASKS):
                rate, cpu = _round(producer, client, process.pid, f"upkeep.noop.{name}", count)
                if number:  # the first round warms up
                    rates[name].append(rate)
                    cpu_us[name].append(cpu)
    ratios = [ours / celerys for ours, celerys in zip(rates["ours"], rates["celerys"], strict=True)]
    cpu_ratios = [celerys / ours for ours, celerys in zip(cpu_us["ours"], cpu_us["celerys"], strict=True)]
    return {
        "ratio": round(statistics.median(ratios), 3),
        "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "cpu_ratio": round(statistics.median(cpu_ratios), 3),
        **{f"{name}_per_s": round(statistics.median(rates[name])) for name in TASKS},
        **{f"{name}_cpu_us": round(statistics.median(cpu_us[name])) for name in TASKS},
        "tasks": count,
        "rounds": rounds,
    }


def _round(producer: Celery, client: redis.Redis, pid: int, task: str, count: int) -> tuple[float, float]:
    """Tasks a second and CPU microseconds a task of one round."""
    os.kill(pid, signal.SIGSTOP)
    with producer.connection_for_write() as connection, connection.Producer() as channel:
        for _number in range(count):
            producer.send_task(task, queue=QUEUE, producer=channel)
    cpu_before, started = _cpu_s(pid), time.perf_counter()
    os.kill(pid, signal.SIGCONT)
    while client.llen(QUEUE) or client.hlen("unacked"):
        time.sleep(POLL_S)
        if time.perf_counter() - started > TIMEOUT_S:
            raise TimeoutError(f"the worker did not end {count} tasks in {TIMEOUT_S:.0f} s")
    seconds = time.perf_counter() - started
    return count / seconds, (_cpu_s(pid) - cpu_before) / count * 1_000_000


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


@contextmanager
def _worker(redis_url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    ready, log = folder / "ready", folder / "log"
    environment = {
        **os.environ,
        "REDIS_URL": redis_url,
        "DATA_DIR": str(folder),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "INFO",
        "SWITCHBOARD_READY_FILE": str(ready),
    }
    options = ["-P", "threads", "-c", str(THREADS), "-Q", QUEUE, "-E", "-I", "tasks.readiness"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "benchmarks.noop_app", "worker", *options],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=output,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text(errors="replace")[-2000:])
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait(10)
