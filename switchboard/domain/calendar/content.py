"""iCalendar text to components, component by component, in bounded time and memory.

Only what the expansion needs is read; everything else (attachments, alarms, HTML copies) is passed over before it costs
anything. One unreadable line or component is reported and never hides its neighbours. Lines are taken apart by icalendar;
its component parser is not used, because it stops at the first broken component and keeps every VTIMEZONE it meets in a cache
of the process, where one person's "Company time" would decide another person's meetings.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from icalendar.parser import Contentline

MAX_OBJECT_BYTES = 16 * 1024 * 1024
MAX_LINES = 500_000
MAX_EVENTS = 5_000
MAX_TIMEZONES = 10
MAX_TEXT_LINE_CHARS = 16_000
MAX_DATE_LINE_CHARS = 400_000
MAX_VALUES_PER_NAME = 2_000
MAX_PROBLEMS = 50

_DATE_LISTS = frozenset({"RDATE", "EXDATE"})
_WANTED = frozenset(
    {"BEGIN", "END", "UID", "SEQUENCE", "DTSTAMP", "DTSTART", "DTEND", "DURATION", "RECURRENCE-ID", "RRULE", "EXRULE"}
    | {"RDATE", "EXDATE", "SUMMARY", "DESCRIPTION", "LOCATION", "URL", "STATUS", "TRANSP", "ORGANIZER", "ATTENDEE"}
    | {"CONFERENCE", "X-TELEMOST-CONFERENCE", "X-GOOGLE-CONFERENCE", "X-MICROSOFT-SKYPETEAMSMEETINGURL"}
    | {"TZID", "TZOFFSETFROM", "TZOFFSETTO"}
)
_OTHER_COMPONENTS = frozenset({"VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY"})
_NAME = re.compile(r"[A-Za-z0-9-]+")
_BLANK_LINES = re.compile(r"\n{2,}")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out or mended, in plain English; `uid` is '' where it cannot be told."""

    uid: str
    reason: str


@dataclass(frozen=True, slots=True)
class Property:
    """One content line: parameter names are upper-cased, `value` is still escaped as it was written."""

    value: str
    params: Mapping[str, str]

    @property
    def text(self) -> str:
        """The value as TEXT (RFC 5545 3.3.11): escapes undone."""
        return _ESCAPE.sub(lambda match: "\n" if match[1] in "nN" else match[1], self.value).strip()


@dataclass(slots=True)
class Component:
    """A BEGIN..END block; `children` is filled for time zones alone."""

    name: str
    properties: dict[str, list[Property]] = field(default_factory=dict)
    children: list[Component] = field(default_factory=list)

    def first(self, name: str) -> Property | None:
        """The first property of that name."""
        found = self.properties.get(name)
        return found[0] if found else None

    def all(self, name: str) -> list[Property]:
        """Every property of that name, in order."""
        return self.properties.get(name, [])

    def text(self, name: str) -> str:
        """The first property of that name as TEXT, or ''."""
        found = self.first(name)
        return found.text if found else ""


@dataclass(slots=True)
class Content:
    """What one object (or stream of objects) holds."""

    events: list[Component] = field(default_factory=list)
    timezones: list[Component] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    whole: bool = True
    """False where an event was left out: what is missing then was not cancelled."""

    def note(self, uid: str, reason: str) -> None:
        """Remember a problem once, up to MAX_PROBLEMS of them."""
        problem = Problem(uid[:200], reason)
        if len(self.problems) < MAX_PROBLEMS and problem not in self.problems:
            self.problems.append(problem)


def read_content(raw: bytes) -> Content:
    """Every VEVENT and VTIMEZONE in `raw`; never raises, problems are in the answer."""
    content = Content()
    if len(raw) > MAX_OBJECT_BYTES:
        content.note("", f"the object is larger than {MAX_OBJECT_BYTES // (1024 * 1024)} MB and was not read")
        content.whole = False
        return content
    reader = _Reader(content)
    for line in _logical_lines(_decode(raw, content), content):
        reader.take(line)
    reader.finish()
    return content


def without_controls(text: str) -> str:
    """`text` without control characters: they mean nothing in iCalendar, and databases refuse some of them."""
    return _CONTROL.sub("", text)


def _decode(raw: bytes, content: Content) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = raw.decode("utf-16", errors="replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            content.note("", "the object is not valid UTF-8; unreadable characters were replaced")
            text = raw.decode("utf-8-sig", errors="replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n" if "\n" not in text else "")
    return _BLANK_LINES.sub("\n", without_controls(text))


def _logical_lines(text: str, content: Content) -> Iterator[str]:
    """Unfolded lines (RFC 5545 3.1); a long value is cut while it is read, so that it never stands in memory twice."""
    parts: list[str] = []
    length = limit = position = count = 0
    while position < len(text):
        count += 1
        if count > MAX_LINES:
            content.note("", f"the object has more than {MAX_LINES} lines; the rest was not read")
            content.whole = False
            break
        newline = text.find("\n", position)
        end = len(text) if newline < 0 else newline
        if text[position] in " \t" and parts:
            if length < limit:
                parts.append(text[position + 1 : min(end, position + 1 + limit - length)])
                length += len(parts[-1])
        else:
            if parts:
                yield "".join(parts)
            match = _NAME.match(text, position, min(end, position + 100))
            limit = MAX_DATE_LINE_CHARS if match and match[0].upper() in _DATE_LISTS else MAX_TEXT_LINE_CHARS
            parts = [text[position : min(end, position + limit)]]
            length = len(parts[0])
        position = end + 1
    if parts:
        yield "".join(parts)


class _Reader:
    """Builds components from lines; knows only what surrounds the current line."""

    def __init__(self, content: Content) -> None:
        self._content = content
        self._event: Component | None = None
        self._zone: Component | None = None
        self._observance: Component | None = None
        self._skipped: list[str] = []
        self._events_seen = 0
        self._other_seen = False

    def take(self, line: str) -> None:
        match = _NAME.match(line)
        name = match[0].upper() if match else ""
        if name not in _WANTED:
            return
        if name in {"BEGIN", "END"}:
            block = line.partition(":")[2].strip().upper()
            if name == "BEGIN":
                self._begin(block)
            else:
                self._end(block)
            return
        target = self._event or self._observance or self._zone
        if target is None or self._skipped:
            return
        self._add(target, name, line)

    def finish(self) -> None:
        """Report what was still open: a component without its end may miss its STATUS or EXDATE, so it is not used."""
        self._drop_open("the object ends in the middle of this event")
        if self._content.whole and not (self._events_seen or self._other_seen):
            self._content.note("", "the object holds no event")
            self._content.whole = False

    def _begin(self, block: str) -> None:
        if block in {"VEVENT", "VCALENDAR"}:
            self._drop_open("the event has no END:VEVENT")
            self._zone = self._observance = None
            self._skipped.clear()
            if block == "VEVENT":
                self._event = Component("VEVENT")
        elif self._event is not None:
            self._skipped.append(block)
        elif block in _OTHER_COMPONENTS:
            self._other_seen = True
        elif block == "VTIMEZONE":
            self._zone = Component("VTIMEZONE")
        elif self._zone is not None and block in {"STANDARD", "DAYLIGHT"}:
            self._observance = Component(block)

    def _end(self, block: str) -> None:
        if self._skipped and block != "VEVENT":
            if block in self._skipped:
                del self._skipped[self._skipped.index(block) :]
            return
        if block == "VEVENT" and self._event is not None:
            self._skipped.clear()
            self._events_seen += 1
            if self._events_seen > MAX_EVENTS:
                self._content.note("", f"the object has more than {MAX_EVENTS} events; the rest was not read")
                self._content.whole = False
            else:
                self._content.events.append(self._event)
            self._event = None
        elif block == "VCALENDAR":
            self._drop_open("the event has no END:VEVENT")
        elif block == "VTIMEZONE" and self._zone is not None:
            if len(self._content.timezones) < MAX_TIMEZONES:
                self._content.timezones.append(self._zone)
            self._zone = self._observance = None
        elif self._zone is not None and self._observance is not None and block == self._observance.name:
            self._zone.children.append(self._observance)
            self._observance = None

    def _drop_open(self, reason: str) -> None:
        if self._event is not None:
            self._content.note(self._event.text("UID"), reason)
            self._content.whole = False
            self._event = None

    def _add(self, target: Component, name: str, line: str) -> None:
        values = target.properties.setdefault(name, [])
        if len(values) >= MAX_VALUES_PER_NAME:
            self._content.note(
                target.text("UID"), f"more than {MAX_VALUES_PER_NAME} {name} lines; the rest was not read"
            )
            return
        try:
            values.append(read_property(line))
        except ValueError:
            self._content.note(target.text("UID"), f"a {name} line could not be read and was left out")


def read_property(line: str) -> Property:
    """Take one unfolded line apart, ValueError where that cannot be; the common line needs no library."""
    name = _NAME.match(line)
    if name is not None and line[name.end() : name.end() + 1] == ":":
        return Property(line[name.end() + 1 :], {})
    # icalendar leaves the constructor without types; this is the only call of it.
    _, params, value = Contentline(line).raw_parts()  # type: ignore[no-untyped-call]
    return Property(str(value), {str(key).upper(): _parameter(item) for key, item in params.items()})


def _parameter(value: object) -> str:
    return str(value[0]) if isinstance(value, list) and value else str(value)
