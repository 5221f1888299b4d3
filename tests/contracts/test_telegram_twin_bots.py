"""Bots in the loopback Telegram: buttons and their answers, menus, /start, and what bots may not do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from telethon import Button, errors, events, functions, types

from tests.contracts.telegram_client import Clients, hear, played, until


@played
async def test_a_pressed_button_reaches_the_bot_and_its_answer_comes_back(clients: Clients) -> None:
    clients.twin.write_as("Anna", "helper_bot", "/start")
    anna, bot = await clients.of("Anna"), await clients.of("helper_bot")
    presses = hear(bot, events.CallbackQuery())
    heard = hear(anna)
    await bot.send_message(clients.twin.world.person("Anna").id, "Go on?", buttons=[Button.inline("Yes", b"yes")])
    message = (await heard.next()).message
    answering = asyncio.create_task(message.click(0))
    press = await presses.next()
    assert (press.data, (await press.get_sender()).first_name, press.message_id > 0) == (b"yes", "Anna", True)
    clients.twin.add_bot("Other", "other_bot")
    with pytest.raises(errors.QueryIdInvalidError):  # another bot's question
        await (await clients.of("other_bot"))(functions.messages.SetBotCallbackAnswerRequest(press.id, 0, message="no"))
    await press.answer("Done", alert=True)
    answer = await answering
    assert (answer.message, answer.alert) == ("Done", True)
    with pytest.raises(errors.QueryIdInvalidError):
        await bot(functions.messages.SetBotCallbackAnswerRequest(press.id, 0, message="twice"))
    edited = hear(anna, events.MessageEdited())
    await press.edit("Gone on", buttons=None)
    assert (await edited.next()).message.buttons is None
    with pytest.raises(errors.MessageIdInvalidError):
        await anna(functions.messages.GetBotCallbackAnswerRequest("helper_bot", message.id, data=b"yes"))


@played
async def test_a_button_in_a_group_works_and_a_silent_bot_times_out(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("megagroup", "Team", "Anna", "helper_bot")
    anna, bot = await clients.of("Anna"), await clients.of("helper_bot")
    presses = hear(bot, events.CallbackQuery())
    await anna.get_dialogs()
    hash_of_group = twin.world.access_hash(twin.world.person("helper_bot").id, "channel", group.id)
    sent = await bot.send_message(
        types.InputPeerChannel(group.id, hash_of_group), "Go on?", buttons=[Button.inline("Yes", b"yes")]
    )
    asked = functions.messages.GetBotCallbackAnswerRequest(group.id, sent.id, data=b"yes")
    answering = asyncio.create_task(anna(asked))
    press = await presses.next()
    assert press.chat_id == int(f"-100{group.id}")
    await press.answer("ok")
    assert (await answering).message == "ok"
    with pytest.raises(errors.DataInvalidError):
        await anna(functions.messages.GetBotCallbackAnswerRequest(group.id, sent.id, data=b"no"))
    twin.world.settings.callback_timeout_s = 0.05
    with pytest.raises(errors.BotResponseTimeoutError):
        await anna(asked)


@played
async def test_the_page_can_press_buttons_too(clients: Clients) -> None:
    twin = clients.twin
    twin.write_as("Anna", "helper_bot", "/start")
    bot = await clients.of("helper_bot")

    async def answer(press: Any) -> None:
        await press.answer(f"got {press.data.decode()}")

    bot.add_event_handler(answer, events.CallbackQuery())
    await bot.send_message(twin.world.person("Anna").id, "Go on?", buttons=[Button.inline("Yes", b"yes")])
    pressed = twin.press_as("Anna", "helper_bot", 2, b"yes")
    await until(pressed.done)
    assert pressed.result().message == "got yes"


@pytest.mark.parametrize(
    ("buttons", "error"),
    [
        ([Button.inline("Yes", b"x" * 64)], None),
        ([types.KeyboardInlineButton("Yes", types.InlineButtonTypeCallback(b"x" * 65))], errors.ButtonDataInvalidError),
        ([types.KeyboardInlineButton("", types.InlineButtonTypeCallback(b"x"))], errors.ButtonTextInvalidError),
        ([types.KeyboardInlineButton("Go", types.InlineButtonTypeUrl("nowhere"))], errors.ButtonUrlInvalidError),
        ([types.KeyboardInlineButton("n", types.InlineButtonTypeCallback(b"n"))] * 101, errors.ReplyMarkupTooLongError),
    ],
    ids=["64 bytes", "65 bytes", "no text", "no URL", "101 buttons"],
)
def test_buttons_have_their_limits(telegram_twin: Any, buttons: list[Any], error: type | None) -> None:
    @played
    async def scene(clients: Clients) -> None:
        clients.twin.write_as("Anna", "helper_bot", "/start")
        bot = await clients.of("helper_bot")
        markup = types.ReplyInlineMarkup([types.KeyboardInlineButtonRow([one]) for one in buttons])
        anna = await bot.get_input_entity(clients.twin.world.person("Anna").id)
        call = functions.messages.SendMessageRequest(anna, "Go on?", reply_markup=markup)
        if error is None:
            await bot(call)
            return
        with pytest.raises(error):
            await bot(call)

    scene(telegram_twin)


@played
async def test_a_bots_menu_is_set_read_and_shown(clients: Clients) -> None:
    anna, bot = await clients.of("Anna"), await clients.of("helper_bot")
    scope = types.BotCommandScopeDefault()
    await bot(functions.bots.SetBotCommandsRequest(scope, "", [types.BotCommand("help", "Show help")]))
    assert [one.command for one in await bot(functions.bots.GetBotCommandsRequest(scope, ""))] == ["help"]
    full = (await anna(functions.users.GetFullUserRequest("helper_bot"))).full_user
    assert [one.description for one in full.bot_info.commands] == ["Show help"]
    with pytest.raises(errors.BotCommandInvalidError):
        await bot(functions.bots.SetBotCommandsRequest(scope, "", [types.BotCommand("Help!", "no")]))
    with pytest.raises(errors.BotCommandDescriptionInvalidError):
        await bot(functions.bots.SetBotCommandsRequest(scope, "", [types.BotCommand("help", "")]))
    await bot(functions.bots.ResetBotCommandsRequest(scope, ""))
    assert await bot(functions.bots.GetBotCommandsRequest(scope, "")) == []


@played
async def test_a_bot_writes_only_to_whom_wrote_to_it(clients: Clients) -> None:
    twin = clients.twin
    anna, bot = await clients.of("Anna"), await clients.of("helper_bot")
    number = twin.world.person("Anna").id
    known = types.InputPeerUser(number, twin.world.access_hash(twin.world.person("helper_bot").id, "user", number))
    with pytest.raises(errors.PeerIdInvalidError):
        await bot(functions.messages.SendMessageRequest(known, "hello"))
    heard = hear(bot)
    await anna(functions.messages.StartBotRequest("helper_bot", "helper_bot", "abc"))
    assert (await heard.next()).raw_text == "/start abc"
    await bot(functions.messages.SendMessageRequest(types.InputPeerUser(number, 0), "hello"))  # no hash needed now
    with pytest.raises(errors.StartParamInvalidError):
        await anna(functions.messages.StartBotRequest("helper_bot", "helper_bot", "no spaces"))
    with pytest.raises(errors.BotInvalidError):
        await anna(functions.messages.StartBotRequest("boris_n", "boris_n", "abc"))
    await anna(functions.contacts.BlockRequest("helper_bot"))
    with pytest.raises(errors.UserIsBlockedError):
        await bot(functions.messages.SendMessageRequest(known, "hello?"))
    other = twin.add_bot("Other", "other_bot")
    there = types.InputPeerUser(other.id, twin.world.access_hash(twin.world.person("helper_bot").id, "user", other.id))
    with pytest.raises(errors.UserIsBotError):
        await bot(functions.messages.SendMessageRequest(there, "hello"))


@pytest.mark.parametrize(
    "call",
    [
        functions.messages.GetHistoryRequest("me", 0, None, 0, 10, 0, 0, 0),
        functions.messages.GetDialogsRequest(None, 0, types.InputPeerEmpty(), 10, 0),
        functions.contacts.ImportContactsRequest([]),
        functions.messages.CreateChatRequest([], "Plans"),
        functions.messages.ImportChatInviteRequest("abc"),
        functions.messages.ReadHistoryRequest("me", 0),
        functions.contacts.SearchRequest("someone", 5),
        functions.account.GetAuthorizationsRequest(),
    ],
    ids=lambda call: type(call).__name__,
)
def test_what_only_people_may_do_is_refused_to_a_bot(telegram_twin: Any, call: Any) -> None:
    @played
    async def scene(clients: Clients) -> None:
        bot = await clients.of("helper_bot")
        with pytest.raises(errors.BotMethodInvalidError):
            await bot(call)

    scene(telegram_twin)


@played
async def test_what_only_bots_may_do_is_refused_to_people(clients: Clients) -> None:
    anna = await clients.of("Anna")
    with pytest.raises(errors.UserBotRequiredError):
        await anna(functions.messages.SetBotCallbackAnswerRequest(1, 0))


@played
async def test_a_bot_in_privacy_mode_hears_only_what_concerns_it(clients: Clients) -> None:
    twin = clients.twin
    group = twin.add_group("chat", "Team", "Anna", "helper_bot")
    bot = await clients.of("helper_bot")
    heard = hear(bot)
    for text in ("just talk", "/help", "ask @helper_bot"):
        twin.write_as("Anna", group, text)
    assert [(await heard.next()).raw_text for _ in range(2)] == ["/help", "ask @helper_bot"]
    twin.world.person("helper_bot").reads_groups = True
    twin.write_as("Anna", group, "all of it")
    assert (await heard.next()).raw_text == "all of it"


@played
async def test_buttons_of_a_person_are_left_out(clients: Clients) -> None:
    anna = await clients.of("Anna")
    await anna.send_message("boris_n", "Go on?", buttons=[Button.inline("Yes", b"yes")])
    assert clients.twin.messages("Boris", "Anna")[0].markup is None
