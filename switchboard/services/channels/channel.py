"""What the ledger asks of a channel, and what of those who write the messages."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.telegram.messages import Attachment
from switchboard.logs import get_logger
from switchboard.services.conversation.answers import ButtonRow
from switchboard.texts.markdown import Message

UNWRITABLE = timedelta(minutes=15)

_log = get_logger(__name__)


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


def render_each(
    renderers: Mapping[str, Renderer], deliveries: Sequence[ClaimedDelivery], now: datetime
) -> dict[int, Rendered | Obsolete | Postponed]:
    """One result per delivery id. What cannot be written is put off, said in the log, and keeps nothing else back."""
    rendered: dict[int, Rendered | Obsolete | Postponed] = {}
    for kind in dict.fromkeys(delivery.kind for delivery in deliveries):
        ours = [delivery for delivery in deliveries if delivery.kind == kind]
        try:
            rendered.update(renderers[kind].render(ours, now))
        except SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001  one of them is at fault, and only that one
            rendered |= {delivery.id: _render_alone(renderers[kind], delivery, now) for delivery in ours}
    return rendered


def _render_alone(renderer: Renderer, delivery: ClaimedDelivery, now: datetime) -> Rendered | Obsolete | Postponed:
    try:
        return renderer.render([delivery], now)[delivery.id]
    except SQLAlchemyError:
        raise
    except Exception as error:  # noqa: BLE001  the outermost handler of a message; the text of the error may hold some of it
        place = traceback.extract_tb(error.__traceback__)[-1]
        word = type(error).__name__
        _log.error("message not written", delivery_id=delivery.id, kind=delivery.kind, error=word, at=place.name)
        return Postponed(now + UNWRITABLE, f"it could not be written ({word} in {place.name}); tried again later")


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
