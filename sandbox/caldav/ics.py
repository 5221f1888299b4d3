"""One meeting as an iCalendar object (RFC 5545)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from icalendar import Calendar, Event, vCalAddress, vText


@dataclass(frozen=True, slots=True)
class Attendee:
    address: str
    name: str
    partstat: str = "ACCEPTED"


ANNA = Attendee("anna@example.org", "Анна Иванова")
BORIS = Attendee("boris@example.org", "Boris Novak")


def event(
    uid: str,
    summary: str,
    start: datetime | date,
    end: datetime | date,
    *,
    now: datetime,
    attendees: Iterable[Attendee] = (),
    organizer: Attendee | None = None,
    **properties: Any,
) -> Event:
    """A VEVENT; `properties` are further ones by name, with `_` for `-` (`recurrence_id=...`, `x_telemost_conference=...`)."""
    made = Event()
    made.add("uid", uid)
    made.add("dtstamp", now.astimezone(UTC))
    made.add("created", now.astimezone(UTC))
    made.add("last-modified", now.astimezone(UTC))
    made.add("summary", summary)
    made.add("dtstart", start)
    made.add("dtend", end)
    for name, value in properties.items():
        made.add(name.replace("_", "-"), value)
    if organizer is not None:
        made.add("organizer", _address(organizer))
    for attendee in attendees:
        address = _address(attendee)
        address.params["PARTSTAT"] = vText(attendee.partstat)
        address.params["ROLE"] = vText("REQ-PARTICIPANT")
        made.add("attendee", address)
    return made


def _address(person: Attendee) -> vCalAddress:
    address = vCalAddress(f"mailto:{person.address}")
    address.params["CN"] = vText(person.name)
    return address


def calendar_bytes(*events: Event) -> bytes:
    """The object of one UID: master and overrides, with the time zones they use."""
    calendar = Calendar()
    calendar.add("prodid", "-//Switchboard//Sandbox//EN")
    calendar.add("version", "2.0")
    for one in events:
        calendar.add_component(one)
    calendar.add_missing_timezones()
    return bytes(calendar.to_ical())
