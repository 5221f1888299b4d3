"""Lists of several days, recurrence in words, menus and dialogs in every language."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.agenda import DayAgenda
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from switchboard.domain.commands import GROUPS, Command, DayRange
from switchboard.texts.connections import connection_form_texts
from switchboard.texts.listings import (
    MAX_PAGE_CHARS,
    MAX_PAGE_MEETINGS,
    listing_notes,
    listing_pages,
    listing_title,
    page_text,
    time_ago,
)
from switchboard.texts.locales import LOCALES, Texts
from switchboard.texts.markdown import MAX_MESSAGE_CHARS
from switchboard.texts.menu import command_label, day_form_texts, group_title, info_text
from switchboard.texts.notifications import already_there_text, notification_form_texts
from switchboard.texts.recurrence import recurrence_in_words

ZONE = ZoneInfo("Europe/Moscow")
TODAY = date(2026, 11, 21)
START = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
EN = Texts.for_locale("en")
LABEL_BYTES = 24  # server/public/model/integration_action.go
HELP = ("server_help", "zone_help", "keep_password", "minutes_help", "quiet_help", "work_help", "status_help")
LABELS = (
    *("connect_title", "update_title", "server", "login", "password", "zone", "title", "calendars", "agenda"),
    *("agenda_time", "weekdays", "empty_days", "reminders", "minutes", "language", "day", "period", "first", "last"),
    *("changes", "answers", "quiet_from", "quiet_until", "work_from", "work_until"),
)


def meeting(number: int, **changes: object) -> Occurrence:
    values = {
        "uid": f"m{number}",
        "recurrence_id": "",
        "start": START,
        "end": START + timedelta(hours=1),
        "title": f"m{number}",
    }
    return Occurrence(**{**values, **changes})  # type: ignore[arg-type]


def pages_of(*days: DayAgenda) -> list[str]:
    def calendars_of(_one: Occurrence) -> tuple[str, ...]:
        return ("Work",)

    return [page_text(page, calendars_of, ZONE, EN) for page in listing_pages(days, calendars_of)]


def test_no_meetings_are_one_empty_page() -> None:
    assert pages_of() == [""]
    assert listing_title(DayRange(TODAY, TODAY), 0, TODAY, EN) == "Nov 21: no meetings"


def test_days_of_another_year_are_titled_with_it() -> None:
    far = DayRange(date(2026, 12, 28), date(2027, 1, 3))
    assert listing_title(far, 2, TODAY, EN) == "### Dec 28 – Jan 3 2027: 2 meetings"


def test_a_page_holds_a_bounded_number_of_meetings_and_repeats_the_day() -> None:
    day = DayAgenda(date(2026, 11, 21), (), tuple(meeting(number) for number in range(MAX_PAGE_MEETINGS + 1)))
    first, second = pages_of(day)
    assert first.count("\n- ") == MAX_PAGE_MEETINGS
    assert second.splitlines()[0] == first.splitlines()[0] == "#### Saturday, November 21"


@pytest.mark.parametrize("word", ["*", "@", "://", "www.", "я", "a b "])
@pytest.mark.parametrize("url", ["", "https://example.org/" + "a" * 1_900, "https://example.org/" + "я" * 200])
def test_the_largest_meetings_fit_a_post(word: str, url: str) -> None:
    answers = ("ACCEPTED", "TENTATIVE", "DECLINED", "NEEDS-ACTION")
    people = tuple(Attendee(f"{number}@example.org", word * 100, answers[number % 4]) for number in range(100))
    huge = [
        meeting(
            number,
            title=word * 1_000,
            place=word * 1_000,
            attendees=people[: 100 - number * 5],
            organizer=people[0],
            conference_url=url,
            recurrence="FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;UNTIL=20301231T000000Z",
        )
        for number in range(20)
    ]
    pages = pages_of(DayAgenda(date(2026, 11, 21), (), tuple(huge)))
    assert all(len(page) <= MAX_PAGE_CHARS < MAX_MESSAGE_CHARS - 500 for page in pages)
    assert sum(page.count("\n- ") for page in pages) == len(huge)


def test_ordinary_meetings_fill_a_page() -> None:
    people = tuple(Attendee(f"somebody{number}@example.org", f"Somebody Number{number}") for number in range(8))
    ordinary = [
        meeting(
            number,
            title="A title of some thirty letters",
            place="A room in the third floor",
            attendees=people,
            organizer=people[0],
            conference_url="https://teams.microsoft.com/l/meetup-join/" + "a" * 200,
        )
        for number in range(MAX_PAGE_MEETINGS)
    ]
    assert len(pages_of(DayAgenda(date(2026, 11, 21), (), tuple(ordinary)))) == 1


def test_a_page_goes_on_where_the_one_before_it_ended() -> None:
    days = [
        DayAgenda(
            date(2026, 11, 20 + day),
            (meeting(day * 10, all_day=True, title=f"whole{day}"),),
            tuple(meeting(day * 10 + number) for number in range(1, 8)),
        )
        for day in range(3)
    ]
    pages = pages_of(*days)
    titles = [line.rpartition(" ")[2] for page in pages for line in page.splitlines() if line.startswith("- ")]
    assert titles == [
        title for day in range(3) for title in (f"whole{day}", *(f"m{day * 10 + number}" for number in range(1, 8)))
    ]
    assert [page.count("#### ") for page in pages] == [2, 2, 1]


def test_strangers_words_have_no_power_over_the_message() -> None:
    [page] = pages_of(
        DayAgenda(date(2026, 11, 21), (), (meeting(1, title="@all [x](http://evil)", link="https://a/) @all"),))
    )
    assert "@all" not in page
    assert "[x](" not in page


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(0, "just now"), (1, "1 minute ago"), (59, "59 minutes ago"), (60, "1 hour ago"), (2880, "2 days ago")],
)
def test_the_age_is_said_in_the_largest_fitting_unit(minutes: int, said: str) -> None:
    assert time_ago(START, START + timedelta(minutes=minutes), EN) == said


def test_the_notes_say_what_the_answer_lacks() -> None:
    notes = listing_notes(polled_at=None, paused=True, complete=False, page=2, pages=3, now=START, texts=EN)
    for words in ("not been read", "paused", "two months", "Page 2 of 3"):
        assert words in notes


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("", ""),
        ("FREQ=DAILY", "every day"),
        ("FREQ=WEEKLY;BYDAY=WE,MO", "every week on Mon, Wed"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=5", "every 2 weeks, 5 times in all"),
        ("FREQ=MONTHLY;UNTIL=20261231T000000Z", "every month, until 31.12.2026"),
        ("FREQ=YEARLY;INTERVAL=1", "every year"),
        ("FREQ=HOURLY", "repeats"),
        ("nonsense", "repeats"),
    ],
)
def test_recurrence_is_said_in_words(rule: str, said: str) -> None:
    assert recurrence_in_words(rule, EN) == said


@pytest.mark.parametrize("locale", LOCALES)
def test_every_command_and_group_has_its_words(locale: str) -> None:
    texts = Texts.for_locale(locale)
    assert len({command_label(command, texts) for command in Command}) >= len(Command) - 1
    assert all(group_title(group, texts) for group in GROUPS)


@pytest.mark.parametrize("locale", LOCALES)
def test_labels_of_dialogs_are_as_short_as_the_server_takes_them(locale: str) -> None:
    texts = Texts.for_locale(locale)
    said = connection_form_texts(texts) | notification_form_texts(texts) | day_form_texts(texts)
    assert said.keys() >= set(LABELS)
    for name in LABELS:
        assert len(said[name].encode()) <= LABEL_BYTES, (name, said[name])
    for name in (*HELP, "empty_days_switch", "agenda_switch"):
        assert len(said[name].encode()) <= 150, name


@pytest.mark.parametrize("locale", LOCALES)
def test_what_follows_a_list_is_no_part_of_its_last_item(locale: str) -> None:
    lines = already_there_text("- agenda\n- reminders", Texts.for_locale(locale)).split("\n")
    assert lines[lines.index("- reminders") + 1] == ""


@pytest.mark.parametrize("locale", LOCALES)
def test_the_help_says_what_each_command_does(locale: str) -> None:
    lines = [line for line in info_text(Texts.for_locale(locale)).split("\n") if line.startswith("- `")]
    assert [line.split("`")[1].partition(" ")[2] for line in lines] == [command.value for command in Command]
    assert len({line.partition(" – ")[2] for line in lines}) == len(Command)


@pytest.mark.parametrize("locale", LOCALES)
def test_forms_hold_no_markdown_where_mattermost_shows_it_raw(locale: str) -> None:
    texts = Texts.for_locale(locale)
    said = {**connection_form_texts(texts), **notification_form_texts(texts), **day_form_texts(texts)}
    assert not [name for name, words in said.items() if name != "introduction" and "`" in words]
