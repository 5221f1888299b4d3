"""Log lines: one JSON object each, bound to their task or request, and without secrets, whoever wrote them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
import structlog

from switchboard.logs import REDACTED, configure_logging, get_logger, redact_value
from switchboard.settings import Settings

Start = Callable[..., Callable[[], list[str]]]
SECRET = "hunter2-and-more-0123456789"

TEXTS = [
    f"postgresql+psycopg://app:{SECRET}@db.example.org:5432/hub",
    f"rediss://:{SECRET}@cache.example.org:6379/0",
    f"postgres://app:p@ss-{SECRET}@db.example.org/hub",
    f"GET https://cal.example.org failed: Authorization: Bearer {SECRET}",
    f"header Basic {SECRET}==",
    f"https://chat.example.org/hooks?access_token={SECRET}&page=1",
    f"password={SECRET}",
    f"Password: {SECRET}",
    f'{{"password": "two words {SECRET}"}}',
    f"{{'api_hash': '{SECRET}'}}",
    f"app_secret={SECRET};",
    f"MATTERMOST_TOKEN={SECRET}",
    f"api_key: {SECRET}",
]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Configure logging and return what is written from then on, line by line."""
    written = StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level

    def start(log_format: str = "json", level: str = "INFO") -> Callable[[], list[str]]:
        monkeypatch.setattr(sys, "stderr", written)  # here: pytest puts its own there before each phase
        configure_logging(Settings(log_format=log_format, log_level=level, _env_file=None))  # type: ignore[call-arg,arg-type]
        return lambda: written.getvalue().removesuffix("\n").split("\n")

    yield start
    root.handlers, level = before[0], before[1]
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.mark.parametrize("text", TEXTS)
def test_a_secret_inside_a_text_is_redacted(text: str) -> None:
    cleaned = redact_value(text)
    assert SECRET not in cleaned
    assert REDACTED in cleaned


@pytest.mark.parametrize(
    "harmless",
    [
        "https://cal.example.org/dav/anna%40example.org/work/",
        "http://127.0.0.1:8065/api/v4/posts",
        "3 of 5 calendars watched",
        "the password was not accepted",
        "token expired",
        "",
    ],
)
def test_a_text_without_a_secret_stays_as_it_is(harmless: str) -> None:
    assert redact_value(harmless) == harmless


@pytest.mark.parametrize(
    "name",
    ["password", "app_password", "passphrase", "token", "bot_token", "secret", "secret_keys", "api_key", "api_hash",
     "Authorization", "cookie", "session_string"],
)  # fmt: skip
def test_a_field_with_a_telling_name_is_redacted_whole_however_deep(name: str) -> None:
    value = {"outer": [{"inner": ({name: SECRET, "kept": 1},)}]}
    assert redact_value(value) == {"outer": [{"inner": [{name: REDACTED, "kept": 1}]}]}


def test_numbers_flags_and_nothing_keep_their_types() -> None:
    assert redact_value({"a": 1, "b": 2.5, "c": True, "d": None, 7: "x"}) == {
        "a": 1,
        "b": 2.5,
        "c": True,
        "d": None,
        7: "x",
    }


def test_objects_become_texts_without_their_secrets() -> None:
    assert SECRET not in str(
        redact_value({"error": ValueError(f"password={SECRET}"), "bytes": f"token={SECRET}".encode()})
    )


def test_every_line_is_one_json_object_with_its_fields(lines: Start) -> None:
    read = lines()
    get_logger("switchboard.test").info("something_happened", count=3, text='line\nbreak "quoted" Привет \u2028')
    (line,) = read()
    record = json.loads(line)
    assert (record["event"], record["count"], record["level"], record["logger"]) == (
        "something_happened",
        3,
        "info",
        "switchboard.test",
    )
    assert record["timestamp"].endswith("Z")


def test_the_task_and_the_request_are_bound_to_each_line_and_to_foreign_ones(lines: Start) -> None:
    read = lines()
    with structlog.contextvars.bound_contextvars(task_id="t-1", request_id="r-1"):
        get_logger("ours").info("ours")
        logging.getLogger("celery").warning("theirs %s", "too")
    logging.getLogger("celery").warning("afterwards")
    ours, theirs, afterwards = (json.loads(line) for line in read())
    assert (ours["task_id"], ours["request_id"]) == ("t-1", "r-1")
    assert (theirs["event"], theirs["task_id"], theirs["request_id"]) == ("theirs too", "t-1", "r-1")
    assert "task_id" not in afterwards


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_no_secret_gets_out_by_an_exception_a_foreign_record_or_a_local_variable(lines: Start, log_format: str) -> None:
    read = lines(log_format)

    def fail(password: str) -> None:
        url = f"redis://:{password}@cache.example.org"
        raise ConnectionError(f"cannot reach {url}")

    try:
        fail(SECRET)
    except ConnectionError:
        get_logger("ours").exception("failed", token=SECRET)
        logging.getLogger("theirs").exception("with password=%s", SECRET)
        logging.getLogger("theirs").warning("extra", extra={"api_key": SECRET})
    text = "\n".join(read())
    assert "ConnectionError" in text
    assert "cache.example.org" in text
    assert SECRET not in text


def test_the_level_is_honoured(lines: Start) -> None:
    read = lines(level="WARNING")
    get_logger("ours").info("quiet")
    get_logger("ours").warning("loud")
    assert [json.loads(line)["event"] for line in read()] == ["loud"]


def test_configuring_twice_writes_each_line_once(lines: Start) -> None:
    lines()
    read = lines()
    get_logger("ours").warning("once")
    assert len(read()) == 1


def test_what_json_cannot_hold_becomes_text(lines: Start) -> None:
    read = lines()
    values: dict[str, Any] = {"when": {1, 2}, "what": object()}
    get_logger("ours").warning("strange", **values)
    json.loads(read()[0])


def test_what_telethon_tells_at_its_import_is_not_said(lines: Start) -> None:
    written = lines("json", "INFO")
    logging.getLogger("telethon.crypto.aes").info("libssl detected, it will be used for encryption")
    get_logger("here").info("event")
    (line,) = written()
    assert json.loads(line)["event"] == "event"
