"""What may be written where: permissions, lengths, entities, buttons, and the random_id that makes a send repeatable."""

from __future__ import annotations

from telethon.tl import types

from sandbox.telegram import peers, views
from sandbox.telegram.errors import refused
from sandbox.telegram.model import Group, Peer, Person, Post, Tl
from sandbox.telegram.requests import Call

CALLBACK_DATA_MAX = 64  # bytes; core.telegram.org/bots/api#inlinekeyboardbutton
MARKUP_BUTTONS_MAX = 100
ENTITIES_MAX = 100  # core.telegram.org/api/config: further ones are left out by clients
_MEDIA_BANS = {"photo": "send_photos", "video": "send_videos", "voice": "send_voices", "document": "send_docs"}
_MEDIA_ERRORS = {"photo": "CHAT_SEND_PHOTOS_FORBIDDEN", "video": "CHAT_SEND_VIDEOS_FORBIDDEN",
                 "voice": "CHAT_SEND_VOICES_FORBIDDEN", "document": "CHAT_SEND_MEDIA_FORBIDDEN"}  # fmt: skip


def check_may_write(call: Call, place: Peer, content: str = "text") -> bool:
    """Refuse what the vendor refuses; False when the message will reach nobody but the sender.

    `content`: text, photo, video, voice or document. Errors as in core.telegram.org/method/messages.sendMessage.
    """
    if place.kind == "user":
        return _check_person(call, call.world.people[place.id])
    _check_group(call, call.world.groups[place.id], content)
    return True


def _check_person(call: Call, other: Person) -> bool:
    me = call.me
    if other.deleted or other.banned:
        raise refused("INPUT_USER_DEACTIVATED")
    if other.id == me.id:
        return True
    if other.id in me.blocked:
        raise refused("YOU_BLOCKED_USER")
    known = Peer("user", other.id) in call.world.boxes[me.id].by_peer
    if me.is_bot:
        if other.is_bot:
            raise refused("USER_IS_BOT")
        if not known:
            raise refused("PEER_ID_INVALID")  # a bot cannot be the first to write
    if me.id in other.blocked:
        if call.world.settings.blocked == "error" or me.is_bot:
            raise refused("USER_IS_BLOCKED")
        return False
    if not views.allows(other.privacy.write, other, me) and not me.premium and not me.is_bot:
        raise refused("PRIVACY_PREMIUM_REQUIRED")
    return True


def _check_group(call: Call, group: Group, content: str) -> None:
    me = call.me
    member = group.members.get(me.id)
    if member is None or group.deactivated:
        if group.kind != "chat" and group.username and me.id not in group.left:
            raise refused("CHAT_GUEST_SEND_FORBIDDEN")
        raise refused("CHAT_WRITE_FORBIDDEN")
    if group.kind == "broadcast":
        if not peers.may(group, me.id, "post_messages"):
            raise refused("CHAT_ADMIN_REQUIRED")
        return
    if member.role != "member":
        return
    ban = group.bans.get(me.id)
    own = set(ban.rights) if ban is not None and (not ban.until or ban.until > call.world.now()) else set()
    if "send_messages" in own:
        raise refused("USER_BANNED_IN_CHANNEL")
    closed = own | set(group.default_bans)
    if "send_messages" in closed:
        raise refused("CHAT_WRITE_FORBIDDEN")
    if content == "text":
        if "send_plain" in closed:
            raise refused("CHAT_SEND_PLAIN_FORBIDDEN")
    elif "send_media" in closed or _MEDIA_BANS[content] in closed:
        raise refused("CHAT_SEND_MEDIA_FORBIDDEN" if "send_media" in closed else _MEDIA_ERRORS[content])
    if group.slow_mode_s:
        waited = call.world.clock() - call.world.last_sent.get((group.id, me.id), 0.0)
        if waited < group.slow_mode_s:
            raise refused(f"SLOWMODE_WAIT_{max(1, round(group.slow_mode_s - waited))}")


def wrote(call: Call, place: Peer) -> None:
    """Start the slow mode's clock."""
    if place.kind == "channel":
        call.world.last_sent[place.id, call.me.id] = call.world.clock()


# --- text -------------------------------------------------------------------------------------------------------------


def clean_text(call: Call, text: str, given: list[Tl] | None) -> tuple[str, list[Tl]]:
    """The text without white space at its ends, and its entities; raises MESSAGE_EMPTY, MESSAGE_TOO_LONG and the like.

    The length counts characters (code points, so that 4,096 emoji fit); entities count UTF-16 units
    (core.telegram.org/api/entities).
    """
    text, entities = trim(call, text, given)
    if not text:
        raise refused("MESSAGE_EMPTY")
    if len(text) > call.world.settings.message_length_max:
        raise refused("MESSAGE_TOO_LONG")
    return text, entities


def clean_caption(call: Call, text: str, given: list[Tl] | None) -> tuple[str, list[Tl]]:
    text, entities = trim(call, text, given)
    if len(text) > call.world.settings.caption_length_max:
        raise refused("MEDIA_CAPTION_TOO_LONG")
    return text, entities


def trim(call: Call, text: str, given: list[Tl] | None) -> tuple[str, list[Tl]]:
    units = len(text.encode("utf-16-le")) // 2
    kept = []
    for one in given or ():
        if one.offset < 0 or one.length <= 0 or one.offset + one.length > units:
            raise refused("ENTITY_BOUNDS_INVALID")
        kept.append(_entity(call, one))
    front = len(text) - len(text.lstrip())
    cut = len(text[:front].encode("utf-16-le")) // 2
    shown = text.strip()
    left = len(shown.encode("utf-16-le")) // 2
    entities = []
    for one in kept[:ENTITIES_MAX]:
        start, end = max(one.offset - cut, 0), min(one.offset + one.length - cut, left)
        if end > start:
            one.offset, one.length = start, end - start
            entities.append(one)
    return shown, entities


def _entity(call: Call, one: Tl) -> Tl:
    if isinstance(one, types.InputMessageEntityMentionName):
        person = peers.person(call, one.user_id, "ENTITY_MENTION_USER_INVALID")
        return types.MessageEntityMentionName(one.offset, one.length, person.id)
    return one


# --- buttons ----------------------------------------------------------------------------------------------------------


def check_markup(call: Call, markup: Tl) -> Tl:
    """Only bots attach buttons, and callback data has its limits; a person's are left out, as the server does."""
    if markup is None or not call.me.is_bot:
        return None
    if not isinstance(markup, types.ReplyInlineMarkup):
        return markup
    buttons = [button for row in markup.rows for button in row.buttons]
    if not buttons:
        raise refused("REPLY_MARKUP_INVALID")
    if len(buttons) > MARKUP_BUTTONS_MAX:
        raise refused("REPLY_MARKUP_TOO_LONG")
    for button in buttons:
        if not button.text:
            raise refused("BUTTON_TEXT_INVALID")
        if (
            isinstance(button.type, types.InlineButtonTypeCallback)
            and not 1 <= len(button.type.data) <= CALLBACK_DATA_MAX
        ):
            raise refused("BUTTON_DATA_INVALID")
        if isinstance(button.type, types.InlineButtonTypeUrl) and "://" not in button.type.url:
            raise refused("BUTTON_URL_INVALID")
    return markup


# --- replies and repeats ----------------------------------------------------------------------------------------------


def reply_target(call: Call, place: Peer, given: Tl) -> int:
    """The uid of the message that is answered; an unknown number is left out, as the server does."""
    number = getattr(given, "reply_to_msg_id", 0) or 0
    found = call.world.box_of(call.me.id, place).posts.get(number)
    return found.uid if found is not None and call.world.peer_in(owner_of(call, place), found) == place else 0


def owner_of(call: Call, place: Peer) -> int:
    """Whose box holds a chat as the caller sees it."""
    return place.id if place.kind == "channel" else call.me.id


def earlier(call: Call, random_id: int) -> Post | None:
    """What was already sent with this random_id; None for a new one.

    The real server refuses a repeat with RANDOM_ID_DUPLICATE (core.telegram.org/method/messages.sendMessage);
    `settings.random_id = "silent"` answers the first message again.
    """
    if not random_id:
        raise refused("RANDOM_ID_EMPTY")
    uid = call.world.random_ids.get((call.me.id, random_id))
    if uid is None:
        return None
    first = call.world.posts[uid]
    if call.world.settings.random_id == "duplicate" or owner_of(call, first.peer) not in first.copies:
        raise refused("RANDOM_ID_DUPLICATE")
    return first
