"""A program, not a module: kill what the supervisor leaves behind when it dies without stopping.

Reads lines `+GROUP` and `-GROUP` (process groups begun and ended) from standard input. Its end means that the supervisor
is gone, however it died: every group still begun gets SIGKILL, grandchildren included (Celery's prefork children and
granian's workers, which no parent-death signal reaches). It holds the run lock meanwhile, so that a new start waits.
"""

import os
import signal
import sys
import time

PATIENCE_S = 5.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    deadline = time.monotonic() + PATIENCE_S
    while groups and time.monotonic() < deadline:
        groups = {group for group in groups if kill_group(group)}
        time.sleep(0.02)


def kill_group(group: int) -> bool:
    """Kill a process group; False when nothing of it is left."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says this of a group of zombies
        return False
    return True


if __name__ == "__main__":
    main()
