"""What the agenda, the reminder and the notices about accounts say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from switchboard.domain.calendar.agenda import DayAgenda, select_day
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from switchboard.texts.accounts import account_back_message, account_paused_message, calendar_lost_message
from switchboard.texts.locales import LOCALES, Texts
from switchboard.texts.markdown import MAX_MESSAGE_CHARS
from switchboard.texts.meetings import agenda_message, reminder_message, time_left, time_range

MOSCOW = ZoneInfo("Europe/Moscow")
DAY = date(2026, 11, 21)
START = datetime(2026, 11, 21, 7, tzinfo=UTC)
MEETING = Occurrence(
    uid="a",
    recurrence_id="",
    start=START,
    end=START + timedelta(minutes=90),
    title="Plan",
    place="Room 4",
    conference_url="https://telemost.yandex.ru/j/1",
    organizer=Attendee("ann@example.com", "Анна"),
    attendees=(
        Attendee("ann@example.com", "Анна", "ACCEPTED"),
        Attendee("bob@example.com", "Bob"),
        Attendee("carl@example.com"),
        Attendee("room@example.com", "Room 4", kind="ROOM"),
        Attendee("me@example.com", "Me", own=True),
    ),
)
HOLIDAY = Occurrence(
    uid="h",
    recurrence_id="",
    start=START,
    end=START,
    all_day=True,
    start_date=DAY,
    end_date=DAY + timedelta(days=1),
    title="Holiday",
)


def test_an_agenda_names_the_day_and_puts_all_day_meetings_first() -> None:
    message = agenda_message(select_day([MEETING, HOLIDAY], DAY, MOSCOW), MOSCOW, "en-AU")
    assert message.text == (
        "#### Saturday, November 21: 2 meetings\n"
        "- **all day** Holiday\n"
        "- **10:00–11:30** Plan · [Join](https://telemost.yandex.ru/j/1)\n"
        "  Place: Room 4\n"
        "  Organiser: Анна\n"
        "  Not answered yet: Bob, carl@\u200bexample.com, you"
    )
    assert message.buttons == ()


@pytest.mark.parametrize(
    ("locale", "heading", "empty"),
    [
        ("en", "#### Saturday, November 21: 1 meeting", "Saturday, November 21: no meetings"),
        ("ru", "#### Суббота, 21 ноября: 1 встреча", "Суббота, 21 ноября: встреч нет"),
        ("uk", "#### Субота, 21 листопада: 1 зустріч", "Субота, 21 листопада: зустрічей немає"),
    ],
)
def test_an_agenda_speaks_the_language_of_the_user_and_an_empty_day_has_one_line(
    locale: str, heading: str, empty: str
) -> None:
    assert agenda_message(DayAgenda(DAY, meetings=(MEETING,)), MOSCOW, locale).text.splitlines()[0] == heading
    assert agenda_message(DayAgenda(DAY), MOSCOW, locale).text == empty


def test_a_long_agenda_is_cut_and_says_how_many_more_there_are() -> None:
    many = tuple(replace(MEETING, uid=str(n), title="@all *x* " * 100, place="_" * 900) for n in range(300))
    for locale in LOCALES:
        lines = agenda_message(DayAgenda(DAY, meetings=many), MOSCOW, locale).text.splitlines()
        shown = sum(line.startswith("- **10:00") for line in lines)
        assert str(300 - shown) in lines[-1]
        assert lines[-1].startswith("- …")
        assert 10 < shown < 300
        assert len("\n".join(lines)) <= MAX_MESSAGE_CHARS


def test_a_reminder_says_when_what_where_and_who_and_joins_by_a_button() -> None:
    message = reminder_message(MEETING, 10, START - timedelta(minutes=10), MOSCOW, "ru")
    assert message.text == (
        "**Через 10 минут: Plan**\n10:00–11:30\nМесто: Room 4\nОрганизатор: Анна\n"
        "Ещё не ответили: Bob, carl@\u200bexample.com, вы"
    )
    assert [(button.text, button.url) for button in message.buttons] == [
        ("Подключиться к встрече", "https://telemost.yandex.ru/j/1")
    ]
    assert reminder_message(replace(MEETING, conference_url=""), 10, START, MOSCOW, "ru").buttons == ()


@pytest.mark.parametrize(
    ("seconds_left", "heading"),
    [
        (600, "In 10 minutes"),
        (585, "In 10 minutes"),
        (570, "In 10 minutes"),
        (569, "In 9 minutes"),
        (180, "In 3 minutes"),
        (60, "In 1 minute"),
        (30, "In 1 minute"),
        (29, "Now"),
        (0, "Now"),
        (-60, "Now"),
    ],
)
def test_a_late_reminder_says_the_time_that_is_really_left(seconds_left: int, heading: str) -> None:
    message = reminder_message(MEETING, 10, START - timedelta(seconds=seconds_left), MOSCOW, "en")
    assert message.text.startswith(f"**{heading}: Plan**")


@pytest.mark.parametrize(
    ("minutes", "expected"),
    [
        (90, "In 1 hour 30 minutes"),
        (60, "In 1 hour"),
        (1440, "In 1 day"),
        (1501, "In 1 day 1 hour 1 minute"),
        (2880, "In 2 days"),
    ],
)
def test_longer_times_are_said_in_hours_and_days(minutes: int, expected: str) -> None:
    assert time_left(Texts.for_locale("en"), timedelta(minutes=minutes)) == expected


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-11-21T10:00", "2026-11-21T11:30", "10:00–11:30"),
        ("2026-11-21T10:00", "2026-11-21T10:00", "10:00"),
        ("2026-11-21T23:00", "2026-11-22T00:00", "23:00–00:00"),
        ("2026-11-21T23:00", "2026-11-22T01:00", "23:00–Nov 22 01:00"),
        ("2026-11-20T23:00", "2026-11-21T01:00", "Nov 20 23:00–Nov 21 01:00"),
        ("2026-11-20T00:00", "2026-11-22T00:00", "Nov 20 00:00–Nov 22 00:00"),
    ],
)
def test_times_on_another_day_carry_their_date(start: str, end: str, expected: str) -> None:
    begin, finish = (datetime.fromisoformat(f"{text}+03:00").astimezone(UTC) for text in (start, end))
    assert time_range(Texts.for_locale("en"), replace(MEETING, start=begin, end=finish), DAY, MOSCOW) == expected


def test_times_are_in_the_zone_of_the_user() -> None:
    assert "04:00–05:30" in reminder_message(MEETING, 10, START, ZoneInfo("America/Santiago"), "en").text


def test_a_meeting_without_title_or_people_is_still_told() -> None:
    bare = Occurrence(uid="b", recurrence_id="", start=START, end=START)
    assert (
        reminder_message(bare, 10, START - timedelta(minutes=10), MOSCOW, "en").text
        == "**In 10 minutes: (no title)**\n10:00"
    )


def test_many_who_have_not_answered_are_counted() -> None:
    crowd = replace(MEETING, attendees=tuple(Attendee(f"p{n}@example.com", f"P{n}") for n in range(26)))
    assert "Ещё не ответили: P0, P1, P2, P3, P4 и ещё 21" in reminder_message(crowd, 10, START, MOSCOW, "ru").text


def test_a_place_that_is_a_link_can_be_clicked_and_the_joining_link_is_not_repeated() -> None:
    here = replace(MEETING, place="https://maps.example/x_y")
    assert (
        "Place: [https\u200b://maps.example/x\\_y](https://maps.example/x_y)"
        in reminder_message(here, 10, START, MOSCOW, "en").text
    )
    same = replace(MEETING, place=MEETING.conference_url)
    assert "Place" not in reminder_message(same, 10, START, MOSCOW, "en").text


def test_the_words_of_others_have_no_power_in_a_message() -> None:
    nasty = "@all [x](http://evil.example) ![](http://evil.example) | `a` ~b #c\n# d"
    evil = replace(
        MEETING,
        title=nasty,
        place=nasty,
        conference_url="https://a.example/)[y](http://evil.example) @all",
        organizer=Attendee("o@example.com", nasty),
        attendees=(Attendee("p@example.com", nasty),),
    )
    now = START - timedelta(minutes=10)
    for text in (
        agenda_message(DayAgenda(DAY, meetings=(evil,)), MOSCOW, "en").text,
        reminder_message(evil, 10, now, MOSCOW, "en").as_markdown(),
        account_paused_message(nasty, "`@all`", "en").text.replace("`@all`", ""),
        calendar_lost_message(nasty, nasty, "c", "en").text,
        account_back_message(nasty, "en").text,
    ):
        assert "@all" not in text
        assert "](http://evil" not in text
        assert "\n# d" not in text


@pytest.mark.parametrize("locale", LOCALES)
def test_account_notices_say_what_happened_and_what_to_do(locale: str) -> None:
    paused = account_paused_message("ann", "/yandex-calendar connections update", locale).text
    lost = calendar_lost_message("Work", "ann", "/yandex-calendar notifications update", locale).text
    back = account_back_message("ann", locale).text
    assert "`/yandex-calendar connections update`" in paused
    assert "`/yandex-calendar notifications update`" in lost
    assert "Work" in lost
    assert all("ann" in text for text in (paused, lost, back))
    assert len({paused, lost, back}) == 3


@pytest.mark.parametrize("locale", LOCALES)
def test_every_instant_of_the_calendar_can_be_written(locale: str) -> None:
    texts = Texts.for_locale(locale)
    for instant in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)):
        for zone in ("Asia/Tokyo", "America/New_York", "UTC"):
            assert texts.moment(instant, ZoneInfo(zone))
    assert texts.moment(datetime.max.replace(tzinfo=UTC), ZoneInfo("Asia/Tokyo")).endswith("23:59")
