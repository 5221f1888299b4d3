"""The file store: files cross hosts through the database, in chunks, because hosts share no disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import uuid4

from sqlalchemy import delete, select

from switchboard.db.engine import Database
from switchboard.db.models import FileChunk, StoredFile
from switchboard.errors import InvalidInputError, NotFoundError

CHUNK_BYTES = 256 * 1024
MAX_FILE_BYTES = 100 * 1024 * 1024
DEFAULT_MEDIA_TYPE = "application/octet-stream"
MEDIA_TYPE = re.compile(r"(?=.{3,128}\Z)[\w.+-]+/[\w.+-]+(; ?[\w-]+=[\w.+-]+)*", re.ASCII)  # RFC 9110, 8.3.1, no quotes


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A whole stored file's facts; `sha256` is the hex digest of its content."""

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


class FileStore(Protocol):
    """Where files lie; another kind of store implements the same three verbs."""

    def save(self, name: str, media_type: str, content: Iterable[bytes], now: datetime) -> FileInfo:
        """Store a file of up to 100 MiB; InvalidInputError when it is larger, and then nothing stays."""

    def open(self, file_id: str) -> tuple[FileInfo, Iterator[bytes]]:
        """A file's facts and its content piece by piece; NotFoundError where there is none, or only a part."""

    def delete(self, file_id: str) -> None:
        """Remove a file; one that is not there is no error."""


class DatabaseFileStore:
    """Implements FileStore. Each chunk is a transaction of its own; a file is visible only once it is whole."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, name: str, media_type: str, content: Iterable[bytes], now: datetime) -> FileInfo:
        """See FileStore."""
        file_id = str(uuid4())
        clean_name = _clean_name(name)
        with self._database.write() as session:
            session.add(
                StoredFile(
                    id=file_id,
                    name=clean_name,
                    media_type=media_type if MEDIA_TYPE.fullmatch(media_type) else DEFAULT_MEDIA_TYPE,
                    size_bytes=0,
                    created_at=now,
                )
            )
        digest = hashlib.sha256()
        size = 0
        for number, chunk in enumerate(_rechunk(content)):
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                self.delete(file_id)
                raise InvalidInputError(f"the file is larger than {MAX_FILE_BYTES // 1024**2} MiB", field="file")
            digest.update(chunk)
            with self._database.write() as session:
                session.add(FileChunk(file_id=file_id, number=number, data=chunk))
        with self._database.write() as session:
            stored = session.get_one(StoredFile, file_id)
            stored.size_bytes = size
            stored.sha256 = digest.hexdigest()
            return _info(stored)

    def open(self, file_id: str) -> tuple[FileInfo, Iterator[bytes]]:
        """See FileStore."""
        with self._database.read() as session:
            stored = session.get(StoredFile, file_id)
            if stored is None or stored.sha256 is None:
                raise NotFoundError(f"there is no file {file_id}")
            return _info(stored), self._chunks(file_id)

    def delete(self, file_id: str) -> None:
        """See FileStore."""
        with self._database.write() as session:
            session.execute(delete(StoredFile).where(StoredFile.id == file_id))

    def _chunks(self, file_id: str) -> Iterator[bytes]:
        number = 0
        while True:
            with self._database.read() as session:
                data = session.scalar(
                    select(FileChunk.data).where(FileChunk.file_id == file_id, FileChunk.number == number)
                )
            if data is None:
                return
            yield data
            number += 1


def _rechunk(content: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in content:
        held += piece
        while len(held) >= CHUNK_BYTES:
            yield bytes(held[:CHUNK_BYTES])
            del held[:CHUNK_BYTES]
    if held:
        yield bytes(held)


def _clean_name(name: str) -> str:
    """A file's own name without folders and control characters, at most 255 characters."""
    own = name.replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in own if character.isprintable()).strip(". ")
    return printable[:255] or "file"


def _info(stored: StoredFile) -> FileInfo:
    return FileInfo(
        id=stored.id,
        name=stored.name,
        media_type=stored.media_type,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256 or "",
        created_at=stored.created_at,
    )
