"""How fast an account may write, so that Telegram does not limit it: slowly to strangers, faster to those it wrote to before.

Telegram gives no numbers for people's accounts. It answers who writes to many strangers with PEER_FLOOD, without a time
(https://core.telegram.org/api/errors), so a ladder of ours says when to try strangers again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FLOOD_LADDER_S = (30, 60, 300, 1800, 3600)
EXHAUSTED_S = 86_400
"""How long strangers are refused after the last step of the ladder."""
FIRST_CONTACT = "first_contact"
"""What an account's wait for strangers is called, beside those for Telegram's methods."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least time in seconds between two messages of one account, and between two of its first ones to strangers."""

    between_s: float
    between_first_s: float


@dataclass(frozen=True, slots=True)
class Pace:
    """The earliest instants, in seconds of any one clock, of an account's next message and of its next to a stranger.

    One that was just opened starts with `Pace.begin(now)`: what it sent before is not known, so it waits once.
    """

    next_s: float
    next_first_s: float

    @classmethod
    def begin(cls, now_s: float, limits: Limits) -> Pace:
        """The pace of an account whose past is not known."""
        return cls(now_s + limits.between_s, now_s + limits.between_first_s)

    def earliest_s(self, *, first: bool) -> float:
        """When the next message may go."""
        return max(self.next_s, self.next_first_s) if first else self.next_s

    def after(self, now_s: float, limits: Limits, *, first: bool) -> Pace:
        """The pace after a message that went at `now_s`."""
        return Pace(now_s + limits.between_s, now_s + limits.between_first_s if first else self.next_first_s)


def flood_pause_s(times: int) -> int | None:
    """How long to write to no strangers after so many PEER_FLOOD in a row (1 for the first); None: no more, ask a human."""
    return FLOOD_LADDER_S[times - 1] if 1 <= times <= len(FLOOD_LADDER_S) else None


def slots_s(firsts: Iterable[bool], limits: Limits) -> list[float]:
    """When each message of a mailing is to go, in seconds from now; `firsts` says which go to strangers.

    Known people and strangers are dealt out side by side, so that strangers keep nobody waiting.
    """
    slots: list[float] = []
    counts = {True: 0, False: 0}
    for first in firsts:
        slots.append(counts[first] * (limits.between_first_s if first else limits.between_s))
        counts[first] += 1
    return slots


def duration_s(known: int, strangers: int, limits: Limits) -> float:
    """How long an account needs for so many messages."""
    return max((known + strangers) * limits.between_s, strangers * limits.between_first_s)
