"""Texts that end in messages to people, and in PostgreSQL: every character of them is seen, or breaks a line.

Refused are control characters (NUL ends a text early, and PostgreSQL stores none), the embeddings, overrides and isolates that
turn the order of other characters around (https://www.unicode.org/reports/tr9/#Explicit_Directional_Embeddings), and halves of
surrogate pairs. Marks such as U+200F stay: they turn nothing around, and texts in Arabic and Hebrew use them.
"""

from __future__ import annotations

import re

from switchboard.errors import InvalidInputError

REFUSED = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""As ranges of a regular expression."""
_REFUSED = re.compile(f"[{REFUSED}]")
_BREAKS = re.compile("[\t\n\r\u2028\u2029]+")


def problem_of(text: str) -> str | None:
    """What is wrong with the characters of a text, naming the first wrong one; None for nothing."""
    found = _REFUSED.search(text)
    if found is None:
        return None
    return f"character {found.start() + 1} is U+{ord(found[0]):04X}, which is not seen or turns others around: leave it out"


def plain(text: str, *, field: str) -> str:
    """The text; InvalidInputError naming `field` where a character of it is refused."""
    if (problem := problem_of(text)) is not None:
        raise InvalidInputError(problem, field=field)
    return text


def on_one_line(text: str) -> str:
    """The text with a space for line breaks and tabs."""
    return _BREAKS.sub(" ", text)
