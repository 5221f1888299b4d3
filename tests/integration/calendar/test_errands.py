"""Slow work that a person asked for in Mattermost: done under the account's lock, told in their language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
import redis

from sandbox.caldav.faulty import CALENDAR, LOGIN, FaultyServer
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.clients.host_limits import HostBusyError
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.errors import LockBusyError
from switchboard.locks import LockFactory
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person, SubscriberSettings
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import AUTH_FAILURES_TO_PAUSE, CalendarPolling
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.conversation.answers import Answer
from switchboard.services.conversation.errands import Errands
from switchboard.services.conversation.replies import ReplyAddress
from switchboard.services.conversation.speakers import Speakers
from tests.integration.calendar.household import OnePerson
from tests.integration.calendar.test_polling import event

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
BOX = SecretBox(["k" * 32])
ANNA = Person("u-anna", "anna", "anna@example.org", "en", "Europe/Moscow")


@dataclass
class Told:
    """Replies that keep what was said."""

    said: list[str] = field(default_factory=list)

    def unseal(self, sealed: str) -> ReplyAddress:
        return ReplyAddress("u-anna", sealed)

    def send(self, address: ReplyAddress, answer: Answer) -> None:
        self.said.append(answer.text)


@dataclass
class Host:
    """The host's turns; `busy_s` seconds without one."""

    busy_s: float = 0.0

    def enter(self, url: str) -> None:
        if self.busy_s:
            raise HostBusyError("no turn", retry_after_s=self.busy_s)

    def rest(self, url: str, seconds: float) -> None:
        raise AssertionError("the server asked for no rest")


@dataclass
class Desk:
    errands: Errands
    accounts: CalendarAccounts
    locks: LockFactory
    told: Told
    server: FaultyServer
    host: Host

    def connect(self) -> int:
        request = ConnectRequest(self.server.url, LOGIN, self.server.password, "anna")
        return self.accounts.connect(request, actor="test").account_id


@pytest.fixture
def desk(sqlite_url: str, faulty: FaultyServer, valkey: str) -> Iterator[Desk]:
    database = Database(sqlite_url)
    guard, host = AddressGuard([f"127.0.0.1:{faulty.port}"]), Host()

    def open_server(url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(url, login, password, guard=guard, timeout_s=10, deadline_s=40, gate=host)

    accounts = CalendarAccounts(database, open_server, BOX, OnePerson(ANNA), guard, lambda: NOW)
    polling = CalendarPolling(database, open_server, BOX, CalendarNotices(database), lambda: NOW, poll_period_s=120)
    told = Told()
    speakers = Speakers(accounts, Subscribers(database), OnePerson(ANNA))
    with redis.Redis.from_url(valkey, socket_timeout=5) as client:
        locks = LockFactory(client)
        yield Desk(Errands(accounts, polling, speakers, told, locks, lambda: NOW), accounts, locks, told, faulty, host)
    database.dispose()


def test_a_refresh_polls_and_says_what_changed_and_then_that_nothing_did(desk: Desk) -> None:
    account = desk.connect()
    desk.server.put("a.ics", event("a"))
    assert desk.errands.refresh("u-anna", "sealed") == [account]
    assert desk.errands.refresh("u-anna", "sealed") == []
    assert "1 new or changed entry" in desk.told.said[0]
    assert "nothing has changed" in desk.told.said[1]
    assert ["direct message" in said for said in desk.told.said] == [True, False]


def test_a_refresh_waits_for_a_poll_under_way(desk: Desk) -> None:
    account = desk.connect()
    with desk.locks.require(f"calendar-account:{account}"), pytest.raises(LockBusyError):
        desk.errands.refresh("u-anna", "sealed")
    assert desk.told.said == []


def test_a_refresh_without_a_turn_at_the_host_says_when_to_try_again(desk: Desk) -> None:
    desk.connect()
    desk.host.busy_s = 600.0
    assert desk.errands.refresh("u-anna", "sealed") == []
    assert "takes no more requests from us just now" in desk.told.said[0]
    assert "10 min" in desk.told.said[0]
    desk.errands.check_account("u-anna", "sealed")
    assert "no more requests" in desk.told.said[1]


def test_the_check_says_whether_the_server_accepts_us_and_what_the_store_knows(desk: Desk) -> None:
    desk.connect()
    desk.errands.check_account("u-anna", "sealed")
    for words in ("accepts the login", "Work", "Last poll: none yet", "Last error: none"):
        assert words in desk.told.said[0]
    desk.server.password = "changed"
    desk.errands.check_account("u-anna", "sealed")
    assert "refuses this login and password" in desk.told.said[1]


def test_a_paused_account_is_told_in_the_readers_language(desk: Desk) -> None:
    desk.connect()
    [account] = desk.accounts.list_accounts()
    desk.accounts.configure(account.subscriber_id, SubscriberSettings(locale="ru"), actor="test")
    desk.server.password = "changed"
    for _ in range(AUTH_FAILURES_TO_PAUSE + 1):
        desk.errands.refresh("u-anna", "sealed")
    assert "Сервер несколько раз не принял логин и пароль" in desk.told.said[-1] == desk.told.said[-2]
    desk.errands.check_account("u-anna", "sealed")
    assert "Учётная запись приостановлена: Сервер несколько раз не принял" in desk.told.said[-1]


def test_the_check_says_what_could_not_be_read(desk: Desk) -> None:
    desk.connect()
    desk.server.put("gone.ics", event("gone"))
    desk.server.quirks.spoils_multiget = {f"{CALENDAR}gone.ics": "500"}
    desk.server.put("fine.ics", event("fine"))
    desk.errands.refresh("u-anna", "sealed")
    desk.errands.check_account("u-anna", "sealed")
    assert "1 entry could not be read in full" in desk.told.said[-1]
    assert "could not give it" in desk.told.said[-1]


def test_without_an_account_the_answer_is_connect_first(desk: Desk) -> None:
    desk.errands.check_account("u-anna", "sealed")
    assert desk.errands.refresh("u-anna", "sealed") == []
    assert all("Connect one first" in said for said in desk.told.said)
