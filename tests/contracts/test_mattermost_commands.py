"""What a person does in Mattermost, from the typed line to what they see, against the Mattermost and CalDAV twins."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import requests
from flask import Flask
from sqlalchemy import func, select, update
from werkzeug.serving import make_server

from api import create_app
from sandbox.caldav.faulty import LOGIN, FaultyServer, running_faulty
from sandbox.mattermost import MattermostTwin, Settings
from sandbox.ports import free_port
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.clients.host_limits import HostBusyError
from switchboard.clients.mattermost_admin import MattermostAdminClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarStatus,
    CalendarSubscriber,
    MattermostCommand,
)
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from switchboard.errors import ConfigError, NotFoundError
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest
from switchboard.services.calendar.answering import Invitations
from switchboard.services.calendar.listings import Listings
from switchboard.services.calendar.snoozing import Snoozing
from switchboard.services.calendar.statuses import Statuses
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.channels.mattermost import MattermostChannel
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Step
from switchboard.services.conversation.conversation import Conversation
from switchboard.services.conversation.desk import Desk
from switchboard.services.conversation.drawing import Drawing
from switchboard.services.conversation.replies import Replies, ReplyAddress
from switchboard.services.conversation.speakers import Speakers
from switchboard.services.conversation.tickets import Ticket, Tickets
from switchboard.services.mattermost_commands import RIGHTS, TRIGGERS, CommandInstaller, CommandTokens
from switchboard.services.organisations.recipients import Recipients
from switchboard.services.people import MattermostPeople
from tests.contracts.mattermost_client import Caller
from tests.unit.routes.fakes import FakeQueue, FakeServices, settings

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
KEY = "k" * 32
ZONE = "Europe/Moscow"


@dataclass
class OurServices(FakeServices):
    """The routes' container with the real desk."""

    desk: Any = None
    tickets: Any = None
    command_tokens: Any = None


@dataclass
class Office:
    """Everything between the two twins, with a clock of its own."""

    twin: MattermostTwin
    caldav: FaultyServer
    database: Database
    url: str
    now: datetime = NOW
    queue: FakeQueue = field(default_factory=FakeQueue)
    calendar_host: Any = None

    def __post_init__(self) -> None:
        self.box = SecretBox([KEY])
        self.client = MattermostAdminClient(self.twin.url, self.twin.bot_token)
        self.admin = MattermostAdminClient(self.twin.url, self.twin.admin_token)
        self.guard = AddressGuard([f"127.0.0.1:{self.caldav.port}"])
        self.people = MattermostPeople(self.client)
        self.accounts = CalendarAccounts(
            self.database, self.open_server, self.box, self.people, self.guard, lambda: self.now
        )
        self.subscribers = Subscribers(self.database)
        self.tickets = Tickets([KEY])
        self.drawing = Drawing(self.tickets, lambda: self.now, public_url=self.url)
        self.replies = Replies(self.client, MattermostChannel(self.client).open, self.drawing, self.box)
        self.recipients = Recipients(self.database, self.people, lambda: self.now)
        self.speakers = Speakers(self.accounts, self.subscribers, self.people)
        conversation = Conversation(
            self.accounts,
            self.subscribers,
            Listings(self.database, lambda: self.now),
            self.speakers,
            Invitations(self.database, lambda: self.now),
            Snoozing(self.database, lambda: self.now),
            self.recipients,
            lambda: self.now,
        )
        self.desk = Desk(conversation, self.tickets, self.drawing, self.replies, self.client, lambda: self.now)

    def open_server(self, url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(
            url, login, password, guard=self.guard, timeout_s=10.0, deadline_s=40.0, gate=self.calendar_host
        )

    def app(self) -> Flask:
        services = OurServices(
            desk=self.desk, tickets=self.tickets, command_tokens=CommandTokens(self.database, self.box)
        )
        return create_app(settings(), services, self.queue)

    def installer(self) -> CommandInstaller:
        return CommandInstaller(self.database, self.admin, self.box, lambda: self.now, public_url=self.url)

    def install(self) -> Any:
        return self.installer().install(["demo"], bot_user_id=self.client.me().id)

    def connect(self, username: str) -> int:
        request = ConnectRequest(self.caldav.url, LOGIN, self.caldav.password, username, zone=ZONE)
        return self.accounts.connect(request, actor="test").account_id

    def count(self, model: type) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).select_from(model)) or 0

    def meet(self, account_id: int, *meetings: Occurrence) -> None:
        """Put meetings into the store, as an expansion does."""
        with self.database.write() as session:
            calendar_id = session.scalars(select(Calendar.id).where(Calendar.account_id == account_id)).one()
            for meeting in meetings:
                item = CalendarObject(
                    calendar_id=calendar_id,
                    href=f"/{meeting.uid}.ics",
                    etag="1",
                    raw=b"x",
                    needs_expansion=False,
                    changed_at=NOW,
                )
                session.add(item)
                session.flush()
                session.add(
                    CalendarOccurrence(
                        account_id=account_id,
                        calendar_id=calendar_id,
                        object_id=item.id,
                        uid=meeting.uid,
                        recurrence_id=meeting.recurrence_id,
                        start_at=meeting.start,
                        end_at=meeting.end,
                        all_day=meeting.all_day,
                        declined=meeting.declined,
                        details=meeting.to_json(),
                    )
                )
            session.execute(update(CalendarAccount).values(last_polled_at=NOW - timedelta(minutes=3)))


class Actor:
    """A person at a Mattermost client: types, clicks, fills in."""

    def __init__(self, office: Office, username: str) -> None:
        self.twin = office.twin
        self.username = username
        self.call = Caller(office.twin, office.twin.token_of(username))
        team = self.call("GET", "/teams/name/demo").json()
        self.team_id = team["id"]
        self.channel_id = office.twin.call(
            lambda: next(one.id for one in office.twin.world.channels.values() if one.name == "town-square")
        )

    def type(self, line: str, trigger: str = "yandex-calendar") -> dict[str, Any]:
        """The answer to a typed command, as the person sees it."""
        body = {"command": f"/{trigger} {line}", "channel_id": self.channel_id, "team_id": self.team_id}
        answer = self.call("POST", "/commands/execute", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def seen(self) -> list[dict[str, Any]]:
        """What was shown to the person alone, oldest first."""
        return self.twin.ephemerals_to(self.username)

    def dialog(self) -> dict[str, Any]:
        """The dialog that was opened last."""
        return dict(self.twin.dialogs_of(self.username)[-1])

    def submit(self, **submission: Any) -> dict[str, Any]:
        """Send the dialog that was opened last; fields that are not given keep their defaults."""
        opened = self.dialog()
        values: dict[str, Any] = {}
        for element in opened["dialog"]["elements"]:
            default: Any = element["default"]
            if element["type"] == "bool":
                default = default == "true"
            elif element.get("multiselect"):
                default = default.split(",") if default else []
            values[element["name"]] = default or (False if element["type"] == "bool" else None)
        body = {
            "url": opened["url"],
            "state": opened["dialog"]["state"],
            "callback_id": opened["dialog"]["callback_id"],
            "channel_id": self.channel_id,
            "team_id": self.team_id,
            "submission": {**values, **submission},
        }
        answer = self.call("POST", "/actions/dialogs/submit", body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def press(self, label: str) -> requests.Response:
        """Click the newest button with this label."""
        for post in reversed(self.twin.call(self._own_ephemerals)):
            for action in post.post.actions():
                if action["name"] == label:
                    body = {"cookie": post.cookies[action["id"]]}
                    return self.call("POST", f"/posts/{post.post.id}/actions/{action['id']}", body)
        raise AssertionError(f"{self.username} sees no button {label!r}")

    def _own_ephemerals(self) -> list[Any]:
        user_id = self.twin.world.user_named(self.username).id
        return [one for one in self.twin.world.ephemerals.values() if one.user_id == user_id]


@contextmanager
def running_app(port: int, app: Flask) -> Iterator[None]:
    server = make_server("127.0.0.1", port, app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


@pytest.fixture
def office(sqlite_url: str) -> Iterator[Office]:
    port = free_port()
    database = Database(sqlite_url)
    twin_settings = Settings(allowed_untrusted_internal_connections=(f"127.0.0.1:{port}",))
    with MattermostTwin.running(settings=twin_settings) as twin, running_faulty() as caldav:
        made = Office(twin, caldav, database, f"http://127.0.0.1:{port}")
        with running_app(port, made.app()):
            made.install()
            yield made
    database.dispose()


@pytest.fixture
def anna(office: Office) -> Actor:
    return Actor(office, "anna")


@pytest.fixture
def boris(office: Office) -> Actor:
    return Actor(office, "boris")


def labels(answer: dict[str, Any]) -> list[str]:
    return [action["name"] for attachment in answer["attachments"] or () for action in attachment["actions"]]


def meeting(uid: str, start: datetime, **changes: Any) -> Occurrence:
    values = {"uid": uid, "recurrence_id": "", "start": start, "end": start + timedelta(hours=1), "title": uid}
    return Occurrence(**{**values, **changes})


def granted(office: Office) -> set[str]:
    """Which of its rights the bot has on the server."""
    world, bot_id = office.twin.world, office.twin.user_id("switchboard")
    return office.twin.call(lambda: {right for right in RIGHTS if world.may(world.users[bot_id], right)})


# --- installing ---------------------------------------------------------------------------------------------------


def test_installing_twice_leaves_the_same_commands_with_the_same_tokens(office: Office) -> None:
    def standing() -> list[tuple[str, str, str]]:
        return office.twin.call(
            lambda: sorted((c.trigger, c.id, c.token) for c in office.twin.world.commands.values() if not c.delete_at)
        )

    before = standing()
    assert [trigger for trigger, _, _ in before] == sorted(TRIGGERS)
    installed = office.install()
    assert standing() == before
    assert (installed.commands, installed.refused_right, installed.bot.token) == (2, None, "")
    assert sorted(CommandTokens(office.database, office.box).accepted()) == sorted(token for _, _, token in before)


def test_the_tokens_are_sealed_in_the_database(office: Office) -> None:
    with office.database.read() as session:
        stored = set(session.scalars(select(MattermostCommand.token)))
    assert not stored & set(CommandTokens(office.database, office.box).accepted())


def test_the_bot_gets_its_rights_by_a_role(office: Office) -> None:
    assert granted(office) == set(RIGHTS)


def test_uninstalling_takes_everything_back_and_may_be_repeated(office: Office, anna: Actor) -> None:
    assert office.installer().uninstall(["demo"]) == 2
    assert office.installer().uninstall(["demo"]) == 0
    assert granted(office) == set()
    assert CommandTokens(office.database, office.box).accepted() == []
    body = {"command": "/yandex-calendar info", "channel_id": anna.channel_id, "team_id": anna.team_id}
    assert anna.call("POST", "/commands/execute", body).status_code == 404


def test_a_command_of_somebody_else_is_left_alone(office: Office) -> None:
    office.installer().uninstall(["demo"])
    admin = Caller(office.twin, office.twin.admin_token)
    team_id = admin("GET", "/teams/name/demo").json()["id"]
    body = {"team_id": team_id, "trigger": TRIGGERS[0], "method": "P", "url": "https://other.example.org/x"}
    assert admin("POST", "/commands", body).status_code == 201
    with pytest.raises(ConfigError, match="another integration"):
        office.install()
    with pytest.raises(NotFoundError, match="no team 'nowhere'"):
        office.installer().install(["nowhere"], bot_user_id=None)


def test_a_refused_right_is_told_and_the_rest_is_installed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    office.installer().uninstall(["demo"])
    from switchboard.errors import RemoteRejectedError  # noqa: PLC0415

    def refuse(*_args: object) -> None:
        raise RemoteRejectedError("PUT roles: 501 license", status=501)

    monkeypatch.setattr(MattermostAdminClient, "set_permissions", refuse)
    installed = office.install()
    assert installed.commands == 2
    assert "edit_other_users" in installed.refused_right


# --- every command ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_a_bare_command_and_an_unknown_word_are_a_menu_whose_buttons_do_what_typing_does(
    office: Office, anna: Actor, trigger: str
) -> None:
    menu = anna.type("", trigger)
    assert len(labels(menu)) == 16
    assert "frobnicate" in anna.type("frobnicate", trigger)["text"]
    assert anna.press("Подключить").json()["status"] == "OK"
    assert anna.dialog()["dialog"]["title"] == "Подключение"


NEEDS_CALENDAR = [
    "connections update",
    "connections profile",
    "calendars today",
    "calendars current 21.11.2026",
    "calendars current",
    "calendars from_to 21.11.2026 22.11.2026",
    "calendars get_a_week",
    "calendars get_a_month",
    "calendars refresh",
    "notifications create",
    "notifications update",
    "notifications delete",
    "checks check_account",
    "checks check_scheduler",
]


def test_without_a_calendar_every_command_that_needs_one_says_connect_first(anna: Actor) -> None:
    for line in NEEDS_CALENDAR:
        assert "Сначала подключите" in anna.type(line)["text"], line


@pytest.mark.parametrize("locale", ["ru", "en", "uk"])
def test_every_command_answers_in_each_language_with_dialogs_that_the_server_takes(office: Office, locale: str) -> None:
    office.twin.add_user("carla", locale=locale)
    carla = Actor(office, "carla")
    office.connect("carla")
    carla.type("notifications delete")
    carla.press({"ru": "Удалить", "en": "Delete", "uk": "Видалити"}[locale])
    for line in [
        "notifications create",
        *NEEDS_CALENDAR,
        "info",
        "connections connect",
        "connections disconnect",
        "nonsense",
    ]:
        before = len(office.twin.dialogs_of("carla"))
        answer = carla.type(line)
        opened = office.twin.dialogs_of("carla")[before:]
        assert bool(answer["text"]) != bool(opened), line  # a text or a dialog
        shown = answer["text"] or opened[0]["dialog"]["submit_label"]
        assert any("а" <= char.lower() <= "я" for char in shown) == (locale != "en"), (line, shown)
        assert any(char in shown.lower() for char in "ыэъё") <= (locale == "ru"), (line, shown)
        assert any(char in shown.lower() for char in "їєґ") <= (locale == "uk"), (line, shown)
        if opened and line == "notifications create":
            assert carla.submit() == {}


def test_a_password_in_the_dialog_connects_and_is_nowhere_in_the_queue(office: Office, anna: Actor) -> None:
    anna.type("connections connect")
    answer = anna.submit(server=office.caldav.url, login=LOGIN, password=office.caldav.password, zone=ZONE)
    assert answer == {}
    assert f"**{LOGIN}".replace("@", "@\u200b") in anna.seen()[-1]["message"]
    [account] = office.accounts.list_accounts(mattermost_user_id=anna.call.id)
    assert ("calendar.accounts.poll", {"account_id": account.id}) in office.queue.queued
    assert office.caldav.password not in str(office.queue.queued)


@pytest.mark.parametrize(
    ("changes", "at"),
    [
        ({"password": "wrong"}, "password"),
        ({"server": "https://192.168.0.1"}, "server"),
        ({"server": "http://example.org"}, "server"),
        ({"server": "https://apidata.googleusercontent.com/caldav/v2/"}, "server"),
        ({"server": "nowhere"}, "server"),
        ({"zone": "Europe/Moskow"}, "zone"),
        ({"login": None}, "login"),
        ({"password": None}, "password"),
    ],
)
def test_errors_of_the_connect_dialog_stand_at_their_fields(
    office: Office, anna: Actor, changes: dict[str, Any], at: str
) -> None:
    anna.type("connections connect")
    entered = {"server": office.caldav.url, "login": LOGIN, "password": office.caldav.password, "zone": ZONE}
    answer = anna.submit(**{**entered, **changes})
    assert list(answer["errors"]) == [at]
    assert office.count(CalendarAccount) == 0


def test_the_zone_is_found_by_typing_a_city(office: Office, anna: Actor) -> None:
    anna.type("connections connect")
    opened = anna.dialog()
    zone = next(one for one in opened["dialog"]["elements"] if one["name"] == "zone")
    body = {
        "url": zone["data_source_url"],
        "state": opened["dialog"]["state"],
        "channel_id": anna.channel_id,
        "submission": {"query": "mosc", "selected_field": "zone"},
    }
    items = anna.call("POST", "/actions/dialogs/lookup", body).json()["items"]
    assert items == [{"text": "Europe/Moscow", "value": "Europe/Moscow"}]


class RestingHost:
    def enter(self, url: str) -> None:
        raise HostBusyError("it rests", retry_after_s=900)


def test_who_connects_at_a_host_that_takes_no_more_is_told_when_to_try_again(office: Office, anna: Actor) -> None:
    office.calendar_host = RestingHost()
    anna.type("connections connect")
    answer = anna.submit(server=office.caldav.url, login=LOGIN, password=office.caldav.password, zone=ZONE)
    assert "15 мин" in answer["error"]
    assert (office.caldav.requests, office.accounts.list_accounts()) == ([], [])


def test_update_keeps_the_password_when_none_is_entered_and_wants_one_for_another_login(
    office: Office, anna: Actor
) -> None:
    office.connect("anna")
    anna.type("connections update")
    assert anna.submit(zone="Asia/Tokyo") == {}
    assert (found := office.subscribers.find(anna.call.id)) is not None
    assert found.zone == "Asia/Tokyo"
    assert list(anna.submit(login="other@example.org")["errors"]) == ["password"]
    assert list(anna.submit(password="wrong")["errors"]) == ["password"]
    assert anna.submit(password=office.caldav.password) == {}
    assert office.count(CalendarAccount) == 1


def test_disconnect_asks_first_and_then_deletes_everything(office: Office, anna: Actor) -> None:
    office.connect("anna")
    anna.type("connections disconnect")
    anna.press("Оставить")
    assert office.count(CalendarAccount) == 1
    anna.press(f"Отключить {LOGIN}")
    assert "удалены" in anna.seen()[-1]["message"]
    assert (office.count(CalendarAccount), office.count(CalendarSubscriber), office.count(Calendar)) == (0, 0, 0)
    anna.press(f"Отключить {LOGIN}")
    assert "нечего" in anna.seen()[-1]["message"]
    assert "нечего" in anna.type("connections disconnect")["text"]


def test_profile_names_account_zone_calendars_and_language(office: Office, anna: Actor) -> None:
    office.connect("anna")
    text = anna.type("connections profile")["text"]
    assert all(word in text for word in (ZONE, "Work", "Русский"))


# --- agendas ------------------------------------------------------------------------------------------------------


def test_today_shows_everything_of_a_meeting_and_the_age_of_the_store(office: Office, anna: Actor) -> None:
    account = office.connect("anna")
    start = NOW + timedelta(hours=3)
    office.meet(
        account,
        meeting(
            "planning",
            start,
            place="Room 5",
            conference_url="https://telemost.yandex.ru/j/1",
            organizer=Attendee("boss@example.org", "Boss"),
            attendees=(
                Attendee("a@example.org", "Ann", "ACCEPTED"),
                Attendee("d@example.org", "Dan", "DECLINED"),
                Attendee("n@example.org", "Ned"),
            ),
            recurrence="FREQ=WEEKLY;BYDAY=SA",
        ),
        meeting("declined", start, own_partstat="DECLINED"),
        meeting(
            "holiday",
            datetime(2026, 11, 20, 21, tzinfo=UTC),
            end=datetime(2026, 11, 21, 21, tzinfo=UTC),
            all_day=True,
            start_date=date(2026, 11, 21),
            end_date=date(2026, 11, 22),
        ),
    )
    text = anna.type("calendars today")["text"]
    for word in (
        "12:00–13:00",
        "planning",
        "telemost",
        "Room 5",
        "Boss",
        "Приняли: Ann",
        "Отклонили: Dan",
        "Ned",
        "Work",
    ):
        assert word in text
    assert "каждую неделю" in text
    assert "3 минуты назад" in text
    assert text.index("holiday") < text.index("planning")
    assert "declined" not in text


def test_a_single_day_names_the_free_gaps_that_are_not_over(office: Office, anna: Actor) -> None:
    account = office.connect("anna")
    tomorrow = NOW + timedelta(days=1)
    plans = (meeting("first", NOW + timedelta(hours=3)), meeting("second", NOW + timedelta(hours=6)))
    office.meet(account, *plans, meeting("third", tomorrow))
    for line, at, said in (
        ("today", NOW, "Свободно: 09:00–12:00, 13:00–15:00, 16:00–18:00"),
        ("today", NOW + timedelta(hours=5), "Свободно: 13:00–15:00, 16:00–18:00"),
        ("today", NOW + timedelta(hours=10), ""),
        ("current 22.11.2026", NOW, "Свободно: 10:00–18:00"),
        ("current 23.11.2026", NOW, ""),
        ("get_a_week", NOW, ""),
    ):
        office.now = at
        found = [shown for shown in anna.type(f"calendars {line}")["text"].splitlines() if "Свободно" in shown]
        assert found == ([said] if said else []), (line, at)


def test_long_lists_are_paged_by_buttons(office: Office, anna: Actor) -> None:
    account = office.connect("anna")
    start = NOW + timedelta(hours=1)
    office.meet(account, *(meeting(f"m{number:02}", start + timedelta(minutes=number)) for number in range(25)))
    first = anna.type("calendars get_a_week")
    assert ("m09" in first["text"], "m10" in first["text"], labels(first)) == (True, False, ["Позже →"])
    anna.press("Позже →")
    second = anna.seen()[-1]
    assert "m10" in second["message"]
    assert "2 из 3" in second["message"]
    anna.press("Позже →")
    assert "m24" in anna.seen()[-1]["message"]
    anna.press("← Раньше")
    assert "m10" in anna.seen()[-1]["message"]


def test_without_the_right_to_ephemeral_posts_an_answer_with_buttons_is_a_direct_message(
    office: Office, anna: Actor
) -> None:
    office.connect("anna")
    anna.type("")
    office.twin.call(lambda: office.twin.world.roles.update(system_user_manager=()))
    office.twin.call(
        lambda: setattr(office.twin.world.user_named("switchboard"), "roles", "system_user system_post_all")
    )
    anna.press("Отключить")
    assert office.twin.posts_to("anna")[-1]["props"]["attachments"][0]["actions"][0]["name"] == f"Отключить {LOGIN}"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("calendars current 31.02.2026", "не дата"),
        ("calendars current tomorrow", "не дата"),
        ("calendars current 21.11.2026 22.11.2026", "1 дату"),
        ("calendars from_to 21.11.2026", "2 даты"),
        ("calendars from_to 22.11.2026 21.11.2026", "раньше первого"),
        ("calendars from_to 01.01.2026 31.12.2026", "62"),
    ],
)
def test_bad_dates_get_a_clear_answer(office: Office, anna: Actor, line: str, said: str) -> None:
    office.connect("anna")
    assert said in anna.type(line)["text"]


def test_current_and_from_to_ask_for_days_by_a_dialog(office: Office, anna: Actor) -> None:
    account = office.connect("anna")
    office.meet(account, meeting("later", NOW + timedelta(days=2)))
    anna.type("calendars current")
    assert list(anna.submit(day="2026-13-01")["errors"]) == ["day"]
    assert anna.submit(day="2026-11-23") == {}
    assert "later" in anna.seen()[-1]["message"]
    anna.type("calendars from_to")
    assert list(anna.submit(first="2026-11-23", last="2026-11-22")["errors"]) == ["last"]
    assert anna.submit(first="2026-11-22", last="2026-11-23") == {}
    assert "later" in anna.seen()[-1]["message"]
    assert "later" in anna.type("calendars current --date 23.11.2026")["text"]


# --- notifications and checks -------------------------------------------------------------------------------------


def test_there_is_one_scheduler_and_create_on_it_offers_the_update(office: Office, anna: Actor) -> None:
    office.connect("anna")
    assert labels(anna.type("notifications create")) == ["Изменить уведомления"]
    anna.press("Изменить уведомления")
    assert (
        anna.submit(
            agenda_time="07:15",
            weekdays=["1", "7"],
            minutes="15, 5",
            language="uk",
            answers=False,
            quiet_from="22:00",
            quiet_until="8:00",
            work_from="10:00",
            work_until="19:30",
        )
        == {}
    )
    assert (found := office.subscribers.find(anna.call.id)) is not None
    assert (found.agenda_time, found.weekdays, found.reminder_minutes, found.locale) == ("07:15", (1, 7), (15, 5), "uk")
    assert (found.changes_enabled, found.answers_enabled) == (True, False)
    assert (found.quiet_from, found.quiet_until) == ("22:00", "08:00")
    assert (found.work_from, found.work_until) == ("10:00", "19:30")
    assert "Сповіщення збережено" in anna.seen()[-1]["message"]
    assert "22:00–08:00" in anna.seen()[-1]["message"]


def test_errors_of_the_notification_dialog_stand_at_their_fields(office: Office, anna: Actor) -> None:
    office.connect("anna")
    anna.type("notifications update")
    wrong = {"calendars": [], "agenda_time": "07:10", "weekdays": [], "minutes": "soon", "quiet_from": "25:00"}
    answer = anna.submit(**wrong, work_until="08:00")
    assert set(answer["errors"]) == {*wrong, "work_until"}


def test_a_calendar_of_somebody_else_cannot_be_chosen(office: Office, anna: Actor) -> None:
    office.connect("boris")
    office.connect("anna")
    [account] = office.accounts.list_accounts(mattermost_user_id=office.twin.user_id("boris"))
    anna.type("notifications update")
    assert list(anna.submit(calendars=[str(account.calendars[0].id)])["errors"]) == ["calendars"]


def test_deleting_notifications_asks_and_then_nothing_is_planned(office: Office, anna: Actor) -> None:
    office.connect("anna")
    assert (
        "Список" in anna.type("checks check_scheduler")["text"]
        or "список" in anna.type("checks check_scheduler")["text"]
    )
    anna.type("notifications delete")
    anna.press("Удалить")
    assert "ничего не запланировано" in anna.type("checks check_scheduler")["text"].lower()
    assert "нечего" in anna.type("notifications delete")["text"]
    anna.type("notifications create")
    assert anna.submit() == {}
    assert (found := office.subscribers.find(anna.call.id)) is not None
    assert found.has_notifications


def test_check_scheduler_says_what_is_paused_and_why(office: Office, anna: Actor) -> None:
    office.connect("anna")
    with office.database.write() as session:
        session.execute(update(CalendarAccount).values(state="paused", reason="401 refused"))
    text = anna.type("checks check_scheduler")["text"]
    assert "не принял логин и пароль" in text
    assert "401" not in text
    assert "Следующий список" in text


def reconcile(office: Office) -> Statuses:
    """One tick of the statuses."""
    statuses = Statuses(office.database, office.client, lambda: office.now)
    for claims in statuses.claim_due():
        statuses.reconcile(claims)
    return statuses


def test_the_status_is_switched_on_in_the_dialog_and_check_scheduler_says_how_it_stands(
    office: Office, anna: Actor
) -> None:
    account = office.connect("anna")
    office.now = datetime.now(UTC)
    office.meet(account, meeting("A secret title", office.now - timedelta(minutes=1)))
    anna.type("notifications update")
    [element] = [one for one in anna.dialog()["dialog"]["elements"] if one["name"] == "status"]
    assert (element["type"], element["default"]) == ("bool", "false")
    assert anna.submit(status=True) == {}
    assert "статус «На встрече»" in anna.seen()[-1]["message"]
    assert "Статус: показан" not in anna.type("checks check_scheduler")["text"]
    reconcile(office)
    shown = office.twin.custom_status_of("anna")
    assert shown is not None
    assert shown["text"] == "На встрече"
    assert "Статус: показан до" in anna.type("checks check_scheduler")["text"]


def test_check_scheduler_says_why_the_status_is_off(office: Office, anna: Actor) -> None:
    account = office.connect("anna")
    office.now = datetime.now(UTC)
    office.meet(account, meeting("planning", office.now - timedelta(minutes=1)))
    anna.type("notifications update")
    anna.submit(status=True)
    office.twin.withdraw_rights()
    reconcile(office)
    text = anna.type("checks check_scheduler")["text"]
    assert "mattermost install" in text
    office.twin.grant_rights()
    reconcile(office).retry_refused()
    reconcile(office)
    assert "mattermost install" not in anna.type("checks check_scheduler")["text"]


@pytest.mark.parametrize(
    "words", [("notifications delete", "Удалить"), ("connections disconnect", f"Отключить {LOGIN}")]
)
def test_deleting_and_disconnecting_during_a_meeting_give_the_persons_own_status_back(
    office: Office, anna: Actor, words: tuple[str, str]
) -> None:
    account = office.connect("anna")
    office.now = datetime.now(UTC)
    office.meet(account, meeting("planning", office.now - timedelta(minutes=1)))
    office.twin.set_custom_status("anna", emoji="palm_tree", text="Vacation")
    anna.type("notifications update")
    anna.submit(status=True)
    reconcile(office)
    assert (office.twin.custom_status_of("anna") or {})["text"] == "На встрече"
    anna.type(words[0])
    anna.press(words[1])
    reconcile(office)
    assert (office.twin.custom_status_of("anna") or {})["text"] == "Vacation"
    assert office.count(CalendarStatus) == 0


@pytest.mark.parametrize(
    ("line", "task"),
    [
        ("calendars refresh", "calendar.conversations.refresh"),
        ("checks check_account", "calendar.conversations.check_account"),
    ],
)
def test_slow_work_says_so_and_is_queued_with_a_sealed_address(
    office: Office, anna: Actor, line: str, task: str
) -> None:
    office.connect("anna")
    assert "Выполняется" in anna.type(line)["text"]
    [(name, arguments)] = office.queue.queued
    assert (name, arguments["user_id"]) == (task, anna.call.id)
    assert office.twin.url not in str(arguments)
    address = office.replies.unseal(str(arguments["reply"]))
    assert address.response_url.startswith(f"{office.twin.url}/hooks/commands/")
    office.replies.send(address, Answer("done"))
    assert anna.seen()[-1]["message"] == "done"


def test_an_answer_never_goes_to_an_address_that_is_not_on_the_server(office: Office, anna: Actor) -> None:
    for url in ("http://127.0.0.1:9/hooks/commands/x", f"{office.twin.url}/api/v4/posts", "https://evil.example.org/"):
        office.replies.send(ReplyAddress(anna.call.id, anna.channel_id, url), Answer("by another way"))
        assert anna.seen()[-1]["message"] == "by another way"


# --- tickets ------------------------------------------------------------------------------------------------------


def click(office: Office, user_id: str, signed: str) -> requests.Response:
    body = {"user_id": user_id, "channel_id": "c", "context": {"ticket": signed}}
    return requests.post(f"{office.url}/mattermost/action", json=body, timeout=5)


def test_the_button_of_somebody_else_does_nothing(office: Office, anna: Actor, boris: Actor) -> None:
    account = office.connect("anna")
    details = {"account": str(account)}
    signed = office.tickets.sign(Ticket(Step.DISCONNECT, anna.call.id, NOW + timedelta(hours=1), details))
    assert "somebody else" in click(office, boris.call.id, signed).json()["ephemeral_text"]
    assert office.count(CalendarAccount) == 1


def test_a_ticket_does_not_reach_the_account_of_somebody_else(office: Office, anna: Actor, boris: Actor) -> None:
    account = office.connect("anna")
    details = {"account": str(account)}
    signed = office.tickets.sign(Ticket(Step.DISCONNECT, boris.call.id, NOW + timedelta(hours=1), details))
    assert "Nothing to disconnect" in click(office, boris.call.id, signed).json()["ephemeral_text"]
    assert office.count(CalendarAccount) == 1


def test_an_expired_confirmation_does_nothing(office: Office, anna: Actor) -> None:
    office.connect("anna")
    anna.type("connections disconnect")
    office.now = NOW + timedelta(minutes=11)
    anna.press(f"Отключить {LOGIN}")
    assert "устарела" in anna.seen()[-1]["message"]
    assert office.count(CalendarAccount) == 1


def test_an_expired_dialog_says_so_and_changes_nothing(office: Office, anna: Actor) -> None:
    anna.type("connections connect")
    office.now = NOW + timedelta(hours=2)
    answer = anna.submit(server=office.caldav.url, login=LOGIN, password=office.caldav.password, zone=ZONE)
    assert "устарела" in answer["error"]
    assert office.count(CalendarAccount) == 0


def test_a_wrong_command_token_is_401(office: Office, anna: Actor) -> None:
    form = {"token": "wrong", "user_id": anna.call.id, "channel_id": anna.channel_id, "text": "info"}
    assert requests.post(f"{office.url}/mattermost/command", data=form, timeout=5).status_code == 401


def test_buttons_are_drawn_with_ids_of_letters_and_digits(office: Office) -> None:
    answer = Answer("x", (ButtonRow((Choice("a", Step.KEEP), Choice("b", Step.KEEP))),))
    [attachment] = office.drawing.attachments(answer, "u1")
    ids = [action["id"] for action in attachment["actions"]]
    assert all(one.isalnum() for one in ids)
    assert len(set(ids)) == 2
