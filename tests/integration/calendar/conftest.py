"""CalDAV servers and a client for them; the calendar services over their tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.caldav.faulty import LOGIN, FaultyServer, running_faulty
from sandbox.mattermost import MattermostTwin
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.db.engine import Database
from tests.integration.calendar.household import Household
from tests.integration.calendar.status_room import Room


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    """The misbehaving twin, at first well-behaved and empty."""
    with running_faulty() as server:
        yield server


@pytest.fixture
def client(faulty: FaultyServer) -> Iterator[CaldavClient]:
    """Signed in at the twin, and more patient than a busy machine is slow."""
    with signed_in(faulty, timeout_s=10.0, deadline_s=40.0) as opened:
        yield opened


@pytest.fixture
def hurried(faulty: FaultyServer) -> Iterator[CaldavClient]:
    """Signed in at the twin; silences of half a second and calls of two are too long."""
    with signed_in(faulty, timeout_s=0.5, deadline_s=2.0) as opened:
        yield opened


def signed_in(server: FaultyServer, *, timeout_s: float, deadline_s: float) -> CaldavClient:
    guard = AddressGuard([f"127.0.0.1:{server.port}"])
    return CaldavClient(server.url, LOGIN, server.password, guard=guard, timeout_s=timeout_s, deadline_s=deadline_s)


@pytest.fixture
def household(database: Database) -> Household:
    """The calendar services over an empty database, at NOW."""
    return Household(database)


@pytest.fixture
def room(household: Household) -> Iterator[Room]:
    """A person who wants a status, and a bot that may set it."""
    with MattermostTwin.running(clock=lambda: household.clock().timestamp()) as twin:
        twin.grant_rights()
        yield Room(household, twin)
