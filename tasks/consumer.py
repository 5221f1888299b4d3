"""The part of a worker that reads from the broker, made to live through every way in which the broker's connection is lost."""

from __future__ import annotations

import contextlib

from celery.worker import consumer


class Consumer(consumer.Consumer):  # type: ignore[misc]
    """Celery's, whose worker ended when the broker died, about once in six times.

    Several lines lead to the broker, and any may be found dead first. Where that is not the one that waits for tasks, Kombu
    5.7 does not get to close its channel before it has forgotten the broker's address, and the attempt to give back what is
    not acknowledged then ends in an AttributeError, which no worker expects. A first attempt, which fails as it must, makes
    the second one close it.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Called on the worker's loop before it connects anew."""
        if self.task_consumer is not None:
            with contextlib.suppress(*self.connection_errors, *self.channel_errors):
                self.task_consumer.channel.close()
        super().on_connection_error_after_connected(exc)
