"""Organisations in their tree, and the order in which writers lock: organisations, recipients, events, their deliveries."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from switchboard.db.models import DocumentDelivery, Organisation, OrganisationTelegram, Recipient
from switchboard.db.upsert import MAX_PARAMETERS
from switchboard.domain.portions import portions
from switchboard.errors import NotFoundError

DEEPEST = 10
"""Levels of a holding."""


def organisation(session: Session, organisation_id: int, *, lock: bool = False) -> Organisation:
    """The row; NotFoundError where there is none."""
    found = session.get(Organisation, organisation_id, with_for_update=lock or None, populate_existing=lock)
    if found is None:
        raise NotFoundError(f"there is no organisation {organisation_id}")
    return found


def lineage(session: Session, organisation_id: int) -> list[Organisation]:
    """The organisation, its parent, and so on to the head of the holding; empty where there is none."""
    chain: list[Organisation] = []
    current: int | None = organisation_id
    while current is not None and len(chain) < DEEPEST:
        found = session.get(Organisation, current)
        if found is None:
            break
        chain.append(found)
        current = found.parent_id
    return chain


def telegram_of(session: Session, organisation_id: int) -> OrganisationTelegram | None:
    """The number an organisation writes from."""
    return session.get(OrganisationTelegram, organisation_id)


def accounts_of(session: Session, organisation_ids: Collection[int]) -> dict[int, int]:
    """The accounts that these organisations write from; one without a number is left out."""
    found: dict[int, int] = {}
    for some in portions(sorted(organisation_ids), MAX_PARAMETERS):
        rows = session.execute(
            select(OrganisationTelegram.organisation_id, OrganisationTelegram.account_id).where(
                OrganisationTelegram.organisation_id.in_(some)
            )
        )
        found |= {row.organisation_id: row.account_id for row in rows if row.account_id is not None}
    return found


def recipients_by_name(session: Session, organisation_id: int, external_ids: Sequence[str]) -> dict[str, Recipient]:
    """The recipients that stand, by the document system's name for them."""
    found: dict[str, Recipient] = {}
    for some in portions(external_ids, MAX_PARAMETERS - 1):
        rows = session.scalars(select(Recipient).where(*_standing(organisation_id, some)))
        found |= {row.external_id: row for row in rows}
    return found


def kept_recipients(session: Session, organisation_id: int, external_ids: Sequence[str]) -> dict[str, Recipient]:
    """As `recipients_by_name`, for rows that refer to them: nobody of these is removed before the transaction ends."""
    ids: list[int] = []
    for some in portions(external_ids, MAX_PARAMETERS - 1):
        ids += session.scalars(select(Recipient.id).where(*_standing(organisation_id, some)))
    found: dict[str, Recipient] = {}
    for portion in portions(sorted(ids), MAX_PARAMETERS):
        rows = session.scalars(
            select(Recipient)
            .where(Recipient.id.in_(portion), Recipient.removed_at.is_(None))
            .order_by(Recipient.id)
            .with_for_update(read=True, key_share=True)
        )
        found |= {row.external_id: row for row in rows}
    return found


def lock_documents(session: Session, *which: ColumnElement[bool]) -> None:
    """Lock document_deliveries by their ids, before an UPDATE of many, which goes through them in any order."""
    locked = select(DocumentDelivery.id).where(*which).order_by(DocumentDelivery.id).with_for_update().cte("locked")
    session.scalar(select(func.count()).select_from(locked))


def _standing(organisation_id: int, external_ids: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    return (
        Recipient.organisation_id == organisation_id,
        Recipient.external_id.in_(external_ids),
        Recipient.removed_at.is_(None),
    )
