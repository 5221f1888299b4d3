"""The twin as a whole: state, routes, faults, page, and the ways to run it (a process of its own, or a thread of a test)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tornado import ioloop, netutil, web
from tornado.httpserver import HTTPServer

from sandbox.faults import FaultBook, FaultGate, Reply, control_routes
from sandbox.in_thread import in_thread
from sandbox.mattermost.api.base import MAX_BODY_BYTES, NotFoundHandler, Services
from sandbox.mattermost.api.routes import url_specs
from sandbox.mattermost.model import Json, new_id
from sandbox.mattermost.storage import Journal
from sandbox.mattermost.world import Settings, World

_T = TypeVar("_T")
TEAM = "demo"
ADMIN = "admin"
BOT = "switchboard"
PEOPLE = (("anna", "Анна", "Иванова", "ru"), ("boris", "Boris", "Novak", "en"))
FLUSH_S = 0.25


def limit_exceeded(retry_after_s: int) -> Reply:
    """429 as app/ratelimit.go writes it: plain text, X-RateLimit-Reset in seconds left."""
    seconds = str(retry_after_s)
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "0",
               "X-RateLimit-Reset": seconds, "Retry-After": seconds}  # fmt: skip
    return Reply(429, headers, b"limit exceeded\n")


def server_error(status: int) -> Reply:
    body = {"id": "api.sandbox.fault", "message": "A fault of the sandbox.", "detailed_error": "", "request_id": new_id(),
            "status_code": status}  # fmt: skip
    return Reply(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


class MattermostTwin:
    """A Mattermost server on loopback.

    `MattermostTwin.running()` gives tests one in a thread of its own; `start` puts one on the current event loop.
    Made on first start: team `demo`, people `anna` (ru) and `boris` (en), `admin`, and the bot `switchboard`.
    """

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        data_dir: Path | None = None,
        bot_token: str = "",
        admin_token: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.world = World(settings, clock)
        self.faults = FaultBook()
        self.services = Services(self.world)
        self.bot_token = bot_token or secrets.token_hex(13)
        self.admin_token = admin_token or secrets.token_hex(13)
        self.url = ""
        self.port = 0
        self.closing = asyncio.Event()
        self._extra: list[Any] = []
        self._journal: Journal | None = None
        self._server: HTTPServer | None = None
        self._flusher: ioloop.PeriodicCallback | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        if data_dir is not None:
            self._journal = Journal(data_dir / "mattermost.jsonl", self.world)
            self._journal.load()
        self._set_up()

    def _set_up(self) -> None:
        """Make the first people and the bot where they are missing; a restart finds them again."""
        world = self.world
        team = next((team for team in world.teams.values() if team.name == TEAM), None) or world.add_team(TEAM, "Demo")
        if not world.has_user_named(ADMIN):
            world.add_user(
                ADMIN, "admin@example.org", first_name="Ada", last_name="Admin", roles="system_user system_admin"
            )
        admin = world.user_named(ADMIN)
        world.join_team(team, admin, "team_user team_admin")
        for username, first_name, last_name, locale in PEOPLE:
            if not world.has_user_named(username):
                world.add_user(
                    username, f"{username}@example.org", first_name=first_name, last_name=last_name, locale=locale
                )
            world.join_team(team, world.user_named(username))
        if not world.has_user_named(BOT):
            world.add_bot(BOT, "Switchboard", "Calendars and notices", admin.id)
        bot = world.user_named(BOT)
        world.join_team(team, bot)
        for token, owner in ((self.bot_token, bot), (self.admin_token, admin)):
            if token not in world.tokens:
                world.add_token(owner.id, "sandbox", token)

    def add_routes(self, specs: list[Any]) -> None:
        """Further routes of the same process (the page); call before `start`."""
        self._extra += specs

    def application(self) -> web.Application:
        return web.Application(
            [*url_specs(self.services), *control_routes(self.faults), *self._extra],
            default_handler_class=NotFoundHandler,
            default_handler_args={"services": self.services},
            log_function=lambda _handler: None,
        )

    def start(self, port: int = 0) -> None:
        """Listen on 127.0.0.1 on the current event loop; port 0 takes a free one. Sets `url` and `port`."""
        sockets = netutil.bind_sockets(port, "127.0.0.1", family=socket.AF_INET)
        self._loop = asyncio.get_running_loop()
        self.port = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.world.settings.site_url = self.world.settings.site_url or self.url
        gate = FaultGate(self.application(), self.faults, rate_limit=limit_exceeded, error=server_error)
        self._server = HTTPServer(gate, max_body_size=MAX_BODY_BYTES, idle_connection_timeout=120)
        self._server.add_sockets(sockets)
        if self._journal is not None:
            self._flusher = ioloop.PeriodicCallback(self._journal.flush, FLUSH_S * 1000)
            self._flusher.start()

    async def stop(self) -> None:
        """Stop listening, drop open connections, write what is not written yet."""
        self.closing.set()
        await asyncio.sleep(0.05)  # open event streams see it and end by themselves
        if self._flusher is not None:
            self._flusher.stop()
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
        if self._journal is not None:
            self._journal.flush()

    # --- for tests --------------------------------------------------------------------------------------------------

    @classmethod
    @contextmanager
    def running(cls, *, port: int = 0, **options: Any) -> Iterator[MattermostTwin]:
        """A twin in a thread with its own event loop; options as in the constructor."""
        twin = cls(**options)
        with in_thread("mattermost-twin", twin._listening(port)):
            yield twin

    @asynccontextmanager
    async def _listening(self, port: int) -> AsyncIterator[None]:
        self.start(port)
        yield
        await self.stop()

    def call(self, function: Callable[[], _T]) -> _T:
        """Run `function` on the twin's event loop and wait for its result: the only safe way to look at `world`."""
        if self._loop is None:
            return function()
        done: Future[_T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as failure:  # noqa: BLE001 - handed over to the caller's thread
                done.set_exception(failure)

        self._loop.call_soon_threadsafe(run)
        return done.result(timeout=10)

    def user_id(self, username: str) -> str:
        return self.call(lambda: self.world.user_named(username).id)

    def token_of(self, username: str) -> str:
        """A new access token of a person, to call the API as them."""
        return self.call(lambda: self.world.add_token(self.world.user_named(username).id, "test").token)

    def add_user(self, username: str, *, locale: str = "en") -> str:
        """A new member of the team `demo`; returns the id."""

        def add() -> str:
            user = self.world.add_user(username, f"{username}@example.org", locale=locale)
            self.world.join_team(next(team for team in self.world.teams.values() if team.name == TEAM), user)
            return user.id

        return self.call(add)

    def deactivate(self, username: str) -> None:
        self._set_active(username, active=False)

    def activate(self, username: str) -> None:
        self._set_active(username, active=True)

    def _set_active(self, username: str, *, active: bool) -> None:
        def change() -> None:
            user = self.world.user_named(username)
            user.delete_at = 0 if active else self.world.now_ms()
            self.world.changed_user(user)

        self.call(change)

    def grant_rights(self, *rights: str) -> None:
        """Let the bot do these things by the role `system_user_manager`, as an installation does; by default both of ours."""

        def change() -> None:
            bot, role = self.world.user_named(BOT), "system_user_manager"
            self.world.roles[role] = (
                *self.world.roles[role],
                *(rights or ("edit_other_users", "create_post_ephemeral")),
            )
            bot.roles = f"system_user {role}"

        self.call(change)

    def withdraw_rights(self) -> None:
        """Take the bot's role away again."""
        self.call(lambda: setattr(self.world.user_named(BOT), "roles", "system_user"))

    def set_custom_status(self, username: str, **status: str) -> None:
        """What a person sets by hand: `emoji`, `text`, `duration`, `expires_at`; nothing takes it away."""

        def change() -> None:
            user = self.world.user_named(username)
            user.props.pop("customStatus", None)
            if status:
                shown = {"emoji": "", "text": "", "duration": "", "expires_at": "0001-01-01T00:00:00Z", **status}
                user.props["customStatus"] = json.dumps(shown, ensure_ascii=False)
            self.world.changed_user(user)

        self.call(change)

    def posts_to(self, username: str, sender: str = BOT) -> list[Json]:
        """The posts that `sender` wrote to this person directly, oldest first, as clients see them; deleted ones left out."""

        def collect() -> list[Json]:
            one, other = self.world.user_named(username), self.world.user_named(sender)
            name = "__".join(sorted((one.id, other.id)))
            ids = [
                channel.id for channel in self.world.channels.values() if channel.type == "D" and channel.name == name
            ]
            found = [
                post
                for channel_id in ids
                for post in self.world.posts_backwards(channel_id)
                if post.user_id == other.id
            ]
            return [post.wire() for post in reversed(found)]

        return self.call(collect)

    def ephemerals_to(self, username: str) -> list[Json]:
        """The ephemeral posts shown to this person, oldest first."""

        def collect() -> list[Json]:
            user_id = self.world.user_named(username).id
            return [one.post.wire() for one in self.world.ephemerals.values() if one.user_id == user_id]

        return self.call(collect)

    def dialogs_of(self, username: str) -> list[Json]:
        """The dialogs this person's client has been told to open: `{url, dialog}`."""

        def collect() -> list[Json]:
            user_id = self.world.user_named(username).id
            return [
                {"url": one.url, "dialog": one.dialog} for one in self.world.dialogs.values() if one.user_id == user_id
            ]

        return self.call(collect)

    def custom_status_of(self, username: str) -> Json | None:
        """`{emoji, text, duration, expires_at}`, or None."""
        kept = self.call(lambda: self.world.user_named(username).props.get("customStatus"))
        status: Json | None = json.loads(kept) if kept else None
        return status


def token_from_environment(name: str) -> str:
    """A token from the environment, or "" (then one is made)."""
    return os.environ.get(name, "").strip()
