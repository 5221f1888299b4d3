"""A worker ends within 25 s of its SIGTERM, whatever its tasks do.

The threads pool waits for its running tasks without a limit, and Celery has no soft shutdown for it. So running tasks
learn through their deadline that the end is near, and the process ends by force shortly before the host would kill it.
What was cut off goes back to the queue, or, where the broker does not answer, comes back by its row's lease. So does a
message that the broker handed to the read under way at SIGTERM (the second after it), when the end comes by force.
"""

from __future__ import annotations

import os
import signal
import threading
import time

from billiard.process import active_children
from celery.worker import state
from celery.worker.request import Request
from kombu.asynchronous import get_event_loop

from switchboard.deadlines import end_process_in
from switchboard.logs import get_logger

CUT_AFTER_S = 22.0  # SIGTERM to the end of the process: below the 25 s that hosts give
TASKS_END_AFTER_S = 17.0  # remote calls are refused from then on, so that tasks record what they did
GIVE_BACK_S = 2.0

logger = get_logger(__name__)


def bound() -> None:
    """End this process `CUT_AFTER_S` from now, unless it has ended by itself before."""
    end_process_in(TASKS_END_AFTER_S)
    time.sleep(CUT_AFTER_S)
    cut = tuple(state.active_requests)
    try:
        logger.warning("worker_cut_off", tasks=[f"{request.name}[{request.id}]" for request in cut])
        for child in active_children():
            os.kill(child.pid, signal.SIGKILL)
        giving_back = threading.Thread(target=_give_back, args=(cut,), daemon=True)
        giving_back.start()
        giving_back.join(GIVE_BACK_S)
    finally:
        os._exit(1)


def _give_back(cut: tuple[Request, ...]) -> None:
    """Requeue what was cut off, and acknowledge what ended since SIGTERM: the event loop stopped then and holds both."""
    for request in cut:
        request.reject(requeue=True)
    if loop := get_event_loop():
        loop.close()  # type: ignore[no-untyped-call]
