"""Calendar accounts: connected after the server was asked, watched, mended and taken away again; and each user's settings."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, time
from typing import Any, Protocol

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import NotCaldavError, Principal, RemoteCalendar, preset_url, refuse_oauth_only
from switchboard.clients.host_limits import HostBusyError
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarObject, CalendarSubscriber
from switchboard.db.repositories import statuses
from switchboard.db.repositories.calendars import ACTIVE, forget_objects
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.db.repositories.subscribers import forget_messages, lock_accounts, lock_subscriber
from switchboard.db.upsert import insert_ignoring_conflicts
from switchboard.domain.calendar.gaps import parse_working_hours
from switchboard.domain.calendar.quiet_hours import parse_quiet_hours
from switchboard.domain.calendar.reminders import clean_minutes
from switchboard.domain.calendar.wall_clock import parse_agenda_time, parse_zone
from switchboard.errors import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    RemoteRejectedError,
    TransientError,
)
from switchboard.services import audit
from switchboard.services.calendar import changes as change_notices
from switchboard.services.calendar import notices
from switchboard.services.calendar.agendas import schedule_next
from switchboard.services.calendar.expansion import rearm
from switchboard.texts.locales import LOCALES, match_locale

DEFAULT_AGENDA_TIME = time(8, 0)
DEFAULT_WEEKDAYS = (1, 2, 3, 4, 5)
DEFAULT_REMINDER_MINUTES = (10,)
MAX_SERVER_URL_LENGTH = 512
MAX_CALENDAR_URL_LENGTH = 1_024
MAX_LOGIN_LENGTH = 256
MAX_NAME_LENGTH = 256
MAX_CALENDARS = 100


class WrongPasswordError(InvalidInputError):
    """The server does not accept login and password."""


class NotACalendarServerError(InvalidInputError):
    """Nothing at the address speaks CalDAV."""


class NoCalendarsError(InvalidInputError):
    """The login works and has no calendar for events."""


class UnknownUserError(InvalidInputError):
    """There is no such Mattermost user."""


class ServerUnreachableError(TransientError):
    """The server could not be asked just now; nothing was stored."""


class ServerBusyError(ServerUnreachableError):
    """The server takes no more requests of ours just now; `retry_after_s` says when it may. Nothing was stored."""


class UnknownAccountError(NotFoundError):
    """There is no such account or calendar (any more)."""


@dataclass(frozen=True, slots=True)
class Person:
    """A Mattermost user; `zone` is an IANA name, or empty where the profile has none. Messages go to `direct_channel_id`."""

    id: str
    username: str
    email: str
    locale: str
    zone: str = ""
    direct_channel_id: str | None = None


class People(Protocol):
    """The Mattermost users."""

    def find(self, username_or_id: str) -> Person | None:
        """The active user with this id, name or @name; None when there is none. Raises TransientError."""


class DiscoveringServer(Protocol):
    """What connecting needs of `switchboard.clients.caldav.CaldavClient`."""

    def discover(self) -> Principal: ...


ServerFactory = Callable[[str, str, str], AbstractContextManager[DiscoveringServer]]  # url, login, password


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """`server` is a CalDAV URL or a preset ("yandex"); an empty `zone` is the one of the user's Mattermost profile.

    `calendars` are URLs or names to watch; empty: all that hold events.
    """

    server: str
    login: str
    password: str
    mattermost_user: str
    zone: str = ""
    calendars: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"ConnectRequest(login={self.login!r}, mattermost_user={self.mattermost_user!r})"


@dataclass(frozen=True, slots=True)
class CalendarView:
    """A calendar as its owner sees it. `state` is active or lost."""

    id: int
    url: str
    name: str
    watched: bool
    state: str
    reason: str | None


@dataclass(frozen=True, slots=True)
class AccountView:
    """An account as its owner sees it; never the password. `state` is active or paused, `reason` says why.

    `is_owner_deactivated` in Mattermost: then it is paused, and goes on by itself when the owner is back.
    """

    id: int
    subscriber_id: int
    mattermost_user_id: str
    username: str
    server_url: str
    login: str
    state: str
    reason: str | None
    last_polled_at: datetime | None
    last_error: str | None
    next_poll_at: datetime
    is_owner_deactivated: bool
    calendars: tuple[CalendarView, ...]


@dataclass(frozen=True, slots=True)
class Connected:
    """A connected account; `created` is False when it was there and its password was renewed."""

    account_id: int
    subscriber_id: int
    calendars: tuple[CalendarView, ...]
    created: bool


@dataclass(frozen=True, slots=True)
class SubscriberSettings:
    """Changes to a user's settings; None leaves one as it is.

    `agenda_time` is HH:MM of the 15-minute grid, `weekdays` ISO numbers (1 Monday .. 7 Sunday), `locale` like `ru` or `en_GB`.
    `quiet_from` and `quiet_until` are HH:MM and come together; both empty: no quiet hours. So do `work_from` and `work_until`,
    the working hours; both empty: no free time is named.
    """

    zone: str | None = None
    locale: str | None = None
    agenda_enabled: bool | None = None
    agenda_time: str | None = None
    agenda_on_empty_days: bool | None = None
    weekdays: tuple[int, ...] | None = None
    reminders_enabled: bool | None = None
    reminder_minutes: tuple[int, ...] | None = None
    changes_enabled: bool | None = None
    answers_enabled: bool | None = None
    status_enabled: bool | None = None
    quiet_from: str | None = None
    quiet_until: str | None = None
    work_from: str | None = None
    work_until: str | None = None


class CalendarAccounts:
    """The accounts' use cases. Errors are InvalidInputErrors that name their field, or ServerUnreachableError."""

    def __init__(
        self,
        database: Database,
        open_server: ServerFactory,
        secret_box: SecretBox,
        people: People,
        guard: AddressGuard,
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._open_server = open_server
        self._secret_box = secret_box
        self._people = people
        self._guard = guard
        self._clock = clock

    def connect(self, request: ConnectRequest, *, actor: str) -> Connected:
        """Ask the server, then store the account; its first poll is due at once.

        The same server and login of the same user again renews the password and looks for new calendars. Raises
        UnknownUserError, WrongPasswordError, NotACalendarServerError, NoCalendarsError, InvalidInputError (zone, login,
        password, server_url, calendars), ServerUnreachableError; nothing is stored then.
        """
        url = self._server_url(request.server)
        login = _text(request.login, "login", "Enter the login of the calendar account.", MAX_LOGIN_LENGTH)
        password = _text(request.password, "password", "Enter the app password of the calendar account.", 1_024)
        zone = parse_zone(request.zone).key if request.zone else ""
        person = self._people.find(request.mattermost_user.strip())
        if person is None:
            raise UnknownUserError(
                "There is no active Mattermost user with this name or id.", field="mattermost_user_id"
            )
        principal = self._discover(url, login, password)
        chosen = _choose(principal.calendars, request.calendars)
        now = self._clock()
        with self._database.write() as session:
            subscriber = _subscriber(session, person, zone, now)
            account, created = _enter(session, subscriber.id, url, login, now)
            _renew(account, self._secret_box.encrypt(password), _addresses(principal, login), now)
            _merge_calendars(
                session, account, principal.calendars, watch=chosen if created or request.calendars else frozenset()
            )
            audit.record(
                session,
                actor=actor,
                action="calendar_account.connected" if created else "calendar_account.password_renewed",
                subject=f"calendar_account:{account.id}",
                now=now,
                details={"subscriber_id": subscriber.id, "calendars": len(principal.calendars)},
            )
            return Connected(account.id, subscriber.id, _calendar_views(session, account.id), created)

    def list_accounts(self, *, mattermost_user_id: str | None = None) -> list[AccountView]:
        """Every account in order of age, or those of one user."""
        query = (
            select(CalendarAccount, CalendarSubscriber)
            .join(CalendarSubscriber, CalendarSubscriber.id == CalendarAccount.subscriber_id)
            .order_by(CalendarAccount.id)
        )
        if mattermost_user_id is not None:
            query = query.where(CalendarSubscriber.mattermost_user_id == mattermost_user_id)
        with self._database.read() as session:
            return [
                AccountView(
                    id=account.id,
                    subscriber_id=subscriber.id,
                    mattermost_user_id=subscriber.mattermost_user_id,
                    username=subscriber.username,
                    server_url=account.server_url,
                    login=account.login,
                    state=account.state,
                    reason=account.reason,
                    last_polled_at=account.last_polled_at,
                    last_error=account.last_error,
                    next_poll_at=account.next_poll_at,
                    is_owner_deactivated=subscriber.deactivated_at is not None,
                    calendars=_calendar_views(session, account.id),
                )
                for account, subscriber in session.execute(query)
            ]

    def watch(self, account_id: int, calendar_ids: Collection[int], *, actor: str) -> tuple[CalendarView, ...]:
        """Watch exactly these calendars of the account; what is stored of the others is removed. Polled at once."""
        wanted = set(calendar_ids)
        now = self._clock()
        with self._database.write() as session:
            account = _account(session, account_id)
            calendars = session.scalars(select(Calendar).where(Calendar.account_id == account_id)).all()
            unknown = wanted - {calendar.id for calendar in calendars}
            if unknown:
                raise UnknownAccountError(f"The account has no calendar {min(unknown)}: list its calendars first.")
            dropped = [calendar.id for calendar in calendars if calendar.watched and calendar.id not in wanted]
            for calendar in calendars:
                calendar.watched = calendar.id in wanted
            _interrupt(account, now)
            session.flush()
            forget_objects(session, dropped)
            audit.record(
                session,
                actor=actor,
                action="calendar_account.watched",
                subject=f"calendar_account:{account_id}",
                now=now,
                details={"calendar_ids": sorted(wanted)},
            )
            statuses.wake_account(session, account_id, now)
            return _calendar_views(session, account_id)

    def refresh_calendars(self, account_id: int) -> tuple[CalendarView, ...]:
        """Look for new calendars and new names on the server; new ones are listed unwatched, until somebody chooses them."""
        with self._database.read() as session:
            account = _account(session, account_id)
            url, login, sealed = account.server_url, account.login, account.password
        principal = self._discover(url, login, self._secret_box.decrypt(sealed))
        with self._database.write() as session:
            account = _account(session, account_id)
            _merge_calendars(session, account, principal.calendars, watch=frozenset())
            return _calendar_views(session, account_id)

    def update_password(self, account_id: int, password: str, *, actor: str) -> None:
        """Store a new password after the server accepted it, and resume a paused account."""
        password = _text(password, "password", "Enter the app password of the calendar account.", 1_024)
        with self._database.read() as session:
            account = _account(session, account_id)
            url, login = account.server_url, account.login
        principal = self._discover(url, login, password)
        now = self._clock()
        with self._database.write() as session:
            account = _account(session, account_id)
            _renew(account, self._secret_box.encrypt(password), _addresses(principal, login), now)
            audit.record(
                session,
                actor=actor,
                action="calendar_account.password_renewed",
                subject=f"calendar_account:{account_id}",
                now=now,
            )

    def poll_soon(self, account_id: int) -> None:
        """Make the account's poll due now."""
        now = self._clock()
        with self._database.write() as session:
            account = _account(session, account_id)
            account.next_poll_at = min(account.next_poll_at, now)

    def disconnect(self, account_id: int, *, actor: str) -> None:
        """Delete the account with its password, calendars, meetings and reminders.

        The last one takes the user along, and the words of the messages about their calendar.
        """
        now = self._clock()
        with self._database.write() as session:
            # Every writer locks the user before the account, so that none waits in a circle.
            owner = select(CalendarAccount.subscriber_id).where(CalendarAccount.id == account_id)
            user_id = session.scalar(
                select(CalendarSubscriber.mattermost_user_id).where(CalendarSubscriber.id.in_(owner)).with_for_update()
            )
            account = _account(session, account_id)
            subscriber_id = account.subscriber_id
            session.execute(delete(CalendarAccount).where(CalendarAccount.id == account_id))
            left = session.scalar(
                select(CalendarAccount.id).where(CalendarAccount.subscriber_id == subscriber_id).limit(1)
            )
            if left is None:
                session.execute(delete(CalendarSubscriber).where(CalendarSubscriber.id == subscriber_id))
                forget_messages(session, user_id or "", (change_notices.KIND, notices.KIND), now)
            audit.record(
                session,
                actor=actor,
                action="calendar_account.disconnected",
                subject=f"calendar_account:{account_id}",
                now=now,
                details={"subscriber_id": subscriber_id},
            )
            statuses.wake(session, user_id or "", now)

    def configure(self, subscriber_id: int, settings: SubscriberSettings, *, actor: str) -> list[int]:
        """Change a user's settings; the next agenda and the reminders follow in the same transaction.

        Returns the accounts to expand anew: all of the user's after a change of zone, because all-day and floating
        meetings follow it.
        """
        changes = _settings(settings)
        now = self._clock()
        with self._database.write() as session:
            subscriber = lock_subscriber(session, subscriber_id)
            if subscriber is None:
                raise UnknownAccountError("This user has no calendar connected.")
            zone_changed = changes.get("zone", subscriber.zone) != subscriber.zone
            for name, value in changes.items():
                setattr(subscriber, name, value)
            subscriber.updated_at = now
            subscriber.changes_held_until = None  # the next scan asks the new quiet hours
            schedule_next(subscriber, now)
            session.flush()
            accounts = _expand_anew(session, subscriber_id) if zone_changed else []
            rearm(session, subscriber_id, now)
            DeliveryRepository(session).wake(f"mattermost:{subscriber.mattermost_user_id}", now)
            audit.record(
                session,
                actor=actor,
                action="calendar_subscriber.configured",
                subject=f"calendar_subscriber:{subscriber_id}",
                now=now,
                details={name: str(value) for name, value in changes.items()},
            )
            (statuses.want if subscriber.status_enabled else statuses.wake)(session, subscriber.mattermost_user_id, now)
        return accounts

    def _server_url(self, server: str) -> str:
        """A preset's address, or the given one after the guard has judged it and the addresses behind it."""
        server = server.strip()
        url = server if "://" in server or "." in server or ":" in server else preset_url(server)
        if "://" not in url:
            url = f"https://{url}"
        if len(url) > MAX_SERVER_URL_LENGTH:
            raise InvalidInputError(
                f"The server address is too long: at most {MAX_SERVER_URL_LENGTH} characters.", field="server_url"
            )
        parts = self._guard.check(url)
        refuse_oauth_only(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            self._guard.resolve(parts.hostname or "", port)
        except OSError:
            raise InvalidInputError(
                "The server's name is not known: look for a typing mistake in the address.", field="server_url"
            ) from None
        return url

    def _discover(self, url: str, login: str, password: str) -> Principal:
        try:
            with self._open_server(url, login, password) as server:
                principal = server.discover()
        except AuthError:
            raise WrongPasswordError(
                "The server does not accept this login and password. Most servers want an app password made for calendars.",
                field="password",
            ) from None
        except (NotCaldavError, NotFoundError, RemoteRejectedError) as error:
            raise NotACalendarServerError(
                f"This address is no CalDAV server: {error}. Take the CalDAV address from your provider's help.",
                field="server_url",
            ) from None
        except HostBusyError as error:
            raise ServerBusyError(
                "The calendar server takes no more requests from us just now. Try again in a while.",
                retry_after_s=error.retry_after_s,
            ) from None
        except TransientError as error:
            raise ServerUnreachableError(
                f"The calendar server could not be asked now: {error}. Try again in a while.",
                retry_after_s=error.retry_after_s,
            ) from None
        if not principal.calendars:
            raise NoCalendarsError(
                "The login works, but it has no calendar for events. Make one there, or take another login.",
                field="login",
            )
        return principal


def _text(value: str, field: str, missing: str, limit: int) -> str:
    value = value.strip()
    if not value:
        raise InvalidInputError(missing, field=field)
    if len(value) > limit or any(character < " " for character in value):
        raise InvalidInputError(f"This {field} is too long or holds control characters.", field=field)
    return value


def _locale(text: str) -> str:
    locale = match_locale(text)
    if not text.strip().lower().startswith(locale):
        raise InvalidInputError(f"Choose a language of: {', '.join(LOCALES)}.", field="locale")
    return locale


def _settings(settings: SubscriberSettings) -> dict[str, object]:
    """The columns that the settings change, with their values; InvalidInputError names the field of a bad one."""
    minutes = settings.reminder_minutes
    values = {
        "zone": None if settings.zone is None else parse_zone(settings.zone).key,
        "locale": None if settings.locale is None else _locale(settings.locale),
        "agenda_enabled": settings.agenda_enabled,
        "agenda_time": None if settings.agenda_time is None else parse_agenda_time(settings.agenda_time),
        "agenda_on_empty_days": settings.agenda_on_empty_days,
        "weekdays": None if settings.weekdays is None else _weekdays(settings.weekdays),
        "reminders_enabled": settings.reminders_enabled,
        "reminder_minutes": None if minutes is None else list(clean_minutes(minutes)),
        "changes_enabled": settings.changes_enabled,
        "answers_enabled": settings.answers_enabled,
        "status_enabled": settings.status_enabled,
    }
    changes: dict[str, object] = {name: value for name, value in values.items() if value is not None}
    if settings.quiet_from is not None or settings.quiet_until is not None:
        begins, ends = parse_quiet_hours(settings.quiet_from or "", settings.quiet_until or "")
        changes |= {"quiet_from": begins, "quiet_until": ends}
    if settings.work_from is not None or settings.work_until is not None:
        hours = parse_working_hours(settings.work_from or "", settings.work_until or "")
        changes |= {
            "work_from": None if hours is None else hours.begins,
            "work_until": None if hours is None else hours.ends,
        }
    return changes


def _weekdays(weekdays: Sequence[int]) -> list[int]:
    chosen = sorted(set(weekdays))
    if any(weekday not in range(1, 8) for weekday in chosen):
        raise InvalidInputError("Weekdays are numbers from 1 (Monday) to 7 (Sunday).", field="weekdays")
    return chosen


def _subscriber(session: Session, person: Person, zone: str, now: datetime) -> CalendarSubscriber:
    """The user's row, made with default settings at the first connection; a zone that was named replaces the old one."""
    query = select(CalendarSubscriber).where(CalendarSubscriber.mattermost_user_id == person.id).with_for_update()
    subscriber = session.scalar(query)
    if subscriber is None:
        row = {
            "mattermost_user_id": person.id,
            "username": person.username,
            "email": person.email,
            "locale": match_locale(person.locale),
            "zone": zone or _profile_zone(person),
            "agenda_enabled": True,
            "agenda_time": DEFAULT_AGENDA_TIME,
            "agenda_on_empty_days": True,
            "weekdays": list(DEFAULT_WEEKDAYS),
            "reminders_enabled": True,
            "reminder_minutes": list(DEFAULT_REMINDER_MINUTES),
            "created_at": now,
            "updated_at": now,
        }
        insert_ignoring_conflicts(session, CalendarSubscriber, [row], CalendarSubscriber.id)
        subscriber = session.scalars(query).one()
        schedule_next(subscriber, now)
    subscriber.username, subscriber.email = person.username, person.email
    if zone and zone != subscriber.zone:
        subscriber.zone, subscriber.updated_at = zone, now
        schedule_next(subscriber, now)
        _expand_anew(session, subscriber.id)
    session.flush()
    return subscriber


def _profile_zone(person: Person) -> str:
    try:
        return parse_zone(person.zone).key
    except InvalidInputError:
        raise InvalidInputError(
            "Name your time zone, for example Europe/Moscow: your Mattermost profile has none.", field="zone"
        ) from None


def _addresses(principal: Principal, login: str) -> list[str]:
    """The e-mail addresses that mean the owner in lists of attendees."""
    own = (login.lower(),) if "@" in login else ()
    return list(dict.fromkeys((*principal.addresses, *own)))


def _choose(calendars: Sequence[RemoteCalendar], wanted: Sequence[str]) -> frozenset[str]:
    """URLs of the calendars that were asked for by URL or name; all for none."""
    if not wanted:
        return frozenset(calendar.url for calendar in calendars)
    chosen = set()
    for text in wanted:
        found = {calendar.url for calendar in calendars if text.strip() in (calendar.url, calendar.name)}
        if not found:
            names = ", ".join(calendar.name for calendar in calendars[:10])
            raise InvalidInputError(
                f"There is no calendar {text.strip()[:60]!r}; there are: {names}.", field="calendars"
            )
        chosen |= found
    return frozenset(chosen)


def _merge_calendars(
    session: Session, account: CalendarAccount, found: Sequence[RemoteCalendar], *, watch: frozenset[str]
) -> None:
    """Add new calendars and follow new names; those the server no longer lists stay, for the polls to judge."""
    known = {row.url: row for row in session.scalars(select(Calendar).where(Calendar.account_id == account.id))}
    for calendar in [each for each in found if len(each.url) <= MAX_CALENDAR_URL_LENGTH][:MAX_CALENDARS]:
        row = known.get(calendar.url)
        if row is None:
            session.add(
                Calendar(
                    account_id=account.id,
                    url=calendar.url,
                    name=calendar.name[:MAX_NAME_LENGTH],
                    watched=calendar.url in watch,
                    state=ACTIVE,
                )
            )
        else:
            row.name = calendar.name[:MAX_NAME_LENGTH]
            row.watched = row.watched or calendar.url in watch
    session.flush()


def _renew(account: CalendarAccount, sealed: str, addresses: list[str], now: datetime) -> None:
    account.password, account.addresses = sealed, addresses
    account.state, account.reason, account.paused_at = ACTIVE, None, None
    account.failures = account.auth_failures = 0
    account.last_error = account.last_error_at = None
    _interrupt(account, now)


def _interrupt(account: CalendarAccount, now: datetime) -> None:
    """End a poll that is under way (its fence is no longer the account's) and make the next one due."""
    account.fence += 1
    account.claimed_until = None
    account.next_poll_at = now


def _expand_anew(session: Session, subscriber_id: int) -> list[int]:
    """Mark everything of a user, whose row the caller holds, for expansion; returns the accounts."""
    accounts = lock_accounts(session, subscriber_id)
    calendars = select(Calendar.id).where(Calendar.account_id.in_(accounts))
    session.execute(
        update(CalendarObject)
        .where(
            CalendarObject.calendar_id.in_(calendars), CalendarObject.raw != b"", CalendarObject.expansion_attempts == 0
        )
        .values(needs_expansion=True)
        .execution_options(synchronize_session=False)
    )
    return accounts


def _enter(session: Session, subscriber_id: int, url: str, login: str, now: datetime) -> tuple[CalendarAccount, bool]:
    """The user's account of this server and login, locked, and whether it is new: then without a password."""
    row: dict[str, Any] = {
        "subscriber_id": subscriber_id,
        "server_url": url,
        "login": login,
        "password": "",
        "addresses": [],
        "state": ACTIVE,
        "auth_failures": 0,
        "failures": 0,
        "next_poll_at": now,
        # A database that was restored gives ids again: a poll that outlived its account must not fit a new one.
        "fence": secrets.randbelow(1 << 30),
        "created_at": now,
    }
    created = bool(insert_ignoring_conflicts(session, CalendarAccount, [row], CalendarAccount.id))
    query = select(CalendarAccount).where(
        CalendarAccount.subscriber_id == subscriber_id,
        CalendarAccount.server_url == url,
        CalendarAccount.login == login,
    )
    return session.scalars(query.with_for_update()).one(), created


def _account(session: Session, account_id: int) -> CalendarAccount:
    """The account, locked for the transaction on PostgreSQL (SQLite has one writer)."""
    account = session.get(CalendarAccount, account_id, with_for_update=True)
    if account is None:
        raise UnknownAccountError(f"There is no calendar account {account_id}: list the accounts first.")
    return account


def _calendar_views(session: Session, account_id: int) -> tuple[CalendarView, ...]:
    calendars = session.scalars(select(Calendar).where(Calendar.account_id == account_id).order_by(Calendar.id))
    return tuple(CalendarView(row.id, row.url, row.name, row.watched, row.state, row.reason) for row in calendars)
