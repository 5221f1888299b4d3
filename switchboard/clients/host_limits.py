"""How often all workers together ask one calendar host, and hosts that asked to be left alone: both counted in Redis.

The window is the sliding counter of the library `limits`. It runs by the clock of Redis: with the library's moving window a
worker whose clock is a minute ahead would keep all the others waiting.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import redis
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from switchboard.deadlines import cap_timeout_s
from switchboard.errors import RateLimitedError
from switchboard.logs import get_logger

LONGEST_WAIT_S = 1.0  # of one request for its turn: the thread could serve others meanwhile
LONGEST_REST_S = 3600.0  # whatever a host asks for
BUSY_RETRY_S = 5.0  # what to wait when no turn came
WITHOUT_REDIS_S = 30.0  # nobody is counted so long after Redis gave no answer
FIRST_NAP_S, LONGEST_NAP_S = 0.01, 0.1
REST_PREFIX = "switchboard:host-rest:"
WINDOW_PREFIX = "switchboard:host-window"

logger = get_logger(__name__)


class HostBusyError(RateLimitedError):
    """Nothing was sent: the host gets as many requests of ours as it may, or asked for a rest of `retry_after_s`."""


class HostLimits:
    """The turns of all processes on one Redis or Valkey; safe to share between threads, and after a fork.

    `requests_per_s` for each host and port; 0: no window, only rests. It guards others' servers and nothing of ours, so
    a Redis that gives no answer lets everything pass, and is not asked again for 30 s.
    """

    def __init__(
        self,
        client: redis.Redis,
        *,
        requests_per_s: int,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._longest_wait_s = longest_wait_s
        self._clock = clock
        self._window = RateLimitItemPerSecond(requests_per_s) if requests_per_s else None
        # The library wants an address besides the connections; it does not use it then.
        storage = RedisStorage("redis://", connection_pool=client.connection_pool, key_prefix=WINDOW_PREFIX)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._without_redis_until = 0.0

    def enter(self, url: str) -> None:
        """Take a turn at the host of `url` before a request to it, waiting up to a second.

        Raises HostBusyError when none comes or the host rests, DeadlinePassedError when the time of the work is over first.
        """
        if self._clock() < self._without_redis_until:
            return
        host = host_of(url)
        try:
            rest_ms = int(self._client.pttl(REST_PREFIX + host))
            if rest_ms > 0:
                raise HostBusyError("the calendar server asked to be left alone", retry_after_s=rest_ms / 1000)
            self._wait_for_turn(host)
        except redis.RedisError as error:
            self._pass(error)

    def rest(self, url: str, seconds: float) -> None:
        """Leave the host of `url` alone for `seconds`, at most an hour; a longer rest that is under way stays."""
        key, rest_ms = REST_PREFIX + host_of(url), int(min(seconds, LONGEST_REST_S) * 1000)
        if rest_ms <= 0 or self._clock() < self._without_redis_until:
            return
        try:
            if not self._client.set(key, "1", px=rest_ms, nx=True):
                self._client.pexpire(key, rest_ms, gt=True)
        except redis.RedisError as error:
            self._pass(error)

    def _wait_for_turn(self, host: str) -> None:
        if self._window is None:
            return
        stop_at, nap_s = self._clock() + self._longest_wait_s, FIRST_NAP_S
        while not self._limiter.hit(self._window, host):
            left_s = cap_timeout_s(stop_at - self._clock())
            if left_s <= 0:
                raise HostBusyError("the calendar server is asked by many just now", retry_after_s=BUSY_RETRY_S)
            time.sleep(min(left_s, random.uniform(nap_s / 2, nap_s)))  # noqa: S311  spreads those who wait
            nap_s = min(nap_s * 2, LONGEST_NAP_S)

    def _pass(self, error: redis.RedisError) -> None:
        self._without_redis_until = self._clock() + WITHOUT_REDIS_S
        logger.warning("calendar_hosts_not_counted", error=type(error).__name__, for_s=WITHOUT_REDIS_S)


def host_of(url: str) -> str:
    """`host:port` of an http or https URL in one spelling: lower case, without a closing dot, names in their DNS form."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    with contextlib.suppress(UnicodeError):  # a label that is too long: it stands for itself
        host = host.encode("idna").decode("ascii")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{host.lower()}:{port}"
