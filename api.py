"""The web application: mounts the blueprints of `routes/` behind their guards."""

from __future__ import annotations

from flask import Flask

from routes import (
    admin,
    authentication,
    documents,
    files,
    inputs,
    mailings,
    mattermost,
    organisations,
    problems,
    responses,
    senders,
    system,
    telegram,
)
from routes.front import Front
from routes.limits import BodyLimits
from routes.metrics import WebMetrics
from routes.services import KEY, Queue, Services
from switchboard.logs import configure_logging
from switchboard.settings import Settings, load_settings

HELD_BODIES = 64  # bodies of the largest size that may be held at once while they are read


def create_app(settings: Settings | None = None, services: Services | None = None, queue: Queue | None = None) -> Flask:
    """The Flask application; what is not given is built from the environment."""
    settings = settings or load_settings()
    if services is None:
        from switchboard import wiring  # noqa: PLC0415  tests pass fakes and need no database

        services = wiring.services()
    if queue is None:
        from tasks.queueing import queue_by_name as queue  # noqa: PLC0415  likewise no broker

    app = Flask("switchboard", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config[system.PUBLIC_URL_KEY] = settings.public_url
    app.extensions[KEY] = (services, queue)
    app.extensions[system.METRICS_KEY] = WebMetrics()
    inputs.register(app)
    problems.register(app)
    responses.register(app)
    for module in (system, files, admin, mattermost, telegram, documents, organisations, mailings):
        app.register_blueprint(module.blueprint)
    app.register_blueprint(organisations.recipients)

    tokens = (settings.admin_token.get_secret_value(),) if settings.admin_token else ()
    administrator = authentication.TokenGuard(lambda: tokens, setting="ADMIN_TOKEN")
    guards: dict[str, authentication.Guard] = {
        "admin": administrator,
        "telegram": administrator,
        "organisations": administrator,
        "mailings": administrator,
        "recipients": senders.administrator_or_sender(administrator),
        "documents": senders.sender_guard,
        "system.metrics": authentication.loopback_or(administrator),
        "mattermost.command": mattermost.command_guard,
        "mattermost.action": mattermost.ticket_guard,
        "mattermost.dialog": mattermost.ticket_guard,
    }
    authentication.install(app, guards)
    return app


def create_front() -> Front:
    """What the server runs: the application behind the front that bounds bodies, time and threads."""
    settings = load_settings()
    configure_logging(settings)
    app = create_app(settings)
    metrics: WebMetrics = app.extensions[system.METRICS_KEY]
    limits = BodyLimits(
        body_bytes=settings.max_body_bytes,
        read_s=settings.body_read_seconds,
        held_bytes=settings.max_body_bytes * HELD_BODIES,
    )
    return Front(app, limits=limits, threads=settings.web_threads, observe=metrics.observe)
