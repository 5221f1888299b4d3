"""Session strings as Telethon prints them, without Telethon: a version, the data centre, and the key that is the session."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import struct
from dataclasses import dataclass

from switchboard.errors import InvalidInputError

VERSION = "1"
KEY_BYTES = 256
_LENGTHS = {352: 4, 368: 16}  # of the text after the version -> of the address inside


@dataclass(frozen=True, slots=True, repr=False)
class Application:
    """The pair of my.telegram.org with which a client introduces itself."""

    api_id: int
    api_hash: str


def pack(dc_id: int, address: str, port: int, key: bytes) -> str:
    """The session string of a key; ValueError for an address or number that is none."""
    try:
        packed = ipaddress.ip_address(address).packed
        content = struct.pack(f">B{len(packed)}sH{KEY_BYTES}s", dc_id, packed, port, key)
    except struct.error as error:
        raise ValueError(str(error)) from None
    return VERSION + base64.urlsafe_b64encode(content).decode("ascii")


def is_at_home(address: str, own_host: str) -> bool:
    """Whether a session that was made at `address` may be opened at `own_host`, '' for Telegram itself.

    The address stands in the session and tells which Telegram knows its key: the real one has public addresses alone, the
    sandbox's twin and other data centres of one's own a local one. Anywhere else the key is unknown, and a live session would
    be taken for a dead one.
    """
    try:
        is_public = ipaddress.ip_address(address).is_global
    except ValueError:
        is_public = False
    return (not is_public or address == own_host) if own_host else is_public


def key_digest(session: str) -> str:
    """SHA-256 of the session's key, as hexadecimal: tells two sessions apart, and nothing else.

    InvalidInputError for a string that is no session of a signed-in account.
    """
    refusal = InvalidInputError("this is no session string; `telegram auth-key` prints one", field="session")
    if not session.startswith(VERSION) or len(session) - 1 not in _LENGTHS:
        raise refusal
    try:
        content = base64.b64decode(session[1:], altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise refusal from None
    key = content[-KEY_BYTES:]
    if not any(key):
        raise refusal
    return hashlib.sha256(key).hexdigest()
