"""The delivery ledger's rows and their transitions.

    PENDING -> CLAIMED -> SENDING -> SENT -> READ        ends: DEAD, EXPIRED
                  |           |
               PENDING     UNCERTAIN -> SENT | PENDING

Every transition is an UPDATE guarded by state and fence; its row count decides whether it took place. CLAIMED whose lease
ended goes back to PENDING, because nothing was sent; SENDING whose lease ended is UNCERTAIN, because something may have
been. EXPIRED was never sent, and is PENDING again when it is entered again in time. Of one subject only the oldest open row
may be claimed, or several from the oldest on by one who sends them in this order; a postponed one (PENDING, `claimed_until`
ahead) lets the others pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CursorResult,
    Row,
    Select,
    Update,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from switchboard.db.claims import found_once
from switchboard.db.models import OPEN_STATES, Delivery, DeliveryState
from switchboard.db.models.deliveries import HELD_STATES, WAITING_STATES
from switchboard.db.upsert import MAX_PARAMETERS, insert_new
from switchboard.domain.portions import portions

LOOKED_AT = 4  # times as many rows as are wanted, to find those that follow in their subjects
Instant = datetime | BindParameter[datetime]
_TABLE = Delivery.metadata.tables[Delivery.__tablename__]


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A message to enter in the ledger; `key` is unique for all time, `body` holds the facts to render it from.

    With `not_before` it is put off to that time from the beginning.
    """

    channel: str
    kind: str
    key: str
    subject: str
    recipient: str
    body: Mapping[str, Any] = field(default_factory=dict)
    expires_at: datetime | None = None
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ClaimedDelivery:
    """A row in the hands of one sender (or one looker, for UNCERTAIN ones) until `claimed_until`."""

    id: int
    channel: str
    kind: str
    key: str
    subject: str
    recipient: str
    body: Mapping[str, Any]
    fence: int
    claimed_until: datetime
    expires_at: datetime | None
    attempts: int
    first_attempt_at: datetime | None


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep moved: rows back to PENDING, to UNCERTAIN, to EXPIRED."""

    released: int
    uncertain: int
    expired: int


class DeliveryRepository:
    """The ledger inside one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, deliveries: Sequence[NewDelivery], now: datetime) -> list[int]:
        """As `enter`; return the ids of the new rows, in order."""
        return sorted(self.enter(deliveries, now).values())

    def enter(self, deliveries: Sequence[NewDelivery], now: datetime) -> dict[str, int]:
        """Enter messages; those whose key stands already are left out. Return the ids of the new rows by their keys.

        One that expired was provably not sent: wanted again while it is of use (a meeting moved away and back), it waits
        again and counts as new.
        """
        rows = [
            {
                "channel": new.channel,
                "kind": new.kind,
                "key": new.key,
                "subject": new.subject,
                "sender": sender_of(new.channel, new.subject),
                "recipient": new.recipient,
                "body": dict(new.body),
                "state": DeliveryState.PENDING,
                "fence": 0,
                "attempts": 0,
                "claimed_until": new.not_before,
                "next_attempt_at": new.not_before or now,
                "expires_at": new.expires_at,
                "created_at": now,
            }
            for new in deliveries
        ]
        made = {row.key: row.id for row in insert_new(self._session, Delivery, rows, Delivery.id, Delivery.key)}
        return made | self._revive([new for new in deliveries if new.key not in made], now)

    def _revive(self, deliveries: Sequence[NewDelivery], now: datetime) -> dict[str, int]:
        """Bring expired rows that are still of use back to PENDING, as they are wanted now; their ids by their keys."""
        revived: dict[str, int] = {}
        wanted = {new.key: new for new in deliveries}
        for some in portions(list(wanted), MAX_PARAMETERS // 2):
            found = self._session.execute(
                update(Delivery)
                .where(
                    Delivery.key.in_(some),
                    Delivery.state == DeliveryState.EXPIRED,
                    Delivery.body.is_not(None),
                    or_(Delivery.expires_at.is_(None), Delivery.expires_at > now),
                )
                .values(state=DeliveryState.PENDING, finished_at=None, reason=None)
                .returning(Delivery.id, Delivery.key)
                .execution_options(synchronize_session=False)
            ).all()
            for row in found:
                new = wanted[row.key]
                # The body names rows that may be others by now: a calendar that was disconnected and connected again.
                self._session.execute(
                    update(Delivery)
                    .where(Delivery.id == row.id)
                    .values(
                        body=dict(new.body),
                        expires_at=new.expires_at,
                        claimed_until=new.not_before,
                        next_attempt_at=new.not_before or now,
                    )
                    .execution_options(synchronize_session=False)
                )
            revived |= {row.key: row.id for row in found}
        return revived

    def claim(
        self,
        channel: str,
        *,
        owner: str,
        now: datetime,
        lease: timedelta,
        ids: Sequence[int] | None = None,
        limit: int = 50,
        state: DeliveryState = DeliveryState.PENDING,
    ) -> list[ClaimedDelivery]:
        """Take due rows, the oldest open one of each subject, for `lease`; of `ids` where given.

        With state UNCERTAIN the rows are taken to be looked up and stay UNCERTAIN.
        """
        due = (
            select(Delivery.id)
            .where(Delivery.channel == channel, Delivery.state == state, _is_claimable(now), _is_oldest(now))
            .order_by(Delivery.next_attempt_at, Delivery.id)
            .limit(limit)
        )
        due = due.where(_in(Delivery.state, WAITING_STATES) if ids is None else Delivery.id.in_(ids))
        held = DeliveryState.CLAIMED if state is DeliveryState.PENDING else state
        claimed = self._session.scalars(
            update(Delivery)
            .where(Delivery.id.in_(found_once(due)), Delivery.state == state)
            .values(state=held, owner=owner, fence=Delivery.fence + 1, claimed_until=now + lease)
            .returning(Delivery)
            .execution_options(synchronize_session=False, populate_existing=True)
        ).all()
        return sorted((_claimed(row, now + lease) for row in claimed), key=lambda row: row.id)

    def due_in_order(self, sender: int, now: datetime, *, limit: int) -> list[int]:
        """What an account could claim now, by the order of its subjects: several of one only from its oldest open row on.

        Those that follow are of the same kind as the oldest: another kind may speak of what became of it.
        """
        oldest = self._session.execute(_oldest_due(), {"sender": sender, "now": now, "most": limit}).all()
        ids = [row.id for row in oldest]
        kinds = {row.subject: row.kind for row in oldest if row.state == DeliveryState.PENDING}
        if not kinds or len(ids) == limit:
            return ids
        looked_at = {"subjects": list(kinds), "after": min(ids), "now": now, "most": LOOKED_AT * limit}
        following = self._session.execute(_open_after(), looked_at)
        taken = set(ids)
        for row in following:
            if row.id in taken or row.off or row.subject not in kinds:
                continue
            if not row.due or row.kind != kinds[row.subject]:
                del kinds[row.subject]
            elif len(ids) < limit:
                ids.append(row.id)
        return ids

    def claim_in_order(
        self, ids: Mapping[int, Sequence[int]], *, owner: str, now: datetime, lease: timedelta
    ) -> tuple[list[ClaimedDelivery], set[int]]:
        """Take what `due_in_order` found, by sender, as far as it still waits there; the second are the UNCERTAIN of them.

        For one who alone may claim the rows of these senders (leases say so), or the order would not be kept.
        """
        wanted = [and_(_TABLE.c.sender == sender, _TABLE.c.id.in_(some)) for sender, some in ids.items() if some]
        if not wanted:
            return [], set()
        claimed = self._session.execute(
            update(_TABLE)
            .where(or_(*wanted), _in(_TABLE.c.state, WAITING_STATES), _TABLE.c.next_attempt_at <= now)
            .values(
                state=case((_TABLE.c.state == DeliveryState.PENDING, DeliveryState.CLAIMED), else_=_TABLE.c.state),
                owner=owner,
                fence=_TABLE.c.fence + 1,
                claimed_until=now + lease,
            )
            .returning(*_TABLE.c)
        ).all()
        rows = sorted((_claimed(row, now + lease) for row in claimed), key=lambda row: row.id)
        return rows, {row.id for row in claimed if row.state == DeliveryState.UNCERTAIN}

    def begin_sending(self, claimed: Sequence[ClaimedDelivery], now: datetime) -> set[int]:
        """Mark rows SENDING before their first byte leaves; return the ids still ours. Commit before you send."""
        return self._transition(
            claimed,
            DeliveryState.CLAIMED,
            state=DeliveryState.SENDING,
            attempts=Delivery.attempts + 1,
            first_attempt_at=func.coalesce(Delivery.first_attempt_at, now),
        )

    def keep_bodies(self, bodies: Mapping[ClaimedDelivery, Mapping[str, Any]]) -> None:
        """Replace the facts of claimed rows: what is being sent is fixed by them from now on."""
        if not bodies:
            return
        self._count(
            update(_TABLE)
            .where(_TABLE.c.id == bindparam("of_id"), _TABLE.c.fence == bindparam("of_fence"))
            .values(body=bindparam("of_body")),
            [{"of_id": row.id, "of_fence": row.fence, "of_body": dict(body)} for row, body in bodies.items()],
        )

    def take_over(self, sender: int, now: datetime) -> Swept:
        """End the leases of the one who sent for this account before, who is known to be gone: as `sweep`, but at once."""
        theirs = Delivery.sender == sender
        released = self._count(
            update(Delivery)
            .where(_in(Delivery.state, HELD_STATES), Delivery.state == DeliveryState.CLAIMED, theirs)
            .values(state=DeliveryState.PENDING, claimed_until=None, next_attempt_at=now, fence=Delivery.fence + 1)
        )
        uncertain = self._count(
            update(Delivery)
            .where(
                or_(
                    and_(_in(Delivery.state, HELD_STATES), Delivery.state == DeliveryState.SENDING),
                    and_(
                        _in(Delivery.state, WAITING_STATES),
                        Delivery.state == DeliveryState.UNCERTAIN,
                        Delivery.claimed_until.is_not(None),
                    ),
                ),
                theirs,
            )
            .values(
                state=DeliveryState.UNCERTAIN,
                claimed_until=None,
                next_attempt_at=now,
                fence=Delivery.fence + 1,
                reason="the sender vanished during the call",
            )
        )
        return Swept(released=released, uncertain=uncertain, expired=0)

    def end_begun(self, sender: int, *, reason: str, now: datetime) -> None:
        """What this account began to send can be neither looked for nor sent again under the same numbers."""
        self._end_of(sender, (DeliveryState.SENDING, DeliveryState.UNCERTAIN), reason, now)

    def end_waiting(self, sender: int, *, reason: str, now: datetime) -> None:
        """What this account was to send and did not begin goes from nobody."""
        self._end_of(sender, (DeliveryState.PENDING, DeliveryState.CLAIMED), reason, now)

    def _end_of(self, sender: int, states: Sequence[DeliveryState], reason: str, now: datetime) -> None:
        self._session.execute(
            update(Delivery)
            .where(Delivery.sender == sender, _in(Delivery.state, OPEN_STATES), Delivery.state.in_(states))
            .values(
                state=DeliveryState.DEAD,
                reason=reason,
                finished_at=now,
                claimed_until=None,
                fence=Delivery.fence + 1,
            )
            .execution_options(synchronize_session=False)
        )

    def due_senders(self, now: datetime, *, among: Collection[int] | None = None) -> set[int]:
        """The accounts with something to send or to look up now, all or of these."""
        some = Delivery.sender.is_not(None) if among is None else Delivery.sender.in_(among)
        due = select(Delivery.sender).where(some, _in(Delivery.state, WAITING_STATES), Delivery.next_attempt_at <= now)
        return {sender for sender in self._session.scalars(due.distinct()) if sender is not None}

    def record_read(self, ids: Sequence[int] | Select[int]) -> None:
        """The recipient has read them."""
        self._session.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.SENT)
            .values(state=DeliveryState.READ)
            .execution_options(synchronize_session=False)
        )

    def record_sent(self, remote_ids: Mapping[ClaimedDelivery, str], now: datetime) -> int:
        """The remote has them under these ids, by an answer or by a look-up; return how many rows moved."""
        if not remote_ids:
            return 0
        # One statement for all; it names the table and not the class, because its guard differs from row to row.
        return self._count(
            update(_TABLE)
            .where(
                _TABLE.c.id == bindparam("of_id"),
                _TABLE.c.fence == bindparam("of_fence"),
                or_(_TABLE.c.state == DeliveryState.SENDING, _TABLE.c.state == DeliveryState.UNCERTAIN),
            )
            .values(
                state=DeliveryState.SENT,
                remote_id=bindparam("of_remote"),
                finished_at=now,
                claimed_until=None,
                reason=None,
            ),
            [
                {"of_id": claimed.id, "of_fence": claimed.fence, "of_remote": remote_id}
                for claimed, remote_id in remote_ids.items()
            ],
        )

    def record_unsent(
        self, claimed: Sequence[ClaimedDelivery], *, next_attempt_at: datetime, reason: str | None
    ) -> None:
        """Nothing took effect: the rows wait for another try."""
        self._transition(
            claimed,
            *(DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN),
            state=DeliveryState.PENDING,
            next_attempt_at=next_attempt_at,
            claimed_until=None,
            reason=reason,
        )

    def record_postponed(self, claimed: Sequence[ClaimedDelivery], *, until: datetime, reason: str) -> None:
        """Nobody wants them before `until`: the rows wait, and hold nothing back meanwhile."""
        self._transition(
            claimed,
            DeliveryState.CLAIMED,
            state=DeliveryState.PENDING,
            next_attempt_at=until,
            claimed_until=until,
            reason=reason,
        )

    def put_off(self, subjects: Sequence[str], kind: str, now: datetime) -> list[Delivery]:
        """The rows of a kind that wait for a time to come, the earliest first."""
        return list(
            self._session.scalars(
                select(Delivery)
                .where(
                    Delivery.subject.in_(subjects),
                    Delivery.kind == kind,
                    _in(Delivery.state, OPEN_STATES),
                    _is_postponed(now),
                )
                .order_by(Delivery.claimed_until)
            )
        )

    def withdraw(self, ids: Sequence[int], *, reason: str, now: datetime) -> None:
        """Nobody wants these rows any more; what was begun of them goes on."""
        self._session.execute(
            update(Delivery)
            .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING)
            .values(state=DeliveryState.EXPIRED, reason=reason, finished_at=now, claimed_until=None)
            .execution_options(synchronize_session=False)
        )

    def give_up(self, subject: str, *, reason: str, now: datetime) -> None:
        """What waits for the subject and was not begun is of no use any more."""
        self._session.execute(
            update(Delivery)
            .where(
                Delivery.subject == subject,
                _in(Delivery.state, OPEN_STATES),
                Delivery.state == DeliveryState.PENDING,
            )
            .values(state=DeliveryState.EXPIRED, reason=reason, finished_at=now, claimed_until=None)
            .execution_options(synchronize_session=False)
        )

    def wake(self, subject: str, now: datetime) -> None:
        """Let the subject's postponed rows be looked at again: what they waited for may have changed."""
        self._session.execute(
            update(Delivery)
            .where(Delivery.subject == subject, _in(Delivery.state, OPEN_STATES), _is_postponed(now))
            .values(next_attempt_at=now, claimed_until=None)
            .execution_options(synchronize_session=False)
        )

    def record_uncertain(self, claimed: Sequence[ClaimedDelivery], *, look_at: datetime, reason: str) -> None:
        """The answer was lost: the rows wait until `look_at` to be looked up, and hold their subjects back."""
        self._transition(
            claimed,
            *(DeliveryState.SENDING, DeliveryState.UNCERTAIN),
            state=DeliveryState.UNCERTAIN,
            next_attempt_at=look_at,
            claimed_until=None,
            reason=reason,
        )

    def record_dead(self, claimed: Sequence[ClaimedDelivery], *, reason: str, now: datetime) -> None:
        """The remote refused for good."""
        self._end(claimed, DeliveryState.DEAD, reason, now)

    def record_expired(self, claimed: Sequence[ClaimedDelivery], *, reason: str, now: datetime) -> None:
        """The message is of no use any more and was provably not sent."""
        self._end(claimed, DeliveryState.EXPIRED, reason, now)

    def sweep(self, now: datetime, *, settle: timedelta) -> Swept:
        """End leases that ran out and expire what came too late. `settle` is the wait before an UNCERTAIN one is looked up."""
        lost = and_(_in(Delivery.state, HELD_STATES), Delivery.claimed_until <= now)
        released = self._count(
            update(Delivery)
            .where(Delivery.state == DeliveryState.CLAIMED, lost)
            .values(state=DeliveryState.PENDING, claimed_until=None, next_attempt_at=now, fence=Delivery.fence + 1)
        )
        uncertain = self._count(
            update(Delivery)
            .where(Delivery.state == DeliveryState.SENDING, lost)
            .values(
                state=DeliveryState.UNCERTAIN,
                claimed_until=None,
                next_attempt_at=now + settle,
                fence=Delivery.fence + 1,
                reason="the sender vanished during the call",
            )
        )
        expired = self._count(
            update(Delivery)
            .where(
                _in(Delivery.state, WAITING_STATES),
                Delivery.state == DeliveryState.PENDING,
                Delivery.expires_at <= now,
            )
            .values(
                state=DeliveryState.EXPIRED, finished_at=now, reason=func.coalesce(Delivery.reason, "came too late")
            )
        )
        return Swept(released=released, uncertain=uncertain, expired=expired)

    def due_ids(self, channel: str, state: DeliveryState, now: datetime, *, limit: int) -> list[int]:
        """Ids of rows that wait in `state` and are due, oldest first: what a lost queue message left behind."""
        return list(
            self._session.scalars(
                select(Delivery.id)
                .where(
                    Delivery.channel == channel,
                    Delivery.state == state,
                    _in(Delivery.state, WAITING_STATES),
                    Delivery.next_attempt_at <= now,
                )
                .order_by(Delivery.next_attempt_at, Delivery.id)
                .limit(limit)
            )
        )

    def following_ids(self, subjects: Sequence[str], now: datetime) -> list[int]:
        """The oldest open row of each subject, postponed ones aside, where it is PENDING and due: who comes next."""
        oldest = (
            select(func.min(Delivery.id))
            .where(Delivery.subject.in_(subjects), _in(Delivery.state, OPEN_STATES), ~_is_postponed(now))
            .group_by(Delivery.subject)
        )
        return list(
            self._session.scalars(
                select(Delivery.id)
                .where(
                    Delivery.id.in_(oldest), Delivery.state == DeliveryState.PENDING, Delivery.next_attempt_at <= now
                )
                .order_by(Delivery.id)
            )
        )

    def _transition(self, claimed: Sequence[ClaimedDelivery], *states: DeliveryState, **values: Any) -> set[int]:
        """Guarded UPDATE of rows that are still in one of `states` under their claim's fence; the ids that moved."""
        moved: set[int] = set()
        by_fence: dict[int, list[int]] = {}
        for row in claimed:
            by_fence.setdefault(row.fence, []).append(row.id)
        for fence, ids in by_fence.items():
            moved.update(
                self._session.scalars(
                    update(Delivery)
                    .where(Delivery.id.in_(ids), Delivery.fence == fence, Delivery.state.in_(states))
                    .values(**values)
                    .returning(Delivery.id)
                    .execution_options(synchronize_session=False)
                )
            )
        return moved

    def _end(self, claimed: Sequence[ClaimedDelivery], state: DeliveryState, reason: str, now: datetime) -> None:
        self._transition(
            claimed,
            *(DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN),
            state=state,
            reason=reason,
            finished_at=now,
            claimed_until=None,
        )

    def _count(self, statement: Update, rows: list[dict[str, Any]] | None = None) -> int:
        result = self._session.execute(statement.execution_options(synchronize_session=False), rows)
        return int(cast("CursorResult[Any]", result).rowcount)


def sender_of(channel: str, subject: str) -> int | None:
    """The account that sends to a subject: its second word on Telegram, None on a channel with one sender."""
    return int(subject.split(":")[1]) if channel == "telegram" else None


@cache
def _oldest_due() -> Select[*tuple[Any, ...]]:
    """Of an account. Built once, as the next: to build a statement costs more than to run it."""
    now = bindparam("now", type_=Delivery.next_attempt_at.type)
    waiting = _in(Delivery.state, WAITING_STATES)
    return (
        select(Delivery.id, Delivery.subject, Delivery.kind, Delivery.state)
        .where(Delivery.sender == bindparam("sender"), waiting, _is_claimable(now), _is_oldest(now))
        .order_by(Delivery.next_attempt_at, Delivery.id)
        .limit(bindparam("most"))
    )


@cache
def _open_after() -> Select[*tuple[Any, ...]]:
    """The open rows of subjects after one of them."""
    now = bindparam("now", type_=Delivery.next_attempt_at.type)
    due, off = _is_claimable(now).label("due"), _is_postponed(now).label("off")
    return (
        select(Delivery.id, Delivery.subject, Delivery.kind, due, off)
        .where(
            Delivery.subject.in_(bindparam("subjects", expanding=True)),
            _in(Delivery.state, OPEN_STATES),
            Delivery.id > bindparam("after"),
        )
        .order_by(Delivery.id)
        .limit(bindparam("most"))
    )


def _is_postponed(now: Instant, row: type[Delivery] = Delivery) -> ColumnElement[bool]:
    return and_(row.state == DeliveryState.PENDING, func.coalesce(row.claimed_until, now) > now)


def _is_claimable(now: Instant) -> ColumnElement[bool]:
    """Due, still of use, and in nobody's hands."""
    pending = and_(
        Delivery.state == DeliveryState.PENDING, or_(Delivery.expires_at.is_(None), Delivery.expires_at > now)
    )
    uncertain = and_(
        Delivery.state == DeliveryState.UNCERTAIN,
        or_(Delivery.claimed_until.is_(None), Delivery.claimed_until <= now),
    )
    return and_(Delivery.next_attempt_at <= now, or_(pending, uncertain))


def _is_oldest(now: Instant) -> ColumnElement[bool]:
    """No open row of its subject came before it, postponed ones aside."""
    older = aliased(Delivery)
    return ~exists().where(
        older.subject == Delivery.subject,
        older.id < Delivery.id,
        _in(older.state, OPEN_STATES),
        ~_is_postponed(now, older),
    )


def _in(state: ColumnElement[str] | InstrumentedAttribute[str], states: Sequence[DeliveryState]) -> ColumnElement[bool]:
    """`state IN (...)` with the states written out, as in the table's partial indexes: SQLite uses one only where it sees its
    condition in the statement, so bound values would read the whole ledger.
    """
    return state.in_(bindparam(None, list(states), expanding=True, literal_execute=True))


def _claimed(row: Delivery | Row[Any], claimed_until: datetime) -> ClaimedDelivery:
    return ClaimedDelivery(
        id=row.id,
        channel=row.channel,
        kind=row.kind,
        key=row.key,
        subject=row.subject,
        recipient=row.recipient,
        body=row.body or {},
        fence=row.fence,
        claimed_until=claimed_until,
        expires_at=row.expires_at,
        attempts=row.attempts,
        first_attempt_at=row.first_attempt_at,
    )
