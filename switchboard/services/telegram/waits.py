"""What an account may not do now because Telegram said so; operators see it, and may end the kind that Telegram lifts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import Delivery, DeliveryState, TelegramWait
from switchboard.domain.telegram.pacing import EXHAUSTED_S, FIRST_CONTACT, flood_pause_s


@dataclass(frozen=True, slots=True)
class WaitView:
    """A method of Telegram's that an account must not call before `until`; or `first_contact`, messages to strangers.

    `times` says how often in a row Telegram refused messages to strangers (PEER_FLOOD), `since` when it did last; both are
    empty for other methods. Of strangers `until` may be past: then the next message to one is a try.
    """

    method: str
    since: datetime | None
    until: datetime
    times: int
    text: str


def waits_of(session: Session, account_ids: Collection[int], now: datetime) -> dict[int, tuple[WaitView, ...]]:
    """What these accounts must wait for, by account; without our own pace, which limits nobody."""
    rows = session.scalars(
        select(TelegramWait).where(TelegramWait.account_id.in_(account_ids)).order_by(TelegramWait.method)
    )
    found: dict[int, tuple[WaitView, ...]] = {}
    for row in rows:
        of_strangers = row.method == FIRST_CONTACT
        if row.times > 0 if of_strangers else row.not_before > now:
            view = _strangers(row, now) if of_strangers else _method(row)
            found[row.account_id] = (*found.get(row.account_id, ()), view)
    return found


def strangers_limit(waits: Collection[WaitView]) -> WaitView | None:
    """That of messages to strangers, if there is one."""
    return next((wait for wait in waits if wait.method == FIRST_CONTACT), None)


def allow_strangers(session: Session, account_id: int, now: datetime) -> bool:
    """Forget how often Telegram refused messages to strangers, and let what waited for that go on. False: it never did.

    Whoever holds the account remembers the wait, and reads it anew with its next connection.
    """
    limit = session.get(TelegramWait, (account_id, FIRST_CONTACT))
    if limit is None or limit.times == 0:
        return False
    session.execute(
        delete(TelegramWait).where(TelegramWait.account_id == account_id, TelegramWait.method == FIRST_CONTACT)
    )
    session.execute(
        update(Delivery)
        .where(
            Delivery.sender == account_id,
            Delivery.state == DeliveryState.PENDING,
            Delivery.claimed_until.is_(None),  # others wait for a time that somebody wants
            Delivery.next_attempt_at > now,
        )
        .values(next_attempt_at=now)
        .execution_options(synchronize_session=False)
    )
    return True


def _strangers(row: TelegramWait, now: datetime) -> WaitView:
    pause_s = flood_pause_s(row.times)
    since = row.not_before - timedelta(seconds=EXHAUSTED_S if pause_s is None else pause_s)
    if row.not_before <= now:
        then = "the next message to one is a try"
    else:
        then = "they are refused" if pause_s is None else "they wait"
    how_often = "once" if row.times == 1 else f"{row.times} times in a row"
    text = f"Telegram refused messages to strangers {how_often}: {then}."
    return WaitView(row.method, since, row.not_before, row.times, text)


def _method(row: TelegramWait) -> WaitView:
    return WaitView(row.method, None, row.not_before, 0, f"Telegram asked to wait before {row.method}.")
