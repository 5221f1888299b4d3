"""The world's things as TL objects, as one account sees them."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from telethon.tl import types

from sandbox.telegram.model import Audience, Ban, Event, Group, Invite, Media, Member, Peer, Person, Post, Tl
from sandbox.telegram.world import World

PEERS = {"user": types.PeerUser, "chat": types.PeerChat, "channel": types.PeerChannel}
ALL_RIGHTS = ("change_info", "post_messages", "edit_messages", "delete_messages", "ban_users", "invite_users",
              "pin_messages", "add_admins", "manage_call", "other")  # fmt: skip
FOREVER = 0


def peer(peer: Peer) -> Tl:
    return PEERS[peer.kind](peer.id)


def allows(audience: Audience, owner: Person, asker: Person) -> bool:
    """Whether a privacy setting lets `asker` do it: contacts are those whom the owner has in the address book."""
    if audience == "everybody" or owner.id == asker.id:
        return True
    return audience == "contacts" and asker.id in owner.contacts


def user(world: World, viewer: Person, person: Person) -> Tl:
    """`user`, with the name the viewer gave a contact, and the phone only where privacy shows it."""
    contact = viewer.contacts.get(person.id)
    access_hash = world.access_hash(viewer.id, "user", person.id)
    if person.deleted:
        return types.User(person.id, deleted=True, access_hash=access_hash)
    shown = person.id == viewer.id or (
        not person.is_bot
        and (
            (contact is not None and contact.phone == person.phone)
            or allows(person.privacy.phone_number, person, viewer)
        )
    )
    return types.User(
        person.id,
        is_self=person.id == viewer.id,
        contact=contact is not None,
        mutual_contact=contact is not None and viewer.id in person.contacts,
        bot=person.is_bot,
        bot_chat_history=person.is_bot and person.reads_groups,
        bot_info_version=1 if person.is_bot else None,
        premium=person.premium,
        contact_require_premium=person.privacy.write != "everybody",
        access_hash=access_hash,
        first_name=contact.first_name if contact else person.first_name,
        last_name=(contact.last_name if contact else person.last_name) or None,
        username=person.username or None,
        phone=(person.phone or None) if shown else None,
        status=None if person.is_bot else types.UserStatusRecently(),
    )


# --- groups -----------------------------------------------------------------------------------------------------------


def admin_rights(member: Member) -> Tl:
    chosen = ALL_RIGHTS if member.role == "creator" else member.rights
    return types.ChatAdminRights(**dict.fromkeys(chosen, True)) if member.role != "member" else None


def banned_rights(rights: Iterable[str], until: int = FOREVER) -> Tl:
    return types.ChatBannedRights(until, **dict.fromkeys(rights, True))


def chat(world: World, viewer: Person, group: Group) -> Tl:
    """`chat` or `channel`; `chatForbidden` and `channelForbidden` for who was thrown out."""
    member = group.members.get(viewer.id)
    if group.kind == "chat":
        return _basic_chat(world, viewer, group, member)
    ban = group.bans.get(viewer.id)
    access_hash = world.access_hash(viewer.id, "channel", group.id)
    broadcast = group.kind == "broadcast"
    if ban is not None and "view_messages" in ban.rights:
        return types.ChannelForbidden(group.id, access_hash, group.title, broadcast=broadcast, megagroup=not broadcast)
    return types.Channel(
        group.id,
        group.title,
        types.ChatPhotoEmpty(),
        group.date,
        creator=group.creator_id == viewer.id,
        left=member is None,
        broadcast=broadcast,
        megagroup=not broadcast,
        slowmode_enabled=bool(group.slow_mode_s),
        has_link=bool(group.invites),
        join_request=group.join_request,
        access_hash=access_hash,
        username=group.username or None,
        admin_rights=admin_rights(member) if member else None,
        banned_rights=banned_rights(ban.rights, ban.until) if ban else None,
        default_banned_rights=banned_rights(group.default_bans),
        participants_count=len(group.members),
    )


def _basic_chat(world: World, viewer: Person, group: Group, member: Member | None) -> Tl:
    if member is None and viewer.id not in group.left:
        return types.ChatForbidden(group.id, group.title)
    target = None
    if group.migrated_to:
        hashed = world.access_hash(viewer.id, "channel", group.migrated_to)
        target = types.InputChannel(group.migrated_to, hashed)
    return types.Chat(
        group.id,
        group.title,
        types.ChatPhotoEmpty(),
        len(group.members),
        group.date,
        group.version,
        creator=group.creator_id == viewer.id,
        left=member is None,
        deactivated=group.deactivated,
        migrated_to=target,
        admin_rights=admin_rights(member) if member else None,
        default_banned_rights=banned_rights(group.default_bans),
    )


def participants(group: Group) -> Tl:
    listed = []
    for member in group.members.values():
        if member.role == "creator":
            listed.append(types.ChatParticipantCreator(member.user_id))
        elif member.role == "admin":
            listed.append(types.ChatParticipantAdmin(member.user_id, member.inviter_id, member.date))
        else:
            listed.append(types.ChatParticipant(member.user_id, member.inviter_id, member.date))
    return types.ChatParticipants(group.id, listed, group.version)


def channel_participant(viewer: Person, member: Member) -> Tl:
    if member.role == "creator":
        return types.ChannelParticipantCreator(member.user_id, admin_rights(member), member.rank or None)
    if member.role == "admin":
        return types.ChannelParticipantAdmin(
            member.user_id,
            member.promoted_by,
            member.date,
            admin_rights(member),
            can_edit=member.promoted_by == viewer.id,
            is_self=member.user_id == viewer.id,
            rank=member.rank or None,
        )
    if member.user_id == viewer.id:
        return types.ChannelParticipantSelf(
            member.user_id, member.inviter_id, member.date, via_request=member.via_request
        )
    return types.ChannelParticipant(member.user_id, member.date)


def banned_participant(group: Group, ban: Ban) -> Tl:
    return types.ChannelParticipantBanned(
        types.PeerUser(ban.user_id),
        ban.kicked_by,
        ban.date,
        banned_rights(ban.rights, ban.until),
        left=ban.user_id not in group.members,
    )


def invite(group: Group, one: Invite) -> Tl:
    waiting = sum(1 for request in group.requests.values() if request.invite_hash == one.hash)
    return types.ChatInviteExported(
        one.link,
        one.admin_id,
        one.date,
        revoked=one.revoked,
        permanent=one.permanent,
        request_needed=one.request_needed,
        expire_date=one.expire_date or None,
        usage_limit=one.usage_limit or None,
        usage=one.usage or None,
        requested=waiting or None,
        title=one.title or None,
    )


def notify_settings() -> Tl:
    return types.PeerNotifySettings()


# --- messages ---------------------------------------------------------------------------------------------------------


def media(world: World, viewer_id: int, one: Media) -> Tl:
    access_hash = world.access_hash(viewer_id, one.kind, one.file_id)
    reference = file_reference(world, one.file_id)
    if one.kind == "photo":
        sizes = [types.PhotoSize("x", one.width, one.height, one.size)]
        photo = types.Photo(one.file_id, access_hash, reference, one.date, sizes, 2)
        return types.MessageMediaPhoto(spoiler=one.spoiler, photo=photo, ttl_seconds=one.ttl_s or None)
    voice = any(isinstance(each, types.DocumentAttributeAudio) and each.voice for each in one.attributes)
    video = [each for each in one.attributes if isinstance(each, types.DocumentAttributeVideo)]
    document = types.Document(one.file_id, access_hash, reference, one.date, one.mime_type, one.size, 2, one.attributes)
    return types.MessageMediaDocument(
        spoiler=one.spoiler,
        video=bool(video) and not video[0].round_message,
        round=bool(video) and bool(video[0].round_message),
        voice=voice,
        document=document,
        ttl_seconds=one.ttl_s or None,
    )


def file_reference(world: World, file_id: int) -> bytes:
    """Good until `expire_files` (core.telegram.org/api/file_reference)."""
    return b"\x01" + hmac.digest(world.secret, f"{world.file_epoch}:{file_id}".encode(), hashlib.sha256)[:16]


def people_in_action(action: Tl) -> list[int]:
    if action is None:
        return []
    found = [*(getattr(action, "users", None) or ())]
    found += [getattr(action, name) for name in ("user_id", "inviter_id") if hasattr(action, name)]
    return found


def people_in_entities(entities: Iterable[Tl]) -> list[int]:
    return [one.user_id for one in entities if isinstance(one, types.MessageEntityMentionName)]


def message(world: World, viewer: Person, owner_id: int, post: Post) -> Tl:
    """`message` or `messageService` as it lies in a box (`owner_id`: the account's, or the channel's)."""
    number = post.copies[owner_id]
    place = world.peer_in(owner_id, post)
    out = post.sender_id == viewer.id
    group = world.groups.get(place.id) if place.kind == "channel" else None
    by_channel = group is not None and group.kind == "broadcast"
    shown_sender = None if by_channel else types.PeerUser(post.sender_id)
    header = None
    if post.reply_to:
        answered = world.posts.get(post.reply_to)
        if answered is not None and owner_id in answered.copies:
            header = types.MessageReplyHeader(reply_to_msg_id=answered.copies[owner_id])
    if post.action is not None:
        return types.MessageService(
            id=number,
            peer_id=peer(place),
            date=post.date,
            out=out,
            post=by_channel,
            from_id=shown_sender,
            reply_to=header,
            action=post.action,
        )
    forwarded = None
    if post.forward is not None:
        forwarded = types.MessageFwdHeader(
            post.forward.date, from_id=peer(post.forward.from_peer), channel_post=post.forward.channel_post or None
        )
    return types.Message(
        id=number,
        peer_id=peer(place),
        date=post.date,
        message=post.text,
        out=out,
        post=by_channel,
        silent=post.silent,
        from_id=shown_sender,
        fwd_from=forwarded,
        reply_to=header,
        media=media(world, viewer.id, post.media) if post.media else None,
        reply_markup=post.markup,
        entities=post.entities or None,
        edit_date=post.edit_date or None,
        grouped_id=post.grouped_id or None,
        views=1 if by_channel else None,
        forwards=0 if by_channel else None,
    )


def sees(viewer: Person, group: Group | None, post: Post) -> bool:
    """A bot in privacy mode gets from groups only commands and mentions (core.telegram.org/bots/features#privacy-mode)."""
    if not viewer.is_bot or viewer.reads_groups or group is None or group.kind == "broadcast":
        return True
    member = group.members.get(viewer.id)
    if post.sender_id == viewer.id or post.action is not None or (member is not None and member.role != "member"):
        return True
    return post.text.startswith("/") or (bool(viewer.username) and f"@{viewer.username}".lower() in post.text.lower())


def update_of(world: World, viewer: Person, owner_id: int, event: Event) -> Tl:
    """The numbered update for one change; None when the message is gone or hidden from the viewer."""
    pts, count, channel = event.pts, event.span, owner_id in world.groups
    if event.kind in {"new", "edit"}:
        post = world.boxes[owner_id].posts.get(event.ids[0])
        if post is None or not sees(viewer, world.groups.get(owner_id), post):
            return None
        shown = message(world, viewer, owner_id, post)
        if event.kind == "new":
            return (types.UpdateNewChannelMessage if channel else types.UpdateNewMessage)(shown, pts, count)
        return (types.UpdateEditChannelMessage if channel else types.UpdateEditMessage)(shown, pts, count)
    if event.kind == "delete":
        numbers = list(event.ids)
        if channel:
            return types.UpdateDeleteChannelMessages(owner_id, numbers, pts, count)
        return types.UpdateDeleteMessages(numbers, pts, count)
    place = types.PeerUser(viewer.id) if event.peer is None else peer(event.peer)
    if event.kind == "read_in":
        return types.UpdateReadHistoryInbox(place, event.ids[0], event.ids[1], pts, count)
    return types.UpdateReadHistoryOutbox(place, event.ids[0], pts, count)


def read_channel_inbox(world: World, viewer_id: int, channel_id: int, upto: int) -> Tl:
    unread = world.unread(viewer_id, Peer("channel", channel_id))
    return types.UpdateReadChannelInbox(channel_id, upto, unread, world.boxes[channel_id].pts)


def read_channel_outbox(channel_id: int, upto: int) -> Tl:
    return types.UpdateReadChannelOutbox(channel_id, upto)
