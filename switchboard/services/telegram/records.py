"""What the holder of an account reads and writes: every write under its fence, none by anybody else.

The seam between the gateway's loop and the database. All of it waits for the database: the loop calls it in threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    OrganisationTelegram,
    TelegramAccount,
    TelegramChat,
    TelegramMessage,
    TelegramMiss,
    TelegramPeer,
    TelegramSent,
    TelegramSignIn,
    TelegramWait,
)
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.db.repositories.telegram import database_now, move, overdue_sign_ins, revisions, touch
from switchboard.db.repositories.telegram_inbox import FAILED, HANDLED
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin, Reason, Wanted
from switchboard.services.organisations.stops import take_along
from switchboard.services.telegram.problems import ENDING
from switchboard.services.telegram.shards import Fence
from switchboard.services.telegram.sign_in import ENDED, Request

ATTEMPTS = 5
ANOTHER_NUMBER = "the account that was to send it is signed in as another number now"
MAY_STAND = "it may have been sent by the Telegram account that was here before"
_KEY_SURVIVES = (Reason.API_ID_REFUSED,)


class Todo(StrEnum):
    """What an account needs of its holder now."""

    NOTHING = "nothing"
    RUN = "run"
    SIGN_IN_BOT = "sign_in_bot"
    STEP = "step"
    STOP = "stop"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """An account as its holder must know it. `session` is '' where there is none."""

    account_id: int
    todo: Todo
    revision: int
    kind: AccountKind
    application: Application
    session: str
    bot_token: str
    log_out: bool

    def keeps_open(self, before: Plan) -> bool:
        """Whether a connection that was opened for `before` may stay: nobody changed the account since."""
        return self.todo == Todo.RUN and self.revision == before.revision


@dataclass(frozen=True, slots=True, repr=False)
class Step:
    """A step of a sign-in to carry out; `session` is '' before the first, `given` the code or password."""

    number: int
    request: Request
    phone: str
    session: str
    code_hash: str
    given: str


@dataclass(frozen=True, slots=True, repr=False)
class StepResult:
    """How a step went. `problem` is a word of problems.PROBLEMS; what is None stays as it was.

    `own` are the facts of the account that is signed in now.
    """

    session: str = ""
    problem: str | None = None
    retry_after_s: float | None = None
    step: str | None = None
    code_hash: str | None = None
    sent_by: str | None = None
    code_length: int | None = None
    resend_after_s: float | None = None
    hint: str | None = None
    own: Own | None = None


@dataclass(frozen=True, slots=True)
class Own:
    """Whose session it is."""

    id: int
    name: str
    username: str | None
    phone: str | None


class Records:
    """The rows of accounts, for their holder."""

    def __init__(self, database: Database, secret_box: SecretBox, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._box = secret_box
        self._clock = clock

    def revisions(self, shards: Collection[int]) -> dict[int, tuple[int, int]]:
        """Every account of these shards: id -> (shard, revision). Throws away sign-ins that were not finished in time."""
        with self._database.read() as session:
            found = revisions(session, shards)
            overdue = overdue_sign_ins(session, shards, database_now(session, self._clock()))
        for account_id in overdue:
            with self._database.write() as session:
                now = database_now(session, self._clock())
                row = session.get(TelegramSignIn, account_id, with_for_update=True)
                if row is not None and row.expires_at is not None and row.expires_at < now:
                    self._end(session, row, "expired", Reason.SIGN_IN_EXPIRED, now)
        return found

    def shard_of(self, account_id: int) -> int | None:
        """The shard of an account; None where it is gone."""
        with self._database.read() as session:
            return session.scalar(select(TelegramAccount.shard).where(TelegramAccount.id == account_id))

    def plan(self, account_id: int, fence: Fence) -> Plan | None:
        """What the account needs; None where it is gone. LeaseLostError where it is not ours."""
        fence.check()
        with self._database.read() as session:
            account = session.get(TelegramAccount, account_id)
            if account is None:
                return None
            step = session.get(TelegramSignIn, account_id)
        return Plan(
            account_id=account.id,
            todo=_todo(account, step),
            revision=account.revision,
            kind=AccountKind(account.kind),
            application=Application(account.api_id, self._box.decrypt(account.api_hash)),
            session=self._opened(account.session),
            bot_token=self._opened(account.bot_token),
            log_out=account.wanted == Wanted.LOG_OUT,
        )

    def online(self, account_id: int, fence: Fence, own: Own) -> None:
        """It is connected, and this is who it is."""
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id)
            if account is None:
                return
            values = self._identity(session, account, own)
            move(session, account_id, AccountState.ONLINE, now=self._now(session), values=values)

    def offline(self, account_id: int, fence: Fence, reason: Reason) -> None:
        """It is not connected, and will be again."""
        self._move(account_id, fence, AccountState.OFFLINE, reason)

    def flood(self, account_id: int, fence: Fence, seconds: float) -> None:
        """Telegram wants the whole account to wait."""
        with self._database.write() as session:
            fence.hold(session)
            now = self._now(session)
            values = {"flood_until": now + timedelta(seconds=seconds)}
            move(session, account_id, AccountState.FLOOD_LIMITED, reason=Reason.FLOOD_WAIT, now=now, values=values)

    def lost(self, account_id: int, fence: Fence, reason: Reason) -> None:
        """Its session is dead: somebody must sign in again. A dead key is not kept, unless the environment gave it.

        A session of another Telegram is not dead, and only stopped.
        """
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id)
            if account is None:
                return
            if reason == Reason.OTHER_TELEGRAM:
                stop = {"wanted": Wanted.STOP}
                move(session, account_id, AccountState.STOPPED, reason=reason, now=self._now(session), values=stop)
                return
            gone: Mapping[str, Any] = {"session": None, "key_digest": None}
            keep = account.origin == Origin.ENVIRONMENT or reason in _KEY_SURVIVES
            values = {} if keep else gone
            move(session, account_id, AccountState.SIGN_IN_AGAIN, reason=reason, now=self._now(session), values=values)

    def stopped(self, account_id: int, fence: Fence) -> None:
        """It is closed because somebody wants it so."""
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id)
            if account is None or account.wanted != Wanted.STOP:
                return
            reason = Reason.NOT_IN_ENVIRONMENT if account.origin == Origin.ENVIRONMENT else Reason.ASKED
            if account.reason not in (Reason.SESSION_IN_USE, Reason.OTHER_TELEGRAM, Reason.RESTORED):
                move(session, account_id, AccountState.STOPPED, reason=reason, now=self._now(session))

    def removed(self, account_id: int, fence: Fence) -> None:
        """It is closed, and shall be forgotten."""
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id)
            if account is not None and account.wanted in (Wanted.REMOVE, Wanted.LOG_OUT):
                session.delete(account)

    def bot_signed_in(self, account_id: int, fence: Fence, session_text: str, own: Own) -> None:
        """A bot's token made this session."""
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id)
            if account is not None:
                self._store_session(session, account, session_text, own)

    def step(self, account_id: int) -> Step | None:
        """The step of a sign-in that waits to be carried out."""
        with self._database.read() as session:
            row = session.get(TelegramSignIn, account_id)
            account = session.get(TelegramAccount, account_id)
        if row is None or account is None or row.request is None or row.request_number <= row.answered_number:
            return None
        return Step(
            number=row.request_number,
            request=Request(row.request),
            phone=account.phone or "",
            session=self._opened(row.session),
            code_hash=self._opened(row.code_hash),
            given=self._opened(row.input),
        )

    def step_done(self, account_id: int, fence: Fence, step: Step, result: StepResult) -> None:
        """Answer a step; a newer request stays unanswered, but what was learnt is kept for it."""
        with self._database.write() as session:
            fence.hold(session)
            account = session.get(TelegramAccount, account_id, with_for_update=True)
            row = session.get(TelegramSignIn, account_id, with_for_update=True)
            if account is None or row is None or row.answered_number >= step.number:
                return
            now = self._now(session)
            row.answered_number = step.number
            if row.request_number == step.number:
                row.input = None
            if result.own is not None:
                self._store_session(session, account, result.session, result.own)
                self._wipe(row, None)
                return
            problem = self._counted(row, result.problem)
            if problem in ENDING:
                self._end(session, row, problem, Reason.SIGN_IN_CANCELLED if problem == "cancelled" else None, now)
                return
            self._keep(row, result, problem, now)
            if result.step is not None:
                state = AccountState.PASSWORD_NEEDED if result.step == "password" else AccountState.CODE_SENT
                move(session, account_id, state, now=now)

    @staticmethod
    def _counted(row: TelegramSignIn, problem: str | None) -> str | None:
        if problem not in ("code_wrong", "password_wrong"):
            return problem
        row.attempts += 1
        return problem if row.attempts < ATTEMPTS else "too_many_attempts"

    def _keep(self, row: TelegramSignIn, result: StepResult, problem: str | None, now: datetime) -> None:
        row.problem = problem
        row.retry_at = None if result.retry_after_s is None else now + timedelta(seconds=result.retry_after_s)
        if result.session:
            row.session = self._box.encrypt(result.session)
        if result.step is None:
            return
        row.step, row.attempts = result.step, 0
        if result.hint is not None:
            row.hint = self._box.encrypt(result.hint)
        if result.code_hash is not None:
            row.code_hash = self._box.encrypt(result.code_hash)
            row.sent_by, row.code_length = result.sent_by, result.code_length
            wait_s = result.resend_after_s
            row.resend_at = None if wait_s is None else now + timedelta(seconds=wait_s)

    def _end(
        self, session: Session, row: TelegramSignIn, problem: str | None, reason: Reason | None, now: datetime
    ) -> None:
        """Throw the half-made session away; the account is where it was before."""
        self._wipe(row, problem)
        account = session.get_one(TelegramAccount, row.account_id)
        if account.state in (AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED):
            home = AccountState.NEW if account.own_id is None else AccountState.SIGN_IN_AGAIN
            move(session, account.id, home, reason=reason, now=now)

    @staticmethod
    def _wipe(row: TelegramSignIn, problem: str | None) -> None:
        row.step, row.problem, row.request = ENDED, problem, None
        row.session = row.code_hash = row.input = row.hint = None
        row.resend_at = row.expires_at = row.retry_at = None
        row.answered_number = row.request_number

    def _store_session(self, session: Session, account: TelegramAccount, text: str, own: Own) -> None:
        values = {
            "session": self._box.encrypt(text),
            "key_digest": key_digest(text),
            "wanted": Wanted.RUN,
            **self._identity(session, account, own),
        }
        move(session, account.id, AccountState.OFFLINE, reason=Reason.STARTING, now=self._now(session))
        touch(session, account.id, **values)

    def _identity(self, session: Session, account: TelegramAccount, own: Own) -> dict[str, Any]:
        """Who it is now. Of another Telegram account than before nothing is known yet, and nobody writes from it."""
        values: dict[str, Any] = {"own_id": own.id, "own_name": own.name[:160], "own_username": own.username}
        another = account.own_id is not None and account.own_id != own.id
        if another:
            _take_stops_along(session, account.id)
            values |= {"pts": None, "qts": None, "date": None, "seq": None, "top_message": None}
            _forget(session, account.id)
            DeliveryRepository(session).end_begun(account.id, reason=MAY_STAND, now=self._now(session))
        if own.phone == account.phone or (own.phone is None and not another):
            return values
        taken = select(TelegramAccount.id).where(
            TelegramAccount.phone == own.phone, TelegramAccount.origin == account.origin
        )
        is_free = session.scalar(taken) is None
        if account.own_id == own.id:
            if is_free:
                values["phone"] = own.phone
                _keep_organisations(session, account.id, own.phone)
            return values
        values["phone"] = own.phone if is_free else None
        if account.phone is not None:
            _leave_organisations(session, account.id, own.phone, self._now(session))
        return values

    def _move(self, account_id: int, fence: Fence, state: AccountState, reason: Reason) -> None:
        with self._database.write() as session:
            fence.hold(session)
            move(session, account_id, state, reason=reason, now=self._now(session))

    def _now(self, session: Session) -> datetime:
        return database_now(session, self._clock())

    def _opened(self, sealed: str | None) -> str:
        return "" if sealed is None else self._box.decrypt(sealed)


def _forget(session: Session, account_id: int) -> None:
    """Forget what another Telegram account met, read, sent and was told to wait for: its numbers name other things now.

    Messages that nobody handled yet stay: a STOP is meant whoever holds the number by now.
    """
    for model in (TelegramPeer, TelegramMiss, TelegramChat, TelegramSent, TelegramWait):
        session.execute(delete(model).where(model.account_id == account_id))
    session.execute(
        delete(TelegramMessage).where(
            TelegramMessage.account_id == account_id, TelegramMessage.state.in_((HANDLED, FAILED))
        )
    )


def _take_stops_along(session: Session, account_id: int) -> None:
    """While it is known yet who said STOP to the number that it was."""
    theirs = select(OrganisationTelegram.organisation_id).where(OrganisationTelegram.account_id == account_id)
    for organisation_id in session.scalars(theirs).all():
        take_along(session, organisation_id)


def _keep_organisations(session: Session, account_id: int, phone: str | None) -> None:
    """The same Telegram account under a new number stays theirs: people see the same chat."""
    theirs = update(OrganisationTelegram).where(OrganisationTelegram.account_id == account_id)
    session.execute(theirs.values(phone=phone))


def _leave_organisations(session: Session, account_id: int, phone: str | None, now: datetime) -> None:
    """Those that wrote from the number before do not write from this one; what waits for it ends."""
    session.execute(
        update(OrganisationTelegram)
        .where(OrganisationTelegram.account_id == account_id, OrganisationTelegram.phone.is_distinct_from(phone))
        .values(account_id=None, lost_to=phone or "")
    )
    DeliveryRepository(session).end_waiting(account_id, reason=ANOTHER_NUMBER, now=now)


def _todo(account: TelegramAccount, step: TelegramSignIn | None) -> Todo:
    """What the row asks for."""
    if account.wanted in (Wanted.REMOVE, Wanted.LOG_OUT):
        return Todo.REMOVE
    if account.wanted == Wanted.STOP:
        return Todo.NOTHING if account.state == AccountState.STOPPED else Todo.STOP
    if step is not None and step.request is not None and step.request_number > step.answered_number:
        return Todo.STEP
    if account.state in (AccountState.OFFLINE, AccountState.ONLINE, AccountState.FLOOD_LIMITED):
        if account.session is not None:
            return Todo.RUN
        if account.bot_token is not None:
            return Todo.SIGN_IN_BOT
    return Todo.NOTHING


def own_of(found: Any) -> Own:
    """From a client's description of itself."""
    return Own(id=found.id, name=found.name, username=found.username, phone=found.phone)
