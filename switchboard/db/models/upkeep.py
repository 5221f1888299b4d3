"""What every deployment keeps beside its work: audit log, stored files, heartbeats, the check of the secret keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId, Sealed


class AuditEntry(Base):
    """Who did what to whom, and when. `details` holds ids and settings, never secrets or texts."""

    __tablename__ = "audit_log"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str] = mapped_column(String(160), index=True)
    details: Mapped[dict[str, Any]]


class StoredFile(Base):
    """A file's facts; its content lies in chunks. Complete only when `sha256` is set."""

    __tablename__ = "files"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    media_type: Mapped[str] = mapped_column(String(128))
    size_bytes: Mapped[int] = mapped_column(BigId)
    sha256: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(index=True)


class FileChunk(Base):
    """A piece of a file, in order of `number` from 0."""

    __tablename__ = "file_chunks"

    file_id: Mapped[str] = mapped_column(ForeignKey("files.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Heartbeat(Base):
    """When something that should happen regularly last happened, by name."""

    __tablename__ = "heartbeats"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime]


class DatabasePlace(Base):
    """One row: where the database stood when Telegram accounts were last opened from it. A copy of it stands elsewhere."""

    __tablename__ = "database_place"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    place: Mapped[str] = mapped_column(String(128))
    noted_at: Mapped[datetime]


class KeyCheck(Base):
    """One row, encrypted when the database was first used: proof that SECRET_KEYS still opens what is stored."""

    __tablename__ = "key_check"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token: Mapped[str] = mapped_column(Sealed)
