"""The twin as a whole: state, server, faults, and the ways to run it (a process of its own, or a thread of a test)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from telethon.crypto import AuthKey
from telethon.sessions import StringSession
from telethon.tl import types
from telethon.tl.alltlobjects import LAYER

import sandbox.telegram.methods  # noqa: F401 - registers the calls
from sandbox.in_thread import in_thread
from sandbox.telegram import actions, membership
from sandbox.telegram.faults import FaultBook
from sandbox.telegram.files import FileStore, picture_size
from sandbox.telegram.handlers.bots import press
from sandbox.telegram.handshake import ServerKey, fresh_key
from sandbox.telegram.model import Group, GroupKind, Media, Peer, Person, Post, SentCode, Tl
from sandbox.telegram.requests import Requests
from sandbox.telegram.server import DC_ID, Server
from sandbox.telegram.srp import make_password
from sandbox.telegram.storage import Journal
from sandbox.telegram.world import Settings, UnknownNameError, World

_T = TypeVar("_T")
Name = Peer | Person | Group | str | int
FLUSH_S = 0.25
API_ID, API_HASH = 94575, "a3406de8d684bb1f1b9e2d2d7b3c9a10"  # an app the twin knows; more by `add_app`


class TelegramTwin:
    """A Telegram data centre on loopback.

    `running_telegram()` gives tests one in a thread of its own; `start` puts one on the current event loop. A client needs
    `port`, `dc_id` and the server's key: `telethon.crypto.rsa.add_key(twin.public_pem, old=False)`.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        data_dir: Path | None = None,
        clock: Callable[[], float] = time.time,
        key: ServerKey | None = None,
    ) -> None:
        self.world = World(settings, clock)
        self.faults = FaultBook()
        self._journal: Journal | None = None
        if data_dir is not None:
            self._journal = Journal(data_dir / "telegram.jsonl", self.world)
            self._journal.load()
            key = key or ServerKey.kept_in(data_dir)
        self.world.apps.setdefault(API_ID, API_HASH)
        self.server = Server(
            self.world, self.faults, key or ServerKey.make(), FileStore(data_dir / "files" if data_dir else None)
        )
        self.server.requests = Requests(self.server)
        self.dc_id = DC_ID
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flusher: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self.server.port

    @property
    def public_pem(self) -> str:
        return self.server.key.public_pem

    async def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1 on the current event loop; port 0 takes a free one."""
        await self.server.start(port)
        self._loop = asyncio.get_running_loop()
        if self._journal is not None:
            self._flusher = asyncio.create_task(self._flush_often(self._journal))

    @staticmethod
    async def _flush_often(journal: Journal) -> None:
        while True:
            await asyncio.sleep(FLUSH_S)
            journal.flush()

    async def stop(self) -> None:
        """Stop listening, drop open connections, write what is not written yet."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
        await self.server.stop()
        if self._journal is not None:
            self._journal.flush()

    @asynccontextmanager
    async def listening(self, port: int) -> AsyncIterator[None]:
        """From `start` to `stop`; afterwards `call` runs in the caller's thread."""
        await self.start(port)
        yield
        self._loop = None
        await self.stop()

    def call(self, function: Callable[[], _T]) -> _T:
        """Run `function` on the twin's event loop and wait for its result: the only safe way to touch `world` while it runs."""
        loop = self._loop
        if loop is None or _running_here(loop):
            return self._act(function)
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(self._act(function))
            except BaseException as failure:  # noqa: BLE001 - handed over to the caller's thread
                done.set_exception(failure)

        loop.call_soon_threadsafe(run)
        return done.result(timeout=10)

    def _act(self, function: Callable[[], _T]) -> _T:
        """What nobody on the line asked for: all updates are pushes."""
        self.server.actor = 0
        result = function()
        if self._loop is not None:
            self.server.flush()
        return result

    # --- making people and places -----------------------------------------------------------------------------------

    def add_app(self, api_id: int, api_hash: str) -> None:
        self.call(lambda: self.world.add_app(api_id, api_hash))

    def add_person(
        self,
        first_name: str,
        last_name: str = "",
        *,
        phone: str = "",
        username: str = "",
        password: str = "",
        hint: str = "",
    ) -> Person:
        """A new person; with a `password` signing in needs it after the code."""

        def add() -> Person:
            person = self.world.add_person(first_name, last_name, phone=phone, username=username)
            if password:
                person.password = make_password(password, hint)
            return self.world.put_person(person)

        return self.call(add)

    def add_bot(self, first_name: str, username: str, *, token: str = "") -> Person:
        """A new bot; its token is `person.token`."""
        chosen = token or f"{secrets.randbelow(10**9) + 5_000_000_000}:{secrets.token_urlsafe(26)}"
        return self.call(lambda: self.world.add_person(first_name, username=username, token=chosen))

    def add_group(self, kind: GroupKind, title: str, creator: Name, *members: Name) -> Group:
        """A group with its members, as if the creator had made it; no service messages."""

        def add() -> Group:
            owner = self._person(creator)
            group = self.world.add_group(kind, title, owner.id)
            for name in members:
                membership.let_in(self.server, group, self._person(name), owner.id)
            membership.tell_group(self.server, group)
            return group

        return self.call(add)

    def set_password(self, name: Name, password: str, hint: str = "") -> None:
        """Change or (empty) remove a person's cloud password."""

        def change() -> None:
            person = self._person(name)
            person.password = make_password(password, hint) if password else None
            self.world.put_person(person)

        self.call(change)

    def session_string(self, name: Name, *, device: str = "Test") -> str:
        """A Telethon `StringSession` of one of the people, as if a client had signed in before; saves key exchange and code."""

        def sign_in() -> str:
            person, key = self._person(name), self.server.add_key(fresh_key())
            key.user_id, key.signed_in, key.active = person.id, self.world.now(), self.world.now()
            key.api_id, key.layer, key.device = API_ID, LAYER, device
            self.world.record("key", key)
            session = StringSession()
            session.set_dc(self.dc_id, "127.0.0.1", self.port)
            session.auth_key = AuthKey(key.key)
            return str(session.save())

        return self.call(sign_in)

    def _person(self, name: Name) -> Person:
        peer = self.world.peer(name)
        return self.world.people[peer.id]

    # --- acting as people -------------------------------------------------------------------------------------------

    def write_as(self, name: Name, chat: Name, text: str, *, reply_to: int = 0) -> int:
        """A message by one of the people, without a client of theirs; returns its number where they see it.

        `reply_to` is the number of the answered message, again as they see it.
        """

        def write() -> int:
            sender, place = self._person(name), self.world.peer(chat)
            answered = self.world.box_of(sender.id, place).posts[reply_to].uid if reply_to else 0
            return actions.post(self.server, sender, place, actions.Draft(text, reply_to=answered)).number

        return self.call(write)

    def send_file_as(self, name: Name, chat: Name, data: bytes, file_name: str, *, caption: str = "") -> int:
        """A photo (`.jpg`, `.png`) or a document by one of the people; returns its number where they see it."""

        def send() -> int:
            sender, place = self._person(name), self.world.peer(chat)
            file_id, now = self.server.files.keep(data), self.world.now()
            if file_name.endswith((".jpg", ".jpeg", ".png")):
                width, height = picture_size(data)
                media = Media("photo", file_id, len(data), now, width, height)
            else:
                named = [types.DocumentAttributeFilename(file_name)]
                media = Media(
                    "document", file_id, len(data), now, mime_type="application/octet-stream", attributes=named
                )
            self.world.media[file_id] = media
            self.world.record("media", media)
            return actions.post(self.server, sender, place, actions.Draft(caption, media=media)).number

        return self.call(send)

    def read_as(self, name: Name, chat: Name) -> None:
        """One of the people reads a chat to its end: the writers get their read receipts."""
        self.call(lambda: actions.read(self.server, self._person(name), self.world.peer(chat), 0))

    def press_as(self, name: Name, chat: Name, number: int, data: bytes) -> Future[Tl]:
        """One of the people presses a button under a message; the future gets what the bot answers."""
        answer: Future[Tl] = Future()

        def start() -> None:
            person = self._person(name)
            post = self.world.box_of(person.id, self.world.peer(chat)).posts.get(number)
            buttons = [button for row in getattr(post and post.markup, "rows", ()) for button in row.buttons]
            if post is None or data not in [getattr(button.type, "data", None) for button in buttons]:
                raise UnknownNameError(f"message {number} has no such button")
            press(self.server, person, post, data).add_done_callback(lambda done: answer.set_result(done.result()))

        self.call(start)
        return answer

    def delete_account(self, name: Name) -> None:
        self.call(lambda: self.world.remove_person(self._person(name)))

    def ban_account(self, name: Name) -> None:
        """The vendor bans a person: USER_DEACTIVATED_BAN on every call."""

        def ban() -> None:
            person = self._person(name)
            person.banned = True
            self.world.put_person(person)

        self.call(ban)

    def revoke_sessions(self, name: Name) -> int:
        """A person ends all their sessions from their phone: SESSION_REVOKED. Returns how many."""

        def revoke() -> int:
            keys = self.server.keys_of(self._person(name).id)
            for key in keys:
                self.server.end_session(key, "SESSION_REVOKED")
            return len(keys)

        return self.call(revoke)

    # --- looking ----------------------------------------------------------------------------------------------------

    def codes(self, phone: str = "") -> list[SentCode]:
        """The sign-in codes sent so far (to one phone), the newest last."""
        number = phone.lstrip("+")
        return self.call(lambda: [one for one in self.world.codes if number in {"", one.phone}])

    def chats(self, name: Name) -> list[Peer]:
        """The chats of one of the people, the newest first."""

        def look() -> list[Peer]:
            person = self._person(name)
            places = [(box[-1], peer) for peer, box in self.world.boxes[person.id].by_peer.items() if box]
            dated = [(self.world.boxes[person.id].posts[last].uid, peer) for last, peer in places]
            for group in self.world.groups_of(person.id):
                numbers = self.world.boxes[group.id].by_peer.get(group.peer, []) if group.kind != "chat" else []
                if numbers:
                    dated.append((self.world.boxes[group.id].posts[numbers[-1]].uid, group.peer))
            return [peer for _uid, peer in sorted(dated, key=lambda one: one[0], reverse=True)]

        return self.call(look)

    def messages(self, name: Name, chat: Name) -> list[Post]:
        """What one of the people sees in a chat, the oldest first."""

        def look() -> list[Post]:
            person, place = self._person(name), self.world.peer(chat)
            box = self.world.box_of(person.id, place)
            return [box.posts[number] for number in box.by_peer.get(place, [])]

        return self.call(look)

    def texts(self, name: Name, chat: Name) -> list[str]:
        return [post.text for post in self.messages(name, chat)]

    def cut(self, name: Name = "") -> int:
        """Cut the lines of one account, or all; returns how many."""
        return self.call(lambda: self.server.cut_all(self._person(name).id if name else 0))


def _running_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


@contextmanager
def running_telegram(*, port: int = 0, **options: Any) -> Iterator[TelegramTwin]:
    """The twin in a thread of this process until the block ends; options as in `TelegramTwin`."""
    twin = TelegramTwin(**options)
    with in_thread("telegram-twin", twin.listening(port)):
        yield twin
