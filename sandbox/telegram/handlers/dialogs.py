"""The list of chats, and what a client shows above one."""

from __future__ import annotations

from telethon.tl import functions, types

from sandbox.telegram import peers, views
from sandbox.telegram.envelope import seconds
from sandbox.telegram.errors import refused
from sandbox.telegram.handlers.updates import state
from sandbox.telegram.model import Peer, Person, Post, Tl
from sandbox.telegram.requests import Call, method
from sandbox.telegram.stage import Cast

DIALOGS_MAX = 100


def places_of(call: Call) -> list[tuple[Peer, int, Post | None]]:
    """The caller's chats, the newest first: (peer, number of the last message, the message)."""
    world, me = call.world, call.me
    found: list[tuple[Peer, int, Post | None]] = []
    for place, numbers in world.boxes[me.id].by_peer.items():
        if numbers:
            found.append((place, numbers[-1], world.boxes[me.id].posts[numbers[-1]]))
    for group in world.groups_of(me.id):
        if group.kind != "chat":
            numbers = world.boxes[group.id].by_peer.get(group.peer, [])
            last = numbers[-1] if numbers else 0
            found.append((group.peer, last, world.boxes[group.id].posts.get(last)))
    return sorted(found, key=lambda one: (one[2].date if one[2] else 0, one[2].uid if one[2] else 0), reverse=True)


def dialog(call: Call, place: Peer, top: int) -> Tl:
    mark = call.world.dialog(call.me.id, place)
    return types.Dialog(
        views.peer(place),
        top,
        mark.read_in,
        mark.read_out,
        call.world.unread(call.me.id, place),
        0,
        0,
        0,
        views.notify_settings(),
        pts=call.world.boxes[place.id].pts if place.kind == "channel" else None,
    )


def _shown(call: Call, chosen: list[tuple[Peer, int, Post | None]]) -> tuple[list[Tl], list[Tl], Cast]:
    cast = call.cast().add(call.me.id)
    messages = []
    for place, _top, post in chosen:
        cast.add(place)
        if post is not None:
            owner = place.id if place.kind == "channel" else call.me.id
            messages.append(views.message(call.world, call.me, owner, post))
            cast.post(post)
    return [dialog(call, place, top) for place, top, _post in chosen], messages, cast


@method(functions.messages.GetDialogsRequest, users_only=True)
def get_dialogs(call: Call, request: Tl) -> Tl:
    """A page after (offset_date, offset_id, offset_peer); all at once when they fit (core.telegram.org/api/offsets)."""
    everything = places_of(call)
    rest = everything
    if not isinstance(request.offset_peer, types.InputPeerEmpty):
        after = peers.resolve(call, request.offset_peer)
        index = next((index for index, one in enumerate(everything) if one[0] == after), None)
        if index is None:
            raise refused("OFFSET_PEER_ID_INVALID")
        rest = everything[index + 1 :]
    elif before := seconds(request.offset_date):
        rest = [one for one in everything if one[2] is not None and one[2].date < before]
    page = rest[: max(1, min(request.limit, DIALOGS_MAX))]
    dialogs, messages, cast = _shown(call, page)
    if len(page) == len(everything):
        return types.messages.Dialogs(dialogs, messages, cast.chats(), cast.users())
    return types.messages.DialogsSlice(len(everything), dialogs, messages, cast.chats(), cast.users())


@method(functions.messages.GetPeerDialogsRequest, users_only=True)
def get_peer_dialogs(call: Call, request: Tl) -> Tl:
    wanted = []
    for given in request.peers:
        if not isinstance(given, types.InputDialogPeer):
            raise refused("PEER_ID_INVALID")
        wanted.append(peers.resolve(call, given.peer))
    known = {one[0]: one for one in places_of(call)}
    dialogs, messages, cast = _shown(call, [known.get(place, (place, 0, None)) for place in wanted])
    return types.messages.PeerDialogs(dialogs, messages, cast.chats(), cast.users(), state(call))


@method(functions.messages.GetPeerSettingsRequest, users_only=True)
def get_peer_settings(call: Call, request: Tl) -> Tl:
    place = peers.resolve(call, request.peer)
    cast = call.cast().add(place)
    settings = types.PeerSettings()
    if place.kind == "user":
        settings = peer_settings(call, call.world.people[place.id])
    return types.messages.PeerSettings(settings, cast.chats(), cast.users())


def peer_settings(call: Call, other: Person) -> Tl:
    """The bar above a chat with a stranger: add, block, report."""
    if other.id == call.me.id or other.is_bot or other.id in call.me.contacts:
        return types.PeerSettings()
    wrote = Peer("user", other.id) in call.world.boxes[call.me.id].by_peer
    return types.PeerSettings(report_spam=wrote, add_contact=True, block_contact=other.id not in call.me.blocked)


@method(functions.messages.GetAllDraftsRequest, users_only=True)
def get_all_drafts(call: Call, request: Tl) -> Tl:
    return types.Updates([], [], [], call.world.now(), 0)
