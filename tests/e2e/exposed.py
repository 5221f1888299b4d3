"""What operators can look at in a running deployment: Flower's pages and what lies in the broker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import requests

from switchboard.clients.redis import connect_redis
from switchboard.processes.stack import Stack

FLOWER_PAGES = ("/api/tasks?limit=500", "/api/workers?refresh=1", "/api/queues/length", "/tasks", "/workers", "/broker")


def flower_pages(stack: Stack) -> Iterator[tuple[str, str]]:
    """Flower's pages and interface, and the page of every task it knows."""
    environment = stack.environment
    with requests.Session() as session:
        session.auth = (environment.get("FLOWER_USER", "operator"), environment["FLOWER_PASSWORD"])
        for page in FLOWER_PAGES:
            answer = session.get(stack.url("flower") + page, timeout=20)
            yield page, answer.text
            if page.startswith("/api/tasks"):
                tasks = list(answer.json())
        for task in tasks:
            yield f"/task/{task}", session.get(f"{stack.url('flower')}/task/{task}", timeout=20).text


def redis_values(url: str) -> Iterator[tuple[str, str]]:
    """Every key with its value."""
    with connect_redis(url) as client:
        reads: dict[str, Callable[[str], Any]] = {
            "string": client.get,
            "hash": client.hgetall,
            "list": lambda key: client.lrange(key, 0, -1),
            "set": client.smembers,
            "zset": lambda key: client.zrange(key, 0, -1),
        }
        for key in client.scan_iter():
            yield str(key), json.dumps(reads[str(client.type(key))](str(key)), default=str)


def wait_for(holds: Callable[[], bool], what: str, *, seconds: float) -> None:
    """Wait until something holds; AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.3)
