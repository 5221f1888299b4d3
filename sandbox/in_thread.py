"""Running a twin in a thread of a test, on an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager

START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 10.0


@contextmanager
def in_thread(name: str, twin: AbstractAsyncContextManager[None]) -> Iterator[None]:
    """Enter `twin` in a thread called `name`, and leave it when the block ends; OSError when it cannot listen."""
    started: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        end, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            await twin.__aenter__()
        except OSError as failure:
            started.set_exception(failure)
            return
        started.set_result(lambda: loop.call_soon_threadsafe(end.set))
        await end.wait()
        await twin.__aexit__(None, None, None)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name=name, daemon=True)
    thread.start()
    stop = started.result(START_TIMEOUT_S)
    try:
        yield
    finally:
        stop()
        thread.join(STOP_TIMEOUT_S)
