from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from api import create_app
from tests.unit.routes.fakes import FakeQueue, FakeServices, settings


@pytest.fixture
def services() -> FakeServices:
    return FakeServices()


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue()


@pytest.fixture
def app(services: FakeServices, queue: FakeQueue) -> Flask:
    return create_app(settings(), services, queue)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
