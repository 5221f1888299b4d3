"""The message about what changed in a person's calendars: one for all changes of a poll, old and new side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.changes import Answer, AnswerKind, Change, ChangeKind, FieldChange, Slot
from switchboard.domain.calendar.conference import web_urls
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import MAX_MESSAGE_CHARS, Message, escape, link

MAX_TITLE_CHARS = 120
MAX_PLACE_CHARS = 120
MAX_NAME_CHARS = 60
MAX_LINES = 15
"""Lines of one kind; what is more is counted."""
MAX_ANSWERS = 8
_ROOM = 400
"""Characters kept free for headings and counts at the end of a long message."""


def changes_message(
    changes: Sequence[Change], more: Mapping[ChangeKind, int], now: datetime, zone: ZoneInfo, locale: str
) -> Message:
    """Moved, new, cancelled, changed meetings and answers, each kind under its heading; times and dates in `zone`.

    `more` counts changes of a kind that are not among `changes`. At most MAX_MESSAGE_CHARS long.
    """
    texts = Texts.for_locale(locale)
    writer = _Writer(texts, zone, now.astimezone(zone).date())
    heading = texts.gettext("Changes in your calendar")
    blocks = []
    room = MAX_MESSAGE_CHARS - _ROOM - len(heading)
    for kind in ChangeKind:
        of_kind = [one for one in changes if one.kind is kind]
        if not of_kind:
            continue
        lines: list[str] = []
        for change in of_kind[:MAX_LINES]:
            line = writer.line(change)
            if len(line) + 1 > room:
                break
            room -= len(line) + 1
            lines.append(line)
        left = len(of_kind) - len(lines) + more.get(kind, 0)
        if left:
            more_of_kind = texts.ngettext("… and {count} more", "… and {count} more", left)
            lines.append(f"- {more_of_kind}")
        blocks.append("\n".join([f"**{_heading(texts, kind)}**", *lines]))
    # An empty line ends a list: without it the next heading is read as a part of the last item.
    return Message(f"#### {heading}\n" + "\n\n".join(blocks))


def _heading(texts: Texts, kind: ChangeKind) -> str:
    if kind is ChangeKind.MOVED:
        return texts.gettext("Moved")
    if kind is ChangeKind.ADDED:
        return texts.gettext("New")
    if kind is ChangeKind.CANCELLED:
        return texts.gettext("Cancelled")
    if kind is ChangeKind.CHANGED:
        return texts.gettext("Changed")
    return texts.gettext("Answers")


class _Writer:
    """Writes single changes for one reader on one day."""

    def __init__(self, texts: Texts, zone: ZoneInfo, today: date) -> None:
        self._texts = texts
        self._zone = zone
        self._today = today

    def line(self, change: Change) -> str:
        """One change, without a line break."""
        line = f"- {self._title(change)}{self._extent(change)}: "
        if change.kind is ChangeKind.MOVED and change.old is not None and change.new is not None:
            parts = [self._moved(change.old, change.new), *self._fields(change.fields)]
        elif change.kind is ChangeKind.CANCELLED and change.old is not None:
            parts = [f"~~{self._when(change.old)}~~"]
        elif change.kind is ChangeKind.ANSWERED:
            parts = [self._when(change.new) if change.new is not None else "", self._answers(change.answers)]
        else:
            parts = [self._when(change.new) if change.new is not None else ""]
            parts += self._fields(change.fields) if change.kind is ChangeKind.CHANGED else self._where(change)
        return line + " · ".join(part for part in parts if part)

    def _title(self, change: Change) -> str:
        title = escape(change.title, MAX_TITLE_CHARS) or self._texts.gettext("(no title)")
        renamed = next((one for one in change.fields if one.name == "title"), None)
        if renamed is None:
            return f"**{title}**"
        return f"{self._struck(escape(renamed.old, MAX_TITLE_CHARS))} → **{title}**"

    def _extent(self, change: Change) -> str:
        """Which part of a series it is about; nothing for a single meeting."""
        if not change.series:
            return ""
        if change.whole and change.count > 1:
            text = self._texts.gettext("the series")
        elif change.count > 1:
            text = self._texts.ngettext("{count} meeting of the series", "{count} meetings of the series", change.count)
        else:
            text = self._texts.gettext("one of a series")
        return f" ({text})"

    def _moved(self, old: Slot, new: Slot) -> str:
        """The day once where it stays the same: `~~10:00–11:00~~ → 11:30–12:30`."""
        if old.first_day is None and new.first_day is None and self._day(old) == self._day(new):
            return f"{self._day_in_words(self._day(new))}, ~~{self._clocks(old)}~~ → {self._clocks(new)}"
        return f"~~{self._when(old)}~~ → {self._when(new)}"

    def _when(self, slot: Slot) -> str:
        if slot.first_day is not None:
            all_day = self._texts.gettext("all day")
            last = slot.last_day - timedelta(days=1) if slot.last_day is not None else slot.first_day
            if last <= slot.first_day:
                return f"{self._day_in_words(slot.first_day)}, {all_day}"
            return f"{self._day_in_words(slot.first_day)} – {self._day_in_words(last)}, {all_day}"
        return f"{self._day_in_words(self._day(slot))}, {self._clocks(slot)}"

    def _day(self, slot: Slot) -> date:
        return slot.start.astimezone(self._zone).date()

    def _clocks(self, slot: Slot) -> str:
        start, end = slot.start.astimezone(self._zone), slot.end.astimezone(self._zone)
        if slot.start == slot.end:
            return f"{start:%H:%M}"
        before_end = (slot.end - timedelta(microseconds=1)).astimezone(self._zone)
        day = "" if before_end.date() == start.date() else f"{self._texts.short_date(end.date())} "
        return f"{start:%H:%M}–{day}{end:%H:%M}"

    def _day_in_words(self, day: date) -> str:
        words = self._texts.date_in_words(day)
        return words if day.year == self._today.year else f"{words} {day.year}"

    def _where(self, change: Change) -> list[str]:
        parts = []
        if change.place and not web_urls(change.place):
            parts.append(escape(change.place, MAX_PLACE_CHARS))
        if change.url:
            parts.append(link(self._texts.gettext("Join"), change.url))
        return parts

    def _fields(self, fields: Sequence[FieldChange]) -> list[str]:
        """What changed besides time and title, which stand before."""
        parts = []
        for one in fields:
            if one.name == "description":
                parts.append(self._texts.gettext("the description was changed"))
            elif one.name == "place":
                old, new = escape(one.old, MAX_PLACE_CHARS), escape(one.new, MAX_PLACE_CHARS)
                parts.append(self._texts.gettext("place: {change}", change=self._beside(old, new)))
            elif one.name == "link":
                old, new = escape(one.old, MAX_PLACE_CHARS), self._link(one.new)
                parts.append(self._texts.gettext("link: {change}", change=self._beside(old, new)))
        return parts

    def _link(self, url: str) -> str:
        return link(escape(url, MAX_PLACE_CHARS), url) if url and web_urls(url) else escape(url, MAX_PLACE_CHARS)

    def _beside(self, old: str, new: str) -> str:
        return f"{self._struck(old)} → {new}" if new else self._struck(old)

    def _struck(self, text: str) -> str:
        return f"~~{text}~~" if text else "–"

    def _answers(self, answers: Sequence[Answer]) -> str:
        shown = ", ".join(self._answer(one) for one in answers[:MAX_ANSWERS])
        more = len(answers) - MAX_ANSWERS
        if more <= 0:
            return shown
        return self._texts.ngettext("{names} and {count} more", "{names} and {count} more", more, names=shown)

    def _answer(self, answer: Answer) -> str:
        name = escape(answer.name, MAX_NAME_CHARS)
        if answer.kind is AnswerKind.ACCEPTED:
            return self._texts.gettext("{name} accepted", name=name)
        if answer.kind is AnswerKind.DECLINED:
            return self._texts.gettext("{name} declined", name=name)
        if answer.kind is AnswerKind.TENTATIVE:
            return self._texts.gettext("{name} may come", name=name)
        if answer.kind is AnswerKind.INVITED:
            return self._texts.gettext("{name} was invited", name=name)
        return self._texts.gettext("{name} was taken off the list", name=name)
