"""Bots: pressed buttons and their answers, menus of commands, /start (core.telegram.org/api/bots/buttons, .../commands)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Coroutine
from typing import Any

from telethon.tl import functions, types

from sandbox.telegram import actions, membership, peers, views, writing
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.messages import own_copy, sent, sent_before
from sandbox.telegram.model import Peer, Person, Post, Tl
from sandbox.telegram.requests import Call, method
from sandbox.telegram.server import Server

COMMAND = re.compile(r"[a-z0-9_]{1,32}")
START_PARAM = re.compile(r"[A-Za-z0-9_-]{0,64}")
COMMANDS_MAX, DESCRIPTION_MAX, ANSWER_MAX = 100, 256, 200


# --- buttons ----------------------------------------------------------------------------------------------------------


def press(server: Server, person: Person, post: Post, data: bytes) -> asyncio.Future[Tl]:
    """Send a pressed button to its bot (updateBotCallbackQuery); the future gets `messages.botCallbackAnswer`."""
    query_id = secrets.randbits(62)
    asked: asyncio.Future[Tl] = asyncio.get_running_loop().create_future()
    server.queries[query_id] = (post.sender_id, asked)
    bot = server.world.people[post.sender_id]
    owner = post.peer.id if post.peer.kind == "channel" else bot.id
    place = server.world.peer_in(bot.id, post)
    update = types.UpdateBotCallbackQuery(
        query_id, person.id, views.peer(place), post.copies[owner], post.uid, data=data
    )
    server.stage.plain(bot.id, update, person.id, place)
    asked.add_done_callback(lambda _done: server.queries.pop(query_id, None))
    return asked


@method(functions.messages.GetBotCallbackAnswerRequest, users_only=True)
def get_bot_callback_answer(call: Call, request: Tl) -> Coroutine[Any, Any, Tl]:
    post = own_copy(call, peers.resolve(call, request.peer), request.msg_id)
    buttons = [button for row in getattr(post.markup, "rows", ()) for button in row.buttons]
    if not call.world.people[post.sender_id].is_bot or not buttons:
        raise refused("MESSAGE_ID_INVALID")
    if request.data not in [getattr(button.type, "data", None) for button in buttons]:
        raise refused("DATA_INVALID")
    return _answered(press(call.server, call.me, post, request.data), call.world.settings.callback_timeout_s)


async def _answered(asked: asyncio.Future[Tl], timeout_s: float) -> Tl:
    """A bot that says nothing: BOT_RESPONSE_TIMEOUT (core.telegram.org/method/messages.getBotCallbackAnswer)."""
    try:
        async with asyncio.timeout(timeout_s):
            return await asked
    except TimeoutError:
        raise refused("BOT_RESPONSE_TIMEOUT") from None


@method(functions.messages.SetBotCallbackAnswerRequest, bots_only=True)
def set_bot_callback_answer(call: Call, request: Tl) -> Tl:
    bot_id, asked = call.server.queries.get(request.query_id, (0, None))
    if asked is None or bot_id != call.me.id or asked.done():
        raise refused("QUERY_ID_INVALID")
    if len(request.message or "") > ANSWER_MAX:
        raise refused("MESSAGE_TOO_LONG")
    if request.url and "://" not in request.url:
        raise refused("URL_INVALID")
    asked.set_result(
        types.messages.BotCallbackAnswer(
            request.cache_time,
            alert=request.alert,
            has_url=bool(request.url) or None,
            message=request.message or None,
            url=request.url or None,
        )
    )
    return True


# --- commands ---------------------------------------------------------------------------------------------------------


def _scope(call: Call, scope: Tl) -> str:
    """A name for a scope; a chat's must be one the bot can address."""
    word = type(scope).__name__.removeprefix("BotCommandScope").lower()
    if hasattr(scope, "peer"):
        word += f":{peers.resolve(call, scope.peer).key}"
    if hasattr(scope, "user_id"):
        word += f":{peers.person(call, scope.user_id).id}"
    return word


@method(functions.bots.SetBotCommandsRequest, bots_only=True)
def set_bot_commands(call: Call, request: Tl) -> Tl:
    if len(request.commands) > COMMANDS_MAX:
        raise refused("BOT_COMMANDS_TOO_MUCH")
    for one in request.commands:
        if not COMMAND.fullmatch(one.command):
            raise refused("BOT_COMMAND_INVALID")
        if not 1 <= len(one.description) <= DESCRIPTION_MAX:
            raise refused("BOT_COMMAND_DESCRIPTION_INVALID")
    key = f"{_scope(call, request.scope)}|{request.lang_code}"
    call.me.commands[key] = [(one.command, one.description) for one in request.commands]
    call.world.put_person(call.me)
    return True


@method(functions.bots.ResetBotCommandsRequest, bots_only=True)
def reset_bot_commands(call: Call, request: Tl) -> Tl:
    call.me.commands.pop(f"{_scope(call, request.scope)}|{request.lang_code}", None)
    call.world.put_person(call.me)
    return True


@method(functions.bots.GetBotCommandsRequest, bots_only=True)
def get_bot_commands(call: Call, request: Tl) -> Tl:
    listed = call.me.commands.get(f"{_scope(call, request.scope)}|{request.lang_code}", [])
    return [types.BotCommand(command, description) for command, description in listed]


@method(functions.messages.StartBotRequest, users_only=True)
def start_bot(call: Call, request: Tl) -> Tl:
    """`/start` with its parameter, privately or in a group the bot is added to."""
    bot = peers.person(call, request.bot, "BOT_INVALID")
    if not bot.is_bot:
        raise refused("BOT_INVALID")
    place = peers.resolve(call, request.peer)
    if not START_PARAM.fullmatch(request.start_param):
        raise refused("START_PARAM_INVALID")
    done = writing.earlier(call, request.random_id)
    if done is not None:
        return sent_before(call, [done])
    if place.kind != "user" and bot.id not in call.world.groups[place.id].members:
        membership.may_invite(call, call.world.groups[place.id])
        membership.let_in(call.server, call.world.groups[place.id], bot, call.me.id)
    place = Peer("user", bot.id) if place.kind == "user" else place
    reaches = writing.check_may_write(call, place)
    text = f"/start {request.start_param}".strip()
    command = types.MessageEntityBotCommand(0, len("/start"))
    draft = actions.Draft(text, [command], random_id=request.random_id)
    return sent(call, place, [draft], reaches=reaches)
