"""Leases of gateways on shards of Telegram accounts, and changes of accounts that only a lease's holder may make."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import CursorResult, and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import TelegramAccount, TelegramGateway, TelegramShard, TelegramSignIn
from switchboard.db.upsert import insert_new, upsert
from switchboard.domain.telegram.sharding import SHARDS
from switchboard.domain.telegram.states import AccountState, predecessors


def database_now(session: Session, local: datetime) -> datetime:
    """The time by the clock that all gateways share: PostgreSQL's own. SQLite has no other machine, and so the local one."""
    if session.get_bind().dialect.name != "postgresql":
        return local
    return cast("datetime", session.scalar(select(func.clock_timestamp())))


class ShardRepository:
    """The leases, inside one transaction. `now` is `database_now`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def prepare(self) -> None:
        """Make the rows of all shards, where they are missing."""
        rows = [{"shard": shard, "fence": 0} for shard in range(SHARDS)]
        insert_new(self._session, TelegramShard, rows, TelegramShard.shard)

    def renew(self, owner: str, until: datetime) -> dict[int, int]:
        """Lengthen every lease that is the owner's still, ended ones included: nobody else took them. Shard -> fence."""
        rows = self._session.execute(
            update(TelegramShard)
            .where(TelegramShard.owner == owner)
            .values(leased_until=until)
            .returning(TelegramShard.shard, TelegramShard.fence)
        )
        return {row[0]: row[1] for row in rows}

    def take(self, owner: str, *, limit: int, now: datetime, until: datetime) -> dict[int, int]:
        """Take shards that nobody holds, with a new fence each. Shard -> fence."""
        free = or_(TelegramShard.owner.is_(None), TelegramShard.leased_until < now)
        due = select(TelegramShard.shard).where(free)
        rows = self._session.execute(
            update(TelegramShard)
            .where(TelegramShard.shard.in_(_free(due.order_by(TelegramShard.shard).limit(limit))))
            .values(owner=owner, fence=TelegramShard.fence + 1, leased_until=until)
            .returning(TelegramShard.shard, TelegramShard.fence)
            .execution_options(synchronize_session=False)
        )
        return {row[0]: row[1] for row in rows}

    def release(self, owner: str, shards: Collection[int] | None) -> None:
        """Give these (None: all) back, so that others may take them at once."""
        ours = TelegramShard.owner == owner
        self._session.execute(
            update(TelegramShard)
            .where(ours if shards is None else and_(ours, TelegramShard.shard.in_(shards)))
            .values(owner=None, leased_until=None)
        )

    def holds(self, owner: str, fences: Mapping[int, int], now: datetime) -> set[int]:
        """Those of these shards whose lease is valid; they cannot change hands before this transaction ends."""
        rows = self._session.execute(
            select(TelegramShard.shard, TelegramShard.fence)
            .where(TelegramShard.shard.in_(fences), TelegramShard.owner == owner, TelegramShard.leased_until > now)
            .order_by(TelegramShard.shard)
            .with_for_update(read=True)
        )
        return {row.shard for row in rows if row.fence == fences[row.shard]}

    def held(self, now: datetime) -> set[int]:
        """The shards under a valid lease, anybody's."""
        return set(self._session.scalars(select(TelegramShard.shard).where(TelegramShard.leased_until > now)))

    def see_gateway(self, owner: str, host: str, accounts: int, now: datetime) -> None:
        """Say that this gateway lives."""
        row = {"id": owner, "host": host, "accounts": accounts, "seen_at": now}
        upsert(self._session, TelegramGateway, row, ("id",))

    def live_gateways(self, seen_after: datetime) -> int:
        """How many gateways were seen lately."""
        return self._session.scalar(select(func.count()).where(TelegramGateway.seen_at > seen_after)) or 0

    def forget_gateways(self, seen_before: datetime) -> None:
        """Forget those that were not seen for long."""
        self._session.execute(delete(TelegramGateway).where(TelegramGateway.seen_at < seen_before))

    def forget_gateway(self, owner: str) -> None:
        """Forget one that ends."""
        self._session.execute(delete(TelegramGateway).where(TelegramGateway.id == owner))


def _free(due: Any) -> Any:
    """`found_once` for a table whose key is `shard`."""
    return select(due.with_for_update(skip_locked=True).cte("free").c.shard)


def move(
    session: Session,
    account_id: int,
    state: AccountState,
    *,
    now: datetime,
    reason: str | None = None,
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Bring an account to a state, from one that may lead there; `since` moves with the state alone. False: it is elsewhere."""
    found = session.scalar(select(TelegramAccount.state).where(TelegramAccount.id == account_id).with_for_update())
    if found is None or found not in predecessors(state):
        return False
    changes: dict[str, Any] = {"state": state, "reason": reason, **(values or {})}
    if found != state:
        changes["since"] = now
    session.execute(update(TelegramAccount).where(TelegramAccount.id == account_id).values(changes))
    return True


def touch(session: Session, account_id: int, /, **values: Any) -> bool:
    """Change an account in a way that its holder must look at. False: it is gone."""
    done = session.execute(
        update(TelegramAccount)
        .where(TelegramAccount.id == account_id)
        .values(revision=TelegramAccount.revision + 1, **values)
    )
    return cast("CursorResult[Any]", done).rowcount == 1


def revisions(session: Session, shards: Collection[int]) -> dict[int, tuple[int, int]]:
    """Every account of these shards: id -> (shard, revision)."""
    rows = session.execute(
        select(TelegramAccount.id, TelegramAccount.shard, TelegramAccount.revision).where(
            TelegramAccount.shard.in_(shards)
        )
    )
    return {account_id: (shard, revision) for account_id, shard, revision in rows}


def overdue_sign_ins(session: Session, shards: Collection[int], now: datetime) -> list[int]:
    """Accounts of these shards whose sign-in was not finished in time."""
    return list(
        session.scalars(
            select(TelegramSignIn.account_id)
            .join(TelegramAccount, TelegramAccount.id == TelegramSignIn.account_id)
            .where(and_(TelegramAccount.shard.in_(shards), TelegramSignIn.expires_at < now))
        )
    )
