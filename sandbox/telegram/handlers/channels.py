"""channels.*: supergroups and channels (core.telegram.org/api/channel, core.telegram.org/api/rights)."""

from __future__ import annotations

from collections.abc import Callable

from telethon.tl import functions, types

from sandbox.telegram import membership, peers, views
from sandbox.telegram.envelope import seconds
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.account import check_username
from sandbox.telegram.handlers.chats import clean_title
from sandbox.telegram.handlers.users import bot_info
from sandbox.telegram.model import Ban, Group, GroupKind, JoinRequest, Member, Person, Tl
from sandbox.telegram.requests import Call, method

PARTICIPANTS_MAX = 200
SLOW_MODES = {0, 10, 30, 60, 300, 900, 3600}
FOREVER = 2_147_483_647
RANK_MAX = 16


@method(functions.channels.CreateChannelRequest, users_only=True)
def create_channel(call: Call, request: Tl) -> Tl:
    title = clean_title(request.title)
    kind: GroupKind = "broadcast" if request.broadcast or not request.megagroup else "megagroup"
    group = call.world.add_group(kind, title, call.me.id, about=request.about)
    membership.service(call.server, call.me, group, types.MessageActionChannelCreate(title))
    call.stage.group_changed(call.me.id, group)
    return call.updates(cast=call.cast().add(group.peer))


@method(functions.channels.InviteToChannelRequest, users_only=True)
def invite_to_channel(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    membership.may_invite(call, group)
    people = [peers.person(call, given) for given in request.users]
    if not people:
        raise refused("USERS_TOO_FEW")
    people = [one for one in people if one.id not in group.members]
    membership.check_room(call, group, len(people))
    shy = [one for one in people if membership.refuses_to_be_added(call, one)]
    welcome = [one for one in people if one not in shy]
    for one in welcome:
        membership.check_person(call, group, one)
    membership.missing(call, shy)
    for one in welcome:
        membership.let_in(call.server, group, one, call.me.id)
    if welcome and group.kind == "megagroup":
        added = types.MessageActionChatAddUser([one.id for one in welcome])
        membership.service(call.server, call.me, group, added)
    membership.tell_group(call.server, group, *(one.id for one in welcome))
    return membership.invited(call, group, shy)


@method(functions.channels.JoinChannelRequest, users_only=True)
def join_channel(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel)
    if call.me.id in group.members:
        raise refused("USER_ALREADY_PARTICIPANT")
    membership.check_room(call, group)
    if group.join_request:
        ask_to_join(call, group)
        raise refused("INVITE_REQUEST_SENT")
    return joined(call, group, types.MessageActionChatAddUser([call.me.id]))


def joined(call: Call, group: Group, action: Tl) -> Tl:
    membership.let_in(call.server, group, call.me, call.me.id)
    if group.kind != "broadcast":
        membership.service(call.server, call.me, group, action)
    membership.tell_group(call.server, group, call.me.id)
    return types.messages.ChatInviteJoinResultOk(call.updates(cast=call.cast().add(group.peer)))


def ask_to_join(call: Call, group: Group, invite_hash: str = "") -> None:
    """Put the caller on the list of who waits, and tell the admins (updatePendingJoinRequests)."""
    if call.me.id not in group.requests:
        group.requests[call.me.id] = JoinRequest(call.me.id, call.world.now(), invite_hash)
        call.world.put_group(group)
    tell_admins(call, group)


def tell_admins(call: Call, group: Group) -> None:
    waiting = list(group.requests)
    for member in group.members.values():
        if peers.may(group, member.user_id, "invite_users") and not call.world.people[member.user_id].is_bot:
            update = types.UpdatePendingJoinRequests(views.peer(group.peer), len(waiting), waiting[-3:])
            call.stage.plain(member.user_id, update, group.peer, *waiting[-3:])


@method(functions.channels.LeaveChannelRequest)
def leave_channel(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel)
    if call.me.id not in group.members:
        raise refused("USER_NOT_PARTICIPANT")
    if group.creator_id == call.me.id:
        raise refused("USER_CREATOR")
    if group.kind == "megagroup":
        membership.service(call.server, call.me, group, types.MessageActionChatDeleteUser(call.me.id))
    membership.let_out(call.server, group, call.me.id, by_self=True)
    return call.updates(cast=call.cast().add(group.peer))


@method(functions.channels.DeleteChannelRequest, users_only=True)
def delete_channel(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    if group.creator_id != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    call.world.rename_group(group, "")
    for user_id in list(group.members):
        membership.let_out(call.server, group, user_id, by_self=False)
    return call.updates(cast=call.cast().add(group.peer))


# --- looking ----------------------------------------------------------------------------------------------------------


@method(functions.channels.GetChannelsRequest)
def get_channels(call: Call, request: Tl) -> Tl:
    cast = call.cast().add(*(peers.channel(call, given).peer for given in request.id))
    return types.messages.Chats(cast.chats())


@method(functions.channels.GetFullChannelRequest)
def get_full_channel(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel)
    world, box, admin = call.world, call.world.boxes[group.id], peers.may(group, call.me.id, "invite_users")
    mark = world.dialog(call.me.id, group.peer)
    link = next((one for one in group.invites.values() if one.permanent and not one.revoked), None)
    bots = [world.people[number] for number in group.members if world.people[number].is_bot]
    kicked = sum(1 for one in group.bans.values() if "view_messages" in one.rights)
    full = types.ChannelFull(
        group.id,
        group.about,
        mark.read_in,
        mark.read_out,
        world.unread(call.me.id, group.peer),
        types.PhotoEmpty(0),
        views.notify_settings(),
        [bot_info(bot) for bot in bots],
        box.pts,
        can_view_participants=group.kind == "megagroup" or admin,
        participants_count=len(group.members),
        admins_count=sum(1 for one in group.members.values() if one.role != "member") if admin else None,
        kicked_count=kicked if admin else None,
        banned_count=len(group.bans) - kicked if admin else None,
        exported_invite=views.invite(group, link) if link and admin else None,
        migrated_from_chat_id=group.migrated_from or None,
        migrated_from_max_id=1 if group.migrated_from else None,
        slowmode_seconds=group.slow_mode_s or None,
        requests_pending=len(group.requests) or None if admin else None,
        recent_requesters=list(group.requests) or None if admin else None,
    )
    cast = call.cast().add(group.peer, *(bot.id for bot in bots), *group.requests)
    return types.messages.ChatFull(full, cast.chats(), cast.users())


def _anyone(_member: Member) -> bool:
    return True


def _named(person: Person, query: str) -> bool:
    return query.lower() in f"{person.name} {person.username}".lower()


@method(functions.channels.GetParticipantsRequest)
def get_participants(call: Call, request: Tl) -> Tl:
    """A page of members; a channel shows them to its admins alone (core.telegram.org/method/channels.getParticipants)."""
    group = peers.channel(call, request.channel)
    people, wanted = call.world.people, request.filter
    if group.kind == "broadcast" and group.members.get(call.me.id, Member(0, 0, 0)).role == "member":
        raise refused("CHAT_ADMIN_REQUIRED")
    query = getattr(wanted, "q", "") or ""
    if isinstance(wanted, types.ChannelParticipantsKicked | types.ChannelParticipantsBanned):
        kicked = isinstance(wanted, types.ChannelParticipantsKicked)
        bans = [one for one in group.bans.values()
                if ("view_messages" in one.rights) == kicked and _named(people[one.user_id], query)]  # fmt: skip
        page = bans[request.offset : request.offset + min(request.limit, PARTICIPANTS_MAX)]
        cast = call.cast().add(group.peer, *(one.user_id for one in page))
        listed = [views.banned_participant(group, one) for one in page]
        return types.channels.ChannelParticipants(len(bans), listed, cast.chats(), cast.users())
    keep: dict[type, Callable[[Member], bool]] = {
        types.ChannelParticipantsRecent: _anyone,
        types.ChannelParticipantsSearch: lambda one: _named(people[one.user_id], query),
        types.ChannelParticipantsAdmins: lambda one: one.role != "member",
        types.ChannelParticipantsBots: lambda one: people[one.user_id].is_bot,
        types.ChannelParticipantsContacts: lambda one: (
            one.user_id in call.me.contacts and _named(people[one.user_id], query)
        ),
    }
    if type(wanted) not in keep:
        raise refused("INPUT_CONSTRUCTOR_INVALID")
    members = [one for one in group.members.values() if keep[type(wanted)](one)]
    shown = members[request.offset : request.offset + max(0, min(request.limit, PARTICIPANTS_MAX))]
    cast = call.cast().add(group.peer, *(one.user_id for one in shown))
    listed = [views.channel_participant(call.me, one) for one in shown]
    return types.channels.ChannelParticipants(len(members), listed, cast.chats(), cast.users())


@method(functions.channels.GetParticipantRequest)
def get_participant(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel)
    person = peers.person(call, request.participant, "PARTICIPANT_ID_INVALID")
    if group.kind == "broadcast" and person is not call.me and not peers.may(group, call.me.id, "invite_users"):
        raise refused("CHAT_ADMIN_REQUIRED")
    member, ban = group.members.get(person.id), group.bans.get(person.id)
    if ban is not None:
        found = views.banned_participant(group, ban)
    elif member is not None:
        found = views.channel_participant(call.me, member)
    else:
        raise refused("USER_NOT_PARTICIPANT")
    cast = call.cast().add(group.peer, person.id)
    return types.channels.ChannelParticipant(found, cast.chats(), cast.users())


# --- managing ---------------------------------------------------------------------------------------------------------


def _flags(rights: Tl) -> list[str]:
    return [name for name, value in rights.to_dict().items() if value is True]


@method(functions.channels.EditAdminRequest)
def edit_admin(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    person = peers.person(call, request.user_id)
    peers.need(group, call.me.id, "add_admins")
    rights = _flags(request.admin_rights)
    mine = group.members[call.me.id]
    if mine.role != "creator" and not set(rights) <= set(mine.rights):
        raise refused("RIGHT_FORBIDDEN")
    if len(request.rank or "") > RANK_MAX:
        raise refused("ADMIN_RANK_INVALID")
    member = group.members.get(person.id)
    if member is None:
        membership.may_invite(call, group)
        if membership.refuses_to_be_added(call, person):
            raise refused("USER_PRIVACY_RESTRICTED")
        if not person.is_bot:
            membership.check_person(call, group, person)
        membership.let_in(call.server, group, person, call.me.id)
        member = group.members[person.id]
    if member.role == "creator":
        raise refused("USER_CREATOR")
    if member.role == "admin" and mine.role != "creator" and member.promoted_by != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    member.role, member.rights = ("admin", rights) if rights else ("member", [])
    member.promoted_by, member.rank = call.me.id, request.rank or ""
    call.world.put_group(group)
    membership.tell_group(call.server, group, person.id)
    return call.updates(cast=call.cast().add(group.peer, person.id))


@method(functions.channels.EditBannedRequest)
def edit_banned(call: Call, request: Tl) -> Tl:
    """Restrict a member; `view_messages` throws them out, no right at all frees them (core.telegram.org/api/rights)."""
    group = peers.channel(call, request.channel, inside=True)
    person = peers.person(call, request.participant, "PARTICIPANT_ID_INVALID")
    peers.need(group, call.me.id, "ban_users")
    member = group.members.get(person.id)
    if member is not None and (member.role == "creator" or (member.role == "admin" and group.creator_id != call.me.id)):
        raise refused("USER_ADMIN_INVALID")
    rights = _flags(request.banned_rights)
    until = seconds(request.banned_rights.until_date)
    group.bans.pop(person.id, None)
    if rights:
        until = 0 if until >= FOREVER else until
        group.bans[person.id] = Ban(person.id, call.me.id, call.world.now(), until, rights)
    thrown_out = "view_messages" in rights and member is not None
    if thrown_out:
        if group.kind == "megagroup":
            membership.service(call.server, call.me, group, types.MessageActionChatDeleteUser(person.id))
        membership.let_out(call.server, group, person.id, by_self=False)
    call.world.put_group(group)
    membership.tell_group(call.server, group)
    return call.updates(cast=call.cast().add(group.peer, person.id))


@method(functions.channels.EditTitleRequest)
def edit_title(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    if not peers.may(group, call.me.id, "change_info") and (
        group.kind == "broadcast" or "change_info" in group.default_bans
    ):
        raise refused("CHAT_ADMIN_REQUIRED")
    title = clean_title(request.title)
    if title == group.title:
        raise refused("CHAT_NOT_MODIFIED")
    group.title = title
    call.world.put_group(group)
    membership.service(call.server, call.me, group, types.MessageActionChatEditTitle(title))
    return call.updates()


@method(functions.channels.UpdateUsernameRequest, users_only=True)
def update_username(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    if group.creator_id != call.me.id:
        raise refused("CHAT_ADMIN_REQUIRED")
    if request.username == group.username:
        raise refused("USERNAME_NOT_MODIFIED")
    if request.username:
        check_username(request.username)
        if call.world.by_username(request.username) is not None:
            raise refused("USERNAME_OCCUPIED")
    call.world.rename_group(group, request.username)
    membership.tell_group(call.server, group)
    return True


@method(functions.channels.CheckUsernameRequest, users_only=True)
def is_username_free(call: Call, request: Tl) -> Tl:
    check_username(request.username)
    return call.world.by_username(request.username) is None


@method(functions.channels.ToggleSlowModeRequest, users_only=True)
def toggle_slow_mode(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    peers.need(group, call.me.id, "ban_users")
    if request.seconds not in SLOW_MODES:
        raise refused("SECONDS_INVALID")
    if request.seconds == group.slow_mode_s:
        raise refused("CHAT_NOT_MODIFIED")
    group.slow_mode_s = request.seconds
    call.world.put_group(group)
    membership.tell_group(call.server, group)
    return call.updates(cast=call.cast().add(group.peer))


@method(functions.channels.ToggleJoinRequestRequest, users_only=True)
def toggle_join_request(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    peers.need(group, call.me.id, "change_info")
    if group.join_request == request.enabled:
        raise refused("CHAT_NOT_MODIFIED")
    group.join_request = request.enabled
    call.world.put_group(group)
    membership.tell_group(call.server, group)
    return call.updates(cast=call.cast().add(group.peer))


@method(functions.messages.EditChatDefaultBannedRightsRequest)
def edit_default_banned_rights(call: Call, request: Tl) -> Tl:
    group = peers.group_of(call, request.peer)
    peers.need(group, call.me.id, "ban_users")
    rights = _flags(request.banned_rights)
    if "view_messages" in rights:
        raise refused("BANNED_RIGHTS_INVALID")
    if sorted(rights) == sorted(group.default_bans):
        raise refused("CHAT_NOT_MODIFIED")
    group.default_bans = rights
    group.version += 1
    call.world.put_group(group)
    membership.tell_group(call.server, group)
    return call.updates(cast=call.cast().add(group.peer))
