"""Settings: what is read from where, and what is refused in words (tests/architecture has the rules on `.env.example`)."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from switchboard.errors import ConfigError
from switchboard.settings import environment_names, load_settings, running_settings

KEY = "k" * 32


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No setting of the machine, no `.env` of the checkout."""
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_any_setting_the_embedded_defaults_hold() -> None:
    settings = load_settings()
    assert settings.effective_database_url == "sqlite:///data/switchboard.sqlite3"
    assert (settings.redis_url, settings.secret_keys, settings.mattermost_token) == ("", (), None)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_is_accepted(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://app:secret@db.example.org:5432/hub?sslmode=require")
    monkeypatch.setenv("SECRET_KEYS", KEY)
    assert load_settings().effective_database_url == (
        "postgresql+psycopg://app:secret@db.example.org:5432/hub?sslmode=require"
    )


def test_the_other_name_of_the_mattermost_token_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MM_APP_TOKEN", "alias")
    token = load_settings().mattermost_token
    assert token is not None
    assert token.get_secret_value() == "alias"
    monkeypatch.setenv("MATTERMOST_TOKEN", "own name")
    token = load_settings().mattermost_token
    assert token is not None
    assert token.get_secret_value() == "own name"


def test_lists_are_separated_by_commas_and_spaces_around_them_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEYS", f" {KEY} , {'o' * 32},")
    monkeypatch.setenv("ALLOWED_PRIVATE_ADDRESSES", "127.0.0.1:5232, [::1]:80")
    settings = load_settings()
    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY, "o" * 32]
    assert settings.allowed_private_addresses == ("127.0.0.1:5232", "[::1]:80")


def test_an_empty_variable_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "DATABASE_URL", "MATTERMOST_TOKEN", "LOG_LEVEL", "SECRET_KEYS"):
        monkeypatch.setenv(name, "")
    assert load_settings().port == 8000


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
    (alone / ".env").write_text("PORT=1111\nWEB_THREADS=3\n")
    monkeypatch.setenv("PORT", "2222")
    settings = load_settings()
    assert (settings.port, settings.web_threads) == (2222, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_PRIVATE_ADDRESSES", "127.0.0.1"),
        ("ALLOWED_PRIVATE_ADDRESSES", "127.0.0.1:70000"),
        ("REDIS_URL", "http://cache.example.org"),
        ("REDIS_URL", "cache.example.org:6379"),
        ("DATABASE_URL", "postgresql"),
        ("PUBLIC_URL", "hub.example.org"),
        ("PUBLIC_URL", "https://hub.example.org:port"),
        ("PORT", "65536"),
        ("CALENDAR_POLL_SECONDS", "1"),
        ("RETENTION_DAYS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("DATABASE_CONNECTIONS", "1"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=f"- {name}: "):
        load_settings()


def test_settings_that_need_each_other_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://app:hunter2@db.example.org/hub")
    monkeypatch.setenv("MATTERMOST_URL", "https://chat.example.org")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert "SECRET_KEYS" in str(caught.value)
    assert "MATTERMOST_TOKEN" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def running(folder: Path, **settings: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "run.lock").touch()
    (folder / "run.json").write_text(json.dumps({"settings": settings}))


def test_a_run_of_the_same_folder_fills_what_is_not_set(monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
    running(alone / "data", redis_url="redis://127.0.0.1:6391/0", mattermost_url="http://127.0.0.1:8065",
            mattermost_token="twin", secret_keys=KEY)  # fmt: skip
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:7777/0")
    with (alone / "data" / "run.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        settings = load_settings()
    assert settings.redis_url == "redis://127.0.0.1:7777/0"
    assert settings.mattermost_url == "http://127.0.0.1:8065"
    assert [key.get_secret_value() for key in settings.secret_keys] == [KEY]


def test_the_traces_of_a_run_that_ended_are_ignored(alone: Path) -> None:
    running(alone / "data", redis_url="redis://127.0.0.1:6391/0")
    assert load_settings().redis_url == ""


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"settings": []}', '{"settings": null}'])
def test_a_damaged_trace_of_a_run_is_ignored(alone: Path, content: str) -> None:
    running(alone / "data")
    (alone / "data" / "run.json").write_text(content)
    with (alone / "data" / "run.lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert running_settings(alone / "data") == {}


def test_the_embedded_databases_keys_are_found_without_a_run(monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
    (alone / "data").mkdir()
    (alone / "data" / "secrets.json").write_text(json.dumps({"secret_keys": KEY}))
    assert [key.get_secret_value() for key in load_settings().secret_keys] == [KEY]
    monkeypatch.setenv("SECRET_KEYS", "o" * 32)
    assert [key.get_secret_value() for key in load_settings().secret_keys] == ["o" * 32]


def test_they_are_not_taken_for_the_keys_of_another_database(monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
    (alone / "data").mkdir()
    (alone / "data" / "secrets.json").write_text(json.dumps({"secret_keys": KEY}))
    monkeypatch.setenv("DATABASE_URL", "postgres://app@db.example.org/hub")
    with pytest.raises(ConfigError, match="SECRET_KEYS"):
        load_settings()
