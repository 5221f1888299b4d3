"""A loopback Telegram, the services over a database, and gateways in threads of the test."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from telethon.crypto import rsa

from sandbox.telegram.handshake import ServerKey
from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin, running_telegram
from switchboard.clients.telegram.connection import Connection
from switchboard.clients.telegram.data_centre import DataCentre
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.domain.telegram.sessions import Application
from switchboard.services.telegram.accounts import AccountView, TelegramAccounts
from switchboard.services.telegram.environment import Environment, EnvironmentAccounts
from switchboard.services.telegram.hosting import Host
from switchboard.services.telegram.records import Records
from switchboard.services.telegram.session import Inbox, Opener, Outbox
from switchboard.services.telegram.shards import Leases, LeaseTimes
from switchboard.services.telegram.sign_in import SignIns

APPLICATION = Application(API_ID, API_HASH)
TIMES = LeaseTimes(lease_s=6.0, renew_s=0.4, margin_s=2.0)
WAIT_S = 40.0
BOX = SecretBox(["k" * 32])
KEY = ServerKey.make()  # one for all twins of a run: making one takes a while


def utc_now() -> datetime:
    return datetime.now(UTC)


class Office:
    """One deployment: a database, its operators' services, and its gateways."""

    def __init__(self, database: Database, twin: TelegramTwin, folder: Path) -> None:
        self.database = database
        self.twin = twin
        self.import_dir = folder / "telegram-import"
        self.accounts = TelegramAccounts(database, BOX, utc_now, application=APPLICATION, import_dir=self.import_dir)
        self.sign_ins = SignIns(database, BOX, utc_now, self.accounts)
        self.records = Records(database, BOX, utc_now)
        self.hosts: list[Host] = []
        self._names = itertools.count(1)

    def gateway(
        self,
        *,
        times: LeaseTimes = TIMES,
        inbox: Inbox | None = None,
        outbox: Outbox | None = None,
        on_shards: Callable[[frozenset[int]], None] | None = None,
        database: Database | None = None,
        opener: Opener | None = None,
    ) -> Host:
        """A started host; stopped at the end of the test."""
        database = database or self.database
        leases = Leases(database, utc_now, owner=f"gateway-{next(self._names)}", host="test", times=times)
        host = Host(
            leases,
            Records(database, BOX, utc_now),
            opener or self.open_connection,
            inbox=inbox,
            outbox=outbox,
            look_s=0.2,
        )
        self.hosts.append(host)
        host.start(on_shards)
        return host

    def open_connection(self, application: Application, session: str, signing_in: bool) -> Connection:
        return Connection(application, session, DataCentre("127.0.0.1", self.twin.port), signing_in=signing_in)

    def environment(self, *, session: str | None = None, bot_token: str | None = None) -> Environment:
        """What the variables say from now on; not applied yet."""
        return Environment(
            self.database, BOX, utc_now, EnvironmentAccounts(APPLICATION, session=session, bot_token=bot_token)
        )

    def add_signed_in(self, name: str) -> AccountView:
        """An account with a session of one of the twin's people, from a file."""
        from switchboard.domain.telegram.sessions import key_digest  # noqa: PLC0415
        from switchboard.services.telegram.accounts import insert_account  # noqa: PLC0415

        text = self.twin.session_string(name)
        with self.database.write() as session:
            values: dict[str, Any] = {"session": BOX.encrypt(text), "key_digest": key_digest(text), "state": "offline"}
            account = insert_account(session, "user", "database", APPLICATION, BOX, now=utc_now(), values=values)  # type: ignore[arg-type]
        return self.accounts.get(account.id)

    def step(self, account_id: int, number: int) -> AccountView:
        """The account once the gateway answered the step."""
        for host in self.hosts:
            host.look(account_id)
        view = self.sign_ins.wait(account_id, number, seconds=WAIT_S)
        assert view is not None, "the gateway did not answer"
        return view

    def wait(self, account_id: int, until: Callable[[AccountView], bool]) -> AccountView:
        """The account once something holds of it."""
        for host in self.hosts:
            host.look(account_id)
        view = self.accounts.wait(account_id, until, seconds=WAIT_S)
        assert view is not None
        assert until(view), view
        return view

    def wait_state(self, account_id: int, state: str, reason: str | None = None) -> AccountView:
        return self.wait(account_id, lambda view: view.state == state and (reason is None or view.reason == reason))


def wait_for(holds: Callable[[], Any], what: str) -> None:
    """Wait until something holds."""
    end = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


@pytest.fixture
def twin() -> Iterator[TelegramTwin]:
    rsa.add_key(KEY.public_pem, old=False)
    with running_telegram(key=KEY) as twin:
        yield twin


@pytest.fixture
def office(sqlite_url: str, twin: TelegramTwin, tmp_path: Path) -> Iterator[Office]:
    """On SQLite; tests of what depends on the database make another."""
    database = Database(sqlite_url)
    office = Office(database, twin, tmp_path)
    yield office
    for host in office.hosts:
        host.stop()
    database.dispose()
