"""What one meeting at one time looks like, and its form in the `details` column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.wall_clock import same_wall_time, start_of_day

DECLINED = "DECLINED"
NEEDS_ACTION = "NEEDS-ACTION"
CANCELLED = "CANCELLED"

PEOPLE = frozenset({"INDIVIDUAL", "UNKNOWN", ""})
"""The CUTYPE values that mean a human (RFC 5545 3.2.3); rooms, resources and groups do not answer for themselves."""
_TIME_KEY = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Attendee:
    """One ATTENDEE or the ORGANIZER.

    `address` is lower-cased and without `mailto:`; `partstat`, `role` and `kind` (CUTYPE) are upper-cased with the
    defaults of RFC 5545 3.2. `own` marks the person whose calendar this is.
    """

    address: str
    name: str = ""
    partstat: str = NEEDS_ACTION
    role: str = "REQ-PARTICIPANT"
    kind: str = "INDIVIDUAL"
    own: bool = False

    @property
    def unanswered(self) -> bool:
        """Whether a human was asked and has not answered."""
        return self.partstat == NEEDS_ACTION and self.role != "NON-PARTICIPANT" and self.kind in PEOPLE

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON scalars; `from_json` reads it back to an equal value."""
        return {
            "address": self.address,
            "name": self.name,
            "partstat": self.partstat,
            "role": self.role,
            "kind": self.kind,
            "own": self.own,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Attendee:
        """The attendee that `to_json` wrote."""
        return _attendee(data["address"], data["name"], data["partstat"], data["role"], data["kind"], data["own"])


@lru_cache(maxsize=4_096)  # the same people sit in the thousand meetings of a list
def _attendee(address: str, name: str, partstat: str, role: str, kind: str, own: bool) -> Attendee:
    return Attendee(address=address, name=name, partstat=partstat, role=role, kind=kind, own=own)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One meeting at one time.

    `uid` and `recurrence_id` name it inside a calendar whatever zone the organiser writes in: `recurrence_id` is '' for a
    meeting that does not repeat, else the original start as `20260301T090000Z` (UTC) or `20260301` (all-day).
    `start` and `end` are aware UTC. For an all-day meeting they are the midnights of the user's zone, and `start_date` and
    `end_date` (exclusive) are the dates as written; otherwise both dates are None. `zone` is the user's for a meeting that
    follows it (an all-day one, or one whose times name no zone), otherwise ''.
    `conference_url` is the best link to join by, `link` the URL property alone. `recurrence` is the RRULE text or ''.
    `own_partstat` is '' where the user is not among the attendees.
    """

    uid: str
    recurrence_id: str
    start: datetime
    end: datetime
    all_day: bool = False
    start_date: date | None = None
    end_date: date | None = None
    zone: str = ""
    title: str = ""
    place: str = ""
    conference_url: str = ""
    link: str = ""
    description: str = ""
    organizer: Attendee | None = None
    attendees: tuple[Attendee, ...] = ()
    status: str = ""
    transparent: bool = False
    own_partstat: str = ""
    recurrence: str = ""
    sequence: int = 0
    stamp: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(UID, RECURRENCE-ID in UTC): the identity inside one calendar, unchanged when the meeting is moved."""
        return (self.uid, self.recurrence_id)

    @property
    def declined(self) -> bool:
        """Whether the user said no: kept in the store, left out of agendas and reminders."""
        return self.own_partstat == DECLINED

    @property
    def cancelled(self) -> bool:
        """Whether the organiser called it off."""
        return self.status == CANCELLED

    @property
    def unanswered(self) -> tuple[Attendee, ...]:
        """The humans who were asked and have not answered, in the order of the invitation."""
        return tuple(attendee for attendee in self.attendees if attendee.unanswered)

    def read_in(self, zone: ZoneInfo) -> Occurrence:
        """The meeting as its user reads it in `zone`: one that follows the user keeps its wall times and days."""
        if self.zone in ("", zone.key):
            return self
        if self.start_date is not None and self.end_date is not None:
            start, end = start_of_day(self.start_date, zone), start_of_day(self.end_date, zone)
            return replace(self, start=start, end=end, zone=zone.key)
        old = ZoneInfo(self.zone)
        key = self.recurrence_id
        if key.endswith("Z"):
            original = datetime.strptime(key, _TIME_KEY).replace(tzinfo=UTC)
            key = same_wall_time(original, old, zone).strftime(_TIME_KEY)
        start, end = same_wall_time(self.start, old, zone), same_wall_time(self.end, old, zone)
        return replace(self, recurrence_id=key, start=start, end=end, zone=zone.key)

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values for the `details` column; times are ISO 8601 with offset, dates ISO 8601."""
        return {
            "uid": self.uid,
            "recurrence_id": self.recurrence_id,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "all_day": self.all_day,
            "start_date": self.start_date.isoformat() if self.start_date else None,
            "end_date": self.end_date.isoformat() if self.end_date else None,
            "zone": self.zone,
            "title": self.title,
            "place": self.place,
            "conference_url": self.conference_url,
            "link": self.link,
            "description": self.description,
            "organizer": self.organizer.to_json() if self.organizer else None,
            "attendees": [attendee.to_json() for attendee in self.attendees],
            "status": self.status,
            "transparent": self.transparent,
            "own_partstat": self.own_partstat,
            "recurrence": self.recurrence,
            "sequence": self.sequence,
            "stamp": self.stamp.isoformat() if self.stamp else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Occurrence:
        """The occurrence that `to_json` wrote."""
        return cls(
            uid=data["uid"],
            recurrence_id=data["recurrence_id"],
            start=datetime.fromisoformat(data["start"]),
            end=datetime.fromisoformat(data["end"]),
            all_day=data["all_day"],
            start_date=date.fromisoformat(data["start_date"]) if data["start_date"] else None,
            end_date=date.fromisoformat(data["end_date"]) if data["end_date"] else None,
            zone=data.get("zone", ""),  # rows that an earlier version wrote have none
            title=data["title"],
            place=data["place"],
            conference_url=data["conference_url"],
            link=data["link"],
            description=data["description"],
            organizer=Attendee.from_json(data["organizer"]) if data["organizer"] else None,
            attendees=tuple(Attendee.from_json(attendee) for attendee in data["attendees"]),
            status=data["status"],
            transparent=data["transparent"],
            own_partstat=data["own_partstat"],
            recurrence=data["recurrence"],
            sequence=data["sequence"],
            stamp=datetime.fromisoformat(data["stamp"]) if data["stamp"] else None,
        )
