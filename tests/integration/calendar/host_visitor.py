"""A process that asks for turns at a host: `python -m tests.integration.calendar.host_visitor REDIS URL PER_SECOND SECONDS`.

It says `ready`, begins at the first line it is given, and writes how many it got and when the first and the last came.
"""

from __future__ import annotations

import sys
import time

from switchboard.clients.host_limits import HostBusyError, HostLimits
from switchboard.clients.redis import connect_redis


def visit(redis_url: str, url: str, per_second: str, seconds: str) -> list[float]:
    """Ask without a pause for so long; when each turn came, on the clock that all processes share."""
    passed: list[float] = []
    with connect_redis(redis_url) as client:
        limits = HostLimits(client, requests_per_s=int(per_second), longest_wait_s=0)
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.monotonic() + float(seconds)
        while time.monotonic() < end:
            try:
                limits.enter(url)
            except HostBusyError:
                continue
            passed.append(time.monotonic())
    return passed


if __name__ == "__main__":
    turns = visit(*sys.argv[1:])
    print(len(turns), turns[0], turns[-1])
