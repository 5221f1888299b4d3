"""`python -m switchboard telegram ...` and what `doctor` says, against a loopback Telegram and a gateway in this process."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.telegram.twin import API_HASH, API_ID
from switchboard.domain.telegram.sessions import key_digest
from tests.integration.command_line import CommandLine, Result, forget_services, only_these_settings
from tests.integration.telegram.conftest import Office, wait_for

Run = Callable[..., Result]
PHONE, PASSWORD = "+79161234567", "open sesame"


@pytest.fixture
def run(
    office: Office, sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    key = tmp_path / "key.pem"
    key.write_text(office.twin.public_pem, encoding="ascii")
    settings = {
        "DATABASE_URL": sqlite_url,
        "DATA_DIR": str(tmp_path),
        "SECRET_KEYS": "k" * 32,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "WARNING",
        "TELEGRAM_API_ID": str(API_ID),
        "TELEGRAM_API_HASH": API_HASH,
        "TELEGRAM_DC_ADDRESS": f"127.0.0.1:{office.twin.port}",
        "TELEGRAM_DC_KEY": str(key),
    }
    command_line = CommandLine(monkeypatch, capsys, PASSWORD)

    def run(*arguments: str, lines: tuple[str | Callable[[], str], ...] = ()) -> Result:
        return command_line("telegram", *arguments, lines=lines)

    with only_these_settings(monkeypatch, tmp_path, settings):
        yield run


def test_a_number_is_added_signed_in_stopped_started_and_removed(office: Office, run: Run) -> None:
    office.twin.add_person("Ann", phone=PHONE, password=PASSWORD, hint="a cave")
    office.gateway()
    added = run("add", PHONE)
    assert added.status == 0, added.told
    (number,) = re.findall(r"Account (\d+) is added", added.out)

    signed_in = run(
        "sign-in", number, lines=("11111", lambda: office.twin.codes(PHONE)[-1].code, "wrong password", PASSWORD)
    )
    assert signed_in.status == 0, signed_in.told
    assert "sent by SMS" in signed_in.out
    assert "not the code" in signed_in.out
    assert "not the password" in signed_in.out
    assert "is online" in signed_in.out
    (listed,) = json.loads(run("list", "--json").out)
    assert (listed["state"], listed["phone"]) == ("online", PHONE)
    assert "1 gateways, 64 of 64 shards held" in run("list").out
    assert "is stopped" in run("stop", number).out
    assert "is online" in run("start", number).out
    assert run("stop").status == 1
    assert "is stopped" in run("stop", "--all").out
    removed = run("remove", number, "--yes")
    assert f"Account {number} is removed" in removed.out
    assert json.loads(run("list", "--json").out) == []


def test_a_code_is_not_sent_another_way_before_its_time_and_asked_for_again(office: Office, run: Run) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.twin.session_string("Ann")
    office.gateway()
    run("add", PHONE)
    signed_in = run("sign-in", "1", lines=("", lambda: office.twin.codes(PHONE)[-1].code))
    assert signed_in.status == 0, signed_in.told
    assert re.search(r"Not yet: the code may be sent another way in \d+ s, at \d\d:\d\d:\d\d UTC\.", signed_in.out)
    assert "is online" in signed_in.out


def test_what_telegram_refuses_is_said_in_one_sentence(office: Office, run: Run) -> None:
    office.twin.add_person("Ann", phone=PHONE)
    office.twin.call(lambda: office.twin.world.banned_phones.add(PHONE.lstrip("+")))
    office.gateway()
    run("add", PHONE)
    refused = run("sign-in", "1")
    assert refused.status == 1
    assert "banned this number" in refused.err
    assert "here already" in run("add", PHONE).err
    assert "no Telegram account 9" in run("start", "9").err


def test_a_bot_and_a_session_file_are_added(office: Office, run: Run) -> None:
    from tests.integration.telegram.test_accounts import session_file  # noqa: PLC0415

    bot = office.twin.add_bot("Helper", "helper_bot")
    office.twin.add_person("Ann")
    office.gateway()
    added = run("add", "--bot", lines=(bot.token,))
    assert "is online" in added.out, added.told
    assert bot.token not in added.told
    session_file(office, "Ann")
    imported = run("import", "ann.session")
    assert "is online" in imported.out, imported.told
    assert "Delete the file" in imported.out
    assert run("import", "../key.pem").status == 1


def test_auth_key_prints_a_session_that_is_already_closed(office: Office, run: Run) -> None:
    person = office.twin.add_person("Ann", phone=PHONE, password=PASSWORD)
    made = run("auth-key", PHONE, lines=("00000", lambda: office.twin.codes(PHONE)[-1].code, PASSWORD))
    assert made.status == 0, made.told
    assert "This is not the code" in made.err
    (session,) = re.findall(r"^TELEGRAM_STRING_SESSION=(\S+)$", made.out, re.MULTILINE)
    assert key_digest(session)
    wait_for(
        lambda: not office.twin.call(lambda: len(office.twin.server.connections)), "the server to see the line closed"
    )
    office.gateway()
    office.environment(session=session).apply()
    (account,) = office.accounts.list_accounts()
    assert office.wait_state(account.id, "online").own_id == person.id


@pytest.mark.parametrize(
    ("prepare", "words"),
    [("nobody", "Nobody has registered"), ("flood", "wait 420 s"), ("wrong", "3 answers were wrong: begin anew")],
)
def test_auth_key_says_why_it_could_not(office: Office, run: Run, prepare: str, words: str) -> None:
    phone = "+79160000000" if prepare == "nobody" else PHONE
    office.twin.add_person("Ann", phone=PHONE)
    if prepare == "flood":
        office.twin.faults.add("error", method="auth.sendCode", name="FLOOD_WAIT_420")

    def right() -> str:
        return office.twin.codes(phone)[-1].code

    def wrong() -> str:
        return "00000" if right() != "00000" else "00001"

    result = run("auth-key", phone, lines=(wrong, wrong, wrong) if prepare == "wrong" else (right,))
    assert result.status == 1
    assert words in result.err
    assert "SESSION=" not in result.told


def test_without_a_gateway_the_commands_say_what_to_start(
    office: Office, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchboard.cli.telegram.WAIT_S", 0.2)
    office.twin.add_person("Ann", phone=PHONE)
    run("add", PHONE)
    assert "start the process `telegram`" in run("sign-in", "1").err
    assert "No gateway runs" in run("list").out


def test_doctor_says_how_each_account_fares(office: Office, run: Run) -> None:
    from switchboard import wiring  # noqa: PLC0415
    from switchboard.services.doctor import examine  # noqa: PLC0415

    office.twin.add_person("Ann")
    office.twin.add_person("Bea")
    ann, bea = office.add_signed_in("Ann"), office.add_signed_in("Bea")
    office.gateway()
    office.wait_state(ann.id, "online")
    office.wait_state(bea.id, "online")
    office.twin.revoke_sessions("Bea")
    office.twin.cut()
    office.wait_state(bea.id, "sign_in_again")
    office.wait_state(ann.id, "online")
    forget_services()
    try:
        found = {
            finding.name: finding
            for finding in examine([check for check in wiring.doctor_checks() if check.name.startswith("telegram")])
        }
    finally:
        forget_services()
    assert found["telegram gateway"].verdict == "ok"
    assert found[f"telegram account {ann.id} (Ann)"].verdict == "ok"
    assert found[f"telegram account {bea.id} (Bea)"].verdict == "warning"
    assert "ended from another device" in found[f"telegram account {bea.id} (Bea)"].detail
    assert found[f"telegram account {bea.id} (Bea)"].advice == f"`python -m switchboard telegram sign-in {bea.id}`."
