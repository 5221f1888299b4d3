"""Answers to invitations: kept at the click, written to the calendar server, shown in the message that was clicked.

What is wanted is a state, so any step may be repeated and every write begins with a look: it says so already, done; else a PUT
with If-Match; after a conflict or a lost answer the object is read again. The claim is proven between that look and
the PUT. So a worker that lost its claim either sees that it did, or its PUT meets an object that another has changed since.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.clients.caldav import FetchedObject
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    AnswerState,
    Calendar,
    CalendarAccount,
    CalendarObject,
    CalendarOccurrence,
    CalendarSubscriber,
    Delivery,
)
from switchboard.db.repositories import answers as rows
from switchboard.db.repositories import calendars as calendar_rows
from switchboard.db.repositories.answers import HeldAnswer
from switchboard.db.repositories.subscribers import lock_clicker
from switchboard.deadlines import cap_timeout_s
from switchboard.domain.calendar.answering import Reply, Verdict, answer
from switchboard.domain.calendar.changes import Change
from switchboard.domain.calendar.occurrences import Occurrence
from switchboard.errors import (
    AuthError,
    ConflictError,
    LockBusyError,
    NotFoundError,
    PermanentError,
    TransientError,
    UncertainError,
)
from switchboard.logs import get_logger
from switchboard.services.calendar.questions import (
    REMINDER_NUMBER,
    Meetings,
    is_asked,
    rows_of_message,
    target_of,
)
from switchboard.services.conversation.answers import ButtonRow

TRIES = 3
"""PUTs of one call; a meeting that is changed more often than that is left alone for a while."""
WISHES = 5
"""Wishes that one call follows while their owner goes on clicking."""
GIVE_UP_AFTER = timedelta(days=1)
LEASE = timedelta(seconds=90)  # above the hard limit of the task
LOCK_LEASE_S = 180.0
LOCK_WAIT_S = 8.0
LOCK_STEP_S = 0.25
BACKOFF_FIRST = timedelta(seconds=10)
BACKOFF_LONGEST = timedelta(minutes=15)
SHOW_AGAIN_AFTER = timedelta(seconds=30)

log = get_logger(__name__)


class ObjectServer(Protocol):
    """What an answer needs of `switchboard.clients.caldav.CaldavClient`."""

    def get(self, calendar_url: str, href: str) -> FetchedObject: ...

    def put(self, calendar_url: str, href: str, raw: bytes, etag: str) -> str: ...


class Messages(Protocol):
    """switchboard.services.channels.mattermost.MattermostChannel."""

    def redraw(self, post_id: str, rows: Sequence[ButtonRow], recipient: str) -> None: ...


class Locks(Protocol):
    """switchboard.locks.LockFactory."""

    def attempt(self, name: str, lease_s: float) -> AbstractContextManager[object] | None: ...


ServerFactory = Callable[[str, str, str], AbstractContextManager[ObjectServer]]  # url, login, password


@dataclass(frozen=True, slots=True)
class Taken:
    """A wish that was kept as `answer_id`, for the meeting `title`; or None, and the word for why not."""

    answer_id: int | None
    title: str = ""
    reason: str = ""


@dataclass(slots=True)
class WriteReport:
    """What came of a call: `state` of the answer at its end, '' where there was nothing to do; the accounts to expand."""

    state: str = ""
    expand: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Target:
    """An object that holds the meeting, and how to reach it."""

    account: CalendarAccount
    calendar: calendar_rows.PolledCalendar
    href: str
    addresses: frozenset[str]
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class _Written:
    """The answer stands in this object."""

    target: _Target
    etag: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class _Failed:
    """It cannot be written; `reason` is a word for the texts."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Later:
    """Not now; the server asked for this wait where it asked for any."""

    reason: str
    wait_s: float | None = None


class _SupersededError(Exception):
    """There is a newer wish, or somebody else writes."""


_REASONS = {
    Verdict.NOT_INVITED: "not_invited",
    Verdict.ORGANISER: "organiser",
    Verdict.GONE: "gone",
    Verdict.UNREADABLE: "unsafe",
}


class Invitations:
    """Takes the clicks. Asks no server."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def ask(self, user_id: str, delivery_id: int, number: int, reply: Reply, post_id: str) -> Taken:
        """Keep what a person wants to answer to meeting `number` of a message of theirs; the last wish wins."""
        now = self._clock()
        with self._database.write() as session:
            clicked = lock_clicker(session, user_id, delivery_id)
            if clicked is None:
                return Taken(None, reason="gone")
            subscriber, body, _ = clicked
            asked = _asked_about(body, number)
            if asked is None:
                return Taken(None, reason="gone")
            uid, recurrence_id = asked
            meeting = Meetings(session, subscriber.id, {uid}).find(uid, recurrence_id, now)
            problem = _problem(meeting, body, now)
            if problem or meeting is None:
                return Taken(None, reason=problem)
            give_up_at = now + GIVE_UP_AFTER
            if recurrence_id or not meeting.recurrence_id:
                give_up_at = min(give_up_at, meeting.end)
            wish = rows.Wish(subscriber.id, uid, recurrence_id, reply.value, give_up_at, delivery_id, post_id)
            return Taken(rows.ask(session, wish, now), title=meeting.title)


class Answering:
    """Writes what was asked, and shows it."""

    def __init__(
        self,
        database: Database,
        open_server: ServerFactory,
        secret_box: SecretBox,
        messages: Messages,
        locks: Locks,
        clock: Callable[[], datetime],
        *,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        self._database = database
        self._open_server = open_server
        self._secret_box = secret_box
        self._messages = messages
        self._locks = locks
        self._clock = clock
        self._lock_wait_s = lock_wait_s

    def scan_open(self, *, limit: int = 200) -> list[int]:
        """Answers with something left to write or to show that nobody works on: the repair of lost queue messages."""
        with self._database.read() as session:
            return rows.due_ids(session, self._clock(), limit)

    def write(self, answer_id: int) -> WriteReport:
        """Write an answer and show how it stands; failures of servers are outcomes. Idempotent, safe to repeat at any point."""
        now = self._clock()
        report = WriteReport()
        with self._database.write() as session:
            held = rows.claim(session, answer_id, now, now + LEASE)
        for _ in range(WISHES):
            if held is None:
                return report
            later: _Later | None = None
            if held.state == AnswerState.WAITING:
                try:
                    outcome = self._write(held)
                except _SupersededError:
                    held = self._again(held)
                    continue
                later = outcome if isinstance(outcome, _Later) else None
                self._record(held, outcome, report)
                held = self._again(held)
            if held is None:
                return report
            report.state = held.state
            shown = held.shown_version == held.version or self._show(held)
            held = self._again(held)
            if held is not None and self._end(held, later, shown=shown):
                return report
        if held is not None:
            with self._database.write() as session:
                rows.let_go(session, held)  # its owner goes on clicking: the next scan follows
        return report

    def _write(self, held: HeldAnswer) -> _Written | _Failed | _Later:
        if self._clock() >= held.give_up_at:
            return _Failed(held.reason or "over")
        with self._database.read() as session:
            targets = _targets(session, held)
        first: _Failed | None = None
        for target in targets:
            outcome = self._write_at(target, held)
            if not isinstance(outcome, _Failed):
                return outcome
            first = first or outcome
        return first or _Failed("gone")

    def _write_at(self, target: _Target, held: HeldAnswer) -> _Written | _Failed | _Later:
        account = target.account
        if account.state != calendar_rows.ACTIVE:
            return _Failed("password")
        try:
            with (
                self._one_at_a_time(account.id),
                self._open_server(
                    account.server_url, account.login, self._secret_box.decrypt(account.password)
                ) as server,
            ):
                return self._put(server, target, held)
        except AuthError:
            return _Failed("password")
        except NotFoundError:
            return _Failed("gone")
        except TransientError as error:
            log.info("answer_put_off", answer_id=held.id, error=str(error))
            return _Later("no_answer", error.retry_after_s)
        except PermanentError as error:
            log.warning("answer_refused", answer_id=held.id, error=str(error))
            return _Failed("refused")

    def _put(self, server: ObjectServer, target: _Target, held: HeldAnswer) -> _Written | _Failed | _Later:
        """Look, write where it does not say so yet, and look again where the server's answer does not tell."""
        reason = "conflict"
        for tries_left in reversed(range(TRIES + 1)):
            found = server.get(target.calendar.url, target.href)
            answered = answer(
                found.raw,
                uid=held.uid,
                recurrence_id=held.recurrence_id,
                reply=Reply(held.partstat),
                own_addresses=target.addresses,
                zone=target.zone,
                now=self._clock(),
            )
            if answered.verdict is Verdict.ALREADY:
                return _Written(target, found.etag, found.raw)
            if answered.verdict is not Verdict.CHANGED:
                return _Failed(_REASONS[answered.verdict])
            if not found.etag:
                return _Failed("unsafe")  # nothing would tell us that somebody else changes it at the same time
            if not tries_left:
                break
            if not self._still_ours(held):
                raise _SupersededError
            try:
                etag = server.put(target.calendar.url, target.href, answered.raw, found.etag)
            except ConflictError:
                continue
            except UncertainError as error:
                log.info("answer_uncertain", answer_id=held.id, error=str(error))
                reason = "no_answer"
                continue
            if etag:
                return _Written(target, etag, answered.raw)
        return _Later(reason)

    @contextmanager
    def _one_at_a_time(self, account_id: int) -> Iterator[None]:
        """The lock that polls of the account take; a poll is short, so it is waited for. TransientError when it is not."""
        stop_at = time.monotonic() + cap_timeout_s(self._lock_wait_s)
        while (lease := self._locks.attempt(f"calendar-account:{account_id}", LOCK_LEASE_S)) is None:
            if time.monotonic() >= stop_at:
                raise LockBusyError("the account is being polled")
            time.sleep(LOCK_STEP_S)
        with lease:
            yield

    def _still_ours(self, held: HeldAnswer) -> bool:
        with self._database.write() as session:
            return rows.hold(session, held, self._clock() + LEASE)

    def _record(self, held: HeldAnswer, outcome: _Written | _Failed | _Later, report: WriteReport) -> None:
        now = self._clock()
        with self._database.write() as session:
            match outcome:
                case _Written(target=target):
                    _lock_account(session, held.subscriber_id, target.account.id)
                    rows.record(session, held, state=AnswerState.WRITTEN, reason=None, attempts=0)
                    if _store(session, outcome, now):
                        report.expand.append(target.account.id)
                case _Failed(reason=reason):
                    rows.record(session, held, state=AnswerState.FAILED, reason=reason)
                case _Later(reason=reason):
                    rows.record(session, held, reason=reason, attempts=held.attempts + 1)

    def _show(self, held: HeldAnswer) -> bool:
        """Make the message show how its answers stand now; False where it could not be done yet."""
        for _ in range(TRIES):
            now = self._clock()
            with self._database.read() as session:
                shown = _shown(session, held, now)
            if shown is not None:
                recipient, button_rows, versions = shown
                try:
                    self._messages.redraw(held.post_id, button_rows, recipient)
                except (TransientError, UncertainError, AuthError) as error:
                    log.info("answer_not_shown", answer_id=held.id, error=str(error))
                    return False
                except PermanentError as error:  # the message is gone, or may not be changed any more
                    log.warning("answer_cannot_be_shown", answer_id=held.id, error=str(error))
            else:
                versions = {held.id: held.version}
            with self._database.write() as session:
                is_newest = rows.mark_shown(session, versions)
                # A snooze may have been shown there between the look and the drawing.
                if is_newest and _shown(session, held, now) == shown:
                    return True
        return False

    def _again(self, held: HeldAnswer) -> HeldAnswer | None:
        with self._database.read() as session:
            return rows.read_held(session, held)

    def _end(self, held: HeldAnswer, later: _Later | None, *, shown: bool) -> bool:
        """Give the claim back; False where a newer wish came meanwhile."""
        now, due_at = self._clock(), None
        if held.state == AnswerState.WAITING:
            if later is None:
                return False
            due_at = min(now + _backoff(held.attempts, later.wait_s), max(held.give_up_at, now))
        elif not shown and now < held.give_up_at + GIVE_UP_AFTER:
            due_at = now + SHOW_AGAIN_AFTER
        with self._database.write() as session:
            return rows.release(session, held, due_at)


def _asked_about(body: Mapping[str, Any], number: int) -> tuple[str, str] | None:
    """UID and RECURRENCE-ID of the meeting with that number in a message."""
    if "changes" not in body:
        return (body["uid"], body["recurrence_id"]) if number == REMINDER_NUMBER and "uid" in body else None
    changes = body["changes"]
    return target_of(Change.from_json(changes[number])) if 0 <= number < len(changes) else None


def _problem(meeting: Occurrence | None, body: Mapping[str, Any], now: datetime) -> str:
    """Why the meeting cannot be answered, as a word for the texts; '' where it can."""
    if meeting is None:
        start = body.get("start")
        return "over" if start is not None and datetime.fromisoformat(start) + GIVE_UP_AFTER <= now else "gone"
    if meeting.end <= now:
        return "over"
    if meeting.organizer is not None and meeting.organizer.own:
        return "organiser"
    return "" if is_asked(meeting) else "not_invited"


def _targets(session: Session, held: HeldAnswer) -> list[_Target]:
    """The objects that hold the meeting; those first in which the person is asked."""
    subscriber = session.get(CalendarSubscriber, held.subscriber_id)
    if subscriber is None:
        return []
    accounts = {
        account.id: account
        for account in session.scalars(select(CalendarAccount).where(CalendarAccount.subscriber_id == subscriber.id))
    }
    found = session.execute(
        select(
            CalendarOccurrence.account_id,
            CalendarOccurrence.object_id,
            CalendarOccurrence.calendar_id,
            CalendarObject.href,
            CalendarOccurrence.details,
        )
        .join(CalendarObject, CalendarObject.id == CalendarOccurrence.object_id)
        .where(CalendarOccurrence.account_id.in_(accounts), CalendarOccurrence.uid == held.uid)
        .order_by(CalendarOccurrence.account_id, CalendarOccurrence.calendar_id, CalendarOccurrence.start_at)
    ).all()
    targets: dict[int, tuple[bool, _Target]] = {}
    for row in found:
        asked = is_asked(Occurrence.from_json(row.details))
        if row.object_id in targets and (targets[row.object_id][0] or not asked):
            continue
        account = accounts[row.account_id]
        calendar = session.get_one(Calendar, row.calendar_id)
        if not calendar.watched:
            continue
        targets[row.object_id] = (
            asked,
            _Target(
                account,
                _polled(calendar),
                row.href,
                frozenset(address.lower() for address in (*account.addresses, subscriber.email) if address),
                ZoneInfo(subscriber.zone),
            ),
        )
    return [target for _, target in sorted(targets.values(), key=lambda one: not one[0])]


def _polled(calendar: Calendar) -> calendar_rows.PolledCalendar:
    return calendar_rows.PolledCalendar(
        calendar.id,
        calendar.url,
        calendar.name,
        calendar.state,
        calendar.sync_token,
        calendar.reconciled_at,
        calendar.known_since,
    )


def _lock_account(session: Session, subscriber_id: int, account_id: int) -> None:
    """Subscriber, account, then what hangs on them: the order of every writer."""
    session.scalars(
        select(CalendarSubscriber.id).where(CalendarSubscriber.id == subscriber_id).with_for_update(read=True)
    ).all()
    session.scalars(
        select(CalendarAccount.id).where(CalendarAccount.id == account_id).with_for_update(key_share=True)
    ).all()


def _store(session: Session, written: _Written, now: datetime) -> bool:
    """Keep the object as it is on the server now, as a poll would; True where its meetings are to be expanded anew.

    Whatever else was changed in it is told like any change; an own answer is none.
    """
    calendar = session.get(Calendar, written.target.calendar.id)
    if calendar is None or not calendar.watched:
        return False
    raw = written.raw.replace(b"\r\n", b"\n")
    received = calendar_rows.ReceivedObject(written.target.href, written.etag, raw)
    return calendar_rows.store_objects(session, _polled(calendar), [received], now) > 0


def _shown(
    session: Session, held: HeldAnswer, now: datetime
) -> tuple[str, tuple[ButtonRow, ...], dict[int, int]] | None:
    """Whose message it is, the buttons that it should have, and the versions of the answers in it; None where it is gone."""
    subscriber = session.get(CalendarSubscriber, held.subscriber_id)
    delivery = session.get(Delivery, held.delivery_id)
    if subscriber is None or delivery is None or not delivery.body or not held.post_id:
        return None
    answers = rows.of_delivery(session, held.subscriber_id, held.delivery_id)
    button_rows = rows_of_message(session, delivery, subscriber, answers, now)
    return delivery.recipient, button_rows, {one.id: one.version for one in answers}


def _backoff(attempts: int, retry_after_s: float | None) -> timedelta:
    """Twice as long each time, with jitter, and never earlier than the remote asked."""
    longest = min(BACKOFF_LONGEST, BACKOFF_FIRST * (1 << min(max(attempts - 1, 0), 12)))
    wait = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
    return max(wait, timedelta(seconds=retry_after_s or 0))
