"""The reading of numbered updates, against a server that says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from telethon import types

from switchboard.clients.telegram.updates import Feed
from switchboard.domain.telegram.facts import Batch, ChannelPosition, DeletedFact, MessageFact, Position

AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
HERE = Position(pts=10, qts=0, date=int(AT.timestamp()), seq=5, top_message=100)
CHANNEL = -1_000_000_000_007


class NothingMoreError(Exception):
    """The end of the test's pushes."""


class Line:
    """A connection: pushes in turns, and answers by the kind of the request."""

    def __init__(self, *turns: list[Any], answers: dict[str, Callable[[Any], Any]] | None = None) -> None:
        self.client = self
        self.turns = list(turns)
        self.answers = answers or {}
        self.asked: list[str] = []
        self.waits: list[float] = []

    async def containers(self, timeout_s: float) -> list[Any]:
        self.waits.append(timeout_s)
        if not self.turns:
            raise NothingMoreError
        turn = self.turns.pop(0)
        if not turn:
            await asyncio.sleep(timeout_s)
        return turn

    async def call(self, request: Any) -> Any:
        name = type(request).__name__.removesuffix("Request")
        self.asked.append(name)
        if name not in self.answers:
            return types.updates.DifferenceEmpty(AT, HERE.seq)
        return self.answers[name](request)


def run(line: Line, *, hashes: dict[int, int] | None = None, channels: dict[int, int] | None = None) -> list[Batch]:
    """The batches until nothing comes any more."""

    async def collect() -> list[Batch]:
        feed = Feed(
            line,  # type: ignore[arg-type]
            is_bot=False,
            position=HERE,
            channels={chat: ChannelPosition(pts, 0) for chat, pts in (channels or {}).items()},
            hashes=hashes or {},
        )
        found: list[Batch] = []
        with contextlib.suppress(NothingMoreError):
            async for batch in feed.batches():
                found.append(batch)  # noqa: PERF401  what came before the end counts
        return found

    return asyncio.run(collect())


def message(number: int, *, chat: Any = None, text: str = "") -> Any:
    return types.Message(id=number, peer_id=chat or types.PeerUser(7), date=AT, message=text or f"m{number}")


def new(number: int, pts: int) -> Any:
    return types.UpdateNewMessage(message(number), pts, 1)


def push(*updates: Any, seq: int = 0) -> Any:
    return types.Updates(list(updates), [], [], AT, seq)


def texts(batches: list[Batch]) -> list[str]:
    return [fact.text for batch in batches for fact in batch.facts if isinstance(fact, MessageFact)]


def last(batches: list[Batch]) -> Position:
    return [batch.position for batch in batches if batch.position is not None][-1]


def difference(*messages: Any, pts: int) -> Callable[[Any], Any]:
    """The first difference is empty; the next holds these."""
    answers = [types.updates.DifferenceEmpty(AT, HERE.seq)]
    full = types.updates.Difference(list(messages), [], [], [], [], types.updates.State(pts, 0, AT, HERE.seq, 0))
    return lambda _request: answers.pop() if answers else full


def test_updates_that_come_in_another_order_are_told_in_the_order_of_their_numbers() -> None:
    line = Line([push(new(2, 12)), push(new(1, 11))], [push(new(1, 11))])
    found = run(line)
    assert texts(found) == ["m1", "m2"]
    assert (last(found).pts, last(found).top_message) == (12, 100)
    assert line.asked == ["GetDifference"]


def test_a_missing_number_that_comes_soon_is_waited_for() -> None:
    line = Line([push(new(2, 12))], [push(new(1, 11))])
    assert texts(run(line)) == ["m1", "m2"]
    assert line.asked == ["GetDifference"]


def test_a_missing_number_that_does_not_come_is_asked_for() -> None:
    line = Line([push(new(2, 12))], [], answers={"GetDifference": difference(message(1), message(2), pts=12)})
    found = run(line)
    assert texts(found) == ["m1", "m2"]
    assert last(found).pts == 12


def test_a_push_that_the_difference_does_not_know_yet_is_asked_for_again_soon() -> None:
    line = Line([push(new(2, 12))], [], answers={"GetDifference": difference(message(1), pts=11)})
    found = run(line)
    assert texts(found) == ["m1", "m2"], "the gap is closed, and what waited behind it follows"
    assert last(found).pts == 12


def test_a_short_message_of_somebody_known_is_told_as_it_is() -> None:
    short = types.UpdateShortMessage(id=101, user_id=7, message="hi", pts=11, pts_count=1, date=AT)
    line = Line([short])
    found = run(line, hashes={7: 1})
    (fact,) = [fact for batch in found for fact in batch.facts]
    assert isinstance(fact, MessageFact)
    assert (fact.chat_id, fact.sender_id, fact.text, fact.out) == (7, 7, "hi", False)
    assert (last(found).top_message, line.asked) == (101, ["GetDifference"])


def test_a_short_message_of_a_stranger_is_asked_for_with_who_they_are() -> None:
    short = types.UpdateShortMessage(id=101, user_id=8, message="hi", pts=11, pts_count=1, date=AT)
    line = Line([short], answers={"GetDifference": difference(message(101, text="hi"), pts=11)})
    assert texts(run(line)) == ["hi"]
    assert line.asked == ["GetDifference"] * 2


def test_a_jump_in_the_sequence_asks_for_the_difference() -> None:
    line = Line([push(types.UpdateReadChannelOutbox(7, 3), seq=9)])
    run(line)
    assert line.asked == ["GetDifference"] * 2


def test_updates_too_long_asks_for_the_difference() -> None:
    line = Line([types.UpdatesTooLong()], answers={"GetDifference": difference(message(101), pts=11)})
    assert texts(run(line)) == ["m101"]


def test_a_number_in_an_answer_that_may_be_a_channels_moves_nothing_by_itself() -> None:
    made_up = types.UpdateShort(types.UpdateDeleteMessages([], 11, 1), AT)
    made_up._self_outgoing = True
    line = Line([made_up], [push(new(1, 11))])
    found = run(line)
    assert texts(found) == ["m1"]
    assert line.asked == ["GetDifference"] * 2


def test_an_unknown_channel_begins_with_its_first_update() -> None:
    update = types.UpdateNewChannelMessage(message(3, chat=types.PeerChannel(7)), 40, 1)
    found = run(Line([push(update)]))
    assert texts(found) == ["m3"]
    assert found[-1].channels == {CHANNEL: ChannelPosition(40, 3)}


def test_deletions_in_a_channel_say_which() -> None:
    update = types.UpdateDeleteChannelMessages(7, [1, 2], 42, 2)
    line = Line([push(update)], answers={"GetChannelDifference": lambda _: types.updates.ChannelDifferenceEmpty(40)})
    found = run(line, channels={CHANNEL: 40}, hashes={CHANNEL: 1})
    assert found[-1].facts == (DeletedFact(CHANNEL, (1, 2)),)
