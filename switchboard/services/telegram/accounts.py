"""Telegram accounts as operators see and change them. The gateway makes it so (switchboard.services.telegram.hosting)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from switchboard.clients.telegram.session_files import read_session_file
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount, TelegramShard, TelegramSignIn
from switchboard.db.repositories.telegram import ShardRepository, database_now, move, touch
from switchboard.domain.telegram import phones
from switchboard.domain.telegram.sessions import Application, key_digest
from switchboard.domain.telegram.sharding import shard_of
from switchboard.domain.telegram.states import TEXTS, AccountKind, AccountState, Origin, Reason, Wanted
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError
from switchboard.services import audit
from switchboard.services.telegram.problems import PROBLEMS
from switchboard.services.telegram.waits import WaitView, allow_strangers, waits_of

MAX_API_ID = 2**31 - 1
POLL_S = 0.1
_API_HASH = re.compile(r"[0-9a-fA-F]{32}")
_BOT_TOKEN = re.compile(r"[0-9]{1,19}:[A-Za-z0-9_-]{30,64}")
_SIGNING_IN = (AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED)
_HELD = (AccountState.ONLINE, AccountState.FLOOD_LIMITED)


@dataclass(frozen=True, slots=True)
class SignInView:
    """A sign-in under way, or how the last one ended.

    `step` is the next thing to do: `code`, `password`, or `ended`. `pending` while the gateway works on what was asked last;
    `problem` is a word for why it was refused, `problem_text` says it in a sentence. `resend_at` is when the code may be
    asked for another way (null: never); Telegram does not say how long a code is valid, `expires_at` is when we give up.
    """

    step: str
    pending: bool
    sent_by: str | None
    code_length: int | None
    resend_at: datetime | None
    expires_at: datetime | None
    hint: str | None
    problem: str | None
    problem_text: str | None
    retry_at: datetime | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """A Telegram account: who it is, where it stands, why, and since when; and what it must wait for while it is online."""

    id: int
    kind: str
    origin: str
    phone: str | None
    api_id: int
    own_id: int | None
    own_name: str | None
    own_username: str | None
    state: str
    reason: str | None
    reason_text: str | None
    since: datetime
    flood_until: datetime | None
    wanted: str
    waits: tuple[WaitView, ...]
    sign_in: SignInView | None
    created_at: datetime


class TelegramAccounts:
    """Adds, lists, starts, stops and removes accounts."""

    def __init__(
        self,
        database: Database,
        secret_box: SecretBox,
        clock: Callable[[], datetime],
        *,
        application: Application | None,
        import_dir: Path,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._database = database
        self._box = secret_box
        self._clock = clock
        self._application = application
        self._import_dir = import_dir
        self._sleep = sleep

    def list_accounts(self) -> list[AccountView]:
        """Every account, oldest first."""
        return self._views()

    def get(self, account_id: int) -> AccountView:
        """One account; NotFoundError where there is none."""
        found = self._views(account_id)
        if not found:
            raise NotFoundError(f"there is no Telegram account {account_id}")
        return found[0]

    def add_user(
        self, phone: str, *, api_id: int | None = None, api_hash: str | None = None, actor: str
    ) -> AccountView:
        """A number that is to be signed in. ConflictError when it is here already."""
        number = phones.normalise(phone)
        application = self._application_of(api_id, api_hash)
        try:
            with self._database.write() as session:
                account = self._insert(session, AccountKind.USER, application, {"phone": number})
                self._audit(session, account.id, "telegram.add", actor, {"kind": AccountKind.USER})
        except IntegrityError:
            raise ConflictError("this number is here already: see the list of accounts") from None
        return self.get(account.id)

    def add_bot(self, token: str, *, api_id: int | None = None, api_hash: str | None = None, actor: str) -> AccountView:
        """A bot, which the gateway signs in by its token. ConflictError when it is here already."""
        if not _BOT_TOKEN.fullmatch(token.strip()):
            raise InvalidInputError(
                "this is no bot token: @BotFather gives one, a number, a colon and 35 letters", field="token"
            )
        token = token.strip()
        application = self._application_of(api_id, api_hash)
        own_id = int(token.partition(":")[0])
        with self._database.write() as session:
            known = session.scalar(
                select(TelegramAccount.id).where(
                    TelegramAccount.kind == AccountKind.BOT, TelegramAccount.own_id == own_id
                )
            )
            if known is not None:
                raise ConflictError(
                    f"this bot is here already: account {known}; to give it another token, remove it first"
                )
            account = self._insert(
                session,
                AccountKind.BOT,
                application,
                {
                    "bot_token": self._box.encrypt(token),
                    "own_id": own_id,
                    "state": AccountState.OFFLINE,
                    "reason": Reason.STARTING,
                },
            )
            self._audit(session, account.id, "telegram.add", actor, {"kind": AccountKind.BOT})
        return self.get(account.id)

    def import_file(
        self, name: str, *, api_id: int | None = None, api_hash: str | None = None, actor: str
    ) -> AccountView:
        """The session of a Telethon file in DATA_DIR/telegram-import, `name` being its bare name.

        The file is only read; no other program may use it any more. ConflictError when its session is here already.
        """
        application = self._application_of(api_id, api_hash)
        session_text = read_session_file(self._import_path(name))
        try:
            with self._database.write() as session:
                account = self._insert(
                    session,
                    AccountKind.USER,
                    application,
                    {
                        "session": self._box.encrypt(session_text),
                        "key_digest": key_digest(session_text),
                        "state": AccountState.OFFLINE,
                        "reason": Reason.STARTING,
                    },
                )
                self._audit(session, account.id, "telegram.import", actor, {})
        except IntegrityError:
            raise ConflictError("the session of this file is here already: a session may be open once only") from None
        return self.get(account.id)

    def start(self, account_id: int, *, actor: str) -> AccountView:
        """Let the gateway open it. ConflictError when it must be signed in first."""
        with self._database.write() as session:
            account = self._own(session, account_id)
            changes: dict[str, Any] = {"wanted": Wanted.RUN}
            if account.kind == AccountKind.BOT and account.state == AccountState.SIGN_IN_AGAIN:
                changes |= {"session": None, "key_digest": None}  # its token signs it in anew
            elif account.kind == AccountKind.USER and (
                account.session is None or account.state == AccountState.SIGN_IN_AGAIN
            ):
                raise ConflictError("this account has no session: sign in first")
            if account.wanted != Wanted.RUN or account.state in (AccountState.STOPPED, AccountState.SIGN_IN_AGAIN):
                move(session, account_id, AccountState.OFFLINE, reason=Reason.STARTING, now=self._clock())
                touch(session, account_id, **changes)
                self._audit(session, account_id, "telegram.start", actor, {})
        return self.get(account_id)

    def stop(self, account_id: int, *, actor: str) -> AccountView:
        """Let the gateway close it, and nobody open it. ConflictError while a sign-in is under way."""
        with self._database.write() as session:
            account = self._own(session, account_id)
            if account.state in _SIGNING_IN:
                raise ConflictError("a sign-in is under way: cancel it first")
            if account.wanted != Wanted.STOP:
                touch(session, account_id, wanted=Wanted.STOP)
                self._audit(session, account_id, "telegram.stop", actor, {})
            if not self._is_held(session, account.shard):
                move(session, account_id, AccountState.STOPPED, reason=Reason.ASKED, now=self._clock())
        return self.get(account_id)

    def allow_strangers(self, account_id: int, *, actor: str) -> AccountView:
        """Write to strangers again, as if Telegram had never refused that. ConflictError where it did not.

        An account that is open is connected anew: its sender would else go on waiting.
        """
        with self._database.write() as session:
            self._there(session, account_id)
            if not allow_strangers(session, account_id, self._clock()):
                raise ConflictError("Telegram has not limited this account's messages to strangers")
            touch(session, account_id)
            self._audit(session, account_id, "telegram.allow_strangers", actor, {})
        return self.get(account_id)

    def remove(self, account_id: int, *, log_out: bool, actor: str) -> bool:
        """Forget it; `log_out` also ends its session at Telegram. True: it is gone; False: the gateway does it."""
        with self._database.write() as session:
            account = self._own(session, account_id)
            self._audit(session, account_id, "telegram.remove", actor, {"log_out": log_out})
            idle = not self._is_held(session, account.shard) or account.state == AccountState.STOPPED
            if account.session is None or (idle and not log_out):
                session.delete(account)
                return True
            touch(session, account_id, wanted=Wanted.LOG_OUT if log_out else Wanted.REMOVE)
            return False

    def wait(self, account_id: int, until: Callable[[AccountView], bool], *, seconds: float) -> AccountView | None:
        """The account as soon as `until` holds, or as it is after so many seconds; None when it is gone."""
        end = time.monotonic() + seconds
        while True:
            found = self._views(account_id)
            if not found:
                return None
            if until(found[0]) or time.monotonic() >= end:
                return found[0]
            self._sleep(POLL_S)

    def _views(self, account_id: int | None = None) -> list[AccountView]:
        query = (
            select(TelegramAccount, TelegramSignIn, TelegramShard.leased_until)
            .outerjoin(TelegramSignIn, TelegramSignIn.account_id == TelegramAccount.id)
            .outerjoin(TelegramShard, TelegramShard.shard == TelegramAccount.shard)
            .order_by(TelegramAccount.id)
        )
        if account_id is not None:
            query = query.where(TelegramAccount.id == account_id)
        with self._database.read() as session:
            now = database_now(session, self._clock())
            rows = session.execute(query).all()
            waits = waits_of(session, [account.id for account, _step, _until in rows], now)
            return [self._view(account, step, until, waits.get(account.id, ()), now) for account, step, until in rows]

    def _view(
        self,
        account: TelegramAccount,
        step: TelegramSignIn | None,
        leased_until: datetime | None,
        waits: tuple[WaitView, ...],
        now: datetime,
    ) -> AccountView:
        state, reason, since = account.state, account.reason, account.since
        if state in _HELD and (leased_until is None or leased_until < now):
            # its holder was killed and could not say so
            state, reason, since = AccountState.OFFLINE, Reason.NO_GATEWAY, leased_until or since
        elif state == AccountState.FLOOD_LIMITED and account.flood_until is not None and account.flood_until <= now:
            state, reason, since = AccountState.ONLINE, None, account.flood_until
        elif reason == Reason.STARTING and (leased_until is None or leased_until < now):
            reason = Reason.NO_GATEWAY
        return AccountView(
            id=account.id,
            kind=account.kind,
            origin=account.origin,
            phone=account.phone,
            api_id=account.api_id,
            own_id=account.own_id,
            own_name=account.own_name,
            own_username=account.own_username,
            state=state,
            reason=reason,
            reason_text=TEXTS.get(reason) if reason else None,
            since=since,
            flood_until=account.flood_until if state == AccountState.FLOOD_LIMITED else None,
            wanted=account.wanted,
            waits=waits,
            sign_in=None if step is None else self._sign_in_view(step, now),
            created_at=account.created_at,
        )

    def _sign_in_view(self, row: TelegramSignIn, now: datetime) -> SignInView:
        over = row.expires_at is not None and row.expires_at < now
        problem = "expired" if over else row.problem
        return SignInView(
            step="ended" if over else row.step,
            pending=not over and row.request_number > row.answered_number,
            sent_by=row.sent_by,
            code_length=row.code_length,
            resend_at=row.resend_at,
            expires_at=row.expires_at,
            hint=None if row.hint is None else self._box.decrypt(row.hint),
            problem=problem,
            problem_text=None if problem is None else PROBLEMS[problem],
            retry_at=row.retry_at,
        )

    def _insert(
        self, session: Session, kind: AccountKind, application: Application, values: Mapping[str, Any]
    ) -> TelegramAccount:
        return insert_account(session, kind, Origin.DATABASE, application, self._box, now=self._clock(), values=values)

    def _own(self, session: Session, account_id: int) -> TelegramAccount:
        """The row, locked; ConflictError for one that the environment defines, unless a restore stopped it."""
        account = self._there(session, account_id)
        if account.origin == Origin.ENVIRONMENT and account.reason != Reason.RESTORED:
            raise ConflictError("environment variables define this account: change them and restart `telegram`")
        return account

    @staticmethod
    def _there(session: Session, account_id: int) -> TelegramAccount:
        """The row, locked; NotFoundError where there is none."""
        account = session.get(TelegramAccount, account_id, with_for_update=True)
        if account is None or account.wanted in (Wanted.REMOVE, Wanted.LOG_OUT):
            raise NotFoundError(f"there is no Telegram account {account_id}")
        return account

    def _application_of(self, api_id: int | None, api_hash: str | None) -> Application:
        if api_id is None and api_hash is None:
            if self._application is None:
                raise InvalidInputError(
                    "give api_id and api_hash of my.telegram.org, or set TELEGRAM_API_ID and TELEGRAM_API_HASH",
                    field="api_id",
                )
            return self._application
        if api_id is None or not 1 <= api_id <= MAX_API_ID:
            raise InvalidInputError("api_id is a number that my.telegram.org gives", field="api_id")
        if api_hash is None or not _API_HASH.fullmatch(api_hash):
            raise InvalidInputError("api_hash is the 32 hexadecimal digits beside api_id", field="api_hash")
        return Application(api_id, api_hash)

    def _import_path(self, name: str) -> Path:
        """A file directly inside the folder, links that lead out of it refused."""
        folder = self._import_dir.resolve()
        path = (folder / name).resolve()
        if path.parent != folder or path.name != name or path.suffix != ".session" or not path.is_file():
            raise InvalidInputError(f"there is no file of that name, ending in .session, in {folder}", field="file")
        return path

    def _is_held(self, session: Session, shard: int) -> bool:
        """Whether a gateway may have accounts of this shard open."""
        return shard in ShardRepository(session).held(database_now(session, self._clock()))

    def _audit(self, session: Session, account_id: int, action: str, actor: str, details: Mapping[str, object]) -> None:
        audit.record(
            session, actor=actor, action=action, subject=subject(account_id), now=self._clock(), details=details
        )


def subject(account_id: int) -> str:
    """How the audit log calls an account."""
    return f"telegram_account:{account_id}"


def insert_account(
    session: Session,
    kind: AccountKind,
    origin: Origin,
    application: Application,
    secret_box: SecretBox,
    *,
    now: datetime,
    values: Mapping[str, Any],
) -> TelegramAccount:
    """A new row in its shard. IntegrityError when its phone or session stands in another."""
    row: dict[str, Any] = {
        "kind": kind,
        "origin": origin,
        "api_id": application.api_id,
        "api_hash": secret_box.encrypt(application.api_hash),
        "state": AccountState.NEW,
        "since": now,
        "wanted": Wanted.RUN,
        "shard": 0,
        "created_at": now,
    }
    account = TelegramAccount(**row | dict(values))
    session.add(account)
    session.flush()
    account.shard = shard_of(account.id)
    return account
