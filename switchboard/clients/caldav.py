"""CalDAV on the wire (RFC 4791, RFC 6578): find calendars, list what changed, fetch objects. Nothing here is stored.

The caldav library signs requests in and tells refusals apart; answers are read here, because its own reading of a report
decodes hrefs, turns one bad member into an error for all, and logs whole bodies.
Every failure leaves as one of our errors (`translate`, `error_for_status`), without address, login, password or body.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, Self
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit
from xml.sax.saxutils import escape

import niquests
from caldav.davclient import DAVClient
from caldav.lib.error import AuthorizationError, DAVError, RateLimitError, parse_preconditions
from lxml import etree

from switchboard.clients.address_guard import AddressGuard, is_same_site
from switchboard.clients.guarded_http import (
    Answer,
    AnswerTooLargeError,
    GuardedHttp,
    HostGate,
    RedirectRefusedError,
)
from switchboard.deadlines import DeadlinePassedError
from switchboard.errors import (
    AuthError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermanentError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    UncertainError,
)

PRESETS: Mapping[str, str] = {"yandex": "https://caldav.yandex.ru"}
OAUTH_ONLY_HOSTS = frozenset({"apidata.googleusercontent.com", "calendar.google.com", "www.google.com", "google.com"})

BATCH_SIZE = 100  # objects a multiget asks for
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_OBJECT_BYTES = 4 * 1024 * 1024
MAX_HREF_LENGTH = 1024  # calendar_objects.href
MAX_ETAG_LENGTH = 256  # calendar_objects.etag
MAX_PAGES = 1_000  # of one sync report; a server that goes on has lost its way
MAX_SPLITS = 24  # halvings spent on finding the objects that spoil a batch: seven for each of them
MAX_FAILED_ALONE = 20  # objects that failed alone before the rest of a batch is no longer asked for one by one
FAILURES_TO_GIVE_UP = 3  # objects that failed alone while not one came
TIMEOUT_S = 60.0  # a cold server reads thousands of files before its first byte
DEADLINE_S = 100.0  # below the time of a task

DAV = "{DAV:}"
CALDAV = "{urn:ietf:params:xml:ns:caldav}"
VALID_SYNC_TOKEN = f"{DAV}valid-sync-token"
LOST_TOKEN_STATUSES = frozenset({400, 403, 409, 410, 412, 418})  # as servers answer to a token they no longer know
NO_SYNC_STATUSES = frozenset({400, 405, 409, 412, 415, 418, 422, 501})  # as servers answer to a report they lack
GONE_STATUSES = frozenset({404, 410})
ELSEWHERE_STATUSES = frozenset({400, 403, 404, 405, 410, 501})  # this URL is not the entry; another may be

_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")  # XML 1.0 section 2.2 has no way to write them
_REPLACED = "\ufffd"

_PRINCIPAL_PROPERTIES = (
    "<d:current-user-principal/><d:principal-URL/><d:resourcetype/><d:displayname/>"
    "<c:calendar-home-set/><c:calendar-user-address-set/><c:supported-calendar-component-set/>"
)
_CALENDAR_PROPERTIES = "<d:resourcetype/><d:displayname/><c:supported-calendar-component-set/>"


class NotCaldavError(RemoteUnavailableError):
    """The server answered, but not in CalDAV: a login page, broken XML, an empty answer. It may pass (a proxy's page)."""


class OtherHostError(NotCaldavError):
    """The server sends us to a host of somebody else; nothing was asked there."""

    def __init__(self, verb: str, host: str) -> None:
        super().__init__(
            f"{verb}: the server sends us to another host ({host}); enter the CalDAV address there instead"
        )


class SyncTokenExpiredError(ConflictError):
    """The server no longer knows the sync token: list everything anew."""


class SyncUnsupportedError(PermanentError):
    """The server has no sync report for this calendar: compare ETags."""


@dataclass(frozen=True, slots=True)
class RemoteCalendar:
    """A calendar collection that may hold events. `components` is empty where the server does not say."""

    url: str
    name: str
    components: frozenset[str]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is signed in: e-mail addresses in lower case, and the calendars in the order of the server."""

    addresses: tuple[str, ...]
    calendars: tuple[RemoteCalendar, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync report told: hrefs with ETags (possibly empty), removed hrefs, and the token of the next report.

    `complete` is False when the server cut its answer and gave no way to go on: what is not listed is then unknown.
    """

    token: str
    changed: dict[str, str]
    removed: frozenset[str]
    complete: bool
    pages: int


@dataclass(frozen=True, slots=True)
class FetchedObject:
    """A calendar object resource. `raw` has LF line ends (XML cannot carry others) and is empty where `problem` says why."""

    href: str
    etag: str
    raw: bytes
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedBatch:
    """The answer to at most a hundred hrefs: each of them is in exactly one of the three."""

    objects: tuple[FetchedObject, ...]
    missing: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(slots=True)
class _Member:
    """One response element of a multistatus (RFC 4918 section 14.24); `status` 0 where it has only property statuses."""

    href: str
    status: int = 0
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Fetching:
    """What one `fetch` has met so far."""

    splits_left: int = MAX_SPLITS
    failed_alone: int = 0
    any_came: bool = False

    @property
    def is_hopeless(self) -> bool:
        """The server stumbles over everything, not over some of the objects."""
        return not self.any_came and (self.failed_alone >= FAILURES_TO_GIVE_UP or self.splits_left <= 0)


def preset_url(name: str) -> str:
    """The address of a preset; InvalidInputError(field="server_url") lists the presets there are."""
    try:
        return PRESETS[name.strip().lower()]
    except KeyError:
        known = ", ".join(sorted(PRESETS))
        raise InvalidInputError(f"There is no such preset; known: {known}.", field="server_url") from None


def refuse_oauth_only(url: str) -> None:
    """Raise InvalidInputError for a host that takes no passwords over CalDAV (Google)."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host in OAUTH_ONLY_HOSTS or host.endswith((".googleusercontent.com", ".google.com")):
        raise InvalidInputError(
            "Google Calendar accepts no passwords over CalDAV, only sign-in through Google (OAuth), which is not supported.",
            field="server_url",
        )


class CaldavClient:
    """A login at a CalDAV server. A context manager; one thread at a time; every call is a few requests at most.

    `url` may be the server's root, a principal, a home set or a calendar. `timeout_s` bounds each silence of the server,
    `deadline_s` each request as a whole; `gate` gives the turns. Login and password go to the host of `url` and to others of
    the same site (`is_same_site`) that it names, to nobody else: OtherHostError.

    All methods raise AuthError (401), RemoteRejectedError (another refusal), NotFoundError (404), RateLimitedError
    (HostBusyError of the gate among them), RemoteUnavailableError, InvalidInputError (an address the guard refuses).
    """

    def __init__(
        self,
        url: str,
        login: str,
        password: str,
        *,
        guard: AddressGuard,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float = DEADLINE_S,
        gate: HostGate | None = None,
    ) -> None:
        self.url = url
        self._host = guard.check(url).hostname or ""
        self._guard, self._gate = guard, gate
        self._http = _XmlHttp(
            guard, timeout_s=timeout_s, deadline_s=deadline_s, limit_bytes=MAX_ANSWER_BYTES, gate=gate
        )
        # basic first: it saves the round trip of a challenge; a server that wants digest is answered in _request
        self._dav = DAVClient(
            url=url, username=login, password=password, auth_type="basic", enable_rfc6764=False, huge_tree=True
        )
        self._dav.session.close()
        self._dav.session = self._http  # type: ignore[assignment]  # it is asked for `request` and `close` alone

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    @property
    def requests(self) -> int:
        """Requests sent so far, redirects included."""
        return self._http.requests

    @property
    def received_bytes(self) -> int:
        """Bytes of answers so far, after decompression."""
        return self._http.received_bytes

    def discover(self) -> Principal:
        """Who is signed in and which calendars hold events (RFC 5397, RFC 4791 section 6.2.1, RFC 6764 well-known path).

        NotCaldavError when neither the given URL nor the server's usual entries speak CalDAV.
        """
        url, entry = self._entry()
        principal = entry
        principal_href = _first_href(entry.properties.get(f"{DAV}current-user-principal"))
        if principal_href:
            url = _at(url, principal_href)
            principal = self._properties(url, _PRINCIPAL_PROPERTIES)
        homes = [_at(url, href) for href in _hrefs(principal.properties.get(f"{CALDAV}calendar-home-set"))]
        calendars: dict[str, RemoteCalendar] = {}
        elsewhere: OtherHostError | None = None
        for home in homes or [self.url]:
            try:
                members = self._propfind(home, _CALENDAR_PROPERTIES, depth=1)
            except OtherHostError as error:
                elsewhere = error
                continue
            for member in members:
                _add_calendar(calendars, home, member)
        _add_calendar(calendars, self.url, self._given(entry))  # a shared calendar need not lie in the home
        if elsewhere is not None and not calendars:
            raise elsewhere
        return Principal(addresses=_addresses(principal), calendars=tuple(calendars.values()))

    def changes(self, calendar_url: str, token: str | None) -> Changes:
        """What changed since `token`, or every member for None (RFC 6578), all pages of the report.

        Raises SyncTokenExpiredError and SyncUnsupportedError besides the errors of every call.
        """
        changed: dict[str, str] = {}
        removed: set[str] = set()
        at = token
        for page in range(1, MAX_PAGES + 1):
            members, next_token, cut = self._sync_page(calendar_url, at)
            for member in members:
                etag = _etag(member)
                if member.status in GONE_STATUSES and not etag:
                    changed.pop(member.href, None)
                    removed.add(member.href)
                elif member.status < 400:
                    removed.discard(member.href)
                    changed[member.href] = etag
            if not cut:
                return Changes(next_token, changed, frozenset(removed), complete=True, pages=page)
            if next_token == at:
                return Changes(next_token, changed, frozenset(removed), complete=False, pages=page)
            at = next_token
        raise RemoteUnavailableError(f"REPORT sync-collection: no end after {MAX_PAGES} pages")

    def etags(self, calendar_url: str) -> dict[str, str]:
        """The ETag of every member by href. An answer that is not whole raises instead of listing less."""
        own = _canonical(urlsplit(calendar_url).path)
        listed: dict[str, str] = {}
        saw_itself = False
        for member in self._propfind(calendar_url, "<d:getetag/><d:resourcetype/>", depth=1):
            if _canonical(member.href) == own:
                saw_itself = True
            if member.status == 507:
                raise RemoteUnavailableError("PROPFIND: the server cut its list of members")
            if _is_member(member.href, own) and member.status < 400 and not _is_collection(member):
                listed[member.href] = _etag(member)
        if not listed and not saw_itself:
            raise NotCaldavError("PROPFIND: the list of members does not even hold the calendar itself")
        return listed

    def fetch(self, calendar_url: str, hrefs: Iterable[str]) -> Iterator[FetchedBatch]:
        """The objects, in batches of at most a hundred; a batch is fetched when it is asked for, and not kept.

        An object whose characters break the XML is asked for alone; one that spoils its batch otherwise (a server error, too
        large) is found by halving first, and where many do, all are asked for alone.
        """
        wanted = list(hrefs)
        fetching = _Fetching()
        for start in range(0, len(wanted), BATCH_SIZE):
            yield self._fetch_batch(calendar_url, wanted[start : start + BATCH_SIZE], fetching)

    def get(self, calendar_url: str, href: str) -> FetchedObject:
        """One object to be changed by `put`: its bytes as they came. NotFoundError where there is none.

        `etag` is what `put` wants. What compressing proxies make of a strong one (`W/"x"`, `"x-gzip"`) is undone: a weak one
        never matches (RFC 9110 section 13.1.1), and a server that meant a weak one refuses, which harms nothing.
        """
        answer = self._request("GET", _at(calendar_url, href))
        etag = answer.headers.get("ETag", "").strip().removeprefix("W/")
        if etag.endswith('-gzip"'):
            etag = etag.removesuffix('-gzip"') + '"'
        return FetchedObject(href, _short_etag(etag), answer.content)

    def put(self, calendar_url: str, href: str, raw: bytes, etag: str) -> str:
        """Write an object (UTF-8) over one that still has this ETag; line ends become CRLF. Returns the new ETag.

        That is empty where the server may have stored other bytes (RFC 4791 section 5.3.4): read it then. ConflictError: the
        object was changed meanwhile. UncertainError: no whole answer came and it may have been written; `get` tells, and a
        second `put` with the same ETag does no harm.
        """
        headers = {"If-Match": etag, "Content-Type": "text/calendar; charset=utf-8"}
        try:
            answer = self._request("PUT", _at(calendar_url, href), raw.decode(), headers)
        except (RateLimitedError, OtherHostError):
            raise
        except (RemoteUnavailableError, DeadlinePassedError) as error:
            raise UncertainError(str(error)) from None
        except RemoteRejectedError as error:
            if error.status == 412:
                raise ConflictError("PUT: the object was changed meanwhile (412)") from None
            raise
        return _short_etag(answer.headers.get("ETag", "").strip().removeprefix("W/"))

    def _fetch_batch(self, calendar_url: str, hrefs: list[str], fetching: _Fetching) -> FetchedBatch:
        try:
            batch = self._multiget(calendar_url, hrefs)
        except (AnswerTooLargeError, _BrokenXmlError, _BadRequestError, _ServerFaultError):
            if fetching.is_hopeless:
                raise
            if len(hrefs) == 1:
                batch = self._fetch_alone(calendar_url, hrefs[0])
                fetching.failed_alone += len(batch.failed)
                fetching.any_came = fetching.any_came or not batch.failed
                return batch
            if fetching.splits_left <= 0:
                return _joined(self._fetch_each(calendar_url, hrefs, fetching))
            fetching.splits_left -= 1
            middle = len(hrefs) // 2
            halves = [self._fetch_batch(calendar_url, half, fetching) for half in (hrefs[:middle], hrefs[middle:])]
            return _joined(halves)
        fetching.any_came = True
        return batch

    def _fetch_each(self, calendar_url: str, hrefs: list[str], fetching: _Fetching) -> Iterator[FetchedBatch]:
        for number, href in enumerate(hrefs):
            if fetching.failed_alone >= MAX_FAILED_ALONE:
                yield FetchedBatch((), (), tuple(hrefs[number:]))
                return
            alone = self._fetch_alone(calendar_url, href)
            fetching.failed_alone += len(alone.failed)
            yield alone

    def _fetch_alone(self, calendar_url: str, href: str) -> FetchedBatch:
        """One object by GET: its bytes then come as they are, whatever they would do to an XML answer."""
        try:
            answer = self._request("GET", _at(calendar_url, href))
        except NotFoundError:
            return FetchedBatch((), (href,), ())
        except AnswerTooLargeError:
            return FetchedBatch((FetchedObject(href, "", b"", _too_large()),), (), ())
        except (RemoteRejectedError, _ServerFaultError):
            return FetchedBatch((), (), (href,))
        return FetchedBatch((_fetched(href, _short_etag(answer.headers.get("ETag", "")), answer.content),), (), ())

    def _multiget(self, calendar_url: str, hrefs: list[str]) -> FetchedBatch:
        body = (
            '<c:calendar-multiget xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">'
            "<d:prop><d:getetag/><c:calendar-data/></d:prop>"
            + "".join(f"<d:href>{escape(href)}</d:href>" for href in hrefs)
            + "</c:calendar-multiget>"
        )
        asked = {_canonical(href): href for href in hrefs}
        objects: list[FetchedObject] = []
        missing: list[str] = []
        spoilt: list[str] = []
        tree, mended = _mended_tree(self._request("REPORT", calendar_url, body), "REPORT")  # RFC 4791 7.9: has no depth
        for member in _members(tree):
            href = asked.get(_canonical(member.href))
            data = member.properties.get(f"{CALDAV}calendar-data")
            if href is None:
                continue
            if mended and data is not None and _REPLACED in (data.text or ""):
                spoilt.append(href)
            elif data is not None and (data.text or "").strip():
                objects.append(_fetched(href, _etag(member), str(data.text).encode()))
            elif member.status in GONE_STATUSES:
                missing.append(href)
            else:
                continue
            del asked[_canonical(href)]
        batch = FetchedBatch(tuple(objects), tuple(missing), tuple(asked.values()))
        return _joined([batch, *(self._fetch_alone(calendar_url, href) for href in spoilt)])

    def _sync_page(self, calendar_url: str, token: str | None) -> tuple[list[_Member], str, bool]:
        """Members of the calendar, the next token, and whether the server cut the page (RFC 6578 section 3.6)."""
        body = (
            f'<d:sync-collection xmlns:d="DAV:"><d:sync-token>{escape(token or "")}</d:sync-token>'
            "<d:sync-level>1</d:sync-level><d:prop><d:getetag/></d:prop></d:sync-collection>"
        )
        try:
            tree = _tree(self._request("REPORT", calendar_url, body, {"Depth": "0"}), "REPORT")
        except RemoteRejectedError as error:
            if token and (error.code == VALID_SYNC_TOKEN or error.status in LOST_TOKEN_STATUSES | NO_SYNC_STATUSES):
                raise SyncTokenExpiredError("REPORT sync-collection: the token has expired") from None
            if not token and (error.status in NO_SYNC_STATUSES or error.code == f"{DAV}supported-report"):
                raise SyncUnsupportedError("REPORT sync-collection: not supported here") from None
            raise
        next_token = (tree.findtext(f"{DAV}sync-token") or "").strip()
        if not next_token:
            raise (SyncTokenExpiredError if token else SyncUnsupportedError)(
                "REPORT sync-collection: the answer holds no token"
            )
        own = _canonical(urlsplit(calendar_url).path)
        members, cut = [], False
        for member in _members(tree):
            if member.status == 507:
                cut = True
            elif _is_member(member.href, own):
                members.append(member)
        return members, next_token, cut

    def _entry(self) -> tuple[str, _Member]:
        """The first URL that leads to a principal or a home, of: the given one, the well-known path, the root."""
        server = urljoin(self.url, "/")
        given: _Member | None = None
        problem: SwitchboardError | None = None
        for url in dict.fromkeys((self.url, urljoin(server, ".well-known/caldav"), server)):
            try:
                member = self._properties(url, _PRINCIPAL_PROPERTIES)
            except (NotCaldavError, NotFoundError) as error:
                problem = problem or error
                continue
            except RemoteRejectedError as error:
                if error.status not in ELSEWHERE_STATUSES:
                    raise
                problem = problem or error
                continue
            if _first_href(member.properties.get(f"{DAV}current-user-principal")) or _hrefs(
                member.properties.get(f"{CALDAV}calendar-home-set")
            ):
                return url, member
            given = given or (member if url == self.url else None)
        if given is None:
            raise NotCaldavError(f"There is no CalDAV service at this address ({problem})")
        return self.url, given

    def _given(self, entry: _Member) -> _Member:
        """The properties of the URL that was given, which need not be where the principal was found."""
        if _canonical(entry.href) == _canonical(urlsplit(self.url).path):
            return entry
        try:
            return self._properties(self.url, _CALENDAR_PROPERTIES)
        except (NotCaldavError, NotFoundError, RemoteRejectedError):
            return _Member(href="")

    def _properties(self, url: str, properties: str) -> _Member:
        members = self._propfind(url, properties, depth=0)
        if not members:
            raise NotCaldavError("PROPFIND: the answer is empty")
        return members[0]

    def _propfind(self, url: str, properties: str, *, depth: int) -> list[_Member]:
        body = (
            '<d:propfind xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:caldav">'
            f"<d:prop>{properties}</d:prop></d:propfind>"
        )
        return list(_members(_tree(self._request("PROPFIND", url, body, {"Depth": str(depth)}), "PROPFIND")))

    def _request(
        self, verb: str, url: str, body: str = "", headers: Mapping[str, str] = MappingProxyType({})
    ) -> Answer:
        host = self._guard.check(url).hostname or ""
        if not is_same_site(self._host, host):
            raise OtherHostError(verb, host)
        try:
            try:
                self._dav.request(url, verb, body, headers)
            except AuthorizationError as error:
                if error.status != 401 or not self._takes_digest_alone():
                    raise
                self._dav.auth_type = None
                self._dav.build_auth_object(["digest"])
                self._dav.request(url, verb, body, headers)
        except (OSError, RateLimitError, NotImplementedError) as error:
            translated = translate(verb, error)
            if isinstance(translated, RateLimitedError) and translated.retry_after_s and self._gate is not None:
                self._gate.rest(url, translated.retry_after_s)
            raise translated from None
        except RedirectRefusedError as error:
            raise OtherHostError(verb, error.host) from None
        except DAVError:
            pass  # 401 and 403: told apart below, with the body that the library did not see
        answer = self._http.last
        if not 200 <= answer.status_code < 300:
            raise error_for_status(verb, answer.status_code, parse_preconditions(answer.content))
        return answer

    def _takes_digest_alone(self) -> bool:
        offered = self._dav.extract_auth_types(self._http.last.headers.get("WWW-Authenticate", ""))
        return self._dav.auth_type == "basic" and "digest" in offered and "basic" not in offered


class _XmlHttp(GuardedHttp):
    """The library's session. It keeps the last answer for us and hands the library only what that can read in silence:

    the library logs a body that is no XML, which may be a page of somebody's calendar.
    """

    last: Answer

    def request(self, method: str, url: str, **kwargs: Any) -> Answer:
        self.last = answer = super().request(method, url, **kwargs)
        return Answer(answer.status_code, answer.reason, answer.headers, b"", answer.url)


class _ServerFaultError(RemoteUnavailableError):
    """A 500: the server stumbled, perhaps over one of the objects."""


class _BadRequestError(RemoteRejectedError):
    """A 400: Radicale's and others' answer when one of the objects cannot be served."""


class _BrokenXmlError(NotCaldavError):
    """XML that is not well-formed, perhaps because of the characters of one object."""


def error_for_status(
    verb: str, status: int, preconditions: Collection[str] = (), retry_after_s: float | None = None
) -> SwitchboardError:
    """Our error for a refusal. `preconditions` are the tags of the DAV:error body (RFC 4918 section 16)."""
    words = f"{verb}: the server answered {status}"
    if status == 401:
        return AuthError(f"{verb}: the server does not accept login and password (401)")
    if status == 429 or (status == 503 and retry_after_s is not None):
        return RateLimitedError(words, retry_after_s=_sane_wait(retry_after_s))
    if status == 404:
        return NotFoundError(words)
    if status == 500:
        return _ServerFaultError(words)
    if status in (408, 423, 425) or (status >= 500 and status != 501) or status < 400:
        return RemoteUnavailableError(words)
    known = [tag for tag in preconditions if tag.startswith((DAV, CALDAV))]
    kind = _BadRequestError if status == 400 else RemoteRejectedError
    return kind(words, status=status, code=known[0] if known else "")


def translate(verb: str, error: Exception) -> SwitchboardError:
    """Our error for what the library or the transport raised; the texts of theirs hold addresses and are not passed on."""
    if isinstance(error, RateLimitError):
        return error_for_status(verb, error.status or 429, (), _sane_wait(error.retry_after_seconds))
    if isinstance(error, NotImplementedError):
        return RemoteRejectedError(f"{verb}: the server wants a kind of sign-in that is not supported", status=401)
    for kind, words in _TRANSPORT:
        if isinstance(error, kind):
            return RemoteUnavailableError(f"{verb}: {words(error)}")
    return RemoteUnavailableError(f"{verb}: the connection failed")


def _why_no_connection(error: Exception) -> str:
    text = str(error)
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return "the server's name is not known"
    if "refused" in text:
        return "the server refused the connection"
    return "the connection was cut or could not be made"


_TRANSPORT: tuple[tuple[type[Exception], Callable[[Exception], str]], ...] = (  # the first that fits counts
    (niquests.exceptions.SSLError, lambda _: "no secure connection: the server's certificate or TLS is not valid"),
    (niquests.exceptions.Timeout, lambda _: "the server did not answer in time"),
    (niquests.exceptions.ChunkedEncodingError, lambda _: "the answer broke off"),
    (niquests.exceptions.ContentDecodingError, lambda _: "the answer could not be unpacked"),
    (niquests.exceptions.ConnectionError, _why_no_connection),
)


def _sane_wait(seconds: float | None) -> float | None:
    return seconds if seconds is not None and math.isfinite(seconds) and seconds >= 0 else None


def _tree(answer: Answer, verb: str) -> Any:
    """The multistatus element of an answer; NotCaldavError for anything else."""
    if not answer.content.strip():
        raise NotCaldavError(f"{verb}: the answer is empty")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    try:
        tree = etree.fromstring(answer.content, parser)
    except etree.XMLSyntaxError:
        if b"<html" in answer.content[:2048].lower():
            raise NotCaldavError(f"{verb}: the answer is a web page instead of CalDAV") from None
        raise _BrokenXmlError(f"{verb}: the answer is broken XML") from None
    if tree.tag != f"{DAV}multistatus":
        kind = "a web page" if str(tree.tag).lower().endswith("html") else "something else"
        raise NotCaldavError(f"{verb}: the answer is {kind} instead of CalDAV")
    return tree


def _mended_tree(answer: Answer, verb: str) -> tuple[Any, bool]:
    """The multistatus element, and whether characters that XML cannot carry had to be replaced by U+FFFD to read it."""
    try:
        return _tree(answer, verb), False
    except _BrokenXmlError:
        text = _CONTROL_BYTES.sub(_REPLACED.encode(), answer.content).decode("utf-8-sig", errors="replace")
        mended = Answer(answer.status_code, answer.reason, answer.headers, text.encode(), answer.url)
        return _tree(mended, verb), True


def _joined(batches: Iterable[FetchedBatch]) -> FetchedBatch:
    """One batch of several."""
    listed = list(batches)
    return FetchedBatch(
        objects=tuple(item for batch in listed for item in batch.objects),
        missing=tuple(href for batch in listed for href in batch.missing),
        failed=tuple(href for batch in listed for href in batch.failed),
    )


def _members(tree: Any) -> Iterator[_Member]:
    for response in tree.iterchildren(f"{DAV}response"):
        href = _path(response.findtext(f"{DAV}href") or "")
        member = _Member(href=href, status=_code(response.findtext(f"{DAV}status")))
        for propstat in response.iterchildren(f"{DAV}propstat"):
            status = _code(propstat.findtext(f"{DAV}status")) or 200
            if 200 <= status < 300:
                for prop in propstat.iterchildren(f"{DAV}prop"):
                    member.properties.update((child.tag, child) for child in prop if isinstance(child.tag, str))
        yield member


def _code(status: str | None) -> int:
    parts = (status or "").split()
    return int(parts[1]) if len(parts) > 1 and parts[1].isdecimal() else 0


def _path(href: str) -> str:
    """An href as the server spelt it, without scheme and host. Decoding would rename `a%2Fb.ics`."""
    href = href.strip()
    if "://" not in href:
        return href
    try:
        return urlsplit(href).path
    except ValueError:
        return href


def _at(base: str, href: str) -> str:
    """The URL of an href in an answer from `base`. One that begins with `//` is a path: servers write it by mistake."""
    try:
        return f"{urljoin(base, '/')[:-1]}{href}" if href.startswith("/") else urljoin(base, href)
    except ValueError:
        raise NotCaldavError("the server names an address that cannot be read") from None


def _canonical(path: str) -> str:
    """One spelling of a path for comparisons: `%40` and `@` are the same, `%2F` and `/` are not."""
    return "/".join(quote(unquote_to_bytes(part)) for part in path.rstrip("/").split("/"))


def _is_member(href: str, own: str) -> bool:
    """Some servers list the calendar itself or a subfolder among its members."""
    return bool(href) and not href.endswith("/") and _canonical(href) != own and len(href) <= MAX_HREF_LENGTH


def _is_collection(member: _Member) -> bool:
    kind = member.properties.get(f"{DAV}resourcetype")
    return kind is not None and kind.find(f"{DAV}collection") is not None


def _etag(member: _Member) -> str:
    element = member.properties.get(f"{DAV}getetag")
    return _short_etag((element.text or "").strip()) if element is not None else ""


def _short_etag(etag: str) -> str:
    return etag if len(etag) <= MAX_ETAG_LENGTH else etag[: MAX_ETAG_LENGTH // 2] + etag[-MAX_ETAG_LENGTH // 2 :]


def _fetched(href: str, etag: str, raw: bytes) -> FetchedObject:
    if len(raw) > MAX_OBJECT_BYTES:
        return FetchedObject(href, etag, b"", _too_large())
    return FetchedObject(href, etag, raw.replace(b"\r\n", b"\n"))


def _too_large() -> str:
    return f"the object is larger than {MAX_OBJECT_BYTES // 1024 // 1024} MiB and was left out"


def _hrefs(element: Any) -> list[str]:
    if element is None:
        return []
    return [str(href.text).strip() for href in element.iterchildren(f"{DAV}href") if href.text and href.text.strip()]


def _first_href(element: Any) -> str:
    return next(iter(_hrefs(element)), "")


def _addresses(principal: _Member) -> tuple[str, ...]:
    found = []
    for href in _hrefs(principal.properties.get(f"{CALDAV}calendar-user-address-set")):
        scheme, _, address = href.partition(":")
        if scheme.lower() == "mailto" and "@" in address:
            found.append(address.strip().lower())
    return tuple(dict.fromkeys(found))


def _add_calendar(calendars: dict[str, RemoteCalendar], base: str, member: _Member) -> None:
    """Add a calendar that may hold events, by its whole URL with a closing slash."""
    kind = member.properties.get(f"{DAV}resourcetype")
    if kind is None or kind.find(f"{CALDAV}calendar") is None:
        return
    supported = member.properties.get(f"{CALDAV}supported-calendar-component-set")
    components = frozenset(
        str(component.get("name", "")).upper()
        for component in (supported if supported is not None else ())
        if component.tag == f"{CALDAV}comp"
    )
    if components and "VEVENT" not in components:
        return
    url = _at(base, member.href)
    if not url.endswith("/"):
        url += "/"
    name = member.properties.get(f"{DAV}displayname")
    shown = (name.text or "").strip() if name is not None else ""
    calendars.setdefault(url, RemoteCalendar(url, shown or url.rstrip("/").rpartition("/")[2], components))
