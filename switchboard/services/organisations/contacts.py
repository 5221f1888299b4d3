"""An organisation's contacts are told over Mattermost when its Telegram falls out, once, and once when it is back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import Organisation, OrganisationTelegram, Recipient
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.db.repositories.organisations import lineage, telegram_of
from switchboard.domain.portions import portions
from switchboard.domain.telegram.states import AccountState
from switchboard.logs import get_logger
from switchboard.services.channels.channel import Obsolete, Rendered
from switchboard.services.organisations.addresses import MATTERMOST, ledger_recipient, subject_of
from switchboard.services.organisations.events import BATCH
from switchboard.services.organisations.organisations import NO_ACCOUNT, Accounts, ServiceStatus, status_of
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import Message, formatted_markdown
from switchboard.texts.notices import service_back_message, service_out_message

SERVICE_KIND = "organisation.service"
ONLINE, OUT = "online", "out"
PATIENCE = timedelta(minutes=5)
"""How long an account may be away before anybody is told: restarts and moves between gateways are shorter."""
USEFUL_FOR = timedelta(days=1)
_AT_ONCE = (AccountState.SIGN_IN_AGAIN, AccountState.STOPPED, NO_ACCOUNT)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    status: ServiceStatus
    before: str | None
    after: str


class Contacts:
    """Watches the accounts; implements Renderer for what the contacts are told."""

    def __init__(
        self, database: Database, accounts: Accounts, clock: Callable[[], datetime], *, support_contact: str
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._clock = clock
        self._support_contact = support_contact

    def watch(self) -> list[list[int]]:
        """Tell of what changed since the last look; return the new Mattermost deliveries in batches.

        An organisation that was never online has nobody told: somebody is setting it up.
        """
        now = self._clock()
        told: list[int] = []
        for change in self._changes(now):
            with self._database.write() as session:
                told += self._tell(session, change, now)
        return portions(told, BATCH)

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered | Obsolete]:
        """See Renderer."""
        with self._database.read() as session:
            return {delivery.id: self._render(session, delivery) for delivery in deliveries}

    def _changes(self, now: datetime) -> list[_Change]:
        with self._database.read() as session:
            rows = session.execute(
                select(Organisation, OrganisationTelegram).join(
                    OrganisationTelegram, OrganisationTelegram.organisation_id == Organisation.id
                )
            ).all()
        if not rows:
            return []
        accounts = {account.id: account for account in self._accounts.list_accounts()}
        changes: list[_Change] = []
        for row, telegram in rows:
            status = status_of(row, telegram, accounts)
            if status.online and telegram.told != ONLINE:
                changes.append(_Change(status, telegram.told, ONLINE))
            elif not status.online and telegram.told == ONLINE and _is_lasting(status, now):
                changes.append(_Change(status, telegram.told, OUT))
        return changes

    def _tell(self, session: Session, change: _Change, now: datetime) -> list[int]:
        """Note what the contacts know, and tell them; whoever notes it first tells."""
        organisation_id = change.status.organisation_id
        noted = session.execute(
            update(OrganisationTelegram)
            .where(
                OrganisationTelegram.organisation_id == organisation_id,
                OrganisationTelegram.told.is_not_distinct_from(change.before),
            )
            .values(told=change.after, told_at=now)
            .execution_options(synchronize_session=False)
        )
        if cast("CursorResult[Any]", noted).rowcount != 1 or change.before is None:
            return []
        contacts = session.scalars(
            select(Recipient)
            .where(
                Recipient.organisation_id == organisation_id,
                Recipient.is_contact,
                Recipient.mattermost.is_not(None),
                Recipient.removed_at.is_(None),
            )
            .order_by(Recipient.id)
        ).all()
        log.warning(
            "organisation_service_changed",
            organisation_id=organisation_id,
            told=change.after,
            state=change.status.state,
            contacts=len(contacts),
        )
        return DeliveryRepository(session).add([_row(one, change, now) for one in contacts], now)

    def _render(self, session: Session, delivery: ClaimedDelivery) -> Rendered | Obsolete:
        body = delivery.body
        recipient = session.get(Recipient, body["recipient_id"])
        number = telegram_of(session, body["organisation_id"])
        if recipient is None or recipient.mattermost != delivery.recipient or not recipient.is_contact:
            return Obsolete("the recipient is no contact any more")
        if number is None or number.told != body["told"]:
            return Obsolete("it has changed again")
        above = lineage(session, body["organisation_id"])
        texts = Texts.for_locale(recipient.locale or above[0].locale)
        if body["told"] == ONLINE:
            text = service_back_message(above[0].name, texts)
        else:
            text = service_out_message(
                above[0].name,
                body["state"],
                datetime.fromisoformat(body["since"]),
                next((one.support_contact for one in above if one.support_contact), self._support_contact),
                zone=ZoneInfo(recipient.zone or above[0].zone),
                texts=texts,
            )
        return Rendered(Message(formatted_markdown(text)), formatted=text)


def _is_lasting(status: ServiceStatus, now: datetime) -> bool:
    return status.state in _AT_ONCE or (status.since is not None and status.since + PATIENCE <= now)


def _row(recipient: Recipient, change: _Change, now: datetime) -> NewDelivery:
    return NewDelivery(
        channel=MATTERMOST,
        kind=SERVICE_KIND,
        key=f"{SERVICE_KIND}|{change.status.organisation_id}|{change.after}|{now.isoformat()}|{recipient.id}",
        subject=subject_of(MATTERMOST, None, recipient),
        recipient=ledger_recipient(MATTERMOST, recipient),
        body={
            "organisation_id": change.status.organisation_id,
            "recipient_id": recipient.id,
            "told": change.after,
            "state": change.status.state,
            "since": (change.status.since or now).isoformat(),
        },
        expires_at=now + USEFUL_FOR,
    )
