from __future__ import annotations

import base64
import hashlib
import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from switchboard.services.health import Finding, HealthReport
from tests.unit.routes.fakes import FakeQueue, FakeServices, settings


def test_alive_needs_no_dependency(client: FlaskClient, services: FakeServices) -> None:
    services.health = None  # type: ignore[assignment]
    answer = client.get("/healthz")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "alive"})


def test_ready_names_each_dependency_with_time_and_reason(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.get_json()["checks"] == [
        {"name": "database", "ok": True, "needed": True, "ms": 1.0, "reason": "sqlite"}
    ]


@pytest.mark.parametrize(("needed", "status"), [(True, 503), (False, 200)])
def test_only_a_needed_dependency_makes_it_unready(
    client: FlaskClient, services: FakeServices, needed: bool, status: int
) -> None:
    services.health.given = HealthReport((Finding("redis", False, needed, 2000.0, "no answer in time"),))
    answer = client.get("/readyz")
    assert answer.status_code == status
    assert answer.get_json()["status"] == ("not ready" if needed else "ready")


def test_metrics_show_the_shared_facts(client: FlaskClient) -> None:
    text = client.get("/metrics").text
    assert 'switchboard_deliveries_open{channel="mattermost",state="PENDING"} 3.0' in text
    assert 'switchboard_deliveries_oldest_open_seconds{channel="mattermost"} 12.5' in text
    assert 'switchboard_calendar_accounts{state="active"} 2.0' in text
    assert 'switchboard_telegram_accounts{state="online"} 3.0' in text
    assert 'switchboard_heartbeat_age_seconds{name="beat"} 4.0' in text
    assert 'switchboard_queue_length{queue="calendar"} 9.0' in text
    assert 'switchboard_facts_available{source="redis"} 1.0' in text


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere_and_their_policy_allows_their_own_style_alone(
    client: FlaskClient, path: str
) -> None:
    answer = client.get(path)
    assert answer.content_type == "text/html; charset=utf-8"
    assert not re.search(r"(?:src|href)=\"(?!/)|@import|url\(|<script", answer.text)
    style = re.search(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["Content-Security-Policy"]


def test_the_first_page_links_the_others(client: FlaskClient) -> None:
    linked = set(re.findall(r'href="([^"]+)"', client.get("/").text))
    assert linked == {"/docs", "/openapi.json", "/readyz", "/healthz", "/metrics"}
    assert all(client.get(path).status_code == 200 for path in linked)


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing", "/admin/audit"])
def test_every_answer_carries_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_sane_request_id_comes_back_and_any_other_is_replaced(client: FlaskClient) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "abc-123.DEF:4"}).headers["X-Request-Id"] == "abc-123.DEF:4"
    for odd in ("short", "with space in it", "x" * 129, '"quoted-12345"', "<script>alert(1)"):
        given = client.get("/healthz", headers={"X-Request-Id": odd}).headers["X-Request-Id"]
        assert re.fullmatch(r"[0-9a-f]{32}", given)


def test_two_applications_live_in_one_process(app: Flask) -> None:

    other = create_app(settings(), FakeServices(), FakeQueue())
    assert other.test_client().get("/metrics").status_code == app.test_client().get("/metrics").status_code == 200
