"""Long lists in portions of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def portions(items: Iterable[Item], size: int) -> list[list[Item]]:
    """The items in order, at most `size` in each list; none for none."""
    listed = list(items)
    return [listed[start : start + size] for start in range(0, len(listed), size)]
