"""Connecting and polling against real CalDAV servers: Radicale (with sign-in) and Xandikos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update

from sandbox.caldav import running_radicale
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient, SyncTokenExpiredError
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarObject
from switchboard.errors import AuthError
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome
from tests.integration.calendar.household import OnePerson
from tests.integration.calendar.real_servers import NAMES, RealServer, running_real_server

SEEDED = 120
NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


@pytest.fixture(params=NAMES)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealServer]:
    with running_real_server(request.param, tmp_path, SEEDED) as server:
        yield server


class NobodyTold:
    def __getattr__(self, name: str) -> Callable[..., None]:
        raise AssertionError(f"{name}: nothing failed, and somebody was told")


def test_an_account_is_connected_polled_and_follows_every_change(database: Database, real: RealServer) -> None:
    box = SecretBox(["k" * 32])
    guard = AddressGuard([f"127.0.0.1:{real.port}"])
    accounts = CalendarAccounts(
        database, real.open, box, OnePerson(Person("u-anna", "anna", "anna@example.org", "en")), guard, lambda: NOW
    )
    polling = CalendarPolling(database, real.open, box, NobodyTold(), lambda: NOW, poll_period_s=120)
    connected = accounts.connect(
        ConnectRequest(real.url, real.login, real.password, "anna", "Europe/Berlin", calendars=(real.calendar,)),
        actor="test",
    )
    assert polling.claim_due() == [connected.account_id]

    def poll() -> tuple[PollOutcome, int, int]:
        result = polling.poll(connected.account_id)
        return result.outcome, result.changed, result.removed

    assert poll() == (PollOutcome.POLLED, SEEDED, 0)
    assert poll() == (PollOutcome.POLLED, 0, 0)
    meeting = real.desk.add("anna", "Review", NOW, calendar="big", now=NOW)
    assert poll() == (PollOutcome.POLLED, 1, 0)
    real.desk.move("anna", meeting.uid, NOW.replace(hour=9), calendar="big")
    assert poll() == (PollOutcome.POLLED, 1, 0)
    real.desk.delete("anna", meeting.uid, calendar="big")
    assert poll() == (PollOutcome.POLLED, 0, 1)

    with database.write() as session:  # as after a long absence: the server no longer knows the token
        session.execute(
            update(Calendar).where(Calendar.watched).values(sync_token="http://radicale.org/ns/sync/" + "0" * 64)
        )
        session.execute(update(CalendarObject).where(CalendarObject.href.like("%seed-7.ics")).values(etag="old"))
    assert poll() == (PollOutcome.POLLED, 0, 0)

    with database.write() as session:  # a day later the ETags of all are compared
        session.execute(update(Calendar).values(reconciled_at=None))
        session.execute(
            update(CalendarObject).where(CalendarObject.href.like("%seed-7.ics")).values(etag="", raw=b"other\n")
        )
    assert poll() == (PollOutcome.POLLED, 1, 0)
    with database.read() as session:
        assert len(session.scalars(select(CalendarObject.id)).all()) == SEEDED
        account = session.get_one(CalendarAccount, connected.account_id)
    assert (account.failures, account.last_error, account.claimed_until) == (0, None, None)


def test_a_token_the_server_never_gave_is_expired(real: RealServer) -> None:
    with real.open(real.url, real.login, real.password) as client:
        [big] = [calendar for calendar in client.discover().calendars if calendar.url.endswith("/big/")]
        with pytest.raises(SyncTokenExpiredError):
            client.changes(big.url, "http://radicale.org/ns/sync/" + "0" * 64)
        assert client.etags(big.url) == client.changes(big.url, None).changed


def test_radicale_refuses_a_wrong_password(tmp_path: Path) -> None:
    with (
        running_radicale(tmp_path) as server,
        CaldavClient(server.url, "anna", "x", guard=AddressGuard([f"127.0.0.1:{server.port}"])) as client,
        pytest.raises(AuthError),
    ):
        client.discover()
