"""The server's side of a cloud password: SRP-6a with SHA-256 and PBKDF2 (core.telegram.org/api/srp).

What a client proves is `M1`; the server knows only the verifier g^x mod p and computes the same `M1` by its own way.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from telethon.tl import types

from sandbox.telegram.model import Password, Tl

# The 2048-bit safe prime the real server hands out, with which 3 generates the right subgroup.
PRIME = int(
    "C71CAEB9C6B1C9048E6C522F70F13F73980D40238E3E21C14934D037563D930F48198A0AA7C14058229493D22530F4DBFA336F6E0AC925139543AED44C"
    "CE7C3720FD51F69458705AC68CD4FE6B6B13ABDC9746512969328454F18FAF8C595F642477FE96BB2A941D5BCD1D4AC8CC49880708FA9B378E3C4F3A90"
    "60BEE67CF9A4A4A695811051907E162753B56B0F6B410DBA74D8A84B2A14B3144E0EF1284754FD17ED950D5965B4B9DD46582DB1178D169C6BC465B0D6"
    "FF9CA3928FEF5B9AE4E418FC15E83EBEA0F87FA9FF5EED70050DED2849F47BF959D956850CE929851F0D8115F635B105EE2E4E15D04B2454BF6F4FADF0"
    "34B10403119CD8E3B92FCC5B",
    16,
)
GENERATOR = 3
WIDTH = 256  # every big number is hashed with this many bytes
ROUNDS = 100_000


def _sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _wide(number: int) -> bytes:
    return number.to_bytes(WIDTH, "big")


_MULTIPLIER = int.from_bytes(_sha(_wide(PRIME), _wide(GENERATOR)), "big")
_GROUP_HASH = bytes(one ^ other for one, other in zip(_sha(_wide(PRIME)), _sha(_wide(GENERATOR)), strict=True))


def make_password(text: str, hint: str = "") -> Password:
    """The verifier of a password that a person sets."""
    salt1, salt2 = secrets.token_bytes(16), secrets.token_bytes(16)
    first = _sha(salt2, _sha(salt1, text.encode(), salt1), salt2)
    stretched = hashlib.pbkdf2_hmac("sha512", first, salt1, ROUNDS)
    secret = int.from_bytes(_sha(salt2, stretched, salt2), "big")
    return Password(salt1, salt2, pow(GENERATOR, secret, PRIME), hint)


def algorithm(salt1: bytes, salt2: bytes) -> Tl:
    return types.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow(
        salt1, salt2, GENERATOR, _wide(PRIME)
    )


@dataclass(slots=True)
class Challenge:
    """One question to one person: good for one answer, named by its id."""

    password: Password
    id: int = field(default_factory=lambda: secrets.randbits(62))
    private: int = field(default_factory=lambda: secrets.randbits(2048) % PRIME)

    @property
    def public(self) -> int:
        return (_MULTIPLIER * self.password.verifier + pow(GENERATOR, self.private, PRIME)) % PRIME

    def proves(self, client_public: bytes, proof: bytes) -> bool:
        """Whether `M1` shows knowledge of the password; a client's number outside the safe range proves nothing."""
        number = int.from_bytes(client_public, "big")
        if not 0 < number < PRIME:
            return False
        own = self.public
        mixer = int.from_bytes(_sha(_wide(number), _wide(own)), "big")
        shared = pow(number * pow(self.password.verifier, mixer, PRIME), self.private, PRIME)
        expected = _sha(
            _GROUP_HASH,
            _sha(self.password.salt1),
            _sha(self.password.salt2),
            _wide(number),
            _wide(own),
            _sha(_wide(shared)),
        )
        return secrets.compare_digest(expected, proof)
