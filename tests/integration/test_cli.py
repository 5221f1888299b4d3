"""The command line against a real Radicale, the Mattermost twin and a Valkey: what it does, and how it says what went wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from sandbox.caldav.radicale import RadicaleServer, running_radicale
from sandbox.mattermost import MattermostTwin
from sandbox.ports import free_port
from switchboard import wiring
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber, Delivery
from switchboard.errors import ConfigError
from tests.integration.command_line import CommandLine, forget_services, only_these_settings
from tests.servers import ROOT

KEY, NEW_KEY = "k" * 32, "n" * 32


@pytest.fixture(scope="module")
def radicale(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RadicaleServer]:
    with running_radicale(tmp_path_factory.mktemp("radicale"), samples=True) as server:
        yield server


@pytest.fixture(scope="module")
def twin() -> Iterator[MattermostTwin]:
    with MattermostTwin.running() as running:
        yield running


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sqlite_url: str, valkey: str, twin: MattermostTwin,
    radicale: RadicaleServer,
) -> Iterator[Callable[[str, str], None]]:  # fmt: skip
    """The settings of a deployment; call it to change one."""
    settings = {
        "DATABASE_URL": sqlite_url,
        "REDIS_URL": valkey,
        "SECRET_KEYS": KEY,
        "MATTERMOST_URL": twin.url,
        "MATTERMOST_TOKEN": twin.bot_token,
        "ALLOWED_PRIVATE_ADDRESSES": f"127.0.0.1:{radicale.port}",
        "DATA_DIR": str(tmp_path / "data"),
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "WARNING",
    }
    with only_these_settings(monkeypatch, tmp_path, settings):
        yield monkeypatch.setenv


@pytest.fixture
def run(
    environment: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], radicale: RadicaleServer
) -> CommandLine:
    return CommandLine(monkeypatch, capsys, radicale.password)


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def account(run: CommandLine, radicale: RadicaleServer) -> str:
    """The number of a connected account."""
    result = run("calendar", "connect", radicale.url, "anna", "@anna", "--zone", "Europe/Moscow")
    assert result.status == 0, result.told
    (number,) = re.findall(r"Account (\d+) is connected", result.out)
    return str(number)


# --- calendars ----------------------------------------------------------------------------------------------------------


def test_an_account_lives_from_connect_to_disconnect(
    run: CommandLine, account: str, database: Database, twin: MattermostTwin, radicale: RadicaleServer
) -> None:
    (listed,) = json.loads(run("calendar", "list", "--json").out)
    assert (str(listed["id"]), listed["username"], listed["login"], listed["state"]) == (
        account,
        "anna",
        "anna",
        "active",
    )
    assert "@anna" in run("calendar", "list").out

    with database.read() as session:
        ids = list(session.scalars(select(Calendar.id).order_by(Calendar.id)))
    shown = run("calendar", "calendars", account).out
    assert all(f" {number} " in shown for number in ids)
    assert run("calendar", "watch", account, str(ids[0])).status == 0
    with database.read() as session:
        assert session.scalars(select(Calendar.id).where(Calendar.watched)).all() == ids[:1]

    polled = run("calendar", "poll", account)
    assert polled.status == 0
    assert re.search(r"[1-9]\d* changed, 0 removed", polled.out)
    assert "0 changed, 0 removed" in run("calendar", "poll", account).out
    assert run("calendar", "agenda", account, "--days", "3").out.strip()

    configured = run(
        *("calendar", "configure", account, "--zone", "Asia/Omsk", "--locale", "uk", "--agenda-time", "07:15"),
        *("--weekdays", "1,7", "--reminder-minutes", "15,5", "--no-empty-days", "--working-hours", "10:00-16:30"),
    )
    assert configured.status == 0, configured.told
    with database.read() as session:
        subscriber = session.scalars(select(CalendarSubscriber)).one()
        assert (subscriber.zone, subscriber.locale, f"{subscriber.agenda_time:%H:%M}") == ("Asia/Omsk", "uk", "07:15")
        assert (subscriber.weekdays, sorted(subscriber.reminder_minutes)) == ([1, 7], [5, 15])
        assert not subscriber.agenda_on_empty_days
        assert (f"{subscriber.work_from}", f"{subscriber.work_until}") == ("10:00:00", "16:30:00")

    assert run("calendar", "agenda", account, "--send").status == 0
    assert run("calendar", "password", account).status == 0
    audit = run("audit", "--subject", f"calendar_account:{account}").out
    for action in ("connected", "watched", "password_renewed"):
        assert f"calendar_account.{action}" in audit

    assert run("calendar", "disconnect", account, "--yes").status == 0
    assert json.loads(run("calendar", "list", "--json").out) == []
    assert "No account is connected yet" in run("calendar", "list").out


def test_connecting_again_renews_the_password(run: CommandLine, account: str, radicale: RadicaleServer) -> None:
    again = run("calendar", "connect", radicale.url, "anna", "@anna")
    assert (again.status, f"Account {account} has its new password" in again.out) == (0, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"user": "@nobody"}, "no active Mattermost user"),
        ({"user": "@switchboard"}, "no active Mattermost user"),
        ({"zone": "Europe/Nowhere"}, "Nowhere"),
        ({"server": "nonsense"}, "server"),
        ({"server": "https://calendar.google.com/dav"}, "Google"),
        ({"server": "http://127.0.0.1:1/"}, "address"),
        ({"login": ""}, "login"),
        ({"password": "wrong-password"}, "password"),
        ({"password": ""}, "password"),
        ({"calendar": "no such calendar"}, "calendar"),
    ],
    ids=str,
)
def test_what_cannot_be_connected_is_said_in_words_and_nothing_is_stored(
    run: CommandLine, radicale: RadicaleServer, changes: dict[str, str], words: str
) -> None:
    given = {"server": radicale.url, "login": "anna", "user": "anna", "zone": "UTC", **changes}
    options = ["--calendar", given["calendar"]] if "calendar" in given else []
    result = run(
        *("calendar", "connect", given["server"], given["login"], given["user"], "--zone", given["zone"], *options),
        password=given.get("password"),
    )
    assert result.status == 1
    assert words in result.err
    assert result.out == ""
    assert "wrong-password" not in result.told
    assert json.loads(run("calendar", "list", "--json").out) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("calendars", "77"),
        ("watch", "77", "1"),
        ("agenda", "77"),
        ("configure", "77", "--locale", "ru"),
        ("password", "77"),
        ("disconnect", "77", "--yes"),
        ("poll", "77"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_account_that_is_not_there_is_said_in_words(run: CommandLine, arguments: tuple[str, ...]) -> None:
    result = run("calendar", *arguments)
    assert result.status == 1
    assert "account" in result.err.lower()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--zone", "Mars/Olympus"),
        ("--locale", "xx"),
        ("--agenda-time", "07:10"),
        ("--agenda-time", "24:00"),
        ("--weekdays", "0,8"),
        ("--weekdays", "monday"),
        ("--weekdays", "[/red]"),
        ("--reminder-minutes", "-5"),
        ("--reminder-minutes", "ten"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(
    run: CommandLine, account: str, option: str, value: str
) -> None:
    result = run("calendar", "configure", account, option, value)
    assert result.status == 1
    assert option.removeprefix("--").partition("-")[0] in result.err


def test_names_that_look_like_markup_are_shown_as_they_are(run: CommandLine, account: str, database: Database) -> None:
    with database.write() as session:
        session.execute(update(Calendar).values(name="[/red] [bold]:smile: \x1b[31m", watched=True))
        session.execute(update(CalendarAccount).values(last_error="[link=x] [/]"))
    shown = run("calendar", "list").out
    assert "[link=x] [/]" in shown
    watched = run("calendar", "watch", account, "1").out
    assert "[/red] [bold]:smile: [31m" in watched
    assert "\x1b" not in watched


def test_a_new_process_takes_the_password_from_a_pipe(environment: object, radicale: RadicaleServer) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "CALENDAR_PASSWORD"}
    finished = subprocess.run(
        [sys.executable, "-m", "switchboard", "calendar", "connect", radicale.url, "boris", "boris", "--zone", "UTC"],
        input=f"{radicale.password}\n",
        env={**variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "is connected" in finished.stdout
    assert radicale.password not in finished.stdout + finished.stderr


# --- operators ----------------------------------------------------------------------------------------------------------


def test_the_doctor_finds_everything_working_and_warns_of_a_missing_worker(run: CommandLine, account: str) -> None:
    assert run("migrate").status == 0
    result = run("doctor", "--json")
    found = {line["name"]: line for line in json.loads(result.out)}
    assert result.status == 0
    assert {name: line["verdict"] for name, line in found.items()} == {
        "database": "ok",
        "secret keys": "ok",
        "redis": "ok",
        "worker and beat": "warning",
        "mattermost": "ok",
        "slash commands": "warning",
        "custom statuses": "warning",
        f"calendar account {account} (anna)": "ok",
        "telegram gateway": "not configured",
    }
    assert "ok" in run("doctor").out


def test_the_doctor_says_whether_the_bot_may_set_statuses_and_the_server_has_them(
    run: CommandLine, twin: MattermostTwin
) -> None:
    def checked() -> tuple[str, str]:
        [line] = [one for one in json.loads(run("doctor", "--json").out) if one["name"] == "custom statuses"]
        return line["verdict"], line["detail"]

    assert checked() == ("warning", "the bot lacks the right create_post_ephemeral and edit_other_users")
    twin.grant_rights()
    assert checked()[0] == "ok"
    settings = twin.world.settings
    twin.call(lambda: setattr(settings, "enable_custom_user_statuses", False))
    try:
        assert "switched off at the server" in checked()[1]
    finally:
        twin.call(lambda: setattr(settings, "enable_custom_user_statuses", True))
        twin.withdraw_rights()


def test_a_status_is_switched_on_and_listed(run: CommandLine, account: str) -> None:
    assert "Nobody wants a status" in run("calendar", "statuses").out
    assert run("calendar", "configure", account, "--status").status == 0
    [line] = json.loads(run("calendar", "statuses", "--json").out)
    assert (line["shown_until"], line["problem"]) == (None, None)
    assert run("calendar", "configure", account, "--no-status").status == 0


def test_an_account_whose_owner_is_deactivated_is_said_to_be_paused_for_that(
    run: CommandLine, account: str, twin: MattermostTwin
) -> None:
    twin.deactivate("anna")
    try:
        forget_services()
        assert wiring.deactivations().follow() == 1
        assert "the person is deactivated" in json.loads(run("calendar", "list", "--json").out)[0]["reason"]
        found = {line["name"]: line for line in json.loads(run("doctor", "--json").out)}
    finally:
        twin.activate("anna")
    checked = found[f"calendar account {account} (anna)"]
    assert (checked["verdict"], "deactivated" in checked["detail"]) == ("ok", True)


def test_the_doctor_says_what_does_not_work_and_tries_the_rest(
    run: CommandLine, environment: Callable[[str, str], None], twin: MattermostTwin
) -> None:
    environment("REDIS_URL", f"redis://:hunter2hunter2@127.0.0.1:{free_port()}/0")
    environment("MATTERMOST_TOKEN", "not-a-token")
    environment("DATABASE_URL", f"postgresql://app:hunter2hunter2@127.0.0.1:{free_port()}/hub")
    result = run("doctor", "--json")
    found = {line["name"]: line for line in json.loads(result.out)}
    assert result.status == 1
    assert found.pop("telegram gateway")["verdict"] == "not configured"
    assert {line["verdict"] for line in found.values()} == {"failed"}
    assert "MATTERMOST_TOKEN" in found["mattermost"]["detail"]
    assert all(line["detail"] and line["advice"] for line in found.values())
    assert "hunter2" not in result.told
    assert "not-a-token" not in result.told


def test_migrate_makes_the_data_folder_and_says_where_the_database_is(
    run: CommandLine, environment: Callable[[str, str], None], tmp_path: Path
) -> None:
    environment("DATABASE_URL", "")
    environment("DATA_DIR", str(tmp_path / "new" / "data"))
    assert "is at revision 0" in run("migrate").out
    assert (tmp_path / "new" / "data" / "switchboard.sqlite3").exists()
    assert "is at revision base" in run("migrate", "base").out
    unmigrated = run("deliveries")
    assert unmigrated.status == 1
    assert "python -m switchboard migrate" in unmigrated.err


def test_keys_that_do_not_fit_stop_the_release(run: CommandLine, environment: Callable[[str, str], None]) -> None:
    assert run("migrate").status == 0
    environment("SECRET_KEYS", NEW_KEY)
    result = run("migrate")
    assert result.status == 1
    assert "SECRET_KEYS does not open" in result.err
    assert run("keys", "check").status == 1


def test_keys_are_rotated_and_the_old_one_can_go(
    run: CommandLine, environment: Callable[[str, str], None], account: str
) -> None:
    assert run("migrate").status == 0
    environment("SECRET_KEYS", f"{NEW_KEY},{KEY}")
    assert "2 secrets are encrypted with the newest key" in run("keys", "rotate").out
    environment("SECRET_KEYS", NEW_KEY)
    assert run("keys", "check").status == 0
    assert run("calendar", "calendars", account).status == 0


def test_deliveries_are_listed_without_their_texts(run: CommandLine, account: str, database: Database) -> None:
    assert "No messages." in run("deliveries").out
    assert run("calendar", "agenda", account, "--send").status == 0
    forget_services()
    wiring.agendas().claim_due()
    forget_services()
    (listed,) = json.loads(run("deliveries", "--json", "--state", "PENDING").out)
    with database.read() as session:
        stored = session.scalars(select(Delivery)).one()
    assert (listed["id"], listed["kind"], listed["state"]) == (stored.id, stored.kind, "PENDING")
    assert "body" not in listed
    assert "No messages are DEAD." in run("deliveries", "--state", "DEAD").out
    assert run("deliveries", "--state", "NONSENSE").status == 2


def test_settings_that_cannot_be_used_are_words(run: CommandLine, environment: Callable[[str, str], None]) -> None:
    environment("PORT", "many")
    environment("SECRET_KEYS", "short")
    result = run("calendar", "list")
    assert result.status == 1
    assert "- PORT: " in result.err
    assert "- SECRET_KEYS: " in result.err


def test_a_missing_server_is_words(run: CommandLine, environment: Callable[[str, str], None], account: str) -> None:
    environment("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert run("calendar", "poll", account).status == 1
    environment("REDIS_URL", "")
    assert "REDIS_URL is not set" in run("calendar", "poll", account).err


def test_accounts_can_be_looked_after_while_mattermost_is_not_configured(
    run: CommandLine, environment: Callable[[str, str], None], radicale: RadicaleServer, account: str
) -> None:
    environment("MATTERMOST_URL", "")
    environment("MATTERMOST_TOKEN", "")
    (listed,) = json.loads(run("calendar", "list", "--json").out)
    assert str(listed["id"]) == account
    assert run("calendar", "poll", account).status == 0
    found = {line["name"]: line["verdict"] for line in json.loads(run("doctor", "--json").out)}
    assert (found["mattermost"], found[f"calendar account {account} (anna)"]) == ("not configured", "ok")
    assert "MATTERMOST_URL" in run("calendar", "connect", radicale.url, "anna", "@anna").err


def test_the_ledger_is_swept_while_no_channel_is_configured(environment: Callable[[str, str], None]) -> None:
    environment("MATTERMOST_URL", "")
    environment("MATTERMOST_TOKEN", "")
    forget_services()
    try:
        assert wiring.deliveries().scan_open().to_send == {}
        with pytest.raises(ConfigError, match="mattermost is not configured"):
            wiring.deliveries().send("mattermost", [1])
    finally:
        forget_services()
