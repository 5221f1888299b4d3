"""Every quirk of the known servers, from connecting to the message, through the real services.

Tests with the argument `known` run for all seven; the others play what one of them does. The table of servers, quirks and tests
stands in docs/explanation/time-and-calendars.md.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from sandbox.caldav.faulty import FaultyServer, Layout, Quirks, running_faulty
from sandbox.caldav.known_servers import (
    ALL,
    FASTMAIL,
    GOOGLE,
    ICLOUD,
    NEXTCLOUD,
    YANDEX,
    KnownServer,
    running_known,
)
from switchboard.clients.address_guard import AddressGuard, AddressInfo
from switchboard.clients.caldav import CaldavClient
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarObject, CalendarOccurrence, Delivery
from switchboard.errors import InvalidInputError, RemoteRejectedError
from switchboard.services.calendar import notices
from switchboard.services.calendar.accounts import (
    CalendarAccounts,
    ConnectRequest,
    NotACalendarServerError,
    ServerUnreachableError,
    WrongPasswordError,
)
from switchboard.services.calendar.polling import PollOutcome
from tests.integration.calendar.household import Clock, OnePerson
from tests.integration.calendar.test_changes import ANNA, BOX, NOW, Life, ics

MEETINGS = 12
PAGE = 4  # of servers that page: theirs are about 200
TASK = (
    b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\nBEGIN:VTODO\r\nUID:task\r\nDTSTAMP:20261101T000000Z\r\n"
    b"SUMMARY:Task\r\nDTSTART:20261124T100000Z\r\nDUE:20261124T110000Z\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
)


def at_loopback(_host: str, port: int) -> list[AddressInfo]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def guard_for(server: FaultyServer) -> AddressGuard:
    """Lets the server's names and ports be reached at loopback."""
    hosts = server.layout.hosts
    return AddressGuard([f"{hosts[0]}:{server.port}", f"{hosts[-1]}:{server.home_port}"], resolver=at_loopback)


@dataclass
class Place:
    """A server, and somebody whose calendars are there."""

    known: KnownServer
    server: FaultyServer
    life: Life

    def put(self, name: str, raw: bytes) -> None:
        self.known.put(self.server, name, raw)

    def titles(self) -> list[str]:
        with self.life.database.read() as session:
            rows = session.scalars(select(CalendarOccurrence).order_by(CalendarOccurrence.start_at))
            return [row.details["title"] for row in rows]

    def account(self) -> CalendarAccount:
        with self.life.database.read() as session:
            return session.get_one(CalendarAccount, self.life.account_id)

    def calendars(self) -> dict[str, str]:
        """URLs by name."""
        with self.life.database.read() as session:
            return {row.name: row.url for row in session.scalars(select(Calendar))}

    def notices(self) -> int:
        """Notices about the account itself."""
        with self.life.database.read() as session:
            return len(session.scalars(select(Delivery.id).where(Delivery.kind == notices.KIND)).all())

    def asked(self) -> list[str]:
        requests = list(self.server.requests)
        self.server.requests.clear()
        return requests

    def poll_when_due(self) -> PollOutcome:
        self.life.clock.now = max(self.life.clock.now, self.account().next_poll_at)
        return self.life.poll()


def stay(database: Database, known: KnownServer, server: FaultyServer) -> Place:
    """Twelve meetings on Tuesday, a task among them, and one that was removed before anybody came; nothing is news."""
    server.quirks.page_size = min(server.quirks.page_size, PAGE)
    for number in range(MEETINGS):
        known.put(
            server,
            f"m{number}.ics",
            ics(f"m{number}", title=f"Meeting {number}", at=f"202611{24 + number % 3}T100000Z"),
        )
    known.put(server, "task.ics", TASK)
    known.put(server, "gone.ics", ics("gone", title="Gone"))
    server.delete("gone.ics")
    life = Life(
        database, server.url, server.port, server.layout.login, server.password, guard=guard_for(server)
    )  # fmt: skip
    assert life.live() == []
    return Place(known, server, life)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    """Polls and changes run on both databases elsewhere."""
    opened = Database(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture(params=ALL, ids=lambda known: known.name)
def place(request: pytest.FixtureRequest, database: Database) -> Iterator[Place]:
    with running_known(request.param) as server:
        yield stay(database, request.param, server)


@pytest.fixture
def at(request: pytest.FixtureRequest, database: Database) -> Iterator[Place]:
    """The one server that the test is about."""
    known: KnownServer = request.param
    with running_known(known) as server:
        yield stay(database, known, server)


def only(known: KnownServer) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("at", [known], indirect=True, ids=[known.name])


def connect(
    server: FaultyServer, database: Database, url: str = "", guard: AddressGuard | None = None
) -> CalendarAccounts:
    """Connect another account of the same login; the service, to look what there is."""
    guard = guard or guard_for(server)

    def open_server(address: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(address, login, password, guard=guard, timeout_s=10, deadline_s=40)

    accounts = CalendarAccounts(database, open_server, BOX, OnePerson(ANNA), guard, Clock(NOW))
    request = ConnectRequest(url or server.url, server.layout.login, server.password, "anna", "Europe/Berlin")
    accounts.connect(request, actor="test")
    return accounts


# Every server.


def test_every_meeting_arrives_and_nothing_else(place: Place) -> None:
    assert sorted(place.titles()) == sorted(f"Meeting {number}" for number in range(MEETINGS))
    assert set(place.calendars()) == {name for _, name in place.server.layout.calendars}


def test_nothing_is_asked_that_some_server_cannot_answer(place: Place) -> None:
    asked = place.asked()
    assert not [request for request in asked if request in ("REPORT free-busy", "REPORT sync limit")]
    place.life.poll()
    assert place.asked() == ["REPORT sync"] * len(place.server.layout.calendars)


def test_an_added_a_moved_and_a_cancelled_meeting_are_told_once(place: Place) -> None:
    place.put("new.ics", ics("new", title="Newcomer", at="20261126T150000Z", until="20261126T160000Z"))
    place.put("m0.ics", ics("m0", title="Meeting 0", at="20261124T120000Z", until="20261124T130000Z"))
    place.server.delete("m1.ics")
    [text] = place.life.live()
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**Moved**", "**New**", "**Cancelled**"]
    assert [name for name in ("Newcomer", "Meeting 0", "Meeting 1") if text.count(f"**{name}**") == 1] == [
        "Newcomer",
        "Meeting 0",
        "Meeting 1",
    ]
    assert [place.life.live() for _ in range(3)] == [[], [], []]


def test_more_changes_than_a_page_holds_are_all_told(place: Place) -> None:
    for number in range(2 * PAGE + 1):
        place.put(
            f"m{number}.ics",
            ics(f"m{number}", title=f"Meeting {number}", at="20261127T120000Z", until="20261127T130000Z"),
        )
    [text] = place.life.live()
    assert text.count("**Meeting ") == 2 * PAGE + 1
    assert place.life.live() == []


def test_what_the_server_touches_by_itself_tells_nothing_and_is_read_once(place: Place) -> None:
    place.known.touch_all(place.server)
    assert place.life.live() == []
    place.asked()
    assert place.life.live() == []
    assert place.asked() == ["REPORT sync"] * len(place.server.layout.calendars)
    assert len(place.titles()) == MEETINGS


def test_a_deletion_the_server_forgets_is_noticed_within_a_day_and_told_once(place: Place) -> None:
    place.server.quirks.forgets_deletions = True
    place.server.delete("m1.ics")
    told = place.life.live()
    place.life.clock.now += timedelta(days=1)
    told += place.life.live()
    assert [text.count("**Meeting 1**") for text in told] == [1]
    place.life.clock.now += timedelta(days=1)
    assert place.life.live() == []


def test_a_forgotten_token_costs_a_comparison_and_hides_no_change(place: Place) -> None:
    place.server.forget_history()
    assert place.life.live() == []
    place.server.forget_history()
    place.server.delete("m2.ics")
    [text] = place.life.live()
    assert "**Meeting 2**" in text
    assert place.life.live() == []


FAULTS: tuple[dict[str, object], ...] = (
    {"kind": "error", "status": 500},
    {"kind": "error", "status": 502},
    {"kind": "error", "status": 504},
    {"kind": "error", "status": 507},
    {"kind": "rate_limit", "retry_after_s": 30},
    {"kind": "html"},
    {"kind": "cut"},
    {"kind": "cut_body"},
)


def test_no_fault_pauses_anything_or_tells_anybody(place: Place) -> None:
    for fault in FAULTS * 2:
        place.server.faults.clear()
        place.server.faults.add(**fault)  # type: ignore[arg-type]
        assert place.poll_when_due() is PollOutcome.FAILED, fault
    assert (place.account().state, place.notices(), place.life.told()) == ("active", 0, 0)
    assert len(place.titles()) == MEETINGS
    place.server.faults.clear()
    place.server.delete("m3.ics")
    place.life.clock.now = place.account().next_poll_at
    [text] = place.life.live()
    assert "**Meeting 3**" in text
    assert place.account().failures == 0


def test_a_refused_password_pauses_and_is_told_once(place: Place) -> None:
    place.server.password = "changed"
    outcomes = [place.poll_when_due() for _ in range(5)]
    assert outcomes == [PollOutcome.FAILED] * 2 + [PollOutcome.PAUSED] + [PollOutcome.SKIPPED] * 2
    assert place.notices() == 1
    assert len(place.titles()) == MEETINGS


# Yandex.


@only(YANDEX)
def test_yandex_objects_are_read_although_they_are_itip_messages(at: Place) -> None:
    with at.life.database.read() as session:
        stored = session.scalars(select(CalendarObject.raw)).all()
    assert all(b"METHOD:PUBLISH" in raw for raw in stored)
    assert len(at.titles()) == MEETINGS


@only(YANDEX)
def test_a_yandex_address_with_an_at_sign_is_the_calendar_that_the_home_lists(at: Place) -> None:
    pasted = f"{at.server.url}/calendars/anna@example.ru/events-default/"
    accounts = connect(at.server, at.life.database, pasted)
    found = accounts.list_accounts()[-1].calendars
    assert [calendar.name for calendar in found] == ["My events", "Team"]


@only(YANDEX)
def test_a_yandex_task_that_changes_is_no_work_and_no_news(at: Place) -> None:
    at.put("task.ics", TASK.replace(b"SUMMARY:Task", b"SUMMARY:Other task"))
    result = at.life.polling.poll(at.life.account_id)
    assert (result.changed, result.needs_expansion) == (0, False)
    assert at.life.live() == []


@only(YANDEX)
def test_a_yandex_event_that_becomes_a_task_is_told_as_cancelled(at: Place) -> None:
    at.put("m4.ics", TASK.replace(b"UID:task", b"UID:m4"))
    [text] = at.life.live()
    assert "**Cancelled**\n- **Meeting 4**" in text


# Google: its host is refused, but its calendars come through servers that copy them.


def test_google_refuses_passwords_and_says_so_in_words(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    accounts = CalendarAccounts(
        database,
        lambda *_: pytest.fail("nothing is sent there"),
        BOX,
        OnePerson(ANNA),
        AddressGuard(resolver=at_loopback),
        Clock(NOW),
    )
    for url in ("https://apidata.googleusercontent.com/caldav/v2/a%40b/user", "https://www.google.com/calendar/dav/a"):
        with pytest.raises(InvalidInputError, match="OAuth") as caught:
            accounts.connect(ConnectRequest(url, "anna@gmail.com", "x", "anna"), actor="test")
        assert caught.value.field == "server_url"
    database.dispose()


def test_all_pages_of_google_are_read_at_their_real_size(database: Database) -> None:
    with running_known(GOOGLE) as server:
        for number in range(500):
            GOOGLE.put(server, f"{number}.ics", ics(str(number)))
        life = Life(database, server.url, server.port, server.layout.login, server.password, guard=guard_for(server))
        server.requests.clear()
        assert life.polling.poll(life.account_id).changed == 500
        assert server.requests.count("REPORT sync") == 3


@only(GOOGLE)
def test_a_listed_object_that_google_cannot_find_hides_no_other_and_comes_when_it_is_there(at: Place) -> None:
    at.server.quirks.listed_but_gone = {at.server.calendar + "late.ics"}
    at.put("late.ics", ics("late", title="Late", at="20261128T100000Z"))
    at.put("new.ics", ics("new", title="Newcomer"))
    [text] = at.life.live()
    assert ("**Newcomer**" in text, "**Late**" in text) == (True, False)
    assert (at.account().failures, at.account().last_error) == (0, None)
    at.server.quirks.listed_but_gone = set()
    at.life.clock.now += timedelta(days=1)
    [text] = at.life.live()
    assert ("**Newcomer**" in text, "**Late**" in text) == (False, True)


MASTER = (
    "BEGIN:VEVENT\r\nUID:{uid}\r\nDTSTAMP:20261101T000000Z\r\nSUMMARY:Series\r\nORGANIZER:mailto:boris@example.org\r\n"
    "DTSTART;TZID=Europe/Moscow:{day}T{hour}0000\r\nDTEND;TZID=Europe/Moscow:{day}T{hour}3000\r\nRRULE:{rule}\r\nEND:VEVENT\r\n"
)


def series(uid: str, day: str, hour: str, rule: str, more: str = "") -> bytes:
    body = MASTER.format(uid=uid, day=day, hour=hour, rule=rule) + more
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test//EN\r\n{body}END:VCALENDAR\r\n".encode()


@only(GOOGLE)
def test_googles_override_in_the_attendees_zone_replaces_its_occurrence(at: Place) -> None:
    moved = (  # 18:00 in Moscow, said as 10:00 in New York, moved by two hours
        "BEGIN:VEVENT\r\nUID:s\r\nDTSTAMP:20261101T000000Z\r\nSUMMARY:Series, moved\r\n"
        "RECURRENCE-ID;TZID=America/New_York:20261202T100000\r\nDTSTART;TZID=America/New_York:20261202T120000\r\n"
        "DTEND;TZID=America/New_York:20261202T123000\r\nEND:VEVENT\r\n"
    )
    at.put("s.ics", series("s", "20261125", "18", "FREQ=WEEKLY;COUNT=3", moved))
    at.life.live()
    with at.life.database.read() as session:
        rows = session.scalars(
            select(CalendarOccurrence).where(CalendarOccurrence.uid == "s").order_by(CalendarOccurrence.start_at)
        ).all()
    assert [(row.details["title"], f"{row.start_at:%d %H:%M}") for row in rows] == [
        ("Series", "25 15:00"),
        ("Series, moved", "02 17:00"),
        ("Series", "09 15:00"),
    ]


@only(GOOGLE)
def test_googles_this_and_following_is_one_moved_series(at: Place) -> None:
    at.put("s.ics", series("s@google.com", "20261125", "18", "FREQ=WEEKLY"))
    [text] = at.life.live()
    assert "**New**" in text
    at.put("s.ics", series("s@google.com", "20261125", "18", "FREQ=WEEKLY;UNTIL=20261208T205959Z"))
    at.put("s2.ics", series("s_R20261209T150000@google.com", "20261209", "19", "FREQ=WEEKLY"))
    [text] = at.life.live()
    assert [line for line in text.splitlines() if line.startswith("**")] == ["**Moved**"]
    assert text.count("**Series**") == 1
    assert at.life.live() == []


# iCloud.


@only(ICLOUD)
def test_icloud_calendars_lie_on_the_host_of_their_home(at: Place) -> None:
    assert at.calendars() == {"Home": f"http://p42-caldav.icloud.test:{at.server.home_port}/1234567/calendars/home/"}


@pytest.mark.parametrize("home", ["calendars.elsewhere.test", "localhost", "127.0.0.1", "evil-icloud.test"])
def test_a_home_at_somebody_elses_host_gets_no_password(database: Database, home: str) -> None:
    foreign = replace(ICLOUD, layout=replace(ICLOUD.layout, hosts=("caldav.icloud.test", home)))
    with running_known(foreign) as server:
        with pytest.raises(NotACalendarServerError, match="another host"):
            connect(server, database)
        assert not [request for request in server.requests if "calendars" in request]


def test_an_address_that_begins_with_two_slashes_names_no_other_host(database: Database) -> None:
    layout = Layout(
        principal="//evil.test/principal/",
        home="//evil.test/home/",
        calendars=(("//evil.test/home/work/", "Work"),),
        tasks="//evil.test/home/todo/",
        others=(),
        hosts=("caldav.doubled.test",),
    )
    doubled = KnownServer("doubled", layout, Quirks)
    with running_known(doubled) as server:
        place = stay(database, doubled, server)
        server.quirks.spoils_multiget = {place.server.calendar + "odd.ics": "400"}
        place.put("odd.ics", ics("odd", title="Odd"))
        [text] = place.life.live()
        assert "**Odd**" in text
        assert f"GET {server.calendar}odd.ics" in place.asked()


def test_a_home_in_the_private_network_is_not_connected_to(database: Database) -> None:
    with running_known(ICLOUD) as server:
        server.home_url = f"https://p42-caldav.icloud.test:{server.home_port}"
        guard = AddressGuard([f"caldav.icloud.test:{server.port}"], resolver=at_loopback)
        with pytest.raises(InvalidInputError, match="private"):
            connect(server, database, guard=guard)
        assert not [request for request in server.requests if "calendars" in request]


def test_a_home_without_tls_is_not_asked(database: Database) -> None:
    with running_known(ICLOUD) as server:
        guard = AddressGuard([f"caldav.icloud.test:{server.port}"], resolver=at_loopback)
        with pytest.raises(InvalidInputError, match="https"):
            connect(server, database, guard=guard)
        assert not [request for request in server.requests if "calendars" in request]


@only(ICLOUD)
@pytest.mark.parametrize(("retry_after", "least_s"), [("", 0), ("1800", 1800), ("Sat, 21 Nov 2099 09:00:00 GMT", 3600)])
def test_icloud_is_left_alone_as_long_as_it_asks_and_read_again(at: Place, retry_after: str, least_s: int) -> None:
    at.server.quirks.busy = [(503, retry_after)]
    at.server.delete("m5.ics")
    assert at.life.poll() is PollOutcome.FAILED
    wait = at.account().next_poll_at - at.life.clock.now
    assert timedelta(seconds=least_s) <= wait <= timedelta(seconds=least_s + 120)
    assert at.account().state == "active"
    at.life.clock.now = at.account().next_poll_at
    [text] = at.life.live()
    assert "**Meeting 5**" in text


# Nextcloud.


@only(NEXTCLOUD)
def test_nextclouds_teapot_after_a_deletion_is_a_forgotten_token(at: Place) -> None:
    at.server.delete("m6.ics")
    at.asked()
    [text] = at.life.live()
    assert "**Meeting 6**" in text
    assert at.asked() == ["REPORT sync", "REPORT sync"]
    assert at.account().failures == 0


@only(NEXTCLOUD)
def test_nextclouds_brute_force_block_delays_the_pause_and_does_not_prevent_it(at: Place) -> None:
    at.server.quirks.refusals_to_block = 2
    at.server.password = "changed"
    outcomes = [at.poll_when_due() for _ in range(4)]
    assert outcomes == [PollOutcome.FAILED] * 4
    assert at.server.refused == 2, "a blocked server is asked no more than it counts"
    assert at.account().next_poll_at - at.life.clock.now >= timedelta(minutes=30)
    assert at.notices() == 0
    at.server.refused = 0  # the block is over
    assert at.poll_when_due() is PollOutcome.PAUSED
    assert at.notices() == 1


def test_nextclouds_app_password_without_files_is_an_unavailable_server_and_no_wrong_password(
    database: Database,
) -> None:
    with running_known(NEXTCLOUD) as server:
        server.quirks.signed_in_status = 503
        with pytest.raises(ServerUnreachableError, match="503"):
            connect(server, database)
        server.quirks.signed_in_status = 0
        place = stay(database, NEXTCLOUD, server)
        server.quirks.signed_in_status = 503
        assert [place.poll_when_due() for _ in range(4)] == [PollOutcome.FAILED] * 4
        assert (place.account().state, place.notices()) == ("active", 0)


@only(NEXTCLOUD)
def test_nextclouds_bin_is_no_calendar_and_what_comes_back_from_it_is_told_as_new(at: Place) -> None:
    raw = at.server.objects[at.server.calendar + "m7.ics"][1]
    at.server.delete("m7.ics")
    at.put("m7-restored.ics", raw)
    assert at.life.live() == []
    at.server.delete("m7-restored.ics")
    [text] = at.life.live()
    assert "**Cancelled**\n- **Meeting 7**" in text
    at.put("m7-again.ics", raw)
    [text] = at.life.live()
    assert "**New**\n- **Meeting 7**" in text
    assert list(at.calendars()) == ["Personal"]


# Fastmail, Google, Radicale: writing.


def written_through(server: FaultyServer, name: str, raw: bytes, etag: str = "") -> str:
    """Write an object as the answer to an invitation is written."""
    href = server.calendar + name
    with CaldavClient(
        server.url, server.layout.login, server.password, guard=guard_for(server), timeout_s=10, deadline_s=40
    ) as client:
        return client.put(server.calendar_url, href, raw, etag or client.get(server.calendar_url, href).etag)


def test_every_server_takes_what_is_written_over_the_version_that_was_read(place: Place) -> None:
    answered = place.server.objects[place.server.calendar + "m8.ics"][1].replace(b"Meeting 8", b"Meeting 8!")
    assert written_through(place.server, "m8.ics", answered)
    [text] = place.life.live()
    assert "Meeting 8!" in text


@only(FASTMAIL)
def test_fastmails_refusal_of_an_odd_rule_is_told_and_changes_nothing(at: Place) -> None:
    odd = series("odd", "20261125", "18", "FREQ=WEEKLY;BYDAY=MO;BYDAY=TU")
    at.put("odd.ics", odd)
    with pytest.raises(RemoteRejectedError) as caught:
        written_through(at.server, "odd.ics", odd.replace(b"Series", b"Other"))
    assert caught.value.code.endswith("valid-calendar-data")
    assert at.server.objects[at.server.calendar + "odd.ics"][1] == odd


# A password is told to one site alone, and addresses of users stay public.


def test_a_wrong_password_is_told_at_connecting(place: Place) -> None:
    place.server.password = "changed"
    accounts = place.life.accounts
    with pytest.raises(WrongPasswordError):
        accounts.connect(
            ConnectRequest(place.server.url, place.server.layout.login, "typo", "anna", "Europe/Berlin"), actor="test"
        )


@pytest.mark.parametrize(
    "target",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://10.0.0.5/dav/",
        "http://caldav.icloud.test/dav/",
        "https://p42-caldav.icloud.test/dav/",
    ],
)
def test_a_redirect_takes_the_password_nowhere(database: Database, target: str) -> None:
    with running_known(ICLOUD) as server, running_faulty() as _other:
        server.quirks.redirect = target
        with pytest.raises(NotACalendarServerError, match="another host"):
            connect(server, database)
        assert set(server.requests) == {"PROPFIND /", "PROPFIND /.well-known/caldav"}


def test_a_calendar_whose_address_was_changed_in_the_store_gets_no_password(database: Database) -> None:
    with running_known(ICLOUD) as server, running_faulty() as other:
        place = stay(database, ICLOUD, server)
        place.life.guard = AddressGuard(
            [f"caldav.icloud.test:{server.port}", f"127.0.0.1:{other.port}"], resolver=at_loopback
        )
        with database.write() as session:
            session.execute(update(Calendar).values(url=other.calendar_url))
        assert place.life.poll() is PollOutcome.FAILED
        assert other.requests == []
        assert "another host" in (place.account().last_error or "")
