"""The loopback Telegram for the contract tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.telegram import TelegramTwin, running_telegram
from tests.contracts.telegram_client import KEY, Clock


@pytest.fixture
def telegram_twin() -> Iterator[TelegramTwin]:
    """A twin with Anna, Boris, Clara (no contacts of each other) and a bot; its own mistakes fail the test."""
    with running_telegram(key=KEY, clock=Clock()) as twin:
        twin.add_person("Anna", "Ivanova", phone="+9996610001", username="anna_i")
        twin.add_person("Boris", "Novak", phone="+9996610002", username="boris_n")
        twin.add_person("Clara", "Weber", phone="+9996610003", username="clara_w")
        twin.add_bot("Helper", "helper_bot")
        yield twin
        assert twin.server.mistakes == []
