"""Where the senders of a process take their turns at the database: together, and nothing for one who is gone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

from switchboard.services.telegram.outbox import _Desk
from switchboard.services.telegram.outbox_rows import Done, Letter, OutboxRows, Results, Turn, Wait
from switchboard.services.telegram.shards import Fence

WAIT_S = 30.0
FENCE = cast("Fence", None)
LETTER = cast("Letter", None)


class Rows:
    """Notes the turns of each transaction; the first one lasts until it is let go."""

    def __init__(self) -> None:
        self.taken: list[Sequence[Turn]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def do(self, turns: Sequence[Turn]) -> list[Done | Exception]:
        self.taken.append(turns)
        self.begun.set()
        assert self.go.wait(WAIT_S)
        return [Done() for _ in turns]


def turn(account_id: int, **wanted: Any) -> Turn:
    return Turn(account_id=account_id, fence=FENCE, most=5, **wanted)


def test_for_a_sender_that_is_gone_results_are_recorded_and_nothing_is_begun_or_claimed() -> None:
    rows = Rows()
    results = Results(waits={"a method": Wait(datetime.now(UTC))})

    async def work() -> None:
        desk = _Desk(cast("OutboxRows", rows))
        first = asyncio.create_task(desk.take(turn(1)))
        assert await asyncio.to_thread(rows.begun.wait, WAIT_S)
        others = [asyncio.create_task(desk.take(turn(number, results=results, begin=[LETTER]))) for number in (2, 3)]
        await asyncio.sleep(0)  # they stand in line
        others[0].cancel()
        await asyncio.wait([others[0]])
        rows.go.set()
        await asyncio.gather(first, others[1])

    asyncio.run(work())
    _, (gone, there) = rows.taken
    assert (gone.results, gone.begin, gone.most) == (results, (), 0)
    assert (there.results, list(there.begin), there.most) == (results, [LETTER], 5)
