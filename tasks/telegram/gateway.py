"""The worker that holds Telegram accounts: it hosts their connections, and consumes the queues of the shards it holds.

The host is a step of the *worker*, not of its consumer: the consumer's steps begin anew whenever the broker's connection
does, and the connections to Telegram must live through that. It is closed by the signal `worker_shutdown`, after the pool
has drained, and not in the step's `stop`, which comes before. Queues of shards may be dropped without draining: their
messages are hints (tasks.telegram.accounts), and whoever holds a shard next looks at all of its accounts anyway.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutdown

from switchboard import wiring
from switchboard.domain.telegram.sharding import SHARD_QUEUES
from switchboard.queues import GATEWAY_QUEUES
from tasks.app import app
from tasks.telegram import inbox


class Gateway(bootsteps.StartStopStep):  # type: ignore[misc]
    """Starts the host in a worker that consumes the gateways' queue; in all others it is left out."""

    requires = ("celery.worker.components:Hub", "celery.worker.components:Pool")
    started = False

    def include_if(self, parent: Any) -> bool:
        """Whether this worker is a gateway: it was started with `-Q telegram`."""
        return bool(set(GATEWAY_QUEUES) & set(parent.app.amqp.queues.consume_from))

    def create(self, parent: Any) -> None:
        """Nothing before the start."""

    def start(self, parent: Any) -> None:
        """Called once in the life of a worker, whatever becomes of its broker."""
        logging.getLogger("celery.worker.consumer.consumer").setLevel(logging.WARNING)  # a line for every queue
        wiring.telegram_restores().look()
        wiring.telegram_environment().apply()
        inbox.announce()
        wiring.telegram_host().start(partial(consume_soon, parent))
        Gateway.started = True

    def stop(self, parent: Any) -> None:
        """Not here: see above."""

    def terminate(self, parent: Any) -> None:
        """Nor here."""


def consume_soon(worker: Any, shards: frozenset[int]) -> None:
    """`consume`, from any thread: a consumer may be changed on the worker's own loop alone."""
    worker.hub.call_soon(consume, worker, shards)


def consume(worker: Any, shards: frozenset[int]) -> None:
    """Consume the queues of exactly these shards; on the worker's own loop, as often as the host says it.

    While the consumer is between two connections the choice is only noted, and holds when it begins again.
    """
    queues, consumer = worker.app.amqp.queues, worker.consumer
    running = consumer is not None and consumer.task_consumer is not None
    wanted = {SHARD_QUEUES[shard] for shard in shards}
    consumed = set(queues.consume_from) & set(SHARD_QUEUES)
    for name in sorted(wanted - consumed):
        if running:
            consumer.add_task_queue(name)
        else:
            queues.select_add(queues[name])
    for name in sorted(consumed - wanted):
        if running:
            consumer.cancel_task_queue(name)
        else:
            queues.deselect(name)


@worker_shutdown.connect
def close(**_details: object) -> None:
    """Close every account once the pool has drained, and give the shards to others."""
    if Gateway.started:
        wiring.telegram_host().stop()


app.steps["worker"].add(Gateway)
