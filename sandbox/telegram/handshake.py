"""The exchange that makes an authorisation key (core.telegram.org/mtproto/auth_key), server side."""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from telethon.crypto import AES, AuthKey
from telethon.extensions import BinaryReader
from telethon.helpers import generate_key_data_from_nonce
from telethon.tl import TLObject, functions, types

from sandbox.telegram.model import Tl
from sandbox.telegram.srp import GENERATOR, PRIME

# Both prime. A small and a large one: Telethon's way of factorising is quick with them, and with two of the like size it
# ends with 1 and pq now and then (measured: 1 of 270 with two of 16 bits, none of 30,000 with these).
_FACTOR_P, _FACTOR_Q = 32_749, 70_368_744_177_679
_PQ = (_FACTOR_P * _FACTOR_Q).to_bytes(8, "big")
_SAFE_MARGIN = 1 << (2048 - 64)  # core.telegram.org/mtproto/auth_key#dh-key-exchange-complete


class HandshakeError(Exception):
    """The client broke the exchange; the line is closed, as the real server does."""


class ServerKey:
    """The RSA key pair that proves the server; a client knows the public half."""

    def __init__(self, private: rsa.RSAPrivateKey) -> None:
        self._private = private
        self._numbers = private.private_numbers()
        public = private.public_key().public_numbers()
        parts = b"".join(
            TLObject.serialize_bytes(part.to_bytes((part.bit_length() + 7) // 8, "big"))
            for part in (public.n, public.e)
        )
        (self.fingerprint,) = struct.unpack("<q", sha1(parts).digest()[-8:])  # noqa: S324 - the protocol says SHA1

    @classmethod
    def make(cls) -> ServerKey:
        return cls(rsa.generate_private_key(65537, 2048))

    @classmethod
    def kept_in(cls, folder: Path) -> ServerKey:
        """The key of `rsa.pem` in a folder, made on first use; `server.pem` beside it is the public half for clients."""
        path = folder / "rsa.pem"
        if path.exists():
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(private, rsa.RSAPrivateKey):
                raise ValueError(f"{path} holds no RSA key: delete it and start again")
            key = cls(private)
        else:
            private = rsa.generate_private_key(65537, 2048)
            key = cls(private)
            folder.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_bytes(
                private.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                )
            )
        (folder / "server.pem").write_text(key.public_pem, encoding="ascii")
        return key

    @property
    def public_pem(self) -> str:
        """PKCS#1, as `telethon.crypto.rsa.add_key` wants it."""
        return (
            self._private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
            .decode("ascii")
        )

    def decrypt(self, block: bytes) -> bytes:
        """The 255 bytes of a block of 256, without any padding scheme (by the Chinese remainder theorem)."""
        numbers = self._numbers
        number = int.from_bytes(block, "big")
        by_p = pow(number % numbers.p, numbers.dmp1, numbers.p)
        by_q = pow(number % numbers.q, numbers.dmq1, numbers.q)
        plain = by_q + (by_p - by_q) * numbers.iqmp % numbers.p * numbers.q
        if plain.bit_length() > 255 * 8:
            raise HandshakeError("the RSA block is longer than 255 bytes")
        return plain.to_bytes(255, "big")


class Dice:
    """The server's Diffie-Hellman secret of this run: on loopback one for all saves half of each exchange."""

    def __init__(self) -> None:
        self.private = secrets.randbits(2047)
        self.public = pow(GENERATOR, self.private, PRIME)


@dataclass(slots=True)
class NewKey:
    """The outcome: a key both sides know now."""

    id: int
    key: bytes


def fresh_key() -> NewKey:
    """A key as an exchange would make it, for a session that is handed out whole."""
    key = AuthKey(secrets.token_bytes(256))
    return NewKey(key.key_id, key.key)


class Handshake:
    """One exchange on one line: three requests in this order, each answered by `answer`."""

    def __init__(self, server_key: ServerKey, dice: Dice, dc_id: int) -> None:
        self._server_key = server_key
        self._dice = dice
        self._dc_id = dc_id
        self._nonce = 0
        self._server_nonce = 0
        self._new_nonce: int | None = None
        self._aes: tuple[bytes, bytes] = (b"", b"")
        self.made: NewKey | None = None

    def answer(self, request: Tl, now: int) -> Tl:
        """The reply; after `set_client_DH_params` the key stands in `made`. Raises HandshakeError."""
        if isinstance(request, functions.ReqPqMultiRequest | functions.ReqPqRequest):
            self._nonce = request.nonce
            self._server_nonce = int.from_bytes(secrets.token_bytes(16), "big", signed=True)
            return types.ResPQ(request.nonce, self._server_nonce, _PQ, [self._server_key.fingerprint])
        if (getattr(request, "nonce", None), getattr(request, "server_nonce", None)) != (
            self._nonce,
            self._server_nonce,
        ):
            raise HandshakeError("nonce or server_nonce are not those of this exchange")
        if isinstance(request, functions.ReqDHParamsRequest):
            return self._send_parameters(request, now)
        if isinstance(request, functions.SetClientDHParamsRequest):
            return self._complete(request)
        raise HandshakeError(f"{type(request).__name__} is no step of the exchange")

    def _send_parameters(self, request: Tl, now: int) -> Tl:
        if request.public_key_fingerprint != self._server_key.fingerprint:
            raise HandshakeError("the fingerprint names another key")
        plain = self._server_key.decrypt(request.encrypted_data)
        inner, size = _read(plain[20:])
        if sha1(plain[20 : 20 + size]).digest() != plain[:20]:  # noqa: S324 - the protocol says SHA1
            raise HandshakeError("the hash of p_q_inner_data does not fit")
        factors = (int.from_bytes(inner.p, "big"), int.from_bytes(inner.q, "big"))
        if inner.pq != _PQ or factors != (_FACTOR_P, _FACTOR_Q):
            raise HandshakeError("pq was not factorised rightly")
        if (inner.nonce, inner.server_nonce) != (self._nonce, self._server_nonce):
            raise HandshakeError("the nonces inside do not fit")
        if abs(getattr(inner, "dc", self._dc_id)) % 10_000 != self._dc_id:
            raise HandshakeError(f"the client means another data centre than {self._dc_id}")
        self._new_nonce = inner.new_nonce
        self._aes = generate_key_data_from_nonce(self._server_nonce, self._new_nonce)
        parameters = bytes(
            types.ServerDHInnerData(
                self._nonce,
                self._server_nonce,
                GENERATOR,
                PRIME.to_bytes(256, "big"),
                self._dice.public.to_bytes(256, "big"),
                now,
            )
        )
        hashed = sha1(parameters).digest() + parameters  # noqa: S324
        hashed += secrets.token_bytes(-len(hashed) % 16)
        return types.ServerDHParamsOk(self._nonce, self._server_nonce, AES.encrypt_ige(hashed, *self._aes))

    def _complete(self, request: Tl) -> Tl:
        if self._new_nonce is None or len(request.encrypted_data) % 16:
            raise HandshakeError("set_client_DH_params came too early, or not in whole blocks")
        plain = AES.decrypt_ige(request.encrypted_data, *self._aes)
        inner, size = _read(plain[20:])
        if sha1(plain[20 : 20 + size]).digest() != plain[:20]:  # noqa: S324
            raise HandshakeError("the hash of client_DH_inner_data does not fit")
        number = int.from_bytes(inner.g_b, "big")
        if not _SAFE_MARGIN <= number <= PRIME - _SAFE_MARGIN:
            raise HandshakeError("g_b is outside the safe range")
        key = AuthKey(pow(number, self._dice.private, PRIME).to_bytes(256, "big"))
        self.made = NewKey(key.key_id, key.key)
        return types.DhGenOk(self._nonce, self._server_nonce, key.calc_new_nonce_hash(self._new_nonce, 1))


def _read(data: bytes) -> tuple[Tl, int]:
    """The object at the start of `data` and how many bytes it takes."""
    with BinaryReader(data) as reader:
        found = reader.tgread_object()
        return found, reader.tell_position()
