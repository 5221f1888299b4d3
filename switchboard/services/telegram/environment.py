"""The accounts that environment variables define: they appear, change and stop with the variables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount, TelegramShard
from switchboard.db.repositories.telegram import ShardRepository, move, touch
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin, Reason, Wanted
from switchboard.errors import InvalidInputError
from switchboard.services import audit
from switchboard.services.telegram.accounts import insert_account, subject

ACTOR = "environment"


@dataclass(frozen=True, slots=True, repr=False)
class EnvironmentAccounts:
    """What the variables say; None for what is not set."""

    application: Application | None
    session: str | None
    bot_token: str | None


class Environment:
    """Brings the rows of the environment's accounts in line with the variables."""

    def __init__(
        self,
        database: Database,
        secret_box: SecretBox,
        clock: Callable[[], datetime],
        accounts: EnvironmentAccounts,
    ) -> None:
        self._database = database
        self._box = secret_box
        self._clock = clock
        self._accounts = accounts

    def apply(self) -> None:
        """Make it so. Repeatable; two gateways that start at once do it one after the other."""
        with self._database.write() as session:
            ShardRepository(session).prepare()
            session.scalar(select(TelegramShard.shard).where(TelegramShard.shard == 0).with_for_update())
            for kind, secret in (
                (AccountKind.USER, self._accounts.session),
                (AccountKind.BOT, self._accounts.bot_token),
            ):
                self._apply(session, kind, secret)

    def _apply(self, session: Session, kind: AccountKind, secret: str | None) -> None:
        account = session.scalar(
            select(TelegramAccount)
            .where(TelegramAccount.origin == Origin.ENVIRONMENT, TelegramAccount.kind == kind)
            .with_for_update()
        )
        application = self._accounts.application
        if application is None or secret is None:
            if account is not None and account.wanted == Wanted.RUN:
                touch(session, account.id, wanted=Wanted.STOP)
                self._record(session, account.id, "telegram.stop")
            return
        if account is None:
            account = insert_account(
                session,
                kind,
                Origin.ENVIRONMENT,
                application,
                self._box,
                now=self._clock(),
                values={"state": AccountState.OFFLINE, "reason": Reason.STARTING},
            )
            session.flush()
            self._record(session, account.id, "telegram.add")
        elif self._is_settled(account) and self._says_the_same(account, application, secret):
            return
        else:
            self._record(session, account.id, "telegram.change")
        self._set(session, account, kind, application, secret)

    def _set(
        self, session: Session, account: TelegramAccount, kind: AccountKind, application: Application, secret: str
    ) -> None:
        sealed = self._box.encrypt(secret)
        values: dict[str, Any] = {
            "api_id": application.api_id,
            "api_hash": self._box.encrypt(application.api_hash),
            "wanted": Wanted.RUN,
        }
        state, reason = AccountState.OFFLINE, Reason.STARTING
        if kind == AccountKind.BOT:
            if account.bot_token is None or self._box.decrypt(account.bot_token) != secret:
                values |= {"bot_token": sealed, "session": None, "key_digest": None}
        else:
            values["session"] = sealed
            try:
                values["key_digest"] = digest = key_digest(secret)
            except InvalidInputError:
                values["key_digest"] = None
                state, reason = AccountState.SIGN_IN_AGAIN, Reason.SESSION_UNREADABLE
            else:
                if self._is_elsewhere(session, account.id, digest):
                    values |= {"key_digest": None, "wanted": Wanted.STOP}
                    state, reason = AccountState.STOPPED, Reason.SESSION_IN_USE
        touch(session, account.id, **values)
        move(session, account.id, state, reason=reason, now=self._clock())

    @staticmethod
    def _is_settled(account: TelegramAccount) -> bool:
        """It runs, or a restore stopped it: then somebody must start it, the variables may be a copy, too."""
        return account.wanted == Wanted.RUN or account.reason == Reason.RESTORED

    def _says_the_same(self, account: TelegramAccount, application: Application, secret: str) -> bool:
        stored = account.bot_token if account.kind == AccountKind.BOT else account.session
        return (
            stored is not None
            and self._box.decrypt(stored) == secret
            and account.api_id == application.api_id
            and self._box.decrypt(account.api_hash) == application.api_hash
        )

    @staticmethod
    def _is_elsewhere(session: Session, account_id: int, digest: str) -> bool:
        other = select(TelegramAccount.id).where(TelegramAccount.key_digest == digest, TelegramAccount.id != account_id)
        return session.scalar(other) is not None

    def _record(self, session: Session, account_id: int, action: str) -> None:
        audit.record(session, actor=ACTOR, action=action, subject=subject(account_id), now=self._clock())
