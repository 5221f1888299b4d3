"""The file store on both databases."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from switchboard.db.engine import Database
from switchboard.db.models import FileChunk, StoredFile
from switchboard.errors import InvalidInputError, NotFoundError
from switchboard.services import files
from switchboard.services.files import CHUNK_BYTES, DatabaseFileStore

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)


@pytest.fixture
def store(database: Database) -> DatabaseFileStore:
    return DatabaseFileStore(database)


def chunks(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(FileChunk)) or 0


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES])
def test_a_file_comes_back_as_it_was_whatever_its_size(store: DatabaseFileStore, database: Database, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    saved = store.save("report.pdf", "application/pdf", [content], NOW)
    info, pieces = store.open(saved.id)
    assert b"".join(pieces) == content
    assert info == saved
    assert (info.size_bytes, info.sha256) == (size, hashlib.sha256(content).hexdigest())
    assert (info.name, info.media_type, info.created_at) == ("report.pdf", "application/pdf", NOW)
    assert chunks(database) == -(-size // CHUNK_BYTES)


def test_small_pieces_are_stored_as_large_chunks(store: DatabaseFileStore, database: Database) -> None:
    saved = store.save("x", "text/plain", (b"y" * 1000 for _ in range(600)), NOW)
    assert chunks(database) == 3
    assert b"".join(store.open(saved.id)[1]) == b"y" * 600_000


def test_a_file_above_the_limit_is_refused_and_leaves_nothing(
    store: DatabaseFileStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 2 * CHUNK_BYTES)
    store.save("fits", "text/plain", [b"x" * 2 * CHUNK_BYTES], NOW)
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * CHUNK_BYTES

    with pytest.raises(InvalidInputError, match="larger") as caught:
        store.save("too large", "text/plain", endless(), NOW)
    assert caught.value.field == "file"
    assert taken == 3
    assert chunks(database) == 2
    with database.read() as session:
        assert session.scalars(select(StoredFile.name)).all() == ["fits"]


def test_a_file_is_invisible_until_it_is_whole(store: DatabaseFileStore, database: Database) -> None:
    seen: list[str] = []

    def breaking() -> Iterator[bytes]:
        yield b"x" * CHUNK_BYTES
        with database.read() as session:
            file_id = session.scalars(select(StoredFile.id)).one()
        with pytest.raises(NotFoundError):
            store.open(file_id)
        seen.append(file_id)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.save("cut", "text/plain", breaking(), NOW)
    with pytest.raises(NotFoundError):
        store.open(seen[0])


def test_a_deleted_file_is_gone_with_its_chunks_and_deleting_twice_is_no_error(
    store: DatabaseFileStore, database: Database
) -> None:
    saved, kept = (store.save(name, "text/plain", [b"content"], NOW) for name in ("gone", "kept"))
    store.delete(saved.id)
    store.delete(saved.id)
    with pytest.raises(NotFoundError):
        store.open(saved.id)
    assert b"".join(store.open(kept.id)[1]) == b"content"
    assert chunks(database) == 1


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("отчёт 2026.pdf", "отчёт 2026.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\anna\\report.pdf", "report.pdf"),
        ('a\r\nSet-Cookie: b"\0.txt', 'aSet-Cookie: b".txt'),
        ("..", "file"),
        ("", "file"),
        ("folder/", "file"),
        ("\u202egpj.exe", "gpj.exe"),
        ("x" * 300, "x" * 255),
    ],
)
def test_a_name_is_a_name_and_nothing_else(sqlite_url: str, given: str, kept: str) -> None:
    store = DatabaseFileStore(Database(sqlite_url))
    assert store.save(given, "text/plain", [b""], NOW).name == kept


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ("application/vnd.ms-excel", "application/vnd.ms-excel"),
        ("", "application/octet-stream"),
        ("text/html\r\nX: y", "application/octet-stream"),
        ("text", "application/octet-stream"),
        ("a/" + "b" * 200, "application/octet-stream"),
    ],
)
def test_a_media_type_is_one_or_the_general_one(sqlite_url: str, given: str, kept: str) -> None:
    store = DatabaseFileStore(Database(sqlite_url))
    assert store.save("x", given, [b""], NOW).media_type == kept
