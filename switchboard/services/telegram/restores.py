"""A restored copy of the database opens no Telegram account by itself: the original may still run, and a session that is open
twice is dead.

The sign of a copy is its place (switchboard.db.place). It says nothing of who runs where: neither a new process nor a new
machine nor a lost Redis changes it. Where a copy cannot be told, an operator says that it is one (`telegram restored`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import DatabasePlace, TelegramAccount, TelegramGateway, TelegramShard, TelegramSignIn
from switchboard.db.repositories.telegram import ShardRepository, move, touch
from switchboard.domain.telegram.states import AccountState, Reason, Wanted
from switchboard.logs import get_logger
from switchboard.services import audit
from switchboard.services.telegram.accounts import subject

ACTOR = "restore"
_SIGNING_IN = (AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED)
_RUNNING = (AccountState.ONLINE, AccountState.OFFLINE, AccountState.FLOOD_LIMITED)
_log = get_logger(__name__)


class Restores:
    """Knows a copy, and stops every account of it. `place` is where the database stands, None where that is not known."""

    def __init__(self, database: Database, clock: Callable[[], datetime], place: Callable[[], str | None]) -> None:
        self._database = database
        self._clock = clock
        self._place = place

    def look(self) -> list[int]:
        """Before a gateway takes anything: stop all where this is a copy; return the accounts that were stopped.

        Two gateways that start at once do it one after the other, and the second finds nothing to do.
        """
        here = self._place()
        if here is None:
            return []
        with self._database.write() as session:
            _in_turn(session)
            noted = session.get(DatabasePlace, 1)
            if noted is not None and noted.place == here:
                return []
            self._note(session, here)
            stopped = [] if noted is None else self._stop(session, ACTOR)
        if stopped:
            _log.warning("database was restored elsewhere, telegram accounts are stopped", accounts=len(stopped))
        return stopped

    def stop_all(self, *, actor: str) -> list[int]:
        """This is a copy, somebody says: stop every account, also those of variables; return their numbers."""
        here = self._place()
        with self._database.write() as session:
            _in_turn(session)
            if here is not None:
                self._note(session, here)
            return self._stop(session, actor)

    def _note(self, session: Session, place: str) -> None:
        session.merge(DatabasePlace(id=1, place=place, noted_at=self._clock()))

    def _stop(self, session: Session, actor: str) -> list[int]:
        """No account runs, leaves or is being signed in; no lease of the original's gateways holds, and no fence of theirs."""
        now = self._clock()
        stopped = []
        for account in session.scalars(select(TelegramAccount).order_by(TelegramAccount.id).with_for_update()).all():
            if account.state in _SIGNING_IN:
                home = AccountState.NEW if account.own_id is None else AccountState.SIGN_IN_AGAIN
                move(session, account.id, home, reason=Reason.SIGN_IN_CANCELLED, now=now)
            elif account.state in _RUNNING or account.wanted in (Wanted.REMOVE, Wanted.LOG_OUT):
                move(session, account.id, AccountState.STOPPED, reason=Reason.RESTORED, now=now)
                audit.record(session, actor=actor, action="telegram.stop", subject=subject(account.id), now=now)
                stopped.append(account.id)
                touch(session, account.id, wanted=Wanted.STOP)
        session.execute(delete(TelegramSignIn))
        session.execute(update(TelegramShard).values(owner=None, leased_until=None, fence=TelegramShard.fence + 1))
        session.execute(delete(TelegramGateway))
        return stopped


def _in_turn(session: Session) -> None:
    ShardRepository(session).prepare()
    session.scalar(select(TelegramShard.shard).where(TelegramShard.shard == 0).with_for_update())
