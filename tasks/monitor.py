"""Starts Flower: `python -m tasks.monitor`.

By default on loopback, at FLOWER_PORT. Where it is an application of its own (`--routed`, or any host that sets DYNO) it
listens at HOST and PORT instead.

Flower guards its pages one by one and leaves `/metrics` and `/healthcheck` open. Here one gate in front asks for the
credentials at every address. Nothing is read from Flower's own environment variables, and no secret stands on a command line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from typing import Any

from flower.app import Flower
from flower.options import options
from flower.urls import settings as flower_settings
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest
from tornado.netutil import bind_sockets
from tornado.routing import Router
from tornado.web import Application, OutputTransform, RequestHandler

from switchboard.errors import ConfigError
from switchboard.logs import configure_logging, get_logger
from switchboard.settings import Settings, load_settings

MAX_WORKERS = 200
CONFIGURATION = "conf"  # Flower's name for the inspection that lists a worker's whole configuration

_log = get_logger(__name__)


class Gate(Router):
    """Passes requests with the right credentials (Basic, RFC 7617) on to `application`, and answers all others 401."""

    def __init__(self, application: Application, *, user: str, password: str) -> None:
        self._application = application
        self._closed = Application([(r".*", _Closed)])
        self._digest = _digest(f"{user}:{password}".encode())

    def find_handler(self, request: HTTPServerRequest, **_details: Any) -> HTTPMessageDelegate | None:
        """Called by tornado for every request, before anything of it is looked at."""
        application = self._application if self._accepts(request.headers.get("Authorization", "")) else self._closed
        return application.find_handler(request)

    def _accepts(self, authorization: str) -> bool:
        scheme, _, encoded = authorization.partition(" ")
        try:
            given = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return False
        return hmac.compare_digest(_digest(given), self._digest) and scheme.lower() == "basic"


class _Closed(RequestHandler):
    """Any method of any address: 401."""

    def prepare(self) -> None:
        self.set_status(401)
        self.set_header("WWW-Authenticate", 'Basic realm="Flower", charset="UTF-8"')
        self.set_header("X-Content-Type-Options", "nosniff")
        self.finish("Credentials are needed: FLOWER_USER and FLOWER_PASSWORD.")

    def check_xsrf_cookie(self) -> None:
        """Nothing happens here that a foreign page could cause."""


class _SafeHeaders(OutputTransform):
    """Headers for every page: no framing by others, no copies in caches, no addresses told to others."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        del finishing
        headers["X-Frame-Options"] = "DENY"
        headers["Content-Security-Policy"] = "frame-ancestors 'none'"
        headers["Referrer-Policy"] = "same-origin"
        headers["X-Content-Type-Options"] = "nosniff"
        if "Cache-Control" not in headers:
            headers["Cache-Control"] = "no-store"
        return status_code, headers, chunk


def serve(app: Any, settings: Settings, *, routed: bool) -> None:
    """Serve Flower over the Celery app until SIGTERM or SIGINT; ConfigError when it would be open or its settings are wrong."""
    user, password = _credentials(settings)
    options.basic_auth = [
        f"{user}:{password}"
    ]  # the gate guards; Flower opens its API only when it knows of credentials
    options.read_only = not settings.flower_writable
    options.max_tasks = settings.flower_max_tasks
    options.max_workers = MAX_WORKERS
    options.persistent = False
    options.debug = False
    options.cookie_secret = secrets.token_urlsafe(48)
    os.environ.pop("FLOWER_UNAUTHENTICATED_API", None)
    monitor = Flower(capp=app, options=options, **{**flower_settings, "cookie_secret": options.cookie_secret})
    monitor.add_transform(_SafeHeaders)
    inspected = tuple(method for method in monitor.inspector.inspect_methods if method != CONFIGURATION)
    monitor.inspector.inspect_methods = (
        inspected  # the configuration holds addresses with passwords, not all of them masked
    )

    address, port = (settings.host, settings.port) if routed else ("127.0.0.1", settings.flower_port)
    sockets = bind_sockets(port, address)
    server = HTTPServer(Gate(monitor, user=user, password=password))
    server.add_sockets(sockets)
    for number in (signal.SIGTERM, signal.SIGINT):
        monitor.io_loop.asyncio_loop.add_signal_handler(number, monitor.stop)
    _log.info("flower started", address=address, port=sockets[0].getsockname()[1], read_only=options.read_only)
    monitor.start()
    server.stop()


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 2 for wrong settings, each named on standard error."""
    try:
        settings = load_settings()
        configure_logging(settings)
        from tasks.app import app  # noqa: PLC0415  needs the settings that were just checked

        serve(app, settings, routed="--routed" in arguments or "DYNO" in os.environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _credentials(settings: Settings) -> tuple[str, str]:
    password = settings.flower_password.get_secret_value() if settings.flower_password else ""
    if not password:
        raise ConfigError("FLOWER_PASSWORD is not set: Flower shows every task and is not started open")
    if not (settings.flower_user + password).isascii() or ":" in settings.flower_user:
        raise ConfigError("FLOWER_USER and FLOWER_PASSWORD must be ASCII, and FLOWER_USER without a colon")
    return settings.flower_user, password


def _digest(credentials: bytes) -> bytes:
    return hashlib.sha256(credentials).digest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
