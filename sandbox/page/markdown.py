"""Mattermost's Markdown to HTML that is safe to show: HTML in a message is shown as text, links lead to the web alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

_EMOJI = {
    "calendar": "📅", "date": "📆", "spiral_calendar": "🗓️", "spiral_calendar_pad": "🗓️", "bell": "🔔", "alarm_clock": "⏰",
    "white_check_mark": "✅", "x": "❌", "warning": "⚠️", "speech_balloon": "💬", "palm_tree": "🌴", "computer": "💻",
    "house": "🏠", "hourglass": "⌛", "hourglass_flowing_sand": "⏳", "information_source": "ℹ️", "wave": "👋",
    "sunny": "☀️", "tada": "🎉", "eyes": "👀", "question": "❓", "grey_question": "❔", "lock": "🔒", "link": "🔗",
    "busts_in_silhouette": "👥", "clock10": "🕙", "pushpin": "📌", "movie_camera": "🎥", "video_camera": "📹",
}  # fmt: skip
_PICTURE = re.compile(r":([a-z0-9_+-]+):")


def emoji(name: str) -> str:
    """The picture of an emoji name, or the name between colons."""
    return _EMOJI.get(name.strip(":"), f":{name.strip(':')}:") if name else ""


def render(text: str) -> str:
    """HTML of a message: paragraphs, headings, lists, quotes, tables, code, and what stands within a line."""
    return str(_markdown.render(text)).strip()


def _draw_emoji(state: StateCore) -> None:
    for block in state.tokens:
        for token in block.children or ():
            if token.type == "text":
                token.content = _PICTURE.sub(lambda match: _EMOJI.get(match[1], match[0]), token.content)


def _open_outside(self: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, _env: EnvType) -> str:
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer")
    return self.renderToken(tokens, index, options, _env)


def _leads_to_the_web(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": True})
    made.enable(["table", "strikethrough", "linkify"]).disable("image")
    made.validateLink = _leads_to_the_web  # type: ignore[method-assign]  # the library's own way to set it
    made.core.ruler.push("emoji", _draw_emoji)
    made.add_render_rule("link_open", _open_outside)
    linkifier: Any = made.linkify
    linkifier.set({"fuzzy_link": False, "fuzzy_email": False})
    return made


_markdown = _parser()
