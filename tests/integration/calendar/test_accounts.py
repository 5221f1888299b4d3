"""Connecting, watching, mending and taking away calendar accounts, on both databases."""

from __future__ import annotations

import logging
import threading
import time as time_module
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta

import pytest
from sqlalchemy import func, select, text, update

from sandbox.caldav.faulty import CALENDAR, LOGIN, FaultyServer
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient, Principal, RemoteCalendar
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    AuditEntry,
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSubscriber,
)
from switchboard.errors import InvalidInputError
from switchboard.services.calendar.accounts import (
    CalendarAccounts,
    ConnectRequest,
    NoCalendarsError,
    NotACalendarServerError,
    Person,
    ServerUnreachableError,
    SubscriberSettings,
    UnknownAccountError,
    UnknownUserError,
    WrongPasswordError,
)
from tests.integration.calendar.household import bare_occurrence
from tests.servers import ANY_DATABASE

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
BOX = SecretBox(["k" * 32])
ANNA = Person("u-anna", "anna", "anna@example.org", "ru", "Europe/Moscow")
BORIS = Person("u-boris", "boris", "boris@example.org", "en")


class Users:
    def find(self, username_or_id: str) -> Person | None:
        return next((who for who in (ANNA, BORIS) if username_or_id.lstrip("@") in (who.id, who.username)), None)


class Office:
    """The accounts' service over one database, its server the twin (or what `found` says)."""

    def __init__(self, database: Database, server: FaultyServer) -> None:
        self.database = database
        self.server = server
        self.found: Principal | None = None
        self.guard = AddressGuard([f"127.0.0.1:{server.port}"])
        self.accounts = CalendarAccounts(database, self.open_server, BOX, Users(), self.guard, lambda: NOW)

    @contextmanager
    def open_server(self, url: str, login: str, password: str) -> Iterator[CaldavClient]:
        with CaldavClient(url, login, password, guard=self.guard, timeout_s=10, deadline_s=40) as client:
            if self.found is not None:
                found = self.found
                client.discover = lambda: found  # type: ignore[method-assign]
            yield client

    def request(self, **changes: object) -> ConnectRequest:
        values = {
            "server": self.server.url,
            "login": LOGIN,
            "password": self.server.password,
            "mattermost_user": "anna",
            "zone": "Europe/Berlin",
        }
        return ConnectRequest(**{**values, **changes})  # type: ignore[arg-type]

    def connect(self, **changes: object) -> int:
        return self.accounts.connect(self.request(**changes), actor="test").account_id

    def count(self, model: type) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0

    def account(self, account_id: int) -> CalendarAccount:
        with self.database.read() as session:
            return session.get_one(CalendarAccount, account_id)

    def subscriber(self) -> CalendarSubscriber:
        with self.database.read() as session:
            return session.scalars(select(CalendarSubscriber).order_by(CalendarSubscriber.id)).first()  # type: ignore[return-value]

    def fill(self, calendar_id: int, account_id: int) -> None:
        with self.database.write() as session:
            item = CalendarObject(
                calendar_id=calendar_id, href="/a.ics", etag="1", raw=b"x", needs_expansion=False, changed_at=NOW
            )
            session.add(item)
            session.flush()
            session.add(bare_occurrence(calendar_id, account_id, item.id, NOW))


@pytest.fixture
def office(database: Database, faulty: FaultyServer) -> Office:
    return Office(database, faulty)


def two_calendars(server: FaultyServer, *more: str) -> Principal:
    names = ("work", "home", *more)
    return Principal(
        ("anna@work.example",),
        tuple(RemoteCalendar(f"{server.url}/home/anna/{name}/", name, frozenset({"VEVENT"})) for name in names),
    )


def test_a_connected_account_is_stored_sealed_audited_and_polled_at_once(office: Office) -> None:
    connected = office.accounts.connect(office.request(), actor="cli")
    assert connected.created
    assert [(calendar.name, calendar.watched) for calendar in connected.calendars] == [("Work", True)]
    account = office.account(connected.account_id)
    assert account.password != office.server.password
    assert BOX.decrypt(account.password) == office.server.password
    assert (account.next_poll_at, account.state, account.addresses) == (NOW, "active", ["anna@example.org"])
    subscriber = office.subscriber()
    assert (subscriber.mattermost_user_id, subscriber.zone, subscriber.locale) == ("u-anna", "Europe/Berlin", "ru")
    assert subscriber.next_agenda_at is not None
    assert subscriber.next_agenda_at > NOW
    with office.database.read() as session:
        [entry] = session.scalars(select(AuditEntry))
    assert (entry.actor, entry.action) == ("cli", "calendar_account.connected")
    assert office.server.password not in str(entry.details)


@ANY_DATABASE
@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"password": "wrong"}, WrongPasswordError, "password"),
        ({"password": "  "}, InvalidInputError, "password"),
        ({"login": ""}, InvalidInputError, "login"),
        ({"login": "x" * 300}, InvalidInputError, "login"),
        ({"zone": "Europe/Atlantis"}, InvalidInputError, "zone"),
        ({"zone": "", "mattermost_user": "boris"}, InvalidInputError, "zone"),
        ({"mattermost_user": "nobody"}, UnknownUserError, "mattermost_user_id"),
        ({"server": "http://10.0.0.1/"}, InvalidInputError, "server_url"),
        ({"server": "https://127.0.0.1/"}, InvalidInputError, "server_url"),
        ({"server": "https://nowhere.invalid/"}, InvalidInputError, "server_url"),
        ({"server": "outlook"}, InvalidInputError, "server_url"),
        ({"server": "https://caldav.example.org/" + "a" * 600}, InvalidInputError, "server_url"),
        ({"server": "https://apidata.googleusercontent.com/caldav/v2/x/user"}, InvalidInputError, "server_url"),
        ({"calendars": ("Elsewhere",)}, InvalidInputError, "calendars"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else None,
)
def test_each_mistake_has_its_own_answer_and_stores_nothing(
    office: Office, changes: dict[str, object], error: type[InvalidInputError], field: str
) -> None:
    with pytest.raises(error) as caught:
        office.connect(**changes)
    assert caught.value.field == field
    assert office.count(CalendarAccount) == office.count(CalendarSubscriber) == office.count(AuditEntry) == 0


@ANY_DATABASE
def test_an_address_that_is_no_calendar_server_is_said_to_be_none(office: Office) -> None:
    office.server.faults.add("html")
    with pytest.raises(NotACalendarServerError) as caught:
        office.connect()
    assert caught.value.field == "server_url"
    office.server.faults.clear()
    office.server.faults.add("error", status=404)
    with pytest.raises(NotACalendarServerError):
        office.connect()


@ANY_DATABASE
def test_a_login_without_calendars_is_said_to_have_none(office: Office) -> None:
    office.found = Principal((), ())
    with pytest.raises(NoCalendarsError):
        office.connect()
    assert office.count(CalendarSubscriber) == 0


@ANY_DATABASE
def test_a_server_that_is_down_is_no_mistake_of_the_user(office: Office) -> None:
    office.server.faults.add("error", status=503)
    with pytest.raises(ServerUnreachableError):
        office.connect()
    assert office.count(CalendarAccount) == 0


@ANY_DATABASE
def test_the_password_is_in_no_log_and_no_representation(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(WrongPasswordError) as caught:
        office.connect(password="secret-word")
    assert "secret-word" not in caplog.text + str(caught.value) + repr(office.request(password="secret-word"))


def test_connecting_again_renews_the_password_and_resumes(office: Office) -> None:
    first = office.connect()
    with office.database.write() as session:
        session.execute(update(CalendarAccount).values(state="paused", reason="401", auth_failures=3))
    office.server.password = "new"
    again = office.accounts.connect(office.request(password="new"), actor="test")
    assert (again.account_id, again.created) == (first, False)
    account = office.account(first)
    assert (account.state, account.auth_failures, BOX.decrypt(account.password)) == ("active", 0, "new")


def test_two_users_may_share_a_login_and_a_user_may_have_several(office: Office) -> None:
    first, second = office.connect(), office.connect(mattermost_user="@boris")
    assert first != second
    assert office.count(CalendarSubscriber) == 2
    assert [view.username for view in office.accounts.list_accounts()] == ["anna", "boris"]
    assert len(office.accounts.list_accounts(mattermost_user_id="u-boris")) == 1


def test_a_calendar_that_is_no_longer_watched_takes_its_meetings_along(office: Office) -> None:
    office.found = two_calendars(office.server)
    account_id = office.connect()
    work, home = office.accounts.list_accounts()[0].calendars
    office.fill(work.id, account_id)
    office.fill(home.id, account_id)
    fence = office.account(account_id).fence
    views = office.accounts.watch(account_id, [home.id], actor="test")
    assert [view.watched for view in views] == [False, True]
    assert office.count(CalendarObject) == office.count(CalendarOccurrence) == 1
    account = office.account(account_id)
    assert account.fence > fence, "a poll under way must not store them again"
    with pytest.raises(UnknownAccountError):
        office.accounts.watch(account_id, [home.id, 999_999], actor="test")


def test_chosen_calendars_are_watched_and_new_ones_wait_to_be_chosen(office: Office) -> None:
    office.found = two_calendars(office.server)
    account_id = office.connect(calendars=("work",))
    office.found = two_calendars(office.server, "new")
    views = office.accounts.refresh_calendars(account_id)
    assert {view.name: view.watched for view in views} == {"work": True, "home": False, "new": False}


def test_a_new_password_is_tried_before_it_is_stored(office: Office) -> None:
    account_id = office.connect()
    office.server.password = "new"
    with pytest.raises(WrongPasswordError):
        office.accounts.update_password(account_id, "wrong", actor="test")
    assert BOX.decrypt(office.account(account_id).password) == "right"
    office.accounts.update_password(account_id, "new", actor="test")
    assert BOX.decrypt(office.account(account_id).password) == "new"


def test_disconnecting_deletes_everything_and_says_so_in_the_audit(office: Office) -> None:
    account_id = office.connect()
    other = office.connect(login=LOGIN, server=office.server.url + CALENDAR)
    office.fill(office.accounts.list_accounts()[0].calendars[0].id, account_id)
    office.accounts.disconnect(account_id, actor="test")
    assert office.count(CalendarSubscriber) == 1
    assert office.count(CalendarObject) == office.count(CalendarOccurrence) == 0
    office.accounts.disconnect(other, actor="test")
    for model in (CalendarSubscriber, CalendarAccount, Calendar, CalendarReminder):
        assert office.count(model) == 0
    with office.database.read() as session:
        actions = list(session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))
    assert actions[-2:] == ["calendar_account.disconnected"] * 2
    with pytest.raises(UnknownAccountError):
        office.accounts.disconnect(account_id, actor="test")


@ANY_DATABASE
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (SubscriberSettings(agenda_time="07:10"), "agenda_time"),
        (SubscriberSettings(agenda_time="24:00"), "agenda_time"),
        (SubscriberSettings(weekdays=(0,)), "weekdays"),
        (SubscriberSettings(weekdays=(8,)), "weekdays"),
        (SubscriberSettings(reminder_minutes=(-1,)), "reminder_minutes"),
        (SubscriberSettings(reminder_minutes=(10_081,)), "reminder_minutes"),
        (SubscriberSettings(reminder_minutes=tuple(range(1, 12))), "reminder_minutes"),
        (SubscriberSettings(zone="Nowhere/Land"), "zone"),
        (SubscriberSettings(locale="fr"), "locale"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_field(office: Office, settings: SubscriberSettings, field: str) -> None:
    office.connect()
    before = office.subscriber()
    with pytest.raises(InvalidInputError) as caught:
        office.accounts.configure(before.id, settings, actor="test")
    assert caught.value.field == field
    assert office.subscriber().updated_at == before.updated_at


def test_settings_move_the_next_agenda(office: Office) -> None:
    office.connect()
    subscriber_id = office.subscriber().id
    office.accounts.configure(
        subscriber_id,
        SubscriberSettings(agenda_time="23:45", weekdays=(7, 6), reminder_minutes=(5, 15, 5), locale="uk-UA"),
        actor="test",
    )
    subscriber = office.subscriber()
    assert (subscriber.agenda_time, subscriber.weekdays, subscriber.locale) == (time(23, 45), [6, 7], "uk")
    assert sorted(subscriber.reminder_minutes) == [5, 15]
    assert subscriber.next_agenda_at == datetime(2026, 11, 21, 22, 45, tzinfo=UTC)
    office.accounts.configure(subscriber_id, SubscriberSettings(agenda_enabled=False), actor="test")
    assert office.subscriber().next_agenda_at is None


def test_a_change_of_zone_expands_everything_anew(office: Office) -> None:
    account_id = office.connect()
    office.fill(office.accounts.list_accounts()[0].calendars[0].id, account_id)
    subscriber_id = office.subscriber().id
    assert office.accounts.configure(subscriber_id, SubscriberSettings(zone="Europe/Berlin"), actor="test") == []
    with office.database.write() as session:
        session.execute(update(CalendarOccurrence).values(start_at=NOW - timedelta(days=1)))
    assert office.accounts.configure(subscriber_id, SubscriberSettings(zone="Asia/Tokyo"), actor="test") == [account_id]
    with office.database.read() as session:
        assert session.scalars(select(CalendarObject.needs_expansion)).all() == [True]


@pytest.mark.parametrize(
    "change",
    [
        lambda office, id_: office.accounts.configure(id_, SubscriberSettings(zone="Asia/Tokyo"), actor="test"),
        lambda office, _id: office.connect(zone="Asia/Tokyo"),
    ],
    ids=["configure", "connect"],
)
def test_a_change_of_zone_waits_for_the_transaction_of_a_poll_and_not_in_a_circle(
    postgres_url: str, faulty: FaultyServer, change: Callable[[Office, int], object]
) -> None:
    """Given a poll that holds its account and has not written its objects yet, both come to their end."""
    database = Database(postgres_url)
    office = Office(database, faulty)
    account_id = office.connect()
    office.fill(office.accounts.list_accounts()[0].calendars[0].id, account_id)
    subscriber_id = office.subscriber().id
    failures: list[Exception] = []

    def run() -> None:
        try:
            change(office, subscriber_id)
        except Exception as error:  # noqa: BLE001 - a thread's, told below
            failures.append(error)

    thread = threading.Thread(target=run)
    with database.write() as session:
        session.execute(update(CalendarAccount).values(claimed_until=NOW))
        thread.start()
        _wait_until_somebody_waits_for_a_lock(database)
        session.execute(update(CalendarObject).values(etag="2"))
    thread.join(30)
    assert (thread.is_alive(), failures) == (False, [])
    with database.read() as session:
        assert session.scalars(select(CalendarObject.needs_expansion)).all() == [True]
    database.dispose()


def _wait_until_somebody_waits_for_a_lock(database: Database) -> None:
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    give_up_at = time_module.monotonic() + 30
    while time_module.monotonic() < give_up_at:
        with database.read() as session:
            if session.scalar(query):
                return
        time_module.sleep(0.02)
    raise AssertionError("nobody waited")
