"""What the page is told: people, posts, ephemeral posts and dialogs as plain values, only the newest 200 and what changed."""

from __future__ import annotations

import json
from typing import Any

from sandbox.mattermost.api.posts import ephemeral_wire
from sandbox.mattermost.model import Json, User
from sandbox.mattermost.world import RECENT_LIMIT, World
from sandbox.page.markdown import emoji, render


def changes_since(world: World, number: int) -> list[Json]:
    """Entries that changed after change `number`, oldest first; people always, of the rest at most the newest 200."""
    found: list[Json] = []
    for (kind, key), changed in reversed(world.recent.items()):
        if changed <= number or len(found) >= RECENT_LIMIT:
            break
        entry = describe(world, kind, key)
        if entry is not None:
            found.append(entry)
    return found[::-1]


def people(world: World) -> list[Json]:
    return [
        describe_user(user) for user in sorted(world.users.values(), key=lambda user: (user.is_bot, user.username))
    ][:500]


def describe(world: World, kind: str, key: str) -> Json | None:
    """One entry for the page; None when the thing is no longer there."""
    if kind == "user":
        return describe_user(world.users[key])
    if kind == "dialog":
        dialog = world.dialogs.get(key)
        if dialog is None:
            return {"kind": "dialog", "id": key, "closed": True}
        return {
            "kind": "dialog",
            "id": key,
            "user_id": dialog.user_id,
            "url": dialog.url,
            "dialog": dialog.dialog,
            "introduction_html": render(str(dialog.dialog.get("introduction_text") or "")),
            "at": dialog.opened_at_ms,
        }
    if kind == "ephemeral":
        shown = world.ephemerals.get(key)
        if shown is None:
            return None
        return {**_post(world, ephemeral_wire(shown), [shown.user_id]), "kind": "ephemeral", "only_for": shown.user_id}
    post = world.posts.get(key)
    return None if post is None else _post(world, post.wire(), world.channels[post.channel_id].members)


def describe_user(user: User) -> Json:
    custom = json.loads(user.props["customStatus"]) if user.props.get("customStatus") else None
    if custom:
        custom["picture"] = emoji(custom.get("emoji", ""))
    name = user.bot_display_name if user.is_bot else f"{user.first_name} {user.last_name}".strip()
    return {
        "kind": "user",
        "id": user.id,
        "username": user.username,
        "name": name or user.username,
        "is_bot": user.is_bot,
        "locale": user.locale,
        "status": user.status,
        "custom_status": custom,
        "deactivated": user.delete_at > 0,
    }


def _post(world: World, wire: Json, members: list[str]) -> Json:
    channel = world.channels[wire["channel_id"]]
    return {
        "kind": "post",
        "id": wire["id"],
        "channel_id": channel.id,
        "channel": "" if channel.type == "D" else channel.display_name,
        "sender_id": wire["user_id"],
        "receiver_ids": [member for member in members if member != wire["user_id"]] if channel.type == "D" else [],
        "member_ids": members[:50],
        "at": wire["create_at"],
        "edited": wire["edit_at"] > 0,
        "deleted": wire["delete_at"] > 0,
        "from_integration": wire["props"].get("from_webhook") == "true",
        "html": render(wire["message"]),
        "attachments": [_attachment(one) for one in wire["props"].get("attachments") or ()],
    }


def _attachment(attachment: Json) -> Json:
    def text(name: str) -> str:
        value = attachment.get(name)
        return value if isinstance(value, str) else ""

    link = text("title_link")
    return {
        "color": text("color"),
        "pretext_html": render(text("pretext")),
        "title": text("title"),
        "title_link": link if link.startswith(("http://", "https://")) else "",
        "text_html": render(text("text")),
        "footer": text("footer"),
        "fields": [_field(one) for one in attachment.get("fields") or () if isinstance(one, dict)],
        "actions": [
            {name: action.get(name) or "" for name in ("id", "name", "type", "style", "cookie", "default_option")}
            | {"options": action.get("options") or []}
            for action in attachment.get("actions") or ()
        ],
    }


def _field(field: dict[str, Any]) -> Json:
    return {
        "title": str(field.get("title") or ""),
        "html": render(str(field.get("value") or "")),
        "short": field.get("short") is True,
    }
