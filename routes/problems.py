"""Every error as an RFC 9457 problem document; the text says what to do and never shows an internal."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import TypedDict

import pydantic
from flask import Flask, Response
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from routes import request_ids
from switchboard.errors import (
    AuthError,
    ConflictError,
    InvalidInputError,
    InvalidInputsError,
    NotFoundError,
    SwitchboardError,
    TransientError,
)
from switchboard.logs import get_logger

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
LOST_TO_ANOTHER = ("40001", "40P01")
"""What PostgreSQL says to one of several writers that wait for one another: its change was undone, the others go on
(https://www.postgresql.org/docs/current/errcodes-appendix.html, class 40)."""
DETAILS = {
    400: "The request is not well formed.",
    404: "There is nothing at this address.",
    405: "This address does not know this method; the Allow header names those it knows.",
    413: "The body is larger than what is accepted here.",
    415: "Send the body as application/json.",
    500: "Something went wrong here; the log holds the cause under this request id.",
}

_log = get_logger(__name__)


class FieldProblem(TypedDict):
    """One wrong field: `field` is its path with dots ("days.0"), `detail` says what would be right."""

    field: str
    detail: str


def document(
    status: int, detail: str, *, instance: str, errors: Sequence[FieldProblem] = (), word: str | None = None
) -> bytes:
    """The document as JSON; `type` is about:blank, so `title` is the status's own phrase (RFC 9457 section 4.2.1).

    `word` says for programs what `detail` says for people, and is the member `problem`.
    """
    content: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors:
        content["errors"] = list(errors)
    if word is not None:
        content["problem"] = word
    return json.dumps(content, ensure_ascii=False).encode()


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[FieldProblem] = (),
    retry_after_s: float | None = None,
    challenge: str | None = None,
    word: str | None = None,
) -> Response:
    """The problem as an answer of the current request; `challenge` becomes WWW-Authenticate. `word`: see `document`."""
    content = document(status, detail, instance=request_ids.current(), errors=errors, word=word)
    response = Response(content, status, content_type=MEDIA_TYPE)
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))
    if challenge is not None:
        response.headers["WWW-Authenticate"] = challenge
    return response


def register(app: Flask) -> None:
    """Make every error of `app` a problem document."""
    app.register_error_handler(HTTPException, _from_http)
    app.register_error_handler(pydantic.ValidationError, _from_validation)
    app.register_error_handler(SwitchboardError, _from_ours)
    app.register_error_handler(OperationalError, _from_database)
    app.register_error_handler(Exception, _from_bug)


def _from_http(error: HTTPException) -> Response:
    status = error.code or 500
    response = problem(status, DETAILS.get(status, error.description or HTTPStatus(status).phrase))
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))
    return response


def _from_validation(error: pydantic.ValidationError) -> Response:
    """A body or query that does not fit its model; the values themselves are not repeated: they may be secrets."""
    errors: list[FieldProblem] = [
        {"field": ".".join(map(str, wrong["loc"])), "detail": wrong["msg"].removeprefix("Value error, ")}
        for wrong in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return problem(422, "The request has wrong fields; `errors` names each.", errors=errors)


def _from_ours(error: SwitchboardError) -> Response:
    match error:
        case InvalidInputsError():
            many = "several mistakes" if len(error.problems) > 1 else "a mistake"
            detail = f"The request has a field with {many}; `errors` names each."
            return problem(422, detail, errors=[{"field": error.field, "detail": one} for one in error.problems])
        case InvalidInputError():
            return problem(422, str(error), errors=[{"field": error.field, "detail": str(error)}])
        case NotFoundError():
            return problem(404, str(error))
        case ConflictError():
            return problem(409, str(error))
        case TransientError():
            _log.warning("request met a passing fault", error=str(error), kind=type(error).__name__)
            wait = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
            return problem(503, "A server this needs cannot be used just now; try again.", retry_after_s=wait)
        case AuthError():
            _log.warning("a remote refused our credentials", error=str(error))
            return problem(502, "A server this needs does not accept our credentials.")
        case _:
            return _from_bug(error)


def _from_database(error: OperationalError) -> Response:
    if getattr(error.orig, "sqlstate", None) not in LOST_TO_ANOTHER:
        return _from_bug(error)
    _log.warning("request lost to another writer", kind=type(error.orig).__name__)
    return problem(
        503, "Somebody changed the same just now and nothing was done; try again.", retry_after_s=RETRY_AFTER_S
    )


def _from_bug(error: Exception) -> Response:
    _log.error("request failed", exc_info=error)
    return problem(500, DETAILS[500])
