"""What the routes need of the rest: one container of use cases, built by the composition root, or fakes in tests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol, cast

from flask import current_app

from switchboard.services.audit import AuditRecord
from switchboard.services.conversation.desk import Call, Handled
from switchboard.services.conversation.entries import Entries
from switchboard.services.conversation.tickets import Ticket
from switchboard.services.files import FileStore
from switchboard.services.health import HealthReport
from switchboard.services.operations import AccountStatus, DeliveryView, SharedFacts
from switchboard.services.organisations.use_cases import OrganisationServices
from switchboard.services.telegram.accounts import AccountView

KEY = "switchboard.routes"


class HealthLike(Protocol):
    """switchboard.services.health.Health."""

    def report(self) -> HealthReport: ...


class OperationsLike(Protocol):
    """switchboard.services.operations.Operations."""

    def calendar_accounts(self) -> list[AccountStatus]: ...

    def calendar_account(self, account_id: int, /) -> AccountStatus: ...

    def deliveries(self, *, state: str | None, before_id: int | None, limit: int) -> list[DeliveryView]: ...

    def facts(self, now: datetime, /) -> SharedFacts: ...


class AuditLogLike(Protocol):
    """switchboard.services.audit.AuditLog."""

    def latest(self, *, limit: int, before_id: int | None, subject: str | None) -> list[AuditRecord]: ...


class FileLinksLike(Protocol):
    """switchboard.services.file_links.FileLinks."""

    def read(self, signed: str, *, now: datetime) -> str: ...


class CommandTokensLike(Protocol):
    """switchboard.services.mattermost_commands.CommandTokens."""

    def accepted(self) -> list[str]: ...


class TicketsLike(Protocol):
    """switchboard.services.conversation.tickets.Tickets."""

    def open(self, signed: str) -> Ticket: ...


class DeskLike(Protocol):
    """switchboard.services.conversation.desk.Desk."""

    def command(self, call: Call, text: str) -> Handled: ...

    def action(self, call: Call, signed: str) -> Handled: ...

    def dialog(self, user_id: str, channel_id: str, signed: str, entries: Entries) -> Handled: ...

    def lookup(self, user_id: str, signed: str, entries: Entries) -> Handled: ...

    def try_again(self, user_id: str) -> str: ...


class TelegramAccountsLike(Protocol):
    """switchboard.services.telegram.accounts.TelegramAccounts."""

    def list_accounts(self) -> list[AccountView]: ...

    def get(self, account_id: int, /) -> AccountView: ...

    def add_user(self, phone: str, *, api_id: int | None, api_hash: str | None, actor: str) -> AccountView: ...

    def add_bot(self, token: str, *, api_id: int | None, api_hash: str | None, actor: str) -> AccountView: ...

    def start(self, account_id: int, /, *, actor: str) -> AccountView: ...

    def stop(self, account_id: int, /, *, actor: str) -> AccountView: ...

    def allow_strangers(self, account_id: int, /, *, actor: str) -> AccountView: ...

    def remove(self, account_id: int, /, *, log_out: bool, actor: str) -> bool: ...

    def wait(
        self, account_id: int, until: Callable[[AccountView], bool], /, *, seconds: float
    ) -> AccountView | None: ...


class SignInsLike(Protocol):
    """switchboard.services.telegram.sign_in.SignIns."""

    def request_code(self, account_id: int, /, *, actor: str) -> int: ...

    def resend(self, account_id: int, /, *, actor: str) -> int: ...

    def submit_code(self, account_id: int, code: str, /, *, actor: str) -> int: ...

    def submit_password(self, account_id: int, password: str, /, *, actor: str) -> int: ...

    def cancel(self, account_id: int, /, *, actor: str) -> int: ...

    def wait(self, account_id: int, number: int, /, *, seconds: float) -> AccountView | None: ...


class Queue(Protocol):
    """Queues a task by its name with JSON arguments; returns its id. RemoteUnavailableError when the broker does not answer."""

    def __call__(self, task: str, /, **arguments: object) -> str: ...


class Services(Protocol):
    """The use cases that routes call. `now` is the clock: aware UTC."""

    @property
    def health(self) -> HealthLike: ...

    @property
    def operations(self) -> OperationsLike: ...

    @property
    def audit_log(self) -> AuditLogLike: ...

    @property
    def files(self) -> FileStore: ...

    @property
    def file_links(self) -> FileLinksLike: ...

    @property
    def command_tokens(self) -> CommandTokensLike: ...

    @property
    def tickets(self) -> TicketsLike: ...

    @property
    def desk(self) -> DeskLike: ...

    @property
    def telegram_accounts(self) -> TelegramAccountsLike: ...

    @property
    def telegram_sign_ins(self) -> SignInsLike: ...

    @property
    def organisations(self) -> OrganisationServices: ...

    def now(self) -> datetime: ...


def services() -> Services:
    """The container of the application that answers the current request."""
    return cast("tuple[Services, Queue]", current_app.extensions[KEY])[0]


def queue() -> Queue:
    """The queue of the application that answers the current request."""
    return cast("tuple[Services, Queue]", current_app.extensions[KEY])[1]
