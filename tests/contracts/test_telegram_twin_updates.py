"""Updates of the loopback Telegram: every change has a number, and nothing is lost over lines that end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from telethon import errors, events, functions, types

from tests.contracts.telegram_client import Clients, hear, played, until


def now() -> datetime:
    return datetime.now(UTC)


async def difference(client: Any, pts: int, **more: Any) -> Any:
    return await client(functions.updates.GetDifferenceRequest(pts, now(), 0, **more))


@played
async def test_every_change_of_a_box_has_the_next_number(clients: Clients) -> None:
    anna = await clients.of("Anna")
    start = (await anna(functions.updates.GetStateRequest())).pts
    sent = await anna(functions.messages.SendMessageRequest("boris_n", "one"))
    assert (sent.updates[1].pts, sent.updates[1].pts_count) == (start + 1, 1)
    edited = await anna(functions.messages.EditMessageRequest("boris_n", sent.updates[0].id, message="two"))
    assert edited.updates[0].pts == start + 2
    clients.twin.write_as("Boris", "Anna", "three")
    clients.twin.read_as("Boris", "Anna")
    read = await anna(functions.messages.ReadHistoryRequest("boris_n", 0))
    assert (read.pts, read.pts_count) == (start + 5, 1)
    gone = await anna(functions.messages.DeleteMessagesRequest([1, 2], revoke=True))
    assert (gone.pts, gone.pts_count) == (start + 7, 2)
    assert (await anna(functions.updates.GetStateRequest())).pts == start + 7


@played
async def test_the_difference_holds_what_came_while_nobody_listened(clients: Clients) -> None:
    twin = clients.twin
    anna = await clients.of("Anna")
    start = (await anna(functions.updates.GetStateRequest())).pts
    assert isinstance(await difference(anna, start), types.updates.DifferenceEmpty)
    twin.world.settings.pushes = False
    sent = await anna.send_message("boris_n", "mine")
    for text in ("one", "two", "three"):
        twin.write_as("Boris", "Anna", text)
    twin.read_as("Boris", "Anna")
    await anna.delete_messages("boris_n", sent.id + 1)
    found = await difference(anna, start)
    assert [one.message for one in found.new_messages] == ["mine", "two", "three"]
    assert [type(one).__name__ for one in found.other_updates] == ["UpdateReadHistoryOutbox", "UpdateDeleteMessages"]
    assert {one.first_name for one in found.users} == {"Anna", "Boris"}
    assert found.state.pts == (await anna(functions.updates.GetStateRequest())).pts


@played
async def test_a_long_difference_comes_in_slices_and_a_too_long_one_not_at_all(clients: Clients) -> None:
    twin = clients.twin
    twin.world.settings.difference_slice, twin.world.settings.difference_depth = 10, 30
    anna = await clients.of("Anna", receive_updates=False)
    for number in range(25):
        twin.write_as("Boris", "Anna", f"{number}")
    pts, texts = 1, []
    while isinstance(part := await difference(anna, pts), types.updates.DifferenceSlice):
        texts += [one.message for one in part.new_messages]
        pts = part.intermediate_state.pts
    texts += [one.message for one in part.new_messages]
    assert texts == [f"{number}" for number in range(25)]
    assert isinstance(await difference(anna, 1, pts_total_limit=5), types.updates.DifferenceTooLong)
    for number in range(10):
        twin.write_as("Boris", "Anna", f"more {number}")
    found = await difference(anna, 1)
    assert isinstance(found, types.updates.DifferenceTooLong)
    assert found.pts == 36
    with pytest.raises(errors.PersistentTimestampEmptyError):
        await difference(anna, 0)
    with pytest.raises(errors.PersistentTimestampInvalidError):
        await difference(anna, 1000)


@played
async def test_a_client_with_its_stored_state_catches_up_in_order(clients: Clients) -> None:
    twin = clients.twin
    session = twin.session_string("Anna")
    first = await clients.connect(session)
    state = await first(functions.updates.GetStateRequest())
    await first.disconnect()
    for number in range(250):
        twin.write_as("Boris", "Anna", f"{number}")
    second = clients.make(session, catch_up=True, sequential_updates=True)
    second.session.set_update_state(0, state)
    heard = hear(second)
    await second.connect()
    twin.write_as("Boris", "Anna", "now")
    assert [(await heard.next()).raw_text for _ in range(251)] == [*(f"{number}" for number in range(250)), "now"]


@played
async def test_a_push_that_was_not_sent_is_found_through_the_gap_it_leaves(clients: Clients) -> None:
    twin = clients.twin
    anna = await clients.of("Anna", sequential_updates=True)
    heard = hear(anna)
    twin.faults.add("mute", account=twin.world.person("Anna").id, count=1)
    twin.write_as("Boris", "Anna", "lost")
    twin.write_as("Boris", "Anna", "seen")
    assert [(await heard.next()).raw_text for _ in range(2)] == ["lost", "seen"]


@played
async def test_a_cut_line_comes_back_and_hears_again(clients: Clients) -> None:
    twin = clients.twin
    anna = await clients.of("Anna", sequential_updates=True)
    heard = hear(anna)
    assert twin.cut("Anna") == 1
    twin.write_as("Boris", "Anna", "while away")
    await until(lambda: twin.call(twin.server.online))
    twin.write_as("Boris", "Anna", "back")
    assert [(await heard.next()).raw_text for _ in range(2)] == ["while away", "back"]


@played
async def test_a_channel_has_numbers_of_its_own(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("megagroup", "Team", "Anna", "Boris")
    anna = await clients.of("Anna")
    await anna.get_dialogs()
    mine = (await anna(functions.updates.GetStateRequest())).pts
    sent = await anna(functions.messages.SendMessageRequest(group.id, "one"))
    assert (sent.updates[1].pts, sent.updates[1].pts_count) == (2, 1)
    for text in ("two", "three"):
        twin.write_as("Boris", group, text)
    assert (await anna(functions.updates.GetStateRequest())).pts == mine

    async def since(pts: int, limit: int = 100) -> Any:
        nothing = types.ChannelMessagesFilterEmpty()
        return await anna(functions.updates.GetChannelDifferenceRequest(group.id, nothing, pts, limit))

    found = await since(1)
    assert ([one.message for one in found.new_messages], found.pts, found.final) == (["one", "two", "three"], 4, True)
    part = await since(1, 2)
    assert ([one.message for one in part.new_messages], part.pts, part.final) == (["one", "two"], 3, False)
    assert isinstance(await since(4), types.updates.ChannelDifferenceEmpty)
    twin.world.settings.difference_depth = 2
    twin.write_as("Boris", group, "four")
    late = await since(1)
    assert isinstance(late, types.updates.ChannelDifferenceTooLong)
    assert (late.dialog.pts, late.messages[0].message) == (5, "four")
    with pytest.raises(errors.PersistentTimestampEmptyError):
        await since(0)


@played
async def test_a_client_that_was_away_learns_of_its_channels_too(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("megagroup", "Team", "Anna", "Boris")
    first = await clients.of("Anna", sequential_updates=True)
    await first.get_dialogs()
    twin.write_as("Boris", group, "known")
    heard = hear(first)
    assert (await heard.next()).raw_text == "known"
    twin.cut("Anna")
    twin.write_as("Boris", group, "while away")
    await until(lambda: twin.call(twin.server.online))
    twin.write_as("Boris", group, "back")
    assert [(await heard.next()).raw_text for _ in range(2)] == ["while away", "back"]
    state = await first(functions.updates.GetStateRequest())
    asked = functions.updates.GetDifferenceRequest(state.pts, state.date - timedelta(seconds=60), 0)
    answer = await first(asked)
    assert [(type(one).__name__, one.channel_id) for one in answer.other_updates] == [
        ("UpdateChannelTooLong", group.id)
    ]


@played
async def test_two_sessions_of_one_account_both_hear_everything(clients: Clients) -> None:
    one, two = await clients.of("Anna"), await clients.of("Anna")
    heard = [hear(client) for client in (one, two)]
    clients.twin.write_as("Boris", "Anna", "both")
    assert [(await each.next()).raw_text for each in heard] == ["both", "both"]


@played
async def test_a_push_names_its_people_so_that_the_sender_is_known(clients: Clients) -> None:
    anna = await clients.of("Anna")
    heard = hear(anna, events.Raw(types.UpdateNewMessage))
    clients.twin.write_as("Boris", "Anna", "hello")
    update = await heard.next()
    sender = update._entities[clients.twin.world.person("Boris").id]
    assert sender.access_hash == clients.twin.world.access_hash(clients.twin.world.person("Anna").id, "user", sender.id)
