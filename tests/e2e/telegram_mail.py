"""Organisations that write to many people over Telegram and are written to, while a test kills whatever it likes."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, func, select, update

from sandbox.telegram.twin import API_HASH, API_ID
from switchboard.clients.redis import connect_redis
from switchboard.crypto import SecretBox
from switchboard.db.models import OPEN_STATES, Delivery, DeliveryState, Recipient, TelegramAccount, TelegramMessage
from switchboard.domain.telegram.pacing import Limits
from switchboard.locks import KEY_PREFIX
from switchboard.services.calendar.accounts import Person
from switchboard.services.organisations.events import DOCUMENT_KIND, Events, NewEvent
from switchboard.services.organisations.organisations import OrganisationChanges, Organisations
from switchboard.services.organisations.recipients import ANSWER_KIND, Recipients, RecipientSettings
from tests.e2e.telegram_gateways import LEASE_S, SECRET, WAIT_S, Gateways, now

FAST = {"TELEGRAM_MESSAGES_PER_MINUTE": "1800", "TELEGRAM_FIRST_CONTACTS_PER_HOUR": "3600"}
"""The fastest that the settings allow."""
NUMBER = re.compile(r"\bN\d{4}\b")
SCAN_EVERY_S = 1.0


class Nobody:
    """A Mattermost without users."""

    def find(self, username_or_id: str) -> Person | None:
        return None


@dataclass(frozen=True)
class Office:
    """An organisation with an account of its own; readers get documents, writers answer STOP and START."""

    name: str
    account_id: int
    organisation_id: int
    readers: tuple[str, ...]
    writers: tuple[str, ...]


class Mail:
    """`offices` accounts, each with `people` readers and as many writers."""

    def __init__(self, gateways: Gateways, *, offices: int, people: int) -> None:
        self.gateways, self.twin, self.database = gateways, gateways.twin, gateways.database
        box = SecretBox([SECRET])
        self._organisations = Organisations(self.database, box, gateways.accounts, now, support_contact="")
        self._recipients = Recipients(self.database, Nobody(), now)
        self._events = Events(self.database, now, Limits(0.0, 0.0), lambda _account_id: True)
        self.offices = [self._office(number, people) for number in range(offices)]
        self.entered = 0  # documents of each office
        self.written = 0  # messages of each writer

    def _office(self, number: int, people: int) -> Office:
        phone = f"+7916000{number:04d}"
        account_id = self.gateways.add_signed_in(f"Office{number}", phone=phone)
        organisation_id = self._organisations.create(f"Vega {number}", OrganisationChanges(), actor="test").id
        self._organisations.set_telegram(organisation_id, phone, api_id=API_ID, api_hash=API_HASH, actor="test")
        readers, writers = (tuple(f"{kind}{number}x{one}" for one in range(people)) for kind in ("reader", "writer"))
        for name in (*readers, *writers):
            self.twin.add_person(name, username=name)
            settings = RecipientSettings(opted_in=True, telegram=f"@{name}")
            self._recipients.put(organisation_id, name, settings, actor="test")
        return Office(f"Office{number}", account_id, organisation_id, readers, writers)

    # --- what happens -------------------------------------------------------------------------------------------------

    def open(self, *, lease_s: int = LEASE_S) -> subprocess.Popen[bytes]:
        """A gateway that holds every account, to which every reader has written: they are no strangers."""
        process = self.gateways.start(lease_s=lease_s)
        self.gateways.wait_online(*(office.account_id for office in self.offices))
        self.gateways.wait_for(lambda: not self._accounts(TelegramAccount.pts.is_(None)), "positions to go on from")
        for office in self.offices:
            for reader in office.readers:
                self.twin.write_as(reader, office.name, "START")
        self.gateways.wait_for(lambda: self.stored() == self._greetings, "the readers' first words")
        return process

    def enter(self, documents: int) -> None:
        """Documents for every reader of every office."""
        for _document in range(documents):
            number = f"N{self.entered:04d}"
            for office in self.offices:
                event = NewEvent(kind="to_sign", number=number, recipients=office.readers)
                self._events.accept(office.organisation_id, number, number.encode(), event)
            self.entered += 1

    def write(self, messages: int, *, between_s: float = 0.0) -> None:
        """Every writer writes STOP and START in turn, no two of them in the same way."""
        for _message in range(messages):
            text = ("START" if self.written % 2 else "STOP") + "." * (self.written % 20) + "!" * (self.written // 20)
            for office in self.offices:
                for writer in office.writers:
                    self.twin.write_as(writer, office.name, text)
                    time.sleep(between_s)
            self.written += 1

    def kill(self, process: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
        """SIGKILL, and another in its place."""
        process.kill()
        process.wait(10)
        self.end_claims()
        return self.gateways.start()

    def end_claims(self) -> None:
        """As if the time had passed for which dead tasks hold messages and locks."""
        with self.database.write() as session:
            held = TelegramMessage.claimed_until.is_not(None)
            session.execute(update(TelegramMessage).where(held).values(claimed_until=now() - timedelta(seconds=1)))
        with connect_redis(self.gateways.valkey.url) as client:
            for key in client.scan_iter(f"{KEY_PREFIX}*"):
                client.delete(key)

    # --- what is to be seen -------------------------------------------------------------------------------------------

    @property
    def _people(self) -> int:
        return sum(len(office.readers) for office in self.offices)

    @property
    def _greetings(self) -> int:
        return self._people

    def stored(self) -> int:
        """Messages that were received. A killed gateway's last sends are rows, too, when its answers got lost with it."""
        with self.database.read() as session:
            return session.scalar(select(func.count()).where(TelegramMessage.out.is_(False))) or 0

    def sent(self, *states: DeliveryState) -> int:
        """Documents in these states; without any, those that are sent."""
        with self.database.read() as session:
            return (
                session.scalar(
                    select(func.count())
                    .select_from(Delivery)
                    .where(Delivery.kind == DOCUMENT_KIND, Delivery.state.in_(states or (DeliveryState.SENT,)))
                )
                or 0
            )

    def wait_sent(self, least: int) -> None:
        self.gateways.wait_for(lambda: self.sent() >= least, f"{least} documents to be sent")

    def settle(self) -> None:
        """Let beat's scan come until nothing is under way."""
        wanted = self._greetings + self._people * self.written
        end, scan_at = time.monotonic() + 2 * WAIT_S, 0.0
        while self.stored() < wanted or self._waiting() or self._open():
            if time.monotonic() > end:
                log = self.gateways.log.read_text(encoding="utf-8", errors="replace")[-5000:]
                state = (self.stored(), wanted, self._waiting(), self._open())
                raise AssertionError(f"not settled: stored, of, to handle, to send: {state}; log:\n{log}")
            if time.monotonic() > scan_at:
                self.gateways.send("telegram.inbox.scan_waiting")
                scan_at = time.monotonic() + SCAN_EVERY_S
            time.sleep(0.1)

    def check(self) -> None:
        """Nothing lost, nothing twice, everything in order, and every message handled once."""
        numbers = [f"N{number:04d}" for number in range(self.entered)]
        for office in self.offices:
            for reader in office.readers:
                assert self.documents(office, reader) == numbers, reader
            for writer in office.writers:
                self._check_received(office, writer)
        with self.database.read() as session:
            states = session.scalars(select(TelegramMessage.state).where(TelegramMessage.out.is_(False))).all()
        assert states == ["handled"] * (self._greetings + self._people * self.written)
        assert self.sent() == self.entered * self._people
        assert self.twin.call(lambda: list(self.twin.server.mistakes)) == []

    def made(self) -> int:
        """Messages that the offices wrote, as Telegram has them."""
        offices = {self.user_id(office.name) for office in self.offices}
        return self.twin.call(lambda: sum(post.sender_id in offices for post in self.twin.world.posts.values()))

    def user_id(self, name: str) -> int:
        """Telegram's id of one of the people."""
        return self.twin.call(lambda: self.twin.world.peer(name).id)

    def documents(self, office: Office, reader: str) -> list[str]:
        """The numbers of the documents in the order in which the reader sees them."""
        return [found[0] for text in self.twin.texts(reader, office.name) if (found := NUMBER.findall(text))]

    def _check_received(self, office: Office, writer: str) -> None:
        owner, sender = self.user_id(office.name), self.user_id(writer)
        seen = self.twin.messages(office.name, writer)
        said = [(post.copies[owner], post.text) for post in seen if post.sender_id == sender]
        assert len(said) == self.written
        with self.database.read() as session:
            stored = session.execute(
                select(TelegramMessage.message_id, TelegramMessage.text)
                .where(
                    TelegramMessage.account_id == office.account_id,
                    TelegramMessage.chat_id == sender,
                    TelegramMessage.out.is_(False),
                )
                .order_by(TelegramMessage.id)
            ).all()
            recipient = select(Recipient.id).where(
                Recipient.organisation_id == office.organisation_id, Recipient.external_id == writer
            )
            subject = f"telegram:{office.account_id}:{session.scalar(recipient)}"
            answers = session.scalars(
                select(Delivery.state).where(Delivery.kind == ANSWER_KIND, Delivery.subject == subject)
            ).all()
        assert [tuple(row) for row in stored] == said, (writer, stored, said)
        # a STOP after a STOP is not answered, so only each once and in order gives an answer to each
        assert len(answers) == self.written, (writer, len(answers))
        answered = [post for post in seen if post.sender_id == owner]
        assert len(answered) == sum(state in (DeliveryState.SENT, DeliveryState.READ) for state in answers), writer

    def _waiting(self) -> int:
        with self.database.read() as session:
            waiting = select(func.count()).select_from(TelegramMessage).where(TelegramMessage.state != "handled")
            return session.scalar(waiting) or 0

    def _open(self) -> int:
        with self.database.read() as session:
            return (
                session.scalar(select(func.count()).select_from(Delivery).where(Delivery.state.in_(OPEN_STATES))) or 0
            )

    def _accounts(self, *where: ColumnElement[bool]) -> Sequence[int]:
        with self.database.read() as session:
            return session.scalars(select(TelegramAccount.id).where(*where)).all()
