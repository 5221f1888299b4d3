"""Signed tickets in buttons and dialogs: Mattermost passes them back without any proof of its own, so they carry ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

from itsdangerous import BadData, URLSafeSerializer

from switchboard.errors import ConfigError, PermanentError
from switchboard.services.conversation.answers import Step

SALT = "switchboard mattermost ticket"


class BadTicketError(PermanentError):
    """The text is no ticket of ours."""


class ForeignTicketError(PermanentError):
    """The ticket was made for another person."""


class ExpiredTicketError(PermanentError):
    """The ticket is ours, and its time is over."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a button or dialog does, for whom and until when; everybody it is shown to can read it, so it holds no secret."""

    step: Step
    user_id: str
    expires_at: datetime
    details: Mapping[str, str] = field(default_factory=dict)


class Tickets:
    """Signs with the newest key of SECRET_KEYS and accepts every key of the list."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` newest first, as SECRET_KEYS."""
        if not keys:
            raise ConfigError("SECRET_KEYS is empty: buttons and dialogs cannot be signed")
        self._serializer = URLSafeSerializer(
            list(reversed(keys)),  # itsdangerous signs with the last one
            salt=SALT,
            signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"},
        )

    def sign(self, ticket: Ticket) -> str:
        """The ticket as text."""
        parts = [ticket.step.value, ticket.user_id, int(ticket.expires_at.timestamp()), dict(ticket.details)]
        return str(self._serializer.dumps(parts))

    def open(self, signed: str) -> Ticket:
        """The ticket, whoever brings it and whenever; BadTicketError for anything that we did not sign."""
        try:
            step, user_id, expires, details = self._serializer.loads(signed)
            return Ticket(
                Step(step),
                str(user_id),
                datetime.fromtimestamp(int(expires), UTC),
                {str(name): str(value) for name, value in details.items()},
            )
        except (BadData, TypeError, ValueError, OverflowError, AttributeError):
            raise BadTicketError("there is no such button or dialog") from None

    def read(self, signed: str, *, user_id: str, now: datetime) -> Ticket:
        """The ticket of this person; BadTicketError, ForeignTicketError, ExpiredTicketError."""
        ticket = self.open(signed)
        if ticket.user_id != user_id:
            raise ForeignTicketError("this button or dialog was made for somebody else")
        if now >= ticket.expires_at:
            raise ExpiredTicketError("this button or dialog is too old")
        return ticket
