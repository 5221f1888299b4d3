"""Change notices from the server to the ledger, on both databases: told once, in one message, and never by mistake."""

from __future__ import annotations

import itertools
import threading
import time as time_module
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from sandbox.caldav import running_radicale
from sandbox.caldav.faulty import LOGIN, FaultyServer
from sandbox.caldav.storage import make_calendar
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient, FetchedBatch
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarReminder,
    CalendarSnapshot,
    CalendarSubscriber,
    Delivery,
)
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository
from switchboard.domain.calendar.changes import Change, find_changes
from switchboard.errors import RemoteUnavailableError
from switchboard.services.calendar import changes as change_service
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person, SubscriberSettings
from switchboard.services.calendar.changes import KIND, Changes
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome
from switchboard.services.calendar.reminders import Reminders
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.services.deliveries import Deliveries
from tests.integration.calendar.household import Clock, OnePerson, RecordingChannel
from tests.servers import ANY_DATABASE

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
BOX = SecretBox(["k" * 32])
ANNA = Person("u-anna", "anna", "anna@example.org", "en", "Europe/Berlin")


def ics(uid: str, *, at: str = "20261124T100000Z", title: str = "Plan", more: str = "", until: str = "") -> bytes:
    end = until or at.replace("T10", "T11")
    return (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261101T000000Z\r\n"
        f"SUMMARY:{title}\r\nDTSTART:{at}\r\nDTEND:{end}\r\n{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


class Life:
    """One person with one account, from connecting to reading; `live` is a poll, an expansion and a scan."""

    def __init__(
        self,
        database: Database,
        url: str,
        port: int,
        login: str,
        password: str,
        person: Person = ANNA,
        guard: AddressGuard | None = None,
    ) -> None:
        self.database, self.clock = database, Clock(NOW)
        self.guard = guard or AddressGuard([f"127.0.0.1:{port}"])
        self.wrap: Callable[[CaldavClient], CaldavClient] = lambda client: client
        self.accounts = CalendarAccounts(database, self.open, BOX, OnePerson(person), self.guard, self.clock)
        self.polling = CalendarPolling(
            database, self.open, BOX, CalendarNotices(database), self.clock, poll_period_s=120, budget_s=30
        )
        self.expansion = CalendarExpansion(database, self.clock)
        self.changes = Changes(database, self.clock)
        connected = self.accounts.connect(ConnectRequest(url, login, password, "anna", "Europe/Berlin"), actor="test")
        self.account_id, self.subscriber_id = connected.account_id, connected.subscriber_id

    @contextmanager
    def open(self, url: str, login: str, password: str) -> Iterator[CaldavClient]:
        with CaldavClient(url, login, password, guard=self.guard, timeout_s=10, deadline_s=40) as client:
            yield self.wrap(client)

    def poll(self) -> PollOutcome:
        return self.polling.poll(self.account_id).outcome

    def expand(self) -> None:
        while self.expansion.expand_account(self.account_id).more:
            pass

    def work(self) -> None:
        """Everything that live does, but reading."""
        self.poll()
        self.expand()
        self.changes.claim_due()

    def live(self) -> list[str]:
        """What a poll and all that follows it tells, as text; at most one message."""
        self.poll()
        self.expand()
        return self.scan()

    def scan(self) -> list[str]:
        ids = [id_ for batch in self.changes.claim_due() for id_ in batch]
        return [self.text(id_) for id_ in ids]

    def text(self, delivery_id: int) -> str:
        with self.database.write() as session:
            claimed = DeliveryRepository(session).claim(
                "mattermost", owner="x", now=self.clock(), lease=timedelta(minutes=1), ids=[delivery_id]
            )
            DeliveryRepository(session).begin_sending(claimed, self.clock())
            DeliveryRepository(session).record_sent(dict.fromkeys(claimed, "post"), self.clock())
        [row] = claimed
        rendered = self.render(row)
        return rendered.message.text if isinstance(rendered, Rendered) else rendered.reason

    def render(self, row: ClaimedDelivery) -> Rendered | Obsolete | Postponed:
        return self.changes.render([row], self.clock())[row.id]

    def count(self, model: type) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0

    def told(self) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).where(Delivery.kind == KIND)) or 0

    def configure(self, **settings: Any) -> None:
        self.accounts.configure(self.subscriber_id, SubscriberSettings(**settings), actor="test")


@pytest.fixture
def life(database: Database, faulty: FaultyServer) -> Life:
    """Connected and polled once: `a` and `b` are known meetings."""
    faulty.put("a.ics", ics("a", title="Alpha"))
    faulty.put("b.ics", ics("b", title="Beta", at="20261125T100000Z"))
    life = Life(database, faulty.url, faulty.port, LOGIN, faulty.password)
    assert life.live() == []  # what was there before is no news
    return life


@ANY_DATABASE
def test_all_changes_of_a_poll_are_one_message(life: Life, faulty: FaultyServer) -> None:
    faulty.put("a.ics", ics("a", title="Alpha", at="20261124T103000Z", until="20261124T113000Z"))
    faulty.delete("b.ics")
    faulty.put("c.ics", ics("c", title="Gamma", more="LOCATION:Attic\r\n"))
    [text] = life.live()
    assert text == (
        "#### Changes in your calendar\n"
        "**Moved**\n"
        "- **Alpha**: Tuesday, November 24, ~~11:00–12:00~~ → 11:30–12:30\n\n"
        "**New**\n"
        "- **Gamma**: Tuesday, November 24, 11:00–12:00 · Attic\n\n"
        "**Cancelled**\n"
        "- **Beta**: ~~Wednesday, November 25, 11:00–12:00~~"
    )
    assert life.live() == []
    assert life.count(CalendarSnapshot) == 0


def test_the_last_meeting_is_told_when_it_goes(life: Life, faulty: FaultyServer) -> None:
    faulty.delete("a.ics")
    faulty.delete("b.ics")
    [text] = life.live()
    assert text.count("~~") == 4
    assert life.count(CalendarObject) == 0


@ANY_DATABASE
def test_a_server_that_touches_objects_tells_nothing(life: Life, faulty: FaultyServer) -> None:
    faulty.touch("a.ics")
    faulty.touch("b.ics", ics("b", title="Beta", at="20261125T100000Z", more="SEQUENCE:4\r\nX-TOUCHED:1\r\n"))
    assert life.live() == []
    assert life.count(CalendarSnapshot) == 0


def test_a_known_calendar_that_is_read_anew_tells_nothing(life: Life, faulty: FaultyServer) -> None:
    faulty.forget_history()
    assert life.live() == []


def test_what_is_taken_back_before_it_was_told_is_no_change(life: Life, faulty: FaultyServer) -> None:
    life.configure(quiet_from="08:00", quiet_until="12:00")
    faulty.put("a.ics", ics("a", title="Other"))
    assert life.live() == []
    assert life.count(CalendarSnapshot) == 1
    faulty.put("a.ics", ics("a", title="Alpha"))
    life.clock.now = NOW + timedelta(hours=2)
    assert life.live() == []
    assert life.count(CalendarSnapshot) == 0


def test_quiet_hours_put_notices_off_and_together(life: Life, faulty: FaultyServer) -> None:
    life.configure(quiet_from="22:00", quiet_until="08:00")
    life.clock.now = NOW.replace(hour=21)  # 22:00 in Berlin
    faulty.delete("a.ics")
    assert life.live() == []
    life.clock.now += timedelta(hours=1)
    faulty.delete("b.ics")
    assert life.live() == []
    life.clock.now = datetime(2026, 11, 22, 6, 59, 59, tzinfo=UTC)
    assert life.scan() == []
    life.clock.now = datetime(2026, 11, 22, 7, tzinfo=UTC)
    [text] = life.scan()
    assert "Alpha" in text
    assert "Beta" in text


@ANY_DATABASE
@pytest.mark.parametrize(
    ("times", "clock"),
    [
        (("20261124T100000", "20261124T110000", ""), "Tuesday, November 24, 10:00–11:00"),
        (("20261124T100000", "20261124T110000", "RRULE:FREQ=DAILY\r\n"), "Tuesday, November 24, 10:00–11:00"),
        (("20261124", "20261126", ""), "Tuesday, November 24 – Wednesday, November 25, all day"),
    ],
    ids=["floating", "series", "all-day"],
)
def test_a_reader_who_moves_to_another_zone_moves_no_meeting(
    life: Life, faulty: FaultyServer, times: tuple[str, str, str], clock: str
) -> None:
    """Given a change that waits for the end of quiet hours, when the zone changes, only that change is told."""
    at, until, rule = times
    faulty.put("f.ics", ics("f", title="Old", at=at, until=until, more=rule))
    assert len(life.live()) == 1
    life.configure(quiet_from="08:00", quiet_until="12:00")
    faulty.put("f.ics", ics("f", title="New", at=at, until=until, more=rule))
    assert life.live() == []
    life.configure(zone="Asia/Tokyo", quiet_from="", quiet_until="")
    life.expand()
    [text] = life.scan()
    assert text.splitlines()[1:] == ["**Changed**", text.splitlines()[2]]
    assert text.endswith(clock)
    faulty.put(
        "f.ics", ics("f", title="New", at=at.replace("1124", "1123"), until=until.replace("1126", "1125"), more=rule)
    )
    life.poll()
    life.configure(zone="America/Santiago")
    life.expand()
    [text] = life.scan()
    assert "**Moved**" in text


def test_a_notice_that_was_not_sent_before_quiet_hours_waits_for_their_end(life: Life, faulty: FaultyServer) -> None:
    life.configure(quiet_from="11:00", quiet_until="12:00")  # it is 10:00 in Berlin
    faulty.delete("a.ics")
    life.work()
    assert life.told() == 1
    channel = RecordingChannel()
    deliveries = Deliveries(life.database, {channel.name: channel}, {KIND: life.changes}, life.clock)

    def send() -> int:
        return sum(deliveries.send(channel.name, ids).sent for ids in deliveries.scan_open().to_send[channel.name])

    life.clock.now = NOW + timedelta(hours=1)
    assert send() == 0
    life.clock.now = NOW + timedelta(hours=2, seconds=-1)
    assert send() == 0
    life.clock.now = NOW + timedelta(hours=2)
    assert send() == 1
    assert "Alpha" in channel.posts[0].text
    life.configure(quiet_from="12:00", quiet_until="13:00")
    faulty.delete("b.ics")
    life.clock.now = NOW + timedelta(minutes=119)
    life.work()
    life.clock.now = NOW + timedelta(hours=2)
    life.configure(quiet_from="11:30", quiet_until="13:00")
    assert send() == 0
    life.configure(quiet_from="", quiet_until="")
    assert send() == 1


def test_an_end_of_quiet_hours_by_the_user_lets_the_notices_go(life: Life, faulty: FaultyServer) -> None:
    life.configure(quiet_from="08:00", quiet_until="12:00")
    faulty.delete("a.ics")
    assert life.live() == []
    life.configure(quiet_from="", quiet_until="")
    assert len(life.scan()) == 1


def test_reminders_are_dropped_in_quiet_hours_only(life: Life) -> None:
    life.configure(quiet_from="10:00", quiet_until="11:00")
    reminders = Reminders(life.database, life.clock)
    with life.database.read() as session:
        fire_at = min(session.scalars(select(CalendarReminder.fire_at)))
    life.clock.now = fire_at
    assert fire_at.astimezone(UTC).time() == time(9, 50)
    assert reminders.claim_due() == []
    life.clock.now = fire_at + timedelta(days=1)
    life.configure(quiet_from="11:00", quiet_until="11:30")
    assert sum(map(len, reminders.claim_due())) == 1


def test_switches_are_obeyed_now_and_at_sending(life: Life, faulty: FaultyServer) -> None:
    life.configure(changes_enabled=False)
    faulty.delete("a.ics")
    assert life.live() == []
    life.configure(changes_enabled=True)
    assert life.scan() == []  # what happened meanwhile is not told later
    faulty.delete("b.ics")
    life.poll()
    [[id_]] = life.changes.claim_due()
    life.configure(changes_enabled=False)
    assert life.text(id_) == "change notices were switched off"


def test_answers_have_a_switch_of_their_own(life: Life, faulty: FaultyServer) -> None:
    people = "ORGANIZER:mailto:anna@example.org\r\nATTENDEE;CN=Bob;PARTSTAT={0}:mailto:bob@example.org\r\n"
    for enabled, uid in ((True, "m"), (False, "n")):
        life.configure(answers_enabled=enabled)
        faulty.put(f"{uid}.ics", ics(uid, title="Mine", more=people.format("NEEDS-ACTION")))
        assert len(life.live()) == 1
        faulty.put(f"{uid}.ics", ics(uid, title="Mine", more=people.format("ACCEPTED")))
        texts = life.live()
        assert [text.splitlines()[2] for text in texts] == (
            ["- **Mine**: Tuesday, November 24, 11:00–12:00 · Bob accepted"] if enabled else []
        )


def test_zone_and_horizon_change_nothing(life: Life, faulty: FaultyServer) -> None:
    faulty.put("s.ics", ics("s", title="Series", more="RRULE:FREQ=DAILY\r\n"))
    assert "the series" in life.live()[0]
    life.configure(zone="America/Santiago")
    assert life.live() == []
    life.clock.now += timedelta(days=20)
    life.expansion.extend_horizon()
    assert life.live() == []
    faulty.put("s.ics", ics("s", title="Daily", more="RRULE:FREQ=DAILY\r\n"))
    [text] = life.live()
    assert text.count("\n") == 2
    assert "~~Series~~ → **Daily** (the series)" in text


def test_a_poll_that_stops_half_way_tells_nothing_until_it_is_whole(life: Life, faulty: FaultyServer) -> None:
    for number in range(150):  # more than one batch
        faulty.put(f"{number}.ics", ics(f"u{number}", title=f"New {number}"))
    faulty.delete("a.ics")
    times = itertools.count()

    def cut(client: CaldavClient) -> CaldavClient:
        fetch = client.fetch

        def once(url: str, hrefs: Iterable[str]) -> Iterator[FetchedBatch]:
            for batch in fetch(url, hrefs):
                if next(times) == 1:
                    raise RemoteUnavailableError("the connection was cut")
                yield batch

        client.fetch = once  # type: ignore[method-assign, assignment]
        return client

    life.wrap = cut
    assert life.poll() is PollOutcome.FAILED
    life.expand()
    assert life.count(CalendarSnapshot) > 0
    assert life.scan() == []
    life.wrap = lambda client: client
    [text] = life.live()
    assert "… and 135 more" in text
    assert "Alpha" in text


def test_a_broken_object_is_not_taken_for_a_cancelled_meeting(life: Life, faulty: FaultyServer) -> None:
    whole = ics("a", title="Alpha")
    faulty.put("a.ics", whole[: whole.index(b"END:VEVENT")])
    assert life.live() == []
    faulty.put("a.ics", ics("a", title="Alpha", at="20261124T103000Z", until="20261124T113000Z"))
    [text] = life.live()
    assert "~~11:00–12:00~~ → 11:30–12:30" in text


@ANY_DATABASE
def test_a_meeting_moved_into_the_past_is_moved(life: Life, faulty: FaultyServer) -> None:
    faulty.put("a.ics", ics("a", title="Alpha", at="20261117T100000Z"))
    [text] = life.live()
    assert "**Moved**" in text
    assert life.count(CalendarReminder) == 1


def test_unwatching_and_disconnecting_tell_nothing(life: Life, faulty: FaultyServer) -> None:
    with life.database.read() as session:
        [calendar_id] = session.scalars(select(Calendar.id)).all()
    faulty.delete("a.ics")
    life.poll()
    life.accounts.watch(life.account_id, [], actor="test")
    assert (life.scan(), life.count(CalendarSnapshot)) == ([], 0)
    life.accounts.watch(life.account_id, [calendar_id], actor="test")
    assert life.live() == []
    faulty.delete("b.ics")
    life.poll()
    life.accounts.disconnect(life.account_id, actor="test")
    assert (life.scan(), life.count(CalendarSnapshot)) == ([], 0)


def test_disconnecting_erases_what_notices_said_and_sends_none_that_waits(life: Life, faulty: FaultyServer) -> None:
    faulty.delete("a.ics")
    assert len(life.live()) == 1
    faulty.delete("b.ics")
    life.work()
    life.accounts.disconnect(life.account_id, actor="test")
    with life.database.read() as session:
        rows = session.execute(select(Delivery.state, Delivery.body).order_by(Delivery.id)).all()
    assert [tuple(row) for row in rows] == [("SENT", None), ("EXPIRED", None)]


def test_nobody_reads_the_notice_of_one_whose_number_they_got(life: Life, faulty: FaultyServer) -> None:
    faulty.delete("a.ics")
    life.poll()
    life.expand()
    [[delivery_id]] = life.changes.claim_due()
    with life.database.write() as session:
        session.execute(update(CalendarSubscriber).values(mattermost_user_id="u-boris"))
    assert life.text(delivery_id) == "the calendar was disconnected"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("step", range(14))
def test_a_kill_at_any_transaction_loses_nothing_and_tells_nothing_twice(
    life: Life, faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Given changes of every kind, when the work dies around its n-th commit and is repeated, each is told once."""
    faulty.put("a.ics", ics("a", title="Alpha", at="20261124T103000Z", until="20261124T113000Z"))
    faulty.delete("b.ics")
    faulty.put("c.ics", ics("c", title="Gamma"))
    numbers = itertools.count()
    write = Database.write

    @contextmanager
    def dying(database: Database) -> Iterator[Session]:
        dies = next(numbers) == step // 2
        with write(database) as session:
            yield session
            if dies and step % 2 == 0:
                raise Killed
        if dies:
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Database, "write", dying)
        with pytest.raises(Killed):
            life.work()
    life.clock.now += timedelta(minutes=11)  # the lease of the dead poll ends
    life.live()
    with life.database.read() as session:
        bodies = session.scalars(select(Delivery.body).where(Delivery.kind == KIND)).all()
    told = [(one["kind"], one["title"]) for body in bodies if body for one in body["changes"]]
    assert sorted(told) == [("added", "Gamma"), ("cancelled", "Beta"), ("moved", "Alpha")]
    assert len(bodies) == 1


def test_nothing_is_told_before_the_poll_and_the_expansion_have_ended(life: Life, faulty: FaultyServer) -> None:
    faulty.put("a.ics", ics("a", title="First"))
    life.poll()
    assert life.scan() == []  # not expanded yet
    life.expand()
    [text] = life.scan()
    assert "~~Alpha~~ → **First**" in text
    faulty.put("a.ics", ics("a", title="Alpha"))
    life.poll()
    faulty.put("a.ics", ics("a", title="Second"))
    [text] = life.live()
    assert "~~First~~ → **Second**" in text
    faulty.put("a.ics", ics("a", title="Third"))
    life.poll()
    life.expand()
    with life.database.write() as session:  # the next poll is under way
        session.execute(update(CalendarAccount).values(claimed_until=life.clock() + timedelta(minutes=1)))
    assert life.scan() == []
    [text] = life.live()
    assert "~~Second~~ → **Third**" in text


def test_a_poll_that_comes_in_while_its_forerunner_is_told_loses_nothing(
    life: Life, faulty: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given a notice being made, when a poll stores the next change, it waits for the commit and keeps its own state."""
    faulty.put("a.ics", ics("a", title="First"))
    life.poll()
    life.expand()
    faulty.put("a.ics", ics("a", title="Second"))
    pollers = []

    def slow(*arguments: Any, **options: Any) -> tuple[Change, ...]:
        pollers.append(threading.Thread(target=life.poll))
        pollers[0].start()
        time_module.sleep(0.5)
        return find_changes(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(change_service, "find_changes", slow)
        [text] = life.scan()
    assert "~~Alpha~~ → **First**" in text
    pollers[0].join(10)
    life.expand()
    [text] = life.scan()
    assert "~~First~~ → **Second**" in text


@ANY_DATABASE
def test_a_long_list_is_kept_short(life: Life, faulty: FaultyServer) -> None:
    for number in range(60):
        faulty.put(f"{number}.ics", ics(f"u{number}", title="*" * 900, more=f"LOCATION:{'#' * 900}\r\n"))
    [text] = life.live()
    assert len(text) < 16_000
    assert "more" in text.splitlines()[-1]
    with life.database.read() as session:
        body = session.scalars(select(Delivery.body).where(Delivery.kind == KIND)).one()
    assert body is not None
    assert len(body["changes"]) == change_service.MAX_KEPT


@ANY_DATABASE
def test_with_radicale_each_edit_of_a_person_is_told(database: Database, tmp_path: Path) -> None:
    with running_radicale(tmp_path) as server:
        make_calendar(server.folder, "anna", "work", "Work")
        desk = server.desk
        start = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
        first = desk.add("anna", "Review", start, now=NOW)
        life = Life(database, server.url, server.port, "anna", server.password)
        assert life.live() == []
        assert life.live() == []

        added = desk.add("anna", "Retro", start, now=NOW)
        [text] = life.live()
        assert "**New**\n- **Retro**: Wednesday, November 25, 10:00–10:30" in text

        desk.move("anna", first.uid, start + timedelta(hours=1), now=NOW)
        [text] = life.live()
        assert "- **Review**: Wednesday, November 25, ~~10:00–10:30~~ → 11:00–11:30" in text

        desk.move("anna", first.uid, start + timedelta(hours=1), now=NOW + timedelta(minutes=1))
        assert life.live() == []  # written again, nothing changed

        desk.cancel("anna", added.uid, now=NOW)
        [text] = life.live()
        assert "**Cancelled**\n- **Retro**" in text
        desk.delete("anna", added.uid)
        assert life.live() == []  # told when it was cancelled

        series = ics(
            "series", title="Standup", at="20261124T080000Z", until="20261124T083000Z", more="RRULE:FREQ=DAILY\r\n"
        )
        desk._put("anna", "work", "series", series, {})
        [text] = life.live()
        assert text.count("Standup") == 1
        desk._put("anna", "work", "series", series.replace(b"T08", b"T09"), {})
        [text] = life.live()
        assert "- **Standup** (the series): Tuesday, November 24, ~~09:00–09:30~~ → 10:00–10:30" in text
        desk._put("anna", "work", "series", series.replace(b"T08", b"T09").replace(b"DAILY", b"DAILY;COUNT=2"), {})
        [text] = life.live()
        assert "meetings of the series" in text
        assert text.count("\n") == 2

        desk.delete("anna", "series")
        desk.delete("anna", first.uid)
        [text] = life.live()
        assert text.count("~~") == 4
        assert life.count(CalendarSnapshot) == 0
        assert life.told() == 7


def test_a_meeting_in_two_watched_calendars_is_told_once(database: Database, tmp_path: Path) -> None:
    with running_radicale(tmp_path) as server:
        desk = server.desk
        for name in ("work", "home"):
            make_calendar(server.folder, "anna", name, name)
            desk._put("anna", name, "m", ics("m", title="Alpha"), {})
        life = Life(database, server.url, server.port, "anna", server.password)
        assert life.live() == []

        desk._put("anna", "work", "m", ics("m", title="Beta"), {})
        assert len(life.live()) == 1
        desk._put("anna", "home", "m", ics("m", title="Beta"), {})
        assert life.live() == []

        for name in ("work", "home"):
            desk._put("anna", name, "m", ics("m", title="Gamma"), {})
        [text] = life.live()
        assert text.count("Gamma") == 1

        desk.delete("anna", "m", calendar="work")
        assert life.live() == []
        desk.delete("anna", "m", calendar="home")
        [text] = life.live()
        assert text.count("Gamma") == 1


def test_two_people_hear_of_a_shared_meeting_each(database: Database, faulty: FaultyServer) -> None:
    faulty.put("a.ics", ics("a", title="Alpha"))
    people = []
    for name, locale in (("anna", "ru"), ("boris", "uk")):
        person = Person(f"u-{name}", name, f"{name}@example.org", locale, "Europe/Berlin")
        people.append(Life(database, faulty.url, faulty.port, LOGIN, faulty.password, person))
        assert people[-1].live() == []
    faulty.delete("a.ics")
    for life in people:
        life.poll()
    texts = people[0].scan()
    assert len(texts) == 2
    assert any("Отменено" in text and "вторник, 24 ноября" in text for text in texts)
    assert any("Скасовано" in text for text in texts)
