"""What an idle Telegram account costs one gateway, and how long its accounts are away when a gateway is killed.

The gateway is the real `telegram` worker on SQLite, with Valkey and the twin as processes of their own. The accounts are signed
in and nobody writes. By number of accounts, each against the same gateway without any:

- `account_kb`: resident memory for each account, after all are online and a few seconds have gone by.
- `account_cpu_ms_per_min`: processor time for each account in a minute.
- `start_s`: from the start of the process to the last account online.
- `take_over_s`: a second gateway runs and has taken its half; the first is killed; until every account is online again. The
  lease is the default of 20 s, so this is mostly the wait for its end, up to 20 s and a renewal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.telegram import Deployment, Gateway, running_deployment, wait_until

SIZES = {"full": (10, 100, 500), "small": (5, 20)}
WATCHED_S = {"full": 30.0, "small": 5.0}
SETTLED_S = 5.0


def run(scale: str) -> dict[str, Any]:
    """See the module; `empty_mb` and `empty_cpu_ms_per_min` are the gateway's without accounts."""
    with running_deployment("sqlite", accounts=1) as deployment:
        empty_mb, empty_cpu_ms = _cost(deployment.start_gateway(), WATCHED_S[scale])
    result: dict[str, Any] = {"empty_mb": round(empty_mb, 1), "empty_cpu_ms_per_min": round(empty_cpu_ms)}
    for accounts in SIZES[scale]:
        with running_deployment("sqlite", accounts=accounts) as deployment:
            measured = _measure(deployment, accounts, WATCHED_S[scale], empty_mb, empty_cpu_ms)
        result.update({f"{accounts}_{key}": value for key, value in measured.items()})
    return result


def _measure(
    deployment: Deployment, accounts: int, watched_s: float, empty_mb: float, empty_cpu_ms: float
) -> dict[str, Any]:
    deployment.add_accounts()
    begun = time.monotonic()
    first = deployment.start_gateway()
    wait_until(lambda: first.times_online() >= accounts, "all accounts to be online")
    start_s = time.monotonic() - begun
    memory_mb, cpu_ms = _cost(first, watched_s)

    second = deployment.start_gateway()
    wait_until(lambda: second.times_online() and _settled(second.times_online), "the second gateway to have its half")
    first.process.kill()
    killed = time.monotonic()
    first.process.wait(10)
    wait_until(
        lambda: second.times_online() >= accounts and deployment.twin.lines() == accounts, "the take-over", every_s=0.05
    )
    return {
        "mb": round(memory_mb, 1),
        "account_kb": round((memory_mb - empty_mb) * 1_000 / accounts, 1),
        "account_cpu_ms_per_min": round((cpu_ms - empty_cpu_ms) / accounts, 2),
        "start_s": round(start_s, 1),
        "take_over_s": round(time.monotonic() - killed, 1),
    }


def _cost(gateway: Gateway, watched_s: float) -> tuple[float, float]:
    """Memory in MB, and processor time in milliseconds a minute, of a gateway that has come to rest."""
    time.sleep(SETTLED_S)
    before_s, begun = gateway.cpu_s(), time.monotonic()
    time.sleep(watched_s)
    used_s = gateway.cpu_s() - before_s
    return gateway.memory_mb(), used_s * 1_000 * 60 / (time.monotonic() - begun)


def _settled(count: Callable[[], int]) -> bool:
    """Whether a number stays the same for a while."""
    before = count()
    time.sleep(SETTLED_S)
    return count() == before
