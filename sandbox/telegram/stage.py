"""Updates on their way: each with the people and chats it speaks of, gathered while a call runs, then sent or answered.

A push must carry the users and chats with the access hashes of the account it goes to, or the client cannot know the
sender (core.telegram.org/api/updates).
"""

from __future__ import annotations

from collections.abc import Iterable

from telethon.tl import types

from sandbox.telegram import views
from sandbox.telegram.model import Event, Group, Peer, Person, Post, Tl
from sandbox.telegram.world import World


class Cast:
    """The users and chats that go with an answer, as one account sees them; everyone once."""

    def __init__(self, world: World, viewer: Person) -> None:
        self._world = world
        self.viewer = viewer
        self._users: dict[int, None] = {}
        self._groups: dict[int, None] = {}

    def add(self, *peers: Peer | int | None) -> Cast:
        """Peers, or ids of people."""
        for peer in peers:
            if isinstance(peer, int):
                self._users[peer] = None
            elif peer is not None and peer.kind == "user":
                self._users[peer.id] = None
            elif peer is not None:
                self._groups[peer.id] = None
        return self

    def post(self, post: Post) -> Cast:
        self.add(post.sender_id, self._world.peer_in(self.viewer.id, post))
        if post.forward is not None:
            self.add(post.forward.from_peer)
        return self.add(*views.people_in_action(post.action), *views.people_in_entities(post.entities))

    def join(self, other: Cast) -> None:
        self._users |= other._users
        self._groups |= other._groups

    def users(self) -> list[Tl]:
        people = self._world.people
        return [views.user(self._world, self.viewer, people[number]) for number in self._users if number in people]

    def chats(self) -> list[Tl]:
        groups = self._world.groups
        return [views.chat(self._world, self.viewer, groups[number]) for number in self._groups if number in groups]


class Scene:
    """The updates for one account."""

    def __init__(self, world: World, viewer: Person) -> None:
        self.cast = Cast(world, viewer)
        self._world = world
        self._updates: list[Tl] = []

    def say(self, update: Tl) -> None:
        self._updates.append(update)

    def updates(self, first: Iterable[Tl] = ()) -> Tl:
        """`updates` with no seq, as the server sends them to most clients."""
        return types.Updates([*first, *self._updates], self.cast.users(), self.cast.chats(), self._world.now(), 0)


class Stage:
    """Gathers, for every account concerned, what a call changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._scenes: dict[int, Scene] = {}

    def scene(self, account: int) -> Scene:
        found = self._scenes.get(account)
        if found is None:
            found = self._scenes[account] = Scene(self._world, self._world.people[account])
        return found

    def leave(self) -> list[tuple[int, Scene]]:
        """All that was gathered; the stage is empty afterwards."""
        scenes, self._scenes = self._scenes, {}
        return list(scenes.items())

    def take(self, account: int) -> Scene:
        """What concerns one account, for the answer to it; it stays for the account's other lines."""
        return self.scene(account)

    # --- what can be said -------------------------------------------------------------------------------------------

    def event(self, account: int, owner_id: int, event: Event) -> None:
        """A numbered change of the account's own box or of a channel's (`owner_id`)."""
        scene = self.scene(account)
        box = self._world.boxes[owner_id]
        update = views.update_of(self._world, scene.cast.viewer, owner_id, event)
        if update is None:
            return
        scene.say(update)
        if event.peer is not None:
            scene.cast.add(event.peer)
        for number in event.ids:
            if event.kind in {"new", "edit"} and number in box.posts:
                scene.cast.post(box.posts[number])

    def group_changed(self, account: int, group: Group) -> None:
        """updateChannel, or updateChatParticipants with the list as it is now."""
        scene = self.scene(account)
        scene.cast.add(group.peer)
        if group.kind == "chat":
            scene.cast.add(*group.members)
            scene.say(types.UpdateChatParticipants(views.participants(group)))
        else:
            scene.say(types.UpdateChannel(group.id))

    def typing(self, account: int, peer: Peer, who: Person, action: Tl) -> None:
        scene = self.scene(account)
        scene.cast.add(who.id, peer)
        if peer.kind == "user":
            scene.say(types.UpdateUserTyping(who.id, action))
        elif peer.kind == "chat":
            scene.say(types.UpdateChatUserTyping(peer.id, types.PeerUser(who.id), action))
        else:
            scene.say(types.UpdateChannelUserTyping(peer.id, types.PeerUser(who.id), action))

    def renamed(self, account: int, person: Person) -> None:
        scene = self.scene(account)
        scene.cast.add(person.id)
        names = [types.Username(person.username, editable=True, active=True)] if person.username else []
        scene.say(types.UpdateUserName(person.id, person.first_name, person.last_name, names))

    def plain(self, account: int, update: Tl, *peers: Peer | int) -> None:
        """Any update without a number."""
        scene = self.scene(account)
        scene.cast.add(*peers)
        scene.say(update)
