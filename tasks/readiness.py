"""Say that a worker takes tasks: touch the file that its supervisor named; nothing without one."""

from __future__ import annotations

import os
from pathlib import Path

from celery.signals import worker_ready

READY_FILE_VARIABLE = "SWITCHBOARD_READY_FILE"


@worker_ready.connect
def announce(**_details: object) -> None:
    """Called by Celery when a worker has connected and consumes."""
    if path := os.environ.get(READY_FILE_VARIABLE):
        Path(path).touch()
