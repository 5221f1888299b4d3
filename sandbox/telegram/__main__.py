"""`python -m sandbox.telegram --port P --control-port C --data DIR`: the loopback Telegram as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from tornado import web
from tornado.httpserver import HTTPServer

from sandbox.telegram.control import control_routes
from sandbox.telegram.samples import add_samples
from sandbox.telegram.twin import TelegramTwin


async def serve(port: int, control_port: int, data_dir: Path, *, samples: bool) -> None:
    """Serve until SIGTERM or SIGINT."""
    twin = TelegramTwin(data_dir=data_dir)
    if samples:
        add_samples(twin)
    await twin.start(port)
    control = HTTPServer(web.Application(control_routes(twin), log_function=lambda _handler: None))
    control.listen(control_port, "127.0.0.1")
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()
    control.stop()
    await twin.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.telegram", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1 for Telegram clients")
    parser.add_argument("--control-port", type=int, required=True, help="port on 127.0.0.1 for /_sandbox/telegram")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder for state, files and the server's key (server.pem)"
    )
    parser.add_argument("--no-samples", action="store_true", help="start without the sample people")
    chosen = parser.parse_args()
    asyncio.run(serve(chosen.port, chosen.control_port, chosen.data.resolve(), samples=not chosen.no_samples))


if __name__ == "__main__":
    main()
