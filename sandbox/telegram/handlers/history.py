"""Reading what was written: history, single messages, search (core.telegram.org/api/offsets)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.envelope import seconds
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.messages import content_of
from sandbox.telegram.model import Box, Peer, Post, Tl
from sandbox.telegram.requests import Call, method

PAGE_MAX = 100


def _any_post(_post: Post) -> bool:
    return True


_FILTERS: dict[type, Callable[[Post], bool]] = {
    types.InputMessagesFilterEmpty: _any_post,
    types.InputMessagesFilterPhotos: lambda post: post.media is not None and post.media.kind == "photo",
    types.InputMessagesFilterDocument: lambda post: post.media is not None and content_of(post.media) == "document",
    types.InputMessagesFilterVideo: lambda post: post.media is not None and content_of(post.media) == "video",
    types.InputMessagesFilterVoice: lambda post: post.media is not None and content_of(post.media) == "voice",
    types.InputMessagesFilterPhotoVideo: lambda post: (
        post.media is not None and content_of(post.media) in {"photo", "video"}
    ),
    types.InputMessagesFilterUrl: lambda post: any(
        isinstance(one, types.MessageEntityUrl | types.MessageEntityTextUrl) for one in post.entities
    ),
}


def page(newest_first: list[int], request: Tl) -> list[int]:
    """Start at `offset_id` (that one left out), shift by `add_offset`, take `limit`, keep what lies between the bounds."""
    start = 0
    if request.offset_id:
        start = next((i for i, one in enumerate(newest_first) if one < request.offset_id), len(newest_first))
    start += request.add_offset
    count = max(0, min(request.limit, PAGE_MAX))
    chosen = newest_first[max(start, 0) : max(start + count, 0)]
    return [
        one
        for one in chosen
        if (not request.max_id or one < request.max_id) and (not request.min_id or one > request.min_id)
    ]


def _answer(call: Call, place: Peer, chosen: Iterable[int], total: int) -> Tl:
    box = call.world.box_of(call.me.id, place)
    owner = place.id if place.kind == "channel" else call.me.id
    cast, messages = call.cast().add(place), []
    for number in chosen:
        post = box.posts[number]
        messages.append(views.message(call.world, call.me, owner, post))
        cast.post(post)
    return _wrapped(place, box, messages, total, cast.chats(), cast.users())


def _wrapped(place: Peer, box: Box, messages: list[Tl], total: int, chats: list[Tl], users: list[Tl]) -> Tl:
    if place.kind == "channel":
        return types.messages.ChannelMessages(box.pts, total, messages, [], chats, users)
    if len(messages) < total:
        return types.messages.MessagesSlice(total, messages, [], chats, users)
    return types.messages.Messages(messages, [], chats, users)


@method(functions.messages.GetHistoryRequest, users_only=True)
def get_history(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    box = call.world.box_of(call.me.id, place)
    numbers = box.by_peer.get(place, [])[::-1]
    total = len(numbers)
    before = seconds(request.offset_date)
    if before and not request.offset_id:  # the number is the finer of the two
        numbers = [one for one in numbers if box.posts[one].date < before]
    return _answer(call, place, page(numbers, request), total)


@method(functions.messages.SearchRequest, users_only=True)
def search(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    wanted = _FILTERS.get(type(request.filter))
    if wanted is None:
        raise refused("INPUT_FILTER_INVALID")
    sender = peers.person(call, request.from_id, "PEER_ID_INVALID") if request.from_id is not None else None
    query = request.q.lower()
    if not query and sender is None and isinstance(request.filter, types.InputMessagesFilterEmpty):
        raise refused("SEARCH_QUERY_EMPTY")
    first, last = seconds(request.min_date), seconds(request.max_date)
    box = call.world.box_of(call.me.id, place)
    found = []
    for number in reversed(box.by_peer.get(place, [])):
        post = box.posts[number]
        if query in post.text.lower() and wanted(post) and (sender is None or post.sender_id == sender.id) \
                and post.date >= first and (not last or post.date < last):  # fmt: skip
            found.append(number)
    return _answer(call, place, page(found, request), len(found))


@method(functions.messages.GetMessagesRequest)
def get_messages(call: Call, request: Tl) -> Tl:
    """Messages of private chats and basic groups by number; what is not there is messageEmpty."""
    me, box = call.me, call.world.boxes[call.me.id]
    return _by_number(call, request.id, me.id, box, None)


@method(functions.channels.GetMessagesRequest)
def get_channel_messages(call: Call, request: Tl) -> Tl:
    if not request.id:
        raise refused("MESSAGE_IDS_EMPTY")
    group = peers.channel(call, request.channel)
    return _by_number(call, request.id, group.id, call.world.boxes[group.id], group.peer)


def _by_number(call: Call, wanted: list[Tl], owner: int, box: Box, place: Peer | None) -> Tl:
    cast, messages = call.cast(), []
    for given in wanted:
        number, post = given.id, box.posts.get(given.id)
        if isinstance(given, types.InputMessageReplyTo) and post is not None:
            answered = call.world.posts.get(post.reply_to)
            number = answered.copies.get(owner, 0) if answered else 0
            post = box.posts.get(number)
        if post is None:
            messages.append(types.MessageEmpty(id=number, peer_id=views.peer(place) if place else None))
            continue
        messages.append(views.message(call.world, call.me, owner, post))
        cast.post(post)
    if place is not None:
        cast.add(place)
        return types.messages.ChannelMessages(box.pts, len(messages), messages, [], cast.chats(), cast.users())
    return types.messages.Messages(messages, [], cast.chats(), cast.users())
