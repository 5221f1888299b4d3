"""What waits for somebody who was removed ends, and their events say so.

What a sender has in hand, or may have sent, goes on: the renderer refuses it where nothing was sent yet.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, String, bindparam, cast, literal, select, union, update
from sqlalchemy.orm import Session

from switchboard.db.claims import found_once
from switchboard.db.models import (
    OPEN_STATES,
    Delivery,
    DeliveryState,
    DocumentDelivery,
    OrganisationTelegram,
    Recipient,
)
from switchboard.db.repositories.organisations import lock_documents
from switchboard.services.organisations.addresses import TELEGRAM
from switchboard.services.organisations.events import RECIPIENT_REMOVED, REMOVED


def end_waiting(session: Session, whose: ColumnElement[bool], now: datetime) -> None:
    """End what waits for the recipients that meet the condition `whose`; call it before their rows go."""
    people = select(Recipient.id).where(whose)
    told = select(DocumentDelivery.delivery_id).where(
        DocumentDelivery.recipient_id.in_(people), DocumentDelivery.delivery_id.is_not(None)
    )
    # answers and tests are of no event: they stand in the chat with the number that the organisation writes from
    account = cast(OrganisationTelegram.account_id, String)
    chats = (
        select(literal(f"{TELEGRAM}:") + account + ":" + cast(Recipient.id, String))
        .select_from(Recipient)
        .join(OrganisationTelegram, OrganisationTelegram.organisation_id == Recipient.organisation_id)
        .where(whose)
    )
    is_open = Delivery.state.in_(bindparam(None, list(OPEN_STATES), expanding=True, literal_execute=True))
    in_chats = select(Delivery.id).where(is_open, Delivery.subject.in_(chats))  # as the table's partial index has it
    waiting = select(Delivery.id).where(
        Delivery.id.in_(union(told, in_chats).subquery().select()), Delivery.state == DeliveryState.PENDING
    )
    session.execute(
        update(Delivery)
        .where(Delivery.id.in_(found_once(waiting)), Delivery.state == DeliveryState.PENDING)
        .values(
            state=DeliveryState.EXPIRED,
            reason=RECIPIENT_REMOVED,
            fence=Delivery.fence + 1,
            finished_at=now,
            claimed_until=None,
        )
        .execution_options(synchronize_session=False)
    )
    ended = select(Delivery.id).where(Delivery.state == DeliveryState.EXPIRED, Delivery.reason == RECIPIENT_REMOVED)
    lock_documents(session, DocumentDelivery.recipient_id.in_(people))  # all: with the recipient each changes
    theirs = update(DocumentDelivery).where(DocumentDelivery.recipient_id.in_(people))
    of_ended = DocumentDelivery.delivery_id.in_(ended.where(Delivery.id == DocumentDelivery.delivery_id))
    for links in (
        theirs.where(of_ended).values(state=REMOVED),
        theirs.where(DocumentDelivery.digest_at.is_not(None)).values(state=REMOVED, channel=None, digest_at=None),
        theirs.where(DocumentDelivery.remind_at.is_not(None)).values(remind_at=None),
    ):
        session.execute(links.execution_options(synchronize_session=False))
