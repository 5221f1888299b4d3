"""The twin's memory across restarts: one JSON line a change in `mattermost.jsonl`, rewritten shorter at each start."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from sandbox.mattermost.model import AccessToken, Channel, Command, Post, Team, User
from sandbox.mattermost.world import World

KEPT_POSTS = 20_000
_KINDS: dict[str, type[Any]] = {
    "user": User, "token": AccessToken, "team": Team, "channel": Channel, "post": Post, "command": Command,
}  # fmt: skip


class Journal:
    """Writes what `world` records; `flush` is called a few times a second and at the end."""

    def __init__(self, path: Path, world: World) -> None:
        self._path = path
        self._world = world
        self._waiting: list[tuple[str, object]] = []

    def load(self) -> bool:
        """Fill the world from the file; False when there is none. A line cut off by a crash is left out."""
        found: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS}
        roles: dict[str, list[str]] = {}
        known = self._path.exists()
        if known:
            with self._path.open(encoding="utf-8") as lines:
                for line in lines:
                    try:
                        kind, fields = json.loads(line)
                    except ValueError:
                        continue
                    if kind == "role":
                        roles[fields["name"]] = fields["permissions"]
                    elif kind in found:
                        found[kind][fields["id"]] = fields
        world = self._world
        for kind, put in (("user", world.put_user), ("team", world.put_team), ("channel", world.put_channel),
                          ("command", world.put_command)):  # fmt: skip
            for fields in found[kind].values():
                put(_KINDS[kind](**fields))
        for fields in found["token"].values():
            world.tokens[fields["token"]] = AccessToken(**fields)
        for channel in world.channels.values():
            channel.total_msg_count = 0
        kept = sorted(found["post"].values(), key=lambda fields: int(fields["create_at"]))[-KEPT_POSTS:]
        for fields in kept:
            world.put_post(Post(**fields))
        world.roles.update({name: tuple(permissions) for name, permissions in roles.items()})
        self._rewrite(roles)
        world.record = self._record
        return known

    def _record(self, kind: str, thing: object) -> None:
        self._waiting.append((kind, thing))

    def flush(self) -> None:
        """Append what changed since the last time."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with self._path.open("a", encoding="utf-8") as out:
            out.writelines(_line(kind, thing) for kind, thing in waiting)

    def _rewrite(self, roles: dict[str, list[str]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        short = self._path.with_suffix(".new")
        world = self._world
        with short.open("w", encoding="utf-8") as out:
            out.writelines(_line("role", {"name": name, "permissions": given}) for name, given in roles.items())
            for kind, things in (("user", world.users), ("token", world.tokens), ("team", world.teams),
                                 ("channel", world.channels), ("command", world.commands), ("post", world.posts)):  # fmt: skip
                out.writelines(_line(kind, thing) for thing in list(things.values()))
        short.chmod(0o600)  # it holds access tokens
        short.replace(self._path)


def _line(kind: str, thing: Any) -> str:
    fields = (
        thing if isinstance(thing, dict) else {one.name: getattr(thing, one.name) for one in dataclasses.fields(thing)}
    )
    return json.dumps([kind, fields], ensure_ascii=False, separators=(",", ":")) + "\n"
