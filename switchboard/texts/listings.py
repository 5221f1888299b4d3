"""The meetings of several days, in pages: what the agenda commands answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.agenda import DayAgenda
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from switchboard.domain.commands import DayRange
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape, link, safe_url
from switchboard.texts.meetings import (
    MAX_NAME_CHARS,
    MAX_PLACE_CHARS,
    MAX_TITLE_CHARS,
    meeting_place,
    meeting_title,
    person_name,
    time_range,
)
from switchboard.texts.recurrence import recurrence_in_words

MAX_PAGE_CHARS = 15_000
"""What a page may hold at most by `_room`, so that it fits a post together with its headings, title and notes."""
MAX_PAGE_MEETINGS = 10
MAX_NAMES = 15
MAX_CALENDAR_CHARS = 80
_LABELS_ROOM = 400  # our own words around a meeting, in any language
_DECLINED, _TENTATIVE, _ACCEPTED = "DECLINED", "TENTATIVE", "ACCEPTED"

CalendarsOf = Callable[[Occurrence], Sequence[str]]


def listing_pages(days: Sequence[DayAgenda], calendars_of: CalendarsOf) -> list[tuple[DayAgenda, ...]]:
    """The days cut into pages, without drawing them; a day may go on over a page. One empty page for no meetings."""
    pages: list[tuple[DayAgenda, ...]] = []
    page: list[DayAgenda] = []
    room = count = 0
    for day in days:
        all_day: list[Occurrence] = []
        meetings: list[Occurrence] = []
        for occurrence in (*day.all_day, *day.meetings):
            needed = _room(occurrence, calendars_of(occurrence))
            if count and (count >= MAX_PAGE_MEETINGS or room + needed > MAX_PAGE_CHARS):
                if all_day or meetings:
                    page.append(DayAgenda(day.local_date, tuple(all_day), tuple(meetings)))
                    all_day, meetings = [], []
                pages.append(tuple(page))
                page = []
                room = count = 0
            (all_day if occurrence.all_day else meetings).append(occurrence)
            room += needed
            count += 1
        if all_day or meetings:
            page.append(DayAgenda(day.local_date, tuple(all_day), tuple(meetings)))
    return [*pages, tuple(page)]


def page_text(page: Sequence[DayAgenda], calendars_of: CalendarsOf, zone: ZoneInfo, texts: Texts) -> str:
    """A page, each day under its heading."""
    parts = []
    for day in page:
        parts.append(f"#### {_heading(day.local_date, texts)}")
        timed = [(one, texts.gettext("all day")) for one in day.all_day]
        timed += [(one, time_range(texts, one, day.local_date, zone)) for one in day.meetings]
        parts += [_entry(one, when, calendars_of(one), texts) for one, when in timed]
    return "\n".join(parts)


def listing_title(days: DayRange, count: int, today: date, texts: Texts) -> str:
    """`### Nov 21 – Nov 27: 12 meetings`, or one line for none; the year stands with days of another than `today`."""
    shown = _short_day(days.first, today, texts)
    if days.last != days.first:
        shown = f"{shown} – {_short_day(days.last, today, texts)}"
    if count == 0:
        return texts.gettext("{day}: no meetings", day=shown)
    heading = texts.ngettext("{day}: {count} meeting", "{day}: {count} meetings", count, day=shown)
    return f"### {heading}"


def listing_notes(
    *, polled_at: datetime | None, paused: bool, complete: bool, page: int, pages: int, now: datetime, texts: Texts
) -> str:
    """How old the answer is, what it may lack, and which page it is; pages count from 1."""
    notes = [age_of_store(polled_at, now, texts)]
    if paused:
        notes.append(texts.gettext("A calendar account is paused: see `checks check_account`"))
    if not complete:
        notes.append(texts.gettext("Repeating meetings are known from yesterday to about two months ahead"))
    if pages > 1:
        notes.append(texts.gettext("Page {page} of {pages}", page=page, pages=pages))
    return f"_{' · '.join(notes)}_"


def age_of_store(polled_at: datetime | None, now: datetime, texts: Texts) -> str:
    """`As of 3 minutes ago`."""
    if polled_at is None:
        return texts.gettext("The calendar has not been read completely yet")
    return texts.gettext("As of {age}", age=time_ago(polled_at, now, texts))


def time_ago(moment: datetime, now: datetime, texts: Texts) -> str:
    """`just now`, `3 minutes ago`, `2 hours ago`, `5 days ago`."""
    minutes = max(0, int((now - moment) // timedelta(minutes=1)))
    if minutes == 0:
        return texts.gettext("just now")
    if minutes < 60:
        age = texts.ngettext("{count} minute", "{count} minutes", minutes)
    elif minutes < 48 * 60:
        age = texts.ngettext("{count} hour", "{count} hours", minutes // 60)
    else:
        age = texts.ngettext("{count} day", "{count} days", minutes // (24 * 60))
    return texts.gettext("{time} ago", time=age)


def _short_day(day: date, today: date, texts: Texts) -> str:
    shown = texts.short_date(day)
    return shown if day.year == today.year else f"{shown} {day.year}"


def _heading(day: date, texts: Texts) -> str:
    words = texts.date_in_words(day)
    return words[:1].upper() + words[1:]


def _room(occurrence: Occurrence, calendars: Sequence[str]) -> int:
    """At least as many characters as `_entry` will have: escaping doubles a text at most, of addresses the true length counts.

    Drawing a long list to cut it takes ten times as long as this.
    """
    shown = min(len(occurrence.title), MAX_TITLE_CHARS) + min(len(occurrence.place), MAX_PLACE_CHARS)
    shown += sum(min(len(name), MAX_CALENDAR_CHARS) + 2 for name in calendars)
    people = [person for answer in _by_answer(occurrence.attendees) for person in answer[:MAX_NAMES]]
    people += [occurrence.organizer] if occurrence.organizer else []
    shown += sum(min(max(len(person.name), len(person.address)), MAX_NAME_CHARS) + 2 for person in people)
    urls = (occurrence.conference_url, occurrence.link, occurrence.place if "://" in occurrence.place else "")
    return _LABELS_ROOM + 2 * shown + sum(len(safe_url(url)) for url in urls if url)


def _entry(occurrence: Occurrence, when: str, calendars: Sequence[str], texts: Texts) -> str:
    title, url = meeting_title(texts, occurrence), occurrence.conference_url
    join = texts.gettext("Join")
    lines = [f"- **{when}** {title}" + (f" · {link(join, url)}" if url else "")]
    place = meeting_place(occurrence)
    if place:
        lines.append(texts.gettext("Place: {place}", place=place))
    if occurrence.link and occurrence.link != url:
        lines.append(texts.gettext("Link: {link}", link=f"<{safe_url(occurrence.link)}>"))
    if occurrence.organizer is not None:
        lines.append(texts.gettext("Organiser: {name}", name=person_name(texts, occurrence.organizer)))
    lines += _attendees(occurrence.attendees, texts)
    repeats = recurrence_in_words(occurrence.recurrence, texts)
    names = ", ".join(escape(name, MAX_CALENDAR_CHARS) for name in calendars)
    last = [texts.gettext("Calendar: {name}", name=names)] if names else []
    lines.append(" · ".join([*last, *([repeats] if repeats else [])]))
    return "\n".join([lines[0], *(f"  {line}" for line in lines[1:] if line)])


def _attendees(attendees: Sequence[Attendee], texts: Texts) -> list[str]:
    """One line with everybody by answer."""
    accepted, tentative, declined, waiting = _by_answer(attendees)
    parts = []
    if accepted:
        parts.append(texts.gettext("Accepted: {names}", names=_names(accepted, texts)))
    if tentative:
        parts.append(texts.gettext("Tentative: {names}", names=_names(tentative, texts)))
    if declined:
        parts.append(texts.gettext("Declined: {names}", names=_names(declined, texts)))
    if waiting:
        parts.append(texts.gettext("Not answered yet: {names}", names=_names(waiting, texts)))
    return ["; ".join(parts)] if parts else []


def _by_answer(attendees: Sequence[Attendee]) -> tuple[list[Attendee], ...]:
    """Those who accepted, who may come, who declined, and who have not answered."""
    answered = ([one for one in attendees if one.partstat == answer] for answer in (_ACCEPTED, _TENTATIVE, _DECLINED))
    return (*answered, [one for one in attendees if one.unanswered])


def _names(people: Sequence[Attendee], texts: Texts) -> str:
    shown = ", ".join(person_name(texts, person) for person in people[:MAX_NAMES])
    more = len(people) - MAX_NAMES
    return (
        shown
        if more <= 0
        else texts.ngettext("{names} and {count} more", "{names} and {count} more", more, names=shown)
    )
