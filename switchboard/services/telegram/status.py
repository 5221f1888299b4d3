"""How Telegram stands: which gateways live, how many shards they hold, and how many accounts are in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select

from switchboard.db.engine import Database
from switchboard.db.models import TelegramGateway
from switchboard.db.repositories.telegram import ShardRepository, database_now
from switchboard.domain.telegram.sharding import SHARDS
from switchboard.services.telegram.accounts import TelegramAccounts


@dataclass(frozen=True, slots=True)
class GatewayView:
    """A process that holds accounts; `accounts` is how many connections it had when it was last seen."""

    id: str
    host: str
    accounts: int
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class TelegramFacts:
    """`shards_held` of `shards` are in somebody's hands; `accounts` counts them by state."""

    gateways: tuple[GatewayView, ...]
    shards_held: int
    shards: int
    accounts: Mapping[str, int]


class TelegramStatus:
    """Reads for operators. A gateway that was not seen for the length of a lease does not count."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], accounts: TelegramAccounts, *, lease_s: float
    ) -> None:
        self._database = database
        self._clock = clock
        self._accounts = accounts
        self._lease = timedelta(seconds=lease_s)

    def facts(self) -> TelegramFacts:
        """As of now."""
        with self._database.read() as session:
            now = database_now(session, self._clock())
            seen = TelegramGateway.seen_at > now - self._lease
            rows = session.scalars(select(TelegramGateway).where(seen).order_by(TelegramGateway.id))
            gateways = tuple(GatewayView(row.id, row.host, row.accounts, row.seen_at) for row in rows)
            held = len(ShardRepository(session).held(now))
        counted = Counter(account.state for account in self._accounts.list_accounts())
        return TelegramFacts(gateways, held, SHARDS, dict(counted))
