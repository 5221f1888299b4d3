"""What Telegram tells an account, in plain words: messages, edits, deletions, reads, pressed buttons, and whom it met.

A chat's id is the person's id, minus the id of a basic group, or -100 followed by the id of a channel or supergroup, as in
the Bot API (https://core.telegram.org/api/bots/ids, switchboard.domain.telegram.peers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from switchboard.domain.telegram.peers import CHANNEL_BASE, SeenPeer

SERVICE_CHAT = 777_000
"""Telegram itself, which writes the sign-in codes (https://core.telegram.org/api/auth)."""


@dataclass(frozen=True, slots=True, repr=False)
class MessageFact:
    """A message as it is now. `edit` is the unix time of its last edit, 0 for none; `edited`: this is news of an edit.

    `media` holds kind, size, mime type and name, and what is needed to fetch it later.
    """

    chat_id: int
    message_id: int
    sent_at: datetime
    text: str
    out: bool
    sender_id: int | None
    edit: int = 0
    edited: bool = False
    media: Mapping[str, Any] | None = None
    reply_to: int | None = None
    album: int | None = None


@dataclass(frozen=True, slots=True)
class DeletedFact:
    """Messages that are gone; `chat_id` None stands for private chats and basic groups, which share one numbering."""

    chat_id: int | None
    message_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadFact:
    """A chat was read up to a message: by the other side, or (`by_us`) by the account itself."""

    chat_id: int
    max_id: int
    by_us: bool


@dataclass(frozen=True, slots=True, repr=False)
class PressedFact:
    """Somebody pressed a button under a bot's message."""

    query_id: int
    chat_id: int
    message_id: int
    sender_id: int
    data: bytes
    at: datetime


Fact = MessageFact | DeletedFact | ReadFact | PressedFact


@dataclass(frozen=True, slots=True)
class Position:
    """Telegram's state of updates of an account (https://core.telegram.org/api/updates), `date` in unix seconds.

    `top_message` is the highest number of a message in private chats and basic groups so far.
    """

    pts: int
    qts: int
    date: int
    seq: int
    top_message: int


@dataclass(frozen=True, slots=True)
class ChannelPosition:
    """The state of updates of one channel, and the highest number of a message in it so far."""

    pts: int
    top_message: int


@dataclass(frozen=True, slots=True, repr=False)
class Batch:
    """What must be stored in one transaction: facts in their order, peers, and how far the account stands after them.

    `position` None: the account stands where it stood. `channels` holds those that moved, `left` those to be forgotten.
    """

    facts: tuple[Fact, ...] = ()
    peers: tuple[SeenPeer, ...] = ()
    position: Position | None = None
    channels: Mapping[int, ChannelPosition] = field(default_factory=dict)
    left: frozenset[int] = frozenset()

    @property
    def tells(self) -> bool:
        """Whether it says more than how far the account stands: what we send ourselves does not."""
        return bool(self.facts or self.peers or self.channels or self.left)


def is_channel(chat_id: int) -> bool:
    """Whether the chat is a channel or supergroup, which has a numbering of messages and of changes of its own."""
    return chat_id < -CHANNEL_BASE
