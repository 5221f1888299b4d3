"""Whom a request means: input peers with access hashes, as the account that asks knows them (core.telegram.org/api/peers)."""

from __future__ import annotations

from telethon.tl import types

from sandbox.telegram.errors import refused
from sandbox.telegram.model import Group, Peer, Person, Tl
from sandbox.telegram.requests import Call
from sandbox.telegram.world import World


def resolve(call: Call, given: Tl) -> Peer:
    """The chat an `inputPeer...` names.

    Raises PEER_ID_INVALID for a person with a wrong access hash or a basic group the account never was in,
    CHANNEL_INVALID for a wrong hash of a channel, CHANNEL_PRIVATE for a private one the account is not in.
    """
    match given:
        case types.InputPeerSelf():
            return Peer("user", call.me.id)
        case types.InputPeerUser() | types.InputPeerUserFromMessage():
            return Peer("user", _person(call, given, "PEER_ID_INVALID").id)
        case types.InputPeerChat():
            group = call.world.groups.get(given.chat_id)
            if group is None or group.kind != "chat" or not was_in(group, call.me.id):
                raise refused("PEER_ID_INVALID")
            return group.peer
        case types.InputPeerChannel():
            return channel(call, given).peer
    raise refused("PEER_ID_INVALID")


def person(call: Call, given: Tl, error: str = "USER_ID_INVALID") -> Person:
    """The person an `inputUser...` or `inputPeerUser...` names; a wrong access hash is that error."""
    if isinstance(given, types.InputUserSelf | types.InputPeerSelf):
        return call.me
    if not isinstance(
        given,
        types.InputUser | types.InputPeerUser | types.InputUserFromMessage | types.InputPeerUserFromMessage,
    ):
        raise refused(error)
    return _person(call, given, error)


def _person(call: Call, given: Tl, error: str) -> Person:
    world, me = call.world, call.me
    found = world.people.get(given.user_id)
    if found is None:
        raise refused(error)
    if isinstance(given, types.InputPeerUserFromMessage | types.InputUserFromMessage):
        place = resolve(call, given.peer)
        post = world.box_of(me.id, place).posts.get(given.msg_id)
        if post is None or post.sender_id != found.id:
            raise refused(error)
        return found
    if given.access_hash != world.access_hash(me.id, "user", found.id) and not met_by_bot(world, me, found):
        raise refused(error)
    return found


def met_by_bot(world: World, bot: Person, found: Person) -> bool:
    """Bots need no access hash of people who wrote to them or share a group (core.telegram.org/api/bots)."""
    if not bot.is_bot:
        return False
    return Peer("user", found.id) in world.boxes[bot.id].by_peer or world.share_group(bot.id, found.id)


def was_in(group: Group, user_id: int) -> bool:
    return user_id in group.members or user_id in group.left or user_id in group.bans


def basic_group(call: Call, chat_id: int) -> Group:
    """A basic group the caller is in; CHAT_ID_INVALID for another number, PEER_ID_INVALID for one never joined."""
    group = call.world.groups.get(chat_id)
    if group is None or group.kind != "chat":
        raise refused("CHAT_ID_INVALID")
    if not was_in(group, call.me.id):
        raise refused("PEER_ID_INVALID")
    if group.deactivated or call.me.id not in group.members:
        raise refused("CHAT_WRITE_FORBIDDEN")
    return group


def channel(call: Call, given: Tl, *, inside: bool = False) -> Group:
    """A supergroup or channel the caller may look at; with `inside` only one the caller is a member of."""
    if not isinstance(given, types.InputChannel | types.InputPeerChannel):
        raise refused("CHANNEL_INVALID")
    group = call.world.groups.get(given.channel_id)
    if group is None or group.kind == "chat":
        raise refused("CHANNEL_INVALID")
    member = call.me.id in group.members
    known = given.access_hash == call.world.access_hash(call.me.id, "channel", group.id)
    if not known and not (call.me.is_bot and member):
        raise refused("CHANNEL_INVALID")
    ban = group.bans.get(call.me.id)
    if ban is not None and "view_messages" in ban.rights:
        raise refused("CHANNEL_PRIVATE")
    if not member and (inside or not group.username):
        raise refused("CHANNEL_PRIVATE")
    return group


def group_of(call: Call, given: Tl) -> Group:
    """The group or channel an input peer names, the caller inside."""
    if isinstance(given, types.InputPeerChannel | types.InputChannel):
        return channel(call, given, inside=True)
    if isinstance(given, types.InputPeerChat):
        return basic_group(call, given.chat_id)
    raise refused("PEER_ID_INVALID")


def may(group: Group, user_id: int, right: str) -> bool:
    """Whether a member holds an admin's right; the creator holds all."""
    member = group.members.get(user_id)
    return member is not None and (member.role == "creator" or (member.role == "admin" and right in member.rights))


def need(group: Group, user_id: int, right: str) -> None:
    if not may(group, user_id, right):
        raise refused("CHAT_ADMIN_REQUIRED")
