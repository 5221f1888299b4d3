"""The commands of organisations, from the first to a notice in the ledger; what they refuse, they say in a sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

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


def test_a_pair_is_shown_once_and_the_one_before_can_be_ended(run: CommandLine, house: House) -> None:
    number = str(house.org)
    first, second = (run("organisations", "secret", number).out for _ in range(2))
    tokens = [re.findall(r"token: +(\S+)", shown)[0] for shown in (first, second)]
    assert re.search(r"secret: sbs_\S{40,}", first)
    assert [house.credentials.by_token(token) for token in tokens] == [house.org] * 2
    old = re.findall(r"Pair (\d+) is still accepted", second)[0]
    assert run("organisations", "secret", number, "--end", old).status == 0
    assert [house.credentials.by_token(token) for token in tokens] == [None, house.org]


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
    ],
)  # fmt: skip
def test_what_is_refused_is_said_in_a_sentence(
    run: CommandLine, house: House, command: tuple[str, ...], words: str
) -> None:
    result = run("organisations", *command)
    assert result.status == 1
    assert words in " ".join(result.err.split())
