import re

import pytest

from sandbox.page.markdown import render


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("**bold** and ~~gone~~", "<p><strong>bold</strong> and <s>gone</s></p>"),
        ("_soft_ *soft*", "<p><em>soft</em> <em>soft</em></p>"),
        ("- one\n- two", "<ul><li>one</li><li>two</li></ul>"),
        ("- one\n  more\n- two", "<ul><li>one<br>more</li><li>two</li></ul>"),
        ("1. one\n2. two", "<ol><li>one</li><li>two</li></ol>"),
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        ("`a*b*`", "<p><code>a*b*</code></p>"),
        ("```\n<b>\n```", "<pre><code>&lt;b&gt;</code></pre>"),
        ("> said", "<blockquote><p>said</p></blockquote>"),
        (":calendar: x", "<p>📅 x</p>"),
        ("snake_case_name", "<p>snake_case_name</p>"),
    ],
)
def test_what_mattermost_draws_is_drawn(text: str, html: str) -> None:
    assert re.sub(r"\n|(?<=<br) /", "", render(text)) == html


def test_a_link_keeps_its_address_whatever_stands_in_it() -> None:
    shown = render("[**join**](https://meet.example.org/a_b_c?x=1&y=2) https://meet.example.org/d_e_f.")
    assert 'href="https://meet.example.org/a_b_c?x=1&amp;y=2"' in shown
    assert "<strong>join</strong></a>" in shown
    assert ">https://meet.example.org/d_e_f</a>." in shown


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        '[x](https://a.example/"onmouseover="alert(1))',
        'https://a.example/`"onmouseover=x`',
        "\x000\x00https://a.example[x](https://b.example)",
        "**<img src=x onerror=alert(1)>**",
    ],
)
def test_nothing_a_sender_writes_becomes_a_tag_or_an_attribute_of_its_own(text: str) -> None:
    shown = render(text)
    assert "<script" not in shown
    assert "<img" not in shown
    assert "javascript:" not in shown or 'href="javascript' not in shown
    for tag in shown.split("<a ")[1:]:
        attributes = tag.split(">")[0]
        assert attributes.count('"') == 6, attributes  # href, target, rel
