"""Faults of the loopback Telegram: what each does to the effect, the answer and the line, and that it is counted."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telethon import errors, functions

from sandbox.telegram.faults import InvalidFaultError
from tests.contracts.telegram_client import Clients, played, until


def say(text: str) -> functions.messages.SendMessageRequest:
    return functions.messages.SendMessageRequest("boris_n", text)


@pytest.mark.parametrize(
    ("name", "error", "seconds"),
    [
        ("FLOOD_WAIT_30", errors.FloodWaitError, 30),
        ("SLOWMODE_WAIT_9", errors.SlowModeWaitError, 9),
        ("PEER_FLOOD", errors.PeerFloodError, None),
        ("RPC_CALL_FAIL", errors.RpcCallFailError, None),
        ("USER_PRIVACY_RESTRICTED", errors.UserPrivacyRestrictedError, None),
        ("PRIVACY_PREMIUM_REQUIRED", errors.ForbiddenError, None),
    ],
)
def test_an_error_before_the_effect_refuses_once_and_sends_nothing(
    telegram_twin: Any, name: str, error: type, seconds: int | None
) -> None:
    @played
    async def scene(clients: Clients) -> None:
        twin = clients.twin
        twin.faults.add("error", method="messages.send*", name=name, count=1)
        anna = await clients.of("Anna")
        with pytest.raises(error) as refused:
            await anna.send_message("boris_n", "one")
        assert getattr(refused.value, "seconds", None) == seconds
        assert twin.texts("Boris", "Anna") == []
        anna._flood_waited_requests.clear()
        await anna.send_message("boris_n", "two")
        assert (twin.texts("Boris", "Anna"), twin.faults.fired) == (["two"], {name: 1})

    scene(telegram_twin)


@played
async def test_an_error_after_the_effect_leaves_the_message(clients: Clients) -> None:
    clients.twin.faults.add("error", method="messages.sendMessage", name="RPC_CALL_FAIL", when="after", count=1)
    anna = await clients.of("Anna")
    with pytest.raises(errors.RpcCallFailError):
        await anna(say("one"))
    assert clients.twin.texts("Boris", "Anna") == ["one"]


@played
async def test_a_fault_concerns_one_account_when_it_says_so(clients: Clients) -> None:
    twin = clients.twin
    twin.faults.add("error", method="messages.sendMessage", name="PEER_FLOOD", account=twin.world.person("Clara").id)
    anna, clara = await clients.of("Anna"), await clients.of("Clara")
    await anna(say("one"))
    for _ in range(2):
        with pytest.raises(errors.PeerFloodError):
            await clara(say("two"))
    assert twin.faults.fired == {"PEER_FLOOD": 2}
    twin.faults.clear()
    await clara(say("three"))


@pytest.mark.parametrize(("when", "arrived"), [("before", []), ("after", ["one"])])
def test_a_cut_line_loses_the_call_or_only_its_answer(telegram_twin: Any, when: Any, arrived: list[str]) -> None:
    @played
    async def scene(clients: Clients) -> None:
        twin = clients.twin
        twin.faults.add("cut", method="messages.sendMessage", when=when, count=1)
        anna = await clients.of("Anna", auto_reconnect=False)
        with pytest.raises((ConnectionError, EOFError)):
            await anna(say("one"))
        assert (twin.texts("Boris", "Anna"), twin.faults.fired) == (arrived, {"cut": 1})

    scene(telegram_twin)


@played
async def test_a_lost_answer_leaves_the_line_and_the_effect(clients: Clients) -> None:
    clients.twin.faults.add("lost", method="messages.sendMessage", count=1)
    anna = await clients.of("Anna")
    asking = asyncio.create_task(anna(say("one")))
    await until(lambda: clients.twin.texts("Boris", "Anna") == ["one"])
    await anna(say("two"))  # the line stands
    assert not asking.done()
    asking.cancel()


@pytest.mark.parametrize(("when", "arrived"), [("before", []), ("after", ["one"])])
def test_a_slow_answer_holds_up_no_other_call(telegram_twin: Any, when: Any, arrived: list[str]) -> None:
    @played
    async def scene(clients: Clients) -> None:
        clients.twin.faults.add("slow", method="messages.sendMessage", when=when, seconds=600, count=1)
        anna = await clients.of("Anna")
        slow = asyncio.create_task(anna(say("one")))
        await until(lambda: clients.twin.faults.fired)
        await anna(functions.updates.GetStateRequest())
        assert (slow.done(), clients.twin.texts("Boris", "Anna")) == (False, arrived)
        slow.cancel()

    scene(telegram_twin)


@played
async def test_a_slow_answer_comes_in_the_end(clients: Clients) -> None:
    clients.twin.faults.add("slow", method="messages.sendMessage", seconds=0.05, count=1)
    clients.twin.faults.add("slow", method="messages.sendMessage", when="after", seconds=0.05, count=1)
    anna = await clients.of("Anna")
    await asyncio.gather(anna(say("one")), anna(say("two")))
    assert sorted(clients.twin.texts("Boris", "Anna")) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("AUTH_KEY_DUPLICATED", errors.AuthKeyDuplicatedError),
        ("SESSION_REVOKED", errors.SessionRevokedError),
        ("AUTH_KEY_UNREGISTERED", errors.AuthKeyUnregisteredError),
        ("USER_DEACTIVATED_BAN", errors.UserDeactivatedBanError),
    ],
)
def test_an_error_that_ends_the_session_ends_it_for_good(telegram_twin: Any, name: str, error: type) -> None:
    @played
    async def scene(clients: Clients) -> None:
        clients.twin.faults.add("error", method="messages.sendMessage", name=name, count=1)
        anna = await clients.of("Anna")
        with pytest.raises(error):
            await anna(say("one"))
        with pytest.raises(error):
            await anna(say("two"))
        assert clients.twin.texts("Boris", "Anna") == []

    scene(telegram_twin)


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "explode"},
        {"kind": "error"},
        {"kind": "error", "name": "NO_SUCH_ERROR"},
        {"kind": "slow", "seconds": -1},
        {"kind": "cut", "when": "sometimes"},
        {"kind": "cut", "count": 0},
        {"kind": "cut", "colour": "red"},
        {"kind": "cut", "account": "Anna"},
    ],
)
def test_a_fault_that_says_nothing_sensible_is_refused(telegram_twin: Any, wanted: dict[str, Any]) -> None:
    with pytest.raises(InvalidFaultError):
        telegram_twin.faults.add(**wanted)
