"""The web process of tests: the real server and front, fake services, and four routes under /test/. Run as a program."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, request

from api import create_app
from routes import problems, request_ids, responses, server, system
from routes.front import Front
from routes.limits import BodyLimits
from routes.metrics import WebMetrics
from switchboard.logs import configure_logging
from switchboard.settings import Settings
from tests.unit.routes.fakes import FakeQueue, FakeServices

THREADS = 4
BODY_BYTES = 100_000
READ_S = 4.0
HELD_BYTES = 1_000_000
STREAM_CHUNK = b"x" * 65_536
STREAM_CHUNKS = 2_000


def create_front() -> Front:
    """Few threads and a short deadline, so that a test sees both."""
    settings = _settings()
    configure_logging(settings)
    app = create_app(settings, FakeServices(), FakeQueue())
    extra = _extra_routes()

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        chosen = extra if environ["PATH_INFO"].startswith("/test/") else app
        return chosen(environ, start_response)

    metrics: WebMetrics = app.extensions[system.METRICS_KEY]
    limits = BodyLimits(body_bytes=BODY_BYTES, read_s=READ_S, held_bytes=HELD_BYTES)
    return Front(application, limits=limits, threads=THREADS, observe=metrics.observe)


def _extra_routes() -> Flask:
    app = Flask("extra", static_folder=None)
    problems.register(app)
    responses.register(app)

    @app.post("/test/echo")
    def echo() -> dict[str, Any]:
        body = request.get_data()
        return {"length": len(body), "start": body[:20].decode(), "id": request_ids.current()}

    @app.get("/test/environ")
    def environ() -> dict[str, str]:
        return {name: value for name, value in request.environ.items() if isinstance(value, str)}

    @app.get("/test/slow")
    def slow() -> str:
        time.sleep(1.5)
        return "done"

    @app.get("/test/stream")
    def stream() -> Iterator[bytes]:
        return (STREAM_CHUNK for _ in range(STREAM_CHUNKS))

    return app


def _settings() -> Settings:
    return Settings(_env_file=None)  # type: ignore[call-arg]


if __name__ == "__main__":
    server.HEADER_READ_MS = 2_000
    configure_logging(_settings())
    server.serve(_settings(), "tests.integration.web_of_fakes:create_front")
