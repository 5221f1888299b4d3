"""users.*: people by access hash."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.errors import RpcError
from sandbox.telegram.handlers.dialogs import peer_settings
from sandbox.telegram.model import Person, Tl
from sandbox.telegram.requests import Call, method


@method(functions.users.GetUsersRequest)
def get_users(call: Call, request: Tl) -> Tl:
    """Who is named with a wrong access hash is left out, that is no error; contacts need none (hash 0)."""
    found: list[Person] = []
    for given in request.id:
        number = getattr(given, "user_id", 0)
        if number in call.me.contacts and getattr(given, "access_hash", None) == 0:
            found.append(call.world.people[number])
            continue
        try:
            found.append(peers.person(call, given))
        except RpcError:
            continue
    return [views.user(call.world, call.me, one) for one in found]


@method(functions.users.GetFullUserRequest)
def get_full_user(call: Call, request: Tl) -> Tl:
    person = peers.person(call, request.id)
    me = call.me
    common = [group for group in call.world.groups_of(person.id) if me.id in group.members]
    full = types.UserFull(
        person.id,
        peer_settings(call, person),
        views.notify_settings(),
        len(common),
        blocked=person.id in me.blocked,
        contact_require_premium=not views.allows(person.privacy.write, person, me) and not me.premium,
        about=person.about or None,
        bot_info=bot_info(person) if person.is_bot else None,
    )
    return types.users.UserFull(full, [], [views.user(call.world, me, person)])


def bot_info(bot: Person) -> Tl:
    listed = [types.BotCommand(command, text) for command, text in bot.commands.get("default|", ())]
    return types.BotInfo(user_id=bot.id, description=bot.about or None, commands=listed)
