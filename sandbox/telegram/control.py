"""The twin's side door over HTTP, for the page and for tests of other processes: people, chats, messages, codes, faults.

    GET    /_sandbox/telegram                      port, dc, app, people, what was called and which faults fired
    GET    /_sandbox/telegram/codes[?phone=]       the sign-in codes sent, the newest last
    GET    /_sandbox/telegram/chats?as=P           the chats of a person, the newest first
    GET    /_sandbox/telegram/messages?as=P&chat=C what a person sees in a chat, the oldest first
    POST   /_sandbox/telegram/messages             {"as": P, "chat": C, "text": ..., "reply_to": 0}
    POST   /_sandbox/telegram/reads                {"as": P, "chat": C}
    POST   /_sandbox/telegram/presses              {"as": P, "chat": C, "message": 5, "data": "base64"}: a button
    GET, POST, DELETE /_sandbox/telegram/faults[/id]

P is a person's id, phone, username or name; C these, or the id or title of a group.
"""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
from typing import Any

from telethon.tl import types
from tornado import web
from tornado.routing import URLSpec

from sandbox.telegram.faults import InvalidFaultError
from sandbox.telegram.model import Group, Person, Post
from sandbox.telegram.samples import OFFICE_PASSWORD, OFFICE_PHONE
from sandbox.telegram.twin import API_HASH, API_ID, TelegramTwin
from sandbox.telegram.world import SERVICE_ID, UnknownNameError

Json = dict[str, Any]
PREFIX = "/_sandbox/telegram"
_FORMATS = {
    types.MessageEntityBold: "b",
    types.MessageEntityItalic: "i",
    types.MessageEntityUnderline: "u",
    types.MessageEntityStrike: "s",
    types.MessageEntityCode: "code",
    types.MessageEntityPre: "code",
    types.MessageEntityTextUrl: "a",
}


def person_json(person: Person) -> Json:
    return {
        "id": person.id,
        "name": person.name,
        "phone": person.phone,
        "username": person.username,
        "bot": person.is_bot,
        "password": person.password is not None,
    }


def post_json(twin: TelegramTwin, person: Person, post: Post) -> Json:
    """A message as a person's client would draw it; `read` when the other side has read it."""
    world = twin.world
    owner = post.peer.id if post.peer.kind == "channel" else person.id
    number, place = post.copies[owner], world.peer_in(owner, post)
    answered = world.posts.get(post.reply_to)
    return {
        "id": number,
        "from": post.sender_id,
        "name": world.people[post.sender_id].name,
        "out": post.sender_id == person.id,
        "date": post.date,
        "text": post.text,
        "formats": [  # in UTF-16 units, as Telegram and JavaScript count
            {"tag": tag, "offset": one.offset, "length": one.length, "url": getattr(one, "url", "")}
            for one in post.entities
            if (tag := _FORMATS.get(type(one)))
        ],
        "edited": bool(post.edit_date),
        "read": post.sender_id == person.id and number <= world.dialog(person.id, place).read_out,
        "action": type(post.action).__name__ if post.action is not None else "",
        "media": post.media.kind if post.media is not None else "",
        "album": post.grouped_id,
        "reply_to": answered.copies.get(owner, 0) if answered is not None else 0,
        "buttons": [
            [
                {"text": one.text, "data": base64.b64encode(getattr(one.type, "data", b"")).decode()}
                for one in row.buttons
            ]
            for row in getattr(post.markup, "rows", ())
        ],
    }


class _Door(web.RequestHandler):
    def initialize(self, twin: TelegramTwin) -> None:
        self.twin = twin

    def prepare(self) -> None:
        """Browsers send an Origin with whatever another site makes them post, and that site's name as the Host."""
        if "Origin" in self.request.headers or self.request.host.rpartition(":")[0] not in {"127.0.0.1", "localhost"}:
            raise web.HTTPError(403, reason="Not for web pages")

    def _person(self, name: object) -> Person:
        try:
            return self.twin.world.person(_number_or_word(name))
        except UnknownNameError as unknown:
            raise _BadRequestError(str(unknown)) from None

    def _chat(self, name: object) -> Person | Group:
        try:
            peer = self.twin.world.peer(_number_or_word(name))
        except UnknownNameError as unknown:
            raise _BadRequestError(str(unknown)) from None
        return self.twin.world.people[peer.id] if peer.kind == "user" else self.twin.world.groups[peer.id]

    def _body(self) -> Json:
        try:
            wanted = json.loads(self.request.body)
        except ValueError:
            raise _BadRequestError("the body must be JSON") from None
        if not isinstance(wanted, dict):
            raise _BadRequestError("the body must be a JSON object")
        return wanted

    def write_error(self, status_code: int, **about: Any) -> None:
        failure = about.get("exc_info", (None, None, None))[1]
        self.finish({"error": failure.log_message if isinstance(failure, _BadRequestError) else self._reason})


class _BadRequestError(web.HTTPError):
    def __init__(self, message: str) -> None:
        super().__init__(400, message.replace("%", "%%"))


def _number_or_word(name: object) -> int | str:
    text = str(name)
    return int(text) if text.isdecimal() and len(text) < 12 and not text.startswith("0") else text


class _Overview(_Door):
    def get(self) -> None:
        twin = self.twin
        self.finish(
            {
                "port": twin.port,
                "dc": twin.dc_id,
                "api_id": API_ID,
                "api_hash": API_HASH,
                "public_key": twin.public_pem,
                "people": [person_json(one) for one in twin.world.people.values() if one.id != SERVICE_ID],
                "sample_passwords": {OFFICE_PHONE.lstrip("+"): OFFICE_PASSWORD},
                "connections": len(twin.server.connections),
                "calls": twin.server.calls,
                "unknown": twin.server.unknown,
                "fired": twin.faults.fired,
            }
        )


class _Codes(_Door):
    def get(self) -> None:
        codes = self.twin.codes(self.get_argument("phone", ""))
        self.finish(
            {"codes": [{"phone": one.phone, "code": one.code, "via": one.via, "date": one.date} for one in codes]}
        )


class _Chats(_Door):
    def get(self) -> None:
        person = self._person(self.get_argument("as"))
        listed = []
        for peer in self.twin.chats(person):
            known = (
                self.twin.world.people[peer.id].name if peer.kind == "user" else self.twin.world.groups[peer.id].title
            )
            unread = self.twin.world.unread(person.id, peer)
            listed.append({"kind": peer.kind, "id": peer.id, "title": known, "unread": unread})
        self.finish({"chats": listed})


class _Messages(_Door):
    def get(self) -> None:
        person, chat = self._person(self.get_argument("as")), self._chat(self.get_argument("chat"))
        posts = self.twin.messages(person, chat)
        self.finish({"messages": [post_json(self.twin, person, post) for post in posts]})

    def post(self) -> None:
        wanted = self._body()
        text = wanted.get("text")
        if not isinstance(text, str) or not text.strip():
            raise _BadRequestError("text must not be empty")
        person, chat = self._person(wanted.get("as", "")), self._chat(wanted.get("chat", ""))
        number = self.twin.write_as(person, chat, text, reply_to=int(wanted.get("reply_to", 0)))
        self.set_status(201)
        self.finish({"id": number})


class _Reads(_Door):
    def post(self) -> None:
        wanted = self._body()
        self.twin.read_as(self._person(wanted.get("as", "")), self._chat(wanted.get("chat", "")))
        self.finish({})


class _Presses(_Door):
    async def post(self) -> None:
        wanted = self._body()
        person, chat = self._person(wanted.get("as", "")), self._chat(wanted.get("chat", ""))
        data = base64.b64decode(wanted.get("data", ""))
        try:
            asked = asyncio.wrap_future(self.twin.press_as(person, chat, int(wanted.get("message", 0)), data))
        except UnknownNameError as unknown:
            raise _BadRequestError(str(unknown)) from None
        try:
            async with asyncio.timeout(self.twin.world.settings.callback_timeout_s):
                answer = await asked
        except TimeoutError:
            self.set_status(504)
            self.finish({"error": "the bot did not answer"})
            return
        self.finish({"text": answer.message or "", "alert": bool(answer.alert), "url": answer.url or ""})


class _Faults(_Door):
    def get(self, fault_id: str = "") -> None:
        self.finish(self._listing())

    def post(self, fault_id: str = "") -> None:
        wanted = self._body()
        try:
            fault = self.twin.faults.add(wanted.pop("kind", ""), **wanted)
        except (InvalidFaultError, TypeError) as problem:
            raise _BadRequestError(str(problem)) from None
        self.set_status(201)
        self.finish(dataclasses.asdict(fault))

    def delete(self, fault_id: str = "") -> None:
        if not fault_id:
            self.twin.faults.clear()
        elif not self.twin.faults.remove(int(fault_id)):
            raise web.HTTPError(404)
        self.finish(self._listing())

    def _listing(self) -> Json:
        return {
            "faults": [dataclasses.asdict(one) for one in self.twin.faults.listing()],
            "fired": self.twin.faults.fired,
        }


def control_routes(twin: TelegramTwin) -> list[URLSpec]:
    """The routes for an application on the same event loop as the twin."""
    doors = (("", _Overview), ("/codes", _Codes), ("/chats", _Chats), ("/messages", _Messages), ("/reads", _Reads),
             ("/presses", _Presses), ("/faults(?:/([0-9]+))?", _Faults))  # fmt: skip
    return [URLSpec(PREFIX + path, door, {"twin": twin}) for path, door in doors]
