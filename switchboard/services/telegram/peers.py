"""Whom an account has met, and how to address them: our table first, Telegram only for what it does not know.

Access hashes belong to the account that saw them. Asking for phones is limited tightly, so a name that nobody has is
remembered for a day. All of it waits for the database: the loop calls it in threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select, update

from switchboard.db.engine import Database
from switchboard.db.models import TelegramMiss, TelegramPeer
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.db.upsert import upsert
from switchboard.domain.telegram.peers import Address, AddressKind, Peer, PeerKind, SeenPeer

MISSED_FOR = timedelta(days=1)


class Peers:
    """The peers of all accounts."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def find(self, account_id: int, address: Address) -> Peer | None:
        """Whom the account met under this address; None for nobody whom it can write to."""
        query = select(TelegramPeer.peer_id, TelegramPeer.access_hash).where(
            TelegramPeer.account_id == account_id, TelegramPeer.access_hash.is_not(None)
        )
        match address.kind:
            case AddressKind.ID:
                query = query.where(TelegramPeer.peer_id == int(address.value))
            case AddressKind.USERNAME:
                query = query.where(func.lower(TelegramPeer.username) == address.value)
            case AddressKind.PHONE:
                query = query.where(TelegramPeer.phone == address.value)
        with self._database.read() as session:
            found = session.execute(query.order_by(TelegramPeer.seen_at.desc()).limit(1)).one_or_none()
        if found is not None:
            return Peer.of(found.peer_id, found.access_hash)
        if address.kind is not AddressKind.ID:
            return None
        unmet = Peer.of(int(address.value), 0)
        return unmet if unmet.kind is PeerKind.CHAT else None  # a basic group has no access hash

    def is_missed(self, account_id: int, address: Address) -> bool:
        """Whether nobody had this address when the account asked lately."""
        with self._database.read() as session:
            miss = session.get(TelegramMiss, (account_id, _digest(address)))
        return miss is not None and miss.until > self._clock()

    def miss(self, account_id: int, address: Address) -> None:
        """Nobody has this address."""
        now = self._clock()
        row = {"account_id": account_id, "digest": _digest(address), "until": now + MISSED_FOR}
        with self._database.write() as session:
            session.execute(delete(TelegramMiss).where(TelegramMiss.account_id == account_id, TelegramMiss.until < now))
            upsert(session, TelegramMiss, row, ("account_id", "digest"))

    def remember(self, account_id: int, seen: Sequence[SeenPeer]) -> None:
        """The account saw these."""
        now = self._clock()
        with self._database.write() as session:
            PeerRepository(session).remember(account_id, seen, now)

    def forget(self, account_id: int, peer: Peer) -> None:
        """The account's way to this peer is of no use any more; it may be found anew."""
        with self._database.write() as session:
            session.execute(
                update(TelegramPeer)
                .where(TelegramPeer.account_id == account_id, TelegramPeer.peer_id == peer.chat_id)
                .values(access_hash=None)
            )


def _digest(address: Address) -> str:
    return hashlib.sha256(f"{address.kind}:{address.value}".encode()).hexdigest()
