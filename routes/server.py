"""Starts the web process: `python -m routes.server`.

granian with our front (ASGI without lifespan). Its own time-out closes connections whose headers are slow, idle ones
included; bodies and slow readers are the front's matter.
"""

from __future__ import annotations

import multiprocessing
import sys

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings

from routes import metrics
from switchboard.errors import ConfigError
from switchboard.logs import configure_logging
from switchboard.settings import Settings, load_settings

HEADER_READ_MS = 10_000
STOP_S = 22  # for requests under way; supervisors and hosts wait longer before they kill


def serve(settings: Settings, factory: str) -> None:
    """Serve what `factory` ("module:function") makes until SIGTERM: then no new connection, and what is under way is answered.

    The factory runs in a child process, which is started again when it dies.
    """
    multiprocessing.set_start_method(
        "spawn"
    )  # the child chooses its kind of metrics when it imports, by the folder's name
    metrics.prepare_folder(settings.data_dir / "metrics" / "web")
    Granian(
        factory,
        factory=True,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_READ_MS),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=STOP_S,
        log_dictconfig={"handlers": {}, "formatters": {}, "loggers": {}},  # its lines go the way of all others
    ).serve()


def main() -> int:
    """Returns the exit status: 2 for wrong settings, each named on standard error."""
    try:
        settings = load_settings()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    serve(settings, "api:create_front")
    return 0


if __name__ == "__main__":
    sys.exit(main())
