"""Services for the routes that need no server."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from switchboard.errors import NotFoundError
from switchboard.services.audit import AuditRecord
from switchboard.services.conversation.desk import Call, Handled
from switchboard.services.conversation.entries import Entries
from switchboard.services.conversation.tickets import Tickets
from switchboard.services.file_links import FileLinks
from switchboard.services.files import FileInfo
from switchboard.services.health import Finding, HealthReport
from switchboard.services.operations import AccountStatus, DeliveryView, SharedFacts
from switchboard.settings import Settings

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
ADMIN_TOKEN = "an-administration-token-of-tests-0001"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
OUTSIDE = {"REMOTE_ADDR": "203.0.113.7"}
KEY = "k" * 32
SLASH_TOKEN = "a-token-of-a-slash-command"

ACCOUNT = AccountStatus(
    id=7,
    mattermost_user_id="u1",
    server_url="https://caldav.example.org/",
    login="anna",
    state="active",
    reason=None,
    last_polled_at=NOW - timedelta(minutes=1),
    next_poll_at=NOW + timedelta(minutes=1),
    last_error=None,
    last_error_at=None,
    failures=0,
    created_at=NOW,
)
DELIVERY = DeliveryView(
    id=1,
    channel="mattermost",
    kind="reminder",
    key="k",
    subject="s",
    recipient="u1",
    state="SENT",
    attempts=1,
    next_attempt_at=NOW,
    expires_at=None,
    remote_id="p1",
    reason=None,
    created_at=NOW,
    finished_at=NOW,
)


@dataclass
class FakeHealth:
    """A report to give."""

    given: HealthReport = field(default_factory=lambda: HealthReport((Finding("database", True, True, 1.0, "sqlite"),)))

    def report(self) -> HealthReport:
        return self.given


@dataclass
class FakeOperations:
    """One account and ten deliveries; `fault` is raised by every list."""

    fault: Exception | None = None

    def calendar_accounts(self) -> list[AccountStatus]:
        if self.fault is not None:
            raise self.fault
        return [ACCOUNT]

    def calendar_account(self, account_id: int, /) -> AccountStatus:
        if account_id != ACCOUNT.id:
            raise NotFoundError(f"there is no calendar account {account_id}")
        return ACCOUNT

    def deliveries(self, *, state: str | None, before_id: int | None, limit: int) -> list[DeliveryView]:
        rows = [replace(DELIVERY, id=number) for number in range(10, 0, -1) if before_id is None or number < before_id]
        return [row for row in rows if state in (None, row.state)][:limit]

    def facts(self, now: datetime, /) -> SharedFacts:
        return SharedFacts(
            open_deliveries={("mattermost", "PENDING"): 3},
            oldest_open_age_s={"mattermost": 12.5},
            calendar_accounts={"active": 2},
            telegram_accounts={"online": 3},
            heartbeat_age_s={"beat": 4.0},
            queue_lengths={"calendar": 9},
        )


class FakeAuditLog:
    """Two entries."""

    def latest(self, *, limit: int, before_id: int | None, subject: str | None) -> list[AuditRecord]:
        entries = [
            AuditRecord(
                id=number, at=NOW, actor="admin", action="poll", subject="calendar_account:7", details={"n": number}
            )
            for number in (2, 1)
        ]
        return [entry for entry in entries if before_id is None or entry.id < before_id][:limit]


class FakeFiles:
    """One file, `f1`."""

    def save(self, name: str, media_type: str, content: Iterable[bytes], now: datetime) -> FileInfo:
        raise NotImplementedError

    def open(self, file_id: str) -> tuple[FileInfo, Iterator[bytes]]:
        if file_id != "f1":
            raise NotFoundError(f"there is no file {file_id}")
        info = FileInfo(
            id="f1", name='Отчёт "1".html', media_type="text/html", size_bytes=6, sha256="00", created_at=NOW
        )
        return info, iter(io.BytesIO(b"a\nb\nc\n"))

    def delete(self, file_id: str) -> None:
        raise NotImplementedError


@dataclass
class FakeCommandTokens:
    """One installed command."""

    tokens: list[str] = field(default_factory=lambda: [SLASH_TOKEN])

    def accepted(self) -> list[str]:
        return self.tokens


@dataclass
class FakeDesk:
    """Remembers what came and answers `given`."""

    given: Handled = field(default_factory=lambda: Handled({}))
    calls: list[tuple[object, ...]] = field(default_factory=list)

    def command(self, call: Call, text: str) -> Handled:
        self.calls.append((call, text))
        return self.given

    def action(self, call: Call, signed: str) -> Handled:
        self.calls.append((call, signed))
        return self.given

    def dialog(self, user_id: str, channel_id: str, signed: str, entries: Entries) -> Handled:
        self.calls.append((user_id, channel_id, signed, entries))
        return self.given

    def lookup(self, user_id: str, signed: str, entries: Entries) -> Handled:
        self.calls.append((user_id, signed, entries))
        return self.given

    def try_again(self, user_id: str) -> str:
        return "try again"


@dataclass
class FakeTelegramAccounts:
    """None; tests of the routes themselves put the real service here."""

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


class FakeCredentials:
    """Nobody's."""

    def by_token(self, token: str) -> int | None:
        return None


@dataclass
class FakeOrganisations:
    """None; the real ones are tested in tests/integration/organisations."""

    credentials: FakeCredentials = field(default_factory=FakeCredentials)


@dataclass
class FakeServices:
    """The container; every part can be replaced."""

    health: FakeHealth = field(default_factory=FakeHealth)
    operations: FakeOperations = field(default_factory=FakeOperations)
    audit_log: FakeAuditLog = field(default_factory=FakeAuditLog)
    files: FakeFiles = field(default_factory=FakeFiles)
    file_links: FileLinks = field(default_factory=lambda: FileLinks([KEY]))
    command_tokens: FakeCommandTokens = field(default_factory=FakeCommandTokens)
    tickets: Tickets = field(default_factory=lambda: Tickets([KEY]))
    desk: FakeDesk = field(default_factory=FakeDesk)
    telegram_accounts: Any = field(default_factory=FakeTelegramAccounts)
    telegram_sign_ins: Any = field(default_factory=FakeTelegramAccounts)
    organisations: Any = field(default_factory=FakeOrganisations)

    def now(self) -> datetime:
        return NOW


@dataclass
class FakeQueue:
    """Remembers what was queued; `fault` is raised instead."""

    queued: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    fault: Exception | None = None

    def __call__(self, task: str, /, **arguments: object) -> str:
        if self.fault is not None:
            raise self.fault
        self.queued.append((task, arguments))
        return f"task-{len(self.queued)}"


def settings(**given: object) -> Settings:
    """Settings from `given` alone, whatever the environment of the test run says."""
    return Settings.model_validate({"admin_token": ADMIN_TOKEN, **given})
