"""The system itself: alive, ready, measured, documented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from flask import Blueprint, Response, current_app

from routes import metrics as metrics_module
from routes.authentication import PUBLIC_ENDPOINTS
from routes.documentation import Answer, assemble, describes, description_of
from routes.metrics import WebMetrics
from routes.responses import json_answer, page
from routes.services import services
from switchboard import __version__
from switchboard.services.health import Finding

METRICS_KEY = "switchboard.metrics"
PUBLIC_URL_KEY = "PUBLIC_URL"

blueprint = Blueprint("system", __name__, template_folder="templates")


@dataclass(frozen=True, slots=True)
class Alive:
    """This process answers; nothing else was asked."""

    status: Literal["alive"]


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether everything needed is well, and each dependency on its own."""

    status: Literal["ready", "not ready"]
    checks: list[Finding]


@blueprint.get("/")
@describes("A page that links the others", answers={200: Answer("The page.", media_type="text/html")})
def home() -> Response:
    """The first page."""
    return page("home.html")


@blueprint.get("/healthz")
@describes("Whether this process is alive; asks no dependency", answers={200: Answer("It is.", Alive)})
def healthz() -> Response:
    """Alive."""
    return json_answer(Alive(status="alive"))


@blueprint.get("/readyz")
@describes(
    "Whether every dependency can be used, each by name with its time and reason; answers within about two seconds",
    answers={200: Answer("Everything needed is well.", Readiness), 503: Answer("Something needed is not.", Readiness)},
)
def readyz() -> Response:
    """Ready."""
    report = services().health.report()
    readiness = Readiness(status="ready" if report.ready else "not ready", checks=list(report.findings))
    return json_answer(readiness, 200 if report.ready else 503)


@blueprint.get("/metrics")
@describes(
    "Metrics for Prometheus; open to this machine itself, with the administration token to others",
    answers={200: Answer("The text format.", media_type="text/plain")},
)
def metrics() -> Response:
    """Metrics."""
    web_metrics = cast("WebMetrics", current_app.extensions[METRICS_KEY])
    exposition = web_metrics.exposition(services().operations.facts(services().now()))
    return Response(exposition, content_type=metrics_module.MEDIA_TYPE)


@blueprint.get("/openapi.json")
@describes("This document", answers={200: Answer("An OpenAPI 3.1 document.", dict[str, Any])})
def openapi() -> Response:
    """The OpenAPI document."""
    return json_answer(assemble(current_app, version=__version__, server_url=current_app.config[PUBLIC_URL_KEY]))


@blueprint.get("/docs")
@describes("The same as a readable page", answers={200: Answer("The page.", media_type="text/html")})
def docs() -> Response:
    """The routes as a page."""
    rules = sorted(current_app.url_map.iter_rules(), key=lambda rule: rule.rule)
    entries = [
        {
            "methods": ", ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})),
            "path": rule.rule,
            "closed": rule.endpoint not in PUBLIC_ENDPOINTS,
            "description": description,
            "query": description.query.model_fields if description.query else {},
        }
        for rule in rules
        if (description := description_of(current_app, rule)) is not None
    ]
    return page("docs.html", entries=entries, version=__version__)
