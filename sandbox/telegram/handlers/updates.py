"""updates.*: where a message box stands, and what changed since (core.telegram.org/api/updates#recovering-gaps)."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.envelope import seconds
from sandbox.telegram.errors import refused
from sandbox.telegram.model import Box, Event, Group, Tl
from sandbox.telegram.requests import Call, method
from sandbox.telegram.stage import Cast

CHANNEL_LIMIT_MAX, CHANNEL_LIMIT_MAX_BOT = 100, 100_000
TIMEOUT_S = 30


def state(call: Call, pts: int = 0) -> Tl:
    box = call.world.boxes[call.me.id]
    unread = sum(1 for place in box.by_peer if call.world.unread(call.me.id, place))
    return types.updates.State(pts or box.pts, 0, call.world.now(), 0, unread)


@method(functions.updates.GetStateRequest)
def get_state(call: Call, request: Tl) -> Tl:
    return state(call)


def _check_pts(box: Box, pts: int) -> None:
    if pts <= 0:
        raise refused("PERSISTENT_TIMESTAMP_EMPTY")
    if pts > box.pts:
        raise refused("PERSISTENT_TIMESTAMP_INVALID")


def _since(box: Box, pts: int) -> list[Event]:
    """The changes after `pts`; the log is short against the box, so its end is looked through."""
    found = []
    for event in reversed(box.log):
        if event.pts <= pts:
            break
        found.append(event)
    return found[::-1]


def _split(call: Call, owner: int, box: Box, events: list[Event], cast: Cast) -> tuple[list[Tl], list[Tl]]:
    """New messages as they are now, and the other changes; what was deleted since is left out of the first."""
    messages, others = [], []
    for event in events:
        if event.kind == "new":
            post = box.posts.get(event.ids[0])
            if post is not None and views.sees(call.me, call.world.groups.get(owner), post):
                messages.append(views.message(call.world, call.me, owner, post))
                cast.post(post)
            continue
        update = views.update_of(call.world, call.me, owner, event)
        if update is None:
            continue
        others.append(update)
        cast.add(event.peer)
        if event.kind == "edit":
            cast.post(box.posts[event.ids[0]])
    return messages, others


def _changed_channels(call: Call, date: int) -> list[Group]:
    """Channels of the caller in which something happened since: the client must ask for each."""
    return [
        group
        for group in call.world.groups_of(call.me.id)
        if group.kind != "chat" and call.world.boxes[group.id].log and call.world.boxes[group.id].log[-1].date >= date
    ]


@method(functions.updates.GetDifferenceRequest)
def get_difference(call: Call, request: Tl) -> Tl:
    box = call.world.boxes[call.me.id]
    _check_pts(box, request.pts)
    date = seconds(request.date)
    if not date:
        raise refused("DATE_EMPTY")
    cast = call.cast()
    if request.pts < box.forgotten_pts or (request.pts_total_limit and request.pts + request.pts_total_limit < box.pts):
        return types.updates.DifferenceTooLong(box.pts)
    events = _since(box, request.pts)
    channels = _changed_channels(call, date)
    if not events and not channels:
        return types.updates.DifferenceEmpty(call.world.now(), 0)
    limit = min(request.pts_limit or call.world.settings.difference_slice, call.world.settings.difference_slice)
    part = events[:limit]
    messages, others = _split(call, call.me.id, box, part, cast)
    if len(part) < len(events):
        between = state(call, part[-1].pts)
        return types.updates.DifferenceSlice(messages, [], others, cast.chats(), cast.users(), between)
    for group in channels:
        others.append(types.UpdateChannelTooLong(group.id, call.world.boxes[group.id].pts))
        cast.add(group.peer)
    return types.updates.Difference(messages, [], others, cast.chats(), cast.users(), state(call))


@method(functions.updates.GetChannelDifferenceRequest)
def get_channel_difference(call: Call, request: Tl) -> Tl:
    group = peers.channel(call, request.channel)
    box = call.world.boxes[group.id]
    _check_pts(box, request.pts)
    most = CHANNEL_LIMIT_MAX_BOT if call.me.is_bot else CHANNEL_LIMIT_MAX
    limit = min(request.limit, most)
    if limit <= 0:
        raise refused("LIMIT_INVALID")
    if request.pts == box.pts:
        return types.updates.ChannelDifferenceEmpty(box.pts, final=True, timeout=TIMEOUT_S)
    cast = call.cast().add(group.peer)
    if request.pts < box.forgotten_pts:
        return _too_long(call, group, box, cast)
    events = _since(box, request.pts)
    part = events[:limit]
    messages, others = _split(call, group.id, box, part, cast)
    final = len(part) == len(events)
    pts = box.pts if final else part[-1].pts
    return types.updates.ChannelDifference(
        pts, messages, others, cast.chats(), cast.users(), final=final, timeout=TIMEOUT_S
    )


def _too_long(call: Call, group: Group, box: Box, cast: Cast) -> Tl:
    """The newest messages and the dialog, in place of a difference."""
    numbers = box.by_peer.get(group.peer, [])[-20:]
    messages = [views.message(call.world, call.me, group.id, box.posts[number]) for number in reversed(numbers)]
    for number in numbers:
        cast.post(box.posts[number])
    mark = call.world.dialog(call.me.id, group.peer)
    dialog = types.Dialog(
        views.peer(group.peer),
        numbers[-1] if numbers else 0,
        mark.read_in,
        mark.read_out,
        call.world.unread(call.me.id, group.peer),
        0,
        0,
        0,
        views.notify_settings(),
        pts=box.pts,
    )
    return types.updates.ChannelDifferenceTooLong(dialog, messages, cast.chats(), cast.users(), final=True)
