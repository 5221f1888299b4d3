"""today, current, from_to, get_a_week, get_a_month: from our store, in pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.commands import (
    BadDayError,
    Command,
    DayRange,
    ReversedRangeError,
    TooLongRangeError,
    WrongDayCountError,
    asked_days,
    day_range,
    parse_day,
)
from switchboard.errors import InvalidInputError
from switchboard.services.calendar.listings import Listings, occurrence_key
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Field, Form, FormAnswer, Step
from switchboard.services.conversation.entries import Entries, text_entry
from switchboard.services.conversation.menus import connect_first
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import menu as words
from switchboard.texts.listings import listing_notes, listing_pages, listing_title, page_text
from switchboard.texts.locales import Texts
from switchboard.texts.meetings import free_text


class AgendaAnswers:
    """Meetings of days; no server is asked."""

    def __init__(self, listings: Listings, clock: Callable[[], datetime]) -> None:
        self._listings = listings
        self._clock = clock

    def command(self, speaker: Speaker, command: Command, arguments: Sequence[str]) -> Answer:
        """The days that the command names; a form where it needs dates and has none."""
        if speaker.subscriber is None:
            return connect_first(speaker)
        today = self._today(speaker)
        try:
            days = asked_days(command, arguments, today)
        except InvalidInputError as error:
            return Answer(_problem(error, speaker.texts))
        if days is None:
            return Answer(form=_form(command, today, speaker.texts))
        return self.page(speaker, days, 1)

    def page(self, speaker: Speaker, days: DayRange, page: int) -> Answer:
        """One page of the days; the nearest where there is no such page."""
        if speaker.subscriber is None:
            return connect_first(speaker)
        texts = speaker.texts
        listing = self._listings.read(speaker.user_id, days)

        def calendars_of(occurrence: Occurrence) -> Sequence[str]:
            return listing.calendars.get(occurrence_key(occurrence), ())

        pages = listing_pages(listing.days, calendars_of)
        page = min(max(page, 1), len(pages))
        text = page_text(pages[page - 1], calendars_of, listing.zone, texts)
        meetings = {occurrence_key(one) for day in listing.days for one in (*day.all_day, *day.meetings)}
        notes = listing_notes(
            polled_at=listing.polled_at,
            paused=listing.paused,
            complete=listing.complete,
            page=page,
            pages=len(pages),
            now=self._clock(),
            texts=texts,
        )
        title = listing_title(days, len(meetings), self._today(speaker), texts)
        free = free_text(listing.free, listing.zone, texts) if page == 1 else ""
        shown = "\n".join(part for part in (title, free, text) if part)
        rows = _page_buttons(days, page, len(pages), texts)
        return Answer("\n\n".join(part for part in (shown, notes) if part), rows)

    def submit_day(self, speaker: Speaker, entries: Entries) -> FormAnswer:
        """The day that was entered."""
        return self._submit(speaker, entries, "day", "day")

    def submit_period(self, speaker: Speaker, entries: Entries) -> FormAnswer:
        """The days that were entered."""
        return self._submit(speaker, entries, "first", "last")

    def _submit(self, speaker: Speaker, entries: Entries, first: str, last: str) -> FormAnswer:
        try:
            days = day_range(parse_day(text_entry(entries, first), first), parse_day(text_entry(entries, last), last))
        except InvalidInputError as error:
            return FormAnswer(errors={error.field: _problem(error, speaker.texts)})
        return FormAnswer(answer=self.page(speaker, days, 1))

    def _today(self, speaker: Speaker) -> date:
        return self._clock().astimezone(ZoneInfo(speaker.zone)).date()


def _problem(error: InvalidInputError, texts: Texts) -> str:
    match error:
        case BadDayError():
            return words.bad_day_text(error.text, texts)
        case ReversedRangeError():
            return words.reversed_range_text(texts)
        case TooLongRangeError():
            return words.too_long_range_text(texts)
        case WrongDayCountError():
            return words.day_count_text(error.expected, texts)
        case _:
            return str(error)


def _form(command: Command, today: date, texts: Texts) -> Form:
    said = words.day_form_texts(texts)
    day = today.isoformat()
    if command is Command.CURRENT:
        fields: tuple[Field, ...] = (Field("day", said["day"], kind="date", default=day),)
        return Form(Step.DAY, said["day"], said["day_introduction"], fields, said["submit"])
    fields = (
        Field("first", said["first"], kind="date", default=day),
        Field("last", said["last"], kind="date", default=day),
    )
    return Form(Step.PERIOD, said["period"], said["period_introduction"], fields, said["submit"])


def _page_buttons(days: DayRange, page: int, pages: int, texts: Texts) -> tuple[ButtonRow, ...]:
    labels = words.page_labels(texts)
    choices = [
        Choice(
            label,
            Step.PAGE,
            {"first": days.first.isoformat(), "last": days.last.isoformat(), "page": str(wanted)},
        )
        for label, wanted in zip(labels, (page - 1, page + 1), strict=True)
        if 1 <= wanted <= pages
    ]
    return (ButtonRow(tuple(choices)),) if choices else ()
