"""From a stored iCalendar object to the meetings in a window, in UTC, in bounded time and memory.

Identity: an instance of a series is named by its original start in UTC, so that the zone in which the organiser's program
spells a RECURRENCE-ID, EXDATE or DTSTART never matters. Lengths: DTEND gives an exact duration that every instance keeps
(RFC 5545 3.8.5.3), the days of a DURATION are nominal and its hours exact (3.3.6), neither means no length, or one day (3.6.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.content import Problem, Property, read_content
from switchboard.domain.calendar.events import MAX_SPAN, Describer, Event, EventReader, Moment, recurrence_text
from switchboard.domain.calendar.moments import FIRST_YEAR, Length, parse_length, parse_wall
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.domain.calendar.recurrence import LATEST, RecurrenceError, Rule, Steps, parse_rule, walk
from switchboard.domain.calendar.wall_clock import start_of_day

MAX_OCCURRENCES = 2_000
"""Occurrences that one object may give for one window; the earliest are kept."""
MAX_RULES = 4

_EDGE = timedelta(days=2)
"""More than any offset from UTC: how far a wall time can lie from the same figures in UTC."""
_FIRST = datetime(FIRST_YEAR, 1, 1)  # noqa: DTZ001 - a wall-clock bound


@dataclass(frozen=True, slots=True)
class Expansion:
    """The meetings of one object in the window, by start; what was left out or mended; whether any of it is a series.

    `whole` is False where an event could not be read: a meeting that is missing then was not cancelled.
    """

    occurrences: tuple[Occurrence, ...]
    problems: tuple[Problem, ...]
    recurring: bool
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Instance:
    """One original start of a series; `length` is set where an RDATE period says its own."""

    start: Moment
    length: Length | None = None


@dataclass(frozen=True, slots=True)
class Meeting:
    """One meeting of a series: `event` describes it, for it alone where `series` is None, else also for others.

    `series` is then the component with the rules. `original` is the start by these rules, `start` and `length` are where
    `event` puts the meeting.
    """

    event: Event
    series: Event | None
    original: Moment
    start: Moment
    length: Length


@dataclass(frozen=True, slots=True)
class _Onwards:
    """A THISANDFUTURE override: what follows `since` takes its content and length and is moved by `shift`."""

    since: datetime
    shift: timedelta
    event: Event


def expand(
    raw: bytes,
    *,
    window: tuple[datetime, datetime],
    zone: ZoneInfo,
    own_addresses: frozenset[str] = frozenset(),
    max_occurrences: int = MAX_OCCURRENCES,
    singles_until: datetime | None = None,
) -> Expansion:
    """The meetings of `raw` that overlap `window` (start inclusive, end exclusive, aware UTC).

    `zone` is the user's, for floating and all-day meetings and where an object names a zone that nobody knows. `own_addresses`
    are the user's e-mail addresses. What does not repeat is given up to `singles_until`, where that is later than the end of
    the window: it costs one row, and need not be expanded again as time goes on. Cancelled meetings are left out; declined
    ones are kept and marked. Never raises for what `raw` holds: what cannot be read is a Problem and hides nothing else.
    """
    content = read_content(raw)
    reader = EventReader(content, zone)
    by_uid: dict[str, list[Event]] = {}
    for component in content.events:
        event = reader.read(component)
        if event is None:
            content.whole = False
        else:
            by_uid.setdefault(event.uid, []).append(event)
    describe = Describer(frozenset(address.strip().lower() for address in own_addresses))
    occurrences: list[Occurrence] = []
    recurring = False
    steps = Steps()
    for uid, events in by_uid.items():
        series = _Series(events, reader, describe, window, zone, steps, singles_until)
        recurring = recurring or series.recurring
        found = sorted(series.occurrences(max_occurrences + 1), key=lambda one: (one.start, one.recurrence_id))
        if len(occurrences) + len(found) > max_occurrences:
            content.note(uid, f"the object has more than {max_occurrences} meetings in the window; the first were kept")
            occurrences.extend(found[: max_occurrences - len(occurrences)])
            break
        occurrences.extend(found)
    occurrences.sort(key=lambda one: (one.start, one.uid, one.recurrence_id))
    return Expansion(tuple(occurrences), tuple(content.problems), recurring, content.whole)


def find_meeting(events: list[Event], reader: EventReader, recurrence_id: str, zone: ZoneInfo) -> Meeting | None:
    """The meeting of a series by its RECURRENCE-ID in UTC (or date); None where there is none, or not any more.

    `events` are all of one UID, read by `reader`; `zone` is the user's.
    """
    try:
        original = parse_wall(recurrence_id).at.replace(tzinfo=UTC)
    except ValueError:
        return None
    window = (original, original + timedelta(days=1))
    series = _Series(events, reader, Describer(frozenset()), window, zone, Steps(), None)
    return series.find(recurrence_id)


@dataclass(frozen=True, slots=True)
class _Override:
    """A component with RECURRENCE-ID; `original` is that id in the form of its series."""

    original: Moment
    event: Event


class _Series:
    """All components of one UID: at most one that stands for the whole, and its overrides.

    There may be overrides alone: somebody was invited to one occurrence of a series only.
    """

    def __init__(
        self,
        events: list[Event],
        reader: EventReader,
        describe: Describer,
        window: tuple[datetime, datetime],
        zone: ZoneInfo,
        steps: Steps,
        singles_until: datetime | None,
    ) -> None:
        self._reader = reader
        self._describe = describe
        self._window = window
        self._zone = zone
        self._steps = steps
        wholes = [event for event in events if event.recurrence_id is None]
        self._master = max(wholes, key=lambda one: one.version, default=None)
        self._overrides: dict[str, _Override] = {}
        for event in events:
            if event.recurrence_id is None:
                continue
            original = _in_form_of(self._master, event.recurrence_id)
            known = self._overrides.get(original.key)
            if known is None or event.version > known.event.version:
                self._overrides[original.key] = _Override(original, event)
        if singles_until is not None and not self.recurring:
            self._window = (window[0], max(window[1], singles_until))
        self._onwards = self._read_onwards()
        self._low, self._high = self._span()

    @property
    def recurring(self) -> bool:
        """Whether its occurrences need a RECURRENCE-ID to be told apart."""
        if self._overrides or self._master is None:
            return True
        return bool(self._master.component.all("RRULE") or self._master.component.all("RDATE"))

    def occurrences(self, limit: int) -> Iterator[Occurrence]:
        """What overlaps the window: every override, and at most `limit` others."""
        if self._master is None:
            for key, override in self._overrides.items():
                if not override.event.cancelled:
                    yield from self._placed(override.event, override.event.start, override.event.length, key)
            return
        if self._master.cancelled:
            return
        excluded, excluded_days = self._exclusions(self._master)
        for key, override in self._overrides.items():
            excepted = key in excluded or override.original.wall.date() in excluded_days
            if not override.event.cancelled and not excepted:
                yield from self._placed(override.event, override.event.start, override.event.length, key)
        count = 0
        seen = set(self._overrides)
        for instance in self._instances(self._master):
            key = instance.start.key
            if key in seen or key in excluded or instance.start.wall.date() in excluded_days:
                continue
            seen.add(key)
            for occurrence in self._effective(self._master, instance, key):
                yield occurrence
                count += 1
            if count >= limit:
                return

    def find(self, key: str) -> Meeting | None:
        """The meeting with this RECURRENCE-ID, which lies in the window by the rules of the series."""
        master, override = self._master, self._overrides.get(key)
        if not self.recurring or (master is not None and master.cancelled):
            return None
        excluded, excluded_days = self._exclusions(master) if master is not None else (frozenset(), frozenset())
        if override is not None:
            excepted = key in excluded or override.original.wall.date() in excluded_days
            event = override.event
            if excepted or event.cancelled:
                return None
            return Meeting(event, None, override.original, event.start, event.length)
        for instance in self._instances(master) if master is not None else ():
            start = instance.start
            if master is not None and start.key == key:
                excepted = key in excluded or start.wall.date() in excluded_days
                found = self._shown(master, instance)
                return None if excepted or found.event.cancelled else found
        return None

    def _effective(self, master: Event, instance: _Instance, key: str) -> Iterator[Occurrence]:
        """The instance in the window, with its key where it needs one."""
        shown = self._shown(master, instance)
        if not shown.event.cancelled:
            yield from self._placed(shown.event, shown.start, shown.length, key if self.recurring else "")

    def _shown(self, master: Event, instance: _Instance) -> Meeting:
        """The instance as the last THISANDFUTURE before it, or the series itself, says."""
        event, start, length = master, instance.start, instance.length or master.length
        for onwards in self._onwards:
            if onwards.since >= instance.start.utc:
                break
            event, length = onwards.event, onwards.event.length
            start = Moment(instance.start.wall + onwards.shift, onwards.event.start.is_date, instance.start.zone)
        return Meeting(event, master, instance.start, start, length)

    def _placed(self, event: Event, start: Moment, length: Length, key: str) -> Iterator[Occurrence]:
        """The event at `start`, if it overlaps the window."""
        window_begin, window_end = self._window
        first = last = None
        if start.is_date:
            first = start.wall.date()
            last = first + timedelta(days=length.days)
            begin, end = start_of_day(first, self._zone), start_of_day(last, self._zone)
        else:
            begin = start.utc
            whole_days = start.zone.to_utc(start.wall + timedelta(days=length.days)) if length.days else begin
            end = whole_days + length.exact
        if begin >= window_end or end < window_begin or (end == window_begin and begin < end):
            return
        known = self._describe(event)
        series_rule = recurrence_text(self._master.component) if self._master is not None else ""
        yield replace(
            known,
            recurrence_id=key,
            start=begin,
            end=end,
            all_day=start.is_date,
            start_date=first,
            end_date=last,
            zone=self._zone.key if self._reader.follows_reader(start) else "",
            recurrence=known.recurrence or series_rule,
        )

    def _read_onwards(self) -> tuple[_Onwards, ...]:
        found = []
        for override in self._overrides.values():
            event, original = override.event, override.original
            if not event.onwards:
                continue
            # In one zone the clock time moves; across zones only the instants can be compared.
            same_zone = original.zone == event.start.zone
            shift = event.start.wall - original.wall if same_zone else event.start.utc - original.utc
            if abs(shift) > MAX_SPAN:
                self._reader.note(
                    event.uid, f"a change of all later meetings moves them by more than {MAX_SPAN.days} days"
                )
                continue
            found.append(_Onwards(original.utc, shift, event))
        return tuple(sorted(found, key=lambda one: one.since))

    def _span(self) -> tuple[datetime, datetime]:
        """The wall times between which an original start can put a meeting into the window."""
        events = [one.event for one in self._onwards] + ([self._master] if self._master is not None else [])
        longest = max((event.length.span for event in events), default=timedelta())
        shifts = [timedelta(), *(one.shift for one in self._onwards)]
        low = self._window[0].astimezone(UTC).replace(tzinfo=None) - _EDGE - longest - max(shifts)
        high = self._window[1].astimezone(UTC).replace(tzinfo=None) + _EDGE - min(shifts)
        return max(_FIRST, low), min(LATEST, high)

    def _instances(self, master: Event) -> Iterator[_Instance]:
        """The original starts near the window: of the rules, then of RDATE."""
        rules = self._rules(master)
        for rule in rules:
            yield from self._instances_of(rule, master)
        if not rules and self._low <= master.start.wall <= self._high:
            yield _Instance(master.start)
        for source, text in self._reader.dates(master, "RDATE"):
            try:
                instance = self._rdate(master, source, text)
            except ValueError as error:
                self._reader.note(master.uid, f"an RDATE {error} and was left out")
                continue
            own_span = instance.length.span if instance.length is not None else timedelta()
            if self._low - own_span <= instance.start.wall <= self._high:
                yield instance

    def _rules(self, master: Event) -> list[Rule]:
        """The rules of the series; one that cannot be used is noted, and the meeting of DTSTART stays."""
        if master.component.all("EXRULE"):
            self._reader.note(master.uid, "EXRULE is no longer part of iCalendar and was left out")
        rules = []
        for source in master.component.all("RRULE")[:MAX_RULES]:
            try:
                rules.append(parse_rule(source.value))
            except RecurrenceError as error:
                self._reader.note(master.uid, f"{error}; only its first meeting is shown")
        return rules

    def _instances_of(self, rule: Rule, master: Event) -> Iterator[_Instance]:
        start = master.start
        try:
            for wall in walk(rule, start.wall, after=self._low, before=self._high, together=self._steps):
                instance = Moment(wall, start.is_date, start.zone)
                if _is_past(rule, instance):
                    return
                yield _Instance(instance)
        except RecurrenceError as error:
            self._reader.note(master.uid, f"{error}; only its first meeting is shown")
            if self._low <= start.wall <= self._high:
                yield _Instance(start)

    def _rdate(self, master: Event, source: Property, text: str) -> _Instance:
        """One RDATE value, which may be a PERIOD (RFC 5545 3.3.9); ValueError where it cannot be read."""
        first, slash, second = text.partition("/")
        start = _in_form_of(master, self._reader.moment(master.uid, source, first))
        if not slash:
            return _Instance(start)
        if second.strip().upper().startswith("P"):
            length = parse_length(second)
        else:
            length = Length(0, self._reader.moment(master.uid, source, second).utc - start.utc)
        if not timedelta() <= length.span <= MAX_SPAN:
            raise ValueError("has a period of an impossible length")
        return _Instance(start, length)

    def _exclusions(self, master: Event) -> tuple[frozenset[str], frozenset[date]]:
        """EXDATE as keys and, for dates in a series of times, as whole local days."""
        keys: set[str] = set()
        days: set[date] = set()
        for source, text in self._reader.dates(master, "EXDATE"):
            try:
                moment = self._reader.moment(master.uid, source, text)
            except ValueError as error:
                self._reader.note(master.uid, f"an EXDATE {error} and was left out")
                continue
            if moment.is_date and not master.start.is_date:
                days.add(moment.wall.date())
            elif self._overrides or self._low - _EDGE <= moment.wall <= self._high + _EDGE:
                keys.add(_in_form_of(master, moment).key)
        return frozenset(keys), frozenset(days)


def _in_form_of(master: Event | None, moment: Moment) -> Moment:
    """A RECURRENCE-ID, RDATE or EXDATE in the form of its series: a date for an all-day one, else a time."""
    if master is None or moment.is_date == master.start.is_date:
        return moment
    at = time() if master.start.is_date else master.start.wall.time()
    return Moment(datetime.combine(moment.wall.date(), at), master.start.is_date, master.start.zone)


def _is_past(rule: Rule, moment: Moment) -> bool:
    """Whether UNTIL is before the moment; a date means its whole day, and for all-day series only the date counts."""
    if rule.until is None:
        return False
    until = rule.until
    if moment.is_date or not until.has_time:
        return moment.wall.date() > until.at.date()
    if until.is_utc:
        return moment.utc > until.at.replace(tzinfo=UTC)
    return moment.wall > until.at
