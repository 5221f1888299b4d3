"""Deployments that tests kill: on PostgreSQL and Radicale, and on every database and calendar server in the full matrix."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandbox.mattermost.twin import MattermostTwin
from sandbox.ports import free_port
from tests.e2e.calendar_servers import CalendarServer, FaultyCalendars, RadicaleCalendars, XandikosCalendars
from tests.e2e.deployment import Deployment, ShiftedClock
from tests.servers import PostgresServer, running_valkey

CALENDARS: dict[str, Callable[[Path], CalendarServer]] = {
    "radicale": RadicaleCalendars,
    "xandikos": XandikosCalendars,
    "faulty": FaultyCalendars,
}
COMBINATIONS = [
    pytest.param(("postgresql", "radicale"), id="postgresql-radicale"),
    pytest.param(("postgresql", "xandikos"), id="postgresql-xandikos", marks=pytest.mark.full),
    pytest.param(("sqlite", "radicale"), id="sqlite-radicale", marks=pytest.mark.full),
    pytest.param(("sqlite", "xandikos"), id="sqlite-xandikos", marks=pytest.mark.full),
]


@pytest.fixture(scope="module", params=COMBINATIONS)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """One deployment for all tests of a module; each has people of its own."""
    database, calendars = request.param
    folder = tmp_path_factory.mktemp("deployment")
    with ExitStack() as stack:
        if database == "sqlite":
            template: Path = request.getfixturevalue("migrated_sqlite")
            url = f"sqlite:///{shutil.copyfile(template, folder / 'switchboard.sqlite3')}"
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            url = stack.enter_context(server.database())
        valkey = stack.enter_context(running_valkey(folder / "valkey"))
        twin = stack.enter_context(MattermostTwin.running(port=free_port(), clock=ShiftedClock()))
        calendar_server = CALENDARS[calendars](folder / "calendars")
        stack.callback(calendar_server.stop)
        deployment = Deployment(folder, url, valkey, calendar_server, twin)
        stack.callback(deployment.close)
        yield deployment


@pytest.fixture
def deployment(running: Deployment) -> Iterator[Deployment]:
    """The deployment with one idle worker and one for expansions, no faults, an empty broker."""
    running.the_worker()
    running.expander()
    yield running
    running.twin.faults.clear()
    running.valkey.flush()
