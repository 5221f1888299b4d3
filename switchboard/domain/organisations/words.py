"""What a person means who answers a notice."""

from __future__ import annotations

from enum import StrEnum


class Word(StrEnum):
    """An answer that does something."""

    STOP = "stop"
    START = "start"


_WORDS = {
    "stop": Word.STOP,
    "unsubscribe": Word.STOP,
    "стоп": Word.STOP,
    "отписаться": Word.STOP,
    "відписатися": Word.STOP,
    "start": Word.START,
    "старт": Word.START,
}
_ORNAMENTS = " \t\r\n.!?,;:\"'«»“”„()[]*_/\u200b"


def meaning(text: str) -> Word | None:
    """STOP or START where the whole answer is that word, however it is written; None for anything else."""
    return _WORDS.get(text.strip(_ORNAMENTS).casefold())
