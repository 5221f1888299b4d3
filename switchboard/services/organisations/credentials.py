"""What document systems prove themselves with: a bearer token, or a signature over the body."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, delete, select

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import OrganisationCredential
from switchboard.db.repositories.organisations import organisation
from switchboard.errors import NotFoundError
from switchboard.services import audit

VERSION = "v1="
WINDOW_S = 300
KEPT = 2
"""Credentials that are valid at once: the new one, and the one before it until the document system has changed over."""
TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class CredentialView:
    """A pair of token and secret, without them."""

    id: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Minted:
    """A new pair; it is shown this once."""

    id: int
    token: str
    secret: str


class Credentials:
    """Makes and checks them."""

    def __init__(self, database: Database, secret_box: SecretBox, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._box = secret_box
        self._clock = clock

    def list_all(self, organisation_id: int) -> list[CredentialView]:
        """The valid ones, newest first; NotFoundError for an unknown organisation."""
        with self._database.read() as session:
            organisation(session, organisation_id)
            rows = session.scalars(_of(organisation_id)).all()
        return [CredentialView(row.id, row.created_at) for row in rows]

    def rotate(self, organisation_id: int, *, actor: str) -> Minted:
        """A new pair; the one before stays valid until the next rotation or `end`."""
        now = self._clock()
        token, secret = (f"{prefix}_{secrets.token_urlsafe(TOKEN_BYTES)}" for prefix in ("sbt", "sbs"))
        with self._database.write() as session:
            organisation(session, organisation_id, lock=True)
            made = OrganisationCredential(
                organisation_id=organisation_id,
                token_digest=_digest(token),
                secret=self._box.encrypt(secret),
                created_at=now,
            )
            session.add(made)
            session.flush()
            for old in session.scalars(_of(organisation_id)).all()[KEPT:]:
                session.delete(old)
            audit.record(
                session,
                actor=actor,
                action="organisation.credential_rotate",
                subject=f"organisation:{organisation_id}",
                now=now,
                details={"credential_id": made.id},
            )
        return Minted(made.id, token, secret)

    def end(self, organisation_id: int, credential_id: int, *, actor: str) -> None:
        """Accept it no more; NotFoundError where it is not valid anyway."""
        with self._database.write() as session:
            ended = session.scalars(
                delete(OrganisationCredential)
                .where(
                    OrganisationCredential.organisation_id == organisation_id,
                    OrganisationCredential.id == credential_id,
                )
                .returning(OrganisationCredential.id)
            ).all()
            if not ended:
                raise NotFoundError(f"organisation {organisation_id} has no credential {credential_id}")
            audit.record(
                session,
                actor=actor,
                action="organisation.credential_end",
                subject=f"organisation:{organisation_id}",
                now=self._clock(),
                details={"credential_id": credential_id},
            )

    def by_token(self, token: str) -> int | None:
        """The organisation a bearer token belongs to. It is found by its digest, whose look-up tells nothing of the token."""
        with self._database.read() as session:
            return session.scalar(
                select(OrganisationCredential.organisation_id).where(
                    OrganisationCredential.token_digest == _digest(token)
                )
            )

    def is_timely(self, timestamp: str) -> bool:
        """Whether a signature with this time (Unix seconds) may still be used."""
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
            return False
        return abs(self._clock().timestamp() - int(timestamp)) <= WINDOW_S

    def is_signed(self, organisation_id: int, *, timestamp: str, signature: str, body: bytes) -> bool:
        """Whether `signature` is one of the organisation's over this time and body; the time it takes tells nothing of them."""
        with self._database.read() as session:
            sealed = session.scalars(_of(organisation_id)).all()
        given = signature.encode("utf-8", "surrogateescape")
        found = False
        for row in sealed:
            wanted = sign(self._box.decrypt(row.secret), timestamp=timestamp, body=body)
            found |= hmac.compare_digest(given, wanted.encode())
        return found


def sign(secret: str, *, timestamp: str, body: bytes) -> str:
    """The value of X-Switchboard-Signature: `v1=` and the hexadecimal HMAC-SHA256 of `timestamp.body`."""
    signed = timestamp.encode() + b"." + body
    return VERSION + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _of(organisation_id: int) -> Select[OrganisationCredential]:
    return (
        select(OrganisationCredential)
        .where(OrganisationCredential.organisation_id == organisation_id)
        .order_by(OrganisationCredential.id.desc())
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
