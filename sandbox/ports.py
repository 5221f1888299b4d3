"""A port to start a server on that is told its port instead of taking one."""

from __future__ import annotations

import random
import socket

# Below what systems give to outgoing connections and to servers that bind port 0 (from 32768 on Linux, from 49152 elsewhere):
# none of those takes the port between the look and the start, or while its server is down.
OWN_CHOICE = range(20_000, 32_768)


def free_port() -> int:
    """A TCP port of 127.0.0.1 on which nobody listens."""
    while True:
        port = random.choice(OWN_CHOICE)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
