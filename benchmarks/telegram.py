"""A deployment that holds Telegram accounts, to measure with: the twin, the web process and gateways, each on its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from sqlalchemy import func, select, update

from benchmarks.postgres import running_postgres
from sandbox.ports import free_port
from sandbox.telegram.twin import API_HASH, API_ID
from switchboard.crypto import SecretBox
from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import Recipient, TelegramMessage
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin
from switchboard.services.organisations.credentials import Credentials
from switchboard.services.organisations.organisations import OrganisationChanges, Organisations
from switchboard.services.organisations.recipients import Recipients, RecipientSettings
from switchboard.services.telegram.accounts import TelegramAccounts, insert_account
from tests.servers import ROOT, dies_with_parent, running_valkey

KEY = "k" * 32
BOX = SecretBox([KEY])
APPLICATION = Application(API_ID, API_HASH)
FASTEST_PER_MINUTE = 60_000  # the most that the settings allow one account
WAIT_S = 300.0
ACTOR = "benchmark"


def now() -> datetime:
    return datetime.now(UTC)


class Twin:
    """The loopback Telegram in a process apart (benchmarks.telegram_twin)."""

    def __init__(self, process: subprocess.Popen[str], *, accounts: int, readers: int) -> None:
        self._process = process
        facts = self._ask({"accounts": accounts, "readers": readers})
        self.port: int = facts["port"]
        self.pem: str = facts["pem"]
        self.accounts: list[dict[str, Any]] = facts["accounts"]

    def write(self, text: str, count: int) -> float:
        """Every reader writes so many messages to their account; when the first was written, in seconds since 1970."""
        return float(self._ask({"do": "write", "text": text, "count": count}))

    def arrivals(self) -> list[tuple[str, int, float]]:
        """Text, reader and time, in seconds since 1970, of what accounts wrote since this was last asked."""
        return [(text, reader, at) for text, reader, at in self._ask({"do": "arrivals"})]

    def lines(self) -> int:
        """Open connections."""
        return int(self._ask({"do": "lines"}))

    def _ask(self, order: dict[str, Any]) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the twin has no input or output")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError("the twin has ended")
        return json.loads(answer)


@dataclass(frozen=True, slots=True)
class Office:
    """An organisation that writes from an account: the token of its document system, and whom it may tell."""

    token: str
    recipients: list[str]


class Deployment:
    """One database, one broker, and the processes that are started on them."""

    def __init__(self, folder: Path, url: str, valkey_url: str, twin: Twin) -> None:
        migrate.upgrade(url)
        self.folder, self.twin = folder, twin
        self.database = Database(url)
        key = folder / "server.pem"
        key.write_text(twin.pem, encoding="ascii")
        self._environment = {
            **os.environ,
            "REDIS_URL": valkey_url,
            "DATABASE_URL": url,
            "DATA_DIR": str(folder),
            "SECRET_KEYS": KEY,
            "LOG_FORMAT": "json",
            "TELEGRAM_API_ID": str(API_ID),
            "TELEGRAM_API_HASH": API_HASH,
            "TELEGRAM_DC_ADDRESS": f"127.0.0.1:{twin.port}",
            "TELEGRAM_DC_KEY": str(key),
            "TELEGRAM_MESSAGES_PER_MINUTE": str(FASTEST_PER_MINUTE),
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def close(self) -> None:
        """End what was started."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait(10)
        self.database.dispose()

    def add_accounts(self, *, until: int | None = None, since: int = 0) -> None:
        """The twin's accounts from number `since` up to `until`, signed in."""
        with self.database.write() as session:
            for account in self.twin.accounts[since:until]:
                values = {
                    "phone": account["phone"],
                    "session": BOX.encrypt(account["session"]),
                    "key_digest": key_digest(account["session"]),
                    "state": AccountState.OFFLINE,
                }
                insert_account(session, AccountKind.USER, Origin.DATABASE, APPLICATION, BOX, now=now(), values=values)

    def add_offices(self) -> list[Office]:
        """An organisation for each account, whose recipients are the account's readers."""
        accounts = TelegramAccounts(self.database, BOX, now, application=APPLICATION, import_dir=self.folder)
        organisations = Organisations(self.database, BOX, accounts, now, support_contact="")
        credentials = Credentials(self.database, BOX, now)
        recipients = Recipients(self.database, Nobody(), now)
        offices = []
        for number, account in enumerate(self.twin.accounts):
            made = organisations.create(f"Office {number}", OrganisationChanges(), actor=ACTOR)
            organisations.set_telegram(made.id, account["phone"], api_id=API_ID, api_hash=API_HASH, actor=ACTOR)
            names = []
            for reader in account["readers"]:
                settings = RecipientSettings(opted_in=True, telegram=str(reader))
                recipients.put(made.id, f"r{reader}", settings, actor=ACTOR)
                names.append(f"r{reader}")
            offices.append(Office(credentials.rotate(made.id, actor=ACTOR).token, names))
        return offices

    def start_web(self) -> int:
        """The port of a web process that answers."""
        port = free_port()
        process = self._start("web", ["routes.server"], HOST="127.0.0.1", PORT=str(port))
        self._wait_for(lambda: _answers(f"http://127.0.0.1:{port}/healthz"), process, "web")
        return port

    def start_gateway(self) -> Gateway:
        """A `telegram` worker that consumes, with the options of the Procfile."""
        name = f"telegram{len(self._processes)}"
        ready = self.folder / f"{name}.ready"
        options = ["-P", "threads", "-c", "4", "-Q", "telegram", "-E", "-n", f"{name}@benchmark"]
        options += ["--without-gossip", "--without-mingle", "-I", "tasks.readiness"]
        arguments = ["celery", "-A", "tasks.app", "worker", *options]
        process = self._start(name, arguments, SWITCHBOARD_READY_FILE=str(ready))
        self._wait_for(ready.exists, process, name)
        return Gateway(process, self.folder / f"{name}.log")

    def meet(self) -> None:
        """Readers write to their accounts, once a gateway runs, until the accounts know them: nobody is a stranger then.

        Their organisations have told them something before.
        """
        people = sum(len(account["readers"]) for account in self.twin.accounts)

        def met() -> bool:
            self.twin.write("Hello", 1)  # what came before an account was first online is not received
            time.sleep(3)
            with self.database.read() as session:
                chats = select(TelegramMessage.account_id, TelegramMessage.chat_id).distinct().subquery()
                return session.scalar(select(func.count()).select_from(chats)) == people

        wait_until(met, "every reader to be known")
        with self.database.write() as session:
            session.execute(update(Recipient).values(contacted_at=now()))

    def _start(self, name: str, arguments: list[str], **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                env=self._environment | environment,
                stdout=log,
                stderr=log,
                preexec_fn=dies_with_parent,  # noqa: PLW1509
            )
        self._processes.append(process)
        return process

    def _wait_for(self, holds: Callable[[], object], process: subprocess.Popen[bytes], name: str) -> None:
        end = time.monotonic() + 60
        while not holds():
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError((self.folder / f"{name}.log").read_text(errors="replace")[-2_000:])
            time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A `telegram` worker that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def times_online(self) -> int:
        """How many accounts came online here so far, those that came twice twice."""
        return self.log.read_bytes().count(b"telegram account online")

    def memory_mb(self) -> float:
        """Resident memory."""
        return int(self._stat()[21]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_s(self) -> float:
        """Processor time so far, in seconds."""
        stat = self._stat()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")

    def _stat(self) -> list[str]:
        """Fields of proc_pid_stat(5) from the third on."""
        return Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()


class Nobody:
    """Nobody is on Mattermost here."""

    def find(self, _username_or_id: str) -> None:
        return None


@contextmanager
def running_deployment(database: str, *, accounts: int, readers: int = 1) -> Iterator[Deployment]:
    """On `sqlite` or `postgresql`, with the twin and a broker; nothing else is started."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sb-tg-")))
        url = f"sqlite:///{folder}/switchboard.sqlite3"
        if database == "postgresql":
            url = stack.enter_context(running_postgres())
        valkey = stack.enter_context(running_valkey(folder / "valkey"))
        twin = stack.enter_context(_running_twin(accounts, readers))
        deployment = Deployment(folder, url, valkey.url, twin)
        stack.callback(deployment.close)
        yield deployment


def wait_until(holds: Callable[[], object], what: str, *, every_s: float = 0.2) -> None:
    """Wait for a condition; RuntimeError when it never holds."""
    end = time.monotonic() + WAIT_S
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(every_s)


@contextmanager
def _running_twin(accounts: int, readers: int) -> Iterator[Twin]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.telegram_twin"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=dies_with_parent,  # noqa: PLW1509
    ) as process:
        try:
            yield Twin(process, accounts=accounts, readers=readers)
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
