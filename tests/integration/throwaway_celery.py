"""A Celery application of tests: one task, the broker of THROWAWAY_BROKER; run as a program it starts Flower over it."""

from __future__ import annotations

import os
import sys

from celery import Celery

from switchboard.errors import ConfigError
from switchboard.settings import Settings
from tasks.monitor import serve

app = Celery("throwaway", broker=os.environ.get("THROWAWAY_BROKER", ""))
app.conf.update(
    worker_send_task_events=True,
    task_send_sent_event=True,
    task_ignore_result=True,
    redbeat_redis_url=os.environ.get("THROWAWAY_BROKER", ""),
)


@app.task(name="throwaway.add", shared=False)  # type: ignore[untyped-decorator]
def add(first: int, second: int) -> int:
    """Something to see."""
    return first + second


if __name__ == "__main__":
    try:
        serve(app, Settings(_env_file=None), routed="--routed" in sys.argv)  # type: ignore[call-arg]
    except ConfigError as error:
        sys.exit(str(error))
