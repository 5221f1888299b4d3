"""Big calendars for benchmarks, written as files: nine of ten meetings single, one a weekly series with exceptions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sandbox.caldav.storage import make_calendar

FIRST = datetime(2026, 11, 2, 6, 0, tzinfo=UTC)
_PEOPLE = ("anna", "boris", "clara", "dmitry", "elena")
_DESCRIPTION = (
    "Agenda: what was done, what is next, what is in the way. Notes are kept in the shared folder of the team. " * 3
)


def seed_objects(
    folder: Path, count: int, *, user: str = "anna", calendar: str = "big", first: datetime = FIRST
) -> Path:
    """Write `count` meetings of about 1.2 kB into a Radicale data folder; returns the calendar's folder.

    Names are `seed-N.ics`, UIDs `seed-N`; meetings spread over a year from `first`. About a second for 5,000.
    """
    home = make_calendar(folder, user, calendar, calendar.title())
    for number in range(count):
        (home / f"seed-{number}.ics").write_bytes(seed_object(number, first))
    return home


def seed_xandikos(folder: Path, count: int, *, calendar: str = "big", first: datetime = FIRST) -> Path:
    """The same for Xandikos: files and one commit in `user/calendars/CALENDAR`."""
    # Development requirements, not there in production.
    from dulwich.index import index_entry_from_stat  # noqa: PLC0415
    from dulwich.objects import Blob  # noqa: PLC0415
    from xandikos.store.git import TreeGitStore  # noqa: PLC0415

    home = folder / "user" / "calendars" / calendar
    home.parent.mkdir(parents=True, exist_ok=True)
    store = TreeGitStore.create(str(home))  # type: ignore[no-untyped-call]
    store.set_type("calendar")
    index = store.repo.open_index()
    blobs = []
    for number in range(count):
        name = f"seed-{number}.ics"
        blob = Blob.from_string(seed_object(number, first))
        (home / name).write_bytes(blob.data)
        index[name.encode()] = index_entry_from_stat((home / name).stat(), blob.id)
        blobs.append((blob, None))
    # One pack: staging file by file would write as many loose objects, and take seven times as long.
    store.repo.object_store.add_objects(blobs)
    index.write()
    author = b"sandbox <sandbox@example.org>"
    store.repo.get_worktree().commit(message=b"Seed", author=author, committer=author)
    store.repo.close()
    return home


def seed_object(number: int, first: datetime = FIRST) -> bytes:
    """Meeting `number`: every tenth is a weekly series of 52 with one date left out and one moved."""
    start = first + timedelta(days=number % 365, minutes=15 * (number % 36))
    if number % 10:
        return _calendar(_event(number, start, ""))
    skipped, moved = start + timedelta(weeks=3), start + timedelta(weeks=5)
    rule = f"RRULE:FREQ=WEEKLY;COUNT=52\r\nEXDATE:{skipped:%Y%m%dT%H%M%SZ}\r\n"
    override = _event(number, moved + timedelta(hours=1), f"RECURRENCE-ID:{moved:%Y%m%dT%H%M%SZ}\r\n", words="")
    return _calendar(_event(number, start, rule, words="") + override)


def _event(number: int, start: datetime, extra: str, words: str = _DESCRIPTION) -> str:
    attendees = "".join(
        f"ATTENDEE;CN={name.title()};PARTSTAT=ACCEPTED;ROLE=REQ-PARTICIPANT:\r\n mailto:{name}@example.org\r\n"
        for name in _PEOPLE
    )
    text = f"DESCRIPTION:{words}".rstrip()
    folded = "\r\n ".join(text[at : at + 70] for at in range(0, len(text), 70))
    return (
        f"BEGIN:VEVENT\r\nUID:seed-{number}\r\nDTSTAMP:20261101T000000Z\r\n"
        f"DTSTART:{start:%Y%m%dT%H%M%SZ}\r\nDTEND:{start + timedelta(minutes=30):%Y%m%dT%H%M%SZ}\r\n"
        f"{extra}SUMMARY:Meeting {number}\r\n{folded}\r\nORGANIZER;CN=Anna:mailto:anna@example.org\r\n{attendees}"
        f"URL:https://meet.example.org/{number}\r\nEND:VEVENT\r\n"
    )


def _calendar(events: str) -> bytes:
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Switchboard//Seed//EN\r\n{events}END:VCALENDAR\r\n".encode()
