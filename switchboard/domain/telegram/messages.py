"""What an account sends: texts in parts that Telegram takes, and files.

Limits and how they are counted: https://core.telegram.org/api/config (`message_length_max`, `caption_length_max`), in UTF-16
code units (https://core.telegram.org/api/entities#entity-length). Of more than 100 entities in a message the server shows the
first ones (https://limits.tginfo.me), so a text with more is split before that.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from switchboard.domain.organisations.markup import MOST_SPANS, Formatted, Span, Style, utf16_units

TEXT_UNITS = 4096
CAPTION_UNITS = 1024
ALBUM_MOST = 10
_SEPARATORS = ("\n\n", "\n", " ")
_JOINER = "\u200d"


class FileKind(StrEnum):
    """How a file is shown."""

    PHOTO = "photo"
    DOCUMENT = "document"
    VOICE = "voice"
    VIDEO = "video"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of the file store (`file_id`). Of voice and video: `duration_s`; of video: its size in pixels."""

    file_id: str
    kind: FileKind
    duration_s: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """One call: a text, a file with its caption, or an album."""

    text: Formatted
    files: tuple[Attachment, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """To be kept in a row."""
        spans = [[span.style, span.start, span.end, span.url] for span in self.text.spans]
        files = [[file.file_id, file.kind, file.duration_s, file.width, file.height] for file in self.files]
        return {"text": self.text.text, "spans": spans, "files": files}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Part:
        """What `as_json` wrote."""
        spans = tuple(Span(Style(style), start, end, url) for style, start, end, url in kept["spans"])
        files = tuple(Attachment(file_id, FileKind(kind), *rest) for file_id, kind, *rest in kept["files"])
        return cls(Formatted(kept["text"], spans), files)


@dataclass(frozen=True, slots=True, repr=False)
class Plan:
    """What a row sends, fixed before its first byte leaves, so that a repeat sends the same under the same numbers.

    `nonce` is made once. `done` are Telegram's numbers of what is known to be sent: for each part those of its messages.
    """

    nonce: str
    parts: tuple[Part, ...]
    done: tuple[tuple[int, ...], ...] = field(default=())

    def random_ids(self, number: int) -> list[int]:
        """The random_id of each message of a part (https://core.telegram.org/method/messages.sendMessage)."""
        return [random_id(self.nonce, number, index) for index in range(max(1, len(self.parts[number].files)))]

    def as_json(self) -> dict[str, Any]:
        """To be kept in the row."""
        done = [list(ids) for ids in self.done]
        return {"nonce": self.nonce, "parts": [part.as_json() for part in self.parts], "done": done}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Plan:
        """What `as_json` wrote."""
        parts = tuple(Part.from_json(part) for part in kept["parts"])
        return cls(str(kept["nonce"]), parts, tuple(tuple(ids) for ids in kept["done"]))


def random_id(nonce: str, part: int, index: int) -> int:
    """A number of 63 bits, above 0, the same for the same arguments."""
    digest = hashlib.sha256(f"{nonce}:{part}:{index}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 1) or 1


def parts_of(text: Formatted, files: Sequence[Attachment] = ()) -> tuple[Part, ...]:
    """A message as calls: a text too long for a caption follows its files, a text too long for a message is split.

    So it is with more spans than a message shows.
    """
    if not files:
        return tuple(Part(piece) for piece in split(text, TEXT_UNITS))
    if text.units <= CAPTION_UNITS and len(text.spans) <= MOST_SPANS:
        return (Part(text, tuple(files)),)
    return (Part(Formatted(""), tuple(files)), *(Part(piece) for piece in split(text, TEXT_UNITS)))


def split(text: Formatted, most_units: int) -> list[Formatted]:
    """The text in parts of at most so many UTF-16 units and MOST_SPANS spans, in order; what is only white space makes none.

    Cut between paragraphs, lines or words where there are any, and outside of spans that fit into a part; a longer span goes
    on in the next part. White space at a cut is left out, as Telegram does it.
    """
    parts = []
    start, end = 0, len(text.text)
    while start < end:
        cut = _cut(text, start, _reach(text, start, most_units), most_units)
        if (part := _piece(text, start, cut)) is not None:
            parts.append(part)
        start = cut
    return parts


def _reach(text: Formatted, start: int, most_units: int) -> int:
    """How far the characters from `start`, and the spans over them, fit; spans too many over one character are left out."""
    end = min(len(text.text), start + most_units)
    excess = utf16_units(text.text[start:end]) - most_units
    while excess > 0:
        end -= 1
        excess -= utf16_units(text.text[end])
    begins = sorted(max(span.start, start) for span in text.spans if span.start < end and span.end > start)
    return end if len(begins) <= MOST_SPANS or begins[MOST_SPANS] == start else begins[MOST_SPANS]


def _cut(text: Formatted, start: int, reach: int, most_units: int) -> int:
    if reach == len(text.text):
        return reach
    whole = [
        span
        for span in text.spans
        if span.start > start and utf16_units(text.text[span.start : span.end]) <= most_units
    ]
    for least in (start + (reach - start) // 2, start + 1):
        for separator in _SEPARATORS:
            at = text.text.rfind(separator, least, reach + 1)
            while at >= least:
                if not any(span.start < at < span.end for span in whole):
                    return at
                at = text.text.rfind(separator, least, at)
    at = min((span.start for span in whole if span.start < reach < span.end), default=reach)
    while at > start + 1 and _belongs_to_the_one_before(text.text, at):
        at -= 1
    return at if at > start + 1 or not _belongs_to_the_one_before(text.text, at) else reach


def _belongs_to_the_one_before(text: str, at: int) -> bool:
    """Whether the character is drawn as one with the one before it."""
    return (
        unicodedata.combining(text[at]) != 0 or _JOINER in (text[at], text[at - 1]) or "\ufe00" <= text[at] <= "\ufe0f"
    )


def _piece(text: Formatted, start: int, end: int) -> Formatted | None:
    inside = text.text[start:end]
    start += len(inside) - len(inside.lstrip())
    words = inside.strip()
    end = start + len(words)
    spans = (
        Span(span.style, max(span.start, start) - start, min(span.end, end) - start, span.url)
        for span in text.spans
        if span.start < end and span.end > start
    )
    return Formatted(words, tuple(spans)[:MOST_SPANS]) if words else None
