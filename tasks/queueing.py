"""Queueing a task by its name, for callers that know no Celery."""

from __future__ import annotations

from kombu.exceptions import OperationalError

from switchboard.errors import RemoteUnavailableError
from tasks.app import app


def queue_by_name(task: str, /, **arguments: object) -> str:
    """Queue `task` with JSON arguments; return its id. RemoteUnavailableError when the broker does not answer."""
    try:
        return str(app.send_task(task, kwargs=arguments).id)
    except OperationalError:
        raise RemoteUnavailableError(f"the broker did not take {task}") from None
