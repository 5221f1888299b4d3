"""Secrets at rest: encrypted with the newest key of SECRET_KEYS, readable with every key in the list."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from switchboard.errors import ConfigError


class SecretBox:
    """Encrypts short texts; a token is URL-safe text that says nothing of its content but its rough length.

    A key is any string; the Fernet key is derived from it by HKDF-SHA256 (RFC 5869).
    """

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise ConfigError(
                "SECRET_KEYS is empty: set at least one key of 32 or more characters (`python -m switchboard run` makes one)"
            )
        self._fernet = MultiFernet([Fernet(_derive(key)) for key in keys])

    def encrypt(self, text: str) -> str:
        """A new token of `text` under the newest key."""
        return self._fernet.encrypt(text.encode()).decode()

    def decrypt(self, token: str) -> str:
        """The text of a token; ConfigError when no key of the list opens it."""
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except InvalidToken:
            raise ConfigError(
                "A stored secret cannot be opened with SECRET_KEYS: put the key that encrypted it back at the end of the list"
            ) from None

    def rotate(self, token: str) -> str:
        """The same text under the newest key; the time of its first encryption is kept."""
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            raise ConfigError(
                "A stored secret cannot be opened with SECRET_KEYS: its key is missing from the list"
            ) from None


def _derive(key: str) -> bytes:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"switchboard secrets at rest").derive(key.encode())
    return base64.urlsafe_b64encode(derived)
