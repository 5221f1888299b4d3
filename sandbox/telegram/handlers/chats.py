"""Basic groups: messages.createChat and what follows (core.telegram.org/api/channel#basic-groups)."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import membership, peers, views
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.users import bot_info
from sandbox.telegram.model import Group, Member, Tl
from sandbox.telegram.requests import Call, method

TITLE_MAX = 128
DEFAULT_ADMIN_RIGHTS = [
    "change_info",
    "delete_messages",
    "ban_users",
    "invite_users",
    "pin_messages",
    "manage_call",
    "other",
]


def clean_title(title: str) -> str:
    title = title.strip()[:TITLE_MAX]
    if not title:
        raise refused("CHAT_TITLE_EMPTY")
    return title


@method(functions.messages.CreateChatRequest, users_only=True)
def create_chat(call: Call, request: Tl) -> Tl:
    title = clean_title(request.title)
    people = list({one.id: one for one in (peers.person(call, given) for given in request.users)}.values())
    people = [one for one in people if one is not call.me]
    if not people:
        raise refused("USERS_TOO_FEW")
    if len(people) + 1 > call.world.settings.chat_size_max:
        raise refused("USERS_TOO_MUCH")
    shy = [one for one in people if membership.refuses_to_be_added(call, one)]
    welcome = [one for one in people if one not in shy]
    for one in welcome:
        membership.check_person(call, None, one)
    membership.missing(call, shy)
    group = call.world.add_group("chat", title, call.me.id)
    for one in welcome:
        membership.let_in(call.server, group, one, call.me.id)
    created = types.MessageActionChatCreate(title, [call.me.id, *(one.id for one in welcome)])
    membership.service(call.server, call.me, group, created)
    membership.tell_group(call.server, group)
    return membership.invited(call, group, shy)


@method(functions.messages.AddChatUserRequest, users_only=True)
def add_chat_user(call: Call, request: Tl) -> Tl:
    group = peers.basic_group(call, request.chat_id)
    person = peers.person(call, request.user_id)
    membership.may_invite(call, group)
    if person.id in group.members:
        raise refused("USER_ALREADY_PARTICIPANT")
    membership.check_person(call, group, person)
    membership.check_room(call, group)
    if membership.refuses_to_be_added(call, person):
        return membership.invited(call, group, [person])
    membership.let_in(call.server, group, person, call.me.id)
    membership.service(call.server, call.me, group, types.MessageActionChatAddUser([person.id]))
    membership.tell_group(call.server, group)
    return membership.invited(call, group, [])


@method(functions.messages.DeleteChatUserRequest)
def delete_chat_user(call: Call, request: Tl) -> Tl:
    """Leave, or throw someone out: the creator and admins anybody below them, a member those they invited."""
    group = peers.basic_group(call, request.chat_id)
    person = peers.person(call, request.user_id)
    target = group.members.get(person.id)
    if target is None:
        raise refused("USER_NOT_PARTICIPANT")
    by_self = person.id == call.me.id
    if not by_self:
        _check_may_remove(call, group, target)
    membership.service(call.server, call.me, group, types.MessageActionChatDeleteUser(person.id))
    membership.let_out(call.server, group, person.id, by_self=by_self)
    membership.tell_group(call.server, group)
    return call.updates(cast=call.cast().add(group.peer, person.id))


def _check_may_remove(call: Call, group: Group, target: Member) -> None:
    me = group.members[call.me.id]
    strength = {"creator": 2, "admin": 1, "member": 0}
    if strength[me.role] > strength[target.role]:
        return
    if me.role == "member" and target.role == "member" and target.inviter_id == me.user_id:
        return
    raise refused("CHAT_ADMIN_REQUIRED")


@method(functions.messages.EditChatTitleRequest)
def edit_chat_title(call: Call, request: Tl) -> Tl:
    group = peers.basic_group(call, request.chat_id)
    title = clean_title(request.title)
    if "change_info" in group.default_bans:
        peers.need(group, call.me.id, "change_info")
    if title == group.title:
        raise refused("CHAT_NOT_MODIFIED")
    group.title = title
    group.version += 1
    call.world.put_group(group)
    membership.service(call.server, call.me, group, types.MessageActionChatEditTitle(title))
    return call.updates()


@method(functions.messages.EditChatAdminRequest, users_only=True)
def edit_chat_admin(call: Call, request: Tl) -> Tl:
    group = peers.basic_group(call, request.chat_id)
    person = peers.person(call, request.user_id)
    if group.creator_id != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    member = group.members.get(person.id)
    if member is None:
        raise refused("USER_NOT_PARTICIPANT")
    if member.role == "creator":
        raise refused("USER_CREATOR")
    member.role = "admin" if request.is_admin else "member"
    member.rights = list(DEFAULT_ADMIN_RIGHTS) if request.is_admin else []
    member.promoted_by = call.me.id
    group.version += 1
    call.world.put_group(group)
    membership.tell_group(call.server, group)
    return True


@method(functions.messages.GetFullChatRequest)
def get_full_chat(call: Call, request: Tl) -> Tl:
    group = call.world.groups.get(request.chat_id)
    if group is None or group.kind != "chat":
        raise refused("CHAT_ID_INVALID")
    if not peers.was_in(group, call.me.id):
        raise refused("PEER_ID_INVALID")
    if call.me.id in group.members:
        listed = views.participants(group)
        cast = call.cast().add(group.peer, *group.members)
    else:
        listed, cast = types.ChatParticipantsForbidden(group.id), call.cast().add(group.peer)
    link = next((one for one in group.invites.values() if one.permanent and not one.revoked), None)
    bots = [call.world.people[number] for number in group.members if call.world.people[number].is_bot]
    full = types.ChatFull(
        group.id,
        group.about,
        listed,
        views.notify_settings(),
        exported_invite=views.invite(group, link) if link and peers.may(group, call.me.id, "invite_users") else None,
        bot_info=[bot_info(bot) for bot in bots] or None,
        requests_pending=len(group.requests) or None,
        recent_requesters=list(group.requests) or None,
    )
    return types.messages.ChatFull(full, cast.chats(), cast.users())


@method(functions.messages.GetChatsRequest)
def get_chats(call: Call, request: Tl) -> Tl:
    cast = call.cast()
    for number in request.id:
        group = call.world.groups.get(number)
        if group is None or group.kind != "chat":
            raise refused("CHAT_ID_INVALID")
        if not peers.was_in(group, call.me.id):
            raise refused("PEER_ID_INVALID")
        cast.add(group.peer)
    return types.messages.Chats(cast.chats())


@method(functions.messages.DeleteChatRequest, users_only=True)
def delete_chat(call: Call, request: Tl) -> Tl:
    group = peers.basic_group(call, request.chat_id)
    if group.creator_id != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    for user_id in list(group.members):
        membership.let_out(call.server, group, user_id, by_self=False)
    group.deactivated = True
    call.world.put_group(group)
    return True


@method(functions.messages.MigrateChatRequest, users_only=True)
def migrate_chat(call: Call, request: Tl) -> Tl:
    """The group becomes a supergroup with a new id; the old one stays, closed (core.telegram.org/api/channel#migration)."""
    old = peers.basic_group(call, request.chat_id)
    if old.creator_id != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    new = call.world.add_group("megagroup", old.title, old.creator_id, about=old.about)
    for member in old.members.values():
        new.members[member.user_id] = member
    new.default_bans, new.migrated_from = list(old.default_bans), old.id
    call.world.put_group(new)
    membership.service(call.server, call.me, old, types.MessageActionChatMigrateTo(new.id))
    old.migrated_to, old.deactivated = new.id, True
    for link in old.invites.values():
        link.revoked = True
    call.world.put_group(old)
    membership.service(call.server, call.me, new, types.MessageActionChannelMigrateFrom(old.title, old.id))
    membership.tell_group(call.server, new)
    return call.updates(cast=call.cast().add(old.peer, new.peer))
