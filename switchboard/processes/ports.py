"""Choice of ports: the usual one, else the next free one."""

from __future__ import annotations

import random
import socket
from collections.abc import Sequence

from switchboard.errors import ConfigError

ATTEMPTS = 100
# Below what systems give to outgoing connections and to whoever binds port 0 (from 32768 on Linux, from 49152 elsewhere): no
# other program gets the port between the choice and the start, or while its process is started again.
ANY_FREE = range(20_000, 32_768)


class PortChooser:
    """Hands out ports that nobody listens on, each once."""

    def __init__(self, host: str = "127.0.0.1", *, any_free: bool = False) -> None:
        """`any_free`: take any free port instead of the usual ones (several stacks on one machine)."""
        self._host = host
        self._any_free = any_free
        self._taken: set[int] = set()

    def choose(self, preferred: int) -> int:
        """`preferred` or the next free port above it; 0 means any free port."""
        if self._any_free or preferred == 0:
            port = self._first_free(random.sample(ANY_FREE, ATTEMPTS))
        else:
            port = self._first_free(range(preferred, min(preferred + ATTEMPTS, 65_536)))
        self._taken.add(port)
        return port

    def require(self, port: int, *, setting: str) -> int:
        """Exactly `port` (0: any free one); ConfigError that names the setting when somebody listens there."""
        if port == 0:
            return self.choose(0)
        if port in self._taken or not is_free(self._host, port):
            raise ConfigError(
                f"{setting}={port}: another program listens on that port; stop it or set another {setting}"
            )
        self._taken.add(port)
        return port

    def _first_free(self, candidates: Sequence[int]) -> int:
        found = next((port for port in candidates if port not in self._taken and is_free(self._host, port)), None)
        if found is None:
            raise ConfigError(f"No free port between {min(candidates)} and {max(candidates)}")
        return found


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with _socket(host) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections of a last run do not count
        try:
            candidate.bind((host, port))
        except OSError:
            return False
        return True


def _socket(host: str) -> socket.socket:
    return socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
