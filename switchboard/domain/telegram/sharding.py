"""Shards: accounts are dealt to a fixed number of them, and shards to the gateways that live."""

from __future__ import annotations

import math

SHARDS = 64
SHARD_QUEUES = tuple(f"telegram.{shard}" for shard in range(SHARDS))
"""The queue of each shard's hints, consumed by the gateway that holds the shard."""

_MULTIPLIER = 2_654_435_769  # 2^32 over the golden ratio: numbers in a row land far apart (Knuth, TAOCP 3, section 6.4)


def shard_of(account_id: int) -> int:
    """The shard of an account, 0 to 63: the same for ever, and even over accounts that were made in a row."""
    return ((account_id * _MULTIPLIER) & 0xFFFF_FFFF) >> 26


def fair_share(live_gateways: int) -> int:
    """How many shards one of so many gateways may hold; together they can hold all."""
    return math.ceil(SHARDS / max(1, live_gateways))
