"""What an operator can see of a deployment: accounts, the ledger, and the facts that all its processes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, Delivery
from switchboard.db.repositories import operations as rows
from switchboard.db.repositories.heartbeats import heartbeats
from switchboard.errors import NotFoundError
from switchboard.logs import get_logger

FINISHED_WINDOW = timedelta(hours=24)

_log = get_logger(__name__)


class Lists(Protocol):
    """The one command of a Redis client that counting queues needs."""

    def llen(self, name: str, /) -> Any:
        """The length of a list."""


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """How a calendar account fares, for operators: no password, no calendars."""

    id: int
    mattermost_user_id: str
    server_url: str
    login: str
    state: str
    reason: str | None
    last_polled_at: datetime | None
    next_poll_at: datetime
    last_error: str | None
    last_error_at: datetime | None
    failures: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryView:
    """A row of the ledger without what it says."""

    id: int
    channel: str
    kind: str
    key: str
    subject: str
    recipient: str
    state: str
    attempts: int
    next_attempt_at: datetime
    expires_at: datetime | None
    remote_id: str | None
    reason: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class SharedFacts:
    """Counts over the whole deployment. A source that cannot be read is in `silent`, and its facts are empty.

    Counts of deliveries are by (channel, state); finished ones are those of the last 24 h; ages are seconds.
    """

    open_deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    finished_deliveries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_open_age_s: Mapping[str, float] = field(default_factory=dict)
    calendar_accounts: Mapping[str, int] = field(default_factory=dict)
    telegram_accounts: Mapping[str, int] = field(default_factory=dict)
    heartbeat_age_s: Mapping[str, float] = field(default_factory=dict)
    queue_lengths: Mapping[str, int] = field(default_factory=dict)
    silent: tuple[str, ...] = ()


class Operations:
    """Reads for operators.

    `queues` are the broker's queues by the name under which they are counted; those of one name are counted together.
    """

    def __init__(self, database: Database, redis: Lists, *, queues: Mapping[str, Sequence[str]]) -> None:
        self._database = database
        self._redis = redis
        self._queues = queues

    def calendar_accounts(self) -> list[AccountStatus]:
        """Every calendar account."""
        with self._database.read() as session:
            return [_account(account, user_id) for account, user_id in rows.account_rows(session)]

    def calendar_account(self, account_id: int) -> AccountStatus:
        """One calendar account; NotFoundError where there is none."""
        with self._database.read() as session:
            row = rows.account_row(session, account_id)
            if row is None:
                raise NotFoundError(f"there is no calendar account {account_id}")
            return _account(row[0], row[1])

    def deliveries(
        self, *, state: str | None = None, before_id: int | None = None, limit: int = 100
    ) -> list[DeliveryView]:
        """Rows of the ledger, newest first; `before_id` pages on."""
        with self._database.read() as session:
            found = rows.delivery_rows(session, state=state, before_id=before_id, limit=limit)
            return [_delivery(row) for row in found]

    def facts(self, now: datetime) -> SharedFacts:
        """The counts now; never raises because a server is away."""
        silent = []
        facts: dict[str, Any] = {}
        try:
            facts |= self._database_facts(now)
        except SQLAlchemyError as error:
            _log.warning("facts of the database cannot be read", kind=type(error).__name__)
            silent.append("database")
        try:
            facts["queue_lengths"] = {
                name: sum(int(self._redis.llen(queue)) for queue in queues) for name, queues in self._queues.items()
            }
        except RedisError as error:
            _log.warning("facts of Redis cannot be read", kind=type(error).__name__)
            silent.append("redis")
        return SharedFacts(**facts, silent=tuple(silent))

    def _database_facts(self, now: datetime) -> dict[str, Any]:
        with self._database.read() as session:
            return {
                "open_deliveries": rows.open_delivery_counts(session),
                "finished_deliveries": rows.finished_delivery_counts(session, since=now - FINISHED_WINDOW),
                "oldest_open_age_s": _ages(rows.oldest_open_deliveries(session, now), now),
                "calendar_accounts": rows.account_counts(session),
                "telegram_accounts": rows.telegram_account_counts(session, now),
                "heartbeat_age_s": _ages(heartbeats(session), now),
            }


def _ages(times: Mapping[str, datetime], now: datetime) -> dict[str, float]:
    return {name: (now - at).total_seconds() for name, at in times.items()}


def _account(account: CalendarAccount, mattermost_user_id: str) -> AccountStatus:
    return AccountStatus(
        id=account.id,
        mattermost_user_id=mattermost_user_id,
        server_url=account.server_url,
        login=account.login,
        state=account.state,
        reason=account.reason,
        last_polled_at=account.last_polled_at,
        next_poll_at=account.next_poll_at,
        last_error=account.last_error,
        last_error_at=account.last_error_at,
        failures=account.failures,
        created_at=account.created_at,
    )


def _delivery(row: Delivery) -> DeliveryView:
    return DeliveryView(
        id=row.id,
        channel=row.channel,
        kind=row.kind,
        key=row.key,
        subject=row.subject,
        recipient=row.recipient,
        state=row.state,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        expires_at=row.expires_at,
        remote_id=row.remote_id,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
