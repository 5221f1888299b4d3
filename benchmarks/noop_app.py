"""The real Celery app with two tasks that do nothing: one of our base class, one of Celery's own."""

# mypy: disallow-untyped-decorators=False
from __future__ import annotations

from celery import Task

from tasks.app import app

__all__ = ["app"]


@app.task(name="upkeep.noop.ours")
def ours() -> None: ...


@app.task(name="upkeep.noop.celerys", base=Task)
def celerys() -> None: ...
