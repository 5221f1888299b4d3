"""Calendar servers by name: how Yandex, Google, iCloud, Nextcloud, Fastmail, Radicale and Xandikos are laid out, and quirks.

Nothing here was seen on the live services: it is what documentation and issue trackers say of them (the sources stand at the
quirks and in docs/explanation/time-and-calendars.md). The names of hosts are reserved ones (RFC 6761); a client reaches them
through a resolver that answers with loopback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sandbox.caldav.faulty import FaultyServer, Layout, Quirks, running_faulty

_STAMP = re.compile(rb"^(DTSTAMP|LAST-MODIFIED):[^\r\n]*", re.MULTILINE)
_SEQUENCE = re.compile(rb"^SEQUENCE:(\d+)", re.MULTILINE)


def _as_it_is(raw: bytes) -> bytes:
    return raw


def _as_published(raw: bytes) -> bytes:
    """Yandex serves stored objects as iTIP messages (Nextcloud tasks issue 1537 shows a dump)."""
    return raw.replace(b"VERSION:2.0\r\n", b"VERSION:2.0\r\nMETHOD:PUBLISH\r\n", 1)


def _as_touched(raw: bytes) -> bytes:
    """What Yandex does to objects that nobody changed: new stamps, and a SEQUENCE one higher."""
    raw = _STAMP.sub(rb"\1:20261121T083000Z", raw)
    if not _SEQUENCE.search(raw):
        return raw.replace(b"END:VEVENT", b"SEQUENCE:1\r\nLAST-MODIFIED:20261121T083000Z\r\nEND:VEVENT")
    return _SEQUENCE.sub(lambda match: b"SEQUENCE:%d" % (int(match[1]) + 1), raw)


@dataclass(frozen=True, slots=True)
class KnownServer:
    """`writes` is how it stores an object, `touches` what becomes of one that it touches by itself, with a new ETag."""

    name: str
    layout: Layout
    quirks: Callable[[], Quirks]
    writes: Callable[[bytes], bytes] = _as_it_is
    touches: Callable[[bytes], bytes] = _as_it_is

    def put(self, server: FaultyServer, name: str, raw: bytes) -> str:
        """Store an object as this server does; its href."""
        return server.put(name, self.writes(raw))

    def touch_all(self, server: FaultyServer) -> None:
        """Touch every object of the first calendar."""
        for href, (_, raw) in list(server.objects.items()):
            server.touch(href.removeprefix(server.calendar), self.touches(raw))


@contextmanager
def running_known(known: KnownServer) -> Iterator[FaultyServer]:
    """The server on loopback until the block ends, empty."""
    with running_faulty(known.layout) as server:
        server.quirks = known.quirks()
        yield server


_YANDEX_HOME = "/calendars/anna%40example.ru/"
YANDEX = KnownServer(
    "yandex",
    Layout(
        login="anna@example.ru",
        principal="/principals/users/anna%40example.ru/",
        home=_YANDEX_HOME,
        calendars=((_YANDEX_HOME + "events-default/", "My events"), (_YANDEX_HOME + "events-27560559/", "Team")),
        tasks=_YANDEX_HOME + "todos-7654321/",
        others=((_YANDEX_HOME + "inbox/", "<c:schedule-inbox/>"), (_YANDEX_HOME + "outbox/", "<c:schedule-outbox/>")),
        hosts=("caldav.yandex.test",),
    ),
    lambda: Quirks(page_size=200, ignores_filters=True, unquotes=True, shuffles=True, freebusy_status=504),
    writes=_as_published,
    touches=_as_touched,
)

_GOOGLE_HOME = "/caldav/v2/anna%40gmail.test/"
GOOGLE = KnownServer(
    "google",
    Layout(
        login="anna@gmail.test",
        principal=_GOOGLE_HOME + "user/",
        home=_GOOGLE_HOME,
        calendars=((_GOOGLE_HOME + "events/", "Anna"),),
        tasks=_GOOGLE_HOME + "tasks/",
        others=((_GOOGLE_HOME + "inbox/", "<c:schedule-inbox/>"),),
        hosts=("apidata.google.test",),
    ),
    # Net-DAVTalk 0.26: pages of about 230; the CalDAV guide: no free-busy, no precondition but If-Match
    lambda: Quirks(page_size=230, only_if_match=True, freebusy_status=403),
)

ICLOUD = KnownServer(
    "icloud",
    Layout(
        login="anna@icloud.test",
        principal="/1234567/principal/",
        home="/1234567/calendars/",
        calendars=(("/1234567/calendars/home/", "Home"),),
        tasks="/1234567/calendars/tasks/",
        others=(("/1234567/calendars/inbox/", "<c:schedule-inbox/>"),),
        hosts=("caldav.icloud.test", "p42-caldav.icloud.test"),
    ),
    lambda: Quirks(lists_itself=True, freebusy_status=400),
)

_NEXTCLOUD_HOME = "/remote.php/dav/calendars/anna/"
NEXTCLOUD = KnownServer(
    "nextcloud",
    Layout(
        principal="/remote.php/dav/principals/users/anna/",
        home=_NEXTCLOUD_HOME,
        calendars=((_NEXTCLOUD_HOME + "personal/", "Personal"),),
        tasks=_NEXTCLOUD_HOME + "tasks/",
        others=((_NEXTCLOUD_HOME + "inbox/", "<c:schedule-inbox/>"),),
        hosts=("cloud.nextcloud.test",),
    ),
    lambda: Quirks(teapot_after_deletion=True, keeps_deleted=True),
)

_FASTMAIL_HOME = "/dav/calendars/user/anna@fastmail.test/"
FASTMAIL = KnownServer(
    "fastmail",
    Layout(
        login="anna@fastmail.test",
        principal="/dav/principals/user/anna@fastmail.test/",
        home=_FASTMAIL_HOME,
        calendars=((_FASTMAIL_HOME + "2c5b7a1e-64a1-4c0c-93d6-5f3b6f8f3c11/", "Calendar"),),
        tasks=_FASTMAIL_HOME + "Tasks/",
        others=((_FASTMAIL_HOME + "Inbox/", "<c:schedule-inbox/>"),),
        hosts=("caldav.fastmail.test",),
    ),
    lambda: Quirks(refuses_odd_rules=True),
)

RADICALE = KnownServer(
    "radicale",
    Layout(
        principal="/anna/",
        home="/anna/",
        calendars=(("/anna/work/", "Work"),),
        tasks="/anna/todo/",
        others=(("/anna/contacts/", "<x:addressbook xmlns:x='urn:ietf:params:xml:ns:carddav'/>"),),
        hosts=("radicale.test",),
    ),
    lambda: Quirks(lists_removed=True, expired_status=403),
)

XANDIKOS = KnownServer(
    "xandikos",
    Layout(
        principal="/user/",
        home="/user/calendars/",
        calendars=(("/user/calendars/calendar/", "calendar"),),
        tasks="/user/calendars/todo/",
        others=(("/user/calendars/inbox/", "<c:schedule-inbox/>"),),
        hosts=("xandikos.test",),
    ),
    lambda: Quirks(obeys_limit_silently=True, expired_status=412),
)

ALL = (YANDEX, GOOGLE, ICLOUD, NEXTCLOUD, FASTMAIL, RADICALE, XANDIKOS)
