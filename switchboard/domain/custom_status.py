"""A custom status of Mattermost: the emoji and words beside a person's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_NO_END = "0001-01-01"  # Go's zero time, which Mattermost writes for a status without an end


@dataclass(frozen=True, slots=True)
class CustomStatus:
    """`emoji` is a name without colons; `expires_at` is aware, None for a status without an end.

    `duration` is how the end was chosen (`one_hour`, `today`, `date_and_time` ...), empty without an end.
    """

    emoji: str
    text: str
    duration: str = ""
    expires_at: datetime | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether its end has passed: the server keeps it, and clients no longer show it."""
        return self.expires_at is not None and self.expires_at <= now

    def same(self, other: CustomStatus | None) -> bool:
        """Whether both mean one status, however the server spells the end: whole seconds count, the duration does not.

        The end belongs to it: Mattermost itself proposes "In a meeting" with the calendar emoji, and what a person chose
        there is not ours.
        """
        return other is not None and self.identity == other.identity

    def to_json(self) -> dict[str, Any]:
        """JSON values in Mattermost's own form."""
        return {
            "emoji": self.emoji,
            "text": self.text,
            "duration": self.duration,
            "expires_at": self.expires_at.isoformat().replace("+00:00", "Z")
            if self.expires_at
            else f"{_NO_END}T00:00:00Z",
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CustomStatus:
        """The status that `to_json` or Mattermost wrote; an end that is no time counts as none."""
        ends = str(data.get("expires_at") or "")
        try:
            expires_at = None if not ends or ends.startswith(_NO_END) else datetime.fromisoformat(ends)
        except ValueError:
            expires_at = None
        return cls(
            emoji=str(data.get("emoji") or ""),
            text=str(data.get("text") or ""),
            duration=str(data.get("duration") or ""),
            expires_at=expires_at if expires_at is None or expires_at.tzinfo is not None else None,
        )

    @property
    def identity(self) -> tuple[str, str, int | None]:
        """What two equal statuses have in common: emoji, text, end in whole seconds since 1970."""
        ends = int(self.expires_at.timestamp()) if self.expires_at is not None else None
        return (self.emoji.strip(":"), self.text.strip(), ends)
