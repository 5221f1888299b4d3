"""The state of the twin, with the indexes that keep every request cheap. Nothing here knows connections or requests."""

from __future__ import annotations

import bisect
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sandbox.telegram.model import (
    AuthKey,
    Box,
    Dialog,
    Event,
    EventKind,
    Group,
    GroupKind,
    Media,
    Member,
    Peer,
    Person,
    Post,
    SentCode,
)

SERVICE_ID = 777000  # "Telegram", who writes the sign-in codes
FIRST_PERSON, FIRST_CHAT, FIRST_CHANNEL = 1_000_001, 500_001, 1_500_000_001
USERNAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_]{3,30}[a-zA-Z0-9]")
PHONE = re.compile(r"[1-9][0-9]{6,14}")


class UnknownNameError(LookupError):
    """A test or the page asked for a person or a chat that does not exist; the message says which."""


@dataclass(slots=True)
class Settings:
    """Switches of the server's manners; each default is the real server's."""

    # A repeated random_id: `duplicate` answers RANDOM_ID_DUPLICATE, `silent` answers the first message again.
    random_id: Literal["duplicate", "silent"] = "duplicate"
    # Who cannot be added because of privacy: in `missing_invitees`, or as the error USER_PRIVACY_RESTRICTED.
    privacy_refusal: Literal["missing", "error"] = "missing"
    # A person who blocked the sender: USER_IS_BLOCKED, or the message goes nowhere and the sender sees one tick.
    blocked: Literal["error", "silent"] = "error"
    # core.telegram.org/api/errors#406-not-acceptable: one key at work from two addresses; `connection`: from any two
    # connections, also of one address.
    duplicate_key: Literal["address", "connection", "never"] = "address"
    code_valid_s: float = 300.0
    code_timeout_s: int = 60  # until the code may be asked for by the next way
    code_attempts: int = 5
    codes_per_day: int = 5
    password_attempts: int = 5
    fresh_session_s: int = 86_400  # a younger session may not end others (FRESH_RESET_AUTHORISATION_FORBIDDEN)
    chat_size_max: int = 200
    megagroup_size_max: int = 200_000
    message_length_max: int = 4096
    caption_length_max: int = 1024
    edit_time_limit_s: int = 172_800
    difference_slice: int = 100  # changes in one differenceSlice
    difference_depth: int = 10_000  # changes a box remembers; older is differenceTooLong
    callback_timeout_s: float = 15.0  # a bot that does not answer a pressed button
    contacts_import_max: int = 500
    pushes: bool = True


class World:
    """All state; not thread-safe: everything happens on the twin's event loop."""

    def __init__(self, settings: Settings | None = None, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings or Settings()
        self.clock = clock
        self.secret = secrets.token_bytes(32)
        self.people: dict[int, Person] = {}
        self.groups: dict[int, Group] = {}
        self.posts: dict[int, Post] = {}
        self.media: dict[int, Media] = {}
        self.boxes: dict[int, Box] = {}  # by account, and by channel
        self.keys: dict[int, AuthKey] = {}
        self.apps: dict[int, str] = {}
        self.codes: list[SentCode] = []
        self.banned_phones: set[str] = set()
        self.file_epoch = 0  # raised: every file reference handed out so far is expired
        self.salt_epoch = 0  # raised: every salt in use is refused once
        self.random_ids: dict[tuple[int, int], int] = {}  # (account, random_id) to uid
        self.last_sent: dict[tuple[int, int], float] = {}  # (group, person): slow mode
        self.record: Callable[[str, object], None] = lambda _kind, _thing: None
        self._by_phone: dict[str, int] = {}
        self._by_username: dict[str, Peer] = {}
        self._by_token: dict[str, int] = {}
        self._groups_of: dict[int, set[int]] = {}
        self._invites: dict[str, int] = {}
        self._hashes: dict[tuple[int, str, int], int] = {}
        self._last_uid = 0
        self._last_person = FIRST_PERSON - 1
        self._last_group = {"chat": FIRST_CHAT - 1, "channel": FIRST_CHANNEL - 1}
        self.people[SERVICE_ID] = Person(SERVICE_ID, "Telegram", phone="42777")
        self.boxes[SERVICE_ID] = Box()

    def now(self) -> int:
        return int(self.clock())

    # --- people -----------------------------------------------------------------------------------------------------

    def add_person(
        self, first_name: str, last_name: str = "", *, phone: str = "", username: str = "", token: str = ""
    ) -> Person:
        """A new person, or with a `token` a new bot (`<id>:<secret>` names its id)."""
        number = int(token.partition(":")[0]) if token else self._last_person + 1
        return self.put_person(
            Person(number, first_name, last_name, phone.lstrip("+"), username, is_bot=bool(token), token=token)
        )

    def put_person(self, person: Person) -> Person:
        self.people[person.id] = person
        if not person.is_bot:
            self._last_person = max(self._last_person, person.id)
        self.boxes.setdefault(person.id, Box())
        if person.phone:
            self._by_phone[person.phone] = person.id
        if person.username:
            self._by_username[person.username.lower()] = Peer("user", person.id)
        if person.token:
            self._by_token[person.token] = person.id
        self.record("person", person)
        return person

    def rename(self, person: Person, username: str) -> None:
        if person.username:
            self._by_username.pop(person.username.lower(), None)
        person.username = username
        self.put_person(person)

    def by_phone(self, phone: str) -> Person | None:
        found = self._by_phone.get(phone)
        person = self.people[found] if found is not None else None
        return None if person is None or person.deleted or person.id == SERVICE_ID else person

    def by_token(self, token: str) -> Person | None:
        found = self._by_token.get(token)
        return self.people[found] if found is not None else None

    def by_username(self, username: str) -> Peer | None:
        return self._by_username.get(username.lower())

    def person(self, name: int | str | Person) -> Person:
        """A person by id, phone, username or name; raises UnknownNameError."""
        if isinstance(name, Person):
            return name
        if isinstance(name, int):
            if name in self.people:
                return self.people[name]
            raise UnknownNameError(f"no person has the id {name}")
        word = name.lstrip("+@")
        if word in self._by_phone:
            return self.people[self._by_phone[word]]
        peer = self._by_username.get(word.lower())
        if peer is not None and peer.kind == "user":
            return self.people[peer.id]
        for person in self.people.values():
            if word in {person.first_name, person.name}:
                return person
        raise UnknownNameError(f"no person is called {name}")

    def remove_person(self, person: Person) -> None:
        """The person deletes the account: what is left is a deleted user (core.telegram.org/constructor/user, `deleted`)."""
        self._by_phone.pop(person.phone, None)
        self._by_username.pop(person.username.lower(), None)
        person.deleted = True
        person.phone = person.username = ""
        self.record("person", person)

    # --- groups -----------------------------------------------------------------------------------------------------

    def add_group(self, kind: GroupKind, title: str, creator_id: int, *, about: str = "") -> Group:
        number = self._last_group["chat" if kind == "chat" else "channel"] + 1
        now = self.now()
        group = Group(number, kind, title, creator_id, now, about)
        group.members[creator_id] = Member(creator_id, creator_id, now, "creator")
        return self.put_group(group)

    def put_group(self, group: Group) -> Group:
        self.groups[group.id] = group
        self._last_group[group.peer.kind] = max(self._last_group[group.peer.kind], group.id)
        if group.kind != "chat":
            self.boxes.setdefault(group.id, Box())
        for user_id in group.members:
            self._groups_of.setdefault(user_id, set()).add(group.id)
        if group.username:
            self._by_username[group.username.lower()] = group.peer
        for invite in group.invites.values():
            self._invites[invite.hash] = group.id
        self.record("group", group)
        return group

    def rename_group(self, group: Group, username: str) -> None:
        if group.username:
            self._by_username.pop(group.username.lower(), None)
        group.username = username
        self.put_group(group)

    def drop_member(self, group: Group, user_id: int) -> None:
        group.members.pop(user_id, None)
        self._groups_of.get(user_id, set()).discard(group.id)
        self.record("group", group)

    def groups_of(self, user_id: int) -> list[Group]:
        return [self.groups[number] for number in sorted(self._groups_of.get(user_id, ()))]

    def group_by_invite(self, invite_hash: str) -> Group | None:
        found = self._invites.get(invite_hash)
        return self.groups[found] if found is not None else None

    def share_group(self, one: int, other: int) -> bool:
        return bool(self._groups_of.get(one, set()) & self._groups_of.get(other, set()))

    def peer(self, name: Peer | Person | Group | str | int) -> Peer:
        """Whom a test or the page means: a person or a group, by object, id, username, phone, name or title."""
        if isinstance(name, Peer):
            return name
        if isinstance(name, Person):
            return Peer("user", name.id)
        if isinstance(name, Group):
            return name.peer
        for group in self.groups.values():
            if name in {group.id, group.title}:
                return group.peer
        return Peer("user", self.person(name).id)

    # --- access hashes ----------------------------------------------------------------------------------------------

    def access_hash(self, viewer_id: int, kind: PeerKindOrFile, number: int) -> int:
        """What `viewer_id` must show to address something; every account has another (core.telegram.org/api/peers)."""
        cached = self._hashes.get((viewer_id, kind, number))
        if cached is None:
            digest = hmac.digest(self.secret, f"{viewer_id}:{kind}:{number}".encode(), hashlib.sha256)
            cached = int.from_bytes(digest[:8], "little", signed=True) or 1
            self._hashes[viewer_id, kind, number] = cached
        return cached

    # --- message boxes ----------------------------------------------------------------------------------------------

    def box_of(self, viewer_id: int, peer: Peer) -> Box:
        """The box in which an account finds a chat: its own, or the channel's."""
        return self.boxes[peer.id] if peer.kind == "channel" else self.boxes[viewer_id]

    def next_uid(self) -> int:
        self._last_uid += 1
        return self._last_uid

    def put_post(self, post: Post) -> Post:
        """Keep a post and its copies; used for new posts and while loading."""
        self.posts[post.uid] = post
        self._last_uid = max(self._last_uid, post.uid)
        if post.random_id:
            self.random_ids[post.sender_id, post.random_id] = post.uid
        for owner_id, number in post.copies.items():
            self._place(owner_id, number, post)
        self.record("post", post)
        return post

    def copy_post(self, post: Post, owner_id: int) -> int:
        """Put a post into a box; returns its number there."""
        box = self.boxes[owner_id]
        number = box.last_id + 1
        post.copies[owner_id] = number
        self._place(owner_id, number, post)
        return number

    def _place(self, owner_id: int, number: int, post: Post) -> None:
        box = self.boxes.setdefault(owner_id, Box())
        box.last_id = max(box.last_id, number)
        if number in box.posts:
            return
        box.posts[number] = post
        numbers = box.by_peer.setdefault(self.peer_in(owner_id, post), [])
        if numbers and numbers[-1] > number:
            bisect.insort(numbers, number)
        else:
            numbers.append(number)

    def peer_in(self, owner_id: int, post: Post) -> Peer:
        """The chat a post belongs to, seen from the box it lies in."""
        if post.peer.kind == "user" and owner_id != post.sender_id:
            return Peer("user", post.sender_id)
        return post.peer

    def remove_copy(self, owner_id: int, number: int) -> Post:
        box = self.boxes[owner_id]
        post = box.posts.pop(number)
        numbers = box.by_peer[self.peer_in(owner_id, post)]
        del numbers[bisect.bisect_left(numbers, number)]
        post.copies.pop(owner_id, None)
        self.record("post", post)
        return post

    def bump(
        self, owner_id: int, kind: EventKind, ids: tuple[int, ...], *, peer: Peer | None = None, count: int = 1
    ) -> Event:
        """Number a change of a box and keep it for getDifference."""
        box = self.boxes[owner_id]
        box.pts += count
        event = Event(box.pts, count, kind, ids, peer, self.now())
        self.put_event(owner_id, event)
        self.record("event", (owner_id, event))
        return event

    def put_event(self, owner_id: int, event: Event) -> None:
        box = self.boxes.setdefault(owner_id, Box())
        box.pts = max(box.pts, event.pts)
        if event.kind == "new":
            box.last_id = max(box.last_id, *event.ids)  # a number is never given twice, also after a deletion
        box.log.append(event)
        surplus = len(box.log) - self.settings.difference_depth
        if surplus > 0:
            box.forgotten_pts = box.log[surplus - 1].pts
            del box.log[:surplus]

    def dialog(self, owner_id: int, peer: Peer) -> Dialog:
        return self.boxes[owner_id].dialogs.setdefault(peer, Dialog())

    def unread(self, owner_id: int, peer: Peer) -> int:
        """How many messages of others an account has not read in a chat."""
        box = self.box_of(owner_id, peer)
        numbers = box.by_peer.get(peer, [])
        start = bisect.bisect_right(numbers, self.dialog(owner_id, peer).read_in)
        return sum(1 for number in numbers[start:] if box.posts[number].sender_id != owner_id)

    def expire_files(self) -> None:
        """Every file reference handed out so far is refused from now on (FILE_REFERENCE_EXPIRED)."""
        self.file_epoch += 1
        self.record("world", None)

    def expire_salts(self) -> None:
        """Every salt in use is refused once (bad_server_salt)."""
        self.salt_epoch += 1
        self.record("world", None)

    def add_app(self, api_id: int, api_hash: str) -> None:
        """An app that somebody registered at my.telegram.org."""
        self.apps[api_id] = api_hash
        self.record("world", None)


PeerKindOrFile = Literal["user", "chat", "channel", "photo", "document"]
