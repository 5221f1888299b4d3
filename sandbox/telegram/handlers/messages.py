"""messages.*: writing, editing, deleting, forwarding, reading, typing."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import actions, peers, views, writing
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.media import from_input
from sandbox.telegram.model import Event, Forward, Media, Peer, Post, Tl
from sandbox.telegram.requests import Call, method

FORWARD_MAX = 100
ALBUM_MAX = 10


@method(functions.messages.SendMessageRequest)
def send_message(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    done = writing.earlier(call, request.random_id)
    if done is not None:
        return sent_before(call, [done])
    text, entities = writing.clean_text(call, request.message, request.entities)
    markup = writing.check_markup(call, request.reply_markup)
    reaches = writing.check_may_write(call, place)
    draft = actions.Draft(
        text,
        entities,
        markup=markup,
        reply_to=writing.reply_target(call, place, request.reply_to),
        silent=bool(request.silent),
        random_id=request.random_id,
    )
    return sent(call, place, [draft], reaches=reaches)


def sent(call: Call, place: Peer, drafts: list[actions.Draft], *, reaches: bool) -> Tl:
    """Post the drafts and answer with their numbers (updateMessageID) and the messages themselves."""
    made = [actions.post(call.server, call.me, place, draft, reaches=reaches) for draft in drafts]
    writing.wrote(call, place)
    return call.updates(*(types.UpdateMessageID(one.number, one.post.random_id) for one in made))


def sent_before(call: Call, posts: list[Post]) -> Tl:
    """The first answer again, for a random_id that was used: the message stands where it stood."""
    scene = call.stage.take(call.me.id)
    ids = []
    for post in posts:
        owner = post.peer.id if post.peer.kind == "channel" else call.me.id
        number = post.copies[owner]
        ids.append(types.UpdateMessageID(number, post.random_id))
        pts = next((one.pts for one in call.world.boxes[owner].log if one.kind == "new" and one.ids == (number,)), 1)
        again = Event(pts, 1, "new", (number,), None, post.date)
        call.told = True
        scene.cast.post(post)
        ids.append(views.update_of(call.world, call.me, owner, again))
    return call.updates(*ids)


@method(functions.messages.SendMediaRequest)
def send_media(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    done = writing.earlier(call, request.random_id)
    if done is not None:
        return sent_before(call, [done])
    text, entities = writing.clean_caption(call, request.message, request.entities)
    media = from_input(call, request.media)
    reaches = writing.check_may_write(call, place, content_of(media))
    draft = actions.Draft(
        text,
        entities,
        media,
        markup=writing.check_markup(call, request.reply_markup),
        reply_to=writing.reply_target(call, place, request.reply_to),
        silent=bool(request.silent),
        random_id=request.random_id,
    )
    return sent(call, place, [draft], reaches=reaches)


@method(functions.messages.SendMultiMediaRequest)
def send_multi_media(call: Call, request: Tl) -> Tl:
    """An album: media that were uploaded before (messages.uploadMedia), photos and videos apart from other files."""
    place = peers.resolve(call, request.peer)
    items = request.multi_media
    if not items:
        raise refused("MEDIA_EMPTY")
    if len(items) > ALBUM_MAX:
        raise refused("MULTI_MEDIA_TOO_LONG")
    before = [writing.earlier(call, item.random_id) for item in items]
    if all(before):
        return sent_before(call, [one for one in before if one is not None])
    drafts, kinds, reaches = [], set(), True
    album = call.world.next_uid()
    for item in items:
        if isinstance(item.media, types.InputMediaUploadedPhoto | types.InputMediaUploadedDocument):
            raise refused("MEDIA_INVALID")
        media = from_input(call, item.media)
        content = content_of(media)
        kinds.add("picture" if content in {"photo", "video"} else content)
        reaches = writing.check_may_write(call, place, content)
        text, entities = writing.clean_caption(call, item.message, item.entities)
        drafts.append(
            actions.Draft(
                text,
                entities,
                media,
                reply_to=writing.reply_target(call, place, request.reply_to),
                grouped_id=album if len(items) > 1 else 0,
                silent=bool(request.silent),
                random_id=item.random_id,
            )
        )
    if len(kinds) > 1:
        raise refused("MEDIA_INVALID")
    if len(items) > 1 and place.kind == "channel" and call.world.groups[place.id].slow_mode_s \
            and call.world.groups[place.id].members[call.me.id].role == "member":  # fmt: skip
        raise refused("SLOWMODE_MULTI_MSGS_DISABLED")
    return sent(call, place, drafts, reaches=reaches)


def content_of(media: Media) -> str:
    """What kind of content a group's permissions speak of."""
    if media.kind == "photo":
        return "photo"
    for one in media.attributes:
        if isinstance(one, types.DocumentAttributeVideo):
            return "video"
        if isinstance(one, types.DocumentAttributeAudio) and one.voice:
            return "voice"
    return "document"


# --- changing ---------------------------------------------------------------------------------------------------------


def own_copy(call: Call, place: Peer, number: int) -> Post:
    """A message of a chat by the number the caller knows; MESSAGE_ID_INVALID."""
    found = call.world.box_of(call.me.id, place).posts.get(number)
    if found is None or call.world.peer_in(writing.owner_of(call, place), found) != place:
        raise refused("MESSAGE_ID_INVALID")
    return found


@method(functions.messages.EditMessageRequest)
def edit_message(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    post = own_copy(call, place, request.id)
    group = call.world.groups.get(place.id)
    if post.sender_id != call.me.id and not (
        group is not None and group.kind == "broadcast" and peers.may(group, call.me.id, "edit_messages")
    ):
        raise refused("MESSAGE_AUTHOR_REQUIRED")
    if post.action is not None:
        raise refused("MESSAGE_ID_INVALID")
    if place.kind != "user" and call.me.id not in call.world.groups[place.id].members:
        raise refused("CHAT_WRITE_FORBIDDEN")
    if not call.me.is_bot and call.world.now() - post.date > call.world.settings.edit_time_limit_s:
        raise refused("MESSAGE_EDIT_TIME_EXPIRED")
    media = from_input(call, request.media) if request.media is not None else post.media
    if request.media is not None and post.media is None:
        raise refused("MEDIA_PREV_INVALID")
    text, entities = post.text, post.entities
    if request.message is not None:
        clean = writing.clean_caption if post.media else writing.clean_text
        text, entities = clean(call, request.message, request.entities)
    # An edit without buttons takes a bot's buttons away.
    markup = writing.check_markup(call, request.reply_markup)
    same = (text, [one.to_dict() for one in entities], markup and markup.to_dict(), media) == (
        post.text, [one.to_dict() for one in post.entities], post.markup and post.markup.to_dict(), post.media)  # fmt: skip
    if same:
        raise refused("MESSAGE_NOT_MODIFIED")
    post.text, post.entities, post.markup, post.media = text, entities, markup, media
    post.edit_date = call.world.now()
    actions.changed(call.server, post)
    return call.updates()


@method(functions.messages.DeleteMessagesRequest)
def delete_messages(call: Call, request: Tl) -> Tl:
    """Own boxes only; unknown numbers are passed over (core.telegram.org/method/messages.deleteMessages)."""
    box = call.world.boxes[call.me.id]
    numbers = [number for number in request.id if number in box.posts]
    for number in numbers:
        post = box.posts[number]
        if request.revoke and post.peer.kind == "chat" and post.sender_id != call.me.id:
            group = call.world.groups[post.peer.id]
            if not peers.may(group, call.me.id, "delete_messages"):
                raise refused("MESSAGE_DELETE_FORBIDDEN")
    pts, count = actions.delete(call.server, call.me.id, numbers, everywhere=bool(request.revoke))
    return call.affected(pts, count, types.messages.AffectedMessages)


@method(functions.channels.DeleteMessagesRequest)
def delete_channel_messages(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    box = call.world.boxes[group.id]
    for number in request.id:
        post = box.posts.get(number)
        if post is not None and post.sender_id != call.me.id and not peers.may(group, call.me.id, "delete_messages"):
            raise refused("MESSAGE_DELETE_FORBIDDEN")
    pts, count = actions.delete(call.server, group.id, request.id, everywhere=True)
    return call.affected(pts, count, types.messages.AffectedMessages)


@method(functions.messages.DeleteHistoryRequest, users_only=True)
def delete_history(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    if place.kind == "channel":
        raise refused("PEER_ID_INVALID")
    numbers = [
        number
        for number in call.world.boxes[call.me.id].by_peer.get(place, [])
        if not request.max_id or number <= request.max_id
    ]
    pts, count = actions.delete(call.server, call.me.id, numbers, everywhere=bool(request.revoke))
    return call.affected(pts, count, types.messages.AffectedHistory, offset=0)


@method(functions.messages.ForwardMessagesRequest)
def forward_messages(call: Call, request: Tl) -> Tl:
    source, place = peers.resolve(call, request.from_peer), peers.resolve(call, request.to_peer)
    if not request.id:
        raise refused("MESSAGE_IDS_EMPTY")
    if len(request.random_id) != len(request.id) or len(request.id) > FORWARD_MAX:
        raise refused("RANDOM_ID_INVALID")
    before = [writing.earlier(call, number) for number in request.random_id]
    if all(before):
        return sent_before(call, [one for one in before if one is not None])
    drafts, reaches = [], True
    for number, random_id in zip(request.id, request.random_id, strict=True):
        post = own_copy(call, source, number)
        if post.action is not None:
            raise refused("MESSAGE_ID_INVALID")
        reaches = writing.check_may_write(call, place, content_of(post.media) if post.media else "text")
        origin = None if request.drop_author else post.forward or _origin(call, source, post)
        drafts.append(
            actions.Draft(post.text, post.entities, post.media, forward=origin, random_id=random_id,
                          silent=bool(request.silent))
        )  # fmt: skip
    return sent(call, place, drafts, reaches=reaches)


def _origin(call: Call, source: Peer, post: Post) -> Forward:
    group = call.world.groups.get(source.id)
    if group is not None and group.kind == "broadcast":
        return Forward(post.date, group.peer, post.copies[group.id])
    return Forward(post.date, Peer("user", post.sender_id))


# --- reading and typing -----------------------------------------------------------------------------------------------


@method(functions.messages.ReadHistoryRequest, users_only=True)
def read_history(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    if place.kind == "channel":
        raise refused("PEER_ID_INVALID")
    pts, count = actions.read(call.server, call.me, place, request.max_id)
    return call.affected(pts, count, types.messages.AffectedMessages)


@method(functions.channels.ReadHistoryRequest, users_only=True)
def read_channel_history(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel, inside=True)
    actions.read(call.server, call.me, group.peer, request.max_id)
    return True


@method(functions.messages.ReadMessageContentsRequest, users_only=True)
def read_message_contents(call: Call, request: Tl) -> Tl:
    return types.messages.AffectedMessages(call.world.boxes[call.me.id].pts, 0)


@method(functions.messages.ReadMentionsRequest, users_only=True)
def read_mentions(call: Call, request: Tl) -> Tl:
    peers.resolve(call, request.peer)
    return types.messages.AffectedHistory(call.world.boxes[call.me.id].pts, 0, 0)


@method(functions.messages.SetTypingRequest)
def set_typing(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    if not writing.check_may_write(call, place) or place == Peer("user", call.me.id):
        return True
    if place.kind == "user":
        call.stage.typing(place.id, Peer("user", call.me.id), call.me, request.action)
        return True
    for account in call.server.online():
        if account != call.me.id and account in call.world.groups[place.id].members:
            call.stage.typing(account, place, call.me, request.action)
    return True
