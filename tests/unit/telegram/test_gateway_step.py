"""The worker's step that consumes the queues of the shards that are held."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from kombu.asynchronous import Hub

from switchboard import wiring
from switchboard.domain.telegram.sharding import SHARD_QUEUES
from tasks.telegram import gateway
from tasks.telegram.gateway import Gateway, consume, consume_soon


class Consumer:
    """Remembers; a consumer between two connections has no `task_consumer`."""

    def __init__(self, queues: Any) -> None:
        self._queues = queues
        self.task_consumer: object | None = object()
        self.said: list[str] = []

    def add_task_queue(self, name: str) -> None:
        self._queues.select_add(self._queues[name])
        self.said.append(f"+{name}")

    def cancel_task_queue(self, name: str) -> None:
        self._queues.deselect(name)
        self.said.append(f"-{name}")


@pytest.fixture
def worker() -> Any:
    app = Celery("worker", set_as_current=False, broker="memory://")
    app.conf.task_queues = {name: {"exchange": name, "routing_key": name} for name in ("telegram", *SHARD_QUEUES)}
    app.amqp.queues.select(["telegram"])
    return SimpleNamespace(app=app, consumer=Consumer(app.amqp.queues))


def test_exactly_the_queues_of_the_held_shards_are_consumed(worker: Any) -> None:
    consume(worker, frozenset({3, 5}))
    assert worker.consumer.said == ["+telegram.3", "+telegram.5"]
    consume(worker, frozenset({3, 5}))
    assert len(worker.consumer.said) == 2
    consume(worker, frozenset({5, 9}))
    assert worker.consumer.said[2:] == ["+telegram.9", "-telegram.3"]
    assert set(worker.app.amqp.queues.consume_from) == {"telegram", "telegram.5", "telegram.9"}


def test_between_two_connections_to_the_broker_the_choice_is_kept_for_the_next(worker: Any) -> None:
    consume(worker, frozenset({3, 5}))
    worker.consumer.task_consumer = None
    consume(worker, frozenset({5, 9}))
    assert worker.consumer.said == ["+telegram.3", "+telegram.5"]
    assert set(worker.app.amqp.queues.consume_from) == {"telegram", "telegram.5", "telegram.9"}


def test_a_choice_that_another_thread_makes_is_carried_out_on_the_workers_own_loop(worker: Any) -> None:
    worker.hub = Hub()  # type: ignore[no-untyped-call]
    thread = threading.Thread(target=consume_soon, args=(worker, frozenset({3})))
    thread.start()
    thread.join(20)
    assert worker.consumer.said == []
    worker.hub.run_once()
    assert worker.consumer.said == ["+telegram.3"]
    worker.hub.close()


def test_a_gateway_looks_whether_the_database_was_restored_before_anything_else(
    worker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    did: list[str] = []

    def service(name: str, method: str) -> Any:
        return lambda: SimpleNamespace(**{method: lambda *_given: did.append(name)})

    monkeypatch.setattr(gateway, "inbox", SimpleNamespace(announce=lambda: did.append("inbox")))
    monkeypatch.setattr(Gateway, "started", False)
    for name, method in (("telegram_restores", "look"), ("telegram_environment", "apply"), ("telegram_host", "start")):
        monkeypatch.setattr(wiring, name, service(name, method))
    Gateway(worker).start(worker)
    assert did == ["telegram_restores", "telegram_environment", "inbox", "telegram_host"]


def test_only_a_worker_of_the_gateways_queue_hosts_accounts(worker: Any) -> None:
    assert Gateway(worker).include_if(worker)
    worker.app.amqp.queues.select(["telegram.3"])
    assert not Gateway(worker).include_if(worker)
