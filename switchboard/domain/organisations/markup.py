"""Formatted text that knows no channel: characters, and spans over them. Written as a few HTML tags.

Telegram takes text with entities (https://core.telegram.org/api/entities), Mattermost takes Markdown; both are made of this.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from html import escape
from html.parser import HTMLParser
from urllib.parse import urlsplit

MOST_UNITS = 4096
"""UTF-16 code units of one Telegram message (https://limits.tginfo.me, messages.tooLong): a notice is never split."""
MOST_SPANS = 100
"""Of one Telegram message; of more it shows the first ones (https://limits.tginfo.me)."""
SCHEMES = ("http", "https", "mailto", "tel")


class Style(StrEnum):
    """What a span looks like."""

    BOLD = "bold"
    ITALIC = "italic"
    UNDERLINE = "underline"
    STRIKE = "strike"
    CODE = "code"
    LINK = "link"


TAGS: Mapping[str, Style] = {
    "b": Style.BOLD,
    "i": Style.ITALIC,
    "u": Style.UNDERLINE,
    "s": Style.STRIKE,
    "code": Style.CODE,
    "a": Style.LINK,
}


@dataclass(frozen=True, slots=True)
class Span:
    """`start` to `end` (characters of the text, not UTF-16 units) in a style; `url` of a link."""

    style: Style
    start: int
    end: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class Formatted:
    """A text and its spans: each lies wholly inside or outside of any other; outer ones come first."""

    text: str
    spans: tuple[Span, ...] = ()

    @property
    def units(self) -> int:
        """Its length as Telegram counts it."""
        return utf16_units(self.text)

    def cut(self, most_units: int = MOST_UNITS) -> Formatted:
        """The same, shortened to so many UTF-16 units with `…` at its end."""
        if self.units <= most_units:
            return self
        kept: list[str] = []
        units = 0
        for char in self.text:
            units += utf16_units(char)
            if units > most_units - 1:
                break
            kept.append(char)
        text = "".join(kept).rstrip() + "…"
        spans = (replace(span, end=min(span.end, len(text))) for span in self.spans if span.start < len(text))
        return Formatted(text, tuple(spans))

    def styled(self, style: Style) -> Formatted:
        """The same, all of it in a style."""
        return Formatted(self.text, (Span(style, 0, len(self.text)), *self.spans))


def lines(parts: Iterable[Formatted]) -> Formatted:
    """Texts on lines of their own; empty ones are left out."""
    text = ""
    spans: list[Span] = []
    for part in parts:
        if not part.text:
            continue
        begin = len(text) + 1 if text else 0
        text = f"{text}\n{part.text}" if text else part.text
        spans += (replace(span, start=span.start + begin, end=span.end + begin) for span in part.spans)
    return Formatted(text, tuple(spans))


def html(formatted: Formatted) -> str:
    """The same in the tags that `parse` knows, which are Telegram's too (https://core.telegram.org/bots/api#html-style)."""
    tags = {style: tag for tag, style in TAGS.items()}
    marks: list[tuple[int, int, int, str]] = []
    for index, span in enumerate(formatted.spans):  # at one place inner ones end first, and begin last
        link = f' href="{escape(span.url)}"' if span.style is Style.LINK else ""
        marks += [
            (span.start, 1, index, f"<{tags[span.style]}{link}>"),
            (span.end, 0, -index, f"</{tags[span.style]}>"),
        ]
    parts: list[str] = []
    position = 0
    for place, _, _, mark in sorted(marks):
        parts += [escape(formatted.text[position:place], quote=False), mark]
        position = place
    return "".join([*parts, escape(formatted.text[position:], quote=False)])


def utf16_units(text: str) -> int:
    """How many UTF-16 code units a text has."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parse(source: str) -> Formatted:
    """The formatted text of `source`. Never fails: what `problems` complains of is left out, open tags end with the text."""
    return _parsed(source).result()


def problems(source: str) -> list[str]:
    """What is wrong with the markup of `source`, each in a sentence; none for none."""
    parser = _parsed(source)
    parser.result()
    return list(dict.fromkeys(parser.problems))


def _parsed(source: str) -> _Parser:
    parser = _Parser()
    parser.feed(source)
    parser.close()
    return parser


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self._text: list[str] = []
        self._length = 0
        self._spans: list[Span] = []
        self._open: list[tuple[str, int]] = []  # tag, index of its span

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        style = TAGS.get(tag)
        if style is None:
            known = ", ".join(f"<{name}>" for name in TAGS)
            self.problems.append(f"the tag <{tag}> is not known; there are {known}")
            return
        url: str | None = None
        for name, value in attrs:
            if style is Style.LINK and name == "href":
                url = (value or "").strip()
            else:
                self.problems.append(f"<{tag}> has no attribute {name} here")
        if style is Style.LINK and (url is None or not is_link(url)):
            if url != "":  # a placeholder may have no value; the words stay, without a link
                self.problems.append('a link is written <a href="https://...">text</a>')
            return
        if any(name == tag for name, _ in self._open):
            self.problems.append(f"<{tag}> stands inside another <{tag}>")
            return
        self._open.append((tag, len(self._spans)))
        self._spans.append(Span(style, self._length, self._length, url or ""))

    def handle_endtag(self, tag: str) -> None:
        if not any(name == tag for name, _ in self._open):
            if tag in TAGS and tag != "a":
                self.problems.append(f"</{tag}> ends nothing that was begun")
            return
        while self._open[-1][0] != tag:
            self.problems.append(f"<{self._open[-1][0]}> must end before </{tag}>")
            self._end_last()
        self._end_last()

    def handle_data(self, data: str) -> None:
        self._text.append(data)
        self._length += len(data)

    def handle_comment(self, data: str) -> None:
        self.problems.append("comments <!-- --> are not shown; leave them out")

    def result(self) -> Formatted:
        """What was read, without white space at both ends."""
        while self._open:
            self.problems.append(f"<{self._open[-1][0]}> is never ended")
            self._end_last()
        whole = "".join(self._text)
        text = whole.strip()
        shift = len(whole) - len(whole.lstrip())
        moved = (
            replace(span, start=max(0, span.start - shift), end=min(len(text), span.end - shift))
            for span in self._spans
        )
        return Formatted(text, tuple(span for span in moved if span.end > span.start))

    def _end_last(self) -> None:
        _, index = self._open.pop()
        self._spans[index] = replace(self._spans[index], end=self._length)


def is_link(url: str) -> bool:
    """Whether a person may be sent to `url`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme not in SCHEMES or any(char.isspace() for char in url):
        return False
    return bool(parts.netloc if parts.scheme in ("http", "https") else parts.path)
