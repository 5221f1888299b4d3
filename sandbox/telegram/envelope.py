"""Encrypted messages, MTProto 2.0, server side (core.telegram.org/mtproto/description), and objects as bytes."""

from __future__ import annotations

import gzip
import secrets
import struct
from dataclasses import dataclass
from hashlib import sha256

from telethon.crypto import AES
from telethon.tl import TLObject

from sandbox.telegram.model import Tl

RPC_RESULT, GZIP_PACKED, VECTOR = 0xF35C6D01, 0x3072CFA1, 0x1CB5C415
BOOL_TRUE, BOOL_FALSE = 0x997275B5, 0xBC799737
GZIP_FROM_BYTES = 1024


class BadEnvelopeError(Exception):
    """The message cannot have been made with this key: the line is closed (core.telegram.org/mtproto/security_guidelines)."""


@dataclass(slots=True)
class Message:
    salt: int
    session_id: int
    msg_id: int
    seq_no: int
    body: bytes


def _aes_of(key: bytes, msg_key: bytes, side: int) -> tuple[bytes, bytes]:
    """Key and IV of one message; `side` is 0 for what the client sends and 8 for what the server sends."""
    one = sha256(msg_key + key[side : side + 36]).digest()
    other = sha256(key[40 + side : 76 + side] + msg_key).digest()
    return one[:8] + other[8:24] + one[24:], other[:8] + one[8:24] + other[24:]


def open_message(key: bytes, packet: bytes) -> Message:
    """A client's message from `auth_key_id msg_key encrypted`; raises BadEnvelopeError."""
    msg_key, sealed = packet[8:24], packet[24:]
    if not sealed or len(sealed) % 16:
        raise BadEnvelopeError("not in whole blocks")
    aes_key, aes_iv = _aes_of(key, msg_key, 0)
    plain = AES.decrypt_ige(sealed, aes_key, aes_iv)
    if sha256(key[88:120] + plain).digest()[8:24] != msg_key:
        raise BadEnvelopeError("msg_key does not fit")
    salt, session_id, msg_id, seq_no, length = struct.unpack("<qqqii", plain[:32])
    if length < 0 or length % 4 or not 12 <= len(plain) - 32 - length <= 1024:
        raise BadEnvelopeError("the length of the message or of its padding is wrong")
    return Message(salt, session_id, msg_id, seq_no, plain[32 : 32 + length])


def seal(key: bytes, key_id: int, message: Message) -> bytes:
    """A packet for the client."""
    plain = struct.pack("<qqqii", message.salt, message.session_id, message.msg_id, message.seq_no, len(message.body))
    plain += message.body
    plain += secrets.token_bytes(-(len(plain) + 12) % 16 + 12)
    msg_key = sha256(key[96:128] + plain).digest()[8:24]
    aes_key, aes_iv = _aes_of(key, msg_key, 8)
    return struct.pack("<Q", key_id) + msg_key + bytes(AES.encrypt_ige(plain, aes_key, aes_iv))


def serialise(value: Tl) -> bytes:
    """Any result of a method as TL: an object, a Bool, a number, or a Vector of these."""
    if isinstance(value, TLObject):
        return bytes(value)
    if isinstance(value, bool):
        return struct.pack("<I", BOOL_TRUE if value else BOOL_FALSE)
    if isinstance(value, int):
        return struct.pack("<q", value)
    if isinstance(value, list):
        return struct.pack("<Ii", VECTOR, len(value)) + b"".join(serialise(one) for one in value)
    raise TypeError(f"no TL for {type(value).__name__}")


def seconds(date: Tl) -> int:
    """A date of a request in seconds; 0 for none, which TL writes as the year 1970."""
    return int(date.timestamp()) if date is not None else 0


def result_of(msg_id: int, value: Tl, *, compress: bool = True) -> bytes:
    """`rpc_result`, packed when it is long and shrinks (core.telegram.org/mtproto/service_messages#packed-object)."""
    body = serialise(value)
    if compress and len(body) > GZIP_FROM_BYTES:
        packed = struct.pack("<I", GZIP_PACKED) + TLObject.serialize_bytes(gzip.compress(body, 1))
        body = packed if len(packed) < len(body) else body
    return struct.pack("<Iq", RPC_RESULT, msg_id) + body
