"""Leases on shards of accounts: at most one gateway process holds a shard, and knows by itself when it does not any more.

A lease stands in the database, under its clock, with a fence that rises at each change of hands. It cannot fence Telegram.
So the holder also keeps a deadline on its own steady clock, `margin_s` before the lease can end: past it every line of the
process is cut (switchboard.services.telegram.hosting), nothing is sent and nothing stored.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.repositories.telegram import ShardRepository, database_now
from switchboard.domain.telegram.sharding import fair_share
from switchboard.errors import TransientError

FORGET_AFTER = timedelta(minutes=10)


class LeaseLostError(TransientError):
    """The shard is somebody else's, or may be soon: stop at once, without another word to Telegram or the database."""


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: how long a lease lasts, how often it is renewed, and how long before its end the holder lets go."""

    lease_s: float = 20.0
    renew_s: float = 5.0
    margin_s: float = 6.0

    @classmethod
    def of(cls, lease_s: float) -> LeaseTimes:
        """The times that go with a lease of this length."""
        return cls(lease_s=lease_s, renew_s=lease_s / 4, margin_s=lease_s * 0.3)

    def __post_init__(self) -> None:
        if not 0 < 2 * self.renew_s < self.lease_s - self.margin_s:
            raise ValueError("a lease must outlive two renewals and its margin")


def steady_s() -> float:
    """Seconds on a clock that only goes forward, also while the machine sleeps where the system has such a clock."""
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class Leases:
    """The leases of one gateway. Safe to use from every thread.

    `renew`, `release` and `leave` wait for the database, one after the other: else the end of a renewal could bring back
    what was released meanwhile. All else waits for nothing.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        *,
        owner: str,
        host: str,
        times: LeaseTimes | None = None,
        steady: Callable[[], float] = steady_s,
    ) -> None:
        self.times = times or LeaseTimes()
        self.owner = owner
        self._database = database
        self._clock = clock
        self._host = host
        self._steady = steady
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._fences: Mapping[int, int] = {}
        self._deadline = 0.0

    def prepare(self) -> None:
        """Make the rows of the shards; once, at the start."""
        with self._database.write() as session:
            ShardRepository(session).prepare()

    def renew(self, *, accounts: int) -> int:
        """Lengthen our leases and take what is free, up to our share; return how many we hold above it.

        Says that we live, with so many `accounts` open.
        """
        with self._turn:
            begun = self._steady()
            lease = timedelta(seconds=self.times.lease_s)
            with self._database.write() as session:
                shards = ShardRepository(session)
                now = database_now(session, self._clock())
                shards.see_gateway(self.owner, self._host, accounts, now)
                share = fair_share(shards.live_gateways(now - lease))
                fences = shards.renew(self.owner, now + lease)
                if len(fences) < share:
                    fences |= shards.take(self.owner, limit=share - len(fences), now=now, until=now + lease)
                shards.forget_gateways(now - FORGET_AFTER)
            with self._lock:
                self._fences = fences
                self._deadline = begun + self.times.lease_s - self.times.margin_s
            return max(0, len(fences) - share)

    def release(self, shards: Collection[int]) -> None:
        """Give shards back, after their accounts were disconnected."""
        with self._turn:
            with self._lock:
                self._fences = {shard: fence for shard, fence in self._fences.items() if shard not in shards}
            with self._database.write() as session:
                ShardRepository(session).release(self.owner, shards)

    def leave(self) -> None:
        """Give everything back and end."""
        with self._turn:
            self.drop()
            with self._database.write() as session:
                repository = ShardRepository(session)
                repository.release(self.owner, None)
                repository.forget_gateway(self.owner)

    @property
    def shards(self) -> frozenset[int]:
        """The shards that are ours."""
        with self._lock:
            return frozenset(self._fences)

    def drop(self) -> None:
        """Hold nothing any more, as far as this process is concerned, until the next renewal says otherwise."""
        with self._lock:
            self._fences, self._deadline = {}, 0.0

    def remaining_s(self) -> float:
        """Seconds until everything must be let go; below 0 when it is late. Infinity while nothing is held."""
        with self._lock:
            return self._deadline - self._steady() if self._fences else float("inf")

    def fence_of(self, shard: int) -> Fence | None:
        """Our fence on a shard; None where it is not ours."""
        with self._lock:
            number = self._fences.get(shard)
        return None if number is None else Fence(self, shard, number)

    def is_valid(self, shard: int, number: int) -> bool:
        """Whether the lease with this fence is ours by our own clock."""
        with self._lock:
            return self._fences.get(shard) == number and self._steady() < self._deadline

    def hold(self, session: Session, fences: Iterable[Fence]) -> set[Fence]:
        """Those that last, by our clock and by the database; nobody takes their shards before this transaction ends."""
        valid = {fence for fence in fences if fence.valid}
        numbers = {fence.shard: fence.number for fence in valid}
        ours = ShardRepository(session).holds(self.owner, numbers, database_now(session, self._clock()))
        return {fence for fence in valid if fence.shard in ours}


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to act for the accounts of one shard, as long as it lasts."""

    leases: Leases
    shard: int
    number: int

    @property
    def valid(self) -> bool:
        """Whether it lasts by our own clock: free of charge, ask right before each send."""
        return self.leases.is_valid(self.shard, self.number)

    def check(self) -> None:
        """LeaseLostError where it does not last."""
        if not self.valid:
            raise LeaseLostError(f"shard {self.shard} is not ours any more")

    def hold(self, session: Session) -> None:
        """LeaseLostError where it does not last by the database; nobody takes the shard before this transaction ends."""
        if not self.leases.hold(session, [self]):
            raise LeaseLostError(f"shard {self.shard} is not ours any more")
