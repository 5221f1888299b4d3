"""Polls against the faulty twin, on both databases: what is stored, what is asked, who is told."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from sandbox.caldav.faulty import CALENDAR, LOGIN, FaultyServer
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient, FetchedBatch
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarReminder,
    CalendarSubscriber,
)
from switchboard.db.repositories.calendars import next_slot
from switchboard.deadlines import deadline_in
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome
from tests.integration.calendar.household import Clock, bare_occurrence
from tests.servers import ANY_DATABASE

BEGIN = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
PERIOD_S = 120.0
BOX = SecretBox(["k" * 32])


def event(uid: str, *, summary: str = "Plan", stamp: str = "20261101T000000Z") -> bytes:
    return (
        f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:{stamp}\r\nSUMMARY:{summary}\r\n"
        "DTSTART:20261122T100000Z\r\nDTEND:20261122T110000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


@dataclass
class Told:
    """The notices, as (what, id)."""

    notices: list[tuple[str, int]] = field(default_factory=list)

    def account_paused(self, _session: Session, account: CalendarAccount, _now: datetime) -> None:
        self.notices.append(("paused", account.id))

    def calendar_lost(self, _session: Session, _account: CalendarAccount, calendar: Calendar, _now: datetime) -> None:
        self.notices.append(("lost", calendar.id))

    def calendar_back(self, _session: Session, _account: CalendarAccount, calendar: Calendar, _now: datetime) -> None:
        self.notices.append(("back", calendar.id))


class Desk:
    """A polling service over one account, and looks into its store."""

    def __init__(self, database: Database, server: FaultyServer) -> None:
        self.database = database
        self.server = server
        self.clock = Clock(BEGIN)
        self.told = Told()
        self.wrap: Callable[[CaldavClient], CaldavClient] = lambda client: client
        self.timeout_s = 10.0
        self.account_id, self.calendar_id = self._make_account()
        self.polling = self.service()

    def service(self, **options: float) -> CalendarPolling:
        return CalendarPolling(
            self.database, self.open_server, BOX, self.told, self.clock, poll_period_s=PERIOD_S, **options
        )

    @contextmanager
    def open_server(self, url: str, login: str, password: str) -> Iterator[CaldavClient]:
        guard = AddressGuard([f"127.0.0.1:{self.server.port}"])
        with CaldavClient(url, login, password, guard=guard, timeout_s=self.timeout_s, deadline_s=40) as client:
            yield self.wrap(client)

    def poll(self) -> PollOutcome:
        return self.polling.poll(self.account_id).outcome

    def objects(self) -> dict[str, CalendarObject]:
        with self.database.read() as session:
            return {row.href.rpartition("/")[2]: row for row in session.scalars(select(CalendarObject))}

    def account(self) -> CalendarAccount:
        with self.database.read() as session:
            return session.get_one(CalendarAccount, self.account_id)

    def calendar(self) -> Calendar:
        with self.database.read() as session:
            return session.get_one(Calendar, self.calendar_id)

    def expanded(self) -> None:
        """As the expansion would."""
        with self.database.write() as session:
            session.execute(update(CalendarObject).values(needs_expansion=False))

    def waiting(self) -> set[str]:
        return {name for name, row in self.objects().items() if row.needs_expansion}

    def asked(self) -> list[str]:
        requests = list(self.server.requests)
        self.server.requests.clear()
        return requests

    def _make_account(self) -> tuple[int, int]:
        with self.database.write() as session:
            subscriber = CalendarSubscriber(
                mattermost_user_id="u1",
                username="anna",
                zone="Europe/Berlin",
                agenda_time=datetime(2026, 1, 1, 8).time(),  # noqa: DTZ001 - a wall time
                weekdays=[1],
                reminder_minutes=[10],
                created_at=BEGIN,
                updated_at=BEGIN,
            )
            session.add(subscriber)
            session.flush()
            account = CalendarAccount(
                subscriber_id=subscriber.id,
                server_url=self.server.url,
                login=LOGIN,
                password=BOX.encrypt(self.server.password),
                addresses=[],
                next_poll_at=BEGIN,
                created_at=BEGIN,
            )
            session.add(account)
            session.flush()
            calendar = Calendar(account_id=account.id, url=self.server.calendar_url, name="Work")
            session.add(calendar)
            session.flush()
            return account.id, calendar.id


@pytest.fixture
def desk(database: Database, faulty: FaultyServer) -> Desk:
    return Desk(database, faulty)


def test_the_first_poll_stores_everything_and_shows_its_progress(desk: Desk) -> None:
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))
    steps: list[tuple[int, int]] = []
    result = desk.polling.poll(desk.account_id, progress=lambda done, total: steps.append((done, total)))
    assert (result.outcome, result.changed, result.needs_expansion) == (PollOutcome.POLLED, 250, True)
    assert steps == [(0, 250), (100, 250), (200, 250), (250, 250)]
    assert len(desk.waiting()) == 250
    assert desk.objects()["7.ics"].raw == event("7").replace(b"\r\n", b"\n")
    assert desk.calendar().sync_token == "twin:250"


def test_a_poll_without_changes_asks_once_and_writes_nothing_of_the_calendar(desk: Desk) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    desk.asked()
    result = desk.polling.poll(desk.account_id)
    assert desk.asked() == ["REPORT sync"]
    assert (result.outcome, result.changed, result.removed, result.needs_expansion) == (PollOutcome.POLLED, 0, 0, False)


def test_changes_and_deletions_reach_the_store(desk: Desk) -> None:
    for name in "abc":
        desk.server.put(f"{name}.ics", event(name))
    desk.poll()
    desk.expanded()
    desk.server.put("b.ics", event("b", summary="Moved"))
    desk.server.put("d.ics", event("d"))
    desk.server.delete("c.ics")
    desk.server.put("brief.ics", event("brief"))
    desk.server.delete("brief.ics")
    desk.asked()
    result = desk.polling.poll(desk.account_id)
    assert (result.changed, result.removed) == (2, 1)
    assert desk.waiting() == {"b.ics", "d.ics"}
    assert set(desk.objects()) == {"a.ics", "b.ics", "d.ics"}
    assert desk.asked() == ["REPORT sync", f"REPORT {CALENDAR}"]


def test_the_deletion_of_the_last_meeting_takes_its_occurrences_and_reminders(desk: Desk) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    with desk.database.write() as session:
        occurrence = bare_occurrence(desk.calendar_id, desk.account_id, desk.objects()["a.ics"].id, BEGIN)
        session.add(occurrence)
        session.flush()
        session.add(CalendarReminder(subscriber_id=1, occurrence_id=occurrence.id, minutes=10, fire_at=BEGIN))
    desk.server.delete("a.ics")
    assert desk.polling.poll(desk.account_id).removed == 1
    with desk.database.read() as session:
        assert session.scalar(select(func.count()).select_from(CalendarOccurrence)) == 0
        assert session.scalar(select(func.count()).select_from(CalendarReminder)) == 0


@ANY_DATABASE
@pytest.mark.parametrize("stamp", ["20261101T000000Z", "20261121T055500Z"])
def test_an_object_the_server_touched_by_itself_is_no_change(desk: Desk, stamp: str) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    desk.expanded()
    desk.server.touch("a.ics", event("a", stamp=stamp))
    result = desk.polling.poll(desk.account_id)
    assert (result.changed, result.needs_expansion, desk.waiting()) == (0, False, set())
    assert desk.objects()["a.ics"].etag == '"2"'


def test_a_task_among_the_events_is_kept_and_not_expanded_nor_asked_for_again(desk: Desk) -> None:
    desk.server.quirks.sync_status = 501
    desk.server.put("todo.ics", event("t").replace(b"VEVENT", b"VTODO"))
    result = desk.polling.poll(desk.account_id)
    assert (result.changed, desk.waiting()) == (0, set())
    desk.asked()
    desk.poll()
    assert desk.asked() == [f"PROPFIND {CALENDAR}"]


def test_a_server_without_sync_reports_is_compared_by_etags(desk: Desk) -> None:
    desk.server.quirks.sync_status = 403
    for name in "abc":
        desk.server.put(f"{name}.ics", event(name))
    desk.poll()
    desk.asked()
    desk.clock.forward(minutes=2)
    desk.server.put("a.ics", event("a", summary="Other"))
    desk.server.delete("b.ics")
    result = desk.polling.poll(desk.account_id)
    assert (result.changed, result.removed) == (1, 1)
    assert desk.asked() == [f"PROPFIND {CALENDAR}", f"REPORT {CALENDAR}"]
    desk.clock.forward(days=1)
    desk.server.quirks.sync_status = 0
    desk.poll()
    assert desk.calendar().sync_token is not None


@ANY_DATABASE
@pytest.mark.parametrize("status", [400, 403, 405, 501])
def test_a_server_that_gives_sync_reports_up_is_compared_by_etags(desk: Desk, status: int) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    desk.server.quirks.sync_status = status
    desk.server.put("b.ics", event("b"))
    assert desk.polling.poll(desk.account_id).changed == 1
    assert desk.calendar().sync_token is None


@ANY_DATABASE
@pytest.mark.parametrize("status", [403, 410, 412, 418])
def test_an_expired_token_is_a_full_comparison_that_fetches_only_what_differs(desk: Desk, status: int) -> None:
    for number in range(30):
        desk.server.put(f"{number}.ics", event(str(number)))
    desk.poll()
    desk.expanded()
    desk.server.put("3.ics", event("3", summary="Other"))
    desk.server.delete("4.ics")
    desk.server.forget_history()
    desk.server.quirks.expired_status = status
    desk.asked()
    result = desk.polling.poll(desk.account_id)
    assert (result.outcome, result.changed, result.removed) == (PollOutcome.POLLED, 1, 1)
    assert desk.waiting() == {"3.ics"}
    assert desk.asked() == ["REPORT sync", "REPORT sync", f"REPORT {CALENDAR}"]


def test_what_a_pruned_history_forgot_is_found_once_a_day(desk: Desk) -> None:
    for name in "ab":
        desk.server.put(f"{name}.ics", event(name))
    desk.poll()
    desk.server.quirks.forgets_deletions = True
    desk.server.delete("a.ics")
    desk.clock.forward(hours=23)
    assert desk.polling.poll(desk.account_id).removed == 0
    desk.clock.forward(hours=1)
    assert desk.polling.poll(desk.account_id).removed == 1
    assert set(desk.objects()) == {"b.ics"}
    desk.asked()
    desk.poll()
    assert desk.asked() == ["REPORT sync"]


@ANY_DATABASE
def test_pages_are_followed_to_the_last(desk: Desk) -> None:
    desk.server.quirks.page_size = 7
    for number in range(50):
        desk.server.put(f"{number}.ics", event(str(number)))
    assert desk.polling.poll(desk.account_id).changed == 50


@ANY_DATABASE
@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "error", "status": 500},
        {"kind": "error", "status": 502},
        {"kind": "error", "status": 503},
        {"kind": "rate_limit", "retry_after_s": 900},
        {"kind": "html"},
        {"kind": "cut"},
        {"kind": "cut_body"},
        {"kind": "slow", "seconds": 3},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_failure_costs_nothing_that_is_stored(desk: Desk, fault: dict[str, object]) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    before = desk.calendar().sync_token
    desk.server.delete("a.ics")
    desk.server.put("b.ics", event("b"))
    desk.server.faults.add(**fault)  # type: ignore[arg-type]
    patient, desk.timeout_s = desk.timeout_s, 1.0
    result = desk.polling.poll(desk.account_id)
    desk.timeout_s = patient
    assert result.outcome is PollOutcome.FAILED
    assert set(desk.objects()) == {"a.ics"}
    account = desk.account()
    assert (account.state, account.failures, desk.calendar().sync_token) == ("active", 1, before)
    assert account.last_error == result.error
    assert desk.told.notices == []
    desk.server.faults.clear()
    assert desk.poll() is PollOutcome.POLLED
    assert set(desk.objects()) == {"b.ics"}
    assert (desk.account().failures, desk.account().last_error) == (0, None)


@ANY_DATABASE
def test_retry_after_is_honoured_up_to_an_hour(desk: Desk) -> None:
    desk.server.faults.add("rate_limit", retry_after_s=900)
    desk.poll()
    wait = desk.account().next_poll_at - desk.clock.now
    assert timedelta(seconds=900) <= wait <= timedelta(seconds=900 + PERIOD_S)
    desk.server.faults.clear()
    desk.server.faults.add("rate_limit", retry_after_s=80_000)
    desk.poll()
    assert desk.account().next_poll_at - desk.clock.now <= timedelta(hours=1, seconds=PERIOD_S)


def test_a_failing_account_is_asked_ever_less_often_and_at_least_each_hour(desk: Desk) -> None:
    desk.server.faults.add("error", status=500)
    waits = []
    for _ in range(9):
        desk.clock.now = max(desk.clock.now, desk.account().next_poll_at)
        assert desk.polling.claim_due() == [desk.account_id]
        desk.poll()
        waits.append((desk.account().next_poll_at - desk.clock.now).total_seconds())
    assert waits == sorted(waits)
    assert waits[0] <= 1.5 * PERIOD_S
    assert 3600 <= waits[-1] <= 3600 + PERIOD_S


def test_three_refusals_in_a_row_pause_the_account_and_tell_its_owner_once(desk: Desk) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    desk.server.password = "changed"
    assert [desk.poll() for _ in range(5)] == [
        PollOutcome.FAILED,
        PollOutcome.FAILED,
        PollOutcome.PAUSED,
        PollOutcome.SKIPPED,
        PollOutcome.SKIPPED,
    ]
    assert desk.told.notices == [("paused", desk.account_id)]
    account = desk.account()
    assert (account.state, account.paused_at) == ("paused", desk.clock.now)
    assert "401" in (account.reason or "")
    assert set(desk.objects()) == {"a.ics"}
    desk.clock.forward(days=2)
    assert desk.polling.claim_due() == []


def test_a_success_between_refusals_begins_the_count_anew(desk: Desk) -> None:
    for _ in range(3):
        desk.server.password = "changed"
        desk.poll()
        desk.poll()
        desk.server.password = "right"
        assert desk.poll() is PollOutcome.POLLED
    assert desk.told.notices == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_lost_calendar_is_told_once_keeps_its_store_and_comes_back_by_itself(desk: Desk, status: int) -> None:
    desk.server.put("a.ics", event("a"))
    desk.poll()
    desk.server.quirks.calendar_status = status
    assert desk.poll() is PollOutcome.POLLED
    desk.asked()
    desk.clock.forward(hours=23)
    desk.poll()
    assert desk.asked() == []
    desk.clock.forward(hours=1)
    desk.poll()
    assert len(desk.asked()) == 1
    assert desk.told.notices == [("lost", desk.calendar_id)]
    assert set(desk.objects()) == {"a.ics"}
    desk.server.quirks.calendar_status = 0
    desk.server.put("b.ics", event("b"))
    desk.clock.forward(days=1)
    desk.poll()
    assert desk.told.notices == [("lost", desk.calendar_id), ("back", desk.calendar_id)]
    assert set(desk.objects()) == {"a.ics", "b.ics"}
    assert desk.calendar().state == "active"


def test_one_calendar_that_fails_does_not_stop_the_others(desk: Desk) -> None:
    desk.server.put("a.ics", event("a"))
    with desk.database.write() as session:
        session.add(Calendar(account_id=desk.account_id, url=f"{desk.server.url}/broken/", name="Broken"))
    desk.server.faults.add("error", status=500, path="/broken/")
    desk.clock.now = desk.account().next_poll_at
    desk.polling.claim_due()
    result = desk.polling.poll(desk.account_id)
    assert (result.outcome, result.changed) == (PollOutcome.PARTLY, 1)
    assert desk.account().next_poll_at - desk.clock.now <= timedelta(seconds=1.5 * PERIOD_S)
    assert "500" in (desk.account().last_error or "")


class _Interrupted(CaldavClient):
    """Calls `hook` after the first batch."""

    hook: Callable[[], None]

    def fetch(self, calendar_url, hrefs) -> Iterator[FetchedBatch]:  # type: ignore[no-untyped-def]
        for number, batch in enumerate(super().fetch(calendar_url, hrefs)):
            if number == 1:
                self.hook()
            yield batch


def interrupt(desk: Desk, hook: Callable[[], None]) -> None:
    def wrap(client: CaldavClient) -> CaldavClient:
        client.__class__ = _Interrupted
        client.hook = hook  # type: ignore[attr-defined]
        return client

    desk.wrap = wrap


def test_a_poll_that_dies_between_batches_is_repeated_and_loses_nothing(desk: Desk) -> None:
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))

    def die() -> None:
        raise KeyboardInterrupt

    interrupt(desk, die)
    with pytest.raises(KeyboardInterrupt):
        desk.polling.poll(desk.account_id)
    assert (len(desk.objects()), desk.calendar().sync_token) == (100, None)
    desk.wrap = lambda client: client
    desk.asked()
    assert desk.polling.poll(desk.account_id).changed == 150
    assert len(desk.objects()) == 250


def test_a_failure_between_batches_keeps_the_token_until_all_is_stored(desk: Desk) -> None:
    desk.poll()
    before = desk.calendar().sync_token
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))

    def fail_from_now_on() -> None:
        desk.server.faults.add("error", status=503)

    interrupt(desk, fail_from_now_on)
    result = desk.polling.poll(desk.account_id)
    assert (result.outcome, result.changed) == (PollOutcome.FAILED, 200)
    assert desk.calendar().sync_token == before
    desk.server.faults.clear()
    desk.wrap = lambda client: client
    assert desk.polling.poll(desk.account_id).changed == 50


def test_a_poll_whose_account_was_taken_over_stores_nothing_more(desk: Desk) -> None:
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))

    def take_over() -> None:
        with desk.database.write() as session:
            session.execute(update(CalendarAccount).values(fence=CalendarAccount.fence + 1))

    interrupt(desk, take_over)
    assert desk.poll() is PollOutcome.SKIPPED
    assert (len(desk.objects()), desk.calendar().sync_token) == (100, None)


def test_a_poll_whose_time_is_over_goes_on_soon_where_it_stopped(desk: Desk) -> None:
    for number in range(250):
        desk.server.put(f"{number}.ics", event(str(number)))
    desk.polling = desk.service(budget_s=0.3)
    interrupt(desk, lambda: time.sleep(0.4))
    desk.clock.now = desk.account().next_poll_at
    desk.polling.claim_due()
    result = desk.polling.poll(desk.account_id)
    assert result.outcome is PollOutcome.CONTINUED
    assert 100 <= len(desk.objects()) < 250
    assert desk.account().next_poll_at <= desk.clock.now + timedelta(seconds=15)
    desk.polling = desk.service()
    desk.wrap = lambda client: client
    assert desk.poll() is PollOutcome.POLLED
    assert len(desk.objects()) == 250


def test_a_poll_cut_off_by_the_end_of_its_work_is_no_failure_of_the_server(desk: Desk) -> None:
    desk.server.put("a.ics", event("a"))
    desk.server.quirks.trickle_s = 0.05
    with deadline_in(0.4):
        assert desk.poll() is PollOutcome.CONTINUED
    assert (desk.account().failures, desk.account().last_error) == (0, None)


def add_accounts(desk: Desk, count: int) -> None:
    with desk.database.write() as session:
        session.add_all(
            CalendarAccount(
                subscriber_id=1,
                server_url=desk.server.url,
                login=f"l{number}",
                password="",
                addresses=[],
                next_poll_at=BEGIN,
                created_at=BEGIN,
            )
            for number in range(count)
        )


def test_a_claim_is_taken_once_and_again_when_its_time_is_over(desk: Desk) -> None:
    assert desk.polling.claim_due() == [desk.account_id]
    assert desk.polling.claim_due() == []
    desk.clock.forward(seconds=PERIOD_S * 1.6)
    assert desk.polling.claim_due() == [], "the poll may still be running"
    desk.clock.forward(minutes=10)
    assert desk.polling.claim_due() == [desk.account_id]


@ANY_DATABASE
def test_polls_are_spread_over_the_period_and_do_not_drift(desk: Desk) -> None:
    add_accounts(desk, 239)
    seen: dict[int, list[float]] = {}
    for _ in range(60):
        for id_ in desk.polling.claim_due():
            seen.setdefault(id_, []).append((desk.clock.now - BEGIN).total_seconds())
            with desk.database.write() as session:
                session.execute(update(CalendarAccount).where(CalendarAccount.id == id_).values(claimed_until=None))
        desk.clock.forward(seconds=15)
    assert len(seen) == 240
    steady = [at for times in seen.values() for at in times if at >= 3 * PERIOD_S]
    per_scan = [steady.count(at) for at in set(steady)]
    assert max(per_scan) <= 2 * 240 * 15 / PERIOD_S
    for times in seen.values():
        assert {later - earlier for earlier, later in itertools.pairwise(times[2:])} == {PERIOD_S}


def test_after_a_downtime_the_polls_do_not_all_come_at_once(desk: Desk) -> None:
    add_accounts(desk, 239)
    desk.clock.forward(hours=5)
    claims = []
    for _ in range(6):
        claims.append(len(desk.polling.claim_due()))
        desk.clock.forward(seconds=15)
    assert max(claims) <= 60
    assert sum(claims) >= 240


def test_a_slot_is_the_same_instant_of_every_period() -> None:
    first = next_slot(7, BEGIN, PERIOD_S)
    assert BEGIN < first <= BEGIN + timedelta(seconds=PERIOD_S)
    assert next_slot(7, first, PERIOD_S) == first + timedelta(seconds=PERIOD_S)
    assert next_slot(7, first - timedelta(milliseconds=1), PERIOD_S) == first
