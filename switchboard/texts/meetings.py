"""Messages about meetings: the agenda of a day and the reminder before one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.agenda import DayAgenda
from switchboard.domain.calendar.conference import web_urls
from switchboard.domain.calendar.occurrences import Attendee, Occurrence
from switchboard.domain.calendar.presence import Block
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import MAX_MESSAGE_CHARS, Button, Message, escape, link

MAX_TITLE_CHARS = 200
MAX_PLACE_CHARS = 200
MAX_NAME_CHARS = 80
MAX_NAMES = 5
_ROOM_FOR_ENDING = 200
"""Characters kept free at the end of a long agenda for the line that says how many more there are."""


def agenda_message(agenda: DayAgenda, zone: ZoneInfo, locale: str, free: Sequence[Block] = ()) -> Message:
    """The agenda of one day: all-day meetings first, then the others with times in `zone`; one line for an empty day.

    `free` are the gaps to name, above the meetings.

    At most MAX_MESSAGE_CHARS long: what does not fit is counted in the last line.
    """
    texts = Texts.for_locale(locale)
    day = texts.date_in_words(agenda.local_date)
    day = day[:1].upper() + day[1:]
    if agenda.is_empty:
        return Message(texts.gettext("{day}: no meetings", day=day))
    count = len(agenda.all_day) + len(agenda.meetings)
    heading = texts.ngettext("{day}: {count} meeting", "{day}: {count} meetings", count, day=day)
    blocks = [f"#### {heading}"]
    if free:
        blocks.append(free_text(free, zone, texts))
    blocks += [_agenda_entry(texts, one, texts.gettext("all day")) for one in agenda.all_day]
    blocks += [_agenda_entry(texts, one, time_range(texts, one, agenda.local_date, zone)) for one in agenda.meetings]
    return Message(_fitted(texts, blocks))


def free_text(gaps: Sequence[Block], zone: ZoneInfo, texts: Texts) -> str:
    """`Free: 09:00–10:00, 11:30–14:00` in `zone`; empty for none."""
    if not gaps:
        return ""
    shown = (f"{gap.begin.astimezone(zone):%H:%M}–{gap.end.astimezone(zone):%H:%M}" for gap in gaps)
    return texts.gettext("Free: {times}", times=", ".join(shown))


def reminder_message(occurrence: Occurrence, minutes: int, now: datetime, zone: ZoneInfo, locale: str) -> Message:
    """The reminder before a meeting; the joining link is its button.

    `minutes` is what the user asked for, and is said when the message is on time (within half a minute); a late one tells the
    true time that is left, "now" under half a minute.
    """
    texts = Texts.for_locale(locale)
    left = occurrence.start - now
    on_time = abs(left - timedelta(minutes=minutes)) <= timedelta(seconds=30)
    when = time_left(texts, timedelta(minutes=minutes) if on_time else left)
    lines = [f"**{when}: {meeting_title(texts, occurrence)}**"]
    lines.append(time_range(texts, occurrence, now.astimezone(zone).date(), zone))
    lines += _details(texts, occurrence)
    url = occurrence.conference_url
    buttons = (Button(texts.gettext("Join the meeting"), url),) if url else ()
    return Message("\n".join(lines), buttons)


def time_left(texts: Texts, left: timedelta) -> str:
    """`In 10 minutes`, `In 1 hour 30 minutes`, `In 2 days`, or `Now`; rounded to the nearest minute."""
    total = int((left + timedelta(seconds=30)) // timedelta(minutes=1))
    if total <= 0:
        return texts.gettext("Now")
    days, rest = divmod(total, 24 * 60)
    hours, minutes = divmod(rest, 60)
    parts = []
    if days:
        parts.append(texts.ngettext("{count} day", "{count} days", days))
    if hours:
        parts.append(texts.ngettext("{count} hour", "{count} hours", hours))
    if minutes:
        parts.append(texts.ngettext("{count} minute", "{count} minutes", minutes))
    return texts.gettext("In {time}", time=" ".join(parts))


def time_range(texts: Texts, occurrence: Occurrence, day: date, zone: ZoneInfo) -> str:
    """`10:00–11:30` in `zone`, as read on `day`: the date stands with a time that is on another day."""
    if occurrence.all_day:
        return texts.gettext("all day")
    start, end = occurrence.start.astimezone(zone), occurrence.end.astimezone(zone)
    shown = _clock(texts, start, day)
    if occurrence.start == occurrence.end:
        return shown
    # The midnight that ends the day is read as the end of that day.
    before_end = (occurrence.end.astimezone(UTC) - timedelta(microseconds=1)).astimezone(zone)
    last = f"{end:%H:%M}" if before_end.date() == start.date() else _clock(texts, end, start.date())
    return f"{shown}–{last}"


def _clock(texts: Texts, local: datetime, day: date) -> str:
    clock = f"{local:%H:%M}"
    return clock if local.date() == day else f"{texts.short_date(local.date())} {clock}"


def _agenda_entry(texts: Texts, occurrence: Occurrence, when: str) -> str:
    url = occurrence.conference_url
    # Outside the f-string: the extraction of texts does not look into one.
    join = texts.gettext("Join")
    lines = [f"- **{when}** {meeting_title(texts, occurrence)}" + (f" · {link(join, url)}" if url else "")]
    lines += [f"  {line}" for line in _details(texts, occurrence)]
    return "\n".join(lines)


def meeting_title(texts: Texts, occurrence: Occurrence) -> str:
    """The title, made harmless, or words for none."""
    return escape(occurrence.title, MAX_TITLE_CHARS) or texts.gettext("(no title)")


def _details(texts: Texts, occurrence: Occurrence) -> list[str]:
    lines = []
    place = meeting_place(occurrence)
    if place:
        lines.append(texts.gettext("Place: {place}", place=place))
    if occurrence.organizer is not None:
        lines.append(texts.gettext("Organiser: {name}", name=person_name(texts, occurrence.organizer)))
    waiting = _names(texts, occurrence.unanswered)
    if waiting:
        lines.append(texts.gettext("Not answered yet: {names}", names=waiting))
    return lines


def meeting_place(occurrence: Occurrence) -> str:
    """The place, but not when it only repeats the joining link; a place that is a link is one to click."""
    place = occurrence.place.strip()
    urls = web_urls(place)
    if not urls or urls[0] != place:
        return escape(place, MAX_PLACE_CHARS)
    return "" if place == occurrence.conference_url else link(escape(place, MAX_PLACE_CHARS), place)


def _names(texts: Texts, people: Sequence[Attendee]) -> str:
    shown = ", ".join(person_name(texts, person) for person in people[:MAX_NAMES])
    more = len(people) - MAX_NAMES
    if more <= 0:
        return shown
    return texts.ngettext("{names} and {count} more", "{names} and {count} more", more, names=shown)


def person_name(texts: Texts, person: Attendee) -> str:
    """`you`, the name, or the address."""
    if person.own:
        return texts.gettext("you")
    return escape(person.name, MAX_NAME_CHARS) or escape(person.address, MAX_NAME_CHARS)


def _fitted(texts: Texts, blocks: list[str]) -> str:
    """The blocks joined, or as many of them as fit and a last line with the number of the others."""
    text = "\n".join(blocks)
    if len(text) <= MAX_MESSAGE_CHARS:
        return text
    kept: list[str] = []
    length = 0
    for block in blocks:
        length += len(block) + 1
        if length > MAX_MESSAGE_CHARS - _ROOM_FOR_ENDING:
            break
        kept.append(block)
    more = len(blocks) - len(kept)
    ending = texts.ngettext("… and {count} more meeting", "… and {count} more meetings", more)
    kept.append(f"- {ending}")
    return "\n".join(kept)
