"""Invite links and who asks to join (core.telegram.org/api/invites)."""

from __future__ import annotations

import secrets

from telethon.tl import functions, types

from sandbox.telegram import membership, peers, views
from sandbox.telegram.envelope import seconds
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.channels import ask_to_join, joined, tell_admins
from sandbox.telegram.model import Group, Invite, Person, Tl
from sandbox.telegram.requests import Call, method

USAGE_MAX = 99_999


def _admin_of(call: Call, given: Tl) -> Group:
    group = peers.group_of(call, given)
    peers.need(group, call.me.id, "invite_users")
    return group


def _link(group: Group, link: str) -> Invite:
    found = group.invites.get(link.rpartition("+")[2] or link.rpartition("/")[2])
    if found is None:
        raise refused("INVITE_HASH_INVALID")
    return found


def _check_limits(call: Call, expire: int, usage: int, *, request_needed: bool) -> None:
    if expire and expire <= call.world.now():
        raise refused("EXPIRE_DATE_INVALID")
    if usage < 0 or usage > USAGE_MAX or (usage and request_needed):
        raise refused("USAGE_LIMIT_INVALID")


@method(functions.messages.ExportChatInviteRequest)
def export_chat_invite(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    expire = seconds(request.expire_date)
    _check_limits(call, expire, request.usage_limit or 0, request_needed=bool(request.request_needed))
    permanent = not (expire or request.usage_limit or request.title or request.request_needed)
    if permanent:
        for old in group.invites.values():
            if old.permanent and old.admin_id == call.me.id:
                old.revoked = True
    made = Invite(
        secrets.token_urlsafe(12),
        call.me.id,
        call.world.now(),
        request.title or "",
        expire,
        request.usage_limit or 0,
        request_needed=bool(request.request_needed),
        permanent=permanent,
    )
    group.invites[made.hash] = made
    call.world.put_group(group)
    return views.invite(group, made)


@method(functions.messages.EditExportedChatInviteRequest)
def edit_exported_chat_invite(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    one = _link(group, request.link)
    if one.revoked:
        raise refused("INVITE_HASH_EXPIRED")
    if request.revoked:
        one.revoked = True
    if request.request_needed is not None:
        one.request_needed = request.request_needed
    if request.usage_limit is not None:
        one.usage_limit = request.usage_limit
    if request.expire_date is not None:
        one.expire_date = seconds(request.expire_date)
    if request.title is not None:
        one.title = request.title
    _check_limits(call, 0, one.usage_limit, request_needed=one.request_needed)
    call.world.put_group(group)
    return types.messages.ExportedChatInvite(views.invite(group, one), call.cast().add(one.admin_id).users())


@method(functions.messages.DeleteExportedChatInviteRequest, users_only=True)
def delete_exported_chat_invite(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    one = _link(group, request.link)
    if not one.revoked:
        raise refused("INVITE_REVOKED_MISSING")
    del group.invites[one.hash]
    call.world.put_group(group)
    return True


@method(functions.messages.GetExportedChatInvitesRequest, users_only=True)
def get_exported_chat_invites(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    admin = peers.person(call, request.admin_id, "ADMIN_ID_INVALID")
    chosen = [one for one in group.invites.values()
              if one.admin_id == admin.id and one.revoked == bool(request.revoked)]  # fmt: skip
    listed = [views.invite(group, one) for one in chosen[: request.limit]]
    return types.messages.ExportedChatInvites(len(chosen), listed, call.cast().add(admin.id).users())


def _open(call: Call, invite_hash: str) -> tuple[Group, Invite]:
    """The group a link leads to; INVITE_HASH_EMPTY, INVITE_HASH_INVALID, INVITE_HASH_EXPIRED."""
    if not invite_hash:
        raise refused("INVITE_HASH_EMPTY")
    group = call.world.group_by_invite(invite_hash)
    if group is None or invite_hash not in group.invites:
        raise refused("INVITE_HASH_INVALID")
    one = group.invites[invite_hash]
    over = one.expire_date and one.expire_date <= call.world.now()
    used_up = one.usage_limit and one.usage >= one.usage_limit
    ban = group.bans.get(call.me.id)
    if one.revoked or over or used_up or group.deactivated or (ban is not None and "view_messages" in ban.rights):
        raise refused("INVITE_HASH_EXPIRED")
    return group, one


@method(functions.messages.CheckChatInviteRequest, users_only=True)
def check_chat_invite(call: Call, request: Tl) -> Tl:
    group, one = _open(call, request.hash)
    if call.me.id in group.members:
        return types.ChatInviteAlready(views.chat(call.world, call.me, group))
    channel = group.kind != "chat"
    return types.ChatInvite(
        group.title,
        types.PhotoEmpty(0),
        len(group.members),
        0,
        channel=channel,
        broadcast=group.kind == "broadcast",
        megagroup=group.kind == "megagroup",
        public=bool(group.username),
        request_needed=one.request_needed,
        about=group.about or None,
    )


@method(functions.messages.ImportChatInviteRequest, users_only=True)
def import_chat_invite(call: Call, request: Tl) -> Tl:
    group, one = _open(call, request.hash)
    if call.me.id in group.members:
        raise refused("USER_ALREADY_PARTICIPANT")
    membership.check_room(call, group)
    if one.request_needed:
        ask_to_join(call, group, one.hash)
        raise refused("INVITE_REQUEST_SENT")
    one.usage += 1
    return joined(call, group, types.MessageActionChatJoinedByLink(one.admin_id))


# --- requests to join -------------------------------------------------------------------------------------------------


@method(functions.messages.GetChatInviteImportersRequest, users_only=True)
def get_chat_invite_importers(call: Call, request: Tl) -> Tl:
    """Who waits to be let in (`requested`); the twin keeps no list of who came by which link."""
    group = _admin_of(call, request.peer)
    if not request.requested:
        return types.messages.ChatInviteImporters(0, [], [])
    chosen = list(group.requests.values())
    if request.link:
        one = _link(group, request.link)
        chosen = [waiting for waiting in chosen if waiting.invite_hash == one.hash]
    page = chosen[: request.limit]
    listed = [types.ChatInviteImporter(one.user_id, one.date, requested=True) for one in page]
    return types.messages.ChatInviteImporters(
        len(chosen), listed, call.cast().add(*(one.user_id for one in page)).users()
    )


@method(functions.messages.HideChatJoinRequestRequest)
def hide_chat_join_request(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    person = peers.person(call, request.user_id)
    if person.id in group.members:
        raise refused("USER_ALREADY_PARTICIPANT")
    if person.id not in group.requests:
        raise refused("HIDE_REQUESTER_MISSING")
    _decide(call, group, person, approved=bool(request.approved))
    return call.updates(cast=call.cast().add(group.peer, person.id))


@method(functions.messages.HideAllChatJoinRequestsRequest, users_only=True)
def hide_all_chat_join_requests(call: Call, request: Tl) -> Tl:
    group = _admin_of(call, request.peer)
    chosen = _link(group, request.link).hash if request.link else ""
    for waiting in list(group.requests.values()):
        if not chosen or waiting.invite_hash == chosen:
            _decide(call, group, call.world.people[waiting.user_id], approved=bool(request.approved))
    return call.updates(cast=call.cast().add(group.peer))


def _decide(call: Call, group: Group, person: Person, *, approved: bool) -> None:
    waiting = group.requests.pop(person.id)
    if approved:
        membership.check_room(call, group)
        one = group.invites.get(waiting.invite_hash)
        if one is not None:
            one.usage += 1
        membership.let_in(call.server, group, person, call.me.id, via_request=True)
        if group.kind != "broadcast":
            membership.service(call.server, person, group, types.MessageActionChatJoinedByRequest())
        membership.tell_group(call.server, group, person.id)
    call.world.put_group(group)
    tell_admins(call, group)
