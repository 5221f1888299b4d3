"""What happens in chats: posts, edits, deletions, reads. Used by calls of clients and by the page's people alike."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sandbox.telegram import views
from sandbox.telegram.model import Event, Forward, Group, Media, Peer, Person, Post, Tl
from sandbox.telegram.server import Server


@dataclass(slots=True)
class Draft:
    """What is to be posted."""

    text: str = ""
    entities: list[Tl] = field(default_factory=list)
    media: Media | None = None
    action: Tl = None
    markup: Tl = None
    reply_to: int = 0
    forward: Forward | None = None
    grouped_id: int = 0
    silent: bool = False
    random_id: int = 0


@dataclass(frozen=True, slots=True)
class Posted:
    """A post, and its number where its sender sees it."""

    post: Post
    number: int


def post(server: Server, sender: Person, place: Peer, draft: Draft, *, reaches: bool = True) -> Posted:
    """Store a message in every box concerned and number it there; with `reaches` False only the sender has it."""
    world = server.world
    made = Post(
        world.next_uid(),
        sender.id,
        place,
        world.now(),
        draft.text,
        draft.entities,
        draft.media,
        draft.action,
        draft.markup,
        draft.reply_to,
        draft.forward,
        draft.grouped_id,
        silent=draft.silent,
        random_id=draft.random_id,
    )
    group = world.groups[place.id] if place.kind != "user" else None
    owners = _owners(world.people, sender, place, group, made) if reaches else [sender.id]
    numbers = {owner: world.copy_post(made, owner) for owner in owners}
    world.put_post(made)
    for owner, number in numbers.items():
        event = world.bump(owner, "new", (number,))
        _announce(server, owner, event, group)
    mine = place.id if place.kind == "channel" else sender.id
    return Posted(made, numbers[mine])


def _owners(people: dict[int, Person], sender: Person, place: Peer, group: Group | None, made: Post) -> list[int]:
    """The boxes a message lands in, the sender's first."""
    if group is None:
        return list(dict.fromkeys((sender.id, place.id)))
    if group.kind != "chat":
        return [group.id]
    members = dict.fromkeys((sender.id, *group.members))
    return [number for number in members if views.sees(people[number], group, made)]


def _announce(server: Server, owner_id: int, event: Event, group: Group | None) -> None:
    """To the account whose box changed; of a channel to every connected member, and to who caused it."""
    if group is None or owner_id in server.world.people:
        server.stage.event(owner_id, owner_id, event)
        return
    for account in {*server.online(), server.actor}:
        if account in group.members:
            server.stage.event(account, owner_id, event)


def changed(server: Server, one: Post) -> None:
    """A post's text, buttons or media are others now: an edit in every box that holds it."""
    server.world.record("post", one)
    for owner, number in list(one.copies.items()):
        event = server.world.bump(owner, "edit", (number,))
        _announce(server, owner, event, server.world.groups.get(owner))


def delete(server: Server, owner_id: int, numbers: Sequence[int], *, everywhere: bool) -> tuple[int, int]:
    """Remove messages from a box (and with `everywhere` from all others); returns the box's (pts, how many)."""
    world = server.world
    gone: dict[int, list[int]] = {owner_id: []}
    for number in numbers:
        found = world.boxes[owner_id].posts.get(number)
        if found is None:
            continue
        for owner, copy in list(found.copies.items()):
            if owner == owner_id or everywhere:
                gone.setdefault(owner, []).append(copy)
                world.remove_copy(owner, copy)
    for owner, copies in gone.items():
        if copies:
            event = world.bump(owner, "delete", tuple(copies), count=len(copies))
            _announce(server, owner, event, world.groups.get(owner))
    return world.boxes[owner_id].pts, len(gone[owner_id])


def read(server: Server, reader: Person, place: Peer, max_id: int) -> tuple[int, int]:
    """Mark a chat as read up to a number; the writers learn it. Returns the reader's (pts, changes)."""
    world = server.world
    box = world.box_of(reader.id, place)
    numbers = box.by_peer.get(place, [])
    upto = min(max_id or box.last_id, numbers[-1] if numbers else 0)
    mark = world.dialog(reader.id, place)
    if upto <= mark.read_in:
        return world.boxes[reader.id].pts, 0
    first = bisect.bisect_right(numbers, mark.read_in)
    read_now = [box.posts[number] for number in numbers[first : bisect.bisect_right(numbers, upto)]]
    mark.read_in = upto
    world.record("dialog", (reader.id, place))
    writers = dict.fromkeys(one.sender_id for one in read_now if one.sender_id != reader.id)
    if place.kind == "channel":
        _read_channel(server, reader, place, upto, writers)
        return world.boxes[reader.id].pts, 0
    event = world.bump(reader.id, "read_in", (upto, world.unread(reader.id, place)), peer=place)
    server.stage.event(reader.id, reader.id, event)
    for writer in writers:
        theirs = Peer("user", reader.id) if place.kind == "user" else place
        last = max(one.copies[writer] for one in read_now if one.sender_id == writer and writer in one.copies)
        seen = world.dialog(writer, theirs)
        if last > seen.read_out:
            seen.read_out = last
            world.record("dialog", (writer, theirs))
            event = world.bump(writer, "read_out", (last,), peer=theirs)
            server.stage.event(writer, writer, event)
    return world.boxes[reader.id].pts, 1


def _read_channel(server: Server, reader: Person, place: Peer, upto: int, writers: Iterable[int]) -> None:
    """Reads in supergroups have no number (updateReadChannelInbox, updateReadChannelOutbox)."""
    world = server.world
    server.stage.plain(reader.id, views.read_channel_inbox(world, reader.id, place.id, upto), place)
    for writer in writers:
        seen = world.dialog(writer, place)
        if upto > seen.read_out:
            seen.read_out = upto
            world.record("dialog", (writer, place))
            server.stage.plain(writer, views.read_channel_outbox(place.id, upto), place)
