"""The page's own addresses: the page and its files, the stream of changes, tokens to act as somebody, calendars, Telegram."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.iostream import StreamClosedError
from tornado.routing import URLSpec

from sandbox.caldav.ics import Attendee
from sandbox.caldav.meetings import CalendarDesk, CalendarRefusedError
from sandbox.caldav.samples import CLARA
from sandbox.mattermost.errors import AppError
from sandbox.mattermost.twin import TEAM, MattermostTwin
from sandbox.page.feed import changes_since, people

_STATIC = Path(__file__).parent / "static"
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "page.css": ("page.css", "text/css; charset=utf-8"),
    "page.js": ("page.js", "text/javascript; charset=utf-8"),
    "telegram.js": ("telegram.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}
REFRESH_S = 0.3
KEEP_ALIVE_S = 15.0
TELEGRAM_S = 15.0  # a pressed button waits for the bot's answer


class SandboxHandler(web.RequestHandler):
    """Answers loopback pages alone: another site that makes a browser call us has another Host or Origin."""

    def initialize(self, twin: MattermostTwin, desk: CalendarDesk | None, telegram_url: str) -> None:
        self.twin = twin
        self.desk = desk
        self.telegram_url = telegram_url

    def prepare(self) -> None:
        host = self.request.host.rpartition(":")[0] if self.request.host.count(":") else self.request.host
        origin = self.request.headers.get("Origin")
        if host not in _LOOPBACK or (origin is not None and origin != f"http://{self.request.host}"):
            raise web.HTTPError(403, reason="Only for a page of this host")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cache-Control", "no-store")

    def body_object(self) -> dict[str, Any]:
        if not self.request.headers.get("Content-Type", "").startswith("application/json"):
            raise web.HTTPError(415)
        try:
            body = json.loads(self.request.body)
        except ValueError:
            raise web.HTTPError(400, reason="The body is not JSON") from None
        if not isinstance(body, dict):
            raise web.HTTPError(400, reason="The body is not an object")
        return body

    def refuse(self, message: str, status: int = 400) -> None:
        self.set_status(status)
        self.finish({"error": message})


class FileHandler(SandboxHandler):
    def get(self, name: str = "") -> None:
        file, content_type = _FILES[name]
        self.set_header("Content-Type", content_type)
        self.finish((_STATIC / file).read_bytes())


class EventsHandler(SandboxHandler):
    """Server-sent events: `state` once, then `changes` at most three times a second, whatever the load."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        world, faults = self.twin.world, self.twin.faults
        sent, fired = world.change_number, -1
        listing: list[dict[str, Any]] = []
        team_id = next(team.id for team in world.teams.values() if team.name == TEAM)
        state = {
            "people": people(world),
            "entries": [entry for entry in changes_since(world, 0) if entry["kind"] != "user"],
            "team_id": team_id,
            "has_calendars": self.desk is not None,
            "has_telegram": bool(self.telegram_url),
        }
        quiet_s = 0.0
        try:
            await self._send("state", state)
            while not self.twin.closing.is_set():
                told = [asdict(fault) for fault in faults.listing()]
                if world.change_number != sent or told != listing or faults.fired != fired:
                    entries, sent = changes_since(world, sent), world.change_number
                    listing, fired, quiet_s = told, faults.fired, 0.0
                    changes = {"entries": entries, "faults": told, "fired": fired, "total_posts": world.total_posts}
                    await self._send("changes", changes)
                elif quiet_s >= KEEP_ALIVE_S:
                    quiet_s = 0.0
                    self.write(": quiet\n\n")
                    await self.flush()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.twin.closing.wait(), REFRESH_S)
                quiet_s += REFRESH_S
        except StreamClosedError:
            return

    async def _send(self, name: str, value: object) -> None:
        self.write(f"event: {name}\ndata: {json.dumps(value, ensure_ascii=False)}\n\n")
        await self.flush()


class SessionHandler(SandboxHandler):
    """POST `{username}`: a token to call the API as that person, as a sign-in would give."""

    def post(self) -> None:
        username = self.body_object().get("username")
        try:
            user = self.twin.world.user_named(username if isinstance(username, str) else "")
        except AppError:
            self.refuse("nobody has this name", 404)
            return
        sessions: dict[str, str] = self.application.settings.setdefault("page_sessions", {})
        if user.id not in sessions:
            sessions[user.id] = self.twin.world.add_token(user.id, "sandbox page").token
        self.finish({"token": sessions[user.id], "user_id": user.id})


class DialogHandler(SandboxHandler):
    """DELETE: a dialog was sent or closed."""

    def delete(self, dialog_id: str) -> None:
        self.twin.world.close_dialog(dialog_id)
        self.finish({})


class CalendarHandler(SandboxHandler):
    """GET `?user=`: the meetings of the work calendar; POST `{action: add | invite | move | cancel, user, ...}`."""

    async def get(self) -> None:
        desk, user = self._desk(), self.get_query_argument("user")
        if desk is None:
            return
        try:
            found = await asyncio.to_thread(desk.meetings, user)
        except CalendarRefusedError as refusal:
            self.refuse(str(refusal), 502)
            return
        self.finish(
            {"meetings": [{**asdict(one), "start": one.start.isoformat(), "end": one.end.isoformat()} for one in found]}
        )

    async def post(self) -> None:
        desk, body = self._desk(), self.body_object()
        if desk is None:
            return
        action, user, uid = (str(body.get(name) or "") for name in ("action", "user", "uid"))
        minutes = body.get("minutes", 11)
        if not isinstance(minutes, int) or not 0 <= minutes <= 7 * 24 * 60:
            self.refuse("minutes must be a whole number from 0 to a week")
            return
        start = datetime.now(UTC) + timedelta(minutes=minutes)
        summary = str(body.get("summary") or "A new meeting")[:200]
        try:
            if action == "add":
                await asyncio.to_thread(desk.add, user, summary, start)
            elif action == "invite":
                asked = Attendee(f"{user}@example.org", user.capitalize(), "NEEDS-ACTION")
                await asyncio.to_thread(desk.add, user, summary, start, attendees=(CLARA, asked))
            elif action == "move":
                await asyncio.to_thread(desk.move, user, uid, start)
            elif action == "cancel":
                await asyncio.to_thread(desk.cancel, user, uid)
            else:
                self.refuse("action must be add, invite, move or cancel")
                return
        except CalendarRefusedError as refusal:
            self.refuse(str(refusal), 502)
            return
        self.finish({"status": "done"})

    def _desk(self) -> CalendarDesk | None:
        if self.desk is None:
            self.refuse("the sandbox was started without a CalDAV server", 404)
        return self.desk


class TelegramHandler(SandboxHandler):
    """What the twin of Telegram, another process, shows and does for one of its people (see `sandbox/telegram/control.py`).

    GET `?as=P&chat=C`: everything to draw, at once; POST `/messages`, `/reads`, `/presses` as there.
    """

    async def get(self, action: str | None) -> None:
        if action is not None:
            raise web.HTTPError(405)
        person, chat = self.get_query_argument("as", ""), self.get_query_argument("chat", "")
        known, codes = await self._ask(""), await self._ask("/codes")
        seen = {
            "people": known["people"],
            "sample_passwords": known["sample_passwords"],
            "codes": codes["codes"][-5:],
            "chats": [],
            "messages": [],
        }
        if person:
            seen |= await self._ask("/chats?" + urlencode({"as": person}))
        if person and chat:
            seen |= await self._ask("/messages?" + urlencode({"as": person, "chat": chat}))
            seen["messages"] = seen["messages"][-200:]
        self.finish(seen)

    async def post(self, action: str | None) -> None:
        if action is None:
            raise web.HTTPError(405)
        self.finish(await self._ask(f"/{action}", self.body_object()))

    async def _ask(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The twin's answer. HTTPError 404 without a twin, 502 when it is down, its own status when it refuses."""
        if not self.telegram_url:
            raise web.HTTPError(404, reason="The sandbox was started without a twin of Telegram")
        try:
            answer = await AsyncHTTPClient().fetch(
                f"{self.telegram_url}/_sandbox/telegram{path}",
                method="GET" if body is None else "POST",
                body=None if body is None else json.dumps(body),
                request_timeout=TELEGRAM_S,
                raise_error=False,
            )
        except (HTTPClientError, OSError):
            raise web.HTTPError(502, reason="The twin of Telegram does not answer") from None
        found: dict[str, Any] = json.loads(answer.body)
        if "error" in found:
            self.refuse(str(found["error"]), answer.code)
            raise web.Finish
        return found

    def write_error(self, status_code: int, **about: Any) -> None:
        self.refuse(self._reason, status_code)


def page_routes(twin: MattermostTwin, desk: CalendarDesk | None = None, telegram_url: str = "") -> list[URLSpec]:
    """What to give to `twin.add_routes`; `telegram_url` is where the twin of Telegram has its side door, if there is one."""
    common = {"twin": twin, "desk": desk, "telegram_url": telegram_url}
    return [
        URLSpec(r"/", FileHandler, common),
        URLSpec(r"/_sandbox/(page\.css|page\.js|telegram\.js)", FileHandler, common),
        URLSpec(r"/_sandbox/events", EventsHandler, common),
        URLSpec(r"/_sandbox/sessions", SessionHandler, common),
        URLSpec(r"/_sandbox/dialogs/([A-Za-z0-9]+)", DialogHandler, common),
        URLSpec(r"/_sandbox/calendar", CalendarHandler, common),
        URLSpec(r"/_sandbox/telegram(?:/(messages|reads|presses))?", TelegramHandler, common),
    ]
