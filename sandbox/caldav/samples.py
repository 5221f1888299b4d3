"""Sample calendars of two people, around the moment they are made: every kind of meeting a newcomer should see handled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from icalendar import Event

from sandbox.caldav.ics import ANNA, BORIS, Attendee, calendar_bytes, event
from sandbox.caldav.storage import is_empty, make_calendar

PEOPLE = ("anna", "boris")
CALENDARS = (("work", "Work", "#3b6fb6"), ("personal", "Personal", "#3f8f5f"))
SOON = timedelta(minutes=11, seconds=59)  # cut to the minute: the reminder of ten minutes is due within two
ZONE = ZoneInfo("Europe/Moscow")
CLARA = Attendee("clara@example.org", "Clara Weiss", "TENTATIVE")
DMITRY = Attendee("dmitry@example.org", "Дмитрий Орлов", "NEEDS-ACTION")


def write_samples(folder: Path, now: datetime, *, meetings: bool = True) -> bool:
    """Write the samples into an empty Radicale data folder; False (and nothing written) when it holds a calendar.

    `now` is aware; the first meeting starts 11 to 12 minutes later, on a whole minute. Without `meetings` the calendars
    are empty.
    """
    if not is_empty(folder):
        return False
    for user in PEOPLE:
        for calendar, title, color in CALENDARS:
            home = make_calendar(folder, user, calendar, title, color)
            for events in _objects(user, calendar, now) if meetings else ():
                uid = str(events[0]["uid"])
                (home / f"{uid}.ics").write_bytes(calendar_bytes(*events))
    return True


def _objects(user: str, calendar: str, now: datetime) -> list[list[Event]]:
    if calendar == "personal":
        return _personal(user, now)
    return [*_shared(now), *(_anna(now) if user == "anna" else _boris(now))]


def _today(now: datetime, hour: int, minute: int = 0, days: int = 0) -> datetime:
    local = now.astimezone(ZONE) + timedelta(days=days)
    return local.replace(hour=hour, minute=minute, second=0, microsecond=0)


def _shared(now: datetime) -> list[list[Event]]:
    """Meetings that stand in both work calendars."""
    soon = (now + SOON).astimezone(UTC).replace(second=0, microsecond=0)
    planning = _today(now, 15)
    return [
        [
            event(
                "sample-soon",
                "Знакомство со Switchboard / Meet Switchboard",
                soon,
                soon + timedelta(minutes=30),
                now=now,
                attendees=(ANNA, BORIS, DMITRY),
                organizer=ANNA,
                description="Starts eleven to twelve minutes after the sandbox first ran.",
                x_telemost_conference="https://telemost.example.org/j/10000000001",
            )
        ],
        [
            event(
                "sample-planning",
                "Planning",
                planning,
                planning + timedelta(hours=1),
                now=now,
                attendees=(ANNA, BORIS, CLARA),
                organizer=BORIS,
                location="https://meet.example.org/planning",
            )
        ],
    ]


def _anna(now: datetime) -> list[list[Event]]:
    design, lunch, dropped = _today(now, 11, 30), _today(now, 13), _today(now, 17)
    invited = (now + SOON + timedelta(minutes=2)).astimezone(UTC).replace(second=0, microsecond=0)
    first = _today(now, 10, days=-14)
    moved = first + timedelta(days=14)
    link = "https://meet.example.org/standup"
    return [
        [
            event(
                "sample-design",
                "Обзор макетов",
                design,
                design + timedelta(minutes=45),
                now=now,
                attendees=(ANNA, CLARA),
                organizer=CLARA,
                conference="https://meet.example.org/design",
            )
        ],
        [
            event(
                "sample-invitation",
                "Приглашение: обсудить итоги",
                invited,
                invited + timedelta(minutes=30),
                now=now,
                attendees=(Attendee(ANNA.address, ANNA.name, "NEEDS-ACTION"), CLARA),
                organizer=CLARA,
                description="Anna has not answered yet: the buttons of the reminder answer.",
            )
        ],
        [
            event(
                "sample-weekly",
                "Планёрка",
                first,
                first + timedelta(minutes=30),
                now=now,
                rrule={"freq": "weekly", "count": 12},
                exdate=[first + timedelta(days=7)],
                attendees=(ANNA, DMITRY),
                organizer=ANNA,
                conference=link,
            ),
            event(
                "sample-weekly",
                "Планёрка (перенесена)",
                moved + timedelta(hours=2),
                moved + timedelta(hours=2, minutes=30),
                now=now,
                recurrence_id=moved,
                attendees=(ANNA, DMITRY),
                organizer=ANNA,
                conference=link,
            ),
        ],
        [
            event(
                "sample-cancelled",
                "Отменённая встреча",
                lunch,
                lunch + timedelta(hours=1),
                now=now,
                status="CANCELLED",
                attendees=(ANNA, DMITRY),
                organizer=DMITRY,
            )
        ],
        [
            event(
                "sample-declined",
                "Встреча, от которой Анна отказалась",
                dropped,
                dropped + timedelta(hours=1),
                now=now,
                attendees=(Attendee(ANNA.address, ANNA.name, "DECLINED"), CLARA),
                organizer=CLARA,
            )
        ],
    ]


def _boris(now: datetime) -> list[list[Event]]:
    interview = _today(now, 12)
    return [
        [
            event(
                "sample-interview",
                "Interview: backend developer",
                interview,
                interview + timedelta(hours=1),
                now=now,
                attendees=(BORIS, CLARA),
                organizer=BORIS,
                description="Join: https://meet.example.org/interview",
            )
        ]
    ]


def _personal(user: str, now: datetime) -> list[list[Event]]:
    day = now.astimezone(ZONE).date()
    evening = _today(now, 19, 30)
    words = ("День рождения брата", "Йога") if user == "anna" else ("Sister's birthday", "Football")
    return [
        [event(f"sample-day-{user}", words[0], day, day + timedelta(days=1), now=now, transp="TRANSPARENT")],
        [event(f"sample-evening-{user}", words[1], evening, evening + timedelta(minutes=90), now=now)],
    ]
