"""Organisations in their tree, and the order in which writers lock: organisations, recipients, events, their deliveries."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.models import Organisation, OrganisationTelegram, Recipient
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


def recipients_by_name(session: Session, organisation_id: int, external_ids: Sequence[str]) -> dict[str, Recipient]:
    """The recipients that stand, by the document system's name for them."""
    found: dict[str, Recipient] = {}
    for some in portions(external_ids, MAX_PARAMETERS - 1):
        rows = session.scalars(
            select(Recipient).where(
                Recipient.organisation_id == organisation_id,
                Recipient.external_id.in_(some),
                Recipient.removed_at.is_(None),
            )
        )
        found |= {row.external_id: row for row in rows}
    return found
