"""Links to stored files that need no token: signed, and good until a time that stands in them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256

from itsdangerous import BadData, URLSafeSerializer

from switchboard.errors import ConfigError, NotFoundError, PermanentError

SALT = "switchboard file link"


class LinkExpiredError(PermanentError):
    """The link was ours, and its time is over."""


class FileLinks:
    """Signs with the newest key of SECRET_KEYS and accepts every key of the list."""

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` newest first, as SECRET_KEYS."""
        if not keys:
            raise ConfigError("SECRET_KEYS is empty: file links cannot be signed")
        self._serializer = URLSafeSerializer(
            list(reversed(keys)),  # itsdangerous signs with the last one
            salt=SALT,
            signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"},
        )

    def sign(self, file_id: str, *, expires_at: datetime) -> str:
        """The part of the address after `/files/`; it shows the file's id and its end, which are no secrets."""
        return str(self._serializer.dumps([file_id, int(expires_at.timestamp())]))

    def read(self, signed: str, *, now: datetime) -> str:
        """The file's id; NotFoundError for a link that is not ours, LinkExpiredError for one that is over."""
        try:
            file_id, expires = self._serializer.loads(signed)
            expires_at = datetime.fromtimestamp(int(expires), UTC)
        except (BadData, TypeError, ValueError, OverflowError):
            raise NotFoundError("there is no such file link") from None
        if now >= expires_at:
            raise LinkExpiredError("this file link has expired; ask for a new one")
        return str(file_id)
