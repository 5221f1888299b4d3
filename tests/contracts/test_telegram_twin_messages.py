"""Private chats in the loopback Telegram: writing, repeats, edits, deletions, forwards, reads, history, dialogs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telethon import errors, events, functions, types
from telethon.tl.custom import Dialog

from tests.contracts.telegram_client import Clients, hear, played


@played
async def test_a_message_arrives_with_its_sender_and_its_formatting(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris)
    sent = await anna.send_message("boris_n", "Привет, **Борис** 😀 __и все__")
    event = await heard.next()
    assert event.raw_text == sent.raw_text == "Привет, Борис 😀 и все"
    assert (await event.get_sender()).first_name == "Anna"
    assert [type(one) for one in event.message.entities] == [types.MessageEntityBold, types.MessageEntityItalic]
    assert event.message.get_entities_text()[1][1] == "и все"
    answer = await event.reply("Да")
    replied = await (await anna.get_messages("boris_n", ids=[sent.id + 1]))[0].get_reply_message()
    assert (answer.reply_to.reply_to_msg_id, replied.id) == (event.message.id, sent.id)


@played
async def test_the_other_line_of_the_writer_learns_it_and_the_writing_one_does_not(clients: Clients) -> None:
    desk, phone = await clients.of("Anna"), await clients.of("Anna")
    here, there = hear(desk, events.NewMessage()), hear(phone, events.NewMessage())
    await desk.send_message("boris_n", "from the desk")
    event = await there.next()
    assert (event.out, event.raw_text) == (True, "from the desk")
    await desk.send_message("me", "a note")
    assert (await there.next()).raw_text == "a note"
    assert here.rest() == []


@pytest.mark.parametrize(
    ("text", "entities", "error"),
    [
        ("", None, errors.MessageEmptyError),
        (" \n ", None, errors.MessageEmptyError),
        ("a" * 4097, None, errors.MessageTooLongError),
        ("😀" * 4097, None, errors.MessageTooLongError),
        ("abc", [types.MessageEntityBold(1, 3)], "ENTITY_BOUNDS_INVALID"),
        ("abc", [types.MessageEntityBold(-1, 1)], "ENTITY_BOUNDS_INVALID"),
    ],
)
def test_a_text_that_is_empty_too_long_or_wrongly_marked_is_refused(
    telegram_twin: Any, text: str, entities: Any, error: Any
) -> None:
    @played
    async def scene(clients: Clients) -> None:
        anna = await clients.of("Anna")
        wanted = errors.EntityBoundsInvalidError if isinstance(error, str) else error
        with pytest.raises(wanted):
            await anna(functions.messages.SendMessageRequest("boris_n", text, entities=entities))

    scene(telegram_twin)


@played
async def test_the_limit_counts_characters_not_utf_16_units(clients: Clients) -> None:
    anna = await clients.of("Anna")
    await anna(functions.messages.SendMessageRequest("boris_n", "😀" * 4096))
    assert len(clients.twin.texts("Boris", "Anna")[0]) == 4096


@played
async def test_white_space_at_the_ends_goes_and_the_marks_move_along(clients: Clients) -> None:
    anna = await clients.of("Anna")
    bold = [types.MessageEntityBold(2, 6)]
    await anna(functions.messages.SendMessageRequest("boris_n", "  😀 ab  ", entities=bold))
    post = clients.twin.messages("Boris", "Anna")[0]
    assert (post.text, post.entities[0].offset, post.entities[0].length) == ("😀 ab", 0, 5)


# --- repeats ----------------------------------------------------------------------------------------------------------


def repeat(number: int = 77, text: str = "once") -> functions.messages.SendMessageRequest:
    return functions.messages.SendMessageRequest("boris_n", text, random_id=number)


@played
async def test_a_repeated_random_id_is_refused_and_sends_nothing_twice(clients: Clients) -> None:
    anna, clara = await clients.of("Anna"), await clients.of("Clara")
    await anna(repeat())
    with pytest.raises(errors.RandomIdDuplicateError):  # from another line too: it belongs to the account
        await (await clients.of("Anna"))(repeat())
    await clara(repeat())  # another account may use it
    assert clients.twin.texts("Boris", "Anna") == ["once"]
    with pytest.raises(errors.RandomIdEmptyError):
        await anna(repeat(0))


@played
async def test_a_repeated_random_id_can_be_answered_with_the_first_message(clients: Clients) -> None:
    clients.twin.world.settings.random_id = "silent"
    anna = await clients.of("Anna")
    first = await anna(repeat())
    again = await anna(repeat())
    assert [one.id for one in (first.updates[0], again.updates[0])] == [1, 1]
    assert again.updates[1].message.message == "once"
    assert clients.twin.texts("Boris", "Anna") == ["once"]


@played
async def test_an_answer_lost_with_the_line_is_asked_for_again_and_sent_once(clients: Clients) -> None:
    clients.twin.world.settings.random_id = "silent"
    clients.twin.faults.add("cut", method="messages.sendMessage", when="after", count=1)
    anna = await clients.of("Anna")
    assert (await anna.send_message("boris_n", "once")).id == 1
    assert clients.twin.texts("Boris", "Anna") == ["once"]
    assert clients.twin.faults.fired == {"cut": 1}


# --- changing ---------------------------------------------------------------------------------------------------------


@played
async def test_an_edit_reaches_the_other_side(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris, events.MessageEdited())
    sent = await anna.send_message("boris_n", "first")
    await anna.edit_message(sent, "second")
    event = await heard.next()
    assert (event.raw_text, event.message.edit_date is not None) == ("second", True)
    with pytest.raises(errors.MessageNotModifiedError):
        await anna.edit_message(sent, "second")
    with pytest.raises(errors.MessageAuthorRequiredError):
        await boris.edit_message("anna_i", event.message.id, "mine now")
    with pytest.raises(errors.MessageIdInvalidError):
        await anna.edit_message("boris_n", 999, "what?")
    with pytest.raises(errors.MessageEmptyError):
        await anna(functions.messages.EditMessageRequest("boris_n", sent.id, message=""))
    clients.twin.world.clock.ahead_s = 200_000  # type: ignore[attr-defined]  # the tests' Clock
    with pytest.raises(errors.MessageEditTimeExpiredError):
        await anna.edit_message(sent, "too late")


@played
async def test_a_deletion_is_for_oneself_or_for_both(clients: Clients) -> None:
    twin = clients.twin
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris, events.MessageDeleted())
    mine, ours = [await anna.send_message("boris_n", text) for text in ("mine", "ours")]
    assert [one.pts_count for one in await anna.delete_messages("boris_n", [mine.id], revoke=False)] == [1]
    assert (twin.texts("Anna", "Boris"), twin.texts("Boris", "Anna")) == (["ours"], ["mine", "ours"])
    await anna.delete_messages("boris_n", [ours.id, 999])
    assert len((await heard.next()).deleted_ids) == 1
    assert twin.texts("Boris", "Anna") == ["mine"]
    await boris.delete_dialog("anna_i", revoke=True)
    assert twin.texts("Boris", "Anna") == []


@played
async def test_a_forward_names_where_it_comes_from(clients: Clients) -> None:
    anna = await clients.of("Anna")
    clients.twin.write_as("Boris", "Anna", "look")
    source = (await anna.get_messages("boris_n"))[0]
    await anna.forward_messages("clara_w", source)
    await anna.forward_messages("clara_w", source, drop_author=True)
    named, bare = clients.twin.messages("Clara", "Anna")
    assert named.forward is not None
    assert (named.forward.from_peer.id, bare.forward) == (clients.twin.world.person("Boris").id, None)
    with pytest.raises(errors.MessageIdInvalidError):
        await anna.forward_messages("clara_w", 999, "boris_n")


# --- reading ----------------------------------------------------------------------------------------------------------


@played
async def test_the_writer_learns_that_a_message_was_read(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    phone = await clients.of("Boris")
    read_out, read_in = hear(anna, events.MessageRead()), hear(phone, events.MessageRead(inbox=True))
    await anna.send_message("boris_n", "one")
    last = await anna.send_message("boris_n", "two")
    dialogs = [one async for one in boris.iter_dialogs()]
    assert [(one.name, one.unread_count) for one in dialogs] == [("Anna Ivanova", 2)]
    await boris.send_read_acknowledge("anna_i")
    event = await read_out.next()
    assert (event.outbox, event.max_id) == (True, last.id)
    assert (await read_in.next()).inbox
    assert await _unread(boris) == 0
    assert (await anna.get_dialogs())[0].dialog.read_outbox_max_id == last.id
    clients.twin.write_as("Anna", "Boris", "three")
    clients.twin.read_as("Boris", "Anna")
    assert (await read_out.next()).max_id == last.id + 1


async def _unread(client: Any) -> int:
    dialogs: list[Dialog] = await client.get_dialogs()
    return int(dialogs[0].unread_count)


@played
async def test_reading_after_answering_still_tells_the_writer(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(anna, events.MessageRead())
    sent = await anna.send_message("boris_n", "question")
    await boris.send_message("anna_i", "answer")
    await boris.send_read_acknowledge("anna_i")
    assert (await heard.next()).max_id == sent.id


@played
async def test_typing_is_shown_to_the_other_side(clients: Clients) -> None:
    anna, boris = await clients.of("Anna"), await clients.of("Boris")
    heard = hear(boris, events.UserUpdate())
    async with anna.action("boris_n", "typing"):
        event = await heard.next()
    assert (event.typing, (await event.get_user()).first_name) == (True, "Anna")


@played
async def test_history_is_paged_bounded_and_searched(clients: Clients) -> None:
    twin = clients.twin
    for number in range(1, 251):
        twin.write_as("Boris", "Anna", f"message {number}")
    anna = await clients.of("Anna")
    everything = [one.raw_text async for one in anna.iter_messages("boris_n", wait_time=0)]
    assert everything == [f"message {number}" for number in range(250, 0, -1)]
    forwards = [one.id async for one in anna.iter_messages("boris_n", reverse=True, limit=120)]
    assert forwards == list(range(1, 121))
    between = [one.id async for one in anna.iter_messages("boris_n", min_id=10, max_id=14)]
    assert between == [13, 12, 11]
    found = [one.raw_text async for one in anna.iter_messages("boris_n", search="message 24")]
    assert found[0] == "message 249"
    assert len(found) == 11
    missing = await anna.get_messages("boris_n", ids=[5, 999])
    assert (missing[0].raw_text, missing[1]) == ("message 5", None)
    empty = functions.messages.SearchRequest(
        "boris_n", "", types.InputMessagesFilterEmpty(), None, None, 0, 0, 5, 0, 0, 0
    )
    with pytest.raises(errors.SearchQueryEmptyError):
        await anna(empty)


@played
async def test_dialogs_are_listed_newest_first_in_pages(clients: Clients) -> None:
    twin = clients.twin
    for number in range(130):
        twin.write_as(twin.add_person(f"Person {number}"), "Anna", "hello")
    anna = await clients.of("Anna")
    names = [one.name async for one in anna.iter_dialogs()]
    assert names == [f"Person {number}" for number in range(129, -1, -1)]
    chosen = await anna.get_input_entity(twin.world.person("Person 7").id)
    answer = await anna(functions.messages.GetPeerDialogsRequest([types.InputDialogPeer(chosen)]))
    assert (len(answer.dialogs), answer.dialogs[0].unread_count, answer.state.pts) == (1, 1, 131)


@played
async def test_messages_of_one_writer_keep_their_order_when_sent_at_once(clients: Clients) -> None:
    anna = await clients.of("Anna")
    await asyncio.gather(*(anna(repeat(number + 1, f"{number}")) for number in range(60)))
    assert clients.twin.texts("Boris", "Anna") == [f"{number}" for number in range(60)]
