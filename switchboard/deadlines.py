"""How long the work at hand may still take, known to everything it calls.

A pool of threads enforces no time limit, so the limit holds in code: a task opens a deadline, and every client asks
`cap_timeout_s` before a remote call. Whoever asks too late gets DeadlinePassedError before anything was sent.
The deadline lies in a context variable: a thread that the work starts by itself does not see it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from switchboard.errors import TransientError

LEAST_CALL_S = 0.05  # with less left a remote call cannot succeed


class DeadlinePassedError(TransientError):
    """The time of the work is over; raised before a remote call, so nothing took effect."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock of this machine."""

    at: float

    def remaining_s(self) -> float:
        """Seconds until then, never below 0."""
        return max(0.0, self.at - time.monotonic())


_deadline: ContextVar[Deadline | None] = ContextVar("switchboard_deadline", default=None)
_process_end: Deadline | None = None


@contextmanager
def deadline_in(seconds: float) -> Iterator[Deadline]:
    """The block's deadline: `seconds` from now, or the one around it where that is sooner."""
    outer = _deadline.get()
    at = time.monotonic() + seconds
    deadline = Deadline(at if outer is None else min(at, outer.at))
    token = _deadline.set(deadline)
    try:
        yield deadline
    finally:
        _deadline.reset(token)


def end_process_in(seconds: float) -> None:
    """This process is to stop: from now on no work of any of its threads has more than `seconds` left."""
    global _process_end  # noqa: PLW0603  one process, one end
    _process_end = Deadline(time.monotonic() + seconds)


def current_deadline() -> Deadline | None:
    """The deadline of the work at hand; None where it has none (a command line, a test)."""
    deadline = _deadline.get()
    if _process_end is None or deadline is None:
        return deadline or _process_end
    return min(deadline, _process_end, key=lambda each: each.at)


def cap_timeout_s(timeout_s: float) -> float:
    """`timeout_s`, or what is left of the deadline where that is less; DeadlinePassedError where next to nothing is left."""
    deadline = current_deadline()
    if deadline is None:
        return timeout_s
    remaining_s = deadline.remaining_s()
    if remaining_s < LEAST_CALL_S:
        raise DeadlinePassedError("the time of this work was over before its next remote call")
    return min(timeout_s, remaining_s)
