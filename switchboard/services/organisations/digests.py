"""Digests: what was collected for a person becomes one message, as soon as it is due.

Level-triggered: every pass looks at the documents whose instant has come. A person's row is locked first, so two passes at
once take different people; rows of the ledger and their documents are one transaction, so a document is in one digest, or
is collected still.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import DocumentDelivery, DocumentEvent, EventState, Recipient
from switchboard.db.repositories.deliveries import DeliveryRepository
from switchboard.db.repositories.organisations import telegram_of
from switchboard.domain.organisations import digests
from switchboard.domain.telegram import pacing
from switchboard.domain.telegram.pacing import Limits
from switchboard.services.organisations.addresses import TELEGRAM, reachable
from switchboard.services.organisations.events import (
    GIVEN_UP,
    NOTICE_USEFUL_FOR,
    PROCESSED_BEFORE,
    REMOVED,
    digest_row,
    refusal,
    to_queue,
)
from switchboard.services.organisations.following import Followed
from switchboard.services.organisations.stops import stops_of

ERASED = "what the document says was erased"


@dataclass(frozen=True, slots=True)
class _Digest:
    """The documents of one message to be."""

    recipient: Recipient
    channel: str
    account_id: int | None
    links: Sequence[DocumentDelivery]


class Digests:
    """Turns what was collected into messages."""

    def __init__(self, database: Database, clock: Callable[[], datetime], limits: Limits) -> None:
        self._database = database
        self._clock = clock
        self._limits = limits

    def collect(self, *, limit: int = 200) -> Followed:
        """Enter the digests that are due of `limit` people at most, in one transaction; counts the documents.

        On SQLite nobody else writes meanwhile, so the limit is low, and whoever calls asks again while there are some.
        """
        now = self._clock()
        with self._database.write() as session:
            _close_orphans(session)
            due = select(DocumentDelivery.recipient_id).where(DocumentDelivery.digest_at <= now)
            people = session.scalars(
                select(Recipient)
                .where(Recipient.id.in_(due))
                .order_by(Recipient.id)
                .limit(limit)
                # an event that is being stored for the person refers to their row, and need not be waited for
                .with_for_update(skip_locked=True, key_share=True)
            ).all()
            rows = session.execute(
                select(DocumentDelivery, DocumentEvent)
                .join(DocumentEvent, DocumentEvent.id == DocumentDelivery.event_id)
                .where(
                    DocumentDelivery.recipient_id.in_([person.id for person in people]),
                    DocumentDelivery.digest_at <= now,
                )
                .order_by(DocumentDelivery.recipient_id, DocumentDelivery.id)
                # what is being changed just now (processed, another habit) is left to the next pass: nobody waits in a circle
                .with_for_update(of=DocumentDelivery, skip_locked=True)
            ).all()
            by_id = {person.id: person for person in people}
            numbers = {one: telegram_of(session, one) for one in {person.organisation_id for person in people}}
            accounts = {one: None if number is None else number.account_id for one, number in numbers.items()}
            stops = stops_of(session, people)
            found: list[_Digest] = []
            for recipient_id, some in groupby(rows, key=lambda row: row[0].recipient_id):
                person = by_id[recipient_id]
                account_id = accounts[person.organisation_id]
                found += _of_one(person, account_id, stops, {row[0]: row[1] for row in some})
            return self._entered(session, found, len(rows), now)

    def _entered(self, session: Session, found: Sequence[_Digest], count: int, now: datetime) -> Followed:
        """The rows of the ledger. Digests fall due at the same minute for many, so they are dealt out like a mailing."""
        strangers = [one.recipient.contacted_at is None for one in found if one.channel == TELEGRAM]
        slots = iter(pacing.slots_s(strangers, self._limits))
        waits = [timedelta(seconds=next(slots) if one.channel == TELEGRAM else 0) for one in found]
        new = [
            digest_row(
                one.links[0].id,
                one.recipient,
                one.channel,
                account_id=one.account_id,
                expires_at=now + NOTICE_USEFUL_FOR + wait,
                not_before=now + wait if wait else None,
            )
            for one, wait in zip(found, waits, strict=True)
        ]
        ids = DeliveryRepository(session).enter(new, now)  # a document is in one digest, so every key is new
        for one, row in zip(found, new, strict=True):
            for link in one.links:
                link.delivery_id, link.state, link.digest_at = ids[row.key], None, None
        batches, accounts = to_queue(new, ids)
        return Followed(count, batches, accounts)


def _of_one(
    recipient: Recipient,
    account_id: int | None,
    stops: Container[int],
    events: Mapping[DocumentDelivery, DocumentEvent],
) -> list[_Digest]:
    """One person's digests. How they want to be reached now counts, not how they did when the documents came."""
    refused = refusal(recipient, account_id, stops)
    waiting: list[DocumentDelivery] = []
    for link, event in events.items():
        if event.state == EventState.PROCESSED or event.number is None:
            why = PROCESSED_BEFORE if event.state == EventState.PROCESSED else ERASED
            link.state, link.reason, link.digest_at = GIVEN_UP, why, None
        elif refused is not None:
            link.state, link.channel, link.digest_at = refused, None, None
        else:
            waiting.append(link)
    if not waiting:
        return []
    channel = reachable(recipient, account_id)[0]
    for link in waiting:
        link.channel = channel
        link.reason = (
            None
            if channel == recipient.channel
            else f"{recipient.channel}: the organisation has no number to write from"
        )
    found: list[_Digest] = []
    for count in digests.messages(events[link].link or "" for link in waiting):
        found.append(_Digest(recipient, channel, account_id, waiting[:count]))
        waiting = waiting[count:]
    return found


def _close_orphans(session: Session) -> None:
    """Nobody is told who was removed."""
    session.execute(
        update(DocumentDelivery)
        .where(DocumentDelivery.digest_at.is_not(None), DocumentDelivery.recipient_id.is_(None))
        .values(state=REMOVED, channel=None, digest_at=None)
        .execution_options(synchronize_session=False)
    )
