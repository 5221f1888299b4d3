"""The names of the queues: one per family of tasks, and one for work that needs hard time limits."""

from __future__ import annotations

THREAD_QUEUES = ("calendar", "delivery", "upkeep", "telegram", "providers", "sync")
"""Waiting for remotes, on a pool of threads; a task's queue is the first part of its name."""

PROCESS_QUEUES = ("expansion",)
"""Computing on what strangers wrote, on a pool of processes that a time limit can kill."""

QUEUES = (*THREAD_QUEUES, *PROCESS_QUEUES)
