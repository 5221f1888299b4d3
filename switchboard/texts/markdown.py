"""Other people's words inside our Mattermost messages: shown as they are, without any power over the message."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from switchboard.domain.organisations.markup import Formatted, Span, Style

MAX_MESSAGE_CHARS = 16_000
"""Mattermost refuses posts of more than 16,383 characters; some room is left for what a channel adds."""

_SPECIAL = re.compile(r"([\\`*_\[\]~|#>])")
_BREAK = "\u200b"
"""A zero-width space: after `@` no mention fires (@all, @channel, @here, names), before `://` nothing becomes a link."""
_WHITESPACE = re.compile(r"\s+")
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
_KEPT = frozenset("\u200c\u200d")
"""Joiners that some scripts and emoji need."""


@dataclass(frozen=True, slots=True)
class Button:
    """A link that a channel shows as a button, or as a link where it has no link buttons (Mattermost)."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message: Mattermost markdown, and the links that belong under it."""

    text: str
    buttons: tuple[Button, ...] = ()

    def as_markdown(self) -> str:
        """The text with its buttons as links below, for channels without link buttons."""
        return "\n".join([self.text, *(f"**{link(button.text, button.url)}**" for button in self.buttons)])


def plain(text: str, limit: int) -> str:
    """`text` on one line, without control, direction and other invisible characters, cut to `limit` characters with `…`."""
    visible = "".join(char for char in text[: limit * 8] if _is_shown(char))
    line = _WHITESPACE.sub(" ", visible).strip()
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escape(text: str, limit: int) -> str:
    """`text` for the middle of a Mattermost line: no formatting, mention, link, image or table cell comes out of it."""
    return _powerless(plain(text, limit))


def formatted_markdown(formatted: Formatted) -> str:
    """Formatted text as Mattermost markdown; what no span formats has no power. Underline does not exist there."""
    return _marked(formatted.text, formatted.spans, 0, len(formatted.text))


def link(text: str, url: str) -> str:
    """A markdown link; `text` is ours or was escaped, `url` may be anybody's and cannot end the link early."""
    return f"[{text}]({safe_url(url)})"


def safe_url(url: str) -> str:
    """`url` with everything percent-encoded that could end a markdown link or start a mention."""
    return quote(url, safe="%/:?#&=+,;@!$-._~").replace("@", "%40")


def _is_shown(char: str) -> bool:
    return char in "\n\r\t" or char in _KEPT or unicodedata.category(char) not in _INVISIBLE


def _powerless(text: str) -> str:
    escaped = _SPECIAL.sub(r"\\\1", text)
    escaped = escaped.replace("@", "@" + _BREAK).replace("://", _BREAK + "://")
    return re.sub(r"(?i)\bwww\.", lambda match: match[0][:3] + _BREAK + ".", escaped)


_MARKS = {Style.BOLD: "**", Style.ITALIC: "_", Style.STRIKE: "~~", Style.UNDERLINE: ""}


def _marked(text: str, spans: Sequence[Span], start: int, end: int) -> str:
    """`text` from `start` to `end` with the spans that lie in it, outer ones first."""
    parts: list[str] = []
    position, rest = start, list(spans)
    while rest:
        outer = rest.pop(0)
        if not position <= outer.start <= outer.end <= end:
            continue
        inner = [span for span in rest if span.end <= outer.end]
        rest = rest[len(inner) :]
        parts += [_powerless(text[position : outer.start]), _in_style(text, outer, inner)]
        position = outer.end
    return "".join([*parts, _powerless(text[position:end])])


def _in_style(text: str, span: Span, inner: Sequence[Span]) -> str:
    words = text[span.start : span.end]
    if span.style is Style.CODE:
        return "`" + words.replace("`", "'") + "`"
    marked = _marked(text, inner, span.start, span.end)
    if span.style is Style.LINK:
        return link(marked, span.url)
    bare = marked.strip()  # Markdown knows no bold that begins or ends with a space
    return marked.replace(bare, _MARKS[span.style] + bare + _MARKS[span.style], 1) if bare else marked
