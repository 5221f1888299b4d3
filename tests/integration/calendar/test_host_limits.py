"""The turns at a calendar host, over threads and processes on a real Valkey, and what polls and people make of none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from sandbox.caldav.faulty import LOGIN, FaultyServer
from sandbox.ports import free_port
from switchboard import wiring
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.clients.host_limits import LONGEST_REST_S, HostBusyError, HostLimits, host_of
from switchboard.clients.redis import connect_redis
from switchboard.db.engine import Database
from switchboard.deadlines import DeadlinePassedError, deadline_in
from switchboard.errors import LockBusyError
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person, ServerBusyError
from switchboard.services.calendar.polling import PollOutcome
from tasks.calendar import accounts as account_tasks
from tests.integration.calendar.test_polling import BOX, PERIOD_S, Desk, event
from tests.servers import ROOT, dies_with_parent, running_valkey

URL = "https://calendar.example.org/dav/"


@pytest.fixture
def client(valkey: str) -> Iterator[redis.Redis]:
    with connect_redis(valkey) as opened:
        yield opened


class Hand:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def exhaust(limits: HostLimits, url: str = URL) -> None:
    """Take turns until none comes."""
    for _ in range(1_000):
        try:
            limits.enter(url)
        except HostBusyError:
            return
    raise AssertionError("a thousand requests had their turn")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Calendar.Example.ORG./x?y", "calendar.example.org:443"),
        ("https://calendar.example.org:8443", "calendar.example.org:8443"),
        ("http://127.0.0.1:5232/", "127.0.0.1:5232"),
        ("http://calendar.example.org/", "calendar.example.org:80"),
        ("https://Bücher.example/", "xn--bcher-kva.example:443"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example:443"),
        ("https://[2001:DB8::1]/", "2001:db8::1:443"),
    ],
)
def test_one_host_has_one_name_however_it_is_written(url: str, host: str) -> None:
    assert host_of(url) == host


def test_a_host_at_its_limit_is_busy_and_others_are_not(client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=3, longest_wait_s=0)
    exhaust(limits)
    with pytest.raises(HostBusyError) as caught:
        limits.enter(URL.upper().replace("HTTPS", "https"))
    assert caught.value.retry_after_s is not None
    limits.enter("https://calendar.example.org:8443/dav/")
    limits.enter("https://other.example.org/dav/")


def test_who_waits_gets_a_turn_when_one_is_free(client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=2, longest_wait_s=60)
    for _ in range(5):
        limits.enter(URL)


def test_without_a_limit_everybody_passes(client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=0, longest_wait_s=0)
    for _ in range(200):
        limits.enter(URL)


def test_the_wait_ends_with_the_time_of_the_work(client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=1, longest_wait_s=3_600)

    def ask_for_ever() -> None:
        while True:
            limits.enter(URL)

    with deadline_in(0.3), pytest.raises(DeadlinePassedError):
        ask_for_ever()


def test_threads_of_one_process_share_the_window(client: redis.Redis) -> None:
    limits, passed = HostLimits(client, requests_per_s=10, longest_wait_s=0), []

    def ask() -> None:
        for _ in range(20):
            try:
                limits.enter(URL)
            except HostBusyError:
                continue
            passed.append(1)

    begun = time.monotonic()
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    seconds = time.monotonic() - begun
    assert 10 <= len(passed) <= 10 * (seconds + 2)


def test_processes_share_one_window_and_every_request_is_counted(valkey: str) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.integration.calendar.host_visitor", valkey, URL, "20", "3"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
        for _ in range(2)
    ]
    assert [process.stdout.readline() for process in processes if process.stdout] == ["ready\n", "ready\n"]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].split() for process in processes]
    passed = [int(count) for count, _, _ in answers]
    seconds = max(float(last) for _, _, last in answers) - min(float(first) for _, first, _ in answers)
    assert all(passed)
    assert sum(passed) >= 20
    assert sum(passed) <= 20 * (seconds + 2), "each process counted for itself"


def test_a_rest_holds_for_every_process_and_a_shorter_one_does_not_end_it(valkey: str, client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=100)
    limits.rest(URL, 900)
    limits.rest(URL, 5)
    with connect_redis(valkey) as second, pytest.raises(HostBusyError) as caught:
        HostLimits(second, requests_per_s=100).enter("https://CALENDAR.example.org:443/other")
    assert 880 < (caught.value.retry_after_s or 0) <= 900
    limits.rest(URL, 80_000)
    with pytest.raises(HostBusyError) as caught:
        limits.enter(URL)
    assert LONGEST_REST_S - 20 < (caught.value.retry_after_s or 0) <= LONGEST_REST_S
    limits.enter("https://other.example.org/")


def test_a_rest_ends_by_itself(client: redis.Redis) -> None:
    limits = HostLimits(client, requests_per_s=100)
    limits.rest(URL, 0.2)
    end = time.monotonic() + 20
    while True:
        try:
            return limits.enter(URL)
        except HostBusyError:
            assert time.monotonic() < end
            time.sleep(0.05)


def test_without_redis_requests_pass_and_it_is_not_asked_at_each() -> None:
    clock = Hand()
    with connect_redis(f"redis://127.0.0.1:{free_port()}/0") as nobody:
        limits = HostLimits(nobody, requests_per_s=1, longest_wait_s=0, clock=clock)
        commands: list[object] = []
        limits.enter(URL)
        nobody.execute_command = lambda *arguments, **_options: commands.append(arguments)
        for _ in range(10):
            limits.enter(URL)
        limits.rest(URL, 60)
    assert commands == []


def test_a_redis_that_comes_back_counts_again(tmp_path: Path) -> None:
    clock = Hand()
    with running_valkey(tmp_path) as server, connect_redis(server.url) as client:
        limits = HostLimits(client, requests_per_s=1, longest_wait_s=0, clock=clock)
        server.kill()
        for _ in range(5):
            limits.enter(URL)
        server.start()
        clock.now += 31
        exhaust(limits)


class Gate:
    """A host that is busy from its `free`-th request on."""

    def __init__(self, free: int, retry_after_s: float) -> None:
        self.free, self.retry_after_s = free, retry_after_s
        self.rests: list[tuple[str, float]] = []

    def enter(self, url: str) -> None:
        self.free -= 1
        if self.free < 0:
            raise HostBusyError("no turn", retry_after_s=self.retry_after_s)

    def rest(self, url: str, seconds: float) -> None:
        self.rests.append((host_of(url), seconds))


def client_through(gate: Gate | HostLimits, server: FaultyServer) -> CaldavClient:
    guard = AddressGuard([f"127.0.0.1:{server.port}"])
    return CaldavClient(server.url, LOGIN, server.password, guard=guard, timeout_s=10, deadline_s=40, gate=gate)


def test_each_request_takes_a_turn_and_none_is_sent_without(faulty: FaultyServer) -> None:
    faulty.put("a.ics", event("a"))
    with client_through(Gate(2, 7), faulty) as client:
        client.etags(faulty.calendar_url)
        client.changes(faulty.calendar_url, None)
        with pytest.raises(HostBusyError):
            client.etags(faulty.calendar_url)
    assert len(faulty.requests) == 2


@pytest.mark.parametrize(
    ("status", "retry_after", "rest_s"), [(429, "900", 900.0), (503, "60", 60.0), (503, "", None), (429, "", None)]
)
def test_a_server_that_asks_for_a_rest_gets_it_from_all(
    faulty: FaultyServer, client: redis.Redis, status: int, retry_after: str, rest_s: float | None
) -> None:
    limits = HostLimits(client, requests_per_s=100)
    faulty.quirks.busy = [(status, retry_after)]
    with client_through(limits, faulty) as caldav, pytest.raises(Exception, match=str(status)):
        caldav.etags(faulty.calendar_url)
    with client_through(HostLimits(client, requests_per_s=100), faulty) as another:
        if rest_s is None:
            another.etags(faulty.calendar_url)
            return
        with pytest.raises(HostBusyError) as caught:
            another.etags(faulty.calendar_url)
    assert rest_s - 20 < (caught.value.retry_after_s or 0) <= rest_s
    assert len(faulty.requests) == 1


@pytest.fixture
def desk(database: Database, faulty: FaultyServer) -> Desk:
    return Desk(database, faulty)


def put_gate(desk: Desk, gate: Gate | None) -> None:
    def wrap(client: CaldavClient) -> CaldavClient:
        client._http._gate = gate
        return client

    desk.wrap = wrap


@pytest.mark.parametrize(("retry_after_s", "least", "most"), [(5.0, 0.0, 15.0), (900.0, 900.0, 900.0 + PERIOD_S)])
def test_a_poll_without_a_turn_is_put_off_and_is_no_failure(
    desk: Desk, retry_after_s: float, least: float, most: float
) -> None:
    desk.server.put("a.ics", event("a"))
    put_gate(desk, Gate(0, retry_after_s))
    for _ in range(5):
        result = desk.polling.poll(desk.account_id)
        assert (result.outcome, result.retry_after_s) == (PollOutcome.DEFERRED, retry_after_s)
    account = desk.account()
    assert (account.state, account.failures, account.auth_failures) == ("active", 0, 0)
    assert (account.last_error, account.last_polled_at, account.claimed_until) == (None, None, None)
    assert desk.told.notices == []
    wait = account.next_poll_at - desk.clock.now
    assert timedelta(seconds=least) <= wait <= timedelta(seconds=most)
    assert desk.server.requests == []
    put_gate(desk, None)
    assert desk.poll() is PollOutcome.POLLED
    assert set(desk.objects()) == {"a.ics"}


def test_a_poll_that_loses_its_turn_halfway_keeps_what_it_has_and_goes_on_later(desk: Desk) -> None:
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))
    put_gate(desk, Gate(3, 5.0))
    assert desk.poll() is PollOutcome.DEFERRED
    assert (len(desk.objects()), desk.calendar().sync_token) == (200, None)
    put_gate(desk, None)
    assert desk.polling.poll(desk.account_id).changed == 50


def test_an_earlier_failure_is_not_forgotten_by_a_poll_without_a_turn(desk: Desk) -> None:
    desk.server.faults.add("error", status=500, count=1)
    assert desk.poll() is PollOutcome.FAILED
    put_gate(desk, Gate(0, 5.0))
    assert desk.poll() is PollOutcome.DEFERRED
    assert desk.account().failures == 1
    assert "500" in (desk.account().last_error or "")


class Anna:
    def find(self, username_or_id: str) -> Person:
        return Person(username_or_id, username_or_id, "anna@example.org", "en", "Europe/Berlin")


def test_who_connects_while_the_host_is_at_its_limit_is_told_so(desk: Desk) -> None:
    gate = Gate(0, 600)
    guard = AddressGuard([f"127.0.0.1:{desk.server.port}"])
    accounts = CalendarAccounts(
        desk.database, lambda *_: client_through(gate, desk.server), BOX, Anna(), guard, desk.clock
    )
    with pytest.raises(ServerBusyError) as caught:
        accounts.connect(ConnectRequest(desk.server.url, LOGIN, desk.server.password, "anna"), actor="test")
    assert caught.value.retry_after_s == 600


# In a deployment.


@pytest.fixture
def deployment(valkey: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The composition root over the Valkey, without a database."""
    monkeypatch.setenv("REDIS_URL", valkey)
    cached = (wiring.settings, wiring.redis_client, wiring.locks, wiring.address_guard, wiring.calendar_hosts)
    for build in cached:
        build.cache_clear()
    yield
    wiring.redis_client().close()
    for build in cached:
        build.cache_clear()


@pytest.mark.usefixtures("deployment")
def test_connections_of_every_process_take_their_turns_in_redis() -> None:
    wiring.calendar_hosts().rest(URL, 600)
    with wiring.open_calendar_server(URL, LOGIN, "x") as connection, pytest.raises(HostBusyError):
        connection.etags(URL)


@pytest.mark.usefixtures("deployment")
def test_an_account_is_polled_by_one_worker_at_a_time() -> None:
    with wiring.locks().require("calendar-account:7"), pytest.raises(LockBusyError):
        account_tasks.poll.run(account_id=7)
