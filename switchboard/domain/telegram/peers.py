"""Whom a message goes to: Telegram's peers by one number each, and the ways in which people name them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from switchboard.domain.telegram import phones
from switchboard.errors import InvalidInputError

CHANNEL_BASE = 10**12
"""A channel's id is shown as -100 and its number (https://core.telegram.org/api/bots/ids)."""
MOST_USER_ID = 2**40 - 1
LEAST_CHAT_ID = -4 * 10**12
"""The ids of people end and those of chats begin there, by the same page."""
_USERNAME = re.compile(r"@?([A-Za-z][A-Za-z0-9_]{3,31})")
_ID = re.compile(r"-?[1-9][0-9]{0,12}")


class PeerKind(StrEnum):
    """What a peer is; supergroups are channels to Telegram."""

    USER = "user"
    CHAT = "chat"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer as one account may address it: the access hash belongs to the account. A basic group needs none (0)."""

    kind: PeerKind
    id: int
    access_hash: int = 0

    @property
    def chat_id(self) -> int:
        """One number for all kinds: users above 0, basic groups below, channels below -10^12."""
        match self.kind:
            case PeerKind.USER:
                return self.id
            case PeerKind.CHAT:
                return -self.id
            case PeerKind.CHANNEL:
                return -CHANNEL_BASE - self.id

    @classmethod
    def of(cls, chat_id: int, access_hash: int) -> Peer:
        """The peer of such a number."""
        if chat_id > 0:
            return cls(PeerKind.USER, chat_id, access_hash)
        if chat_id > -CHANNEL_BASE:
            return cls(PeerKind.CHAT, -chat_id, access_hash)
        return cls(PeerKind.CHANNEL, -chat_id - CHANNEL_BASE, access_hash)


@dataclass(frozen=True, slots=True)
class SeenPeer:
    """A peer that Telegram showed to an account, with what it is known by; `phone` with its plus."""

    peer: Peer
    name: str
    username: str | None = None
    phone: str | None = None
    is_bot: bool = False


class AddressKind(StrEnum):
    """How somebody is named."""

    ID = "id"
    USERNAME = "username"
    PHONE = "phone"


@dataclass(frozen=True, slots=True, repr=False)
class Address:
    """A name of a peer in one spelling: a chat_id, a username in small letters, or a phone."""

    kind: AddressKind
    value: str


def parse_address(text: str) -> Address:
    """`@name` or a name, a number (chat_id), or a phone that begins with `+`. InvalidInputError for anything else."""
    text = text.strip()
    if _ID.fullmatch(text) and LEAST_CHAT_ID <= int(text) <= MOST_USER_ID:
        return Address(AddressKind.ID, text)
    if found := _USERNAME.fullmatch(text):
        return Address(AddressKind.USERNAME, found[1].lower())
    if text.startswith("+"):
        return Address(AddressKind.PHONE, phones.normalise(text))
    raise InvalidInputError(
        "this names nobody at Telegram: give an id, a @username or a phone with +", field="telegram"
    )
