"""Mattermost's Markdown to HTML that is safe to show: everything is escaped first, and only known tags are written."""

from __future__ import annotations

import re
from html import escape

_EMOJI = {
    "calendar": "📅", "date": "📆", "spiral_calendar": "🗓️", "spiral_calendar_pad": "🗓️", "bell": "🔔", "alarm_clock": "⏰",
    "white_check_mark": "✅", "x": "❌", "warning": "⚠️", "speech_balloon": "💬", "palm_tree": "🌴", "computer": "💻",
    "house": "🏠", "hourglass": "⌛", "hourglass_flowing_sand": "⏳", "information_source": "ℹ️", "wave": "👋",
    "sunny": "☀️", "tada": "🎉", "eyes": "👀", "question": "❓", "grey_question": "❔", "lock": "🔒", "link": "🔗",
    "busts_in_silhouette": "👥", "clock10": "🕙", "pushpin": "📌", "movie_camera": "🎥", "video_camera": "📹",
}  # fmt: skip
_LINK = re.compile(r"\[([^\]\n]+)\]\((https?://[^\s()<>\0]+(?:\([^\s()<>\0]*\)[^\s()<>\0]*)*)\)")
_BARE = re.compile(r"(?<![\w/\"'=>])https?://[^\s<>\0]+[^\s<>\0.,;:!?)\]}'\"]")
_RULES = (
    (re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"__(?=\S)(.+?)(?<=\S)__"), r"<strong>\1</strong>"),
    (re.compile(r"~~(?=\S)(.+?)(?<=\S)~~"), r"<del>\1</del>"),
    (re.compile(r"(?<![\w*])\*(?=[^\s*])(.+?)(?<=[^\s*])\*(?![\w*])"), r"<em>\1</em>"),
    (re.compile(r"(?<!\w)_(?=[^\s_])(.+?)(?<=[^\s_])_(?!\w)"), r"<em>\1</em>"),
    (re.compile(r"(?<!\w)@([a-z][a-z0-9._-]*)"), r'<span class="mention">@\1</span>'),
)
_ITEM = re.compile(r"\s*(?:([-*+•])|(\d+)[.)])\s+(.*)")
_HEADING = re.compile(r"(#{1,6})\s+(.*)")
_TABLE_RULE = re.compile(r"\|?\s*:?-{2,}:?\s*(\|\s*:?-{2,}:?\s*)*\|?")


def emoji(name: str) -> str:
    """The picture of an emoji name, or the name between colons."""
    return _EMOJI.get(name.strip(":"), f":{name.strip(':')}:") if name else ""


def render(text: str) -> str:
    """HTML of a message: paragraphs, headings, lists, quotes, tables, code, and what stands within a line."""
    lines = text.replace("\0", "").replace("\r\n", "\n").split("\n")
    out: list[str] = []
    at = 0
    while at < len(lines):
        at = _block(lines, at, out)
    return "".join(out)


def _block(lines: list[str], at: int, out: list[str]) -> int:
    """Write the block that begins at line `at`; returns the line after it."""
    line = lines[at]
    if line.startswith("```"):
        end = next((index for index in range(at + 1, len(lines)) if lines[index].startswith("```")), len(lines))
        out.append(f"<pre><code>{escape(chr(10).join(lines[at + 1 : end]))}</code></pre>")
        return end + 1
    if not line.strip():
        return at + 1
    if heading := _HEADING.fullmatch(line):
        level = min(6, len(heading[1]) + 2)
        out.append(f"<h{level}>{_inline(heading[2])}</h{level}>")
        return at + 1
    if re.fullmatch(r"\s*([-*_])(\s*\1){2,}\s*", line):
        out.append("<hr>")
        return at + 1
    if "|" in line and at + 1 < len(lines) and "-" in lines[at + 1] and _TABLE_RULE.fullmatch(lines[at + 1].strip()):
        return _table(lines, at, out)
    if line.startswith(">"):
        end = _while(lines, at, lambda one: one.startswith(">"))
        out.append(
            f"<blockquote>{render(chr(10).join(one[1:].removeprefix(' ') for one in lines[at:end]))}</blockquote>"
        )
        return end
    if item := _ITEM.fullmatch(line):
        tag = "ol" if item[2] else "ul"
        end = _while(lines, at, lambda one: _ITEM.fullmatch(one) is not None)
        found = [match for one in lines[at:end] if (match := _ITEM.fullmatch(one))]
        out.append(f"<{tag}>{''.join(f'<li>{_inline(match[3])}</li>' for match in found)}</{tag}>")
        return end
    end = at + 1
    while (
        end < len(lines) and lines[end].strip() and not re.match(r"```|>|#{1,6}\s|\s*([-*+•]|\d+[.)])\s+", lines[end])
    ):
        end += 1
    out.append(f"<p>{'<br>'.join(_inline(one) for one in lines[at:end])}</p>")
    return end


def _while(lines: list[str], at: int, belongs: object) -> int:
    end = at
    while end < len(lines) and callable(belongs) and belongs(lines[end]):
        end += 1
    return end


def _table(lines: list[str], at: int, out: list[str]) -> int:
    end = _while(lines, at, lambda one: "|" in one)
    rows = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[at:end]]
    head = "".join(f"<th>{_inline(cell)}</th>" for cell in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows[2:])
    out.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return end


def _inline(text: str) -> str:
    """One line. Code and links are set aside first, so that no rule writes into an address."""
    kept: list[str] = []

    def keep(html: str) -> str:
        kept.append(html)
        return f"\0{len(kept) - 1}\0"

    def anchor(address: str, shown: str) -> str:
        return keep(f'<a href="{escape(address)}" target="_blank" rel="noopener noreferrer">') + shown + keep("</a>")

    text = re.sub(r"`([^`\n]+)`", lambda match: keep(f"<code>{escape(match[1])}</code>"), text)
    text = _LINK.sub(lambda match: anchor(match[2], match[1]), text)
    text = _BARE.sub(lambda match: anchor(match[0], keep(escape(match[0]))), text)
    text = escape(text, quote=False)
    for rule, replacement in _RULES:
        text = rule.sub(replacement, text)
    text = re.sub(r":([a-z0-9_+-]+):", lambda match: _EMOJI.get(match[1], match[0]), text)
    while "\0" in text:
        text = re.sub("\0(\\d+)\0", lambda match: kept[int(match[1])], text)
    return text
