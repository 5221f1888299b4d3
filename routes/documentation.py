"""The OpenAPI 3.1 document, assembled from the URL map and what each view says of itself.

A view describes itself with `describes`; models are pydantic models or dataclasses. Nothing is written twice: paths, methods
and guards come from the application.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Literal, TypeVar

from flask import Flask
from pydantic import BaseModel, ConfigDict, TypeAdapter
from werkzeug.routing import Rule

from routes import problems
from routes.authentication import PUBLIC_ENDPOINTS
from switchboard.db.types import MOST_ID

OPENAPI_VERSION = "3.1.1"
ATTRIBUTE = "switchboard_description"
REFERENCES = "#/components/schemas/{model}"
PARAMETER = re.compile(r"<(?:(?P<converter>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
PARAMETER_TYPES = {"int": {"type": "integer", "minimum": 0, "maximum": MOST_ID}}

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Answer:
    """A success: what it means, the type of its JSON content or its media type, and the headers it is known by."""

    text: str
    content: Any = None
    media_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Description:
    """What a view says of itself; `errors` are the statuses of its problem documents, beside those every route can give.

    `body_required` False: it may come without a body.
    """

    summary: str
    answers: Mapping[int, Answer]
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    body_required: bool = True


def describes(
    summary: str,
    *,
    answers: Mapping[int, Answer],
    query: type[BaseModel] | None = None,
    body: type[BaseModel] | None = None,
    headers: Mapping[str, str] | None = None,
    errors: tuple[int, ...] = (),
    body_required: bool = True,
) -> Callable[[View], View]:
    """Attach a description to a view; put it under the route decorator.

    `body` is the model of its JSON body, with an `example`; `headers` are those of the request that it reads, by name.
    """

    def attach(view: View) -> View:
        description = Description(summary, answers, query, body, headers or {}, errors, body_required)
        setattr(view, ATTRIBUTE, description)
        return view

    return attach


def example(**fields: Any) -> ConfigDict:
    """The configuration of a body's model that shows these fields as an example."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def assemble(app: Flask, *, version: str, server_url: str = "") -> dict[str, Any]:
    """The document of every described route of `app`."""
    schemas: dict[str, Any] = {"Problem": _problem_schema()}
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        description = description_of(app, rule)
        if description is None:
            continue
        path = paths.setdefault(PARAMETER.sub(r"{\g<name>}", rule.rule), {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path[method.lower()] = _operation(rule, method, description, schemas)
    document: dict[str, Any] = {
        "openapi": OPENAPI_VERSION,
        "info": {"title": "Switchboard", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    if server_url:
        document["servers"] = [{"url": server_url}]
    return document


def description_of(app: Flask, rule: Rule) -> Description | None:
    """What the view of a rule says of itself."""
    description = getattr(app.view_functions[rule.endpoint], ATTRIBUTE, None)
    return description if isinstance(description, Description) else None


def _operation(rule: Rule, method: str, description: Description, schemas: dict[str, Any]) -> dict[str, Any]:
    closed = rule.endpoint not in PUBLIC_ENDPOINTS
    takes_input = description.query is not None or description.body is not None
    statuses = {*description.errors, *((401, 503) if closed else ()), *((422,) if takes_input else ()), 500}
    responses = {str(status): _answer(answer, schemas) for status, answer in description.answers.items()}
    for status in sorted(statuses):
        responses.setdefault(str(status), _problem_response(status))
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}",
        "summary": description.summary,
        "tags": [rule.endpoint.partition(".")[0]],
        "responses": responses,
    }
    parameters = [
        *_path_parameters(rule),
        *_query_parameters(description.query, schemas),
        *_header_parameters(description.headers),
    ]
    if parameters:
        operation["parameters"] = parameters
    if description.body is not None:
        schema = _schema(description.body, schemas, mode="validation")
        operation["requestBody"] = {
            "required": description.body_required,
            "content": {"application/json": {"schema": schema}},
        }
    if closed:
        operation["security"] = [{"token": []}]
    return operation


def _path_parameters(rule: Rule) -> list[dict[str, Any]]:
    return [
        {
            "name": found["name"],
            "in": "path",
            "required": True,
            "schema": PARAMETER_TYPES.get(found["converter"] or "", {"type": "string"}),
        }
        for found in PARAMETER.finditer(rule.rule)
    ]


def _header_parameters(headers: Mapping[str, str]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    return [{"name": name, "in": "header", "description": about, "schema": text} for name, about in headers.items()]


def _query_parameters(model: type[BaseModel] | None, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema(ref_template=REFERENCES)
    schemas.update(schema.pop("$defs", {}))
    parameters = []
    for name, parameter in schema["properties"].items():
        text = parameter.pop("description", "")
        parameter.pop("title", None)
        parameters.append(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "description": text,
                "schema": parameter,
            }
        )
    return parameters


def _answer(answer: Answer, schemas: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"description": answer.text}
    if answer.content is not None:
        described["content"] = {answer.media_type: {"schema": _schema(answer.content, schemas)}}
    elif answer.media_type != "application/json":
        described["content"] = {answer.media_type: {"schema": {"type": "string"}}}
    if answer.headers:
        described["headers"] = {
            name: {"description": text, "schema": {"type": "string"}} for name, text in answer.headers.items()
        }
    return described


def _schema(
    content: Any, schemas: dict[str, Any], *, mode: Literal["serialization", "validation"] = "serialization"
) -> dict[str, Any]:
    """The schema of a type; its parts move to the components, where all types share them."""
    schema = TypeAdapter(content).json_schema(mode=mode, ref_template=REFERENCES)
    schemas.update(schema.pop("$defs", {}))
    name = schema.get("title")
    if schema.get("type") != "object" or name is None:
        return schema
    schemas[name] = schema
    return {"$ref": REFERENCES.format(model=name)}


def _problem_response(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": problems.DETAILS.get(status, HTTPStatus(status).phrase),
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REFERENCES.format(model="Problem")}}},
    }
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        text = "Seconds to wait, where waiting helps."
        response["headers"] = {"Retry-After": {"description": text, "schema": {"type": "string"}}}
    return response


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": "RFC 9457 problem document.",
        "required": ["type", "title", "status", "detail", "instance"],
        "properties": {
            "type": text,
            "title": text,
            "status": {"type": "integer"},
            "detail": {**text, "description": "What went wrong, and what to do."},
            "instance": {**text, "description": "The request id, as in X-Request-Id and in the log."},
            "problem": {**text, "description": "Of a refused step of a sign-in: the word that `sign_in.problem` has."},
            "errors": {
                "type": "array",
                "description": "One entry for each wrong field.",
                "items": {
                    "type": "object",
                    "required": ["field", "detail"],
                    "properties": {"field": text, "detail": text},
                },
            },
        },
    }
