"""What every answer carries: the request id, and headers that keep browsers from guessing, framing, loading and storing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any

from flask import Flask, Response, json, render_template, request

from routes import request_ids
from routes.front import ROUTE_KEY

STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9em ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; background: #8881; border-radius: 0.4rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.6rem 0.3rem 0; border-bottom: 1px solid #8884; }
section { margin: 2.5rem 0; }
.method { font-weight: 700; }
.closed { font-size: 0.85em; opacity: 0.75; }
"""
STYLE_SOURCE = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_POLICY = (
    f"default-src 'none'; style-src 'sha256-{STYLE_SOURCE}'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


def register(app: Flask) -> None:
    """Give every answer of `app` its headers, and tell the front which route it was."""

    @app.before_request
    def note_route() -> None:
        if request.url_rule is not None:
            request.environ[ROUTE_KEY] = request.url_rule.rule

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers[request_ids.HEADER] = request_ids.current()
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response


def page(template: str, **context: object) -> Response:
    """A page of our own: no script, no asset from elsewhere, one inline style that its policy names by hash."""
    response = Response(render_template(template, style=STYLE, **context), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = PAGE_POLICY
    return response


def json_answer(content: Any, status: int = 200, *, location: str | None = None) -> Response:
    """`content` (dataclasses and times included; times as RFC 3339 in UTC) as JSON."""
    response = Response(json.dumps(_plain(content), ensure_ascii=False), status, content_type="application/json")
    if location is not None:
        response.headers["Location"] = location
    return response


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return [_plain(item) for item in value]
    return value
