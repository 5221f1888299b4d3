"""The keys fit the database or say so; rotation loses no secret."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest
from sqlalchemy import select

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarSubscriber, KeyCheck
from switchboard.errors import ConfigError
from switchboard.services.keys import Keys, _sealed_columns

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
OLD, NEW = "o" * 32, "n" * 32


def keys(database: Database, *values: str) -> Keys:
    return Keys(database, SecretBox(values))


def silence(done: int, total: int) -> None:
    """No progress is looked at."""


def add_accounts(database: Database, count: int, key: str) -> None:
    with database.write() as session:
        subscriber = CalendarSubscriber(
            mattermost_user_id="u", username="anna", zone="UTC", agenda_time=time(8), weekdays=[1], reminder_minutes=[10],
            created_at=NOW, updated_at=NOW,
        )  # fmt: skip
        session.add(subscriber)
        session.flush()
        for number in range(count):
            session.add(
                CalendarAccount(
                    subscriber_id=subscriber.id, server_url="https://cal.example.org", login=f"login{number}",
                    password=SecretBox([key]).encrypt(f"password{number}"), addresses=[], state="active",
                    auth_failures=0, failures=0, next_poll_at=NOW, fence=0, created_at=NOW,
                )
            )  # fmt: skip


def passwords(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(select(CalendarAccount.password).order_by(CalendarAccount.id)))


def test_the_first_check_writes_the_proof_and_the_next_ones_read_it(database: Database) -> None:
    keys(database, OLD).check()
    with database.read() as session:
        proof = session.get_one(KeyCheck, 1).token
    keys(database, OLD).check()
    keys(database, NEW, OLD).check()
    with database.read() as session:
        assert session.get_one(KeyCheck, 1).token == proof


def test_keys_of_another_database_are_refused_in_words(database: Database) -> None:
    keys(database, OLD).check()
    with pytest.raises(ConfigError, match="Put the lost key back"):
        keys(database, NEW).check()
    keys(database, OLD).check()


def test_after_a_rotation_the_new_key_alone_opens_everything(database: Database) -> None:
    keys(database, OLD).check()
    add_accounts(database, 3, OLD)
    told: list[tuple[int, int]] = []
    assert keys(database, NEW, OLD).rotate(lambda done, total: told.append((done, total))) == 4
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    keys(database, NEW).check()
    assert [SecretBox([NEW]).decrypt(token) for token in passwords(database)] == ["password0", "password1", "password2"]
    with pytest.raises(ConfigError):
        keys(database, OLD).check()
    assert keys(database, NEW).rotate(silence) == 4


def test_a_secret_that_is_changed_during_the_rotation_keeps_its_change(database: Database) -> None:
    add_accounts(database, 2, OLD)
    changed = SecretBox([NEW, OLD]).encrypt("changed meanwhile")

    def change_the_second(done: int, total: int) -> None:
        if done == 1:
            with database.write() as session:
                account = session.scalars(select(CalendarAccount).order_by(CalendarAccount.id.desc())).first()
                assert account is not None
                account.password = changed

    keys(database, NEW, OLD).rotate(change_the_second)
    assert passwords(database)[1] == changed
    assert SecretBox([NEW]).decrypt(passwords(database)[0]) == "password0"


def test_a_rotation_without_the_old_key_changes_nothing_and_says_which_setting(database: Database) -> None:
    add_accounts(database, 1, OLD)
    before = passwords(database)
    with pytest.raises(ConfigError, match="SECRET_KEYS"):
        keys(database, NEW).rotate(silence)
    assert passwords(database) == before


def test_every_column_that_holds_a_secret_is_rotated() -> None:
    assert {f"{table.name}.{column.name}" for table, column in _sealed_columns()} == {
        "calendar_accounts.password",
        "key_check.token",
        "mattermost_commands.token",
        "organisation_credentials.secret",
        "organisation_telegram.api_hash",
        "telegram_accounts.api_hash",
        "telegram_accounts.bot_token",
        "telegram_accounts.session",
        "telegram_sign_ins.code_hash",
        "telegram_sign_ins.hint",
        "telegram_sign_ins.input",
        "telegram_sign_ins.session",
    }
