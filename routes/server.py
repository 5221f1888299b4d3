"""Starts the web process: `python -m routes.server`.

granian with our front (ASGI without lifespan). Its own time-out closes connections whose headers are slow, idle ones
included; bodies are the front's matter.
"""

from __future__ import annotations

import sys
from pathlib import Path

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from routes import metrics
from switchboard.errors import ConfigError
from switchboard.logs import configure_logging
from switchboard.settings import load_settings

HEADER_READ_MS = 10_000
STOP_S = 22  # a host gives 30 s from SIGTERM to SIGKILL


def main() -> int:
    """Serve until SIGTERM: no new connections then, and requests under way are answered. Returns the exit status."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    metrics.prepare_folder(settings.data_dir / "metrics" / "web")
    Granian(
        "api:create_front",
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        factory=True,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_MS),
        websockets=False,
        log_dictconfig={"version": 1, "disable_existing_loggers": False, "loggers": {}},
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_S,
        working_dir=Path.cwd(),
    ).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
