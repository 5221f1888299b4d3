"""Organisations, their holdings, and the Telegram number each writes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Organisation, OrganisationTelegram, Recipient, TelegramAccount
from switchboard.db.repositories.organisations import DEEPEST, lineage, organisation, telegram_of
from switchboard.db.repositories.telegram import touch
from switchboard.domain import plain_text
from switchboard.domain.calendar.wall_clock import parse_zone
from switchboard.domain.organisations.digests import parse_at, parse_every
from switchboard.domain.telegram import phones
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin
from switchboard.errors import ConflictError, InvalidInputError, NotFoundError
from switchboard.services import audit
from switchboard.services.organisations.habits import followers, habit_of, send_collected
from switchboard.services.organisations.leaving import end_waiting
from switchboard.services.organisations.moving import move_waiting
from switchboard.services.organisations.schedules import reschedule
from switchboard.services.organisations.stops import take_along
from switchboard.services.telegram.accounts import AccountView, insert_account
from switchboard.texts.locales import LOCALES

MOST_NAME_CHARS = 200
MOST_CONTACT_CHARS = 200
MAX_API_ID = 2**31 - 1
WORKING = (AccountState.ONLINE, AccountState.FLOOD_LIMITED)
NOT_SET = "not_set"
NO_ACCOUNT = "no_account"
_API_HASH = re.compile(r"[0-9a-fA-F]{32}")


class Accounts(Protocol):
    """switchboard.services.telegram.accounts.TelegramAccounts."""

    def list_accounts(self) -> Sequence[AccountView]: ...


@dataclass(frozen=True, slots=True)
class OrganisationChanges:
    """What is to be changed; None leaves a field as it is. `parent_id` 0 takes it out of its holding.

    `digest` is none, hour or day, `digest_at` the time of a daily one; '' is the parent's.
    """

    name: str | None = None
    parent_id: int | None = None
    support_contact: str | None = None
    zone: str | None = None
    language: str | None = None
    digest: str | None = None
    digest_at: str | None = None


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """Whether an organisation's Telegram messages go out, why not, and since when.

    `state` is the account's (docs/explanation/notices.md), `not_set` without a number, `no_account` where the account was
    removed. `phone` is masked. `support_contact` says whom to ask while it is not online.
    """

    organisation_id: int
    online: bool
    state: str
    reason: str | None
    since: datetime | None
    account_id: int | None
    phone: str | None
    support_contact: str


@dataclass(frozen=True, slots=True)
class OrganisationView:
    """An organisation; `support_contact` may be empty: then the parent's is shown to people, else SUPPORT_CONTACT.

    An empty `digest` or `digest_at` is the parent's.
    """

    id: int
    name: str
    parent_id: int | None
    support_contact: str
    zone: str
    language: str
    digest: str
    digest_at: str
    recipients: int
    status: ServiceStatus
    created_at: datetime


class Organisations:
    """Makes, changes and removes organisations."""

    def __init__(
        self,
        database: Database,
        secret_box: SecretBox,
        accounts: Accounts,
        clock: Callable[[], datetime],
        *,
        support_contact: str,
    ) -> None:
        """`support_contact` is the deployment's own, for organisations without one."""
        self._database = database
        self._box = secret_box
        self._accounts = accounts
        self._clock = clock
        self._support_contact = support_contact

    def list_all(self) -> list[OrganisationView]:
        """Every organisation, by number."""
        return self._views()

    def get(self, organisation_id: int) -> OrganisationView:
        """One; NotFoundError where there is none."""
        found = self._views(organisation_id)
        if not found:
            raise NotFoundError(f"there is no organisation {organisation_id}")
        return found[0]

    def status(self, organisation_id: int) -> ServiceStatus:
        """Whether its messages go out; NotFoundError where there is none."""
        return self.get(organisation_id).status

    def create(self, name: str, settings: OrganisationChanges, *, actor: str) -> OrganisationView:
        """A new one. ConflictError where the name is taken, NotFoundError for an unknown parent."""
        values = {"support_contact": "", "zone": "UTC", "locale": "en", **_values(settings), "name": _name(name)}
        with self._database.write() as session:
            _lock_tree(session)
            _refuse_taken(session, values["name"])
            made = Organisation(parent_id=None, created_at=self._clock(), **values)
            session.add(made)
            _flush(session)
            if settings.parent_id:
                self._join(session, made, settings.parent_id)
            self._audit(session, made.id, "organisation.create", actor, {"parent_id": made.parent_id})
        return self.get(made.id)

    def update(self, organisation_id: int, changes: OrganisationChanges, *, actor: str) -> OrganisationView:
        """Change what is given. ConflictError where the name is taken or the holding would become a circle."""
        values = _values(changes)
        if changes.name is not None:
            values["name"] = _name(changes.name)
        with self._database.write() as session:
            if changes.parent_id is not None or changes.name is not None:
                _lock_tree(session)
            row = organisation(session, organisation_id, lock=True)
            if values.get("name", row.name) != row.name:
                _refuse_taken(session, values["name"], but=organisation_id)
            habit, zone = habit_of(lineage(session, organisation_id)), row.zone
            for field, value in values.items():
                setattr(row, field, value)
            _flush(session)
            if row.zone != zone:
                reschedule(session, organisation_id, row.zone, self._clock())
            if changes.parent_id is not None:
                self._join(session, row, changes.parent_id)
            if habit_of(lineage(session, organisation_id)) != habit:
                send_collected(session, followers(session, organisation_id), self._clock())
            details = {"changed": sorted([*values, *(["parent_id"] if changes.parent_id is not None else [])])}
            self._audit(session, organisation_id, "organisation.update", actor, details)
        return self.get(organisation_id)

    def remove(self, organisation_id: int, *, actor: str) -> None:
        """Remove it with its recipients, templates, mailings and events. ConflictError while others belong to it."""
        with self._database.write() as session:
            row = organisation(session, organisation_id, lock=True)
            below = session.scalar(select(func.count()).where(Organisation.parent_id == organisation_id))
            if below:
                raise ConflictError(f"{below} organisations belong to this one: move or remove them first")
            end_waiting(session, Recipient.organisation_id == organisation_id, self._clock())
            session.delete(row)
            self._audit(session, organisation_id, "organisation.remove", actor, {})

    def set_telegram(
        self, organisation_id: int, phone: str, *, api_id: int, api_hash: str, actor: str
    ) -> OrganisationView:
        """The number it writes from. One that is here already serves it at once, signed in or not; else it is added.

        ConflictError where the number stands with another api_id or api_hash: Telegram knows one for each number.
        """
        number = phones.normalise(phone)
        application = _application(api_id, api_hash)
        with self._database.write() as session:
            organisation(session, organisation_id, lock=True)
            others = session.scalars(
                select(OrganisationTelegram)
                .where(OrganisationTelegram.phone == number, OrganisationTelegram.organisation_id != organisation_id)
                .with_for_update()
            ).all()
            for other in others:
                self._refuse_another(application, other, f"for organisation {other.organisation_id}")
            account = self._account(session, number, application, alone=not others)
            row = telegram_of(session, organisation_id)
            if row is None or row.account_id != account.id:
                take_along(session, organisation_id)
            if row is None:
                row = OrganisationTelegram(organisation_id=organisation_id)
                session.add(row)
            changed = row.account_id != account.id
            row.account_id, row.phone, row.api_id = account.id, number, application.api_id
            row.api_hash, row.lost_to = self._box.encrypt(application.api_hash), None
            if changed:
                row.told = row.told_at = None
                self._leave_number(session, organisation_id)
            self._audit(session, organisation_id, "organisation.telegram", actor, {"account_id": account.id})
        return self.get(organisation_id)

    def unset_telegram(self, organisation_id: int, *, actor: str) -> OrganisationView:
        """Write from no number any more; the account stays for its other uses."""
        with self._database.write() as session:
            organisation(session, organisation_id, lock=True)
            row = telegram_of(session, organisation_id)
            if row is not None:
                take_along(session, organisation_id)
                session.delete(row)
                self._leave_number(session, organisation_id)
                self._audit(session, organisation_id, "organisation.telegram_unset", actor, {})
        return self.get(organisation_id)

    def _leave_number(self, session: Session, organisation_id: int) -> None:
        """What waits goes elsewhere, the rest of a large mailing with the next passes; nobody is known to the next number."""
        session.flush()
        move_waiting(session, self._clock(), organisation_id=organisation_id)
        session.execute(
            update(Recipient)
            .where(Recipient.organisation_id == organisation_id, Recipient.contacted_at.is_not(None))
            .values(contacted_at=None)
        )

    def _account(self, session: Session, number: str, application: Application, *, alone: bool) -> TelegramAccount:
        """The account of a number; a mistyped pair is mended while nobody signed in with it. One of the environment wins."""
        account = session.scalars(
            select(TelegramAccount)
            .where(TelegramAccount.phone == number, TelegramAccount.kind == AccountKind.USER)
            .order_by(TelegramAccount.origin == Origin.DATABASE, TelegramAccount.id)
            .with_for_update()
        ).first()
        if account is None:
            try:
                return insert_account(
                    session,
                    AccountKind.USER,
                    Origin.DATABASE,
                    application,
                    self._box,
                    now=self._clock(),
                    values={"phone": number},
                )
            except IntegrityError:
                raise ConflictError("somebody is adding this number just now; try again") from None
        if alone and account.origin == Origin.DATABASE and account.session is None:
            if account.api_id != application.api_id or self._box.decrypt(account.api_hash) != application.api_hash:
                sealed = self._box.encrypt(application.api_hash)
                touch(session, account.id, api_id=application.api_id, api_hash=sealed)
            return account
        self._refuse_another(application, account, f"as account {account.id}")
        return account

    def _refuse_another(
        self, application: Application, standing: OrganisationTelegram | TelegramAccount, where: str
    ) -> None:
        if standing.api_id != application.api_id:
            raise ConflictError(
                f"this number stands {where} with api_id {standing.api_id}: one number has one api_id, give the same"
            )
        if self._box.decrypt(standing.api_hash).lower() != application.api_hash.lower():
            raise ConflictError(f"this number stands {where} with another api_hash for this api_id: give the same")

    def _join(self, session: Session, row: Organisation, parent_id: int) -> None:
        """Hang it under a parent (0: none). The caller has locked the tree."""
        if parent_id == 0:
            row.parent_id = None
            return
        above = lineage(session, parent_id)
        if not above:
            raise NotFoundError(f"there is no organisation {parent_id}")
        if any(one.id == row.id for one in above):
            raise ConflictError("an organisation cannot belong to itself or to one below it")
        row.parent_id = parent_id
        session.flush()
        if len(above) + _depth(session, row.id) > DEEPEST:
            raise ConflictError(f"a holding has {DEEPEST} levels at most")

    def _views(self, organisation_id: int | None = None) -> list[OrganisationView]:
        counts = (
            select(Recipient.organisation_id, func.count().label("recipients"))
            .where(Recipient.removed_at.is_(None))
            .group_by(Recipient.organisation_id)
            .subquery()
        )
        query = (
            select(Organisation, OrganisationTelegram, func.coalesce(counts.c.recipients, 0))
            .outerjoin(OrganisationTelegram, OrganisationTelegram.organisation_id == Organisation.id)
            .outerjoin(counts, counts.c.organisation_id == Organisation.id)
            .order_by(Organisation.id)
        )
        if organisation_id is not None:
            query = query.where(Organisation.id == organisation_id)
        with self._database.read() as session:
            rows = session.execute(query).all()
            contacts = {row.id: self._contact(session, row.id) for row, _, _ in rows}
        accounts = {account.id: account for account in self._accounts.list_accounts()} if rows else {}
        return [
            OrganisationView(
                id=row.id,
                name=row.name,
                parent_id=row.parent_id,
                support_contact=row.support_contact,
                zone=row.zone,
                language=row.locale,
                digest=row.digest or "",
                digest_at="" if row.digest_at is None else f"{row.digest_at:%H:%M}",
                recipients=recipients,
                status=status_of(row, telegram, accounts, contacts[row.id]),
                created_at=row.created_at,
            )
            for row, telegram, recipients in rows
        ]

    def _contact(self, session: Session, organisation_id: int) -> str:
        """Whom its people ask: its own contact, else that of the nearest organisation above it, else the deployment's."""
        chain = lineage(session, organisation_id)
        return next((one.support_contact for one in chain if one.support_contact), self._support_contact)

    def _audit(
        self, session: Session, organisation_id: int, action: str, actor: str, details: Mapping[str, object]
    ) -> None:
        subject = f"organisation:{organisation_id}"
        audit.record(session, actor=actor, action=action, subject=subject, now=self._clock(), details=details)


def status_of(
    row: Organisation,
    telegram: OrganisationTelegram | None,
    accounts: Mapping[int, AccountView],
    support_contact: str = "",
) -> ServiceStatus:
    """How the Telegram of an organisation stands, from its account as operators see it; whom to ask while it is not online."""
    account = None if telegram is None or telegram.account_id is None else accounts.get(telegram.account_id)
    online = account is not None and account.state in WORKING
    return ServiceStatus(
        organisation_id=row.id,
        online=online,
        state=(NOT_SET if telegram is None else NO_ACCOUNT) if account is None else account.state,
        reason=_reason(telegram) if account is None else account.reason_text,
        since=None if account is None else account.since,
        account_id=None if account is None else account.id,
        phone=None if telegram is None else phones.masked(telegram.phone),
        support_contact="" if online else support_contact,
    )


def _reason(telegram: OrganisationTelegram | None) -> str:
    """Why an organisation has no account."""
    if telegram is None:
        return "No number is set for this organisation."
    if telegram.lost_to is None:
        return "The account of its number was removed: set the number again."
    other = phones.masked(telegram.lost_to) or "somebody else"
    return f"The account of its number is signed in as {other} now: set the number again, and sign in with it."


def _lock_tree(session: Session) -> None:
    """Every organisation, in one order and before any other lock: two moves at once make no circle, two names no pair."""
    session.scalars(select(Organisation.id).order_by(Organisation.id).with_for_update()).all()


def _depth(session: Session, organisation_id: int) -> int:
    """How many levels begin with this organisation."""
    levels, level = 0, [organisation_id]
    while level and levels <= DEEPEST:
        levels += 1
        level = list(session.scalars(select(Organisation.id).where(Organisation.parent_id.in_(level))))
    return levels


def _values(changes: OrganisationChanges) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if changes.support_contact is not None:
        plain_text.plain(changes.support_contact, field="support_contact")
        if len(changes.support_contact.strip()) > MOST_CONTACT_CHARS:
            raise InvalidInputError(f"at most {MOST_CONTACT_CHARS} characters", field="support_contact")
        values["support_contact"] = changes.support_contact.strip()
    if changes.zone is not None:
        values["zone"] = parse_zone(changes.zone).key
    if changes.language is not None:
        values["locale"] = language(changes.language)
    if changes.digest is not None:
        values["digest"] = parse_every(changes.digest)
    if changes.digest_at is not None:
        values["digest_at"] = parse_at(changes.digest_at)
    return values


def language(text: str) -> str:
    """A language we have texts in; InvalidInputError for any other."""
    if text not in LOCALES:
        raise InvalidInputError(f"the language is one of {', '.join(LOCALES)}", field="language")
    return text


def _name(name: str) -> str:
    name = " ".join(plain_text.plain(name, field="name").split())
    if not name or len(name) > MOST_NAME_CHARS:
        raise InvalidInputError(f"a name has 1 to {MOST_NAME_CHARS} characters", field="name")
    return name


def _refuse_taken(session: Session, name: str, *, but: int | None = None) -> None:
    """ConflictError where another has the name, in whatever letters. The caller has locked the tree."""
    for other_id, other in session.execute(select(Organisation.id, Organisation.name)):
        if other_id != but and other.casefold() == name.casefold():
            raise ConflictError(f"another organisation has this name: {other_id}")


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise ConflictError("another organisation has this name") from None


def _application(api_id: int, api_hash: str) -> Application:
    if not 1 <= api_id <= MAX_API_ID:
        raise InvalidInputError("api_id is a number that my.telegram.org gives", field="api_id")
    if not _API_HASH.fullmatch(api_hash):
        raise InvalidInputError("api_hash is the 32 hexadecimal digits beside api_id", field="api_hash")
    return Application(api_id, api_hash)
