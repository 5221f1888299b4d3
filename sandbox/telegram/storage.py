"""The twin's memory across restarts: one JSON line a change in `telegram.jsonl`, rewritten shorter at each start.

TL objects (entities, buttons, service actions) are kept as their own bytes, in Base64.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path
from typing import Any

from telethon.extensions import BinaryReader
from telethon.tl import TLObject

from sandbox.telegram.model import (
    AuthKey,
    Ban,
    Contact,
    Event,
    Forward,
    Group,
    Invite,
    JoinRequest,
    Media,
    Member,
    Password,
    Peer,
    Person,
    Post,
    Privacy,
)
from sandbox.telegram.world import SERVICE_ID, World

KEPT_EVENTS = 2_000  # of each box


class Journal:
    """Writes what the world records; `flush` is called a few times a second and at the end."""

    def __init__(self, path: Path, world: World) -> None:
        self._path = path
        self._world = world
        self._dirty: dict[tuple[str, object], object] = {}

    def load(self) -> bool:
        """Fill the world from the file; False when there is none. A line cut off by a crash is left out."""
        latest: dict[tuple[str, str], dict[str, Any]] = {}
        events: list[dict[str, Any]] = []
        known = self._path.exists()
        if known:
            with self._path.open(encoding="utf-8") as lines:
                for line in lines:
                    try:
                        kind, name, fields = json.loads(line)
                    except ValueError:
                        continue
                    if kind == "event":
                        events.append(fields)
                    else:
                        latest[kind, name] = fields
        for (kind, _name), fields in latest.items():
            if fields:
                self._restore(kind, fields)
        for fields in events:
            peer = Peer.parse(fields["peer"]) if fields["peer"] else None
            event = Event(fields["pts"], fields["span"], fields["kind"], tuple(fields["ids"]), peer, fields["date"])
            self._world.put_event(fields["owner"], event)
        for box in self._world.boxes.values():
            surplus = len(box.log) - KEPT_EVENTS
            if surplus > 0:
                box.forgotten_pts = box.log[surplus - 1].pts
                del box.log[:surplus]
            elif box.log:
                box.forgotten_pts = max(box.forgotten_pts, box.log[0].pts - box.log[0].span)
        self._rewrite()
        self._world.record = self._record
        return known

    def _restore(self, kind: str, fields: dict[str, Any]) -> None:
        world = self._world
        match kind:
            case "world":
                world.secret = bytes.fromhex(fields["secret"])
                world.file_epoch, world.salt_epoch = fields["file_epoch"], fields["salt_epoch"]
                world.apps.update({int(number): text for number, text in fields["apps"].items()})
            case "person":
                world.put_person(_person(fields))
            case "group":
                world.put_group(_group(fields))
            case "media":
                media = _media(fields)
                world.media[media.file_id] = media
            case "post":
                world.put_post(_post(fields))
            case "dialog":
                mark = world.dialog(fields["owner"], Peer.parse(fields["peer"]))
                mark.read_in, mark.read_out = fields["read_in"], fields["read_out"]
            case "box":
                box = world.boxes[fields["owner"]]
                box.pts, box.last_id = max(box.pts, fields["pts"]), max(box.last_id, fields["last_id"])
            case "key":
                key = AuthKey(**{**fields, "key": base64.b64decode(fields["key"])})
                world.keys[key.id] = key

    def _record(self, kind: str, thing: Any) -> None:
        if kind == "event":
            owner, event = thing
            self._dirty["event", (owner, event.pts, event.kind, event.ids)] = thing
        elif kind == "dialog":
            reader, peer = thing
            self._dirty["dialog", (_id(reader), peer)] = (_id(reader), peer)
        elif kind == "world":
            self._dirty["world", ""] = None
        else:
            self._dirty[kind, _name(thing)] = thing

    def flush(self) -> None:
        """Append what changed since the last time."""
        if not self._dirty:
            return
        waiting, self._dirty = self._dirty, {}
        with self._path.open("a", encoding="utf-8") as out:
            out.writelines(self._line(kind, thing) for (kind, _key), thing in waiting.items())

    def _line(self, kind: str, thing: Any) -> str:
        fields: dict[str, Any]
        if kind == "event":
            owner, event = thing
            name = ""
            fields = {**event._asdict(), "owner": owner, "peer": event.peer.key if event.peer else ""}
        elif kind == "dialog":
            owner, peer = thing
            mark = self._world.dialog(owner, peer)
            name = f"{owner}/{peer.key}"
            fields = {"owner": owner, "peer": peer.key, "read_in": mark.read_in, "read_out": mark.read_out}
        elif kind == "world":
            world = self._world
            name, fields = "", {"secret": world.secret.hex(), "file_epoch": world.file_epoch,
                                "salt_epoch": world.salt_epoch, "apps": world.apps}  # fmt: skip
        elif kind == "box":
            name, fields = thing
        else:
            name = str(_name(thing))
            gone = kind == "key" and thing.id not in self._world.keys
            fields = {} if gone else _plain(thing)
        return json.dumps([kind, name, fields], ensure_ascii=False, separators=(",", ":")) + "\n"

    def _rewrite(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        world, short = self._world, self._path.with_suffix(".new")
        short.touch(mode=0o600)  # it holds authorisation keys
        with short.open("w", encoding="utf-8") as out:
            out.write(self._line("world", None))
            for kind, things in (("person", world.people), ("group", world.groups), ("media", world.media),
                                 ("post", world.posts), ("key", world.keys)):  # fmt: skip
                out.writelines(
                    self._line(kind, thing) for thing in list(things.values()) if getattr(thing, "id", 0) != SERVICE_ID
                )
            for owner, box in world.boxes.items():
                out.write(self._line("box", (str(owner), {"owner": owner, "pts": box.pts, "last_id": box.last_id})))
                out.writelines(self._line("dialog", (owner, peer)) for peer in box.dialogs)
                out.writelines(self._line("event", (owner, event)) for event in box.log)
        short.replace(self._path)


def _id(reader: Any) -> int:
    return int(reader if isinstance(reader, int) else reader.id)


def _name(thing: Any) -> object:
    return getattr(thing, "uid", None) or getattr(thing, "file_id", None) or getattr(thing, "id", "")


def _plain(value: Any) -> Any:
    """Fields as JSON: peers as `kind:id`, bytes as Base64, TL objects as Base64 of their bytes."""
    if isinstance(value, Peer):
        return value.key
    if dataclasses.is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, TLObject):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _tl(text: str | None) -> Any:
    if text is None:
        return None
    with BinaryReader(base64.b64decode(text)) as reader:
        return reader.tgread_object()


def _person(fields: dict[str, Any]) -> Person:
    password = fields.pop("password")
    person = Person(
        **{
            **fields,
            "privacy": Privacy(**fields["privacy"]),
            "contacts": {int(number): Contact(**one) for number, one in fields["contacts"].items()},
            "blocked": {int(number): since for number, since in fields["blocked"].items()},
            "commands": {name: [(one, text) for one, text in listed] for name, listed in fields["commands"].items()},
        }
    )
    if password is not None:
        salts = {name: base64.b64decode(password[name]) for name in ("salt1", "salt2")}
        person.password = Password(**{**password, **salts})
    return person


def _group(fields: dict[str, Any]) -> Group:
    return Group(
        **{
            **fields,
            "members": {int(number): Member(**one) for number, one in fields["members"].items()},
            "bans": {int(number): Ban(**one) for number, one in fields["bans"].items()},
            "invites": {name: Invite(**one) for name, one in fields["invites"].items()},
            "requests": {int(number): JoinRequest(**one) for number, one in fields["requests"].items()},
        }
    )


def _media(fields: dict[str, Any]) -> Media:
    return Media(**{**fields, "attributes": [_tl(one) for one in fields["attributes"]]})


def _post(fields: dict[str, Any]) -> Post:
    forward = fields["forward"]
    return Post(
        **{
            **fields,
            "peer": Peer.parse(fields["peer"]),
            "entities": [_tl(one) for one in fields["entities"]],
            "media": _media(fields["media"]) if fields["media"] else None,
            "action": _tl(fields["action"]),
            "markup": _tl(fields["markup"]),
            "forward": Forward(**{**forward, "from_peer": Peer.parse(forward["from_peer"])}) if forward else None,
            "copies": {int(owner): number for owner, number in fields["copies"].items()},
        }
    )
