"""A person's answer to an invitation, written into the iCalendar object: their PARTSTAT, and nothing else.

The object is changed line by line, so that everything that we do not know stays as it was, byte for byte. One line goes:
METHOD, which a stored object must not carry (RFC 4791 section 4.1) and which some servers add to what they hand out.

An answer to a whole series is written to all of its components, as calendar programs do for "all events". An answer to one
meeting of it is written to that meeting's own component (an override), which is made from the series where there is none.
SEQUENCE and DTSTAMP of what stands are kept: by them the organiser's next change is told from an older one (RFC 5546 2.1.5).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.content import Property, read_content, read_property, without_controls
from switchboard.domain.calendar.events import Describer, Event, EventReader, Moment
from switchboard.domain.calendar.expansion import Meeting, find_meeting
from switchboard.domain.calendar.moments import Length, parse_wall
from switchboard.domain.calendar.occurrences import NEEDS_ACTION

MAX_LINE_BYTES = 75
"""RFC 5545 section 3.1: longer lines are folded."""

_LINE = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*\n?")
_FOLD = re.compile(rb"\r?\n[ \t]")
_NAME = re.compile(r"[A-Za-z0-9-]+")
_PARAMETER = re.compile(r';((?:[^";:]|"[^"]*")*)')
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_OF_THE_SERIES = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"})


class Reply(enum.StrEnum):
    """What a person can answer; the PARTSTAT of RFC 5545 section 3.2.12."""

    ACCEPTED = "ACCEPTED"
    TENTATIVE = "TENTATIVE"
    DECLINED = "DECLINED"


class Verdict(enum.StrEnum):
    """What became of an answer."""

    CHANGED = "changed"
    ALREADY = "already"  # it says so
    NOT_INVITED = "not_invited"  # nobody of the addresses is among the attendees
    ORGANISER = "organiser"  # the person calls the meeting, and is not asked
    GONE = "gone"  # there is no such meeting, or it was cancelled
    UNREADABLE = "unreadable"  # the object is not such that it could be changed safely


@dataclass(frozen=True, slots=True)
class Answered:
    """`raw` is the new object, empty unless `verdict` is CHANGED."""

    verdict: Verdict
    raw: bytes = b""


def answer(
    raw: bytes,
    *,
    uid: str,
    recurrence_id: str,
    reply: Reply,
    own_addresses: Collection[str],
    zone: ZoneInfo,
    now: datetime,
) -> Answered:
    """The object with the person's answer to the meeting `recurrence_id` (as in Occurrence), or to all of it for ''.

    `own_addresses` are the person's e-mail addresses, `zone` is theirs (for floating times). Never raises for what `raw` holds.
    """
    content = read_content(raw)
    try:
        raw.decode()  # RFC 5545 section 3.1.4; what is written otherwise might be sent on as something else
        lines = _LINE.findall(raw)[:-1]  # the last match is the empty end
        blocks = list(_blocks(lines))
    except (UnicodeDecodeError, _UnsafeError):
        return Answered(Verdict.UNREADABLE)
    if not content.whole or len(blocks) != len(content.events):
        return Answered(Verdict.UNREADABLE)
    reader = EventReader(content, zone)
    events: list[tuple[Event, _Block]] = []
    for component, block in zip(content.events, blocks, strict=True):
        event = reader.read(component)
        if event is None:
            return Answered(Verdict.UNREADABLE)
        if event.uid == uid:
            events.append((event, block))
    people = Describer(frozenset(address.strip().lower() for address in own_addresses))
    edit = _Edit(lines, people, reply, now)
    try:
        if recurrence_id:
            return edit.answer_one(events, find_meeting([event for event, _ in events], reader, recurrence_id, zone))
        return edit.answer_all(events)
    except _UnsafeError:
        return Answered(Verdict.UNREADABLE)


class _UnsafeError(ValueError):
    """The object is written in a way that we do not take apart."""


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines of a VEVENT: BEGIN and END, and the numbers of those that are its own and not of an alarm in it."""

    begin: int
    end: int
    own: tuple[int, ...]


def _blocks(lines: Sequence[bytes]) -> Iterator[_Block]:
    """Every VEVENT; _UnsafeError where components do not end in the order in which they began."""
    open_blocks: list[str] = []
    begin, own = 0, list[int]()
    for number, line in enumerate(lines):
        name, text = _name(line), ""
        if name in {"BEGIN", "END"}:
            text = _unfolded(line).partition(":")[2].strip().upper()
        if name == "BEGIN":
            if text == "VEVENT":
                if open_blocks != ["VCALENDAR"]:
                    raise _UnsafeError
                begin, own = number, []
            open_blocks.append(text)
        elif name == "END":
            if not open_blocks or open_blocks.pop() != text:
                raise _UnsafeError
            if text == "VEVENT":
                yield _Block(begin, number, tuple(own))
        elif open_blocks[-1:] == ["VEVENT"]:
            own.append(number)
    if open_blocks:
        raise _UnsafeError


class _Edit:
    """Writes one answer."""

    def __init__(self, lines: Sequence[bytes], people: Describer, reply: Reply, now: datetime) -> None:
        self._lines = lines
        self._people = people
        self._reply = reply
        self._now = now
        self._line_end = b"\r\n" if lines and lines[0].endswith(b"\r\n") else b"\n"

    def answer_all(self, events: Sequence[tuple[Event, _Block]]) -> Answered:
        """Into the component of the whole, and into those of single meetings that stand."""
        standing = [(event, block) for event, block in events if not event.cancelled]
        whole = [event for event, _ in events if event.recurrence_id is None]
        if not standing or (whole and all(event.cancelled for event in whole)):
            return Answered(Verdict.GONE)
        if any(self._is_organised_by_own(event) for event, _ in standing):
            return Answered(Verdict.ORGANISER)
        return self._answered([number for _, block in standing for number in self._asked(block)])

    def answer_one(self, events: Sequence[tuple[Event, _Block]], meeting: Meeting | None) -> Answered:
        """Into the meeting's own component; one is made where the answer differs from that to the series."""
        if meeting is None:
            return Answered(Verdict.GONE)
        if self._is_organised_by_own(meeting.event):
            return Answered(Verdict.ORGANISER)
        blocks = {id(event): block for event, block in events}
        asked = self._asked(blocks[id(meeting.event)])
        if meeting.series is None:
            return self._answered(asked)
        end = max(block.end for block in blocks.values())
        override = self._override(meeting, blocks[id(meeting.event)], blocks[id(meeting.series)])
        return self._answered(asked, {end: self._lines[end] + override})

    def _answered(self, asked: Sequence[int], changes: Mapping[int, bytes] | None = None) -> Answered:
        """The lines with `changes` by number, by default with the answer in the `asked` ones."""
        if not asked:
            return Answered(Verdict.NOT_INVITED)
        if all(self._partstat(number) == self._reply for number in asked):
            return Answered(Verdict.ALREADY)
        if changes is None:
            changes = {number: self._with_answer(number) for number in asked}
        return Answered(Verdict.CHANGED, b"".join(self._kept(changes)))

    def _kept(self, changes: Mapping[int, bytes]) -> Iterator[bytes]:
        depth = 0
        for number, line in enumerate(self._lines):
            name = _name(line)
            depth += (name == "BEGIN") - (name == "END")
            if name != "METHOD" or depth != 1:
                yield changes.get(number, line)

    def _override(self, meeting: Meeting, block: _Block, series: _Block) -> bytes:
        """A component for one meeting, from the one that describes it; its times in the form of the series' DTSTART."""
        form = _unfolded(self._lines[next(number for number in series.own if _name(self._lines[number]) == "DTSTART")])
        if meeting.start.is_date != meeting.original.is_date:
            raise _UnsafeError  # a change of all later meetings made an all-day series one of times, or the other way
        own, written = set(block.own), list[bytes]()
        has_end = False
        for number in range(block.begin, block.end + 1):
            line = self._lines[number]
            name = _name(line) if number in own else ""
            if name in _OF_THE_SERIES:
                continue
            if name == "DTSTART":
                written += [
                    self._folded(_timed("DTSTART", form, meeting.start.wall)),
                    self._folded(_timed("RECURRENCE-ID", form, meeting.original.wall)),
                ]
            elif name == "DURATION" and meeting.length == meeting.event.length:
                written.append(line)
                has_end = True
            elif name in {"DTEND", "DURATION"}:
                if not has_end:
                    written.append(self._folded(_end(form, meeting.start, meeting.length)))
                has_end = True
            elif name == "DTSTAMP":
                written.append(self._folded(f"DTSTAMP:{self._now.astimezone(UTC):%Y%m%dT%H%M%SZ}"))
            elif name == "ATTENDEE" and self._is_own(line):
                written.append(self._with_answer(number))
            else:
                written.append(line)
        if (
            not has_end and meeting.length != meeting.event.length
        ):  # a period of its own, among the RDATEs of the series
            written.insert(-1, self._folded(_end(form, meeting.start, meeting.length)))
        return b"".join(written)

    def _asked(self, block: _Block) -> list[int]:
        """The lines of the person among the attendees; there may be several, one for each address."""
        return [
            number
            for number in block.own
            if _name(self._lines[number]) == "ATTENDEE" and self._is_own(self._lines[number])
        ]

    def _is_own(self, line: bytes) -> bool:
        found = _property(line)
        return found is not None and self._people.person(found).own

    def _is_organised_by_own(self, event: Event) -> bool:
        organizer = event.component.first("ORGANIZER")
        return organizer is not None and self._people.person(organizer).own

    def _partstat(self, number: int) -> str:
        found = _property(self._lines[number])
        return found.params.get("PARTSTAT", NEEDS_ACTION).upper() if found is not None else ""

    def _with_answer(self, number: int) -> bytes:
        """The ATTENDEE line with the answer, and without the request for one; the other parameters as they were."""
        text = _unfolded(self._lines[number])
        name = _NAME.match(text)
        position = name.end() if name is not None else 0
        kept, is_written = [], False
        while (parameter := _PARAMETER.match(text, position)) is not None:
            position = parameter.end()
            key, _, value = parameter[1].partition("=")
            if key.strip().upper() == "PARTSTAT":
                if not is_written:
                    kept.append(f"{key}={self._reply}")
                is_written = True
            elif key.strip().upper() != "RSVP" or value.strip().upper() != "TRUE":
                kept.append(parameter[1])
        if name is None or text[position : position + 1] != ":":
            raise _UnsafeError
        if not is_written:
            kept.append(f"PARTSTAT={self._reply}")
        return self._folded("".join([name[0], *(f";{one}" for one in kept), text[position:]]))

    def _folded(self, text: str) -> bytes:
        """The line in pieces of at most 75 bytes, none of which ends within a character (RFC 5545 section 3.1)."""
        raw, pieces, limit = text.encode(), list[bytes](), MAX_LINE_BYTES
        while len(raw) > limit:
            cut = limit
            while cut > 1 and raw[cut] & 0xC0 == 0x80:  # a byte within a character
                cut -= 1
            pieces.append(raw[:cut])
            raw, limit = raw[cut:], MAX_LINE_BYTES - 1
        return (self._line_end + b" ").join([*pieces, raw]) + self._line_end


def _name(line: bytes) -> str:
    """The name of a content line in upper case, '' for none."""
    found = _NAME.match(line[:100].removeprefix(_BYTE_ORDER_MARK).decode("ascii", "replace"))
    return found[0].upper() if found else ""


def _unfolded(line: bytes) -> str:
    """The line in one piece."""
    return _FOLD.sub(b"", line.rstrip(b"\r\n")).decode()


def _property(line: bytes) -> Property | None:
    """The line as the rest of the calendar reads it, so that the same person is meant."""
    try:
        return read_property(without_controls(_unfolded(line)))
    except ValueError:
        return None


def _timed(name: str, form: str, wall: datetime) -> str:
    """A time under `name` in the form of another line: its zone, and whether it is a date, UTC or neither."""
    found = _property(form.encode())
    if found is None or not form.endswith(found.value):
        raise _UnsafeError
    parameters = form[len("DTSTART") : len(form) - len(found.value)]
    written = parse_wall(found.value)
    if written.is_date:
        return f"{name}{parameters}{wall:%Y%m%d}"
    return f"{name}{parameters}{wall:%Y%m%dT%H%M%S}{'Z' if written.is_utc else ''}"


def _end(form: str, start: Moment, length: Length) -> str:
    """The end as a time, or as a duration where the clocks change meanwhile in a way that a time would not say."""
    if start.is_date:
        return _timed("DTEND", form, start.wall + timedelta(days=length.days))
    end = start.wall + length.span
    if not length.days and start.zone.to_utc(end) - start.utc == length.exact:
        return _timed("DTEND", form, end)
    seconds = int(length.exact.total_seconds())
    return f"DURATION:P{length.days}DT{seconds}S"
