"""The names of the queues: one per family of tasks, and one for work that needs hard time limits."""

from __future__ import annotations

THREAD_QUEUES = ("calendar", "delivery", "upkeep", "providers", "sync")
"""Waiting for remotes, on a pool of threads; a task's queue is the first part of its name."""

PROCESS_QUEUES = ("expansion",)
"""Computing on what strangers wrote, on a pool of processes that a time limit can kill."""

GATEWAY_QUEUES = ("telegram",)
"""For the processes that hold Telegram accounts; each also takes the queues of its shards (domain.telegram.sharding)."""

QUEUES = (*THREAD_QUEUES, *PROCESS_QUEUES, *GATEWAY_QUEUES)
