"""Leases on Redis or Valkey: a lock with an owner, a fencing number, renewal, and an honest `lost`.

A lock saves work and keeps order; correctness is in the database (unique keys, conditional updates). So an effect that
must not happen twice is guarded by a row, and where two holders could still meet, by `fence`.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from types import TracebackType
from typing import Self, cast

import redis

from switchboard.errors import LockBusyError, LockLostError, RemoteUnavailableError
from switchboard.logs import get_logger

logger = get_logger(__name__)

DEFAULT_LEASE_S = 60.0
LONGEST_HOLD_S = 300.0  # renewal ends here, so that a thread that hangs does not keep its subject for ever
CLOCK_TOLERANCE = 0.99  # our clock and the server's may run at slightly different speeds
RENEWALS_PER_LEASE = 3
KEY_PREFIX = "switchboard:lock:"
FENCE_KEY = "switchboard:lock-fence"

# The fence is one counter for all locks, in a key of its own that never expires. It is kept at or above the server's
# clock in microseconds, so it also rises over a restart that lost the newest writes, or an emptied server; it needs a
# 64-bit column. An owner that asks again (its first answer was lost on the way) gets the lock again.
ACQUIRE = """
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1])}
end
local now = redis.call('TIME')
local last = tonumber(redis.call('GET', KEYS[2]) or '0')
local fence = string.format('%.0f', math.max(last + 1, now[1] * 1000000 + now[2]))
redis.call('SET', KEYS[2], fence)
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, fence}
"""
EXTEND = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""
RELEASE = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""

_CLOCK_ID: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def _clock() -> float:
    """Seconds that also pass while this process, or the whole machine, is stopped."""
    return time.monotonic() if _CLOCK_ID is None else time.clock_gettime(_CLOCK_ID)


class LockFactory:
    """Gives out leases from one Redis or Valkey; one for each process, with one thread that renews them all."""

    def __init__(self, client: redis.Redis) -> None:
        self._acquire = client.register_script(ACQUIRE)
        self._extend = client.register_script(EXTEND)
        self._release = client.register_script(RELEASE)
        self._renewal = _Renewal(self)

    def attempt(self, name: str, lease_s: float = DEFAULT_LEASE_S) -> Lease | None:
        """The lock `name`, or None while another holds it: for scans, which may be skipped.

        `lease_s` is how long the lock outlives a holder that died. RemoteUnavailableError when the server gives no answer.
        """
        lease = self._try(name, lease_s)
        return lease if isinstance(lease, Lease) else None

    def require(self, name: str, lease_s: float = DEFAULT_LEASE_S) -> Lease:
        """The lock `name`, or LockBusyError whose `retry_after_s` is the rest of the other's lease: for items."""
        lease = self._try(name, lease_s)
        if isinstance(lease, Lease):
            return lease
        raise LockBusyError(f"the lock {name} is held by another process", retry_after_s=lease)

    def _try(self, name: str, lease_s: float) -> Lease | float:
        owner = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(8)}"
        asked_at = _clock()  # before the request: the server's lease cannot begin earlier
        try:
            keys = [KEY_PREFIX + name, FENCE_KEY]
            taken, number = cast("tuple[int, int | str]", self._acquire(keys, [owner, int(lease_s * 1000)]))
        except redis.RedisError as error:
            raise RemoteUnavailableError("Redis did not give an answer about a lock") from error
        if not taken:
            return max(0.0, int(number) / 1000)
        lease = Lease(self, name, owner, int(number), lease_s, asked_at)
        self._renewal = self._renewal.of_this_process()
        self._renewal.add(lease)
        return lease

    def extend(self, lease: Lease) -> bool:
        """Ask the server for another `lease_s`; False when the lock is no longer this owner's. Raises redis.RedisError."""
        return bool(self._extend([KEY_PREFIX + lease.name], [lease.owner, int(lease.lease_s * 1000)]))

    def release(self, lease: Lease) -> None:
        """Give the lock back if it is still this owner's; a server that does not answer lets the lease run out."""
        self._renewal.remove(lease)
        try:
            self._release([KEY_PREFIX + lease.name], [lease.owner])
        except redis.RedisError as error:
            logger.warning("lock_left_to_its_lease", lock=lease.name, error=type(error).__name__)


class Lease:
    """A lock that is held until the `with` block ends, or until it is lost.

    `owner` names host, process and holder; `fence` is higher than that of every lease given out before.
    """

    def __init__(
        self, factory: LockFactory, name: str, owner: str, fence: int, lease_s: float, taken_at: float
    ) -> None:
        self.name = name
        self.owner = owner
        self.fence = fence
        self.lease_s = lease_s
        self._factory = factory
        self._longest_until = taken_at + max(LONGEST_HOLD_S, lease_s)
        self._until = taken_at + lease_s * CLOCK_TOLERANCE
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether the lock may be another's by now; once True it stays True."""
        if not self._lost and _clock() >= self._until:
            self._lost = True
        return self._lost

    def check(self) -> None:
        """Call it before each effect: raises LockLostError when the lock may be another's by now."""
        if self.lost:
            raise LockLostError(f"the lock {self.name} was lost while its holder was at work")

    def renew(self) -> bool:
        """Prolong the lease; False when it cannot be any more. For the renewal thread. Raises redis.RedisError."""
        asked_at = _clock()
        if self.lost or asked_at >= self._longest_until:
            return False
        if not self._factory.extend(self):
            self._lost = True
            return False
        self._until = asked_at + self.lease_s * CLOCK_TOLERANCE
        return True

    def release(self) -> None:
        """Give the lock back; does nothing to a lock that is another's by now."""
        self._factory.release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class _Renewal:
    """Renews the held leases of one process from one thread, each three times a lease."""

    def __init__(self, factory: LockFactory) -> None:
        self._factory = factory
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._due: dict[Lease, float] = {}
        self._thread: threading.Thread | None = None

    def of_this_process(self) -> _Renewal:
        """This one, or a new one after a fork: threads and the leases they renew stay with the parent."""
        return self if self._pid == os.getpid() else _Renewal(self._factory)

    def add(self, lease: Lease) -> None:
        with self._changed:
            self._due[lease] = _clock() + lease.lease_s / RENEWALS_PER_LEASE
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="lock-renewal", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, lease: Lease) -> None:
        with self._changed:
            self._due.pop(lease, None)

    def _run(self) -> None:
        while True:
            self._renew(self._next())

    def _next(self) -> Lease:
        """Wait for the lease that is due next."""
        with self._changed:
            while True:
                lease = min(self._due, key=self._due.__getitem__, default=None)
                wait_s = None if lease is None else self._due[lease] - _clock()
                if lease is not None and wait_s is not None and wait_s <= 0:
                    return lease
                self._changed.wait(wait_s)

    def _renew(self, lease: Lease) -> None:
        pause_s = lease.lease_s / RENEWALS_PER_LEASE
        try:
            held = lease.renew()
        except redis.RedisError as error:  # the lease may still be ours: try again until it ends
            held = not lease.lost
            pause_s = min(1.0, pause_s / RENEWALS_PER_LEASE)
            logger.warning("lock_renewal_failed", lock=lease.name, error=type(error).__name__)
        with self._changed:
            if lease not in self._due:
                return  # released meanwhile
            if held:
                self._due[lease] = _clock() + pause_s
            else:
                del self._due[lease]
                logger.warning("lock_not_renewed", lock=lease.name, owner=lease.owner, lost=lease.lost)
