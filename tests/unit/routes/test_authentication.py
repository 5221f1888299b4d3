from __future__ import annotations

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from api import create_app
from routes import problems
from routes.authentication import PUBLIC_ENDPOINTS, TokenGuard, install, matches
from switchboard.errors import ConfigError
from tests.unit.routes.fakes import ADMIN, ADMIN_TOKEN, OUTSIDE, FakeQueue, FakeServices, settings

PUBLIC = {"system.home", "system.healthz", "system.readyz", "system.openapi", "system.docs", "files.download"}


def _addresses(app: Flask) -> list[tuple[str, str, str]]:
    """(endpoint, method, address) of every route, with a value in the place of every parameter."""
    found = []
    with app.test_request_context():
        adapter = app.url_map.bind("localhost")
        for rule in app.url_map.iter_rules():
            values = dict.fromkeys(rule.arguments, 7)
            found += [
                (rule.endpoint, method, adapter.build(rule.endpoint, values, method=method))
                for method in sorted(rule.methods or ())
            ]
    return found


def test_the_public_routes_are_the_ones_written_here() -> None:
    assert PUBLIC_ENDPOINTS == PUBLIC


def test_every_route_is_public_by_name_or_refuses_a_caller_without_a_token(app: Flask) -> None:
    client = app.test_client()
    open_to_all = set()
    for endpoint, method, address in _addresses(app):
        answer = client.open(address, method=method, environ_overrides=OUTSIDE)
        if answer.status_code != 401:
            open_to_all.add(endpoint)
    assert open_to_all == PUBLIC


@pytest.mark.parametrize(
    "authorization", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic " + ADMIN_TOKEN, ADMIN_TOKEN]
)
def test_a_wrong_or_missing_token_is_401_with_a_challenge(client: FlaskClient, authorization: str) -> None:
    answer = client.get("/admin/deliveries", headers={"Authorization": authorization})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.content_type == "application/problem+json"


def test_the_scheme_of_the_authorization_header_is_case_insensitive(client: FlaskClient) -> None:
    assert client.get("/admin/deliveries", headers={"Authorization": f"bearer {ADMIN_TOKEN}"}).status_code == 200


def test_without_admin_token_the_administration_is_503_and_says_what_to_set() -> None:
    client = create_app(settings(admin_token=None), FakeServices(), FakeQueue()).test_client()
    answer = client.get("/admin/deliveries", headers=ADMIN)
    assert answer.status_code == 503
    assert "ADMIN_TOKEN is not set" in answer.get_json()["detail"]


def test_one_of_several_accepted_tokens_is_enough_and_none_is_not() -> None:
    assert matches("second", ["first", "second"])
    assert not matches("third", ["first", "second"])
    assert not matches("", ["first"])
    assert not matches("first", [])


def test_a_token_that_is_no_text_is_refused_and_does_not_raise() -> None:
    assert not matches("\udcff\udcfe", ["first"])


def test_a_webhook_guard_reads_its_own_header_and_accepts_each_of_its_tokens() -> None:
    app = Flask("test", static_folder=None)
    problems.register(app)
    app.add_url_rule("/hook", "hook.receive", lambda: "ok", methods=["POST"])
    guard = TokenGuard(lambda: ("one", "two"), setting="HOOK_TOKEN", read=lambda: request.headers.get("Token"))
    install(app, {"hook": guard})
    client = app.test_client()
    assert client.post("/hook", headers={"Token": "two"}).status_code == 200
    assert client.post("/hook", headers={"Token": "three"}).status_code == 401
    assert client.post("/hook").status_code == 401


def test_a_route_without_a_guard_stops_the_start() -> None:
    app = Flask("test", static_folder=None)
    app.add_url_rule("/open", "somewhere.open", lambda: "ok")
    with pytest.raises(ConfigError, match=r"somewhere\.open"):
        install(app, {"admin": lambda: None})


def test_metrics_are_open_on_loopback(client: FlaskClient) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", environ_overrides={"REMOTE_ADDR": "::1"}).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-Ip"])
def test_metrics_are_closed_to_what_a_proxy_on_this_machine_passes_on(client: FlaskClient, header: str) -> None:
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 401


def test_metrics_are_open_to_others_with_the_administration_token(client: FlaskClient) -> None:
    assert client.get("/metrics", environ_overrides=OUTSIDE).status_code == 401
    assert client.get("/metrics", environ_overrides=OUTSIDE, headers=ADMIN).status_code == 200
