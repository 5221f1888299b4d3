"""The list of faults that are on, whatever the protocol: kept in order, used up, and switched off. Thread-safe."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What a fault of any twin has: its number, and how often it acted of how often it may (None: until it is removed)."""

    count: int | None = None
    id: int = 0
    hits: int = 0


_R = TypeVar("_R", bound=Rule)


class FaultRules(ABC, Generic[_R]):
    """The rules of one twin, in the order in which they were switched on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[_R] = []
        self._last_id = 0

    def remove(self, fault_id: int) -> bool:
        """Switch one off; False when it is not on (any more)."""
        with self._lock:
            before = len(self._faults)
            self._faults = [fault for fault in self._faults if fault.id != fault_id]
            return len(self._faults) < before

    def clear(self) -> None:
        with self._lock:
            self._faults = []

    def listing(self) -> list[_R]:
        with self._lock:
            return list(self._faults)

    def _add(self, fault: _R) -> _R:
        with self._lock:
            self._last_id += 1
            numbered = replace(fault, id=self._last_id)
            self._faults.append(numbered)
        return numbered

    def _use(self, fits: Callable[[_R], bool]) -> _R | None:
        """The oldest fault that fits, counted, and gone after its last use; None for nearly all requests."""
        if not self._faults:
            return None
        with self._lock:
            for index, fault in enumerate(self._faults):
                if fits(fault):
                    used = replace(fault, hits=fault.hits + 1)
                    self._note(used)
                    if used.count is not None and used.hits >= used.count:
                        del self._faults[index]
                    else:
                        self._faults[index] = used
                    return used
        return None

    @abstractmethod
    def _note(self, used: _R) -> None:
        """Called under the lock when a fault acts."""
