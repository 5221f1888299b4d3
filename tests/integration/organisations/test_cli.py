"""The commands of organisations, from the first to a notice in the ledger; what they refuse, they say in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from sqlalchemy import select

from sandbox.mattermost.twin import PEOPLE, MattermostTwin
from switchboard.db.models import Delivery
from switchboard.services.organisations.events import NewEvent
from switchboard.settings import environment_names
from tests.integration.command_line import CommandLine
from tests.integration.organisations.house import API_HASH, API_ID, House


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, database_url: str
) -> Iterator[CommandLine]:
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": database_url,
        "SECRET_KEYS": "k" * 32,
        "DATA_DIR": str(tmp_path / "data"),
        "SUPPORT_CONTACT": "Eva, 101",
        "LOG_LEVEL": "WARNING",
        "TELEGRAM_ACCOUNT_API_HASH": API_HASH,
    }.items():
        monkeypatch.setenv(name, value)
    yield CommandLine(monkeypatch, capsys, "no password is used here")
    structlog.reset_defaults()


def test_an_organisation_is_set_up_and_looked_after(run: CommandLine, house: House, tmp_path: Path) -> None:
    added = run("organisations", "add", "Altair", "--zone", "Europe/Moscow", "--under", str(house.org))
    number = re.findall(r"Organisation (\d+) is added", added.out)[0]
    assert run("organisations", "change", number, "--language", "ru").status == 0
    set_up = run("organisations", "telegram", number, "+79160001122", "--api-id", str(API_ID))
    assert re.search(r"Account \d+ is not online yet: .* telegram sign-in \d+", set_up.out)
    assert API_HASH not in set_up.told
    status = run("organisations", "status", number).out
    assert "Altair: new" in status
    assert "+79*****1122" in status
    assert "Ask Eva, 101." in status
    assert [one["name"] for one in json.loads(run("organisations", "list", "--json").out)] == ["Vega", "Altair"]

    given = ("--opted-in", "--telegram", "@anna", "--name", "Анна", "--quiet", "22:00-08:00", "--contact")
    assert "added" in run("organisations", "recipient", number, "anna", *given).out
    assert "22:00-08:00" in run("organisations", "recipients", number).out

    assert run("organisations", "change", number, "--digest", "hour", "--digest-at", "08:30").status == 0
    daily = (*given, "--digest", "day", "--digest-at", "7:15")
    assert run("organisations", "recipient", number, "anna", *daily).status == 0
    assert "day 07:15" in run("organisations", "recipients", number).out
    assert run("organisations", "recipient", number, "anna", *given, "--digest", "none").status == 0
    (altair,) = [one for one in json.loads(run("organisations", "list", "--json").out) if one["id"] == int(number)]
    assert (altair["digest"], altair["digest_at"]) == ("hour", "08:30")

    (tmp_path / "wrong").write_text("{{ titel }} {{ numbr }}", encoding="utf-8")
    refused = run("organisations", "template", number, "default", "ru", str(tmp_path / "wrong"))
    assert refused.status == 1
    assert "did you mean title?" in refused.err
    assert "did you mean number?" in refused.err
    (tmp_path / "right").write_text("№ {{ number }}", encoding="utf-8")
    assert run("organisations", "template", number, "default", "ru", str(tmp_path / "right")).status == 0
    assert "№ {{ number }}" in run("organisations", "templates", number).out
    assert "Delivery 1 goes out" in run("organisations", "test-send", number, "anna").out

    event = NewEvent(kind="to_sign", number="7/A", recipients=["anna", "nobody"])
    event_id = str(house.events.accept(int(number), "k", b"x", event).event_id)
    assert "7/A" in run("organisations", "events", number).out
    states = [one["state"] for one in json.loads(run("organisations", "event", number, event_id, "--json").out)]
    assert states == ["waiting", "unknown_recipient"]
    assert run("organisations", "processed", number, event_id).status == 0
    (shown,) = json.loads(run("organisations", "events", number, "--json").out)
    assert shown["state"] == "processed"

    assert run("organisations", "forget", number, "anna").status == 0
    actions = run("audit", "--subject", f"organisation:{number}").out
    for action in ("create", "update", "telegram"):
        assert f"organisation.{action}" in actions
    assert "recipient.put" in actions
    assert "Анна" not in actions
    assert run("organisations", "remove", number, "--yes").status == 0


def test_what_goes_over_mattermost_is_sent_by_the_command_itself(
    run: CommandLine, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = str(house.org)
    with MattermostTwin.running() as twin:
        monkeypatch.setenv("MATTERMOST_URL", twin.url)
        monkeypatch.setenv("MATTERMOST_TOKEN", twin.bot_token)
        name = PEOPLE[0][0]
        given = ("--opted-in", "--channel", "mattermost", "--mattermost", f"@{name}")
        assert run("organisations", "recipient", number, "one", *given).status == 0
        told = run("organisations", "test-send", number, "one")
        assert (told.status, "waits" in told.out) == (0, False)
        (post,) = twin.posts_to(name)
        assert "123/45" in post["message"]

        event_id = house.post("one").event_id
        with house.database.write() as session:
            row = session.scalars(select(Delivery).where(Delivery.kind == "organisation.document")).one()
            row.state, row.remote_id, row.finished_at = "SENT", post["id"], house.clock()
        told = run("organisations", "processed", number, str(event_id))
        assert (told.status, "waits" in told.out) == (0, False)
        (post,) = twin.posts_to(name)
        assert "Document 7/A has been processed" in post["message"]


def test_what_has_to_wait_is_said_with_the_reason(run: CommandLine, house: House) -> None:
    number = str(house.org)
    house.add("anna")
    house.add("boris", channel="mattermost", mattermost="boris", telegram=None)
    over_telegram = run("organisations", "test-send", number, "anna")
    assert f"waits: account {house.account_id} is not online" in over_telegram.out
    over_mattermost = run("organisations", "test-send", number, "boris")
    assert "What goes over Mattermost waits: the channel mattermost is not configured" in over_mattermost.out
    assert (over_telegram.status, over_mattermost.status) == (0, 0)


def test_a_pair_is_shown_once_and_the_one_before_can_be_ended(run: CommandLine, house: House) -> None:
    number = str(house.org)
    first, second = (run("organisations", "secret", number).out for _ in range(2))
    tokens = [re.findall(r"token: +(\S+)", shown)[0] for shown in (first, second)]
    assert re.search(r"secret: sbs_\S{40,}", first)
    assert [house.credentials.by_token(token) for token in tokens] == [house.org] * 2
    old = re.findall(r"Pair (\d+) is still accepted", second)[0]
    assert run("organisations", "secret", number, "--end", old).status == 0
    assert [house.credentials.by_token(token) for token in tokens] == [None, house.org]


def test_a_mailing_is_kept_on_the_command_line(run: CommandLine, house: House, tmp_path: Path) -> None:
    house.add("anna")
    (tmp_path / "menu").write_text("<b>Soup</b> for {{ recipient }}", encoding="utf-8")
    mailings, number = ("organisations", "mailings"), str(house.org)
    added = run(
        *mailings, "add", number, "Menu", "0 9 * * mon-fri", "--text", f"en={tmp_path / 'menu'}", "--title", "T"
    )
    assert "Menu: 0 9 * * MON-FRI (Europe/Moscow), for everybody who is opted in, in en" in added.out
    assert added.out.count("T09:00+03:00") == 3
    tried = run(*mailings, "dry-run", number, "1").out
    assert "1 people: 1 over telegram" in tried
    assert "Soup for Anna Petrova" in tried
    assert "Menu" in run(*mailings, "list", number).out
    changed = run(*mailings, "change", number, "1", "--rule", "0 10 * * *", "--to", "anna", "--to", "nobody")
    assert "0 10 * * * (Europe/Moscow), for 2 recipients" in changed.out
    assert "everybody" in run(*mailings, "change", number, "1", "--everybody").out
    sent = [run(*mailings, "send", number, "1", "--key", "k").out for _ in range(2)]
    assert "Event 1 goes out" in sent[0]
    assert sent[1] == sent[0].splitlines(keepends=True)[0]  # a repeat sends nothing, so nothing has to wait
    assert run(*mailings, "stop", number, "1").status == 0
    assert "stopped" in run(*mailings, "show", number, "1").out
    assert "next: " in run(*mailings, "resume", number, "1").out
    assert json.loads(run(*mailings, "show", number, "1", "--json").out)["last_event_id"] == 1
    assert run(*mailings, "remove", number, "1").status == 0
    assert "no mailing yet" in run(*mailings, "list", number).out


def test_a_template_is_shown_before_it_is_stored(run: CommandLine, house: House, tmp_path: Path) -> None:
    number = str(house.org)
    (tmp_path / "one").write_text("<b>{{ number }}</b> {{ title }} {{ stop_hint }}", encoding="utf-8")
    shown = run("organisations", "template-preview", number, str(tmp_path / "one"), "--value", "title=<i>").out
    assert "<b>123/45</b> &lt;i&gt; To get no more of these messages, answer STOP." in shown
    assert "given, en: 57 of 4096 characters, 1 of 100 formatted parts" in shown
    (tmp_path / "two").write_text("{{ titel }}", encoding="utf-8")
    wrong = run("organisations", "template-preview", number, str(tmp_path / "two"))
    assert "Wrong: line 1: there is no placeholder titel; did you mean title?" in wrong.out
    stored = run("organisations", "template-preview", number, "--channel", "mattermost", "--purpose", "processed").out
    assert "**Document 123/45 has been processed**" in stored
    assert "built-in, en" in stored


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("status", "99"), "there is no organisation 99"),
        (("add", "Vega"), "another organisation has this name"),
        (("telegram", "1", "12", "--api-id", "1"), "no phone number"),
        (("recipient", "1", "x", "--opted-in", "--mattermost", "@x", "--channel", "mattermost"), "is not configured"),
        (("test-send", "1", "nobody"), "no such recipient"),
        (("event", "1", "5"), "no event 5"),
        (("secret", "1", "--end", "5"), "no credential 5"),
        (("mailings", "add", "1", "x", "* * * * *", "--text", "x"), "a text is LANGUAGE=FILE"),
        (("mailings", "send", "1", "7"), "no mailing 7"),
        (("mailings", "add", "1", "x", "0 9 * * *", "--text", "en=/nowhere"), "cannot be read"),
        (("template-preview", "1", "--value", "x"), "a value is PLACEHOLDER=VALUE"),
    ],
)  # fmt: skip
def test_what_is_refused_is_said_in_a_sentence(
    run: CommandLine, house: House, command: tuple[str, ...], words: str
) -> None:
    result = run("organisations", *command)
    assert result.status == 1
    assert words in " ".join(result.err.split())


@pytest.mark.parametrize(
    "command",
    [
        ("organisations", "status"),
        ("organisations", "event", "1"),
        ("organisations", "mailings", "show", "1"),
        ("organisations", "change", "1", "--under"),
        ("organisations", "secret", "1", "--end"),
        ("telegram", "show"),
        ("telegram", "start"),
        ("calendar", "poll"),
        ("calendar", "watch", "1"),
    ],
)
def test_a_number_that_no_database_holds_is_refused(run: CommandLine, command: tuple[str, ...]) -> None:
    refused = run(*command, str(2**63))
    assert refused.status == 2
    assert "999999999999999999" in refused.err
