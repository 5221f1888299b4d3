"""How often each recipient wants to be told: their own setting, else that of the nearest organisation above."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from switchboard.db.models import DocumentDelivery, Organisation, Recipient
from switchboard.db.repositories.organisations import lock_documents
from switchboard.domain.organisations.digests import AT_ONCE, Every, Habit


def habit_of(chain: Sequence[Organisation], recipient: Recipient | None = None) -> Habit:
    """The habit of a recipient, or of those without their own. `chain` goes from their organisation to the head."""
    every, at = None, None
    settings: list[Organisation | Recipient] = [*chain] if recipient is None else [recipient, *chain]
    for one in settings:
        every, at = every or one.digest, at or one.digest_at
    return Habit(AT_ONCE.every if every is None else Every(every), AT_ONCE.at if at is None else at)


def send_collected(session: Session, recipients: Sequence[int] | Select[int], now: datetime) -> None:
    """What was collected for these recipients by an earlier habit goes out with the next pass."""
    theirs = (DocumentDelivery.digest_at > now, DocumentDelivery.recipient_id.in_(recipients))
    lock_documents(session, *theirs)
    session.execute(
        update(DocumentDelivery).where(*theirs).values(digest_at=now).execution_options(synchronize_session=False)
    )


def followers(session: Session, organisation_id: int) -> Select[int]:
    """The recipients whose habit is that of this organisation: its own, and those of organisations below, without another."""
    found, level = [organisation_id], [organisation_id]
    while level:
        level = list(
            session.scalars(
                select(Organisation.id).where(Organisation.parent_id.in_(level), Organisation.digest.is_(None))
            )
        )
        found += level
    return select(Recipient.id).where(Recipient.organisation_id.in_(found), Recipient.digest.is_(None))
