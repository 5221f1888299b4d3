"""What is told of an edited series against brute force over its instants, in zones whose clocks change oddly.

The instants come from `instant`, which asks a zone only what the time is, and the differences from comparing two tables of
them; nothing of the expansion or of the comparison under test has a part in it.
"""

# ruff: noqa: DTZ001 - wall times

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from switchboard.domain.calendar.changes import Change, Snapshot, find_changes
from switchboard.domain.calendar.expansion import Expansion, expand
from tests.unit.domain.icalendar_text import ODD_ZONES, calendar, instant

ZONES = st.sampled_from([zone for zone in ODD_ZONES if zone != "Pacific/Apia"]).map(ZoneInfo)  # it skipped a whole day
WALLS = st.datetimes(datetime(2000, 1, 1), datetime(2036, 6, 1)).map(lambda at: at.replace(second=0, microsecond=0))
HORIZON = timedelta(days=62)

Span = tuple[datetime, datetime]
Told = tuple[str, int, datetime | None, datetime | None]  # kind, count, old start, new start


@dataclass(frozen=True)
class Series:
    """A daily or rarer series as its organiser wrote it."""

    zone: ZoneInfo
    first: datetime
    every_days: int
    count: int
    length: timedelta
    title: str = "Plan"

    def originals(self) -> list[datetime]:
        return [instant(self.first + timedelta(days=self.every_days * n), self.zone) for n in range(self.count)]

    def spans(self) -> dict[datetime, Span]:
        """By original start, when each meeting is."""
        return {at: (at, at + self.length) for at in self.originals()}

    def text(self, *lines: str) -> str:
        return (
            f"UID:s\nSUMMARY:{self.title}\nDTSTART;TZID={self.zone.key}:{self.first:%Y%m%dT%H%M%S}\n"
            f"DURATION:PT{int(self.length.total_seconds()) // 60}M\n"
            f"RRULE:FREQ=DAILY;INTERVAL={self.every_days};COUNT={self.count}\n" + "\n".join(lines)
        )


@dataclass(frozen=True)
class Moment:
    """When the series was expanded last, and now."""

    then: datetime
    now: datetime
    reader: ZoneInfo

    @property
    def known(self) -> Span:
        return (self.then - timedelta(days=1), self.then + HORIZON)

    @property
    def seen(self) -> Span:
        return (self.now - timedelta(days=31), self.now + HORIZON)

    def tell(self, before: bytes, after: bytes) -> list[Told]:
        """What the code under test tells."""
        old, new = self._expand(before, self.known), self._expand(after, self.seen)
        found = find_changes([Snapshot(1, old.occurrences, new.occurrences, until=self.known[1])], self.now)
        return [_told(one) for one in found]

    def _expand(self, raw: bytes, window: Span) -> Expansion:
        found = expand(raw, window=window, zone=self.reader)
        assert not found.problems
        return found


def _told(change: Change) -> Told:
    return (
        change.kind.value,
        change.count,
        change.old.start if change.old else None,
        change.new.start if change.new else None,
    )


def inside(spans: Mapping[datetime, Span], window: Span) -> dict[datetime, Span]:
    return {at: span for at, span in spans.items() if span[0] < window[1] and span[1] > window[0]}


@st.composite
def series_and_moments(draw: st.DrawFn) -> tuple[Series, Moment]:
    series = Series(
        zone=draw(ZONES),
        first=draw(WALLS),
        every_days=draw(st.integers(1, 9)),
        count=draw(st.integers(1, 40)),
        length=timedelta(minutes=draw(st.integers(15, 600))),
    )
    begin = instant(series.first, series.zone)
    now = begin + timedelta(minutes=draw(st.integers(-20 * 1440, series.every_days * series.count * 1440)))
    return series, Moment(now - timedelta(minutes=draw(st.integers(0, 6 * 1440))), now, draw(ZONES))


@given(series_and_moments(), ZONES)
def test_time_that_passes_and_other_spellings_change_nothing(made: tuple[Series, Moment], other: ZoneInfo) -> None:
    series, moment = made
    assert moment.tell(calendar(series.text()), calendar(series.text("SEQUENCE:9"))) == []
    places = inside(series.spans(), moment.known)
    assume(places)
    at, (start, end) = next(iter(places.items()))
    assume(instant(start.astimezone(other).replace(tzinfo=None), other) == start)
    override = (
        f"UID:s\nSUMMARY:Plan\nRECURRENCE-ID:{at:%Y%m%dT%H%M%SZ}\n"
        f"DTSTART;TZID={other.key}:{start.astimezone(other):%Y%m%dT%H%M%S}\nDTEND:{end:%Y%m%dT%H%M%SZ}"
    )
    assert moment.tell(calendar(series.text()), calendar(series.text(), override)) == []


@given(series_and_moments(), st.data())
def test_excluded_meetings_are_cancelled_and_those_that_are_over_are_not_told(
    made: tuple[Series, Moment], data: st.DataObject
) -> None:
    series, moment = made
    known = inside(series.spans(), moment.known)
    assume(known)
    chosen = data.draw(st.sets(st.sampled_from(sorted(known)), min_size=1))
    # Where none is left of what was known, those after it look like a series that was put off.
    assume(inside({at: known[at] for at in known if at not in chosen}, moment.seen) or not _beyond(series, moment))
    gone = sorted(at for at in chosen if known[at][1] > moment.now)
    lines = [f"EXDATE:{at:%Y%m%dT%H%M%SZ}" for at in chosen]
    expected = [("cancelled", len(gone), gone[0], None)] if gone else []
    assert moment.tell(calendar(series.text()), calendar(series.text(*lines))) == expected


@given(series_and_moments(), st.data())
def test_moved_meetings_are_told_together_with_the_first_of_them(
    made: tuple[Series, Moment], data: st.DataObject
) -> None:
    series, moment = made
    known = inside(series.spans(), moment.known)
    assume(known)
    overrides, moved = [], []
    for at in data.draw(st.sets(st.sampled_from(sorted(known)), min_size=1, max_size=5)):
        by = timedelta(minutes=data.draw(st.integers(-10 * 1440, 10 * 1440).filter(bool)))
        start, end = at + by, at + by + series.length
        assume(end > moment.seen[0] and start < moment.seen[1])
        overrides.append(
            f"UID:s\nSUMMARY:Plan\nRECURRENCE-ID:{at:%Y%m%dT%H%M%SZ}\n"
            f"DTSTART:{start:%Y%m%dT%H%M%SZ}\nDTEND:{end:%Y%m%dT%H%M%SZ}"
        )
        if known[at][1] > moment.now or end > moment.now:
            moved.append((end <= moment.now, start, at))
    expected = []
    if moved:
        _, new, old = min(moved)
        expected = [("moved", len(moved), old, new)]
    assert moment.tell(calendar(series.text()), calendar(series.text(), *overrides)) == expected


@given(series_and_moments(), st.integers(1, 60))
def test_a_shorter_series_is_cancelled_from_there_and_a_longer_one_is_added_to(
    made: tuple[Series, Moment], count: int
) -> None:
    series, moment = made
    changed = Series(series.zone, series.first, series.every_days, count, series.length)
    old, new = series.spans(), changed.spans()
    known, seen = inside(old, moment.known), inside(new, moment.seen)
    gone = sorted(at for at in known if at not in new and known[at][1] > moment.now)
    fresh = sorted(at for at in seen if at not in old and seen[at][1] > moment.now and at < moment.known[1])
    expected: list[Told] = []
    if gone:
        expected = [("cancelled", len(gone), gone[0], None)]
    elif fresh:
        expected = [("added", len(fresh), None, fresh[0])]
    assert moment.tell(calendar(series.text()), calendar(changed.text())) == expected


@given(series_and_moments())
def test_a_new_title_is_told_once_for_all_meetings_to_come(made: tuple[Series, Moment]) -> None:
    series, moment = made
    changed = Series(series.zone, series.first, series.every_days, series.count, series.length, title="Other")
    known = inside(series.spans(), moment.known)
    to_come = sorted(at for at in known if known[at][1] > moment.now)
    expected = [("changed", len(to_come), to_come[0], to_come[0])] if to_come else []
    assert moment.tell(calendar(series.text()), calendar(changed.text())) == expected


@given(series_and_moments(), st.integers(1, 11).map(lambda halves: timedelta(minutes=30 * halves)))
def test_a_shifted_series_is_one_move_of_all_that_are_to_come(made: tuple[Series, Moment], by: timedelta) -> None:
    series, moment = made
    changed = Series(series.zone, series.first + by, series.every_days, series.count, series.length)
    known, seen = inside(series.spans(), moment.known), inside(changed.spans(), moment.seen)
    assume(not set(series.spans()) & set(changed.spans()))  # around a gap two wall times can be one instant
    gone = sorted(at for at in known if known[at][1] > moment.now)
    new = sorted(at for at in seen if seen[at][1] > moment.now)
    fresh = [at for at in new if at < moment.known[1]] or new
    found = moment.tell(calendar(series.text()), calendar(changed.text()))
    if gone and fresh:
        [(kind, count, old_start, new_start)] = found
        assert (kind, count, new_start) == ("moved", len(fresh), fresh[0])
        assert old_start in known
    else:
        assert found == _lone(gone, [at for at in new if at < moment.known[1]])


def _beyond(series: Series, moment: Moment) -> bool:
    return max(series.spans()) >= moment.known[1]


def _lone(gone: list[datetime], fresh: list[datetime]) -> list[Told]:
    """At an end of the series: its last meeting is over in one of the two versions."""
    if gone:
        return [("cancelled", len(gone), gone[0], None)]
    return [("added", len(fresh), None, fresh[0])] if fresh else []
