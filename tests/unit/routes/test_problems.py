from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from psycopg import errors as postgresql
from sqlalchemy.exc import OperationalError

from routes import problems, responses
from switchboard import errors
from tests.unit.routes.fakes import ADMIN, FakeOperations, FakeQueue, FakeServices

SECRET = "postgresql://switchboard:hunter2@db.internal/x"


def _echo() -> Any:
    return request.get_json()


def _app(fault: Exception) -> Flask:
    app = Flask("test", static_folder=None)
    problems.register(app)
    responses.register(app)

    def view() -> str:
        raise fault

    app.add_url_rule("/x", "x", view)
    return app


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (errors.InvalidInputError("a day is 1 to 7", field="days.0"), 422),
        (errors.NotFoundError("there is no account 9"), 404),
        (errors.ConflictError("it exists"), 409),
        (errors.RemoteUnavailableError(SECRET), 503),
        (errors.LockBusyError(SECRET, retry_after_s=12.2), 503),
        (errors.AuthError(SECRET), 502),
        (errors.ConfigError(SECRET), 500),
        (errors.UncertainError(SECRET), 500),
        (errors.RemoteRejectedError(SECRET, status=400), 500),
        (OperationalError("UPDATE x", {}, postgresql.DeadlockDetected(SECRET)), 503),
        (OperationalError("UPDATE x", {}, postgresql.SerializationFailure(SECRET)), 503),
        (OperationalError("UPDATE x", {}, postgresql.DiskFull(SECRET)), 500),
        (OperationalError("UPDATE x", {}, RuntimeError(SECRET)), 500),
        (RuntimeError(SECRET), 500),
        (KeyError(SECRET), 500),
    ],
)
def test_every_error_is_a_problem_document_without_internals(fault: Exception, status: int) -> None:
    answer = _app(fault).test_client().get("/x", headers={"X-Request-Id": "request-0001"})
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.get_json() is not None
    assert set(answer.get_json()) >= {"type", "title", "status", "detail", "instance"}
    assert answer.get_json()["status"] == status
    assert answer.get_json()["instance"] == "request-0001" == answer.headers["X-Request-Id"]
    assert "hunter2" not in answer.text


def test_bad_input_names_its_field() -> None:
    answer = _app(errors.InvalidInputError("a day is 1 to 7", field="days.0")).test_client().get("/x")
    assert answer.get_json()["errors"] == [{"field": "days.0", "detail": "a day is 1 to 7"}]


def test_a_passing_fault_says_when_to_try_again() -> None:
    assert _app(errors.LockBusyError("x", retry_after_s=12.2)).test_client().get("/x").headers["Retry-After"] == "13"
    assert _app(errors.RemoteUnavailableError("x")).test_client().get("/x").headers["Retry-After"] == "5"
    lost = OperationalError("UPDATE x", {}, postgresql.DeadlockDetected("x"))
    assert _app(lost).test_client().get("/x").headers["Retry-After"] == "5"


def test_a_bug_is_a_problem_document_in_debug_and_testing_too() -> None:
    app = _app(RuntimeError(SECRET))
    app.testing = app.debug = True
    assert app.test_client().get("/x").status_code == 500


def test_an_unknown_address_is_404(client: FlaskClient) -> None:
    answer = client.get("/nothing/here")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_a_wrong_method_is_405_with_allow(client: FlaskClient) -> None:
    answer = client.delete("/healthz")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_head_has_the_headers_of_get_and_no_body(client: FlaskClient) -> None:
    answer = client.head("/healthz")
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == client.get("/healthz").headers["Content-Length"]


def test_options_names_the_methods(client: FlaskClient) -> None:
    answer = client.options("/healthz")
    assert answer.status_code == 200
    assert "GET" in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [("text/plain", "{}", 415), ("application/json", "{", 400), ("application/json", "x" * 200, 413)],
)
def test_bodies_that_cannot_be_read_are_problems(content_type: str, body: str, status: int) -> None:
    app = _app(RuntimeError())
    app.config["MAX_CONTENT_LENGTH"] = 100
    app.add_url_rule("/json", "json", _echo, methods=["POST"])
    answer = app.test_client().post("/json", data=body, content_type=content_type)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")


def test_wrong_query_fields_are_named_and_their_values_not_repeated(client: FlaskClient) -> None:
    answer = client.get("/admin/deliveries?limit=hunter2&state=GONE&colour=red", headers=ADMIN)
    assert answer.status_code == 422
    assert {problem["field"] for problem in answer.get_json()["errors"]} == {"limit", "state", "colour"}
    assert "hunter2" not in answer.text


def test_a_broker_that_is_away_is_503(client: FlaskClient, queue: FakeQueue) -> None:
    queue.fault = errors.RemoteUnavailableError("redis://:hunter2@redis")
    answer = client.post("/admin/calendar/accounts/7/poll", headers=ADMIN)
    assert answer.status_code == 503
    assert "hunter2" not in answer.text


def test_a_fault_in_a_service_is_500_with_the_request_id(client: FlaskClient, services: FakeServices) -> None:
    services.operations = FakeOperations(fault=RuntimeError(SECRET))
    answer = client.get("/admin/calendar/accounts", headers=ADMIN)
    assert answer.status_code == 500
    assert answer.get_json()["instance"] == answer.headers["X-Request-Id"]
