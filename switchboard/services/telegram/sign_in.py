"""Signing in, step by step, as operators ask for it: each step is a numbered request that the gateway answers.

Nothing here talks to Telegram. Inputs (a code, a password) are sealed in the row until the gateway has used them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount, TelegramSignIn
from switchboard.db.repositories.telegram import database_now, touch
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin, Wanted
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError, RateLimitedError
from switchboard.services import audit
from switchboard.services.telegram.accounts import AccountView, TelegramAccounts, subject

KEPT = timedelta(minutes=15)  # Telegram's codes live for some minutes less
ANSWERED_WITHIN = timedelta(seconds=60)
LONGEST_INPUT = 512
WAIT_S = 8.0
ENDED = "ended"


class Request(StrEnum):
    """What can be asked of the gateway."""

    SEND = "send"
    RESEND = "resend"
    CODE = "code"
    PASSWORD = "password"  # noqa: S105  a step
    CANCEL = "cancel"


class SignIns:
    """Asks for steps. Every method returns the request's number, for `wait`; the caller then wakes the gateway."""

    def __init__(
        self, database: Database, secret_box: SecretBox, clock: Callable[[], datetime], accounts: TelegramAccounts
    ) -> None:
        self._database = database
        self._box = secret_box
        self._clock = clock
        self._accounts = accounts

    def request_code(self, account_id: int, *, actor: str) -> int:
        """Begin: Telegram sends a code. ConflictError for an account that is signed in, a bot, or the environment's."""
        with self._database.write() as session:
            account, row = self._rows(session, account_id)
            if account.session is not None and account.state != AccountState.SIGN_IN_AGAIN:
                raise ConflictError("this account has a session: start it, or remove it first")
            if account.phone is None:
                raise ConflictError("this account has no number: remove it and add it by its number")
            now = database_now(session, self._clock())
            if row is None:
                row = TelegramSignIn(account_id=account_id, request_number=0, answered_number=0, asked_at=now)
                session.add(row)
            self._refuse_while_pending(row, now)
            row.session = row.code_hash = row.sent_by = row.hint = row.code_length = row.resend_at = None
            row.step, row.attempts, row.expires_at = "code", 0, now + KEPT
            return self._ask(session, row, Request.SEND, None, actor, now)

    def resend(self, account_id: int, *, actor: str) -> int:
        """The same code by another way. RateLimitedError before its time, ConflictError where there is no other way."""
        with self._database.write() as session:
            row, now = self._under_way(session, account_id, "code")
            if row.resend_at is None:
                raise ConflictError("Telegram offers no other way to send this code")
            if row.resend_at > now:
                wait_s = (row.resend_at - now).total_seconds()
                raise RateLimitedError(
                    f"the code may be sent another way in {math.ceil(wait_s)} s, at {row.resend_at:%H:%M:%S} UTC",
                    retry_after_s=wait_s,
                )
            return self._ask(session, row, Request.RESEND, None, actor, now)

    def submit_code(self, account_id: int, code: str, *, actor: str) -> int:
        """The code that arrived; blanks and dashes in it do not count."""
        bare = "".join(character for character in code if character.isascii() and character.isalnum())
        if not 3 <= len(bare) <= 64:
            raise InvalidInputError("write the code that Telegram sent, for example 12345", field="code")
        with self._database.write() as session:
            row, now = self._under_way(session, account_id, "code")
            return self._ask(session, row, Request.CODE, bare, actor, now)

    def submit_password(self, account_id: int, password: str, *, actor: str) -> int:
        """The password of the account's two-step verification."""
        if not password or len(password) > LONGEST_INPUT:
            raise InvalidInputError("write the password of the two-step verification", field="password")
        with self._database.write() as session:
            row, now = self._under_way(session, account_id, "password")
            return self._ask(session, row, Request.PASSWORD, password, actor, now)

    def cancel(self, account_id: int, *, actor: str) -> int:
        """End it; the code becomes worthless. Allowed while another step is under way."""
        with self._database.write() as session:
            row, now = self._under_way(session, account_id, None)
            return self._ask(session, row, Request.CANCEL, None, actor, now)

    def wait(self, account_id: int, number: int, *, seconds: float = WAIT_S) -> AccountView | None:
        """The account once request `number` is answered; None when it is not within so many seconds."""

        def answered(_view: AccountView) -> bool:
            with self._database.read() as session:
                row = session.get(TelegramSignIn, account_id)
                return row is None or row.answered_number >= number or row.request_number > number

        view = self._accounts.wait(account_id, answered, seconds=seconds)
        if view is None or not answered(view):
            return None
        return self._accounts.get(account_id)  # the view was read before the answer was seen

    def _rows(self, session: Session, account_id: int) -> tuple[TelegramAccount, TelegramSignIn | None]:
        account = session.get(TelegramAccount, account_id, with_for_update=True)
        if account is None or account.wanted in (Wanted.REMOVE, Wanted.LOG_OUT):
            raise NotFoundError(f"there is no Telegram account {account_id}")
        if account.origin == Origin.ENVIRONMENT:
            raise ConflictError("environment variables define this account: `telegram auth-key` makes its session")
        if account.kind == AccountKind.BOT:
            raise ConflictError("a bot is signed in by its token: start it")
        return account, session.get(TelegramSignIn, account_id, with_for_update=True)

    def _under_way(self, session: Session, account_id: int, step: str | None) -> tuple[TelegramSignIn, datetime]:
        _, row = self._rows(session, account_id)
        now = database_now(session, self._clock())
        if row is None or row.step == ENDED or row.expires_at is None or row.expires_at < now:
            raise ConflictError("no sign-in is under way: request a code first")
        if step is not None:
            self._refuse_while_pending(row, now)
            if row.step != step or row.session is None:
                words = "the password is asked for" if row.step == "password" else "the code is asked for"
                raise ConflictError(f"{words} now, not this" if row.session else "request a code first")
        return row, now

    @staticmethod
    def _refuse_while_pending(row: TelegramSignIn, now: datetime) -> None:
        if row.request_number > row.answered_number and now - row.asked_at < ANSWERED_WITHIN:
            raise ConflictError("the last step is still under way: wait for its answer")

    def _ask(
        self,
        session: Session,
        row: TelegramSignIn,
        request: Request,
        given: str | None,
        actor: str,
        now: datetime,
    ) -> int:
        row.request, row.input = request, None if given is None else self._box.encrypt(given)
        row.request_number += 1
        row.asked_at, row.problem, row.retry_at = now, None, None
        session.flush()
        touch(session, row.account_id)
        action = f"telegram.sign_in.{request}"
        audit.record(session, actor=actor, action=action, subject=subject(row.account_id), now=self._clock())
        return row.request_number
