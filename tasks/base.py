"""The base of every task: its options, its retries, its deadline, its log lines. A decorator names only what differs."""

from __future__ import annotations

import inspect
import logging
import random
import time
from typing import Any, ClassVar

from celery import Celery, Task
from kombu.exceptions import OperationalError
from structlog.contextvars import bind_contextvars, get_contextvars, reset_contextvars

from switchboard import wiring
from switchboard.deadlines import deadline_in
from switchboard.errors import PermanentError, RemoteUnavailableError, TransientError, UncertainError
from switchboard.logs import get_logger

FIRST_BACKOFF_S = 2.0
LONGEST_BACKOFF_S = 120.0
LONGEST_COUNTDOWN_S = 300.0  # a countdown and the task after it must end within the visibility timeout
HARD_LIMIT_AFTER_S = 10
SLOW_MS = 1000  # a line for every task cost a sixth of the throughput (measured); Flower shows each anyway
REQUEST_ID = "request_id"

logger = get_logger(__name__)
_levels = logging.getLogger(__name__)


class SwitchboardTask(Task):  # type: ignore[misc]
    """Takes keyword-only JSON arguments; runs under a deadline of `soft_time_limit` seconds; is acknowledged late.

    TransientError is tried again after a growing random wait, or the remote's own wait where that is longer, up to
    `max_retries` times. After that, and where the remote wants a wait of more than five minutes, the task ends: the
    row keeps `next_attempt_at` or its lease, and the next scan queues it anew. PermanentError and UncertainError end the
    task at once: the service has marked the row. A task called directly raises the original error.
    """

    abstract = True
    soft_time_limit: int = 50
    time_limit: int | None = None  # 10 s after the soft limit; enforced in the prefork pool alone
    only_one: bool = False
    """True for a scan: it is skipped while another run of it is under way, because the next tick does the same work."""
    max_retries = 5
    throws: ClassVar[tuple[type[Exception], ...]] = (PermanentError, UncertainError, TransientError)

    @classmethod
    def on_bound(cls, app: Celery) -> None:  # noqa: ARG003  Celery's signature
        """Complete and check the options when the task is registered."""
        if cls.time_limit is None:
            cls.time_limit = cls.soft_time_limit + HARD_LIMIT_AFTER_S
        if cls.name.startswith("celery."):
            return  # Celery's own, which we do not use
        for parameter in inspect.signature(cls.run).parameters.values():
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY and parameter.name != "self":
                raise TypeError(f"{cls.name}: argument {parameter.name} must be keyword-only")

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Queue the task; the id of the web request it began with goes along.

        RemoteUnavailableError when the broker does not take it within about three seconds.
        """
        if args:
            raise TypeError(f"{self.name} takes keyword arguments only")
        if request_id := get_contextvars().get(REQUEST_ID):
            options["headers"] = {**(options.get("headers") or {}), REQUEST_ID: request_id}
        try:
            return super().apply_async(None, kwargs, **options)
        except OperationalError:
            raise RemoteUnavailableError(f"the broker did not take {self.name}") from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task: called by the worker for a message, or directly."""
        request = self.request
        if request.called_directly:
            return self.run(*args, **kwargs)
        bound = {"task": self.name, "task_id": request.id, "root_id": request.root_id}
        if request_id := request.get(REQUEST_ID):
            bound[REQUEST_ID] = request_id
        tokens = bind_contextvars(**bound)
        started = time.perf_counter()
        if _levels.isEnabledFor(logging.DEBUG):
            logger.debug("task_started", attempt=request.retries + 1)
        try:
            with deadline_in(self.soft_time_limit):
                result = self._run_alone() if self.only_one else self.run(*args, **kwargs)
            duration_ms = _since_ms(started)
            level = logging.INFO if duration_ms >= SLOW_MS else logging.DEBUG
            if _levels.isEnabledFor(level):
                logger.log(level, "task_done", duration_ms=duration_ms)
            return result
        except TransientError as error:
            self._try_again(error, _since_ms(started))
        except (PermanentError, UncertainError) as error:
            logger.warning(
                "task_refused", error=type(error).__name__, reason=str(error), duration_ms=_since_ms(started)
            )
            raise
        finally:
            reset_contextvars(**tokens)

    def _run_alone(self) -> Any:
        """Run a scan under its lock, or skip it; a killed scan's lock is gone when its time would have been over."""
        lease = wiring.locks().attempt(f"scan:{self.name}", lease_s=self.soft_time_limit)
        if lease is None:
            logger.debug("scan_skipped")
            return None
        with lease:
            return self.run()

    def _try_again(self, error: TransientError, duration_ms: float) -> None:
        """Queue this message again for later, or end it here; raises either way."""
        attempt = self.request.retries + 1
        wait_s = wait_before_retry_s(error, retries=self.request.retries)
        facts = {"error": type(error).__name__, "reason": str(error), "attempt": attempt, "duration_ms": duration_ms}
        if wait_s > LONGEST_COUNTDOWN_S or attempt > self.max_retries:
            logger.warning("task_left_to_its_row", **facts)
            raise error
        logger.info("task_to_be_tried_again", wait_s=round(wait_s, 1), **facts)
        raise self.retry(exc=error, countdown=wait_s)


def wait_before_retry_s(error: TransientError, *, retries: int) -> float:
    """A random wait below 2, 4, 8 ... 120 s (full jitter), but never less than the remote or the lock's lease asks for."""
    ceiling_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**retries)
    jitter_s = random.uniform(0.0, ceiling_s)  # noqa: S311  spreads load, guards nothing
    return max(jitter_s, error.retry_after_s or 0.0)


def _since_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)
