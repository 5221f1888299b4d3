"""Long lists in portions."""

from __future__ import annotations

import pytest

from switchboard.domain.portions import portions


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [[0]]), (3, [[0, 1, 2]]), (4, [[0, 1, 2], [3]]), (6, [[0, 1, 2], [3, 4, 5]])],
)
def test_every_item_is_in_one_portion_in_order(count: int, expected: list[list[int]]) -> None:
    assert portions(range(count), 3) == expected
