"""What changed for a person between two states of their calendars, grouped as it is told.

A meeting is compared by content under its UID and RECURRENCE-ID in UTC; ETags, stamps, SEQUENCE and zones of writing mean
nothing. The edges of the expanded windows are no changes, and what lies in the past is told only when it was moved there.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.occurrences import NEEDS_ACTION, PEOPLE, Attendee, Occurrence
from switchboard.domain.calendar.wall_clock import same_wall_time

MAX_TEXT_CHARS = 300
"""What is kept of a title, place or name: messages show less."""
MAX_URL_CHARS = 2_000
MAX_ANSWERS = 100
SPLIT_REACH = timedelta(days=7)
"""How much earlier than the series it continues a split-off series may begin."""

_SPLIT_MARK = re.compile(r"_R\d{8}(?:T\d{6}Z?)?(?=@|$)")
_RULE_END = re.compile(r"(?:^|;)(?:UNTIL|COUNT)=[^;]*", re.IGNORECASE)
_WHITESPACE = re.compile(r"\s+")


class ChangeKind(enum.StrEnum):
    """In the order in which a message tells them."""

    MOVED = "moved"
    ADDED = "added"
    CANCELLED = "cancelled"
    CHANGED = "changed"
    ANSWERED = "answered"


class AnswerKind(enum.StrEnum):
    """What an attendee did, or what the organiser did with them."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    TENTATIVE = "tentative"
    INVITED = "invited"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Slot:
    """When a meeting is: aware UTC, and for an all-day one its dates (the last exclusive)."""

    start: datetime
    end: datetime
    first_day: date | None = None
    last_day: date | None = None

    @classmethod
    def of(cls, occurrence: Occurrence) -> Slot:
        """The time of an occurrence."""
        if occurrence.all_day:
            return cls(occurrence.start, occurrence.end, occurrence.start_date, occurrence.end_date)
        return cls(occurrence.start, occurrence.end)

    @property
    def identity(self) -> tuple[object, object]:
        """Equal for the same time however it is written, and for the same days in whatever zone the reader is."""
        return (self.start, self.end) if self.first_day is None else (self.first_day, self.last_day)

    def to_json(self) -> dict[str, Any]:
        """JSON scalars; `from_json` reads them back."""
        return {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "first_day": self.first_day.isoformat() if self.first_day else None,
            "last_day": self.last_day.isoformat() if self.last_day else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        """The slot that `to_json` wrote."""
        return cls(
            datetime.fromisoformat(data["start"]),
            datetime.fromisoformat(data["end"]),
            date.fromisoformat(data["first_day"]) if data["first_day"] else None,
            date.fromisoformat(data["last_day"]) if data["last_day"] else None,
        )


@dataclass(frozen=True, slots=True)
class FieldChange:
    """`name` is title, place, link or description; of a description only is told that it changed, both texts are ''."""

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Answer:
    """`name` is what the invitation calls the person, or the address."""

    name: str
    kind: AnswerKind


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a notice: a meeting, or meetings of one series that changed alike.

    `recurrence_id`, `old` and `new` are those of the first of them; `old` is None for an added and `new` for a cancelled
    meeting. `count` is how many changed, `whole` whether those are all that are to come of the series. `fields` of a moved
    meeting is what changed besides its time.
    """

    kind: ChangeKind
    uid: str
    recurrence_id: str
    title: str
    old: Slot | None
    new: Slot | None
    series: bool = False
    count: int = 1
    whole: bool = True
    place: str = ""
    url: str = ""
    fields: tuple[FieldChange, ...] = ()
    answers: tuple[Answer, ...] = ()

    @property
    def at(self) -> datetime:
        """Where it stands among others of its kind."""
        slot = self.new or self.old
        return slot.start if slot else datetime.max.replace(tzinfo=UTC)

    def to_json(self) -> dict[str, Any]:
        """JSON values; `from_json` reads them back to an equal change."""
        return {
            "kind": self.kind.value,
            "uid": self.uid,
            "recurrence_id": self.recurrence_id,
            "title": self.title,
            "old": self.old.to_json() if self.old else None,
            "new": self.new.to_json() if self.new else None,
            "series": self.series,
            "count": self.count,
            "whole": self.whole,
            "place": self.place,
            "url": self.url,
            "fields": [[one.name, one.old, one.new] for one in self.fields],
            "answers": [[one.name, one.kind.value] for one in self.answers],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Change:
        """The change that `to_json` wrote."""
        return cls(
            kind=ChangeKind(data["kind"]),
            uid=data["uid"],
            recurrence_id=data["recurrence_id"],
            title=data["title"],
            old=Slot.from_json(data["old"]) if data["old"] else None,
            new=Slot.from_json(data["new"]) if data["new"] else None,
            series=data["series"],
            count=data["count"],
            whole=data["whole"],
            place=data["place"],
            url=data["url"],
            fields=tuple(FieldChange(*one) for one in data["fields"]),
            answers=tuple(Answer(name, AnswerKind(kind)) for name, kind in data["answers"]),
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One calendar object that changed: what it showed, and what it shows now (nothing when it was removed).

    `known` is False for an object that was not there before. `before` is complete up to `until`, None: for all time.
    """

    calendar_id: int
    before: tuple[Occurrence, ...]
    after: tuple[Occurrence, ...]
    known: bool = True
    until: datetime | None = None

    def read_in(self, zone: ZoneInfo) -> Snapshot:
        """With the old state as its reader sees it in `zone`: who moves to another zone has moved no meeting."""
        before = tuple(one.read_in(zone) for one in self.before)
        old = next((one.zone for one in self.before if one.zone), zone.key)
        until = None if self.until is None else same_wall_time(self.until, ZoneInfo(old), zone)
        return replace(self, before=before, until=until)


def find_changes(
    snapshots: Iterable[Snapshot], now: datetime, *, elsewhere: Iterable[Occurrence] = ()
) -> tuple[Change, ...]:
    """What to tell of the changed objects, by kind and time; empty where nothing visible changed.

    `elsewhere` is what the person's other watched calendars and unchanged objects show of the same UIDs. A meeting in two
    calendars is told once: when its first copy changes, and when its last one is removed.
    """
    meetings = _by_uid(snapshots, elsewhere)
    differences = {uid: _compare(meeting, now) for uid, meeting in meetings.items()}
    _join_recreated(differences)
    found = [change for difference in differences.values() for change in _told(difference, now)]
    order = list(ChangeKind)
    return tuple(sorted(found, key=lambda one: (order.index(one.kind), one.at, one.title, one.uid)))


@dataclass(slots=True)
class _Meeting:
    """Everything known of one UID: by RECURRENCE-ID what changed objects showed and show, and what others show."""

    olds: dict[str, list[tuple[int, Occurrence]]] = field(default_factory=dict)
    news: dict[str, list[tuple[int, Occurrence]]] = field(default_factory=dict)
    others: dict[str, list[Occurrence]] = field(default_factory=dict)
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Pair:
    """A meeting before and after; `shown` are all its versions that the person could see before."""

    old: Occurrence
    new: Occurrence
    shown: tuple[Occurrence, ...]


@dataclass(slots=True, eq=False)
class _Difference:
    """One UID: what vanished, what appeared (`late` beyond the old window), what stands in both; each by start."""

    gone: list[Occurrence]
    fresh: list[Occurrence]
    late: list[Occurrence]
    pairs: list[_Pair]
    past: list[Occurrence]  # vanished ones that were over; they only help to see by how much a series moved
    until: datetime | None
    to_come: int
    existed: bool
    stands: bool  # some occurrence, perhaps an old one, is where it was: the series was not put off


def _by_uid(snapshots: Iterable[Snapshot], elsewhere: Iterable[Occurrence]) -> dict[str, _Meeting]:
    meetings: dict[str, _Meeting] = {}
    for snapshot in snapshots:
        for occurrence in snapshot.before:
            meeting = meetings.setdefault(occurrence.uid, _Meeting())
            meeting.olds.setdefault(occurrence.recurrence_id, []).append((snapshot.calendar_id, occurrence))
        for occurrence in snapshot.after:
            meeting = meetings.setdefault(occurrence.uid, _Meeting())
            meeting.news.setdefault(occurrence.recurrence_id, []).append((snapshot.calendar_id, occurrence))
        if snapshot.known and snapshot.until is not None:
            for uid in {one.uid for one in (*snapshot.before, *snapshot.after)}:
                meeting = meetings[uid]
                meeting.until = min(meeting.until or snapshot.until, snapshot.until)
    for occurrence in elsewhere:
        if occurrence.uid in meetings:
            meetings[occurrence.uid].others.setdefault(occurrence.recurrence_id, []).append(occurrence)
    return meetings


def _compare(meeting: _Meeting, now: datetime) -> _Difference:
    existed, stands = bool(meeting.olds or meeting.others), not meeting.news.keys().isdisjoint(meeting.olds)
    difference = _Difference([], [], [], [], [], meeting.until, 0, existed, stands)
    for key, versions in meeting.news.items():
        calendar_id, new = max(versions, key=lambda one: _version(one[1]))
        difference.to_come += new.end > now
        same = [one for calendar, one in meeting.olds.get(key, []) if calendar == calendar_id]
        shown = [one for _, one in meeting.olds.get(key, [])] + meeting.others.get(key, [])
        if shown:
            old = max(same or shown, key=_version)
            if old.end > now or new.end > now:
                difference.pairs.append(_Pair(old, new, tuple(shown)))
        elif not new.declined:
            inside = meeting.until is None or new.start < meeting.until
            if new.end > now:
                (difference.fresh if inside else difference.late).append(new)
    for key, versions in meeting.olds.items():
        if key in meeting.news or not _is_told_as_gone(meeting, key):
            continue
        old = max((one for _, one in versions), key=_version)
        if not old.declined:
            (difference.gone if old.end > now else difference.past).append(old)
    for group in (difference.gone, difference.fresh, difference.late, difference.past):
        group.sort(key=_by_start)
    return difference


def _is_told_as_gone(meeting: _Meeting, key: str) -> bool:
    """Whether a vanished occurrence is news, in view of copies of the meeting in other calendars.

    A copy that still stands keeps a removed meeting; of a series that goes on in both, the first to lose an occurrence is
    told, and the other follows in silence.
    """
    if not meeting.others:
        return True
    return bool(meeting.news) and key in meeting.others


def _join_recreated(differences: dict[str, _Difference]) -> None:
    """Give what appeared under a new UID to the meeting that it continues: "this and following" makes a series anew."""
    made: dict[tuple[object, ...], list[_Difference]] = {}
    for uid, one in differences.items():
        if one.fresh and not one.existed:
            for mark in _marks(uid, one.fresh[0]):
                made.setdefault(mark, []).append(one)
    for uid, old in differences.items():
        if not old.gone or old.fresh:
            continue
        for mark in _marks(uid, old.gone[0]):
            candidates = made.get(mark, [])
            earliest = old.gone[0].start - SPLIT_REACH
            new = next((one for one in candidates if one.fresh and one.fresh[0].start >= earliest), None)
            if new is None:
                continue
            candidates.remove(new)
            inside = [one for one in new.fresh if old.until is None or one.start < old.until]
            old.fresh, old.late = inside, [*old.late, *new.fresh[len(inside) :]]
            old.to_come += new.to_come
            new.fresh = []
            break


def _marks(uid: str, first: Occurrence) -> list[tuple[object, ...]]:
    """By what a meeting is known under another UID: a series by its split UID or its content, a single one by all of it."""
    if not first.recurrence_id:
        return [("single", _described(first), Slot.of(first).identity)]
    return [("split", _SPLIT_MARK.sub("", uid)), ("series", _described(first), _rule(first))]


def _described(one: Occurrence) -> tuple[str, str]:
    return (_plain(one.title), one.organizer.address if one.organizer else "")


def _rule(one: Occurrence) -> frozenset[str]:
    """The rule but its end and its weekdays: a series that moves to another day is the same one."""
    parts = _RULE_END.sub("", one.recurrence.upper()).split(";")
    return frozenset(part for part in parts if part and not part.startswith(("BYDAY", "BYMONTHDAY", "WKST")))


def _told(difference: _Difference, now: datetime) -> list[Change]:
    _pair_same_times(difference)
    found: list[Change] = []
    if difference.gone:
        fresh = difference.fresh
        if not fresh and not difference.stands:
            fresh = difference.late  # the whole series went beyond the old window
        if fresh:
            found.append(_reshaped(difference, fresh))
        else:
            first = difference.gone[0]
            found.append(
                replace(
                    _change(ChangeKind.CANCELLED, first, old=first, new=None),
                    count=len(difference.gone),
                    whole=difference.to_come == 0,
                )
            )
    elif difference.fresh:
        first = difference.fresh[0]
        found.append(
            replace(
                _change(ChangeKind.ADDED, first, old=None, new=first),
                count=len(difference.fresh),
                whole=not difference.pairs,
            )
        )
    found.extend(_edits(difference, now))
    found.extend(_answers(difference, now))
    return found


def _pair_same_times(difference: _Difference) -> None:
    """A meeting that became a series, or a series written anew, keeps those that are at the same time."""
    fresh = {Slot.of(one).identity: one for one in (*difference.fresh, *difference.late)}
    kept: set[tuple[str, str]] = set()
    for group in (difference.gone, difference.past):
        for old in list(group):
            new = fresh.get(Slot.of(old).identity)
            if new is not None:
                difference.pairs.append(_Pair(old, new, (old,)))
                group.remove(old)
                kept.add(new.key)
    difference.fresh = [one for one in difference.fresh if one.key not in kept]
    difference.late = [one for one in difference.late if one.key not in kept]


def _reshaped(difference: _Difference, fresh: Sequence[Occurrence]) -> Change:
    """The original starts of a series changed: told once, with the next meeting and the nearest old time."""
    new = fresh[0]
    old = min((*difference.past, *difference.gone), key=lambda one: (abs(one.start - new.start), one.start))
    pair = _Pair(old, new, (old,))
    return replace(
        _change(ChangeKind.MOVED, new, old=old, new=new),
        count=len(fresh),
        whole=not difference.pairs,
        fields=_fields(pair),
    )


def _edits(difference: _Difference, now: datetime) -> list[Change]:
    moved: list[_Pair] = []
    changed: dict[tuple[FieldChange, ...], list[_Pair]] = {}
    for pair in sorted(difference.pairs, key=lambda one: (one.new.end <= now, *_by_start(one.new))):
        if _is_moved(pair):
            moved.append(pair)
        elif pair.new.end > now and not pair.new.declined:
            fields = _fields(pair)
            if fields:
                changed.setdefault(fields, []).append(pair)
    found = []
    if moved:
        found.append(_of_pairs(ChangeKind.MOVED, moved, difference.to_come, fields=_fields(moved[0])))
    for fields, pairs in changed.items():
        found.append(_of_pairs(ChangeKind.CHANGED, pairs, difference.to_come, fields=fields))
    return found


def _answers(difference: _Difference, now: datetime) -> list[Change]:
    """What attendees said, with the meetings of a series that they said it of in one change."""
    said: dict[tuple[str, AnswerKind], tuple[Answer, list[_Pair]]] = {}
    for pair in sorted(difference.pairs, key=lambda one: _by_start(one.new)):
        if pair.new.end > now and _concerns(pair.new):
            for address, answer in _answers_of(pair):
                said.setdefault((address, answer.kind), (answer, []))[1].append(pair)
    together: dict[tuple[str, ...], tuple[list[Answer], list[_Pair]]] = {}
    for answer, pairs in said.values():
        keys = tuple(pair.new.recurrence_id for pair in pairs)
        together.setdefault(keys, ([], pairs))[0].append(answer)
    return [
        replace(_of_pairs(ChangeKind.ANSWERED, pairs, difference.to_come), answers=tuple(answers[:MAX_ANSWERS]))
        for answers, pairs in together.values()
    ]


def _answers_of(pair: _Pair) -> list[tuple[str, Answer]]:
    organizer = pair.new.organizer.address if pair.new.organizer else ""
    before = [_people(one) for one in pair.shown]
    old, new = _people(pair.old), _people(pair.new)
    found = []
    for address, person in {**old, **new}.items():
        if person.own or address == organizer or person.kind not in PEOPLE:
            continue
        kind = _answer_kind(old.get(address), new.get(address))
        now_shown = new[address].partstat if address in new else None
        seen = [people[address].partstat if address in people else None for people in before]
        if kind is not None and now_shown not in seen:
            found.append((address, Answer((person.name or person.address)[:MAX_TEXT_CHARS], kind)))
    return found


def _answer_kind(old: Attendee | None, new: Attendee | None) -> AnswerKind | None:
    """What happened between two states of an attendee, None for nothing that is told.

    An answer that is open again is none: programs reset the answers of all when they move a meeting.
    """
    if new is None:
        return AnswerKind.REMOVED
    if old is not None and old.partstat == new.partstat:
        return None
    if new.partstat in {
        kind.value.upper() for kind in (AnswerKind.ACCEPTED, AnswerKind.DECLINED, AnswerKind.TENTATIVE)
    }:
        return AnswerKind(new.partstat.lower())
    return AnswerKind.INVITED if old is None and new.partstat == NEEDS_ACTION else None


def _concerns(occurrence: Occurrence) -> bool:
    """Whether others' answers are the person's business: they organise the meeting, or attend it and have not declined."""
    organises = occurrence.organizer is not None and occurrence.organizer.own
    return organises or (bool(occurrence.own_partstat) and not occurrence.declined)


def _people(occurrence: Occurrence) -> dict[str, Attendee]:
    return {person.address: person for person in occurrence.attendees}


def _is_moved(pair: _Pair) -> bool:
    return Slot.of(pair.new).identity not in {Slot.of(one).identity for one in (pair.old, *pair.shown)}


def _fields(pair: _Pair) -> tuple[FieldChange, ...]:
    """What is told of a changed content: only what nobody could see before, in whatever copy."""
    found = []
    for name, read, limit in _READ:
        new = read(pair.new)
        if new not in {read(one) for one in (pair.old, *pair.shown)}:
            told = name != "description"
            found.append(FieldChange(name, read(pair.old)[:limit] if told else "", new[:limit] if told else ""))
    return tuple(found)


def _plain(text: str) -> str:
    """Without differences in white space, which servers make by themselves."""
    return _WHITESPACE.sub(" ", text).strip()


_READ = (
    ("title", lambda one: _plain(one.title), MAX_TEXT_CHARS),
    ("place", lambda one: _plain(one.place), MAX_TEXT_CHARS),
    ("link", lambda one: (one.conference_url or one.link).strip(), MAX_URL_CHARS),
    ("description", lambda one: _plain(one.description), 0),
)


def _of_pairs(
    kind: ChangeKind, pairs: Sequence[_Pair], to_come: int, *, fields: tuple[FieldChange, ...] = ()
) -> Change:
    first = pairs[0]
    return replace(
        _change(kind, first.new, old=first.old, new=first.new),
        count=len(pairs),
        whole=len(pairs) >= to_come,
        fields=fields,
    )


def _change(kind: ChangeKind, one: Occurrence, *, old: Occurrence | None, new: Occurrence | None) -> Change:
    return Change(
        kind=kind,
        uid=one.uid,
        recurrence_id=one.recurrence_id,
        title=_plain(one.title)[:MAX_TEXT_CHARS],
        old=Slot.of(old) if old else None,
        new=Slot.of(new) if new else None,
        series=bool(one.recurrence_id),
        place=_plain(one.place)[:MAX_TEXT_CHARS],
        url=one.conference_url[:MAX_URL_CHARS],
    )


def _version(one: Occurrence) -> tuple[int, datetime]:
    return (one.sequence, one.stamp or datetime.min.replace(tzinfo=UTC))


def _by_start(one: Occurrence) -> tuple[datetime, str]:
    return (one.start, one.recurrence_id)
