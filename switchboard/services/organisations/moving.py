"""What waits for a number that an organisation does not write from any more goes to its new one, or fails over.

Only what was not begun: a row that is being sent, that may have been sent, or of which a part arrived stays where it is,
because nobody else could tell whether it arrived. Level-triggered: whatever a sender had in hand when the number changed is
found by the next pass.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import bindparam, case, literal, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import Delivery, DeliveryState, DocumentDelivery, OrganisationTelegram, Recipient
from switchboard.db.models.deliveries import WAITING_STATES
from switchboard.db.repositories.organisations import lock_documents
from switchboard.services.organisations.addresses import TELEGRAM

MOVED = "the organisation writes from another number now"
NO_NUMBER = "the organisation has no number to write from any more"
PLAN = "telegram"  # where a row keeps which of its parts arrived


@dataclass(frozen=True, slots=True)
class Moved:
    """How many rows left their number, and the accounts that have them now."""

    count: int = 0
    accounts: list[int] = field(default_factory=list)


def move_waiting(session: Session, now: datetime, *, organisation_id: int | None = None, limit: int = 1_000) -> Moved:
    """Move up to `limit` rows, of one organisation or of all. Without a new number they end, and follow as what was refused."""
    account_id = OrganisationTelegram.account_id
    in_index = Delivery.state.in_(bindparam(None, list(WAITING_STATES), expanding=True, literal_execute=True))
    # found first, by its partial index: PostgreSQL would rather merge, and read the whole ledger for it
    waiting = (
        select(Delivery.id, Delivery.sender)
        .where(in_index, Delivery.state == DeliveryState.PENDING, Delivery.channel == TELEGRAM)
        .cte("waiting")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    elsewhere = (
        select(DocumentDelivery.delivery_id, account_id)
        .join(waiting, waiting.c.id == DocumentDelivery.delivery_id)
        .join(Recipient, Recipient.id == DocumentDelivery.recipient_id)
        .outerjoin(OrganisationTelegram, OrganisationTelegram.organisation_id == Recipient.organisation_id)
        .where(
            # as the partial index has it: few rows of many
            DocumentDelivery.delivery_id.is_not(None),
            DocumentDelivery.followed_at.is_(None),
            waiting.c.sender.is_distinct_from(account_id),
        )
        .order_by(DocumentDelivery.delivery_id)
        .limit(limit)
    )
    if organisation_id is not None:
        elsewhere = elsewhere.where(Recipient.organisation_id == organisation_id)
    found = elsewhere.cte("elsewhere")
    query = (
        select(Delivery.id, Delivery.body, found.c.account_id)
        .join(found, found.c.delivery_id == Delivery.id)
        # once more, of the row as it is when it is locked
        .where(Delivery.state == DeliveryState.PENDING, Delivery.sender.is_distinct_from(found.c.account_id))
        .order_by(Delivery.id)
        # a document's row that is changed meanwhile may refer to the message, and need not be waited for
        .with_for_update(of=Delivery, skip_locked=True, key_share=True)
    )
    by_account: defaultdict[int | None, set[int]] = defaultdict(set)
    for delivery_id, body, wanted in session.execute(query):
        if not (body or {}).get(PLAN, {}).get("done"):
            by_account[wanted].add(delivery_id)
    for wanted, ids in by_account.items():
        if wanted is None:
            _end(session, sorted(ids), now)
        else:
            _move(session, sorted(ids), wanted, now)
    return Moved(sum(map(len, by_account.values())), sorted(one for one in by_account if one is not None))


def _move(session: Session, ids: Sequence[int], account_id: int, now: datetime) -> None:
    """Another sender, to whom the waits of the old one do not apply; a time that somebody wants stays."""
    postponed = Delivery.claimed_until.is_not(None)
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING)
        .values(
            subject=literal(f"{TELEGRAM}:{account_id}:") + Delivery.recipient,
            sender=account_id,
            fence=Delivery.fence + 1,
            next_attempt_at=case((postponed, Delivery.next_attempt_at), else_=now),
            reason=None,
        )
        .execution_options(synchronize_session=False)
    )
    theirs = (
        DocumentDelivery.delivery_id.in_(ids),
        DocumentDelivery.followed_at.is_(None),  # as of all that wait; the partial index asks for it
        DocumentDelivery.reason.is_(None),
    )
    lock_documents(session, *theirs)
    session.execute(
        update(DocumentDelivery).where(*theirs).values(reason=MOVED).execution_options(synchronize_session=False)
    )


def _end(session: Session, ids: Sequence[int], now: datetime) -> None:
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(ids), Delivery.state == DeliveryState.PENDING)
        .values(
            state=DeliveryState.DEAD,
            reason=NO_NUMBER,
            fence=Delivery.fence + 1,
            finished_at=now,
            claimed_until=None,
        )
        .execution_options(synchronize_session=False)
    )
