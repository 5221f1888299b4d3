"""Gateways as processes of their own, over a real broker that restarts: warm shutdowns, kills, and stops past a lease."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery import Celery
from sqlalchemy import func, select

from sandbox.telegram.handshake import ServerKey
from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin, running_telegram
from sandbox.telegram.world import Settings
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramGateway, TelegramShard
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.sharding import SHARD_QUEUES, shard_of
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin
from switchboard.services.telegram.accounts import AccountView, TelegramAccounts, insert_account
from switchboard.services.telegram.sign_in import SignIns
from tests.servers import ROOT, ValkeyServer, dies_with_parent, running_valkey

WAIT_S = 60.0
LEASE_S = 4
SECRET = "a-secret-key-of-the-tests-0123456789"
API_HASH_SECRET = API_HASH
PHONE, PASSWORD = "+79161234567", "open sesame"


def now() -> datetime:
    return datetime.now(UTC)


class Gateways:
    """A deployment of `telegram` processes alone, over a server that kills a key which two connections use at once."""

    def __init__(self, folder: Path, url: str, valkey: ValkeyServer, twin: TelegramTwin) -> None:
        key = folder / "key.pem"
        key.write_text(twin.public_pem, encoding="ascii")
        self.folder, self.valkey, self.twin = folder, valkey, twin
        self.log = folder / "log"
        self.database = Database(url)
        self._environment = {
            **os.environ,
            "REDIS_URL": valkey.url,
            "DATABASE_URL": url,
            "DATA_DIR": str(folder),
            "SECRET_KEYS": SECRET,
            "LOG_FORMAT": "json",
            "TELEGRAM_API_ID": str(API_ID),
            "TELEGRAM_API_HASH": API_HASH,
            "TELEGRAM_DC_ADDRESS": f"127.0.0.1:{twin.port}",
            "TELEGRAM_DC_KEY": str(key),
            "TELEGRAM_LEASE_SECONDS": str(LEASE_S),
        }
        self._box = SecretBox([SECRET])
        self._application = Application(API_ID, API_HASH)
        self.accounts = TelegramAccounts(
            self.database, self._box, now, application=self._application, import_dir=folder / "telegram-import"
        )
        self.sign_ins = SignIns(self.database, self._box, now, self.accounts)
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.database.dispose()

    def start(self) -> subprocess.Popen[bytes]:
        """A gateway that consumes."""
        number = len(self._processes)
        ready = self.folder / f"ready-{number}"
        options = ["-P", "threads", "-c", "2", "-Q", "telegram", "-E", "-n", f"telegram{number}@test"]
        options += ["--without-gossip", "--without-mingle", "-I", "tasks.readiness"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "tasks.app", "worker", *options],
                cwd=ROOT,
                env={**self._environment, "SWITCHBOARD_READY_FILE": str(ready)},
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent,  # noqa: PLW1509
            )
        self._processes.append(process)
        self.wait_for(ready.exists, "a gateway to be ready")
        return process

    def stop_between_writes(self, process: subprocess.Popen[bytes]) -> None:
        """SIGSTOP. In the middle of a write it would keep everybody from writing: SQLite has one lock for all."""
        while True:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            with closing(sqlite3.connect(self.folder / "switchboard.sqlite3", timeout=0.5)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)
                    time.sleep(0.1)
                else:
                    return

    def add_signed_in(self, name: str) -> int:
        """An account with a session of one of the twin's people."""
        self.twin.add_person(name)
        text = self.twin.session_string(name)
        values = {"session": self._box.encrypt(text), "key_digest": key_digest(text), "state": AccountState.OFFLINE}
        with self.database.write() as session:
            account = insert_account(
                session, AccountKind.USER, Origin.DATABASE, self._application, self._box, now=now(), values=values
            )
        return account.id

    def send(self, task: str, **arguments: object) -> None:
        """Queue a hint, over a connection of its own: brokers are killed here."""
        with Celery("producer", broker=self.valkey.url, set_as_current=False) as producer:
            producer.send_task(task, kwargs=arguments, queue=SHARD_QUEUES[shard_of(int(str(arguments["account_id"])))])

    def lines(self) -> int:
        return self.twin.call(lambda: len(self.twin.server.connections))

    def accepted(self) -> int:
        return self.twin.call(lambda: self.twin.server.accepted)

    def owners(self) -> set[int]:
        """Process ids of those who hold shards; 0 for a shard that is free."""
        with self.database.read() as session:
            found = session.scalars(select(TelegramShard.owner).distinct())
            return {int(owner.partition("-")[0]) if owner else 0 for owner in found}

    def wait_online(self, *account_ids: int) -> list[AccountView]:
        for account_id in account_ids:
            self.wait_for(
                lambda account_id=account_id: self.accounts.get(account_id).state == "online",  # type: ignore[misc]
                f"account {account_id} to be online",
            )
        return [self.accounts.get(account_id) for account_id in account_ids]

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        end = time.monotonic() + WAIT_S
        while not holds():
            if time.monotonic() > end:
                log = self.log.read_text(encoding="utf-8", errors="replace")[-5000:]
                raise AssertionError(f"waited for {what}: {self.accounts.list_accounts()}; log:\n{log}")
            time.sleep(0.05)


@pytest.fixture
def gateways(sqlite_url: str, tmp_path: Path) -> Iterator[Gateways]:
    settings = Settings(duplicate_key="connection")
    with (
        running_valkey(tmp_path / "valkey") as valkey,
        running_telegram(key=ServerKey.make(), settings=settings) as twin,
    ):
        made = Gateways(tmp_path, sqlite_url, valkey, twin)
        try:
            yield made
        finally:
            made.close()


def test_connections_live_through_a_restart_of_the_broker_and_a_warm_shutdown_hands_over(gateways: Gateways) -> None:
    accounts = [gateways.add_signed_in(f"P{number}") for number in range(5)]
    process = gateways.start()
    gateways.wait_online(*accounts)
    accepted = gateways.accepted()
    assert gateways.lines() == 5

    gateways.valkey.kill()
    time.sleep(1.0)
    gateways.valkey.start()
    # a hint that arrives after the restart shows that the shards' queues are consumed again
    gateways.accounts.stop(accounts[0], actor="test")
    gateways.send("telegram.accounts.look", account_id=accounts[0])
    with (
        Celery("reader", broker=gateways.valkey.url, set_as_current=False) as reader,
        reader.connection() as connection,
    ):
        queue = SHARD_QUEUES[shard_of(accounts[0])]
        length = connection.default_channel.client.llen
        gateways.wait_for(lambda: length(queue) == 0, "the hint to be taken")
    gateways.wait_for(lambda: gateways.accounts.get(accounts[0]).state == "stopped", "the account to stop")
    assert gateways.accepted() == accepted, "connections were opened anew"
    assert gateways.lines() == 4

    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert gateways.lines() == 0
    assert gateways.owners() == {0}
    assert [gateways.accounts.get(each).reason for each in accounts[1:]] == ["moving"] * 4


def test_a_killed_gateway_is_followed_by_another_and_a_stopped_one_does_nothing_when_it_wakes(
    gateways: Gateways,
) -> None:
    accounts = [gateways.add_signed_in(f"P{number}") for number in range(4)]
    first = gateways.start()
    gateways.wait_online(*accounts)
    first.kill()
    first.wait(10)
    second = gateways.start()
    gateways.wait_for(lambda: gateways.owners() == {second.pid} and gateways.lines() == 4, "the take-over")
    gateways.wait_online(*accounts)

    # stopped past its lease while a third takes everything over; its lines stay open, as nobody there can close them
    gateways.twin.call(lambda: setattr(gateways.twin.world, "settings", Settings(duplicate_key="never")))
    gateways.stop_between_writes(second)
    third = gateways.start()
    gateways.wait_for(lambda: gateways.owners() == {third.pid}, "the third gateway to hold every shard")
    gateways.wait_for(lambda: gateways.lines() == 8, "the third gateway to open every account")
    second.send_signal(signal.SIGCONT)
    gateways.wait_for(
        lambda: "telegram leases ran out" in gateways.log.read_text(), "the second to let go of everything"
    )
    gateways.wait_for(lambda: gateways.owners() == {second.pid, third.pid}, "the second to get its share again")
    gateways.wait_for(lambda: gateways.lines() == 4, "every account to be open once")
    assert {view.state for view in gateways.wait_online(*accounts)} == {"online"}


def test_a_sign_in_over_processes_leaves_no_secret_in_the_broker_or_the_log(gateways: Gateways) -> None:
    gateways.twin.add_person("Ann", phone=PHONE, password=PASSWORD)
    process = gateways.start()
    account_id = gateways.accounts.add_user(PHONE, actor="test").id
    seen: list[str] = []

    def step(number: int) -> AccountView:
        gateways.send("telegram.accounts.look", account_id=account_id)
        view = gateways.sign_ins.wait(account_id, number, seconds=WAIT_S)
        assert view is not None
        return view

    assert step(gateways.sign_ins.request_code(account_id, actor="test")).state == "code_sent"
    code = gateways.twin.codes(PHONE)[-1]
    seen += [code.code, code.hash]
    step(gateways.sign_ins.submit_code(account_id, code.code, actor="test"))
    step(gateways.sign_ins.submit_password(account_id, PASSWORD, actor="test"))
    gateways.wait_online(account_id)
    process.terminate()
    assert process.wait(30) == 0
    log = gateways.log.read_text(encoding="utf-8")
    kept = (gateways.folder / "switchboard.sqlite3").read_bytes()
    queued = b"".join(path.read_bytes() for path in gateways.valkey.folder.rglob("*") if path.is_file())
    assert b"telegram.accounts.look" in queued
    for secret in (*seen[1:], PHONE, PASSWORD, API_HASH_SECRET, SECRET):
        assert secret not in log
        assert secret.encode() not in queued
    for secret in (*seen[1:], PASSWORD, API_HASH_SECRET):
        assert secret.encode() not in kept
    with gateways.database.read() as session:
        assert session.scalar(select(func.count()).select_from(TelegramGateway)) == 0
