"""VEVENT components to values: times in their zones, lengths, people, texts; every value is cut to a limit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.conference import MAX_URL_CHARS, SOURCES, conference_url, web_urls
from switchboard.domain.calendar.content import Component, Content, Property, without_controls
from switchboard.domain.calendar.moments import Length, Wall, parse_length, parse_wall
from switchboard.domain.calendar.occurrences import CANCELLED, NEEDS_ACTION, Attendee, Occurrence
from switchboard.domain.calendar.zones import UTC_ZONE, NamedZone, WallZone, Zones

MAX_DATES = 20_000
"""EXDATE or RDATE values that are read of one component."""
MAX_DATES_TOGETHER = 100_000
"""EXDATE and RDATE values that are read of one object."""
MAX_SPAN = timedelta(days=3_660)
"""The longest meeting; a longer one is cut."""
MAX_UID_CHARS = 512
"""RFC 7986 5.3 asks for less than 255 octets; a longer one than this does not fit into the keys of databases."""
MAX_TITLE_CHARS = 1_000
MAX_PLACE_CHARS = 1_000
MAX_DESCRIPTION_CHARS = 4_000
MAX_NAME_CHARS = 200
MAX_RECURRENCE_CHARS = 1_000
MAX_ATTENDEES = 500
MAX_SEQUENCE = 2**31 - 1

_NO_LENGTH = Length(0, timedelta())
_ONE_DAY = Length(1, timedelta())


@dataclass(frozen=True, slots=True)
class Moment:
    """A wall time and the zone that it is in."""

    wall: datetime
    is_date: bool
    zone: WallZone

    @property
    def utc(self) -> datetime:
        return self.zone.to_utc(self.wall)

    @property
    def key(self) -> str:
        """The RECURRENCE-ID form: `20260301T090000Z` or `20260301`."""
        return self.wall.strftime("%Y%m%d") if self.is_date else self.utc.strftime("%Y%m%dT%H%M%SZ")


@dataclass(frozen=True, slots=True)
class Event:
    """A VEVENT whose times were read."""

    uid: str
    component: Component
    start: Moment
    length: Length
    sequence: int
    stamp: datetime | None
    cancelled: bool
    recurrence_id: Moment | None
    onwards: bool

    @property
    def version(self) -> tuple[int, datetime]:
        """The newer of two events with the same identity has the higher version (RFC 5546 2.1.5)."""
        return (self.sequence, self.stamp or datetime.min.replace(tzinfo=UTC))


class EventReader:
    """Reads times in the zones of one object and notes what is wrong with them."""

    def __init__(self, content: Content, zone: ZoneInfo) -> None:
        self._content = content
        self._zones = Zones(content.timezones)
        self._own_zone = NamedZone(zone)
        self._dates_left = MAX_DATES_TOGETHER

    def note(self, uid: str, reason: str) -> None:
        self._content.note(uid, reason)

    def read(self, component: Component) -> Event | None:
        """The event, or None with a problem noted."""
        uid = component.text("UID")
        if not uid or len(uid) > MAX_UID_CHARS:
            self.note(
                "", "an event has no UID" if not uid else f"an event has a UID of more than {MAX_UID_CHARS} characters"
            )
            return None
        start_property = component.first("DTSTART")
        if start_property is None:
            self.note(uid, "the event has no DTSTART")
            return None
        try:
            start = self.moment(uid, start_property)
        except ValueError as error:
            self.note(uid, f"DTSTART {error}")
            return None
        recurrence_id = component.first("RECURRENCE-ID")
        try:
            original = self.moment(uid, recurrence_id) if recurrence_id is not None else None
        except ValueError as error:
            self.note(uid, f"RECURRENCE-ID {error}")
            return None
        return Event(
            uid=uid,
            component=component,
            start=start,
            length=self._length(uid, component, start),
            sequence=_sequence(component.text("SEQUENCE")),
            stamp=_stamp(component.first("DTSTAMP")),
            cancelled=component.text("STATUS").upper() == CANCELLED,
            recurrence_id=original,
            onwards=recurrence_id is not None and recurrence_id.params.get("RANGE", "").upper() == "THISANDFUTURE",
        )

    def moment(self, uid: str, source: Property, text: str | None = None) -> Moment:
        """The time in `source` (or one value `text` of its list) with its zone; ValueError where it is no time."""
        wall = parse_wall(source.value if text is None else text)
        return Moment(wall.at, wall.is_date, self._zone_of(uid, wall, source.params.get("TZID", "")))

    def follows_reader(self, moment: Moment) -> bool:
        """Whether the time is another instant for a reader in another zone: a date, or a time that names no known zone."""
        return moment.is_date or moment.zone is self._own_zone

    def dates(self, event: Event, name: str) -> Iterator[tuple[Property, str]]:
        """The values of RDATE or EXDATE, at most MAX_DATES."""
        count = 0
        limit = min(MAX_DATES, self._dates_left)
        for source in event.component.all(name):
            for text in source.value.split(","):
                if not text.strip():
                    continue
                count += 1
                if count > limit:
                    self.note(event.uid, f"there are more than {limit} {name} values; the rest was not read")
                    return
                self._dates_left -= 1
                yield source, text

    def _zone_of(self, uid: str, wall: Wall, tzid: str) -> WallZone:
        if wall.is_utc:
            return UTC_ZONE
        if wall.is_date or not tzid:
            return self._own_zone
        found = self._zones.find(tzid)
        if found is None:
            self.note(uid, f"the time zone {tzid[:80]!r} is unknown and not described; the user's own was taken")
            return self._own_zone
        return found

    def _length(self, uid: str, component: Component, start: Moment) -> Length:
        default = _ONE_DAY if start.is_date else _NO_LENGTH
        end, duration = component.first("DTEND"), component.first("DURATION")
        try:
            if end is not None:
                length = self._length_until(start, self.moment(uid, end))
            elif duration is not None:
                length = parse_length(duration.value)
            else:
                return default
        except (ValueError, OverflowError) as error:
            self.note(
                uid, f"{'DTEND' if end is not None else 'DURATION'} {error}; the meeting is shown without a length"
            )
            return default
        if length.span > MAX_SPAN:
            self.note(uid, f"the meeting is longer than {MAX_SPAN.days} days and was cut")
            length = Length(MAX_SPAN.days, timedelta())
        elif length.span < timedelta():
            self.note(uid, "the meeting ends before it starts; it is shown without a length")
            length = default
        if start.is_date:
            # An all-day meeting has whole days; DTEND on the day of DTSTART is a common way to write one day.
            days = -(-length.span // timedelta(days=1))
            return Length(max(1, days), timedelta())
        return length

    @staticmethod
    def _length_until(start: Moment, end: Moment) -> Length:
        if start.is_date:
            return Length(0, end.wall - start.wall)
        if end.is_date:
            end = Moment(end.wall, is_date=False, zone=start.zone)
        return Length(0, end.utc - start.utc)


class Describer:
    """Everything of a component but its times, read once for all instances of a series."""

    def __init__(self, own_addresses: frozenset[str]) -> None:
        self._own = own_addresses
        self._known: dict[int, Occurrence] = {}

    def __call__(self, event: Event) -> Occurrence:
        """An occurrence at the event's own times, without the dates of an all-day one."""
        known = self._known.get(id(event))
        if known is None:
            known = self._known[id(event)] = self._describe(event)
        return known

    def _describe(self, event: Event) -> Occurrence:
        component = event.component
        attendees = self._attendees(component)
        own = [attendee.partstat for attendee in attendees if attendee.own]
        answered = [partstat for partstat in own if partstat != NEEDS_ACTION]
        organizer = component.first("ORGANIZER")
        url = component.text("URL")
        return Occurrence(
            uid=event.uid,
            recurrence_id="",
            start=event.start.utc,
            end=event.start.utc,
            title=component.text("SUMMARY")[:MAX_TITLE_CHARS],
            place=component.text("LOCATION")[:MAX_PLACE_CHARS],
            conference_url=conference_url({name: [one.text for one in component.all(name)] for name in SOURCES}),
            link=url[:MAX_URL_CHARS] if web_urls(url) else "",
            description=component.text("DESCRIPTION")[:MAX_DESCRIPTION_CHARS],
            organizer=self.person(organizer) if organizer is not None else None,
            attendees=tuple(attendees[:MAX_ATTENDEES]),
            status=component.text("STATUS").upper()[:20],
            transparent=component.text("TRANSP").upper() == "TRANSPARENT",
            own_partstat=(answered or own or [""])[0],
            recurrence=recurrence_text(component),
            sequence=event.sequence,
            stamp=event.stamp,
        )

    def _attendees(self, component: Component) -> list[Attendee]:
        people: dict[str, Attendee] = {}
        for source in component.all("ATTENDEE"):
            person = self.person(source)
            people.setdefault(person.address, person)
        if len(people) <= MAX_ATTENDEES:
            return list(people.values())
        # The user's own goes first, so that the cut never takes it away; the others keep their order.
        return sorted(people.values(), key=lambda person: not person.own)

    def person(self, source: Property) -> Attendee:
        """An ATTENDEE or ORGANIZER line."""
        text = source.text
        scheme, colon, rest = text.partition(":")
        address = without_controls(unquote(rest)) if colon and scheme.lower() == "mailto" else text
        if "@" not in address:
            address = source.params.get("EMAIL", address)
        address = address.strip().lower()[:MAX_NAME_CHARS]
        return Attendee(
            address=address,
            name=source.params.get("CN", "").strip().strip('"')[:MAX_NAME_CHARS],
            partstat=source.params.get("PARTSTAT", NEEDS_ACTION).upper()[:20],
            role=source.params.get("ROLE", "REQ-PARTICIPANT").upper()[:20],
            kind=source.params.get("CUTYPE", "INDIVIDUAL").upper()[:20],
            own=address in self._own,
        )


def recurrence_text(component: Component) -> str:
    """The RRULE as it was written, or ''."""
    rule = component.first("RRULE")
    return rule.value.strip()[:MAX_RECURRENCE_CHARS] if rule is not None else ""


def _sequence(text: str) -> int:
    return min(int(text), MAX_SEQUENCE) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _stamp(source: Property | None) -> datetime | None:
    if source is None:
        return None
    try:
        return parse_wall(source.value).at.replace(tzinfo=UTC)
    except ValueError:
        return None
