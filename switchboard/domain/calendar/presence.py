"""Who is in a meeting now, and what becomes of their custom status.

The status is desired state: what it should be follows from the meetings alone, and whoever looks compares and rewrites until
it is so. What a look needs to know from before is `Memory`. It is stored before each write, so that a process that dies at any
step leaves behind what it was about to do: found there afterwards, it was done; where the old one is found, it is done again;
and anything else is the person's own hand, which we never overwrite.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from switchboard.domain.custom_status import CustomStatus

LEAST_SHOWN = timedelta(seconds=5)
"""A meeting that ends sooner is not worth a status, and Mattermost refuses an end that has passed when the request arrives."""
EMOJI = "calendar"
DURATION = "date_and_time"


@dataclass(frozen=True, slots=True)
class Slot:
    """The time of a meeting and what decides whether it occupies its owner; times are aware UTC."""

    start: datetime
    end: datetime
    all_day: bool = False
    transparent: bool = False
    declined: bool = False
    cancelled: bool = False

    @property
    def busy(self) -> bool:
        """Whether its owner is "in a meeting" then: all-day, free (TRANSPARENT), declined and cancelled ones do not count."""
        left_out = self.all_day or self.transparent or self.declined or self.cancelled
        return not left_out and self.start < self.end


@dataclass(frozen=True, slots=True)
class Block:
    """Meetings that overlap or follow each other without a gap, taken as one."""

    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Presence:
    """The block under way, None between meetings; `changes_at` is its end, or the next one's begin where one is known."""

    block: Block | None
    changes_at: datetime | None


def presence_at(slots: Iterable[Slot], now: datetime) -> Presence:
    """Whether somebody with these meetings is in one at `now`. A meeting lasts from its start to just before its end."""
    upcoming: datetime | None = None
    for block in busy_blocks(slots):
        if block.begin > now:
            upcoming = block.begin
            break
        if now < block.end:
            return Presence(block, block.end)
    return Presence(None, upcoming)


def busy_blocks(slots: Iterable[Slot]) -> Iterable[Block]:
    """The busy slots merged, in order; following blocks do not touch."""
    current: Block | None = None
    for slot in sorted((slot for slot in slots if slot.busy), key=lambda slot: slot.start):
        if current is not None and slot.start <= current.end:
            current = replace(current, end=max(current.end, slot.end))
            continue
        if current is not None:
            yield current
        current = Block(slot.start, slot.end)
    if current is not None:
        yield current


class Phase(StrEnum):
    """How far we got with a person's status."""

    FREE = "free"  # nothing of ours is shown
    SETTING = "setting"  # ours is about to replace theirs
    SHOWN = "shown"  # ours is shown
    RESTORING = "restoring"  # theirs is about to come back


@dataclass(frozen=True, slots=True)
class Memory:
    """What a look at a status has to know from before.

    `written` are our statuses that may be there: the one that was seen last, and the one about to be written. `previous` is
    what was there before the first of them, None for nothing. `hands_off_since` is when the person's own hand was seen.
    """

    phase: Phase = Phase.FREE
    written: tuple[CustomStatus, ...] = ()
    previous: CustomStatus | None = None
    hands_off_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The status that a block asks for."""

    begin: datetime
    status: CustomStatus

    @classmethod
    def during(cls, block: Block, text: str) -> Wanted:
        """`text` with the calendar emoji to the end of the block; never a word of the meeting itself."""
        return cls(block.begin, CustomStatus(EMOJI, text, DURATION, block.end))


class Action(StrEnum):
    """What to do at the server."""

    LEAVE = "leave"
    SET = "set"
    RESTORE = "restore"
    CLEAR = "clear"


@dataclass(frozen=True, slots=True)
class Decision:
    """`memory` is to be stored before the write, `written()` after it; `status` is what to write, None for LEAVE and CLEAR."""

    action: Action
    memory: Memory
    status: CustomStatus | None = None

    def written(self) -> Memory:
        """The memory once the server has done it."""
        if self.action is Action.SET and self.status is not None:
            return replace(self.memory, phase=Phase.SHOWN, written=(self.status,))
        return self.memory if self.action is Action.LEAVE else Memory()


def decide_unseen(memory: Memory, wanted: Wanted | None) -> Memory | None:
    """The memory where no look at the server is needed; None where one is.

    While nothing changes nobody asks: not during a meeting that is shown, not while the person's own status is left alone.
    """
    if memory.phase is Phase.FREE:
        if wanted is None:
            return Memory()
        return memory if _is_left_alone(memory, wanted) else None
    if memory.phase is Phase.SHOWN and wanted is not None and memory.written == (wanted.status,):
        return memory
    return None


def decide(memory: Memory, wanted: Wanted | None, current: CustomStatus | None, now: datetime) -> Decision:
    """What to do, given what is at the server now (`current` may be over: the server keeps it)."""
    if wanted is None:
        return _end(memory, current, now)
    seen = None if current is None or current.is_over(now) else current
    if memory.phase is Phase.FREE:
        if _is_left_alone(memory, wanted):
            return Decision(Action.LEAVE, memory)
        return _begin(wanted, seen, now)
    if current is not None and _is_ours(memory, current):
        if current.same(wanted.status):
            return Decision(Action.LEAVE, replace(memory, phase=Phase.SHOWN, written=(wanted.status,)))
        # What was there before the first of ours is the person's own: it outlives every change of the meetings.
        extended = replace(memory, phase=Phase.SHOWN, written=(current, wanted.status))
        return Decision(Action.SET, extended, wanted.status)
    if memory.phase is not Phase.SHOWN and _is_previous(memory, current, seen):
        return _begin(wanted, seen, now)  # not written yet, or given back already
    if wanted.begin >= _shown_until(memory):
        return _begin(wanted, seen, now)  # their hand was of an earlier meeting
    return Decision(Action.LEAVE, Memory(hands_off_since=now))


def _begin(wanted: Wanted, seen: CustomStatus | None, now: datetime) -> Decision:
    if wanted.status.expires_at is not None and wanted.status.expires_at - now < LEAST_SHOWN:
        return Decision(Action.LEAVE, Memory())
    return Decision(Action.SET, Memory(Phase.SETTING, (wanted.status,), seen), wanted.status)


def _end(memory: Memory, current: CustomStatus | None, now: datetime) -> Decision:
    """Give back what was there, if ours is still there."""
    if memory.phase is Phase.FREE or current is None or not _is_ours(memory, current):
        return Decision(Action.LEAVE, Memory())
    ending = replace(memory, phase=Phase.RESTORING, written=(current,))
    if memory.previous is not None and not memory.previous.is_over(now):
        return Decision(Action.RESTORE, ending, memory.previous)
    if current.is_over(now):
        return Decision(Action.LEAVE, Memory())  # nobody sees it any more
    return Decision(Action.CLEAR, replace(ending, previous=None))


def _is_left_alone(memory: Memory, wanted: Wanted) -> bool:
    """Whether the person's own hand was seen in this very block."""
    return memory.hands_off_since is not None and wanted.begin <= memory.hands_off_since


def _is_ours(memory: Memory, current: CustomStatus) -> bool:
    return any(current.same(one) for one in memory.written)


def _is_previous(memory: Memory, current: CustomStatus | None, seen: CustomStatus | None) -> bool:
    """Whether that is there which was there before us; one that is over is like none."""
    if memory.previous is None:
        return seen is None
    return memory.previous.same(current)


def _shown_until(memory: Memory) -> datetime:
    return max(one.expires_at for one in memory.written if one.expires_at is not None)
