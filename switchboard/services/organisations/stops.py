"""STOP, as a person's own word to a number: kept by who they are at Telegram, whatever any organisation calls them.

The word is kept under the number's own Telegram id and the person's, so it outlives recipients, organisations and a number
that is removed and added again. A recipient's own `stopped_at` is what was heard while they stood there; it goes with the
organisation to another number. The last look is where the outbox knows whom an address leads to (`Stops.refusals`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import OrganisationTelegram, Recipient, TelegramAccount, TelegramPeer, TelegramStop
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.db.upsert import MAX_PARAMETERS, insert_new
from switchboard.domain.organisations.words import Word
from switchboard.domain.portions import portions

ANSWERED_STOP = "the recipient answered STOP"
MOST_ID_DIGITS = 18  # what fits into a column; Telegram's ids have 16 at most (52 bits)


class Stops:
    """Refuses what people who answered STOP would get, once it is known who they are."""

    def __init__(self, database: Database, *, except_kinds: Iterable[str]) -> None:
        """`except_kinds` are let through: answers to the person's own words, and changes of what they have."""
        self._database = database
        self._except_kinds = frozenset(except_kinds)

    def refusals(self, account_id: int, found: Mapping[ClaimedDelivery, int]) -> Mapping[ClaimedDelivery, str]:
        """Of rows that this account is about to send, and the ids of their chats: those that nobody wants, and why."""
        asked = {row: chat_id for row, chat_id in found.items() if row.kind not in self._except_kinds}
        if not asked:
            return {}
        with self._database.read() as session:
            own_id = select(TelegramAccount.own_id).where(TelegramAccount.id == account_id).scalar_subquery()
            stopped = set(
                session.scalars(
                    select(TelegramStop.user_id).where(
                        TelegramStop.own_id == own_id, TelegramStop.user_id.in_(set(asked.values()))
                    )
                )
            )
        return {row: ANSWERED_STOP for row, chat_id in asked.items() if chat_id in stopped}


def stops_of(session: Session, recipients: Iterable[Recipient]) -> dict[int, datetime]:
    """Since when they want no messages, by the recipient's id: what was heard of them here, or their word to the number.

    Only who is known by now: a phone that the number never asked Telegram for is nobody's yet.
    """
    asked = list(recipients)
    heard = {one.id: one.stopped_at for one in asked if one.stopped_at is not None}
    others = [one for one in asked if one.id not in heard]
    return heard | {recipient_id: at for recipient_id, (_, at) in said_to_number(session, others).items()}


def keep_word(session: Session, account_id: int, user_id: int, word: Word, now: datetime) -> None:
    """A person's STOP or START to a number that organisations write from. The first STOP counts until START."""
    own_id = session.scalar(
        select(TelegramAccount.own_id)
        .select_from(TelegramAccount)
        .join(OrganisationTelegram, OrganisationTelegram.account_id == TelegramAccount.id)
        .where(TelegramAccount.id == account_id)
        .limit(1)
    )
    if own_id is None:
        return
    if word is Word.STOP:
        row = {"own_id": own_id, "user_id": user_id, "stopped_at": now}
        insert_new(session, TelegramStop, [row], TelegramStop.user_id)
    else:
        session.execute(delete(TelegramStop).where(TelegramStop.own_id == own_id, TelegramStop.user_id == user_id))


def take_along(session: Session, organisation_id: int) -> None:
    """Before an organisation leaves its number: who said STOP to that one gets nothing from the next one, either."""
    numbers = _numbers(session, {organisation_id})
    if not numbers or not _words(session, numbers[organisation_id][1]):
        return
    rows = session.scalars(
        select(Recipient)
        .where(
            Recipient.organisation_id == organisation_id,
            Recipient.telegram.is_not(None),
            Recipient.stopped_at.is_(None),
        )
        .order_by(Recipient.id)
        .with_for_update()
    ).all()
    said = said_to_number(session, rows)
    for row in rows:
        row.stopped_by, row.stopped_at = said.get(row.id, (None, None))
    session.flush()


def said_to_number(session: Session, recipients: Sequence[Recipient]) -> dict[int, tuple[int, datetime]]:
    """Who said STOP to the number that their organisation writes from, and when, by the recipient's id."""
    by_number: defaultdict[tuple[int, int], list[Recipient]] = defaultdict(list)
    numbers = _numbers(session, {one.organisation_id for one in recipients})
    for one in recipients:
        number = numbers.get(one.organisation_id)
        if number is not None and one.telegram is not None:
            by_number[number].append(one)
    found: dict[int, tuple[int, datetime]] = {}
    for (account_id, own_id), some in by_number.items():
        people = people_known(session, account_id, some)
        words = _words(session, own_id, set(people.values()))
        found |= {one: (user_id, words[user_id]) for one, user_id in people.items() if user_id in words}
    return found


def _numbers(session: Session, organisation_ids: set[int]) -> dict[int, tuple[int, int]]:
    """The account that an organisation writes from, and that account's own Telegram id."""
    found: dict[int, tuple[int, int]] = {}
    for some in portions(sorted(organisation_ids), MAX_PARAMETERS):
        rows = session.execute(
            select(OrganisationTelegram.organisation_id, TelegramAccount.id, TelegramAccount.own_id)
            .join(TelegramAccount, TelegramAccount.id == OrganisationTelegram.account_id)
            .where(OrganisationTelegram.organisation_id.in_(some), TelegramAccount.own_id.is_not(None))
        )
        found |= {organisation_id: (account_id, own_id) for organisation_id, account_id, own_id in rows if own_id}
    return found


def _words(session: Session, own_id: int, user_ids: set[int] | None = None) -> dict[int, datetime]:
    """The STOPs to a number; of these people, or without them of one, whoever it is."""
    query = select(TelegramStop.user_id, TelegramStop.stopped_at).where(TelegramStop.own_id == own_id)
    if user_ids is None:
        return {row.user_id: row.stopped_at for row in session.execute(query.limit(1))}
    found: dict[int, datetime] = {}
    for some in portions(sorted(user_ids), MAX_PARAMETERS - 1):
        found |= {row.user_id: row.stopped_at for row in session.execute(query.where(TelegramStop.user_id.in_(some)))}
    return found


def people_known(session: Session, account_id: int, recipients: Sequence[Recipient]) -> dict[int, int]:
    """Who they are at Telegram, by the recipient's id, as far as their account knows."""
    found = {one.id: one.telegram_user_id for one in recipients if one.telegram_user_id is not None}
    by_address: defaultdict[str, list[int]] = defaultdict(list)
    for one in recipients:
        if one.id not in found and one.telegram is not None:
            by_address[one.telegram].append(one.id)
    known = {address: int(address) for address in by_address if address.isdecimal() and len(address) <= MOST_ID_DIGITS}
    username = func.lower(TelegramPeer.username)
    for column, prefix, cut in ((username, "@", "@"), (TelegramPeer.phone, "+", "")):
        wanted = [address.removeprefix(cut) for address in by_address if address.startswith(prefix)]
        for some in portions(wanted, MAX_PARAMETERS - 1):
            rows = session.execute(
                select(column, TelegramPeer.peer_id)
                .where(TelegramPeer.account_id == account_id, column.in_(some))
                .order_by(TelegramPeer.seen_at)
            )
            known |= {cut + address: peer_id for address, peer_id in rows}
    return found | {one: known[address] for address, ids in by_address.items() if address in known for one in ids}
