"""What the ledger asks of a channel, and what of those who write the messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.telegram.messages import Attachment
from switchboard.services.conversation.answers import ButtonRow
from switchboard.texts.markdown import Message


@dataclass(frozen=True, slots=True)
class Obsolete:
    """The message is of no use any more; `reason` says why in the ledger."""

    reason: str


@dataclass(frozen=True, slots=True)
class Postponed:
    """The message is not wanted before `until` (aware UTC); what comes after it for the same person goes first."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message ready to be sent; `address` is where the channel delivers, None where it has to find out.

    `rows` are buttons that call us back, for the recipient alone; a channel that has none leaves them out. `formatted` is the
    same message for a channel that writes no Markdown. `edits` is the remote's id of an earlier message that this one replaces:
    it is edited, nothing new is sent, and the call may be repeated. `files` go with it, on channels that take files, and
    `reply_to` is the remote's id of the message that it answers.
    """

    message: Message
    address: str | None = field(default=None)
    rows: tuple[ButtonRow, ...] = ()
    formatted: Formatted | None = None
    edits: str | None = None
    files: tuple[Attachment, ...] = ()
    reply_to: str | None = None


class Renderer(Protocol):
    """Writes the messages of some kinds, at the moment they are sent, so that they say what is true then."""

    def render(
        self, deliveries: Sequence[ClaimedDelivery], now: datetime
    ) -> Mapping[int, Rendered | Obsolete | Postponed]:
        """One result per delivery id."""


class Channel(Protocol):
    """A way to people.

    `settle` is how long after a lost call the remote may still carry it out: an UNCERTAIN message is not looked up earlier.
    """

    name: str
    settle: timedelta

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        """Send and return the remote's id of the message.

        TransientError: nothing took effect, try later. UncertainError: the answer was lost. AuthError: the channel itself
        is not accepted, every message waits. Another PermanentError: this message cannot be delivered.
        """

    def find(self, delivery: ClaimedDelivery) -> str | None:
        """The remote's id of a message that may have been sent, None where it provably was not; TransientError otherwise."""
