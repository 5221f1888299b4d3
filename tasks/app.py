"""The Celery app: `celery -A tasks.app worker`. Importing it does no I/O; the settings are read at the first use.

The order of times that makes a lost process harmless (seconds):
a task's own limit < its lock's lease (300 at most) <= the longest countdown < the broker's visibility timeout (600).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from functools import cache
from typing import Any

import click
from celery import Celery
from celery.schedules import crontab
from celery.signals import celeryd_init, setup_logging, worker_shutting_down

from beat_schedule import SCHEDULE
from switchboard.clients.redis import CONNECT_TIMEOUT_S, SOCKET_TIMEOUT_S, tls_options
from switchboard.domain.telegram.sharding import SHARD_QUEUES, shard_of
from switchboard.errors import ConfigError
from switchboard.logs import configure_logging
from switchboard.queues import QUEUES
from switchboard.settings import Settings, load_settings
from tasks import shutdown

TASK_MODULES = (
    "tasks.calendar.accounts",
    "tasks.calendar.agendas",
    "tasks.calendar.answers",
    "tasks.calendar.conversations",
    "tasks.calendar.changes",
    "tasks.calendar.occurrences",
    "tasks.calendar.people",
    "tasks.calendar.reminders",
    "tasks.calendar.statuses",
    "tasks.delivery.documents",
    "tasks.delivery.ledger",
    "tasks.delivery.mattermost",
    "tasks.telegram.accounts",
    "tasks.telegram.gateway",
    "tasks.telegram.inbox",
    "tasks.upkeep.retention",
)
QUEUE_BY_TASK = {  # all others: the first part of their name
    "calendar.occurrences.expand": "expansion",
    "telegram.inbox.scan_waiting": "upkeep",  # beat sends it, and where no gateway runs nobody would ever take it away
}

VISIBILITY_TIMEOUT_S = 600
PUBLISH_TIMEOUT_S = 1.0  # a web request waits for a broker that hangs three times this at most (measured)
SWEEP_S = 10  # how often a worker looks for messages whose visibility ended
BEAT_LOCK_S = 30
MEMORY_PER_CHILD_KIB = 400_000


class UnusableSettingsError(ConfigError, click.ClickException):
    """The settings cannot be used; Celery's command line shows the words instead of a traceback."""


@cache
def settings() -> Settings:
    """The settings of this process. Raises ConfigError in words."""
    try:
        loaded = load_settings()
    except ConfigError as error:
        raise UnusableSettingsError(str(error)) from None
    if not loaded.redis_url:
        raise UnusableSettingsError(
            "REDIS_URL is empty and no run of this data folder was found: set REDIS_URL, or start `make run` first"
        )
    return loaded


def configuration() -> dict[str, Any]:
    """Celery's settings, from ours."""
    url, self_signed = settings().redis_url, settings().redis_tls_self_signed
    tls = tls_options(url, self_signed=self_signed) or None
    transport = {
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "unacked_restore_interval": SWEEP_S,
        "unacked_restore_throttle": 1,
        "socket_timeout": PUBLISH_TIMEOUT_S,
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
    }
    return {
        "broker_url": url,
        "broker_use_ssl": tls,
        "broker_transport_options": transport,
        "result_backend_transport_options": {"visibility_timeout": VISIBILITY_TIMEOUT_S},
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": CONNECT_TIMEOUT_S,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.1, "interval_max": 0.1},
        # JSON alone; state lives in the database, so no results
        "task_serializer": "json",
        "accept_content": ["json"],
        "result_backend": None,
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "task_queues": {name: {"exchange": name, "routing_key": name} for name in (*QUEUES, *SHARD_QUEUES)},
        "task_default_queue": "upkeep",
        "task_create_missing_queues": False,
        "task_routes": (route,),
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        "worker_consumer": "tasks.consumer:Consumer",
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_max_memory_per_child": MEMORY_PER_CHILD_KIB,
        "worker_proc_alive_timeout": 30,
        # what Flower shows
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        "worker_redirect_stdouts": False,
        "timezone": "UTC",
        "enable_utc": True,
        "beat_schedule": {name: _beat_entry(entry) for name, entry in SCHEDULE.items()},
        "beat_scheduler": "redbeat.RedBeatScheduler",
        "beat_max_loop_interval": 5,
        "redbeat_redis_url": url,
        "redbeat_redis_use_ssl": tls,
        "redbeat_redis_options": {
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": CONNECT_TIMEOUT_S,
            "retry_period": BEAT_LOCK_S - 10,
        },
        "redbeat_lock_timeout": BEAT_LOCK_S,
        "redbeat_key_prefix": "switchboard:beat:",
    }


def route(name: str, _args: object = None, kwargs: Mapping[str, Any] | None = None, *_: object, **_more: object) -> Any:
    """The queue of a task, by its name; None for Celery's own tasks.

    What concerns one Telegram account goes to the queue of its shard, which the process that holds it consumes.
    """
    family = name.partition(".")[0]
    if family == "telegram" and kwargs and "account_id" in kwargs:
        return {"queue": SHARD_QUEUES[shard_of(kwargs["account_id"])]}
    return None if family == "celery" else {"queue": QUEUE_BY_TASK.get(name, family)}


def _beat_entry(entry: Mapping[str, str | int]) -> dict[str, Any]:
    hour, _, minute = str(entry.get("daily_at", "")).partition(":")
    schedule = crontab(hour=int(hour), minute=int(minute)) if minute else entry["every_s"]
    return {"task": entry["task"], "schedule": schedule, "options": {"expires": entry["expires_s"]}}


def _speak_as_we_do(**_details: object) -> None:
    """Celery asks who sets up logging: we do. Its lines for each task give way to those of the base task."""
    configure_logging(settings())
    for name in ("celery.app.trace", "celery.worker.strategy", "celery.beat"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("celery.app.trace").addFilter(_without_arguments)


def _wait_longer(conf: Any, **_details: object) -> None:
    """A worker is more patient with the broker than a web request can be."""
    conf.broker_transport_options.update(socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=CONNECT_TIMEOUT_S)


def _without_arguments(record: logging.LogRecord) -> bool:
    record.__dict__.pop("data", None)  # Celery adds the task's arguments to the record
    return True


def _stop_in_time(**_details: object) -> None:
    """From a worker's SIGTERM on: running tasks are to end, and what does not is cut off."""
    threading.Thread(target=shutdown.bound, name="bounded-shutdown", daemon=True).start()


app = Celery("switchboard", task_cls="tasks.base:SwitchboardTask", include=TASK_MODULES)
app.add_defaults(configuration)
celeryd_init.connect(_wait_longer, weak=False)
setup_logging.connect(_speak_as_we_do, weak=False)
worker_shutting_down.connect(_stop_in_time, weak=False)
