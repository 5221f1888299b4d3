"""Adding, moving and cancelling a meeting over CalDAV, as a person's calendar program would (PUT, RFC 4791 section 5.3.2)."""

from __future__ import annotations

import base64
import urllib.error
import urllib.request
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlsplit

from icalendar import Calendar, Event

from sandbox.caldav.ics import ANNA, BORIS, Attendee, calendar_bytes, event

TIMEOUT_S = 10.0
_QUERY = (
    b'<?xml version="1.0"?><C:calendar-query xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav"><D:prop><D:getetag/>'
    b'<C:calendar-data/></D:prop><C:filter><C:comp-filter name="VCALENDAR"><C:comp-filter name="VEVENT"/></C:comp-filter>'
    b"</C:filter></C:calendar-query>"
)


class CalendarRefusedError(Exception):
    """The CalDAV server did not do it; the message says what it answered, or that it could not be reached."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """A meeting as it stands on the server. `start` and `end` are UTC, or dates for a whole day."""

    user: str
    calendar: str
    uid: str
    summary: str
    start: datetime | date
    end: datetime | date
    status: str
    is_series: bool


class CalendarDesk:
    """Calls a CalDAV server with one password for all people; Xandikos takes any user and needs no password."""

    def __init__(self, url: str, password: str, *, path: str = "{user}/{calendar}") -> None:
        self._url = url.rstrip("/")
        self._password = password
        self._path = path

    def add(
        self,
        user: str,
        summary: str,
        start: datetime,
        *,
        minutes: int = 30,
        calendar: str = "work",
        attendees: Iterable[Attendee] = (ANNA, BORIS),
        link: str = "https://telemost.example.org/j/20000000002",
        now: datetime | None = None,
    ) -> Meeting:
        """Put a new meeting into a person's calendar; `start` is aware."""
        now, start = now or datetime.now(UTC), start.astimezone(UTC)
        uid = f"{uuid.uuid4()}"
        people = tuple(attendees)
        made = event(
            uid,
            summary,
            start,
            start + timedelta(minutes=minutes),
            now=now,
            attendees=people,
            organizer=next(iter(people), None),
            **({"x_telemost_conference": link} if link else {}),
        )
        self._put(user, calendar, uid, calendar_bytes(made), {"If-None-Match": "*"})
        return Meeting(
            user, calendar, uid, summary, start, start + timedelta(minutes=minutes), "CONFIRMED", is_series=False
        )

    def move(
        self, user: str, uid: str, start: datetime, *, calendar: str = "work", now: datetime | None = None
    ) -> None:
        """Give a meeting another start and keep its length; a series is refused (CalendarRefusedError)."""
        kept, etag = self._get(user, calendar, uid)
        if any("RRULE" in one for one in kept.events):
            raise CalendarRefusedError("a series cannot be moved here; move a single meeting")
        for one in kept.events:
            length = one.end - one.start
            for name in ("DTSTART", "DTEND", "DURATION"):
                one.pop(name, None)
            one.add("dtstart", start.astimezone(UTC))
            one.add("dtend", start.astimezone(UTC) + length)
            _count_change(one, now or datetime.now(UTC))
        self._put(user, calendar, uid, bytes(kept.to_ical()), {"If-Match": etag})

    def cancel(self, user: str, uid: str, *, calendar: str = "work", now: datetime | None = None) -> None:
        """Mark a meeting as cancelled; it stays in the calendar, as invitations do."""
        kept, etag = self._get(user, calendar, uid)
        for one in kept.events:
            one.pop("STATUS", None)
            one.add("status", "CANCELLED")
            _count_change(one, now or datetime.now(UTC))
        self._put(user, calendar, uid, bytes(kept.to_ical()), {"If-Match": etag})

    def delete(self, user: str, uid: str, *, calendar: str = "work") -> None:
        """Remove the object from the calendar."""
        self._send("DELETE", user, self._href(user, calendar, uid))

    def meetings(self, user: str, calendar: str = "work") -> list[Meeting]:
        """Every object of a calendar, by start; a series is shown by its first meeting."""
        body, _ = self._send(
            "REPORT", user, self._href(user, calendar), _QUERY, {"Depth": "1", "Content-Type": "text/xml"}
        )
        found = []
        for data in ET.fromstring(body).iter("{urn:ietf:params:xml:ns:caldav}calendar-data"):  # noqa: S314 - our own server
            parsed = Calendar.from_ical(data.text or "")
            master = next(iter(parsed.events), None) if isinstance(parsed, Calendar) else None
            if master is not None:
                found.append(_meeting(user, calendar, master))
        return sorted(found, key=lambda meeting: meeting.start.isoformat())

    def _get(self, user: str, calendar: str, uid: str) -> tuple[Calendar, str]:
        body, etag = self._send("GET", user, self._href(user, calendar, uid))
        parsed = Calendar.from_ical(body)
        if not isinstance(parsed, Calendar):
            raise CalendarRefusedError(f"{uid} is not a calendar object")
        return parsed, etag

    def _put(self, user: str, calendar: str, uid: str, body: bytes, headers: dict[str, str]) -> None:
        self._send("PUT", user, self._href(user, calendar, uid), body, {"Content-Type": "text/calendar", **headers})

    def _href(self, user: str, calendar: str, uid: str = "") -> str:
        home = self._path.format(user=quote(user, safe=""), calendar=quote(calendar, safe=""))
        return f"{self._url}/{home}/{quote(uid, safe='')}{'.ics' if uid else ''}"

    def _send(
        self, method: str, user: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[bytes, str]:
        credentials = base64.b64encode(f"{user}:{self._password}".encode()).decode()
        request = urllib.request.Request(  # noqa: S310 - the address is ours
            url, data=body, method=method, headers={"Authorization": f"Basic {credentials}", **(headers or {})}
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310
                return response.read(), response.headers.get("ETag", "")
        except urllib.error.HTTPError as answer:
            with answer:
                raise CalendarRefusedError(f"{method} {urlsplit(url).path}: {answer.code} {answer.reason}") from None
        except OSError as failure:
            raise CalendarRefusedError(f"{method} {urlsplit(url).path}: {failure}") from None


def _count_change(one: Event, now: datetime) -> None:
    sequence = int(one.get("SEQUENCE", 0)) + 1
    for name in ("SEQUENCE", "LAST-MODIFIED", "DTSTAMP"):
        one.pop(name, None)
    one.add("sequence", sequence)
    one.add("last-modified", now.astimezone(UTC))
    one.add("dtstamp", now.astimezone(UTC))


def _meeting(user: str, calendar: str, one: Event) -> Meeting:
    start, end = (moment.astimezone(UTC) if isinstance(moment, datetime) else moment for moment in (one.start, one.end))
    status = str(one.get("STATUS", "CONFIRMED"))
    return Meeting(user, calendar, str(one["UID"]), str(one.get("SUMMARY", "")), start, end, status, "RRULE" in one)
