"""Who gets into a group and out of it: the rules shared by basic groups, supergroups, channels and invite links."""

from __future__ import annotations

from telethon.tl import types

from sandbox.telegram import actions, peers, views
from sandbox.telegram.errors import refused
from sandbox.telegram.model import Group, Member, Person, Tl
from sandbox.telegram.requests import Call
from sandbox.telegram.server import Server


def may_invite(call: Call, group: Group) -> None:
    """Admins with the right; everybody else unless the group's defaults forbid it. Never into a channel as a plain member."""
    member = group.members.get(call.me.id)
    if member is None:
        raise refused("CHAT_WRITE_FORBIDDEN")
    if peers.may(group, call.me.id, "invite_users"):
        return
    own = group.bans.get(call.me.id)
    closed = set(group.default_bans) | set(own.rights if own else ())
    if group.kind == "broadcast" or member.role == "admin" or "invite_users" in closed:
        raise refused("CHAT_ADMIN_REQUIRED")


def refuses_to_be_added(call: Call, person: Person) -> bool:
    """Privacy: the person lets only contacts, or nobody, add them."""
    return not person.is_bot and not views.allows(person.privacy.chat_invite, person, call.me)


def check_person(call: Call, group: Group | None, person: Person) -> None:
    """Errors of core.telegram.org/method/messages.addChatUser and channels.inviteToChannel about one person."""
    if person.deleted or person.banned:
        raise refused("INPUT_USER_DEACTIVATED")
    if person.id in call.me.blocked:
        raise refused("USER_BLOCKED")
    if call.me.id in person.blocked:
        raise refused("USER_PRIVACY_RESTRICTED")
    if group is None:
        return
    ban = group.bans.get(person.id)
    if ban is not None and "view_messages" in ban.rights:
        raise refused("USER_KICKED")
    if person.is_bot and group.kind == "broadcast":
        raise refused("USER_BOT")  # bots come into channels as admins only
    mutual = person.id in call.me.contacts and call.me.id in person.contacts
    if person.id in group.left and not mutual and not person.is_bot:
        raise refused("USER_NOT_MUTUAL_CONTACT")  # who left by themselves is brought back by friends only


def check_room(call: Call, group: Group, more: int = 1) -> None:
    settings = call.world.settings
    most = settings.chat_size_max if group.kind == "chat" else settings.megagroup_size_max
    if group.kind != "broadcast" and len(group.members) + more > most:
        raise refused("USERS_TOO_MUCH")


def let_in(server: Server, group: Group, person: Person, inviter_id: int, *, via_request: bool = False) -> None:
    group.members[person.id] = Member(person.id, inviter_id, server.world.now(), via_request=via_request)
    group.requests.pop(person.id, None)
    group.bans.pop(person.id, None)
    if person.id in group.left:
        group.left.remove(person.id)
    group.version += 1
    server.world.put_group(group)
    if group.kind != "chat":
        mark = server.world.dialog(person.id, group.peer)
        mark.read_in = max(mark.read_in, server.world.boxes[group.id].last_id)


def let_out(server: Server, group: Group, user_id: int, *, by_self: bool) -> None:
    server.world.drop_member(group, user_id)
    group.version += 1
    if by_self and user_id not in group.left:
        group.left.append(user_id)
    server.world.record("group", group)
    if group.kind != "chat":
        server.stage.group_changed(user_id, group)


def service(server: Server, who: Person, group: Group, action: Tl) -> None:
    """A service message; a channel shows none for people who come and go."""
    actions.post(server, who, group.peer, actions.Draft(action=action))


def tell_group(server: Server, group: Group, *also: int) -> None:
    """Everyone connected learns that the group changed (updateChannel, updateChatParticipants)."""
    for account in {*server.online(), *also}:
        if account in group.members:
            server.stage.group_changed(account, group)


def missing(call: Call, people: list[Person]) -> list[Tl]:
    """Those who could not be added, for `messages.invitedUsers`; or the old error when the settings say so."""
    if people and call.world.settings.privacy_refusal == "error":
        raise refused("USER_PRIVACY_RESTRICTED")
    return [types.MissingInvitee(one.id) for one in people]


def invited(call: Call, group: Group, people: list[Person]) -> Tl:
    cast = call.cast().add(group.peer, *(one.id for one in people))
    return types.messages.InvitedUsers(call.updates(cast=cast), missing(call, people))
