"""Whom an account of Telegram has met. Access hashes belong to the account that met them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from switchboard.db.models import TelegramPeer
from switchboard.db.upsert import MAX_PARAMETERS
from switchboard.domain.portions import portions
from switchboard.domain.telegram.peers import SeenPeer


class PeerRepository:
    """The peers, inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def remember(self, account_id: int, seen: Sequence[SeenPeer], now: datetime) -> None:
        """Keep what is known of peers now; a phone that is not shown any more stays.

        A username or phone that another had before is this one's now.
        """
        rows = [
            {
                "account_id": account_id,
                "peer_id": one.peer.chat_id,
                "kind": "bot" if one.is_bot else one.peer.kind.value,
                "access_hash": one.peer.access_hash,
                "username": one.username,
                "phone": one.phone,
                "name": one.name[:160],
                "seen_at": now,
            }
            for one in sorted(seen, key=lambda one: one.peer.chat_id)
        ]
        if not rows:
            return
        self._free(account_id, seen)
        insert = postgresql.insert if self._session.get_bind().dialect.name == "postgresql" else sqlite.insert
        table = TelegramPeer.metadata.tables[TelegramPeer.__tablename__]
        statement = insert(table)
        new = statement.excluded
        changes: dict[str, Any] = {name: new[name] for name in ("kind", "access_hash", "username", "name", "seen_at")}
        changes["phone"] = func.coalesce(new.phone, table.c.phone)
        self._session.execute(
            statement.on_conflict_do_update(index_elements=["account_id", "peer_id"], set_=changes), rows
        )

    def _free(self, account_id: int, seen: Sequence[SeenPeer]) -> None:
        for column in (TelegramPeer.username, TelegramPeer.phone):
            owners = {getattr(one, column.key): one.peer.chat_id for one in seen if getattr(one, column.key)}
            for some in portions(list(owners.items()), MAX_PARAMETERS // 3):
                self._session.execute(
                    update(TelegramPeer)
                    .where(
                        TelegramPeer.account_id == account_id,
                        column.in_([value for value, _owner in some]),
                        ~tuple_(column, TelegramPeer.peer_id).in_(some),
                    )
                    .values({column.key: None})
                    .execution_options(synchronize_session=False)
                )

    def hashes(self, account_id: int) -> dict[int, int]:
        """The access hash of every peer that can be addressed, by chat_id."""
        rows = self._session.execute(
            select(TelegramPeer.peer_id, TelegramPeer.access_hash).where(
                TelegramPeer.account_id == account_id, TelegramPeer.access_hash.is_not(None)
            )
        )
        return {peer_id: access_hash for peer_id, access_hash in rows if access_hash is not None}

    def get(self, account_id: int, peer_id: int) -> TelegramPeer | None:
        """One peer by its id."""
        return self._session.scalars(
            select(TelegramPeer).where(TelegramPeer.account_id == account_id, TelegramPeer.peer_id == peer_id)
        ).one_or_none()
