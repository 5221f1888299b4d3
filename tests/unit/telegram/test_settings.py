"""The settings of Telegram accounts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from switchboard.settings import Settings

PAIR = {"telegram_api_id": 17, "telegram_api_hash": "h" * 32}
SESSION = {**PAIR, "telegram_string_session": "1abc", "telegram_base_users": "@ann, 42"}


def read(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def test_base_users_are_a_comma_list_of_two_or_more() -> None:
    assert read(**SESSION).telegram_base_users == ("@ann", "42")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({**SESSION, "telegram_base_users": "@ann"}, "TELEGRAM_BASE_USERS must name at least 2"),
        ({**SESSION, "telegram_base_users": "@ann,@ann"}, "TELEGRAM_BASE_USERS must name at least 2"),
        ({**SESSION, "telegram_base_users": ""}, "TELEGRAM_BASE_USERS must name at least 2"),
        ({"telegram_api_id": 17}, "TELEGRAM_API_ID and TELEGRAM_API_HASH belong together"),
        ({"telegram_bot_token": "1:a"}, "TELEGRAM_BOT_TOKEN needs TELEGRAM_API_ID"),
        ({"telegram_dc_address": "127.0.0.1:4430"}, "TELEGRAM_DC_ADDRESS and TELEGRAM_DC_KEY belong together"),
        ({"telegram_dc_address": "localhost", "telegram_dc_key": "key.pem"}, "is not host:port"),
        ({**PAIR, "telegram_api_id": 2**31}, "less than or equal"),
    ],
)
def test_halves_of_what_belongs_together_are_refused_in_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        read(**values)


def test_sessions_are_imported_from_one_folder() -> None:
    settings = read()
    assert settings.telegram_import_dir == settings.data_dir / "telegram-import"


def test_no_secret_of_telegram_shows_in_the_text_of_the_settings() -> None:
    assert "1abc" not in repr(read(**SESSION))
    assert "h" * 32 not in repr(read(**SESSION))
