"""A scan runs alone: the base task's lock on a real Valkey."""

# mypy: disallow-untyped-decorators=False
from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery

from switchboard import wiring
from tasks.base import SwitchboardTask


@pytest.fixture
def app(valkey: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Celery]:
    monkeypatch.setenv("REDIS_URL", valkey)
    cached = (wiring.settings, wiring.redis_client, wiring.locks)
    for build in cached:
        build.cache_clear()
    made = Celery("test", task_cls=SwitchboardTask, set_as_current=False, broker="memory://")
    yield made
    made.close()
    wiring.redis_client().close()
    for build in cached:
        build.cache_clear()


def test_a_scan_is_skipped_while_another_run_of_it_is_under_way(app: Celery) -> None:
    runs = []

    @app.task(shared=False, name="upkeep.test.scan", soft_time_limit=5, only_one=True)
    def scan() -> int:
        runs.append(1)
        return 1

    with wiring.locks().require("scan:upkeep.test.scan", lease_s=5):
        assert scan.apply().result is None
    assert runs == []
    assert scan.apply().result == 1
    assert scan.apply().result == 1, "the lock of a run that ended holds nobody back"


def test_a_scan_that_fails_gives_its_lock_back(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.broken", soft_time_limit=5, only_one=True)
    def broken() -> None:
        raise ValueError("broken")

    assert isinstance(broken.apply().result, ValueError)
    assert wiring.locks().attempt("scan:upkeep.test.broken") is not None


def test_other_tasks_take_no_lock(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.item", soft_time_limit=5)
    def item() -> int:
        return 1

    with wiring.locks().require("scan:upkeep.test.item", lease_s=5):
        assert item.apply().result == 1
