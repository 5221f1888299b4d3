from __future__ import annotations

import re

import openapi_spec_validator
from flask import Flask
from flask.testing import FlaskClient

from routes.authentication import PUBLIC_ENDPOINTS
from routes.documentation import description_of


def test_the_document_is_valid_openapi_3_1(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1.")
    openapi_spec_validator.validate(document)


def test_every_route_describes_itself_and_stands_in_the_document_and_on_the_page(
    app: Flask, client: FlaskClient
) -> None:
    document = client.get("/openapi.json").get_json()
    page = client.get("/docs").text
    for rule in app.url_map.iter_rules():
        assert description_of(app, rule) is not None, rule.endpoint
        operations = document["paths"][re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)]
        same = [each for each in app.url_map.iter_rules() if each.rule == rule.rule]
        methods = {method.lower() for each in same for method in (each.methods or set()) - {"HEAD", "OPTIONS"}}
        assert methods == set(operations)
        assert rule.rule.replace("<", "&lt;").replace(">", "&gt;") in page


def test_the_document_says_which_routes_need_the_token(app: Flask, client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    for rule in app.url_map.iter_rules():
        for operation in document["paths"][re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)].values():
            assert ("security" in operation) == (rule.endpoint not in PUBLIC_ENDPOINTS)
            assert ("401" in operation["responses"]) == (rule.endpoint not in PUBLIC_ENDPOINTS)


def test_operation_ids_are_unique(client: FlaskClient) -> None:
    paths = client.get("/openapi.json").get_json()["paths"]
    ids = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(ids) == len(set(ids))
