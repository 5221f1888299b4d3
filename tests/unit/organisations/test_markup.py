"""Formatted text: what the tags make, what is refused, and how it looks in Mattermost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.organisations import markup
from switchboard.domain.organisations.markup import Formatted, Span, Style
from switchboard.texts.markdown import formatted_markdown


def test_tags_become_spans_over_the_text_in_characters() -> None:
    found = markup.parse('  😀 <b>Doc <i>7</i></b>\n<a href="https://x.example/?a=1&amp;b=2">open</a> ')
    assert found.text == "😀 Doc 7\nopen"
    assert found.spans == (
        Span(Style.BOLD, 2, 7),
        Span(Style.ITALIC, 6, 7),
        Span(Style.LINK, 8, 12, "https://x.example/?a=1&b=2"),
    )
    assert found.units == len(found.text) + 1


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("<table>x</table>", "<table> is not known"),
        ("<b>x", "<b> is never ended"),
        ("x</b>", "</b> ends nothing"),
        ("<b><i>x</b></i>", "<i> must end before </b>"),
        ("<b><b>x</b></b>", "<b> stands inside another <b>"),
        ('<b onclick="x">x</b>', "no attribute onclick"),
        ("<a>x</a>", "a link is written"),
        ('<a href="javascript:alert(1)">x</a>', "a link is written"),
        ('<a href="https://a b">x</a>', "a link is written"),
        ("<!-- x -->y", "comments"),
    ],
)
def test_wrong_markup_is_told_and_never_shown(source: str, complaint: str) -> None:
    assert any(complaint in problem for problem in markup.problems(source))
    assert "<" not in markup.parse(source).text


def test_good_markup_has_no_problems() -> None:
    assert (
        markup.problems('a &lt; b <b>x</b> <u>y</u> <s>z</s> <code>c</code> <a href="mailto:a@b.example">m</a>') == []
    )


@given(st.text(alphabet="<>/abi \n&;😀='\"", max_size=60))
def test_any_text_gives_spans_that_lie_inside_it_and_nest(source: str) -> None:
    found = markup.parse(source)
    for span in found.spans:
        assert 0 <= span.start < span.end <= len(found.text)
        for other in found.spans:
            disjoint = span.end <= other.start or other.end <= span.start
            within = (span.start <= other.start and other.end <= span.end) or (
                other.start <= span.start and span.end <= other.end
            )
            assert disjoint or within
    formatted_markdown(found)


def test_a_cut_counts_units_and_keeps_spans_inside() -> None:
    long = Formatted("😀" * 10, (Span(Style.BOLD, 0, 3), Span(Style.ITALIC, 3, 10), Span(Style.CODE, 8, 10)))
    short = long.cut(12)
    assert short.text == "😀😀😀😀😀…"
    assert short.spans == (Span(Style.BOLD, 0, 3), Span(Style.ITALIC, 3, 6))
    assert short.units <= 12
    assert long.cut(20) is long


def test_mattermost_shows_the_spans_and_nothing_that_the_text_pretends() -> None:
    found = markup.parse(
        '<b>Doc *7*</b> @all\n<a href="https://x.example/(a)">open [it]</a> <b> a <i>b</i></b> <code>`x`</code>'
    )
    assert formatted_markdown(found) == (
        "**Doc \\*7\\*** @\u200ball\n[open \\[it\\]](https://x.example/%28a%29)  **a _b_** `'x'`"
    )


@pytest.mark.parametrize(
    "source",
    [
        "plain &amp; simple &lt;b&gt;",
        "<b>bold <i>both</i></b><i>italic</i>",
        '<u><s>x</s></u> <code>y</code> <a href="https://x.example/?a=1&amp;b=%22">link <b>bold</b></a> end',
    ],
)
def test_formatted_text_can_be_written_as_html_again(source: str) -> None:
    found = markup.parse(source)
    assert markup.html(found) == source
    assert markup.parse(markup.html(found)) == found
