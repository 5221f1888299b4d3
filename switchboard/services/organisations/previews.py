"""How a message would look: as Telegram and Mattermost show it, and how much of what they take it uses."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from switchboard.domain import plain_text
from switchboard.domain.organisations import markup
from switchboard.domain.organisations.markup import MOST_SPANS, MOST_UNITS, Formatted, Style, utf16_units
from switchboard.domain.organisations.templates import PLACEHOLDERS
from switchboard.errors import InvalidInputError
from switchboard.services.organisations.addresses import CHANNELS, TELEGRAM
from switchboard.texts.markdown import formatted_markdown

ENTITIES: Mapping[Style, str] = {
    Style.BOLD: "bold",
    Style.ITALIC: "italic",
    Style.UNDERLINE: "underline",
    Style.STRIKE: "strikethrough",
    Style.CODE: "code",
    Style.LINK: "text_link",
}
"""As Telegram names them (https://core.telegram.org/bots/api#messageentity)."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A formatted part of a Telegram message; `offset` and `length` count UTF-16 code units, `url` is of a text_link."""

    type: str
    offset: int
    length: int
    url: str | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as it is sent: `text` and `entities`, or `html`, over Telegram, `markdown` over Mattermost.

    `units` are the UTF-16 code units before a too long message was cut, of `most_units` that one Telegram message has.
    """

    text: str
    entities: list[Entity]
    html: str
    markdown: str
    units: int
    most_units: int
    entities_used: int
    most_entities: int


@dataclass(frozen=True, slots=True)
class PreviewOf:
    """What to show: `source`, else the template that a message of this kind, purpose and language takes.

    `values` (by placeholder) take the place of made-up ones, `recipient` (external id) gives their name, zone and language.
    """

    source: str | None = None
    kind: str = "default"
    purpose: str = "notice"
    language: str = ""
    channel: str = TELEGRAM
    recipient: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Preview:
    """What is wrong with a template, as storing it would say, and how its message looks; no message where it cannot be tried.

    `origin` is `given`, `organisation N`, or `built-in`.
    """

    problems: list[str]
    origin: str
    language: str
    message: Shown | None


def shown(uncut: Formatted) -> Shown:
    """How a message looks."""
    sent = uncut.cut()
    return Shown(
        text=sent.text,
        entities=[
            Entity(
                ENTITIES[span.style],
                utf16_units(sent.text[: span.start]),
                utf16_units(sent.text[span.start : span.end]),
                span.url or None,
            )
            for span in sent.spans
        ],
        html=markup.html(sent),
        markdown=formatted_markdown(sent),
        units=uncut.units,
        most_units=MOST_UNITS,
        entities_used=len(sent.spans),
        most_entities=MOST_SPANS,
    )


def check_values(values: Mapping[str, str]) -> None:
    """InvalidInputError for a value of no placeholder, or one that is longer than a real one can be."""
    for name, value in values.items():
        if name not in PLACEHOLDERS:
            near = difflib.get_close_matches(name, PLACEHOLDERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(PLACEHOLDERS)}"
            raise InvalidInputError(f"there is no placeholder {name}; {hint}", field="values")
        most = len(PLACEHOLDERS[name][1])
        if len(value) > most:
            raise InvalidInputError(f"{name} has at most {most} characters", field="values")
        plain_text.plain(value, field="values")


def check_channel(channel: str) -> None:
    """InvalidInputError for a channel that is none."""
    if channel not in CHANNELS:
        raise InvalidInputError(f"the channel is one of {', '.join(CHANNELS)}", field="channel")
