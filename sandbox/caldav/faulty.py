"""A CalDAV server of one person and one calendar that misbehaves on demand: the quirks of known servers, and plain faults.

Faults of the line (429, 5xx, slow, cut, HTML) come from `sandbox.faults`; what only a CalDAV server can do wrong is a `Quirks`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from tornado import httpserver, iostream, netutil, web

from sandbox.faults import FaultBook, FaultGate

LOGIN, PASSWORD = "anna", "right"
PRINCIPAL, HOME, CALENDAR, TASKS = "/principals/anna/", "/home/anna/", "/home/anna/work/", "/home/anna/todo/"
_METHODS = ("GET", "PROPFIND", "REPORT", "OPTIONS")
_NAMESPACES = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav"'
_VALID_TOKEN = f"<d:error {_NAMESPACES}><d:valid-sync-token/></d:error>"
_SUPPORTED = f"<d:error {_NAMESPACES}><d:supported-report/></d:error>"


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
    cut_listing: bool = False  # a list of members ends with 507
    wants_digest: bool = False  # Baikal
    body: bytes | None = None  # this instead of every multistatus
    trickle_s: float = 0.0  # a byte of the answer each so often
    endless_body: bool = False
    redirect: str = ""
    calendar_status: int = 0  # 403 or 404 for the calendar, as after a share ended


@dataclass(slots=True)
class FaultyServer:
    """The running twin. Change the calendar by `put`, `delete` and `touch`, its manners by `quirks` and `faults`."""

    url: str = ""
    port: int = 0
    quirks: Quirks = field(default_factory=Quirks)
    faults: FaultBook = field(default_factory=FaultBook)
    objects: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    history: list[tuple[str, bool]] = field(default_factory=list)  # href, removed
    requests: list[str] = field(default_factory=list)
    oldest_token: int = 0
    password: str = PASSWORD

    @property
    def calendar_url(self) -> str:
        return f"{self.url}{CALENDAR}"

    def put(self, name: str, raw: bytes) -> str:
        """Store an object as a client would; returns its href."""
        href = CALENDAR + name
        self.history.append((href, False))
        self.objects[href] = (f'"{len(self.history)}"', raw)
        return href

    def touch(self, name: str, raw: bytes | None = None) -> None:
        """Give an object a new ETag (and new bytes) although nobody changed it, as Yandex does."""
        self.put(name, raw or self.objects[CALENDAR + name][1])

    def delete(self, name: str) -> None:
        href = CALENDAR + name
        del self.objects[href]
        self.history.append((href, True))

    def forget_history(self) -> None:
        """Tokens handed out so far are no longer known."""
        self.oldest_token = len(self.history) + 1
        self.history.append((CALENDAR + "never-there.ics", True))


@contextmanager
def running_faulty() -> Iterator[FaultyServer]:
    """The twin on a free port in a thread of this process until the block ends."""
    server = FaultyServer()
    sockets = netutil.bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    server.port = sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{server.port}"
    ready, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Event]]()

    async def serve() -> None:
        application = web.Application([(r"(/.*)", _Handler, {"server": server})], log_function=lambda _handler: None)
        http = httpserver.HTTPServer(FaultGate(application, server.faults))
        http.add_sockets(sockets)
        end = asyncio.Event()
        loops.append((asyncio.get_running_loop(), end))
        ready.set()
        await end.wait()
        http.stop()
        await http.close_all_connections()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="faulty-caldav", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the faulty CalDAV twin did not start within 10 seconds")
    try:
        yield server
    finally:
        loop, end = loops[0]
        loop.call_soon_threadsafe(end.set)
        thread.join(10)


class _Handler(web.RequestHandler):
    """Answers in `prepare`, so that methods tornado does not know need no method each."""

    SUPPORTED_METHODS = _METHODS

    def initialize(self, server: FaultyServer) -> None:
        self.server = server

    async def prepare(self) -> None:
        quirks, method, path = self.server.quirks, self.request.method or "", self.request.path
        body = self.request.body.decode()
        self.server.requests.append(f"{method} {'sync' if 'sync-collection' in body else path}")
        if quirks.redirect:
            self.set_header("Location", quirks.redirect)
            return await self._answer(302, "")
        if not self._signed_in():
            self.set_header(
                "WWW-Authenticate", 'Digest realm="twin", nonce="n", qop="auth"' if quirks.wants_digest else "Basic"
            )
            return await self._answer(401, "")
        if quirks.calendar_status and path.startswith(CALENDAR):
            return await self._answer(quirks.calendar_status, "")
        if method == "REPORT" and "free-busy-query" in body:
            return await self._answer(504, "")
        if method == "REPORT" and "sync-collection" in body:
            return await self._sync(body)
        if method == "REPORT":
            return await self._multiget(body)
        if method == "PROPFIND":
            return await self._propfind(path, body)
        return await self._get(path)

    def _signed_in(self) -> bool:
        header = self.request.headers.get("Authorization", "")
        if self.server.quirks.wants_digest:
            return header.startswith("Digest ") and f'username="{LOGIN}"' in header
        expected = base64.b64encode(f"{LOGIN}:{self.server.password}".encode()).decode()
        return header == f"Basic {expected}"

    async def _propfind(self, path: str, body: str) -> None:
        if path == PRINCIPAL:
            return await self._multistatus(
                _found(
                    path,
                    f"<c:calendar-home-set><d:href>{HOME}</d:href></c:calendar-home-set>"
                    "<c:calendar-user-address-set><d:href>mailto:Anna@Example.org</d:href>"
                    f"<d:href>{PRINCIPAL}</d:href></c:calendar-user-address-set>",
                )
            )
        if path == HOME and self.request.headers.get("Depth") == "1":
            return await self._multistatus(
                _found(HOME, "<d:resourcetype><d:collection/></d:resourcetype>")
                + _calendar(CALENDAR, "Work", "VEVENT")
                + _calendar(TASKS, "Tasks", "VTODO")
                + _found(HOME + "inbox/", "<d:resourcetype><d:collection/><c:schedule-inbox/></d:resourcetype>")
            )
        if path == CALENDAR and "getetag" in body:
            members = [_found(CALENDAR, "<d:resourcetype><d:collection/><c:calendar/></d:resourcetype>")]
            members += [_found(href, f"<d:getetag>{escape(etag)}</d:getetag>") for href, (etag, _) in self._listed()]
            if self.server.quirks.cut_listing:
                members.append(_status(CALENDAR, 507))
            return await self._multistatus("".join(members))
        if path in ("/", PRINCIPAL, HOME, CALENDAR):
            entry = f"<d:current-user-principal><d:href>{PRINCIPAL}</d:href></d:current-user-principal>"
            kind = (
                "<d:resourcetype><d:collection/>" + ("<c:calendar/>" if path == CALENDAR else "") + "</d:resourcetype>"
            )
            return await self._multistatus(_found(path, entry + kind))
        return await self._answer(404, "")

    async def _sync(self, body: str) -> None:
        server, quirks = self.server, self.server.quirks
        if quirks.sync_status:
            return await self._answer(quirks.sync_status, _SUPPORTED if quirks.sync_status == 403 else "")
        token = _between(body, "sync-token")
        since, _, offset = token.removeprefix("twin:").partition(":")
        if token and (not since.isdecimal() or int(since) < server.oldest_token):
            return await self._answer(quirks.expired_status, _VALID_TOKEN if quirks.expired_says_why else "")
        if token and since != "0":
            latest = dict(server.history[int(since) :])
            changes = [
                (href, removed) for href, removed in latest.items() if not (removed and quirks.forgets_deletions)
            ]
        else:
            changes = [(href, False) for href, _ in self._listed()]
        start = int(offset or 0)
        page = changes[start : start + quirks.page_size] if quirks.page_size else changes
        members = [
            _status(href, 404)
            if removed or href not in server.objects
            else _found(href, f"<d:getetag>{escape(server.objects[href][0])}</d:getetag>")
            for href, removed in page
        ]
        if quirks.lists_itself:
            members.append(_found(CALENDAR, '<d:getetag>"self"</d:getetag>'))
        new_token = f"twin:{len(server.history)}"
        if len(changes) > start + len(page):
            members.append(_status(CALENDAR, 507))
            new_token = token if quirks.endless_pages and token else f"twin:{since or 0}:{start + len(page)}"
        return await self._multistatus("".join(members) + f"<d:sync-token>{new_token}</d:sync-token>")

    async def _multiget(self, body: str) -> None:
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
            parts.append(
                _found(href, f"<d:getetag>{escape(etag)}</d:getetag><c:calendar-data>{text}</c:calendar-data>")
            )
        if quirks.ignores_filters:
            parts.append(_found(CALENDAR + "unasked.ics", "<c:calendar-data>BEGIN:VCALENDAR</c:calendar-data>"))
        return await self._multistatus("".join(reversed(parts)))

    async def _get(self, path: str) -> None:
        if path not in self.server.objects or path in self.server.quirks.listed_but_gone:
            return await self._answer(404, "")
        if self.server.quirks.spoils_multiget.get(path) == "500":
            return await self._answer(500, "")
        etag, raw = self.server.objects[path]
        self.set_header("ETag", etag)
        self.set_header("Content-Type", "text/calendar")
        self.write(raw)
        return await self.finish()

    def _listed(self) -> list[tuple[str, tuple[str, bytes]]]:
        return list(self.server.objects.items())

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
