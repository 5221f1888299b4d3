"""Other people's words have no power over our messages."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from switchboard.texts.markdown import Button, Message, escape, link, plain, safe_url

ZERO_WIDTH = "\u200b"


@pytest.mark.parametrize("word", ["@all", "@channel", "@here", "@ann", "x@all", "@@all", "@\u200call"])
def test_no_mention_fires(word: str) -> None:
    shown = escape(f"Hi {word}!", 100)
    assert not re.search(r"@[\w.-]", shown)


@pytest.mark.parametrize(
    ("text", "forbidden"),
    [
        ("[click](http://evil.example)", r"(?<!\\)\["),
        ("![](http://evil.example/x.png)", r"(?<!\\)\["),
        ("http://evil.example", r"https?://"),
        ("HTTPS://evil.example", r"(?i)https?://"),
        ("mattermost://evil", r"\w://"),
        ("www.evil.example", r"(?i)www\."),
        ("a | b", r"(?<!\\)\|"),
        ("~town-square", r"(?<!\\)~"),
        ("#tag", r"(?<!\\)#"),
        ("**bold** _it_ `code`", r"(?<!\\)[*_`]"),
        ("> quote", r"(?<!\\)>"),
    ],
)
def test_no_formatting_link_image_or_table_comes_out_of_a_text(text: str, forbidden: str) -> None:
    assert not re.search(forbidden, escape(text, 200))


def test_a_backslash_cannot_undo_the_escape() -> None:
    assert escape("\\[x]", 100) == "\\\\\\[x\\]"


def test_a_text_stays_on_one_line_without_invisible_tricks() -> None:
    assert plain("a\r\n# b\t\x00c\u202edlrow\u2066\u200b!", 100) == "a # b cdlrow!"
    assert plain("  \n ", 100) == ""
    assert plain("семья 👩\u200d👩", 100) == "семья 👩\u200d👩"


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain("x" * 10, 10) == "x" * 10
    assert len(escape("*" * 10_000_000, 10)) == 19


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example/b)c",
        "https://a.example/b c",
        "https://a.example/[x](y)",
        "https://a.example/<b>",
        'https://a.example/"t"',
        "https://a.example/\n#x",
        "https://a.example/|`*",
    ],
)
def test_a_url_cannot_end_its_link(url: str) -> None:
    shown = link("Join", url)
    assert re.fullmatch(r"\[Join\]\([^\s()\[\]<>\"|`*\\]+\)", shown)


def test_a_plain_url_is_not_changed() -> None:
    url = "https://us02web.zoom.us/j/123?pwd=a.b-c_d~e&x=%20#f"
    assert safe_url(url) == url
    assert "@" not in safe_url("https://a.example/@all")


def test_buttons_become_links_where_a_channel_has_no_link_buttons() -> None:
    message = Message("Text", (Button("Join", "https://a.example/(1)"),))
    assert message.as_markdown() == "Text\n**[Join](https://a.example/%281%29)**"
    assert Message("Text").as_markdown() == "Text"


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_whatever_is_written_stays_text_of_one_line(text: str) -> None:
    shown = escape(text, 60)
    bare = re.sub(r"\\[\\`*_\[\]~|#>]", "", shown)
    assert not re.search(r"[\\`*_\[\]~|#>\n\r]", bare)
    assert not re.search(r"@[^\u200b]", shown)
    assert not re.search(r"[^\u200b]://", shown)
