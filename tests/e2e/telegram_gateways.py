"""Processes `telegram` alone over a loopback Telegram and a real broker, for tests that kill them."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from celery import Celery
from sqlalchemy import select

from sandbox.telegram.handshake import ServerKey
from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin, running_telegram
from sandbox.telegram.world import Settings
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramShard
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.sharding import SHARD_QUEUES, shard_of
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin
from switchboard.services.telegram.accounts import AccountView, TelegramAccounts, insert_account
from switchboard.services.telegram.sign_in import SignIns
from tests.servers import ROOT, ValkeyServer, dies_with_parent, running_valkey

WAIT_S = 60.0
LEASE_S = 4
LONG_LEASE_S = 30  # nothing but a death ends it
SECRET = "a-secret-key-of-the-tests-0123456789"
API_HASH_SECRET = API_HASH
PHONE, PASSWORD = "+79161234567", "open sesame"


def now() -> datetime:
    return datetime.now(UTC)


class Gateways:
    """A deployment of `telegram` processes alone, over a server that kills a key which two connections use at once."""

    def __init__(
        self, folder: Path, url: str, valkey: ValkeyServer, twin: TelegramTwin, environment: Mapping[str, str]
    ) -> None:
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
            "PROBE_FILE": str(folder / "probe"),  # of tests.e2e.probe_app
            **environment,
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

    def start(self, *, app: str = "tasks.app", lease_s: int = LEASE_S) -> subprocess.Popen[bytes]:
        """A gateway that consumes. A short lease is for those that are to lose it: a busy machine ends it, too."""
        number = len(self._processes)
        ready = self.folder / f"ready-{number}"
        options = ["-P", "threads", "-c", "2", "-Q", "telegram", "-E", "-n", f"telegram{number}@test"]
        options += ["--without-gossip", "--without-mingle", "-I", "tasks.readiness"]
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", app, "worker", *options],
                cwd=ROOT,
                env={
                    **self._environment,
                    "SWITCHBOARD_READY_FILE": str(ready),
                    "TELEGRAM_LEASE_SECONDS": str(lease_s),
                },
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
            with closing(sqlite3.connect(self.folder / "switchboard.sqlite3", timeout=0.05)) as connection:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                except sqlite3.OperationalError:
                    process.send_signal(signal.SIGCONT)
                    time.sleep(0.5)  # time enough to renew its leases
                else:
                    return

    def add_signed_in(self, name: str, *, phone: str | None = None) -> int:
        """An account with a session of a new one of the twin's people."""
        self.twin.add_person(name, phone=phone or "")
        text = self.twin.session_string(name)
        values = {
            "phone": phone,
            "session": self._box.encrypt(text),
            "key_digest": key_digest(text),
            "state": AccountState.OFFLINE,
        }
        with self.database.write() as session:
            account = insert_account(
                session, AccountKind.USER, Origin.DATABASE, self._application, self._box, now=now(), values=values
            )
        return account.id

    def send(self, task: str, **arguments: object) -> None:
        """Queue a task, over a connection of its own: brokers are killed here."""
        account_id = arguments.get("account_id")
        queue = "telegram" if account_id is None else SHARD_QUEUES[shard_of(int(str(account_id)))]
        with Celery("producer", broker=self.valkey.url, set_as_current=False) as producer:
            producer.send_task(task, kwargs=arguments, queue=queue)

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


@contextmanager
def running_gateways(folder: Path, url: str, **environment: str) -> Iterator[Gateways]:
    """None is started yet. The Telegram kills a key that two connections use at once."""
    settings = Settings(duplicate_key="connection")
    with running_valkey(folder / "valkey") as valkey, running_telegram(key=ServerKey.make(), settings=settings) as twin:
        made = Gateways(folder, url, valkey, twin, environment)
        try:
            yield made
        finally:
            made.close()
