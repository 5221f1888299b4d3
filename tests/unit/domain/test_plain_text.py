"""Texts hold what is seen: nothing that ends them, hides in them or turns them around."""

from __future__ import annotations

import pytest

from switchboard.domain import plain_text
from switchboard.errors import InvalidInputError


@pytest.mark.parametrize(
    "character", ["\x00", "\x07", "\x1b", "\x7f", "\x85", "\u202a", "\u202e", "\u2066", "\u2069", "\ud800"]
)
def test_a_character_that_is_not_seen_is_refused_by_its_number_and_place(character: str) -> None:
    problem = plain_text.problem_of(f"ab{character}c")
    assert problem is not None
    assert f"character 3 is U+{ord(character):04X}" in problem
    with pytest.raises(InvalidInputError, match="leave it out") as raised:
        plain_text.plain(f"ab{character}c", field="name")
    assert raised.value.field == "name"


@pytest.mark.parametrize(
    "text", ["", "Договор № 7/А", "one\n\ttwo\r\n", "👩‍👩‍👧 \u200f שלום \u200e", "a\u00a0b\u2028c"]
)
def test_texts_of_people_pass(text: str) -> None:
    assert plain_text.plain(text, field="name") == text


def test_breaks_of_lines_become_spaces() -> None:
    assert plain_text.on_one_line("a\r\nb\tc\u2028d  e") == "a b c d  e"
