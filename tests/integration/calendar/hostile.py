"""Broken and hostile calendar objects, each with what becomes of it: from programs that err, and from people who mean harm.

Times are around `household.NOW`. What a series may cost and how each value is read is proven in tests/unit/domain.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from switchboard.domain.calendar.expansion import MAX_OCCURRENCES
from tests.integration.calendar.household import NOW, ics

START = "DTSTART:20260303T100000Z"
RULED = f"{START}\nRRULE:"


class Fate(enum.Enum):
    """What a poll and the expansion make of an object."""

    LEFT_OUT = "a problem is noted and nothing is shown"
    MENDED = "a problem is noted and what could be read is shown"
    READ = "it is shown, and there is nothing to say"
    EMPTY = "it holds no meeting of these weeks, and there is nothing to say"


@dataclass(frozen=True)
class Hostile:
    """`count` is how many of its meetings are shown; None: some, and never more than the limit of one object."""

    raw: bytes
    fate: Fate
    count: int | None = None


def catalogue() -> dict[str, Hostile]:
    """Every object by a name that says what is wrong with it. The UID of a readable one is its name."""
    made: dict[str, Hostile] = {}
    for fate, objects in _by_fate().items():
        for name, make in objects.items():
            raw = make(name) if callable(make) else make
            made[name] = Hostile(raw if isinstance(raw, bytes) else ics(f"UID:{name}\n{raw}"), fate, _COUNTS.get(name))
    return made


Maker = str | bytes | Callable[[str], bytes | str]


def _by_fate() -> Mapping[Fate, Mapping[str, Maker]]:
    return {
        Fate.LEFT_OUT: {**_NO_CALENDAR, **_UNREADABLE},
        Fate.MENDED: {**_MENDED, **_TOO_MUCH, **_HOSTILE_RULES},
        Fate.READ: {**_STRANGE, **_WORDS},
        Fate.EMPTY: {**_EMPTY},
    }


def _event(name: str, *lines: str) -> bytes:
    return ics(f"UID:{name}\n{START}\nDURATION:PT1H\nSUMMARY:Встреча\n" + "\n".join(lines))


def _dates(count: int, *, step: timedelta = timedelta(minutes=15), first: datetime = NOW) -> Iterator[str]:
    return (f"{first + step * number:%Y%m%dT%H%M%SZ}" for number in range(count))


def _series_of(name: str, others: Iterable[str], rule: str = "FREQ=HOURLY") -> bytes:
    return ics(f"UID:{name}\n{RULED}{rule}", *others)


_NO_CALENDAR: dict[str, Maker] = {
    "a sign-in page": b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>",
    "a sign-in page in latin-1": "<html><body>Café: veuillez vous connecter</body></html>".encode("latin-1"),
    "json": b'{"events": [{"uid": "a", "start": "2026-03-03T10:00:00Z"}]}',
    "a vcard": b"BEGIN:VCARD\nVERSION:4.0\nFN:Anna\nEND:VCARD\n",
    "nothing": b"",
    "spaces": b" \n\t\n ",
    "zeros": bytes(10_000),
    "random bytes": bytes((number * 7919 + number // 13) % 256 for number in range(20_000)),
    "a calendar without components": b"BEGIN:VCALENDAR\nVERSION:2.0\nEND:VCALENDAR\n",
    "only a time zone": b"BEGIN:VCALENDAR\nBEGIN:VTIMEZONE\nTZID:X\nEND:VTIMEZONE\nEND:VCALENDAR\n",
    "begins without ends": b"BEGIN:VCALENDAR\n" + b"BEGIN:VEVENT\n" * 20_000,
    "ends without begins": b"END:VEVENT\nEND:VCALENDAR\n" * 5_000,
    "deep nesting": b"BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + b"BEGIN:VALARM\n" * 50_000,
    "one line of a megabyte": b"X" * 1_000_000,
    "a million line ends": b"\n" * 1_000_000,
    "a million folds": b"BEGIN:VCALENDAR\nDESCRIPTION:x" + b"\n " * 500_000,
    "quoted-printable": lambda name: _event(name).replace(b":", b"=3A").replace(b"\n", b"=0A=\n"),
    "base64": b"QkVHSU46VkNBTEVOREFSCkJFR0lOOlZFVkVOVApVSUQ6YQpFTkQ6VkVWRU5UCg==",
    "an xml bomb": b'<!DOCTYPE a [<!ENTITY b "' + b"b" * 1000 + b'"><!ENTITY c "&b;&b;&b;&b;&b;">]><a>&c;&c;&c;</a>',
}

_UNREADABLE: dict[str, Maker] = {
    "cut in the middle of its event": lambda name: _event(name)[:-40],
    "cut after the first line": b"BEGIN:VCALENDAR\n",
    "an event without uid": lambda _name: ics(START),
    "an event with an empty uid": lambda _name: ics(f"UID:\n{START}"),
    "a uid of 10,000 characters": lambda _name: ics(f"UID:{'u' * 10_000}\n{START}"),
    "a uid of 10,000 emoji": lambda _name: ics(f"UID:{'😀' * 10_000}\n{START}"),
    "no start": "SUMMARY:x",
    "an empty start": "DTSTART:",
    "a start in words": "DTSTART:tomorrow at ten",
    "the 30th of February": "DTSTART:20260230T100000Z",
    "the 25th hour": "DTSTART:20260303T250000Z",
    "the year 9999": "DTSTART:99991231T235959Z\nDURATION:P9D",
    "the year 0": "DTSTART:00000101T000000Z",
    "a year of five digits": "DTSTART:120260303T100000Z",
    "a recurrence id in words": f"RECURRENCE-ID:the second one\n{START}",
    "ten megabytes of description": lambda name: _event(name, "DESCRIPTION:" + "\n ".join(["x" * 74] * 140_000)),
    "five megabytes of title": lambda name: _event(name, "SUMMARY:" + "x" * 5_000_000),
    "six megabytes of attachment": lambda name: _event(
        name, "ATTACH;ENCODING=BASE64;VALUE=BINARY:" + "\n ".join(["A" * 74] * 80_000)
    ),
}

_MENDED: dict[str, Maker] = {
    "latin-1": lambda name: (
        _event(name, "LOCATION:Caf\u00e9").decode().replace("Встреча", "R\u00e9union").encode("latin-1")
    ),
    "windows-1251": lambda name: _event(name).decode().encode("cp1251"),
    "a lone half of a surrogate pair": lambda name: _event(name).replace(b"SUMMARY:", b"SUMMARY:\xed\xa0\xbd"),
    "an overlong utf-8 slash": lambda name: _event(name).replace(b"SUMMARY:", b"SUMMARY:\xc0\xaf"),
    "a second event that is cut": lambda name: _event(name).replace(
        b"END:VCALENDAR", b"BEGIN:VEVENT\nUID:second\n" + START.encode()
    ),
    "an end before the start": f"{START}\nDTEND:20260303T090000Z",
    "an end in words": f"{START}\nDTEND:later",
    "a negative duration": f"{START}\nDURATION:-PT1H",
    "a duration of ages": f"{START}\nDURATION:P999999W",
    "a duration without anything": f"{START}\nDURATION:P",
    "an unknown zone": "DTSTART;TZID=Middle/Earth:20260303T100000",
    "a zone that is a path": "DTSTART;TZID=../../../../etc/passwd:20260303T100000",
    "a zone of 10,000 characters": f"DTSTART;TZID={'Z' * 10_000}:20260303T100000",
    "a zone without rules": lambda name: ics(f"UID:{name}\nDTSTART;TZID=Bare:20260303T100000").replace(
        b"BEGIN:VEVENT", b"BEGIN:VTIMEZONE\nTZID:Bare\nEND:VTIMEZONE\nBEGIN:VEVENT", 1
    ),
    "a zone that names itself": lambda name: _in_zone(
        name,
        "BEGIN:STANDARD\nDTSTART;TZID=Own:19700101T000000\nRRULE:FREQ=SECONDLY\n"
        "TZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n",
    ),
    "zones within zones": lambda name: _in_zone(
        name,
        "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\n"
        + "BEGIN:VTIMEZONE\nTZID:Own\n" * 1_000,
    ),
    "an exdate in words": f"{RULED}FREQ=DAILY;COUNT=2\nEXDATE:never",
    "an rdate in words": f"{START}\nRDATE:x,20260304T100000Z/P99999W,20260304T100000Z/x",
    "an old exclusion rule": f"{RULED}FREQ=DAILY;COUNT=3\nEXRULE:FREQ=DAILY",
    "attendees that cannot be read": f"{START}\nATTENDEE;;=;CN:mailto:x\nATTENDEE",
}

_TOO_MUCH: dict[str, Maker] = {
    "100,000 attendees": lambda name: _event(
        name, *(f"ATTENDEE:mailto:person{number}@example.org" for number in range(100_000))
    ),
    "100,000 excluded dates": lambda name: _series_of(
        f"{name}\n" + "\n".join(f"EXDATE:{date}" for date in _dates(100_000)), ()
    ),
    "100,000 excluded dates in one line": lambda name: _series_of(
        f"{name}\nEXDATE:" + ",".join(_dates(100_000, first=datetime(2020, 1, 1, tzinfo=UTC))), ()
    ),
    "100,000 extra dates": lambda name: ics(f"UID:{name}\n{START}\nRDATE:" + ",".join(_dates(100_000))),
    "100,000 occurrences of many series": lambda name: ics(
        *(f"UID:{name}{number}\n{RULED}FREQ=HOURLY;BYMINUTE=0,15,30,45" for number in range(20))
    ),
    "10,000 overrides": lambda name: _series_of(
        name,
        (
            f"UID:{name}\nRECURRENCE-ID:{date}\nDTSTART:{date}\nSUMMARY:{number}"
            for number, date in enumerate(_dates(10_000, step=timedelta(hours=1)))
        ),
    ),
    "10,000 events": lambda name: ics(
        *(f"UID:{name}{number}\nDTSTART:{date}" for number, date in enumerate(_dates(10_000)))
    ),
}

_HOSTILE_RULES: dict[str, Maker] = {
    "every second": f"{RULED}FREQ=SECONDLY",
    "every minute": f"{RULED}FREQ=MINUTELY;INTERVAL=15",
    "every second in disguise": f"{RULED}FREQ=DAILY;BYHOUR=9,10;BYMINUTE=" + ",".join(map(str, range(60))),
    "interval 0": f"{RULED}FREQ=DAILY;INTERVAL=0",
    "a negative interval": f"{RULED}FREQ=DAILY;INTERVAL=-1",
    "an interval of ages": f"{RULED}FREQ=YEARLY;INTERVAL=999999999",
    "a count of 0": f"{RULED}FREQ=DAILY;COUNT=0",
    "a hundred million hours from long ago": (
        "DTSTART:19500101T000000Z\nRRULE:FREQ=HOURLY;COUNT=100000000\nRDATE:20260303T100000Z"
    ),
    "a frequency that does not exist": f"{RULED}FREQ=SOMETIMES",
    "a rule in words": f"{RULED}every day",
    "an empty rule": f"{RULED}",
    "an end that is no date": f"{RULED}FREQ=DAILY;UNTIL=whenever",
    "positions without end": f"{RULED}FREQ=YEARLY;BYSETPOS=" + ",".join(map(str, range(1, 1_000))),
    "a position 0": f"{RULED}FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0",
    "weekdays without end": f"{RULED}FREQ=WEEKLY;BYDAY=" + ",".join(["MO"] * 2_000),
    "the Chinese calendar": f"{RULED}RSCALE=CHINESE;FREQ=YEARLY",
    "a thousand rules": f"{START}\n" + "RRULE:FREQ=SOMETIMES\n" * 3_000,
}

_STRANGE: dict[str, Maker] = {
    "utf-8 with a mark": lambda name: b"\xef\xbb\xbf" + _event(name),
    "utf-16": lambda name: _event(name).decode().encode("utf-16"),
    "utf-16 big-endian": lambda name: b"\xfe\xff" + _event(name).decode().encode("utf-16-be"),
    "carriage returns alone": lambda name: _event(name).replace(b"\n", b"\r"),
    "zeros in every text": lambda name: _event(name).replace(b"SUMMARY:", b"SUMMARY:\x00\x01\x0b\x1f\x7f"),
    "bells and escapes": lambda name: _event(name, "LOCATION:\x07\x1b[31mred\x1b[0m"),
    "lower case": lambda name: _event(name).lower().replace(name.lower().encode(), name.encode()),
    "a negative count": f"{RULED}FREQ=DAILY;COUNT=-1",
    "a hundred million days": f"{RULED}FREQ=DAILY;COUNT=100000000",
    "a birthday of 1604": "DTSTART;VALUE=DATE:16040307\nRRULE:FREQ=YEARLY",
    "an end in the year 9999": f"{RULED}FREQ=YEARLY;UNTIL=99991231T235959Z",
    "positions from the end": f"{RULED}FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1,-2,-366,1,366",
    "everything at once": f"{RULED}FREQ=YEARLY;BYMONTH=1,2,3,4,5;BYMONTHDAY="
    + ",".join(map(str, range(1, 32)))
    + ";BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=8,9;BYMINUTE=0,30;BYSETPOS="
    + ",".join(map(str, range(1, 367))),
    "a rule on an override": lambda name: ics(
        f"UID:{name}\n{RULED}FREQ=WEEKLY;COUNT=2",
        f"UID:{name}\nRECURRENCE-ID:20260303T100000Z\nDTSTART:20260303T120000Z\nRRULE:FREQ=HOURLY",
    ),
    "a recurrence id without its series": f"RECURRENCE-ID:20260303T100000Z\n{START}",
    "a recurrence id that the series never had": lambda name: ics(
        f"UID:{name}\n{RULED}FREQ=WEEKLY;COUNT=1",
        f"UID:{name}\nRECURRENCE-ID:20260304T110000Z\nDTSTART:20260305T100000Z",
    ),
    "two masters": lambda name: ics(f"UID:{name}\n{START}", f"UID:{name}\n{START}\nSEQUENCE:1"),
    "a zone of thousands of rules": lambda name: _in_zone(
        name,
        "BEGIN:STANDARD\nDTSTART:16010101T000000\nRRULE:FREQ=YEARLY;BYMONTHDAY=31\n"
        "TZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:STANDARD\n" * 4_000,
    ),
    "a property that nobody knows": f'{START}\nX-A;X-B="c:d;e":f\n!!!\n:\n;',
    "a megabyte of description in one line": lambda name: _event(name, "DESCRIPTION:" + "d" * 1_000_000),
    "many attachments": lambda name: _event(name, "ATTACH;ENCODING=BASE64:" + "\n ".join(["A" * 74] * 20_000)),
    "a method": lambda name: _event(name).replace(b"BEGIN:VEVENT", b"METHOD:PUBLISH\nBEGIN:VEVENT", 1),
    "a meeting of ten years": f"{START}\nDURATION:P3660D",
}

_WORDS: dict[str, Maker] = {
    f"words: {text}": f'{START}\nSUMMARY:{text}\nLOCATION:{text}\nORGANIZER;CN="{text}":mailto:x@example.org'
    for text in (
        "@channel @all @here",
        "**bold** _it_ ~~gone~~ `code` # head",
        "[a link](https://evil.example.org) ![i](https://evil.example.org/i.png)",
        "<script>alert(1)</script> </td>]]> &lt;",
        "| a | b |\\n|---|---|\\n| 1 | 2 |",
        "שלום \u202egnp.exe\u202c \u2066x\u2069",
        "😀👩‍👩‍👧‍👦🏳️‍🌈 e" + "\u0301" * 50,
        "%s %d {0} {title} ${HOME} $(id)",
        "'; DROP TABLE calendar_objects; --",
        "line\\none\\n\\n> quote\\n```\\ncode",
    )
}

_EMPTY: dict[str, Maker] = {
    "a task": b"BEGIN:VCALENDAR\nBEGIN:VTODO\nUID:t\nDTSTART:20260303T100000Z\nEND:VTODO\nEND:VCALENDAR\n",
    "an end before its series begins": f"{RULED}FREQ=DAILY;UNTIL=20200101T000000Z\nEXDATE:20260303T100000Z",
    "a day that never comes": "DTSTART:20260101T100000Z\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "a series that excludes all": f"{RULED}FREQ=DAILY;COUNT=2\nEXDATE:20260303T100000Z,20260304T100000Z",
    "a cancelled meeting": f"{START}\nSTATUS:CANCELLED",
}


def _in_zone(name: str, rules: str) -> bytes:
    zone = f"BEGIN:VTIMEZONE\nTZID:Own\n{rules}END:VTIMEZONE\n"
    return ics(f"UID:{name}\nDTSTART;TZID=Own:20260303T100000").replace(
        b"BEGIN:VEVENT", zone.encode() + b"BEGIN:VEVENT", 1
    )


_COUNTS = {
    "100,000 excluded dates": 988,  # of 1,488 hours, 2,000 lines of 15 minutes excluded
    "100,000 extra dates": MAX_OCCURRENCES,
    "100,000 occurrences of many series": MAX_OCCURRENCES,
    "10,000 overrides": 1_488,
    "10,000 events": MAX_OCCURRENCES,
    "every second": 1,
    "every minute": 1,
    "every second in disguise": 1,
    "a hundred million hours from long ago": 1,
    "a hundred million days": 61,
    "everything at once": 119,
    "two masters": 1,
}
