"""A small caller for the twin's tests: requests with a token, and an integration that answers what a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from sandbox.mattermost import MattermostTwin


class Caller:
    """Calls the API as the owner of a token."""

    def __init__(self, twin: MattermostTwin, token: str) -> None:
        self.base = f"{twin.url}/api/v4"
        self.headers = {"Authorization": f"Bearer {token}"}

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:
        return requests.request(method, self.base + path, json=body, headers=self.headers, timeout=15, **options)

    @property
    def id(self) -> str:
        return str(self("GET", "/users/me").json()["id"])

    def direct(self, other_id: str) -> str:
        return str(self("POST", "/channels/direct", [self.id, other_id]).json()["id"])


@dataclass
class Integration:
    """What was received, and what to answer."""

    url: str = ""
    status: int = 200
    answer: Any = field(default_factory=dict)
    content_type: str = "application/json"
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@contextmanager
def running_integration() -> Iterator[Integration]:
    told = Integration()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            told.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            text = told.answer if isinstance(told.answer, str) else json.dumps(told.answer)
            self.send_response(told.status)
            self.send_header("Content-Type", told.content_type)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
