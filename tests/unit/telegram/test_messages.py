"""Texts are split as Telegram counts, without breaking what belongs together."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchboard.domain.organisations.markup import MOST_SPANS, Formatted, Span, Style, utf16_units
from switchboard.domain.telegram.messages import (
    CAPTION_UNITS,
    Attachment,
    FileKind,
    Part,
    Plan,
    parts_of,
    split,
)
from switchboard.domain.telegram.peers import Address, AddressKind, Peer, PeerKind, parse_address
from switchboard.errors import InvalidInputError

SIGNS = st.sampled_from(["a", "b", "я", " ", "  ", "\n", "\n\n", "😀", "👩\u200d🚀", "e\u0301", "日", "word "])


@st.composite
def formatted(draw: st.DrawFn) -> Formatted:
    text = "".join(draw(st.lists(SIGNS, max_size=60)))
    spans = []
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, max(0, len(text) - 1)))
        end = draw(st.integers(start, min(len(text), start + 25)))
        if end > start:
            spans.append(Span(draw(st.sampled_from(list(Style))), start, end))
    return Formatted(text, tuple(spans))


def styled(text: Formatted) -> list[tuple[str, frozenset[Style]]]:
    """Each visible character with its styles."""
    return [
        (char, frozenset(span.style for span in text.spans if span.start <= at < span.end))
        for at, char in enumerate(text.text)
        if not char.isspace()
    ]


@given(formatted(), st.integers(8, 40))
def test_parts_fit_and_together_say_the_same_in_the_same_style(text: Formatted, most: int) -> None:
    parts = split(text, most)
    assert all(0 < part.units <= most and part.text == part.text.strip() for part in parts)
    assert [one for part in parts for one in styled(part)] == styled(text)
    assert all(0 <= span.start < span.end <= len(part.text) for part in parts for span in part.spans)


@given(formatted())
def test_what_fits_stays_whole(text: Formatted) -> None:
    assert [part.text for part in split(text, 10_000)] == ([text.text.strip()] if text.text.strip() else [])


@pytest.mark.parametrize("between", [" ", "\n\n", ""])
@pytest.mark.parametrize("count", [MOST_SPANS, MOST_SPANS + 1, 3 * MOST_SPANS + 7])
def test_more_styles_than_a_message_shows_make_more_messages(between: str, count: int) -> None:
    words = between.join("wo" for _ in range(count))
    step = 2 + len(between)
    text = Formatted(words, tuple(Span(Style.BOLD, at * step, at * step + 2) for at in range(count)))
    parts = parts_of(text)
    assert len(parts) == -(-count // MOST_SPANS)
    assert all(len(part.text.spans) <= MOST_SPANS for part in parts)
    assert [one for part in parts for one in styled(part.text)] == styled(text)


def test_a_caption_with_more_styles_than_a_message_shows_follows_its_file() -> None:
    text = Formatted("ab" * 120, tuple(Span(Style.ITALIC, 2 * at, 2 * at + 1) for at in range(120)))
    photo = Attachment("f1", FileKind.PHOTO)
    first, *rest = parts_of(text, [photo])
    assert first == Part(Formatted(""), (photo,))
    assert [one for part in rest for one in styled(part.text)] == styled(text)


def test_text_is_never_lost_to_styles_however_many_lie_over_one_character() -> None:
    text = Formatted("xyz", tuple(Span(Style.BOLD, 0, 3) for _ in range(2 * MOST_SPANS)))
    (part,) = split(text, 4096)
    assert (part.text, len(part.spans)) == ("xyz", MOST_SPANS)


@given(st.lists(st.text("abcd", min_size=1, max_size=7), min_size=1, max_size=60), st.integers(8, 30))
def test_words_that_fit_are_not_broken(words: list[str], most: int) -> None:
    parts = split(Formatted(" ".join(words)), most)
    assert [word for part in parts for word in part.text.split()] == words


@given(st.integers(0, 60), st.integers(1, 12), st.integers(0, 60))
def test_a_span_that_fits_is_not_broken(before: int, length: int, after: int) -> None:
    text = Formatted(
        "x" * before + "y" * length + "x" * after, (Span(Style.LINK, before, before + length, "https://e.org"),)
    )
    assert sum(len(part.spans) for part in split(text, 12)) == 1


def test_a_cut_lies_between_paragraphs_before_lines_before_words() -> None:
    assert [part.text for part in split(Formatted("one two\nthree\n\nfour five"), 20)] == [
        "one two\nthree",
        "four five",
    ]
    assert [part.text for part in split(Formatted("one two\nthree four"), 14)] == ["one two", "three four"]


@pytest.mark.parametrize("cluster", ["👩\u200d🚀", "e\u0301", "❤\ufe0f"])
def test_what_is_drawn_as_one_sign_is_not_broken(cluster: str) -> None:
    parts = split(Formatted("x" + cluster * 40), 17)
    assert re.sub(f"^x|{cluster}", "", "".join(part.text for part in parts)) == ""
    assert all(not part.text.startswith(("\u200d", "\u0301", "\ufe0f")) for part in parts)


def test_a_surrogate_pair_counts_two_and_stays_whole() -> None:
    parts = split(Formatted("😀" * 4096), 4096)
    assert [(len(part.text), utf16_units(part.text)) for part in parts] == [(2048, 4096), (2048, 4096)]


def test_a_caption_that_is_too_long_follows_its_files() -> None:
    file = Attachment("f", FileKind.PHOTO)
    assert parts_of(Formatted("x" * CAPTION_UNITS), [file]) == (Part(Formatted("x" * CAPTION_UNITS), (file,)),)
    assert [(part.text.units, len(part.files)) for part in parts_of(Formatted("x" * 5000), [file])] == [
        (0, 1),
        (4096, 0),
        (904, 0),
    ]


def test_a_plan_comes_back_from_its_row_with_the_same_numbers() -> None:
    files = (Attachment("f", FileKind.VIDEO, 3, 640, 480), Attachment("g", FileKind.PHOTO))
    text = Formatted("Hello", (Span(Style.BOLD, 0, 5), Span(Style.LINK, 1, 2, "https://e.org")))
    plan = Plan("n", (Part(text, files), Part(text)), done=((5, 6),))
    again = Plan.from_json(plan.as_json())
    assert again == plan
    ids = [*again.random_ids(0), *again.random_ids(1)]
    assert len(set(ids)) == 3
    assert all(0 < one < 2**63 for one in ids)
    assert ids == [*plan.random_ids(0), *plan.random_ids(1)]
    assert not set(ids) & set(Plan("m", plan.parts).random_ids(0))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("@Ann_Lee", Address(AddressKind.USERNAME, "ann_lee")),
        ("+7 (916) 123-45-67", Address(AddressKind.PHONE, "+79161234567")),
        ("1000001", Address(AddressKind.ID, "1000001")),
        ("-1001500000001", Address(AddressKind.ID, "-1001500000001")),
    ],
)
def test_an_address_has_one_spelling(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["Ann Lee", str(2**40), "9999999999999999999", "-4000000000001"])
def test_an_address_that_names_nobody_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="give an id"):
        parse_address(text)


@pytest.mark.parametrize(
    ("kind", "number"), [(PeerKind.USER, 5), (PeerKind.CHAT, -5), (PeerKind.CHANNEL, -1_000_000_000_005)]
)
def test_one_number_stands_for_a_peer_of_any_kind(kind: PeerKind, number: int) -> None:
    assert Peer(kind, 5, 7).chat_id == number
    assert Peer.of(number, 7) == Peer(kind, 5, 7)
