"""A worker whose broker dies goes on and looks for it, whichever of its lines is found dead first."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from kombu.asynchronous import Hub

from tasks.consumer import Consumer
from tests.servers import running_valkey

WAIT_S = 30.0


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of what comes with Celery 6
def test_a_broker_that_dies_while_its_next_task_is_awaited_ends_no_worker(tmp_path: Path) -> None:
    with running_valkey(tmp_path / "valkey") as valkey, Celery("worker", set_as_current=False) as app:
        app.conf.update(broker_url=valkey.url, broker_transport_options={"socket_timeout": 5})
        hub, controller = Hub(), SimpleNamespace(use_eventloop=True)  # type: ignore[no-untyped-call]
        pool = SimpleNamespace(num_processes=1, is_green=False)
        worker = Consumer(lambda *_: None, app=app, hub=hub, timer=hub.timer, controller=controller, pool=pool)
        worker.connection = app.connection_for_read()
        worker.task_consumer = app.amqp.TaskConsumer(worker.connection, queues=[app.amqp.queues["celery"]])
        remote_control = worker.connection.channel()  # it listens on a line of its own
        app.control.mailbox.Node("worker@test", handlers={}, channel=remote_control).listen(callback=lambda *_: None)
        taken: list[object] = []
        worker.task_consumer.on_message = taken.append
        worker.task_consumer.qos(prefetch_count=2)
        worker.connection.register_with_event_loop(hub)
        worker.task_consumer.consume()
        app.send_task("in hand")
        end = time.monotonic() + WAIT_S
        while not taken:
            assert time.monotonic() < end
            hub.run_once()  # type: ignore[no-untyped-call]
        for wait_for_the_next in list(hub.on_tick):
            wait_for_the_next()

        valkey.kill()
        worker.on_connection_error_after_connected(ConnectionError("the line of the remote control is dead"))
        assert worker.connection is None
        hub.close()  # type: ignore[no-untyped-call]
