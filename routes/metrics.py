"""Metrics for Prometheus: this deployment's shared facts, and the requests of all web processes of this host.

Requests are counted per process in files that every process of the host reads (prometheus_client's multiprocess mode), so
any of them answers for all. The folder is wiped once, before the first process starts: files of dead processes would stay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from switchboard.services.operations import SharedFacts

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def prepare_folder(folder: Path) -> None:
    """Make the folder of the per-process files, empty, and name it to this process and its children.

    A child must import prometheus_client anew: the library looks at the variable at its import alone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob("*.db"):
        leftover.unlink()
    os.environ[FOLDER_VARIABLE] = str(folder)


class WebMetrics:
    """The requests of this process, and the exposition of all."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Histogram(
            "switchboard_http_request_seconds",
            "Time from a request's headers to the end of its answer",
            ("method", "route", "status"),
            buckets=BUCKETS_S,
            registry=self._registry,
        )

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; `route` is a template, so that the number of series stays small."""
        self._requests.labels(method if method in METHODS else "other", route, str(status)).observe(seconds)

    def exposition(self, facts: SharedFacts) -> bytes:
        """Everything in Prometheus's text format."""
        shared = CollectorRegistry()
        shared.register(_SharedFactsCollector(facts))
        return generate_latest(shared) + generate_latest(self._all_processes())

    def _all_processes(self) -> CollectorRegistry:
        if FOLDER_VARIABLE not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


class _SharedFactsCollector(Collector):
    def __init__(self, facts: SharedFacts) -> None:
        self._facts = facts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        facts = self._facts
        yield _gauge(
            "deliveries_open",
            "Deliveries that are not at an end",
            ("channel", "state"),
            facts.open_deliveries,
        )
        yield _gauge(
            "deliveries_finished_last_day",
            "Deliveries that ended in the last 24 hours",
            ("channel", "state"),
            facts.finished_deliveries,
        )
        yield _gauge(
            "deliveries_oldest_open_seconds",
            "Age of the oldest open delivery, from when it could be sent",
            ("channel",),
            facts.oldest_open_age_s,
        )
        yield _gauge(
            "calendar_accounts",
            "Calendar accounts",
            ("state",),
            facts.calendar_accounts,
        )
        yield _gauge(
            "telegram_accounts",
            "Telegram accounts",
            ("state",),
            facts.telegram_accounts,
        )
        yield _gauge(
            "heartbeat_age_seconds",
            "Time since something regular last happened",
            ("name",),
            facts.heartbeat_age_s,
        )
        yield _gauge(
            "queue_length",
            "Messages that wait in a queue of the broker",
            ("queue",),
            facts.queue_lengths,
        )
        yield _gauge(
            "facts_available",
            "Whether the facts of a source could be read",
            ("source",),
            {source: float(source not in facts.silent) for source in ("database", "redis")},
        )


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> GaugeMetricFamily:
    """`values` by the tuple of label values, or by the value itself where there is one label."""
    family = GaugeMetricFamily(f"switchboard_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric(list(key) if isinstance(key, tuple) else [key], float(value))
    return family
