"""An organisation with people over a real database, a clock moved by hand, and channels that keep what arrived."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Delivery, DeliveryState, Recipient, TelegramAccount
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.db.repositories.telegram_peers import PeerRepository
from switchboard.domain.telegram.pacing import Limits
from switchboard.domain.telegram.peers import Peer as AtTelegram
from switchboard.domain.telegram.peers import PeerKind, SeenPeer
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.states import AccountState
from switchboard.services.calendar.accounts import Person
from switchboard.services.channels.channel import Rendered
from switchboard.services.deliveries import Deliveries
from switchboard.services.organisations.contacts import SERVICE_KIND, Contacts
from switchboard.services.organisations.credentials import Credentials
from switchboard.services.organisations.digests import Digests
from switchboard.services.organisations.events import Accepted, DeliveryFilter, EventDelivery, Events, NewEvent
from switchboard.services.organisations.following import Following
from switchboard.services.organisations.mailings import Mailings
from switchboard.services.organisations.notices import KINDS, Notices
from switchboard.services.organisations.organisations import OrganisationChanges, Organisations, OrganisationView
from switchboard.services.organisations.recipients import Peer, Recipients, RecipientSettings
from switchboard.services.organisations.use_cases import OrganisationServices
from switchboard.services.organisations.wording import Wording
from switchboard.services.telegram.accounts import AccountView, TelegramAccounts

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
API_ID, API_HASH = 4242, "0123456789abcdef0123456789abcdef"
PHONE = "+79161234567"
OWN_ID = 9_161_234_567
SUPPORT = "support@hub.example"


def peer(name: str) -> Peer:
    """Who writes as @name."""
    return Peer(user_id=sum(map(ord, name)), username=name)


class Clock:
    """Moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


class FakePeople:
    """Mattermost users anna and boris."""

    ids: Mapping[str, str] = {"anna": "a" * 26, "boris": "b" * 26}

    def find(self, username_or_id: str) -> Person | None:
        name = username_or_id.removeprefix("@")
        user_id = self.ids.get(name, name)
        if user_id not in self.ids.values():
            return None
        return Person(id=user_id, username=name, email="", locale="", direct_channel_id="")


@dataclass
class KeepingChannel:
    """Keeps every message by its remote id; `refusals` (by recipient) are raised instead."""

    name: str
    settle: timedelta = timedelta(seconds=15)
    arrived: list[tuple[str, str]] = field(default_factory=list)
    rendered: list[Rendered] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    refusals: dict[str, Exception] = field(default_factory=dict)

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        to = rendered.address or delivery.recipient
        if to in self.refusals:
            raise self.refusals[to]
        assert rendered.formatted is not None
        self.rendered.append(rendered)
        if rendered.edits is not None:
            self.texts[rendered.edits] = rendered.formatted.text
            return rendered.edits
        remote_id = f"{self.name}-{len(self.arrived)}"
        self.arrived.append((to, rendered.formatted.text))
        self.texts[remote_id] = rendered.formatted.text
        return remote_id

    def find(self, delivery: ClaimedDelivery) -> str | None:
        return None

    def heads(self) -> list[tuple[str, str]]:
        """To whom, and the first line."""
        return [(to, text.partition("\n")[0]) for to, text in self.arrived]


class House:
    """One organisation, `org`, that writes from account `account_id` of PHONE."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.box = SecretBox(["k" * 32])
        self.accounts = OnlineAccounts(database, self.box, self.clock)
        self.organisations = Organisations(database, self.box, self.accounts, self.clock, support_contact=SUPPORT)
        self.credentials = Credentials(database, self.box, self.clock)
        self.recipients = Recipients(database, FakePeople(), self.clock)
        self.wording = Wording(database, self.clock)
        self.pace(Limits(between_s=0, between_first_s=0))
        self.following = Following(database, self.clock)
        self.contacts = Contacts(database, self.accounts, self.clock, support_contact=SUPPORT)
        self.telegram = KeepingChannel("telegram")
        self.mattermost = KeepingChannel("mattermost")
        self.notices = Notices(database, support_contact=SUPPORT)
        self.ledger = Deliveries(
            database,
            {"telegram": self.telegram, "mattermost": self.mattermost},
            {**dict.fromkeys(KINDS, self.notices), SERVICE_KIND: self.contacts},
            self.clock,
        )
        self.org = self.organisations.create("Vega", OrganisationChanges(zone="Europe/Moscow"), actor="test").id
        set_up = self.organisations.set_telegram(self.org, PHONE, api_id=API_ID, api_hash=API_HASH, actor="test")
        assert set_up.status.account_id is not None
        self.account_id = set_up.status.account_id
        self.sign_in(self.account_id, OWN_ID)

    def sign_in(self, account_id: int, own_id: int) -> None:
        """The gateway learns who an account is."""
        with self.database.write() as session:
            session.execute(update(TelegramAccount).where(TelegramAccount.id == account_id).values(own_id=own_id))

    def meet(self, person: Peer) -> None:
        """The gateway learns whom a name and a phone belong to."""
        seen = SeenPeer(
            AtTelegram(PeerKind.USER, person.user_id, 1), "Somebody", username=person.username, phone=person.phone
        )
        with self.database.write() as session:
            PeerRepository(session).remember(self.account_id, [seen], self.clock())

    def pace(self, limits: Limits) -> None:
        """How fast the account may write from now on."""
        online = AccountState.ONLINE
        self.events = Events(self.database, self.clock, limits, lambda _: self.accounts.state == online)
        self.mailings = Mailings(
            self.database, self.events, self.clock, limits, lambda _: self.accounts.state == online
        )
        self.digests = Digests(self.database, self.clock, limits)

    @property
    def services(self) -> OrganisationServices:
        return OrganisationServices(
            self.organisations,
            self.credentials,
            self.recipients,
            self.wording,
            self.events,
            self.mailings,
            self.notices,
        )

    def add(self, who: str, organisation_id: int | None = None, **settings: Any) -> None:
        """A recipient who opted in to Telegram as @who."""
        given: dict[str, Any] = {"opted_in": True, "telegram": f"@{who}", **settings}
        self.recipients.put(organisation_id or self.org, who, RecipientSettings(**given), actor="test")

    def post(self, *names: str, key: str = "k1", kind: str = "to_sign", **document: Any) -> Accepted:
        event = NewEvent(kind=kind, number="7/A", recipients=names, **document)
        return self.events.accept(self.org, key, json.dumps([names, kind, str(document)]).encode(), event)

    def send(self) -> None:
        """Send everything that is due over both channels, then act on it, until nothing moves."""
        for _ in range(20):
            work = self.ledger.scan_open()
            batches = [(channel, ids) for channel, found in work.to_send.items() for ids in found]
            for channel, ids in batches:
                self.ledger.send(channel, ids)
            self.following.move()
            followed = self.following.follow()
            if not batches and not followed.count:
                return

    def deliveries(self, event_id: int, **wanted: Any) -> list[EventDelivery]:
        return self.events.deliveries(self.org, event_id, DeliveryFilter(**wanted))

    def states(self, event_id: int) -> list[tuple[str, str, str | None, str]]:
        """Recipient, purpose, channel, state of each."""
        return [(d.recipient, d.purpose, d.channel, d.state) for d in self.deliveries(event_id)]

    def rows(self) -> Sequence[Delivery]:
        with self.database.read() as session:
            return session.scalars(select(Delivery).order_by(Delivery.id)).all()

    def read_by(self, name: str) -> None:
        """The gateway hears that a person read everything."""
        with self.database.write() as session:
            recipient = session.scalars(select(Recipient).where(Recipient.external_id == name)).one()
            session.execute(
                update(Delivery)
                .where(Delivery.recipient == str(recipient.id), Delivery.state == DeliveryState.SENT)
                .values(state=DeliveryState.READ)
            )

    def view(self) -> OrganisationView:
        return self.organisations.get(self.org)


class OnlineAccounts:
    """The real accounts; their state is what the test says, as if a gateway held them."""

    def __init__(self, database: Database, box: SecretBox, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.real = TelegramAccounts(database, box, clock, application=Application(1, "f" * 32), import_dir=Path())
        self.state = AccountState.ONLINE

    def become(self, state: AccountState) -> None:
        self.state = state
        with self._database.write() as session:
            session.execute(update(TelegramAccount).values(state=state, since=self._clock(), reason=None))

    def list_accounts(self) -> list[AccountView]:
        return [replace(account, state=self.state) for account in self.real.list_accounts()]
