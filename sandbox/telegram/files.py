"""The bytes of files: parts while they are uploaded, whole files afterwards, in memory and (with a folder) on disk."""

from __future__ import annotations

import secrets
import struct
from pathlib import Path

UPLOADS_KEPT = 1000


class FileStore:
    """Uploads by (account, file id the client chose); files by the id the server chose."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._files: dict[int, bytes] = {}
        self._uploads: dict[tuple[int, int], dict[int, bytes]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    def put_part(self, account: int, file_id: int, number: int, data: bytes) -> None:
        parts = self._uploads.setdefault((account, file_id), {})
        parts[number] = data
        while len(self._uploads) > UPLOADS_KEPT:
            del self._uploads[next(iter(self._uploads))]

    def parts(self, account: int, file_id: int) -> dict[int, bytes]:
        return self._uploads.get((account, file_id), {})

    def forget_upload(self, account: int, file_id: int) -> None:
        self._uploads.pop((account, file_id), None)

    def keep(self, data: bytes) -> int:
        """Store a whole file; returns its id."""
        file_id = secrets.randbits(62)
        self._files[file_id] = data
        if self._folder is not None:
            (self._folder / str(file_id)).write_bytes(data)
        return file_id

    def read(self, file_id: int) -> bytes:
        """A stored file; raises KeyError."""
        if file_id not in self._files:
            path = self._folder / str(file_id) if self._folder is not None else None
            if path is None or not path.exists():
                raise KeyError(file_id)
            self._files[file_id] = path.read_bytes()
        return self._files[file_id]


class NotAPictureError(ValueError):
    """The bytes are no JPEG, PNG, GIF or WebP."""


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height of a JPEG, PNG, GIF or WebP; raises NotAPictureError."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:4] == b"GIF8":
            return struct.unpack("<HH", data[6:10])
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):
        pass
    raise NotAPictureError("not a picture")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    position = 2
    while position < len(data):
        marker, length = data[position + 1], struct.unpack(">H", data[position + 2 : position + 4])[0]
        if 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # the frame's header
            height, width = struct.unpack(">HH", data[position + 5 : position + 9])
            return width, height
        position += 2 + length
    raise NotAPictureError("a JPEG without a frame")


def _webp_size(data: bytes) -> tuple[int, int]:
    if data[12:16] == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack("<HH", data[26:30])
    return width & 0x3FFF, height & 0x3FFF
