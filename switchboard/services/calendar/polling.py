"""Polling: what changed in the watched calendars of an account, into our store.

A poll asks each calendar's sync report (RFC 6578) for changed hrefs and fetches those; a server without one is asked for its
ETags. Once a day the ETags of all are compared, because servers forget changes. The sync token is stored in the transaction
of its last changes, so a poll that dies is repeated and loses nothing. A failure costs nobody anything that is stored.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Protocol

from sqlalchemy import update
from sqlalchemy.orm import Session

from switchboard.clients.caldav import Changes, FetchedBatch, SyncTokenExpiredError, SyncUnsupportedError
from switchboard.clients.host_limits import HostBusyError
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Calendar, CalendarAccount
from switchboard.db.repositories import calendars as rows
from switchboard.db.repositories.statuses import wake_account
from switchboard.deadlines import DeadlinePassedError, cap_timeout_s
from switchboard.errors import (
    AuthError,
    LockLostError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    SwitchboardError,
    TransientError,
)
from switchboard.logs import get_logger

AUTH_FAILURES_TO_PAUSE = 3
RECONCILE_EVERY = timedelta(days=1)
LOST_RETRY_EVERY = timedelta(days=1)
LEASE = timedelta(minutes=10)  # above the longest single request and its transaction; renewed with every batch
BUDGET_S = 60.0  # of one poll, half of its task's time; what is left then is the next poll's
CONTINUE_AFTER = timedelta(seconds=15)
MAX_WAIT = timedelta(hours=1)
CATCH_UP = 2  # after a downtime at most twice the usual number of polls a scan
MAX_REASONS = 3
LOST_STATUSES = frozenset({403, 410})
NOT_GIVEN = "the server listed the object and could not give it; it is asked for again each day"

log = get_logger(__name__)

Progress = Callable[[int, int], None]


class CalendarServer(Protocol):
    """What a poll needs of `switchboard.clients.caldav.CaldavClient`."""

    def changes(self, calendar_url: str, token: str | None) -> Changes: ...

    def etags(self, calendar_url: str) -> dict[str, str]: ...

    def fetch(self, calendar_url: str, hrefs: list[str]) -> Iterator[FetchedBatch]: ...


ServerFactory = Callable[[str, str, str], AbstractContextManager[CalendarServer]]  # url, login, password


class PollNotices(Protocol):
    """Tells the owner, each thing once; writes in the transaction of what it tells of."""

    def account_paused(self, session: Session, account: CalendarAccount, now: datetime) -> None: ...

    def calendar_lost(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None: ...

    def calendar_back(self, session: Session, account: CalendarAccount, calendar: Calendar, now: datetime) -> None: ...


class PollOutcome(enum.StrEnum):
    """How a poll ended."""

    POLLED = "polled"
    CONTINUED = "continued"  # its time was over; another poll goes on where it stopped
    PARTLY = "partly"  # some calendars could not be read
    FAILED = "failed"  # none could; tried again later
    DEFERRED = "deferred"  # no turn at the host, which many ask or which rests; nobody's failure
    PAUSED = "paused"  # the login was refused too often; the owner has been told
    SKIPPED = "skipped"  # the account is paused or gone, or another poll has taken it over


@dataclass(frozen=True, slots=True)
class PollResult:
    """Counts of objects over all calendars; `error` is the last failure in words, without addresses or secrets."""

    outcome: PollOutcome
    changed: int = 0
    removed: int = 0
    unreadable: int = 0
    error: str | None = None
    retry_after_s: float | None = None
    """Of a deferred poll: when the host may be asked again, in seconds."""

    @property
    def needs_expansion(self) -> bool:
        """Whether anything was stored that occurrences depend on."""
        return self.changed > 0


@dataclass(frozen=True, slots=True)
class LeftOut:
    """How many objects could not be read, or not in full, and the commonest reasons, in English."""

    count: int
    reasons: tuple[str, ...]


@dataclass(slots=True)
class _Poll:
    """One poll under way."""

    account: rows.PolledAccount
    stop_at: float
    progress: Progress
    changed: int = 0
    removed: int = 0
    unreadable: int = 0
    done: int = 0
    total: int = 0
    synced: list[int] = field(default_factory=list)
    error: SwitchboardError | None = None
    refused: bool = False
    over: bool = False
    busy: HostBusyError | None = None


@dataclass(frozen=True, slots=True)
class _Difference:
    """What to fetch (href to the ETag it was listed with), what to remove, and the calendar's new marks."""

    fetch: dict[str, str]
    remove: list[str]
    token: str | None
    reconciled: bool


class _TimeIsOverError(Exception):
    """The poll's budget is used up; what was stored stays."""


class CalendarPolling:
    """The polls' use cases. One poll per account at a time: the claim and the fence see to it, a lock saves the work.

    `scan_period_s` is how often `claim_due` is called.
    """

    def __init__(
        self,
        database: Database,
        open_server: ServerFactory,
        secret_box: SecretBox,
        notices: PollNotices,
        clock: Callable[[], datetime],
        *,
        poll_period_s: float,
        scan_period_s: float = 15.0,
        budget_s: float = BUDGET_S,
    ) -> None:
        self._database = database
        self._open_server = open_server
        self._secret_box = secret_box
        self._notices = notices
        self._clock = clock
        self._poll_period_s = poll_period_s
        self._scan_period_s = scan_period_s
        self._budget_s = budget_s

    def claim_due(self, *, limit: int = 1_000) -> list[int]:
        """Claim the accounts whose poll is due and return their ids; each gets its next time, at its own offset.

        At most twice as many as a scan usually finds, so that a downtime does not end in all polls at once.
        """
        now = self._clock()
        with self._database.write() as session:
            share = rows.count_active_accounts(session) * self._scan_period_s / self._poll_period_s
            claimed = rows.claim_due_accounts(session, now, now + LEASE, min(limit, max(10, ceil(share * CATCH_UP))))
            rest = now + timedelta(
                seconds=self._poll_period_s / 2
            )  # a late poll is not followed by one in its own slot
            rows.set_next_polls(session, {id_: rows.next_slot(id_, rest, self._poll_period_s) for id_ in claimed})
        return claimed

    def poll(self, account_id: int, *, progress: Progress | None = None) -> PollResult:
        """Poll the account's watched calendars; `progress` gets objects fetched so far and known so far.

        Failures of the server are outcomes, not errors. Idempotent; safe to repeat after a crash at any point.
        """
        now = self._clock()
        with self._database.write() as session:
            account = rows.begin_poll(session, account_id, now + LEASE)
            if account is None:
                return PollResult(PollOutcome.SKIPPED)
            calendars = rows.watched_calendars(session, account_id, now - LOST_RETRY_EVERY)
        poll = _Poll(
            account, time.monotonic() + cap_timeout_s(self._budget_s), progress or (lambda _done, _total: None)
        )
        try:
            if calendars:
                self._poll_calendars(poll, calendars)
            return self._finish(poll, wanted=len(calendars))
        except LockLostError:
            log.warning("calendar_poll_superseded", account_id=account_id)
            return PollResult(PollOutcome.SKIPPED, poll.changed, poll.removed, poll.unreadable)

    def left_out(self, account_id: int) -> LeftOut:
        """What polls and expansions could not read in the account's watched calendars."""
        with self._database.read() as session:
            found = rows.problems(session, account_id)
        return LeftOut(sum(found.values()), tuple(found)[:MAX_REASONS])

    def _poll_calendars(self, poll: _Poll, calendars: list[rows.PolledCalendar]) -> None:
        try:
            with self._open_server(
                poll.account.server_url, poll.account.login, self._secret_box.decrypt(poll.account.password)
            ) as server:
                for calendar in calendars:
                    if not self._poll_one(server, poll, calendar):
                        return
        except LockLostError:
            raise
        except SwitchboardError as error:  # the address itself is refused
            poll.error = error

    def _poll_one(self, server: CalendarServer, poll: _Poll, calendar: rows.PolledCalendar) -> bool:
        """Poll one calendar; False when the others need not be tried."""
        try:
            if time.monotonic() > poll.stop_at:
                raise _TimeIsOverError
            self._sync(server, poll, calendar)
            poll.synced.append(calendar.id)
        except LockLostError:
            raise
        except (_TimeIsOverError, DeadlinePassedError):
            poll.over = True
            return False
        except AuthError as error:
            poll.error, poll.refused = error, True
            return False
        except HostBusyError as error:
            poll.busy = error
            return False
        except RateLimitedError as error:
            poll.error = error
            return False
        except (NotFoundError, RemoteRejectedError) as error:
            if isinstance(error, RemoteRejectedError) and error.status not in LOST_STATUSES:
                poll.error = error
            else:
                self._lose(poll, calendar, error)
        except SwitchboardError as error:
            poll.error = error
        return True

    def _sync(self, server: CalendarServer, poll: _Poll, calendar: rows.PolledCalendar) -> None:
        difference = self._differences(server, calendar)
        hrefs = list(difference.fetch)
        poll.total += len(hrefs)
        if not hrefs:
            self._end_calendar(poll, calendar, difference)
            return
        poll.progress(poll.done, poll.total)
        left, marked = len(hrefs), False
        for batch in server.fetch(calendar.url, hrefs):
            received = [
                rows.ReceivedObject(item.href, item.etag or difference.fetch[item.href], item.raw, item.problem)
                for item in batch.objects
            ]
            size = len(batch.objects) + len(batch.missing) + len(batch.failed)
            left -= size
            now = self._clock()
            with self._database.write() as session:
                rows.hold(session, poll.account, now + LEASE)
                stored = rows.stored_etags(session, calendar.id, batch.failed)  # of those the old content stands
                received += [
                    rows.ReceivedObject(href, "", b"", NOT_GIVEN) for href in batch.failed if href not in stored
                ]
                changed = rows.store_objects(session, calendar, received, now)
                removed = rows.remove_objects(session, calendar, batch.missing, now)
                if left <= 0:
                    removed += self._set_marks(session, poll, calendar, difference)
                    marked = True
                else:
                    session.get_one(Calendar, calendar.id).half_polled = True
                if changed or removed:
                    wake_account(session, poll.account.id, now)
            poll.changed += changed
            poll.removed += removed
            poll.unreadable += len(batch.failed)
            poll.done += size
            poll.progress(poll.done, poll.total)
            if batch.failed:
                log.warning("calendar_objects_unreadable", calendar_id=calendar.id, count=len(batch.failed))
            if left > 0 and time.monotonic() > poll.stop_at:
                raise _TimeIsOverError
        if not marked:  # two spellings of one href were answered as one
            self._end_calendar(poll, calendar, difference)

    def _differences(self, server: CalendarServer, calendar: rows.PolledCalendar) -> _Difference:
        """Ask the server; no transaction is open meanwhile."""
        due = (
            calendar.state != rows.ACTIVE
            or calendar.reconciled_at is None
            or self._clock() - calendar.reconciled_at >= RECONCILE_EVERY
        )
        if calendar.sync_token is None and not due:  # a server without sync reports; it is asked for one again each day
            return self._against(calendar, server.etags(calendar.url), None, reconciled=False)
        if calendar.sync_token is not None:
            try:
                changes = server.changes(calendar.url, calendar.sync_token)
            except SyncTokenExpiredError:
                log.info("calendar_sync_token_expired", calendar_id=calendar.id)
            else:
                if due or not changes.complete:
                    return self._against(calendar, server.etags(calendar.url), changes.token, reconciled=True)
                with self._database.read() as session:
                    stored = rows.stored_etags(session, calendar.id, changes.changed)
                return _Difference(
                    fetch=_other(changes.changed, stored),
                    remove=list(changes.removed),
                    token=changes.token,
                    reconciled=False,
                )
        return self._everything(server, calendar)

    def _everything(self, server: CalendarServer, calendar: rows.PolledCalendar) -> _Difference:
        try:
            changes = server.changes(calendar.url, None)
        except SyncUnsupportedError:
            return self._against(calendar, server.etags(calendar.url), None, reconciled=True)
        listing = changes.changed
        if (
            changes.pages > 1 or not changes.complete
        ):  # some servers' first pages skip members, and what is absent is removed
            listing = {**listing, **server.etags(calendar.url)}
        return self._against(calendar, listing, changes.token, reconciled=True)

    def _against(
        self, calendar: rows.PolledCalendar, listing: dict[str, str], token: str | None, *, reconciled: bool
    ) -> _Difference:
        """The difference between a whole listing and the store."""
        with self._database.read() as session:
            stored = rows.stored_etags(session, calendar.id)
        return _Difference(
            fetch=_other(listing, stored),
            remove=[href for href in stored if href not in listing],
            token=token,
            reconciled=reconciled,
        )

    def _end_calendar(self, poll: _Poll, calendar: rows.PolledCalendar, difference: _Difference) -> None:
        """Nothing to fetch; a calendar in which nothing happened costs no transaction."""
        if (
            not difference.remove
            and difference.token == calendar.sync_token
            and not difference.reconciled
            and calendar.state == rows.ACTIVE
        ):
            return
        with self._database.write() as session:
            now = self._clock()
            rows.hold(session, poll.account, now + LEASE)
            removed = self._set_marks(session, poll, calendar, difference)
            if removed:
                wake_account(session, poll.account.id, now)
        poll.removed += removed

    def _set_marks(self, session: Session, poll: _Poll, calendar: rows.PolledCalendar, difference: _Difference) -> int:
        """The end of a calendar's poll, in the transaction of its last changes; return how many objects were removed."""
        now = self._clock()
        removed = rows.remove_objects(session, calendar, difference.remove, now)
        row = session.get_one(Calendar, calendar.id)
        row.sync_token = difference.token
        row.half_polled = False
        if difference.reconciled:
            row.reconciled_at = now
            row.known_since = row.known_since or now
        if row.state != rows.ACTIVE:
            row.state, row.reason = rows.ACTIVE, None
            self._notices.calendar_back(session, session.get_one(CalendarAccount, poll.account.id), row, now)
        return removed

    def _lose(self, poll: _Poll, calendar: rows.PolledCalendar, error: SwitchboardError) -> None:
        """Mark a calendar the server no longer shows; what is stored of it stays, and it is tried again each day."""
        now = self._clock()
        with self._database.write() as session:
            rows.hold(session, poll.account, now + LEASE)
            row = session.get_one(Calendar, calendar.id)
            row.reconciled_at, row.sync_token = now, None
            if row.state != rows.LOST:
                row.state, row.reason = rows.LOST, str(error)
                self._notices.calendar_lost(session, session.get_one(CalendarAccount, poll.account.id), row, now)
        poll.synced.append(calendar.id)

    def _finish(self, poll: _Poll, *, wanted: int) -> PollResult:
        """Record how it went and free the account."""
        now = self._clock()
        outcome = PollOutcome.POLLED
        if poll.error is not None:
            outcome = PollOutcome.PARTLY if poll.synced else PollOutcome.FAILED
        elif poll.busy is not None:
            outcome = PollOutcome.DEFERRED
        elif poll.over:
            outcome = PollOutcome.CONTINUED
        with self._database.write() as session:
            if outcome is PollOutcome.POLLED:
                rows.finish_poll(session, poll.account, now)
            else:
                outcome = self._record_trouble(session, poll, outcome, now)
            if poll.synced:
                session.execute(update(Calendar).where(Calendar.id.in_(poll.synced)).values(synced_at=now))
        if poll.error is not None:
            log.warning(
                "calendar_poll_failed",
                account_id=poll.account.id,
                outcome=outcome.value,
                calendars=wanted,
                error=str(poll.error),
            )
        return PollResult(
            outcome,
            poll.changed,
            poll.removed,
            poll.unreadable,
            str(poll.error) if poll.error is not None else None,
            poll.busy.retry_after_s if poll.busy is not None else None,
        )

    def _record_trouble(self, session: Session, poll: _Poll, outcome: PollOutcome, now: datetime) -> PollOutcome:
        """Record a poll that did not end well, in its last transaction; return how it ended after all."""
        rows.hold(session, poll.account, now)
        account = session.get_one(CalendarAccount, poll.account.id)
        account.claimed_until = None
        if poll.synced or poll.busy is None:
            account.last_polled_at = now
        if poll.error is None and (poll.synced or poll.busy is None):
            account.last_error = account.last_error_at = None
            account.failures = account.auth_failures = 0
        elif poll.error is not None:
            account.last_error, account.last_error_at = str(poll.error), now
            account.failures = account.failures + 1 if outcome is PollOutcome.FAILED else 0
            if poll.refused:
                account.auth_failures += 1
            elif poll.synced:
                account.auth_failures = 0
            self._put_off(account, poll.error, now)
        if poll.busy is not None and poll.error is None:
            self._wait_for_host(account, poll.busy, now)
        if poll.over:
            account.next_poll_at = min(account.next_poll_at, now + CONTINUE_AFTER)
        if account.auth_failures >= AUTH_FAILURES_TO_PAUSE:
            outcome = PollOutcome.PAUSED
            account.state, account.reason, account.paused_at = rows.PAUSED, str(poll.error), now
            self._notices.account_paused(session, account, now)
        return outcome

    def _wait_for_host(self, account: CalendarAccount, busy: HostBusyError, now: datetime) -> None:
        """The next try of an account whose turn did not come: soon where many ask, after the rest where the host rests.

        Those that waited longest are claimed first; after a rest each comes at its own offset, not all at once.
        """
        wait = min(timedelta(seconds=busy.retry_after_s or 0.0), MAX_WAIT)
        if wait <= CONTINUE_AFTER:
            account.next_poll_at = min(account.next_poll_at, now + CONTINUE_AFTER)
        else:
            later = rows.next_slot(account.id, now + wait, self._poll_period_s)
            account.next_poll_at = max(account.next_poll_at, later)

    def _put_off(self, account: CalendarAccount, error: SwitchboardError, now: datetime) -> None:
        """The next try of a failing account: twice as long each time, or what the server asked for; an hour at most."""
        wait = timedelta()
        if account.failures > 1:
            wait = timedelta(seconds=self._poll_period_s * 2 ** min(account.failures - 1, 16))
        if isinstance(error, TransientError) and error.retry_after_s is not None:
            wait = max(wait, timedelta(seconds=min(error.retry_after_s, MAX_WAIT.total_seconds())))
        if wait:
            later = rows.next_slot(account.id, now + min(wait, MAX_WAIT), self._poll_period_s)
            account.next_poll_at = max(account.next_poll_at, later)


def _other(listed: dict[str, str], stored: dict[str, str]) -> dict[str, str]:
    """What is listed with another ETag than is stored; one without an ETag might be anything."""
    return {href: etag for href, etag in listed.items() if not etag or stored.get(href) != etag}
