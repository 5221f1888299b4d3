"""The things a Telegram server keeps: people, groups, posts, message boxes, authorisation keys."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

PeerKind = Literal["user", "chat", "channel"]
Audience = Literal["everybody", "contacts", "nobody"]
GroupKind = Literal["chat", "megagroup", "broadcast"]
Role = Literal["creator", "admin", "member"]
EventKind = Literal["new", "edit", "delete", "read_in", "read_out"]

Tl = Any  # an object of telethon.tl: the package has no types


class Peer(NamedTuple):
    """Whom a message is written to, as one account sees it."""

    kind: PeerKind
    id: int

    @property
    def key(self) -> str:
        return f"{self.kind}:{self.id}"

    @classmethod
    def parse(cls, key: str) -> Peer:
        kind, _, number = key.partition(":")
        return cls(kind, int(number))  # type: ignore[arg-type]  # written by `key` above


@dataclass(slots=True)
class Privacy:
    """Who may do what with a person (core.telegram.org/api/privacy)."""

    added_by_phone: Audience = "everybody"  # find the person by the phone number
    phone_number: Audience = "contacts"  # see the phone number
    chat_invite: Audience = "everybody"  # add the person to groups and channels
    write: Audience = "everybody"  # `contacts`: others need Telegram Premium


@dataclass(slots=True)
class Contact:
    """An entry of a person's address book: the name they gave."""

    first_name: str
    last_name: str
    phone: str


@dataclass(slots=True)
class Password:
    """A cloud password as the server keeps it: never the password, only g^x mod p (core.telegram.org/api/srp)."""

    salt1: bytes
    salt2: bytes
    verifier: int
    hint: str


@dataclass(slots=True)
class Person:
    """A user, a bot, or the service account 777000."""

    id: int
    first_name: str
    last_name: str = ""
    phone: str = ""  # digits only
    username: str = ""
    about: str = ""
    is_bot: bool = False
    token: str = ""
    reads_groups: bool = False  # a bot with privacy mode off
    premium: bool = False
    deleted: bool = False
    banned: bool = False
    privacy: Privacy = field(default_factory=Privacy)
    contacts: dict[int, Contact] = field(default_factory=dict)
    blocked: dict[int, int] = field(default_factory=dict)  # person to when
    password: Password | None = None
    commands: dict[str, list[tuple[str, str]]] = field(
        default_factory=dict
    )  # "scope|language" to (command, description)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(slots=True)
class Member:
    user_id: int
    inviter_id: int
    date: int
    role: Role = "member"
    rights: list[str] = field(default_factory=list)  # flags of chatAdminRights
    promoted_by: int = 0
    rank: str = ""
    via_request: bool = False


@dataclass(slots=True)
class Ban:
    """A restriction of one member; with `view_messages` among the rights it is a kick."""

    user_id: int
    kicked_by: int
    date: int
    until: int
    rights: list[str]  # flags of chatBannedRights


@dataclass(slots=True)
class Invite:
    hash: str
    admin_id: int
    date: int
    title: str = ""
    expire_date: int = 0
    usage_limit: int = 0
    usage: int = 0
    request_needed: bool = False
    revoked: bool = False
    permanent: bool = False

    @property
    def link(self) -> str:
        return f"https://t.me/+{self.hash}"


@dataclass(slots=True)
class JoinRequest:
    user_id: int
    date: int
    invite_hash: str = ""


@dataclass(slots=True)
class Group:
    """A basic group (`chat`), a supergroup (`megagroup`) or a channel (`broadcast`)."""

    id: int
    kind: GroupKind
    title: str
    creator_id: int
    date: int
    about: str = ""
    username: str = ""
    members: dict[int, Member] = field(default_factory=dict)
    bans: dict[int, Ban] = field(default_factory=dict)
    left: list[int] = field(default_factory=list)  # who went by themselves
    default_bans: list[str] = field(default_factory=list)
    invites: dict[str, Invite] = field(default_factory=dict)
    requests: dict[int, JoinRequest] = field(default_factory=dict)
    version: int = 1
    slow_mode_s: int = 0
    join_request: bool = False
    migrated_to: int = 0
    migrated_from: int = 0
    deactivated: bool = False

    @property
    def peer(self) -> Peer:
        return Peer("chat" if self.kind == "chat" else "channel", self.id)


@dataclass(slots=True)
class Media:
    """A photo or a document in a message; the bytes lie in the file store under `file_id`."""

    kind: Literal["photo", "document"]
    file_id: int
    size: int
    date: int
    width: int = 0
    height: int = 0
    mime_type: str = ""
    attributes: list[Tl] = field(default_factory=list)
    spoiler: bool = False
    ttl_s: int = 0


@dataclass(slots=True)
class Forward:
    """Where a forwarded post comes from."""

    date: int
    from_peer: Peer
    channel_post: int = 0


@dataclass(slots=True)
class Post:
    """One message. In private chats and basic groups each account has a copy with its own number, in channels all share one."""

    uid: int
    sender_id: int
    peer: Peer  # as the sender sees it
    date: int
    text: str = ""
    entities: list[Tl] = field(default_factory=list)
    media: Media | None = None
    action: Tl = None
    markup: Tl = None
    reply_to: int = 0  # uid
    forward: Forward | None = None
    grouped_id: int = 0
    edit_date: int = 0
    silent: bool = False
    random_id: int = 0
    copies: dict[int, int] = field(default_factory=dict)  # account to number; the channel's id to number in a channel


class Event(NamedTuple):
    """One numbered change of a message box: after it the box stands at `pts` (core.telegram.org/api/updates)."""

    pts: int
    span: int  # pts_count
    kind: EventKind
    ids: tuple[int, ...]  # messages; for reads: (max_id, still unread)
    peer: Peer | None
    date: int


@dataclass(slots=True)
class Dialog:
    """How far one account, and the other side, have read a chat."""

    read_in: int = 0
    read_out: int = 0


@dataclass(slots=True)
class Box:
    """A message box with its own pts: one for each account, one for each supergroup or channel."""

    pts: int = 1
    last_id: int = 0
    posts: OrderedDict[int, Post] = field(default_factory=OrderedDict)
    by_peer: dict[Peer, list[int]] = field(default_factory=dict)
    log: list[Event] = field(default_factory=list)
    dialogs: dict[Peer, Dialog] = field(default_factory=dict)
    forgotten_pts: int = 0  # changes up to here are no longer in the log


@dataclass(slots=True)
class AuthKey:
    """What one client installation shares with the server, and who signed in with it."""

    id: int
    key: bytes
    created: int
    user_id: int = 0
    pending_user_id: int = 0  # the code was right, the password is still to come
    api_id: int = 0
    layer: int = 0  # 0 until initConnection
    device: str = ""
    system: str = ""
    app: str = ""
    signed_in: int = 0
    active: int = 0
    refusal: str = ""  # the error every call gets, once the session is over
    hash: int = 0  # names the session in account.getAuthorizations


@dataclass(slots=True)
class SentCode:
    """A sign-in code on its way."""

    phone: str
    code: str
    hash: str
    via: Literal["app", "sms"]
    date: float
    api_id: int
    attempts: int = 0
    resends: int = 0
    cancelled: bool = False
    used: bool = False
