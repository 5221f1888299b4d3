"""Where the link to join by is found."""

from __future__ import annotations

import pytest

from switchboard.domain.calendar.conference import SOURCES, conference_url, web_urls
from tests.unit.domain.icalendar_text import expanded


def test_the_sources_are_asked_in_their_order() -> None:
    properties = {name: [f"https://{name.lower()}.example/"] for name in SOURCES}
    for name in SOURCES:
        assert conference_url(properties) == f"https://{name.lower()}.example/"
        del properties[name]
    assert conference_url(properties) == ""


def test_in_free_text_a_known_meeting_place_goes_before_other_links() -> None:
    text = "Agenda: https://docs.example/d/1, join: https://us02web.zoom.us/j/123?pwd=a.b."
    assert conference_url({"DESCRIPTION": [text]}) == "https://us02web.zoom.us/j/123?pwd=a.b"
    assert conference_url({"DESCRIPTION": ["see https://docs.example/d/1."]}) == "https://docs.example/d/1"


def test_a_host_that_only_looks_like_a_meeting_place_is_not_preferred() -> None:
    text = "https://telemost.yandex.ru.evil.example/j/1 https://notzoom.us/j/2 https://telemost.yandex.ru/j/3"
    assert conference_url({"LOCATION": [text]}) == "https://telemost.yandex.ru/j/3"


def test_the_page_of_the_event_in_a_calendar_is_not_a_place_to_join() -> None:
    page = "https://calendar.google.com/calendar/event?eid=x"
    assert conference_url({"URL": [page], "LOCATION": ["https://meet.google.com/abc-defg-hij"]}).endswith(
        "abc-defg-hij"
    )


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("(https://a.example/b)", ["https://a.example/b"]),
        ("https://a.example/wiki/B_(c).", ["https://a.example/wiki/B_(c)"]),
        ('<a href="https://a.example/?x=1&amp;y=2">join</a>', ["https://a.example/?x=1&y=2"]),
        ("<https://a.example/b>", ["https://a.example/b"]),
        ("«https://a.example/b»", ["https://a.example/b"]),
        ("https://a.example/b,\nhttps://c.example!", ["https://a.example/b", "https://c.example"]),
        ("HTTPS://A.example/b", ["HTTPS://A.example/b"]),
        ("javascript:alert(1) ftp://a.example file:///etc/passwd tel:+123", []),
        ("https://", []),
        ("https://[::1", []),
        ("https://a.example:99999/", []),
        ("https://telemost.yandex.ru@evil.example/j/1", []),
        ("https://a.example/" + "x" * 3000, []),
        ("", []),
    ],
)
def test_links_are_taken_clean_and_only_from_the_web(text: str, urls: list[str]) -> None:
    assert web_urls(text) == urls


@pytest.mark.parametrize(
    "line",
    [
        "X-TELEMOST-CONFERENCE:https://telemost.yandex.ru/j/1",
        "CONFERENCE;VALUE=URI;FEATURE=VIDEO;LABEL=Join:https://telemost.yandex.ru/j/1",
        "X-GOOGLE-CONFERENCE:https://telemost.yandex.ru/j/1",
        "X-MICROSOFT-SKYPETEAMSMEETINGURL:https://telemost.yandex.ru/j/1",
        "URL;VALUE=URI:https://telemost.yandex.ru/j/1",
        "LOCATION:Room 4\\, https://telemost.yandex.ru/j/1",
        "DESCRIPTION:Hello\\n\\nhttps://telemost.yandex.ru/j/1\\nBye",
    ],
)
def test_each_source_is_read_from_the_object(line: str) -> None:
    (one,) = expanded(f"UID:a\nDTSTART:20260303T100000Z\n{line}").occurrences
    assert one.conference_url == "https://telemost.yandex.ru/j/1"


def test_a_telephone_conference_gives_way_to_the_next_web_link() -> None:
    (one,) = expanded("UID:a\nDTSTART:20260303T100000Z\nCONFERENCE:tel:+123\nURL:https://zoom.us/j/1").occurrences
    assert one.conference_url == "https://zoom.us/j/1"
