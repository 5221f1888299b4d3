"""Rows of accounts, calendars and objects, as polling asks for them.

A poll owns its account by `fence`: every transaction of it begins with `hold`, so that a poll whose lease ended can store
nothing after another has begun.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CursorResult, Result, delete, func, or_, select, update
from sqlalchemy.orm import Session

from switchboard.db.claims import found_once
from switchboard.db.models import Calendar, CalendarAccount, CalendarObject, CalendarOccurrence, CalendarSnapshot
from switchboard.db.repositories import snapshots
from switchboard.db.upsert import MAX_PARAMETERS
from switchboard.domain.portions import portions
from switchboard.errors import LockLostError

ACTIVE = "active"
PAUSED = "paused"
LOST = "lost"

_OTHER_COMPONENTS = tuple(b"BEGIN:" + name for name in (b"VTODO", b"VJOURNAL", b"VFREEBUSY", b"VAVAILABILITY"))
_STAMPS = re.compile(rb"^(?:DTSTAMP|LAST-MODIFIED)[:;][^\n]*\n", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PolledAccount:
    """What a poll needs to sign in; `password` is sealed."""

    id: int
    server_url: str
    login: str
    password: str
    fence: int


@dataclass(frozen=True, slots=True)
class PolledCalendar:
    """A watched calendar at the beginning of a poll."""

    id: int
    url: str
    name: str
    state: str
    sync_token: str | None
    reconciled_at: datetime | None
    known_since: datetime | None


@dataclass(frozen=True, slots=True)
class ReceivedObject:
    """An object as the server sent it; `raw` is empty where `problem` says why."""

    href: str
    etag: str
    raw: bytes
    problem: str | None = None


def count_active_accounts(session: Session) -> int:
    """Accounts that are polled at all."""
    return session.scalar(select(func.count()).where(CalendarAccount.state == ACTIVE)) or 0


def claim_due_accounts(session: Session, now: datetime, until: datetime, limit: int) -> list[int]:
    """Claim the accounts that have waited longest, for `until`; a claim whose time is over may be taken again."""
    due = (
        select(CalendarAccount.id)
        .where(
            CalendarAccount.state == ACTIVE,
            CalendarAccount.next_poll_at <= now,
            or_(CalendarAccount.claimed_until.is_(None), CalendarAccount.claimed_until < now),
        )
        .order_by(CalendarAccount.next_poll_at, CalendarAccount.id)
        .limit(limit)
    )
    claimed = (
        update(CalendarAccount)
        .where(CalendarAccount.id.in_(found_once(due)))
        .values(claimed_until=until, fence=CalendarAccount.fence + 1)
        .returning(CalendarAccount.id)
        .execution_options(synchronize_session=False)
    )
    return sorted(session.scalars(claimed))


def set_next_polls(session: Session, times: Mapping[int, datetime]) -> None:
    """Set `next_poll_at` by account id."""
    if times:
        session.execute(update(CalendarAccount), [{"id": key, "next_poll_at": at} for key, at in times.items()])


def begin_poll(session: Session, account_id: int, until: datetime) -> PolledAccount | None:
    """Take the account for one poll, under a fence of its own; None when it is paused or gone."""
    row = session.execute(
        update(CalendarAccount)
        .where(CalendarAccount.id == account_id, CalendarAccount.state == ACTIVE)
        .values(claimed_until=until, fence=CalendarAccount.fence + 1)
        .returning(
            CalendarAccount.id,
            CalendarAccount.server_url,
            CalendarAccount.login,
            CalendarAccount.password,
            CalendarAccount.fence,
        )
        .execution_options(synchronize_session=False)
    ).first()
    return PolledAccount(row.id, row.server_url, row.login, row.password, row.fence) if row else None


def hold(session: Session, account: PolledAccount, until: datetime) -> None:
    """Prove that the account is still ours, and lengthen the claim; LockLostError when another poll has taken it.

    The row stays locked to the end of the transaction, so nothing of another poll can come in between.
    """
    held = session.execute(
        update(CalendarAccount)
        .where(CalendarAccount.id == account.id, CalendarAccount.fence == account.fence)
        .values(claimed_until=until)
        .execution_options(synchronize_session=False)
    )
    _must_be_ours(held, account)


def finish_poll(session: Session, account: PolledAccount, now: datetime) -> None:
    """Free the account after a poll without any trouble; LockLostError as `hold`."""
    finished = session.execute(
        update(CalendarAccount)
        .where(CalendarAccount.id == account.id, CalendarAccount.fence == account.fence)
        .values(
            claimed_until=None, last_polled_at=now, last_error=None, last_error_at=None, failures=0, auth_failures=0
        )
        .execution_options(synchronize_session=False)
    )
    _must_be_ours(finished, account)


def watched_calendars(session: Session, account_id: int, lost_before: datetime) -> list[PolledCalendar]:
    """The calendars to poll, those first that waited longest; lost ones only when last tried before `lost_before`."""
    rows = session.execute(
        select(
            Calendar.id,
            Calendar.url,
            Calendar.name,
            Calendar.state,
            Calendar.sync_token,
            Calendar.reconciled_at,
            Calendar.known_since,
        )
        .where(
            Calendar.account_id == account_id,
            Calendar.watched,
            or_(Calendar.state == ACTIVE, Calendar.reconciled_at.is_(None), Calendar.reconciled_at <= lost_before),
        )
        .order_by(Calendar.synced_at.is_not(None), Calendar.synced_at, Calendar.id)
    )
    return [PolledCalendar(*row) for row in rows]


def stored_etags(session: Session, calendar_id: int, hrefs: Collection[str] | None = None) -> dict[str, str]:
    """ETags by href: of the whole calendar, or of some of its hrefs."""
    query = select(CalendarObject.href, CalendarObject.etag).where(CalendarObject.calendar_id == calendar_id)
    if hrefs is None:
        return {row.href: row.etag for row in session.execute(query)}
    found: dict[str, str] = {}
    for some in portions(hrefs, MAX_PARAMETERS - 10):
        found.update((row.href, row.etag) for row in session.execute(query.where(CalendarObject.href.in_(some))))
    return found


def store_objects(session: Session, calendar: PolledCalendar, received: Sequence[ReceivedObject], now: datetime) -> int:
    """Keep what came; return how many objects have other content than before, of which snapshots are taken.

    Servers touch objects by themselves: a new ETag, DTSTAMP or LAST-MODIFIED alone is kept and is no change. Objects of other
    components (tasks that a server did not filter out) are kept, so that they are not asked for again, and wait for no
    expansion; what holds neither waits for it, which notes what is wrong.
    """
    calendar_id = calendar.id
    known = _known_objects(session, calendar_id, [item.href for item in received])
    changed = 0
    made, touched, altered, emptied = [], [], [], []
    for item in received:
        row = known.get(item.href)
        if row is None:
            has_event = not item.problem and not _is_no_event(item.raw)
            changed += has_event
            made.append(
                CalendarObject(
                    calendar_id=calendar_id, href=item.href, needs_expansion=has_event, **_columns(item, now)
                )
            )
        elif not _is_changed(row, item):
            if (row.etag, row.raw) != (item.etag, item.raw):
                touched.append({"id": row.id, "etag": item.etag, "raw": item.raw})
        else:
            changed += 1
            if item.problem:
                emptied.append(row.id)
            expands = {"needs_expansion": not item.problem, "expansion_attempts": 0}
            altered.append({"id": row.id, **expands, **_columns(item, now)})
    if calendar.known_since is not None:
        by_id = {row.id: row.href for row in known.values()}
        news = [row.href for row in made if row.needs_expansion or row.unreadable]
        snapshots.take(session, calendar_id, [*news, *(by_id[row["id"]] for row in altered)], now)
    session.add_all(made)
    for rows in (touched, altered):
        if rows:
            session.execute(update(CalendarObject), rows)
    if emptied:
        session.execute(delete(CalendarOccurrence).where(CalendarOccurrence.object_id.in_(emptied)))
    session.flush()
    session.expunge_all()  # a first poll stores thousands; none of them is needed again
    return changed


def _known_objects(session: Session, calendar_id: int, hrefs: Sequence[str]) -> dict[str, Any]:
    """What is stored under these hrefs."""
    query = select(
        CalendarObject.id, CalendarObject.href, CalendarObject.etag, CalendarObject.raw, CalendarObject.problem
    ).where(CalendarObject.calendar_id == calendar_id)
    return {
        row.href: row
        for some in portions(hrefs, MAX_PARAMETERS - 10)
        for row in session.execute(query.where(CalendarObject.href.in_(some)))
    }


def _is_changed(row: Any, item: ReceivedObject) -> bool:
    """Whether an object came with other content than is stored; what holds no event, now or before, does not count."""
    if item.problem:
        return True
    holds_no_event = not row.problem and _is_no_event(item.raw) and _is_no_event(row.raw)
    return _content(row.raw) != _content(item.raw) and not holds_no_event


def _columns(item: ReceivedObject, now: datetime) -> dict[str, Any]:
    """What is stored of a new or changed object."""
    return {
        "etag": item.etag,
        "raw": item.raw,
        "problem": item.problem,
        "unreadable": item.problem is not None,
        "changed_at": now,
    }


def remove_objects(session: Session, calendar: PolledCalendar, hrefs: Collection[str], now: datetime) -> int:
    """Remove objects with their occurrences and reminders, snapshots taken; return how many there were."""
    calendar_id = calendar.id
    if hrefs and calendar.known_since is not None:
        stored = stored_etags(session, calendar_id, hrefs)
        snapshots.take(session, calendar_id, list(stored), now)
    removed = 0
    for some in portions(hrefs, MAX_PARAMETERS - 10):
        result = session.execute(
            delete(CalendarObject)
            .where(CalendarObject.calendar_id == calendar_id, CalendarObject.href.in_(some))
            .execution_options(synchronize_session=False)
        )
        removed += result.rowcount if isinstance(result, CursorResult) else 0
    return removed


def problems(session: Session, account_id: int) -> dict[str, int]:
    """What was wrong with objects of the watched calendars, and with how many: the commonest first."""
    found = session.execute(
        select(CalendarObject.problem, func.count().label("objects"))
        .join(Calendar, Calendar.id == CalendarObject.calendar_id)
        .where(Calendar.account_id == account_id, Calendar.watched, CalendarObject.problem.is_not(None))
        .group_by(CalendarObject.problem)
        .order_by(func.count().desc(), CalendarObject.problem)
    )
    return {row.problem: row.objects for row in found}


def forget_objects(session: Session, calendar_ids: Collection[int]) -> None:
    """Remove everything stored of these calendars; their next poll begins from nothing."""
    session.execute(delete(CalendarObject).where(CalendarObject.calendar_id.in_(calendar_ids)))
    session.execute(delete(CalendarSnapshot).where(CalendarSnapshot.calendar_id.in_(calendar_ids)))
    session.execute(
        update(Calendar)
        .where(Calendar.id.in_(calendar_ids))
        .values(sync_token=None, synced_at=None, reconciled_at=None, known_since=None, half_polled=False)
    )


def next_slot(account_id: int, after: datetime, period_s: float) -> datetime:
    """The first of the account's own instants after `after`: one each period, at an offset that its id decides.

    So polls stay spread over the period whatever happens, and no delay of one moves the next.
    """
    phase = (account_id * 2_654_435_761 % 2**32) / 2**32 * period_s  # Knuth's multiplicative hash spreads ids in a row
    seconds = after.timestamp()
    return after + timedelta(seconds=period_s - (seconds - phase) % period_s)


def _is_no_event(raw: bytes) -> bool:
    """Whether it holds components other than events and no event; also in UTF-16, whose letters have zeros between them."""
    text = raw.replace(b"\0", b"").upper()
    return b"BEGIN:VEVENT" not in text and any(name in text for name in _OTHER_COMPONENTS)


def _must_be_ours(held: Result[Any], account: PolledAccount) -> None:
    if not isinstance(held, CursorResult) or held.rowcount != 1:
        raise LockLostError(f"the poll of calendar account {account.id} was taken over")


def _content(raw: bytes) -> bytes:
    return _STAMPS.sub(b"", raw)
