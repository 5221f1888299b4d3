"""A CalDAV server of one person that misbehaves on demand: the quirks of known servers, and plain faults.

Faults of the line (429, 5xx, slow, cut, HTML) come from `sandbox.faults`; what only a CalDAV server can do wrong is a `Quirks`,
and where things lie a `Layout`. Servers with a name are composed of these in `sandbox.caldav.known_servers`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote
from xml.sax.saxutils import escape

from tornado import httpserver, iostream, netutil, web

from sandbox.faults import FaultBook, FaultGate
from sandbox.in_thread import in_thread

LOGIN, PASSWORD = "anna", "right"
PRINCIPAL, HOME, CALENDAR, TASKS = "/principals/anna/", "/home/anna/", "/home/anna/work/", "/home/anna/todo/"
_UNASKED = (
    "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:unasked\nDTSTART:20261124T080000Z\nDTEND:20261124T083000Z\n"
    "SUMMARY:Unasked\nRRULE:FREQ=DAILY\nEND:VEVENT\nEND:VCALENDAR\n"
)
_METHODS = ("GET", "PUT", "PROPFIND", "REPORT", "OPTIONS")
_NAMESPACES = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"'
_VALID_TOKEN = f"<d:error {_NAMESPACES}><d:valid-sync-token/></d:error>"
_VALID_DATA = f"<d:error {_NAMESPACES}><c:valid-calendar-data/></d:error>"
_ODD_RULE = re.compile(rb"^RRULE:(?=.*\b(\w+)=.*;\1=)", re.MULTILINE)
_SUPPORTED = f"<d:error {_NAMESPACES}><d:supported-report/></d:error>"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie: paths as the server spells them in its answers, and the kinds of the collections of the home.

    `put` stores into the first of `calendars`. `hosts` are the names of the entry and of the host with the calendars; with
    two of them neither serves what is the other's.
    """

    login: str = LOGIN
    principal: str = PRINCIPAL
    home: str = HOME
    calendars: tuple[tuple[str, str], ...] = ((CALENDAR, "Work"),)  # path, name
    tasks: str = TASKS
    others: tuple[tuple[str, str], ...] = ((HOME + "inbox/", "<c:schedule-inbox/>"),)  # path, resource type
    hosts: tuple[str, ...] = ("127.0.0.1",)


@dataclass(slots=True)
class Quirks:
    """What the server does otherwise than the RFCs, or than others do. Each names a server known for it."""

    page_size: int = 0  # Yandex, Google: a sync report is cut by 507 after so many members
    endless_pages: bool = False  # the cut page's token is the one that was sent
    lists_itself: bool = False  # iCloud: the calendar is a member of itself
    expired_status: int = 403  # Radicale 403, Xandikos 412, Nextcloud 418, others 410
    expired_says_why: bool = True
    sync_status: int = 0  # a server without sync reports answers so
    forgets_deletions: bool = False  # Nextcloud: a pruned history reports no deletion
    listed_but_gone: set[str] = field(default_factory=set)  # Google: a listed href is 404
    spoils_multiget: dict[str, str] = field(default_factory=dict)  # href to "xml", "500" or "400"
    ignores_filters: bool = False  # Yandex: objects that nobody asked for come along
    unquotes: bool = False  # the answers to a multiget spell `@` what the lists spell `%40`; RFC 3986 makes them one
    shuffles: bool = False  # Yandex: nothing is sorted
    freebusy_status: int = 504  # Yandex 504, iCloud 400, Google 403
    lists_removed: bool = False  # Radicale: the first report names what was removed, as 404
    obeys_limit_silently: bool = False  # Xandikos: a report is cut at DAV:limit, and nothing says so
    teapot_after_deletion: bool = False  # Nextcloud: 418 to a token that is older than a deletion
    keeps_deleted: bool = False  # Nextcloud: what is deleted lies in a bin beside the calendars, with its UID
    refusals_to_block: int = 0  # Nextcloud: after so many wrong passwords 429 for everybody
    busy: list[tuple[int, str]] = field(default_factory=list)  # iCloud: (status, Retry-After) of the next answers
    signed_in_status: int = 0  # Nextcloud 31: 503 for an app password that may not see files
    only_if_match: bool = False  # Google: a precondition other than If-Match is a bad request
    cut_listing: bool = False  # a list of members ends with 507
    wants_digest: bool = False  # Baikal
    body: bytes | None = None  # this instead of every multistatus
    trickle_s: float = 0.0  # a byte of the answer each so often
    endless_body: bool = False
    redirect: str = ""
    refuses_odd_rules: bool = False  # Fastmail: 403 to a PUT whose RRULE repeats a part
    put_status: int = 0  # this to every PUT: 403 for a calendar that may only be read
    edits: list[Callable[[], None]] = field(default_factory=list)  # of somebody else, each just before a PUT
    rewrites: Callable[[bytes], bytes] | None = None  # Yandex: the server stores other bytes than it was given
    gives_no_etag: bool = False  # neither to GET nor to PUT
    calendar_status: int = 0  # 403 or 404 for the calendar, as after a share ended


@dataclass(slots=True)
class FaultyServer:
    """The running twin. Change the calendar by `put`, `delete` and `touch`, its manners by `quirks` and `faults`.

    `home_url` is where the calendars are: `url`, unless the layout has a host of their own, which then has a port of its own.
    """

    layout: Layout = field(default_factory=Layout)
    url: str = ""
    port: int = 0
    home_url: str = ""
    home_port: int = 0
    quirks: Quirks = field(default_factory=Quirks)
    faults: FaultBook = field(default_factory=FaultBook)
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    history: list[tuple[str, bool]] = field(default_factory=list)  # href, removed
    requests: list[str] = field(default_factory=list)
    oldest_token: int = 0
    password: str = PASSWORD
    refused: int = 0

    @property
    def calendar(self) -> str:
        """The path of the first calendar."""
        return self.layout.calendars[0][0]

    @property
    def calendar_url(self) -> str:
        return f"{self.home_url}{self.calendar}"

    def put(self, name: str, raw: bytes) -> str:
        """Store an object as a client would; returns its href."""
        href = self.calendar + name
        self.history.append((href, False))
        self.objects[href] = (f'"{len(self.history)}"', raw)
        return href

    def touch(self, name: str, raw: bytes | None = None) -> None:
        """Give an object a new ETag (and new bytes) although nobody changed it, as Yandex does."""
        self.put(name, raw or self.objects[self.calendar + name][1])

    def delete(self, name: str) -> None:
        href = self.calendar + name
        del self.objects[href]
        self.history.append((href, True))

    def forget_history(self) -> None:
        """Tokens handed out so far are no longer known."""
        self.oldest_token = len(self.history) + 1
        self.history.append((self.calendar + "never-there.ics", True))


@contextmanager
def running_faulty(layout: Layout | None = None) -> Iterator[FaultyServer]:
    """The twin on a free port in a thread of this process until the block ends; on two, where the layout has two hosts."""
    server = FaultyServer(layout or Layout())
    hosts = server.layout.hosts
    listening = [netutil.bind_sockets(0, "127.0.0.1", family=socket.AF_INET) for _ in hosts]
    ports = [sockets[0].getsockname()[1] for sockets in listening]
    server.port, server.home_port = ports[0], ports[-1]
    server.url, server.home_url = f"http://{hosts[0]}:{ports[0]}", f"http://{hosts[-1]}:{ports[-1]}"

    @asynccontextmanager
    async def serving() -> AsyncIterator[None]:
        application = web.Application([(r"(/.*)", _Handler, {"server": server})], log_function=lambda _handler: None)
        http = httpserver.HTTPServer(FaultGate(application, server.faults))
        for sockets in listening:
            http.add_sockets(sockets)
        yield
        http.stop()
        await http.close_all_connections()

    with in_thread("faulty-caldav", serving()):
        yield server


class _Handler(web.RequestHandler):
    """Answers in `prepare`, so that methods tornado does not know need no method each."""

    SUPPORTED_METHODS = _METHODS

    def initialize(self, server: FaultyServer) -> None:
        self.server = server

    def compute_etag(self) -> None:
        return None

    async def prepare(self) -> None:
        method, path, body = self.request.method or "", self.request.path, self.request.body.decode(errors="replace")
        self.server.requests.append(f"{method} {_report_name(body) or path}")
        refusal = self._refusal(path)
        if refusal is not None:
            return await self._answer(refusal, "")
        if method == "REPORT" and "free-busy-query" in body:
            return await self._answer(self.server.quirks.freebusy_status, "")
        if method == "REPORT" and "sync-collection" in body:
            return await self._sync(path, body)
        if method == "REPORT":
            return await self._multiget(path, body)
        if method == "PROPFIND":
            return await self._propfind(path, body)
        if method == "PUT":
            return await self._put(path)
        return await self._get(path)

    def _refusal(self, path: str) -> int | None:
        """The status of an answer that depends on no report; its headers are set."""
        server, quirks = self.server, self.server.quirks
        if quirks.redirect:
            self.set_header("Location", quirks.redirect)
            return 302
        if quirks.busy:
            status, retry_after = quirks.busy.pop(0)
            if retry_after:
                self.set_header("Retry-After", retry_after)
            return status
        if quirks.refusals_to_block and server.refused >= quirks.refusals_to_block:
            self.set_header("Retry-After", "1800")
            return 429
        if not self._signed_in():
            server.refused += 1
            self.set_header(
                "WWW-Authenticate", 'Digest realm="twin", nonce="n", qop="auth"' if quirks.wants_digest else "Basic"
            )
            return 401
        return quirks.signed_in_status or self._refusal_of(path)

    def _refusal_of(self, path: str) -> int | None:
        """The status of an answer to somebody who is signed in and asks for what is not served here, or not so."""
        server, quirks = self.server, self.server.quirks
        if len(server.layout.hosts) > 1 and self._is_at_home() != _is_under(path, server.layout.home):
            return 404
        if quirks.only_if_match and any(
            name.lower().startswith("if-") and name.lower() != "if-match" for name in self.request.headers
        ):
            return 400
        if quirks.calendar_status and any(_is_under(path, calendar) for calendar, _ in server.layout.calendars):
            return quirks.calendar_status
        return None

    def _is_at_home(self) -> bool:
        return self.request.host == f"{self.server.layout.hosts[-1]}:{self.server.home_port}"

    def _signed_in(self) -> bool:
        header = self.request.headers.get("Authorization", "")
        if self.server.quirks.wants_digest:
            return header.startswith("Digest ") and f'username="{self.server.layout.login}"' in header
        expected = base64.b64encode(f"{self.server.layout.login}:{self.server.password}".encode()).decode()
        return header == f"Basic {expected}"

    async def _propfind(self, path: str, body: str) -> None:
        layout = self.server.layout
        calendar = self._calendar_at(path)
        lists_home = _same(path, layout.home) and self.request.headers.get("Depth") == "1"
        if _same(path, layout.principal) and not lists_home:
            home = layout.home if len(layout.hosts) == 1 else self.server.home_url + layout.home
            return await self._multistatus(
                _found(
                    layout.principal,
                    f"<c:calendar-home-set><d:href>{home}</d:href></c:calendar-home-set>"
                    "<c:calendar-user-address-set><d:href>mailto:Anna@Example.org</d:href>"
                    f"<d:href>{layout.principal}</d:href></c:calendar-user-address-set>",
                )
            )
        if lists_home:
            bin_ = (layout.home + "trashbin/", "<x:trash-bin xmlns:x='http://nextcloud.com/ns'/>")
            others = (*layout.others, bin_) if self.server.quirks.keeps_deleted else layout.others
            return await self._multistatus(
                _found(layout.home, "<d:resourcetype><d:collection/></d:resourcetype>")
                + "".join(_calendar(href, name, "VEVENT") for href, name in layout.calendars)
                + _calendar(layout.tasks, "Tasks", "VTODO")
                + "".join(
                    _found(href, f"<d:resourcetype><d:collection/>{kind}</d:resourcetype>") for href, kind in others
                )
            )
        if calendar and "getetag" in body:
            members = [_found(calendar, "<d:resourcetype><d:collection/><c:calendar/></d:resourcetype>")]
            members += [
                _found(href, f"<d:getetag>{escape(etag)}</d:getetag>") for href, (etag, _) in self._listed(calendar)
            ]
            if self.server.quirks.cut_listing:
                members.append(_status(calendar, 507))
            return await self._multistatus("".join(members))
        known = [href for href in ("/", layout.principal, layout.home, calendar) if href and _same(path, href)]
        if known:
            entry = f"<d:current-user-principal><d:href>{layout.principal}</d:href></d:current-user-principal>"
            kind = "<d:resourcetype><d:collection/>" + ("<c:calendar/>" if calendar else "") + "</d:resourcetype>"
            return await self._multistatus(_found(known[0], entry + kind))
        return await self._answer(404, "")

    async def _sync(self, path: str, body: str) -> None:
        server, quirks, calendar = self.server, self.server.quirks, self._calendar_at(path)
        if not calendar:
            return await self._answer(404, "")
        if quirks.sync_status:
            return await self._answer(quirks.sync_status, _SUPPORTED if quirks.sync_status == 403 else "")
        token = _between(body, "sync-token")
        since, _, offset = token.removeprefix("twin:").partition(":")
        if token and (not since.isdecimal() or 0 < int(since) < server.oldest_token):
            return await self._answer(quirks.expired_status, _VALID_TOKEN if quirks.expired_says_why else "")
        if token and since != "0":
            latest = dict(one for one in server.history[int(since) :] if _is_under(one[0], calendar))
            if quirks.teapot_after_deletion and any(latest.values()):
                return await self._answer(418, "")
            changes = [
                (href, removed) for href, removed in latest.items() if not (removed and quirks.forgets_deletions)
            ]
        else:
            changes = [(href, False) for href, _ in self._listed(calendar)]
            if quirks.lists_removed:
                changes += [(href, True) for href, removed in dict(server.history).items() if removed]
        limit = _between(body, "nresults")
        if quirks.obeys_limit_silently and limit:
            changes = changes[: int(limit)]
        start = int(offset or 0)
        page = changes[start : start + quirks.page_size] if quirks.page_size else changes
        members = [
            _status(href, 404)
            if removed or href not in server.objects
            else _found(href, f"<d:getetag>{escape(server.objects[href][0])}</d:getetag>")
            for href, removed in page
        ]
        if quirks.lists_itself:
            members.append(_found(calendar, '<d:getetag>"self"</d:getetag>'))
        new_token = f"twin:{len(server.history)}"
        if len(changes) > start + len(page):
            members.append(_status(calendar, 507))
            new_token = token if quirks.endless_pages and token else f"twin:{since or 0}:{start + len(page)}"
        return await self._multistatus("".join(members) + f"<d:sync-token>{new_token}</d:sync-token>")

    async def _multiget(self, path: str, body: str) -> None:
        calendar = self._calendar_at(path)
        if not calendar or "calendar-multiget" not in body:
            return await self._answer(400, "")
        hrefs = re.findall(r"<d:href>([^<]*)</d:href>", body)
        quirks, parts = self.server.quirks, []
        for href in hrefs:
            spoilt = quirks.spoils_multiget.get(href)
            if spoilt in ("400", "500"):
                return await self._answer(int(spoilt), "")
            if href not in self.server.objects or href in quirks.listed_but_gone:
                parts.append(_status(href, 404))
                continue
            etag, raw = self.server.objects[href]
            # Bytes that are no text of XML go through as they are: so do servers that look at no object.
            text = escape(raw.decode(errors="surrogateescape")) + ("\x0b" if spoilt == "xml" else "")
            shown = href.replace("%40", "@") if quirks.unquotes else href
            parts.append(
                _found(shown, f"<d:getetag>{escape(etag)}</d:getetag><c:calendar-data>{text}</c:calendar-data>")
            )
        if quirks.ignores_filters:
            parts.append(_found(calendar + "unasked.ics", f"<c:calendar-data>{_UNASKED}</c:calendar-data>"))
        parts.reverse()
        if quirks.shuffles:
            random.Random(len(self.server.requests)).shuffle(parts)
        return await self._multistatus("".join(parts))

    async def _put(self, path: str) -> None:
        """Replace an object (RFC 4791 section 5.3.2); a new one is not taken, nor one without If-Match."""
        server, quirks = self.server, self.server.quirks
        if quirks.put_status:
            return await self._answer(quirks.put_status, "")
        if quirks.edits:
            quirks.edits.pop(0)()
        stored = server.objects.get(path)
        if stored is None or self.request.headers.get("If-Match") != stored[0]:
            return await self._answer(412, "")
        raw = self.request.body
        if quirks.refuses_odd_rules and _ODD_RULE.search(raw):
            return await self._answer(403, _VALID_DATA)
        kept = quirks.rewrites(raw) if quirks.rewrites is not None else raw
        server.put(path.removeprefix(server.calendar), kept)
        if kept == raw and not quirks.gives_no_etag:
            self.set_header("ETag", server.objects[path][0])
        self.set_status(204)
        return await self.finish()

    async def _get(self, path: str) -> None:
        if path not in self.server.objects or path in self.server.quirks.listed_but_gone:
            return await self._answer(404, "")
        if self.server.quirks.spoils_multiget.get(path) == "500":
            return await self._answer(500, "")
        etag, raw = self.server.objects[path]
        if not self.server.quirks.gives_no_etag:
            self.set_header("ETag", etag)
        self.set_header("Content-Type", "text/calendar")
        self.write(raw)
        return await self.finish()

    def _calendar_at(self, path: str) -> str:
        """The calendar of this path in the server's spelling, or ''."""
        return next((href for href, _ in self.server.layout.calendars if _same(path, href)), "")

    def _listed(self, calendar: str) -> list[tuple[str, tuple[str, bytes]]]:
        listed = [(href, found) for href, found in self.server.objects.items() if _is_under(href, calendar)]
        if self.server.quirks.shuffles:
            random.Random(len(self.server.requests)).shuffle(listed)
        return listed

    async def _multistatus(self, members: str) -> None:
        body = self.server.quirks.body
        if body is None:
            document = f'<?xml version="1.0"?><d:multistatus {_NAMESPACES}>{members}</d:multistatus>'
            body = document.encode(errors="surrogateescape")
        self.set_status(207)
        self.set_header("Content-Type", "application/xml; charset=utf-8")
        quirks = self.server.quirks
        with contextlib.suppress(iostream.StreamClosedError):
            while quirks.endless_body:
                self.write(b" " * 1_000_000)
                await self.flush()
            for byte in body if quirks.trickle_s else b"":
                self.write(bytes((byte,)))
                await self.flush()
                await asyncio.sleep(quirks.trickle_s)
            if not quirks.trickle_s:
                self.write(body)
            await self.finish()

    async def _answer(self, status: int, body: str) -> None:
        self.set_status(status, "x")
        self.set_header("Content-Type", "application/xml")
        await self.finish(body)


def _report_name(body: str) -> str:
    """What a report asks for, of those that have a name in the list of requests."""
    if "free-busy-query" in body:
        return "free-busy"
    if "sync-collection" in body:
        return "sync limit" if "nresults" in body else "sync"
    return ""


def _same(path: str, href: str) -> bool:
    return unquote(path) == unquote(href)


def _is_under(path: str, folder: str) -> bool:
    return unquote(path).startswith(unquote(folder))


def _found(href: str, properties: str) -> str:
    return (
        f"<d:response><d:href>{escape(href)}</d:href><d:propstat><d:prop>{properties}</d:prop>"
        "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
    )


def _calendar(href: str, name: str, component: str) -> str:
    return _found(
        href,
        f"<d:resourcetype><d:collection/><c:calendar/></d:resourcetype><d:displayname>{name}</d:displayname>"
        f'<c:supported-calendar-component-set><c:comp name="{component}"/></c:supported-calendar-component-set>',
    )


def _status(href: str, status: int) -> str:
    return f"<d:response><d:href>{escape(href)}</d:href><d:status>HTTP/1.1 {status} x</d:status></d:response>"


def _between(body: str, tag: str) -> str:
    match = re.search(rf"<d:{tag}>([^<]*)</d:{tag}>", body)
    return match.group(1) if match else ""
