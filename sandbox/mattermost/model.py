"""What the twin keeps, and how each thing looks on the wire (field names of the vendor's specification).

Times are whole milliseconds since 1970, as the server writes them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

_ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
MESSAGE_MAX_RUNES = 16383
PROPS_MAX_RUNES = 800_000


def new_id() -> str:
    """A new id: 26 characters of the server's base 32 alphabet (128 random bits)."""
    number = uuid.uuid4().int << 2
    return "".join([_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5)])


def is_id(value: object) -> bool:
    return isinstance(value, str) and len(value) == 26 and value.isascii() and value.isalnum()


@dataclass(slots=True)
class User:
    id: str
    username: str
    email: str
    create_at: int
    update_at: int
    delete_at: int = 0
    first_name: str = ""
    last_name: str = ""
    nickname: str = ""
    position: str = ""
    locale: str = "en"
    roles: str = "system_user"
    props: dict[str, str] = field(default_factory=dict)
    timezone: dict[str, str] = field(
        default_factory=lambda: {"useAutomaticTimezone": "true", "manualTimezone": "", "automaticTimezone": ""}
    )
    status: str = "offline"
    status_manual: bool = False
    last_activity_at: int = 0
    is_bot: bool = False
    bot_display_name: str = ""
    bot_description: str = ""
    bot_owner_id: str = ""

    def wire(self) -> Json:
        shown: Json = {
            "id": self.id,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "delete_at": self.delete_at,
            "username": self.username,
            "auth_data": "",
            "auth_service": "",
            "email": self.email,
            "email_verified": True,
            "nickname": self.nickname,
            "first_name": self.first_name,
            "last_name": self.last_name,
            "position": self.position,
            "roles": self.roles,
            "props": dict(self.props),
            "locale": self.locale,
            "timezone": dict(self.timezone),
            "disable_welcome_email": False,
        }
        if self.is_bot:
            shown |= {"is_bot": True, "bot_description": self.bot_description}
        return shown

    def bot_wire(self) -> Json:
        return {
            "user_id": self.id,
            "username": self.username,
            "display_name": self.bot_display_name,
            "description": self.bot_description,
            "owner_id": self.bot_owner_id,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "delete_at": self.delete_at,
        }

    def status_wire(self) -> Json:
        return {
            "user_id": self.id,
            "status": self.status,
            "manual": self.status_manual,
            "last_activity_at": self.last_activity_at,
            "dnd_end_time": 0,
        }


@dataclass(slots=True)
class AccessToken:
    id: str
    token: str
    user_id: str
    description: str
    is_active: bool = True

    def wire(self) -> Json:
        """The answer to the creation, the only one that shows the token itself."""
        return {
            "id": self.id,
            "token": self.token,
            "user_id": self.user_id,
            "description": self.description,
            "is_active": self.is_active,
        }


@dataclass(slots=True)
class Team:
    id: str
    name: str
    display_name: str
    create_at: int
    update_at: int
    delete_at: int = 0
    members: dict[str, str] = field(default_factory=dict)  # user id -> team roles

    def wire(self) -> Json:
        return {
            "id": self.id,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "delete_at": self.delete_at,
            "display_name": self.display_name,
            "name": self.name,
            "description": "",
            "email": "",
            "type": "O",
            "company_name": "",
            "allowed_domains": "",
            "invite_id": "",
            "allow_open_invite": False,
        }

    def member_wire(self, user_id: str) -> Json:
        roles = self.members[user_id]
        return {
            "team_id": self.id,
            "user_id": user_id,
            "roles": roles,
            "delete_at": 0,
            "scheme_guest": False,
            "scheme_user": "team_user" in roles,
            "scheme_admin": "team_admin" in roles,
            "explicit_roles": "",
        }


@dataclass(slots=True)
class Channel:
    id: str
    type: str
    name: str
    display_name: str
    team_id: str
    creator_id: str
    create_at: int
    update_at: int
    delete_at: int = 0
    last_post_at: int = 0
    total_msg_count: int = 0
    members: list[str] = field(default_factory=list)

    def wire(self) -> Json:
        return {
            "id": self.id,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "delete_at": self.delete_at,
            "team_id": self.team_id,
            "type": self.type,
            "display_name": self.display_name,
            "name": self.name,
            "header": "",
            "purpose": "",
            "last_post_at": self.last_post_at,
            "total_msg_count": self.total_msg_count,
            "extra_update_at": 0,
            "creator_id": self.creator_id,
        }

    def member_wire(self, user_id: str) -> Json:
        return {
            "channel_id": self.id,
            "user_id": user_id,
            "roles": "channel_user",
            "last_viewed_at": 0,
            "msg_count": 0,
            "mention_count": 0,
            "notify_props": {"desktop": "default", "email": "default", "mark_unread": "all", "push": "default"},
            "last_update_at": self.update_at,
        }


@dataclass(slots=True)
class Post:
    id: str
    channel_id: str
    user_id: str
    message: str
    create_at: int
    update_at: int
    edit_at: int = 0
    delete_at: int = 0
    is_pinned: bool = False
    root_id: str = ""
    original_id: str = ""
    type: str = ""
    props: Json = field(default_factory=dict)
    hashtags: str = ""
    file_ids: list[str] = field(default_factory=list)

    def wire(self, pending_post_id: str = "") -> Json:
        """The post as clients see it: buttons without their integration (Post.StripActionIntegrations)."""
        shown: Json = {
            "id": self.id,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "edit_at": self.edit_at,
            "delete_at": self.delete_at,
            "is_pinned": self.is_pinned,
            "user_id": self.user_id,
            "channel_id": self.channel_id,
            "root_id": self.root_id,
            "original_id": self.original_id,
            "message": self.message,
            "type": self.type,
            "props": _without_integrations(self.props) if "attachments" in self.props else self.props,
            "hashtags": self.hashtags,
            "pending_post_id": pending_post_id,
            "reply_count": 0,
            "last_reply_at": 0,
            "participants": None,
            "metadata": {},
        }
        if self.file_ids:
            shown["file_ids"] = self.file_ids
        return shown

    def actions(self) -> list[Json]:
        return [
            action
            for attachment in self.props.get("attachments") or ()
            for action in attachment.get("actions") or ()
            if isinstance(action, dict)
        ]


def _without_integrations(props: Json) -> Json:
    shown = []
    for attachment in props.get("attachments") or ():
        copy = dict(attachment)
        if copy.get("actions"):
            copy["actions"] = [
                {key: value for key, value in action.items() if key != "integration"} for action in copy["actions"]
            ]
        shown.append(copy)
    return {**props, "attachments": shown}


@dataclass(slots=True)
class Command:
    id: str
    token: str
    create_at: int
    update_at: int
    creator_id: str
    team_id: str
    trigger: str
    method: str
    url: str
    delete_at: int = 0
    username: str = ""
    icon_url: str = ""
    auto_complete: bool = False
    auto_complete_desc: str = ""
    auto_complete_hint: str = ""
    display_name: str = ""
    description: str = ""

    def wire(self) -> Json:
        """All the server keeps: `autocomplete_data` is not among it, so what a client sent there is gone."""
        return {
            "id": self.id,
            "token": self.token,
            "create_at": self.create_at,
            "update_at": self.update_at,
            "delete_at": self.delete_at,
            "creator_id": self.creator_id,
            "team_id": self.team_id,
            "trigger": self.trigger,
            "method": self.method,
            "username": self.username,
            "icon_url": self.icon_url,
            "auto_complete": self.auto_complete,
            "auto_complete_desc": self.auto_complete_desc,
            "auto_complete_hint": self.auto_complete_hint,
            "display_name": self.display_name,
            "description": self.description,
            "url": self.url,
            "plugin_id": "",
        }

    def sanitized(self) -> Json:
        """As listed with the built-in ones: without token, creator, method, url (Command.Sanitize)."""
        return self.wire() | {"token": "", "creator_id": "", "method": "", "url": "", "username": "", "icon_url": ""}
