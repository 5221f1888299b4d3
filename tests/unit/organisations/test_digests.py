"""When a digest goes out by a person's clocks, and that every document of it is named within what channels take."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.organisations import markup, templates
from switchboard.domain.organisations.digests import (
    LINE_SPANS,
    MOST_DOCUMENTS,
    Every,
    Habit,
    digest_at,
    messages,
    parse_at,
    parse_every,
)
from switchboard.domain.organisations.markup import MOST_UNITS, Formatted, Span, Style
from switchboard.domain.organisations.templates import PLACEHOLDERS, Purpose
from switchboard.errors import InvalidInputError
from switchboard.texts import notices
from switchboard.texts.locales import LOCALES, Texts
from switchboard.texts.markdown import formatted_markdown

TELEGRAM_SHOWS = 100  # entities of one message
MATTERMOST_TAKES = 16_383  # characters of one post
LONGEST = {name: value for name, (_, value) in PLACEHOLDERS.items()}


def due(
    habit: Habit,
    now: str,
    zone: str = "Europe/Moscow",
    *,
    quiet: tuple[time | None, time | None] = (None, None),
    deadline: str | None = None,
) -> str | None:
    found = digest_at(
        habit,
        datetime.fromisoformat(now).astimezone(UTC),
        ZoneInfo(zone),
        quiet_from=quiet[0],
        quiet_until=quiet[1],
        deadline=None if deadline is None else datetime.fromisoformat(deadline),
    )
    return None if found is None else f"{found.astimezone(ZoneInfo(zone)):%m-%d %H:%M}"


HOURLY = Habit(Every.HOUR, time(9))
DAILY = Habit(Every.DAY, time(9))


@pytest.mark.parametrize(
    ("now", "zone", "expected"),
    [
        ("2026-11-23T09:00:00+03:00", "Europe/Moscow", "11-23 10:00"),
        ("2026-11-23T09:00:01+03:00", "Europe/Moscow", "11-23 10:00"),
        ("2026-11-23T23:59:59.999999+03:00", "Europe/Moscow", "11-24 00:00"),
        ("2026-11-23T09:20:00+05:45", "Asia/Kathmandu", "11-23 10:00"),  # a quarter of an hour off UTC's hours
        ("2026-04-05T01:10:00+11:00", "Australia/Lord_Howe", "04-05 02:00"),  # clocks go back by half an hour at two
        ("2026-03-29T01:30:00+01:00", "Europe/Berlin", "03-29 03:00"),  # two o'clock is not there
    ],
)
def test_an_hourly_digest_goes_out_at_the_next_full_hour_of_the_persons_clocks(
    now: str, zone: str, expected: str
) -> None:
    assert due(HOURLY, now, zone) == expected


@pytest.mark.parametrize(
    ("at", "now", "zone", "expected"),
    [
        (time(9), "2026-11-23T08:59:59+03:00", "Europe/Moscow", "11-23 09:00"),
        (time(9), "2026-11-23T09:00:00+03:00", "Europe/Moscow", "11-24 09:00"),
        (time(9), "2026-11-23T23:30:00+00:00", "Europe/Moscow", "11-24 09:00"),  # it is the 24th there
        (time(2, 30), "2026-03-28T12:00:00+01:00", "Europe/Berlin", "03-29 03:30"),  # half past two is not there
        (time(2, 30), "2026-10-25T02:40:00+02:00", "Europe/Berlin", "10-26 02:30"),  # it comes twice: the first counts
    ],
)
def test_a_daily_digest_goes_out_at_its_time_of_the_persons_clocks(
    at: time, now: str, zone: str, expected: str
) -> None:
    assert due(Habit(Every.DAY, at), now, zone) == expected


def test_a_digest_in_quiet_hours_waits_for_their_end() -> None:
    night = (time(22), time(8))
    assert due(HOURLY, "2026-11-23T21:10:00+03:00", quiet=night) == "11-24 08:00"
    assert due(HOURLY, "2026-11-23T20:10:00+03:00", quiet=night) == "11-23 21:00"
    assert due(Habit(Every.DAY, time(7)), "2026-11-23T12:00:00+03:00", quiet=night) == "11-24 08:00"


def test_nothing_is_collected_for_those_who_are_told_at_once() -> None:
    assert due(Habit(Every.NONE, time(9)), "2026-11-23T12:00:00+03:00") is None


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [
        ("2026-11-24T10:00:00+03:00", "11-24 09:00"),
        ("2026-11-24T09:59:59+03:00", None),
        ("2026-11-24T08:00:00+03:00", None),
        ("2026-11-22T08:00:00+03:00", None),
    ],
)
def test_a_document_whose_deadline_leaves_less_than_an_hour_after_the_digest_is_told_at_once(
    deadline: str, expected: str | None
) -> None:
    assert due(DAILY, "2026-11-23T12:00:00+03:00", deadline=deadline) == expected


def test_a_digest_has_so_many_documents_as_its_message_has_room_for() -> None:
    assert messages([]) == []
    assert messages([""] * (2 * MOST_DOCUMENTS + 1)) == [MOST_DOCUMENTS, MOST_DOCUMENTS, 1]
    longest = LONGEST["link"]
    assert messages([longest] * 7) == [3, 3, 1]
    assert messages(["https://x.example/" + "я" * 1900, "", longest]) == [1, 2]  # Mattermost writes я as six characters


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("of_processed", [0, 7, MOST_DOCUMENTS])
def test_the_fullest_digest_fits_into_one_message_of_each_channel_and_names_every_document(
    locale: str, of_processed: int
) -> None:
    texts = Texts.for_locale(locale)
    numbers = [f"{number:02}" + "*" * 98 for number in range(MOST_DOCUMENTS)]
    link = "https://x.example/" + "a" * 280
    assert messages([link] * MOST_DOCUMENTS) == [MOST_DOCUMENTS]
    lines = [
        notices.built_in(Purpose.DIGEST, {**LONGEST, "title": "*" * 500, "number": number, "link": link}, texts)
        for number in numbers
    ]
    whole = notices.digest(lines[of_processed:], lines[:of_processed], "*" * 200, LONGEST["stop_hint"], texts)
    assert whole.units < MOST_UNITS
    assert whole.text.endswith(LONGEST["stop_hint"])
    assert len(whole.spans) < TELEGRAM_SHOWS
    assert all(number in whole.text for number in numbers)
    assert whole.text.count(LONGEST["deadline"]) == MOST_DOCUMENTS
    assert len(formatted_markdown(whole)) < MATTERMOST_TAKES
    struck = [whole.text[span.start : span.end] for span in whole.spans if span.style is Style.STRIKE]
    assert struck == [line.text for line in lines[:of_processed]]


def test_a_line_of_a_digest_has_the_number_the_title_as_its_link_and_the_deadline() -> None:
    values = {
        **dict.fromkeys(PLACEHOLDERS, ""),
        "number": "7/A",
        "title": "Lease\n& more",
        "link": "https://x.example/7",
    }
    texts = Texts.for_locale("en")
    line = notices.built_in(Purpose.DIGEST, {**values, "deadline": "Nov 25, 18:00"}, texts)
    assert line.text == "• 7/A Lease & more, until Nov 25, 18:00"
    assert line.spans == (Span(Style.BOLD, 2, 5), Span(Style.LINK, 6, 18, "https://x.example/7"))
    untitled = notices.built_in(Purpose.DIGEST, {**values, "title": ""}, texts)
    assert (untitled.text, untitled.spans[1]) == ("• 7/A", Span(Style.LINK, 2, 5, "https://x.example/7"))


@pytest.mark.parametrize(
    ("locale", "heads"),
    [
        ("en", {2: "2 documents wait for you", 21: "21 documents wait for you"}),
        ("ru", {2: "2 документа ждут вас", 5: "5 документов ждут вас", 21: "21 документ ждёт вас"}),
        ("uk", {3: "3 документи чекають на вас", 11: "11 документів чекають на вас"}),
    ],
)
def test_the_head_counts_what_waits_in_the_forms_of_the_language(locale: str, heads: dict[int, str]) -> None:
    texts = Texts.for_locale(locale)
    found = {
        count: notices.digest([Formatted("x")] * count, [Formatted("y")], "Vega", "", texts).text.partition("\n")[0]
        for count in heads
    }
    assert found == heads


def test_a_digest_whose_documents_are_all_processed_says_so() -> None:
    found = notices.digest([], [Formatted("x"), Formatted("y")], "Vega", "", Texts.for_locale("en"))
    assert found.text == "All these documents have been processed\nx\ny\nVega"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("{{ title }}", "name the number"),
        ("{{ title }} {{ number }}", "name it before what can be long"),
        ("{{ number }} {{ link }}", "put the link behind a word"),
        ("{{ number }}\n{{ title }}", "write no line breaks"),
        ("<b>{{ number }}</b> <i>{{ title }}</i> <u>{{ deadline }}</u> <s>{{ kind }}</s>", f"{LINE_SPANS} formatted"),
        ('<a href="{{ link }}">{{ number }}</a> <a href="{{ link }}">x</a>', "one link"),
    ],
)
def test_a_template_of_a_line_is_told_what_is_wrong_with_it(source: str, complaint: str) -> None:
    found = templates.problems(source, Purpose.DIGEST)
    assert any(complaint in problem for problem in found), found


def test_a_template_of_a_line_may_end_with_what_can_be_long() -> None:
    source = '<b>{{ number }}</b> ({{ kind }}) <a href="{{ link }}">{{ title }}</a>'
    assert templates.problems(source, Purpose.DIGEST) == []


def test_texts_on_lines_keep_what_formats_them() -> None:
    found = markup.lines(
        [Formatted("ab", (Span(Style.BOLD, 0, 2),)), Formatted(""), Formatted("cd").styled(Style.CODE)]
    )
    assert found == Formatted("ab\ncd", (Span(Style.BOLD, 0, 2), Span(Style.CODE, 3, 5)))


@pytest.mark.parametrize("text", ["weekly", "Hour ly", "0"])
def test_an_unknown_habit_is_refused_at_its_field(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_every(text)
    assert caught.value.field == "digest"


def test_the_time_of_a_digest_is_a_time() -> None:
    assert (parse_at("9:05"), parse_at(" "), parse_every(" "), parse_every("day")) == (
        time(9, 5),
        None,
        None,
        Every.DAY,
    )
    with pytest.raises(InvalidInputError) as caught:
        parse_at("24:00")
    assert caught.value.field == "digest_at"
