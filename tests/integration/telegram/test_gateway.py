"""The host of accounts: open once, whoever else runs; dead sessions stay dead; what is lost comes back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from sandbox.telegram.twin import TelegramTwin, running_telegram
from sandbox.telegram.world import Settings
from switchboard.clients.telegram.connection import Connection
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount, TelegramShard
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.sharding import SHARDS
from switchboard.errors import ConflictError, NotFoundError
from switchboard.services.operations import Operations
from switchboard.services.telegram.session import LiveAccount
from switchboard.services.telegram.shards import LeaseLostError, LeaseTimes
from tests.integration.telegram.conftest import KEY, Office, utc_now, wait_for

SHORT = LeaseTimes(lease_s=3.0, renew_s=0.3, margin_s=1.2)


def lines(twin: TelegramTwin) -> int:
    """How many connections the server has, whosoever."""
    return twin.call(lambda: len(twin.server.connections))


class RecordingOutbox:
    """Remembers who was woken when, and sends nothing."""

    def __init__(self) -> None:
        self.live: dict[int, LiveAccount] = {}
        self.opened: list[int] = []
        self.woken: list[int] = []
        self.due_ids: set[int] = set()
        self.finish_s = 0.0
        self.finished = 0
        self.error: Exception | None = None

    def due(self, shards: Collection[int]) -> Collection[int]:
        return self.due_ids

    async def run(self, live: LiveAccount) -> None:
        self.live[live.account_id] = live
        self.opened.append(live.account_id)
        while not live.stopping.is_set():
            await live.woken.wait()
            live.woken.clear()
            self.woken.append(live.account_id)
            if self.error is not None:
                raise self.error
        await asyncio.sleep(self.finish_s)
        self.finished += 1


# --- one account ----------------------------------------------------------------------------------------------------


def test_an_account_with_a_session_comes_online_and_says_who_it_is(office: Office) -> None:
    person = office.twin.add_person("Ann", "Lee", phone="+79161234567", username="ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    view = office.wait_state(account.id, "online")
    assert (view.own_id, view.own_name, view.phone, view.reason) == (person.id, "Ann Lee", "+79161234567", None)


def test_stop_closes_the_connection_and_start_opens_it_again(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    office.wait_state(account.id, "online")
    office.accounts.stop(account.id, actor="test")
    office.wait_state(account.id, "stopped", "asked")
    wait_for(lambda: lines(office.twin) == 0, "the line to be closed")
    office.accounts.start(account.id, actor="test")
    office.wait_state(account.id, "online")


def test_an_account_stops_at_once_where_no_gateway_runs(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    assert office.accounts.stop(account.id, actor="test").state == "stopped"
    view = office.accounts.start(account.id, actor="test")
    assert (view.state, view.reason) == ("offline", "no_gateway")


@pytest.mark.parametrize("log_out", [True, False])
def test_remove_forgets_the_account_and_ends_its_session_only_when_asked_to(office: Office, log_out: bool) -> None:
    person = office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    office.wait_state(account.id, "online")
    assert office.accounts.remove(account.id, log_out=log_out, actor="test") is False
    office.hosts[0].look(account.id)
    wait_for(lambda: office.accounts.wait(account.id, lambda _: True, seconds=0) is None, "the row to be gone")
    assert len(office.twin.call(lambda: office.twin.server.keys_of(person.id))) == (0 if log_out else 1)
    with pytest.raises(NotFoundError):
        office.accounts.get(account.id)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SESSION_REVOKED", "session_revoked"),
        ("AUTH_KEY_DUPLICATED", "auth_key_duplicated"),
        ("AUTH_KEY_UNREGISTERED", "auth_key_unregistered"),
        ("USER_DEACTIVATED_BAN", "user_deactivated"),
    ],
)
def test_a_dead_session_is_said_with_its_reason_and_never_tried_again(office: Office, name: str, reason: str) -> None:
    person = office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    key = office.twin.call(lambda: office.twin.server.keys_of(person.id)[0])
    office.twin.call(lambda: office.twin.server.end_session(key, name))
    office.gateway()
    view = office.wait_state(account.id, "sign_in_again")
    assert view.reason == reason
    assert view.reason_text
    accepted = office.twin.call(lambda: office.twin.server.accepted)
    time.sleep(0.5)
    assert office.twin.call(lambda: office.twin.server.accepted) == accepted
    with pytest.raises(ConflictError, match="sign in first"):
        office.accounts.start(account.id, actor="test")


def test_a_session_revoked_while_it_is_open_is_noticed(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    office.wait_state(account.id, "online")
    office.twin.revoke_sessions("Ann")
    office.twin.cut()
    assert office.wait_state(account.id, "sign_in_again").reason == "session_revoked"


def test_a_cut_line_is_opened_again(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.gateway()
    since = office.wait_state(account.id, "online").since
    assert office.twin.cut() == 1
    office.wait(account.id, lambda view: view.state == "online" and view.since > since)


def test_a_server_that_is_down_is_tried_again_until_it_is_back(office: Office, tmp_path: Path) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.twin.faults.add("cut", method="*")
    office.gateway()
    view = office.wait(account.id, lambda view: view.reason in ("unreachable", "connection_lost"))
    assert view.state == "offline"
    office.twin.faults.clear()
    office.wait_state(account.id, "online")


def test_a_flood_wait_at_the_door_is_kept_to(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    office.twin.faults.add("error", method="users.getUsers", name="FLOOD_WAIT_300")
    office.gateway()
    view = office.wait_state(account.id, "flood_limited")
    assert view.flood_until is not None
    accepted = office.twin.call(lambda: office.twin.server.accepted)
    time.sleep(0.5)
    assert office.twin.call(lambda: office.twin.server.accepted) == accepted
    office.accounts.stop(account.id, actor="test")
    office.wait_state(account.id, "stopped")


def test_a_bot_is_signed_in_by_its_token(office: Office) -> None:
    bot = office.twin.add_bot("Helper", "helper_bot")
    office.gateway()
    account = office.accounts.add_bot(bot.token, actor="test")
    view = office.wait_state(account.id, "online")
    assert (view.kind, view.own_id, view.own_username) == ("bot", bot.id, "helper_bot")
    with pytest.raises(ConflictError, match=f"account {account.id}"):
        office.accounts.add_bot(bot.token, actor="test")


def test_a_bot_whose_token_is_refused_says_so_and_start_tries_it_again(office: Office) -> None:
    office.gateway()
    token = "5000000000:" + "a" * 35
    account = office.accounts.add_bot(token, actor="test")
    assert office.wait_state(account.id, "sign_in_again").reason == "bot_token_refused"
    office.twin.add_bot("Helper", "helper_bot", token=token)
    office.accounts.start(account.id, actor="test")
    office.wait_state(account.id, "online")


def test_accounts_that_need_nothing_cost_nothing(office: Office) -> None:
    office.twin.add_person("Ann")
    for number in range(20):
        account = office.accounts.add_user(f"+7916000{number:04}", actor="test")
        office.accounts.stop(account.id, actor="test")
    host = office.gateway()
    planned: list[int] = []
    plan = host._records.plan
    host._records.plan = lambda account_id, fence: planned.append(account_id) or plan(account_id, fence)  # type: ignore[method-assign, func-returns-value]
    account = office.add_signed_in("Ann")
    office.wait_state(account.id, "online")
    planned.clear()
    time.sleep(0.6)
    assert planned == []


# --- inbox and outbox -----------------------------------------------------------------------------------------------


def test_the_outbox_is_woken_by_a_hint_and_by_looking_where_the_hint_was_lost(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    outbox = RecordingOutbox()
    host = office.gateway(outbox=outbox)
    office.wait_state(account.id, "online")
    wait_for(lambda: outbox.woken == [account.id], "the first look at what is due")
    host.wake(account.id)
    wait_for(lambda: len(outbox.woken) == 2, "the hint")
    outbox.due_ids = {account.id}
    wait_for(lambda: len(outbox.woken) >= 3, "the look")


def test_a_look_at_a_row_that_did_not_change_leaves_the_connection_open(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    outbox = RecordingOutbox()
    host = office.gateway(outbox=outbox)
    office.wait_state(account.id, "online")
    for _ in range(5):
        host.look(account.id)
        time.sleep(0.1)
    assert outbox.opened == [account.id]
    assert office.twin.call(lambda: office.twin.server.accepted) == 1


def test_sends_in_hand_are_finished_before_the_connection_is_closed(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    outbox = RecordingOutbox()
    outbox.finish_s = 0.7
    host = office.gateway(outbox=outbox)
    office.wait_state(account.id, "online")
    wait_for(lambda: outbox.live, "the outbox to run")
    host.stop()
    assert outbox.finished == 1
    view = office.accounts.get(account.id)
    assert (view.state, view.reason) == ("offline", "moving")
    assert lines(office.twin) == 0


def test_an_error_of_the_outbox_ends_the_connection_and_a_new_one_begins(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    outbox = RecordingOutbox()
    host = office.gateway(outbox=outbox)
    office.wait_state(account.id, "online")
    wait_for(lambda: outbox.live, "the outbox to run")
    outbox.error = KeyError("a bug")
    host.wake(account.id)
    office.wait_state(account.id, "offline", "internal")
    outbox.error = None
    office.wait_state(account.id, "online")


# --- more than one gateway ------------------------------------------------------------------------------------------


class Stuck(Database):
    """A database that a test can make hang for its caller."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.open = threading.Event()
        self.open.set()

    def write(self):  # type: ignore[no-untyped-def]
        self.open.wait(30)
        return super().write()


@pytest.fixture
def strict(tmp_path: Path, database: Database) -> Iterator[Office]:
    """On both databases, with a server that kills a key as soon as two connections use it at once."""
    with running_telegram(key=KEY, settings=Settings(duplicate_key="connection")) as twin:
        office = Office(database, twin, tmp_path)
        yield office
        for host in office.hosts:
            host.stop()


def test_shards_move_to_a_second_gateway_and_no_session_is_ever_open_twice(strict: Office) -> None:
    accounts = []
    for number in range(8):
        strict.twin.add_person(f"P{number}")
        accounts.append(strict.add_signed_in(f"P{number}"))
    outbox = RecordingOutbox()
    outbox.finish_s = 0.5
    first = strict.gateway(times=SHORT, outbox=outbox)
    for account in accounts:
        strict.wait_state(account.id, "online")
    wait_for(lambda: len(outbox.live) == 8, "every outbox to run")
    second = strict.gateway(times=SHORT)
    wait_for(lambda: len(first.shards) == len(second.shards) == SHARDS // 2, "the shards to be shared")
    wait_for(lambda: first.open_lines and first.open_lines + second.open_lines == 8, "every account to be open again")
    assert outbox.finished == second.open_lines > 0, "sends in hand were cut off"
    second.stop()
    wait_for(lambda: len(first.shards) == SHARDS and first.open_lines == 8, "the shards to come back")
    for account in accounts:
        strict.wait_state(account.id, "online")  # AUTH_KEY_DUPLICATED would have made it sign_in_again
    assert not first.shards & second.shards


def test_a_gateway_cut_off_from_its_database_lets_go_in_time_and_another_takes_over(
    strict: Office, database_url: str
) -> None:
    """Also with a loop that does not answer: the watchdog is a thread of its own."""
    strict.twin.add_person("Ann")
    account = strict.add_signed_in("Ann")
    stuck = Stuck(database_url)
    held = threading.Event()

    class Blocking(RecordingOutbox):
        async def run(self, live: LiveAccount) -> None:
            self.live[live.account_id] = live
            held.wait(30)  # a loop that stands still
            await super().run(live)

    outbox = Blocking()
    first = strict.gateway(times=SHORT, database=stuck, outbox=outbox)
    wait_for(lambda: outbox.live, "the account to be open")
    fence = outbox.live[account.id].fence
    assert lines(strict.twin) == 1
    second = strict.gateway(times=SHORT)
    stuck.open.clear()

    wait_for(lambda: lines(strict.twin) == 0, "the watchdog to cut the line")
    assert second.shards.isdisjoint({fence.shard}), "the line was cut after the lease had ended"
    assert not fence.valid
    wait_for(lambda: fence.shard in second.shards, "the take-over")
    strict.wait_state(account.id, "online")
    with pytest.raises(LeaseLostError), strict.database.write() as session:
        fence.hold(session)
    assert first.shards == frozenset()
    held.set()
    stuck.open.set()
    wait_for(lambda: first.shards, "the first to come back")
    strict.wait_state(account.id, "online")
    first.stop()
    stuck.dispose()


def test_leases_are_renewed_also_where_the_queues_cannot_be_changed(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    heard: list[int] = []

    def fail(shards: frozenset[int]) -> None:
        heard.append(len(shards))
        raise RuntimeError

    office.gateway(on_shards=fail)
    office.wait_state(account.id, "online")
    before = len(heard)
    wait_for(lambda: len(heard) > before + 2, "further renewals")
    assert office.hosts[0].shards


def test_nothing_is_opened_once_the_shard_is_lost(office: Office) -> None:
    """Also where it was lost between the plan and the connection."""
    office.twin.add_person("Ann")
    office.add_signed_in("Ann")
    opened = threading.Event()

    def opener(application: Application, session: str, signing_in: bool) -> Connection:
        office.hosts[0]._leases.drop()
        opened.set()
        return office.open_connection(application, session, signing_in)

    host = office.gateway(opener=opener, times=LeaseTimes(lease_s=60, renew_s=20, margin_s=5))
    assert opened.wait(30)
    wait_for(lambda: not host._sessions, "the session to end")
    assert office.twin.call(lambda: office.twin.server.accepted) == 0


def test_what_an_old_holder_wants_to_store_is_not_stored(office: Office) -> None:
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    outbox = RecordingOutbox()
    host = office.gateway(outbox=outbox)
    office.wait_state(account.id, "online")
    fence = outbox.live[account.id].fence
    host.stop()
    other = office.gateway()
    office.wait_state(account.id, "online")
    for store in (
        lambda: office.records.offline(account.id, fence, "unreachable"),  # type: ignore[arg-type]
        lambda: office.records.lost(account.id, fence, "session_revoked"),  # type: ignore[arg-type]
        lambda: office.records.plan(account.id, fence),
    ):
        with pytest.raises(LeaseLostError):
            store()  # type: ignore[no-untyped-call]
    assert office.accounts.get(account.id).state == "online"
    assert other.shards


class NoQueues:
    """A broker that nobody asks."""

    def llen(self, name: str, /) -> int:
        return 0


def test_an_account_of_a_killed_gateway_counts_as_offline_when_its_lease_is_over(
    database: Database, twin: TelegramTwin, tmp_path: Path
) -> None:
    office = Office(database, twin, tmp_path)
    office.twin.add_person("Ann")
    account = office.add_signed_in("Ann")
    operations = Operations(database, NoQueues(), queues={})

    def lease(until_s: float) -> None:
        until = utc_now() + timedelta(seconds=until_s)
        with database.write() as session:
            shard = session.get_one(TelegramAccount, account.id).shard
            session.merge(TelegramShard(shard=shard, owner="killed", fence=1, leased_until=until))

    with database.write() as session:
        session.execute(update(TelegramAccount).values(state="online"))
    lease(60)
    assert office.accounts.get(account.id).state == "online"
    assert operations.facts(utc_now()).telegram_accounts == {"online": 1}
    lease(-1)
    view = office.accounts.get(account.id)
    assert (view.state, view.reason) == ("offline", "no_gateway")
    assert operations.facts(utc_now()).telegram_accounts == {"offline": 1}
