"""Recipients: whom an organisation notifies, where, and whether they want it; and what they answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Select, or_, select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import OrganisationTelegram, Recipient, TelegramPeer
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.organisations import organisation
from switchboard.db.upsert import insert_new
from switchboard.domain import plain_text
from switchboard.domain.calendar.quiet_hours import parse_quiet_hours
from switchboard.domain.calendar.wall_clock import parse_zone
from switchboard.domain.organisations.digests import parse_at, parse_every
from switchboard.domain.organisations.words import Word, meaning
from switchboard.domain.telegram import phones
from switchboard.domain.telegram.peers import MOST_USER_ID
from switchboard.errors import ConfigError, InvalidInputError, NotFoundError
from switchboard.services import audit
from switchboard.services.calendar.accounts import Person
from switchboard.services.organisations.addresses import CHANNELS, TELEGRAM, subject_of
from switchboard.services.organisations.habits import send_collected
from switchboard.services.organisations.leaving import end_waiting
from switchboard.services.organisations.organisations import language
from switchboard.services.organisations.stops import keep_word, said_to_number, stops_of

ANSWER_KIND = "organisation.answer"
MOST_ID_CHARS = 128
MOST_NAME_CHARS = 160
ANSWER_USEFUL_FOR = timedelta(hours=12)
_USERNAME = re.compile(r"@[A-Za-z][A-Za-z0-9_]{3,31}")
_TELEGRAM_ID = re.compile(r"[1-9][0-9]{3,12}")
LARGEST_USUAL_ID = 10**10 - 1
"""People's ids had ten digits at most in 2026. A larger number is rather a phone without its plus, so it is an id only of
somebody whom one of our accounts has met: nobody else could be written to by it.
"""


class People(Protocol):
    """Who is who in Mattermost."""

    def find(self, username_or_id: str) -> Person | None:
        """The active user with this id, name or @name. ConfigError without a server, TransientError where it is down."""


@dataclass(frozen=True, slots=True)
class RecipientSettings:
    """What the document system says of a person.

    `telegram` is an id, a @username or a phone with its country code; `mattermost` a user id or @name. Quiet hours are
    HH:MM by the clocks of `zone`; an empty `zone` or `language` is the organisation's. `digest` is none, hour or day, and
    `digest_at` HH:MM for `day`; empty ones are the organisation's.
    """

    opted_in: bool
    channel: str = TELEGRAM
    second_channel: str | None = None
    telegram: str | None = None
    mattermost: str | None = None
    name: str = ""
    quiet_from: str = ""
    quiet_until: str = ""
    zone: str = ""
    language: str = ""
    digest: str = ""
    digest_at: str = ""
    is_contact: bool = False


@dataclass(frozen=True, slots=True)
class RecipientView:
    """A recipient; `stopped_at` is the person's own STOP, which no change here undoes, also one that they said to the number
    before. `mattermost` is a user id.
    """

    organisation_id: int
    external_id: str
    name: str
    channel: str
    second_channel: str | None
    telegram: str | None
    mattermost: str | None
    opted_in: bool
    stopped_at: datetime | None
    quiet_from: str
    quiet_until: str
    zone: str
    language: str
    digest: str
    digest_at: str
    is_contact: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Peer:
    """Who wrote to one of our numbers."""

    user_id: int
    username: str | None = None
    phone: str | None = None


@dataclass(frozen=True, slots=True)
class Pressed:
    """A click over Mattermost: the organisation's name, and whether a STOP over Telegram stands in spite of it."""

    organisation: str
    stays_stopped: bool = False


class Heard(StrEnum):
    """What an answer was."""

    STOPPED = "stopped"
    STARTED = "started"
    ANSWERED = "answered"
    NOT_OURS = "not_ours"


class Recipients:
    """Upserts, shows and removes recipients; hears their answers."""

    def __init__(self, database: Database, people: People, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._people = people
        self._clock = clock

    def put(
        self, organisation_id: int, external_id: str, settings: RecipientSettings, *, actor: str
    ) -> tuple[RecipientView, bool]:
        """Make the recipient so, new or not; the same again changes nothing. Also whether it is new.

        STOP stays: of this recipient, of the person to the organisation's number, and for a new one that of the same address
        in this organisation.
        """
        _check_id(external_id)
        values = self._values(settings)
        now = self._clock()
        with self._database.write() as session:
            organisation(session, organisation_id)
            _refuse_phone_without_plus(session, values["telegram"])
            row, created = _found_or_made(session, organisation_id, external_id, values, now)
            changed = [name for name, value in values.items() if getattr(row, name) != value]
            if row.removed_at is not None:
                row.removed_at, created = None, True
            if "telegram" in changed:
                row.telegram_user_id = row.contacted_at = None
            for name in changed:
                setattr(row, name, values[name])
            if created and row.stopped_at is None and (row.telegram or row.mattermost):
                row.stopped_at, row.stopped_by = _stopped_elsewhere(session, row)
            if created or changed:
                row.updated_at = now
                _audit(session, row, "recipient.put", actor, now, created=created, changed=sorted(changed))
            if {"digest", "digest_at"}.intersection(changed):
                send_collected(session, [row.id], now)
            return _views(session, [row])[0], created

    def get(self, organisation_id: int, external_id: str) -> RecipientView:
        """One; NotFoundError where there is none."""
        with self._database.read() as session:
            organisation(session, organisation_id)
            return _views(session, [_standing(session, organisation_id, external_id)])[0]

    def page(self, organisation_id: int, *, after: str = "", limit: int = 100) -> list[RecipientView]:
        """By external id, those behind `after`; NotFoundError for an unknown organisation."""
        with self._database.read() as session:
            organisation(session, organisation_id)
            rows = session.scalars(
                select(Recipient)
                .where(
                    Recipient.organisation_id == organisation_id,
                    Recipient.removed_at.is_(None),
                    Recipient.external_id > after,
                )
                .order_by(Recipient.external_id)
                .limit(limit)
            )
            return _views(session, rows.all())

    def remove(self, organisation_id: int, external_id: str, *, actor: str) -> None:
        """Forget them. Of somebody who answered STOP the external id and the STOP stay, in case they are put here again."""
        now = self._clock()
        with self._database.write() as session:
            organisation(session, organisation_id)
            row = _standing(session, organisation_id, external_id, lock=True)
            _audit(session, row, "recipient.remove", actor, now)
            end_waiting(session, Recipient.id == row.id, now)
            if row.stopped_at is None:
                session.delete(row)
                return
            row.removed_at, row.name, row.opted_in, row.is_contact = now, "", False, False
            row.telegram = row.mattermost = row.second_channel = row.telegram_user_id = row.contacted_at = None

    def hear(self, account_id: int, peer: Peer, text: str, *, once: str = "") -> Heard:
        """A private message to one of our numbers. STOP and START count for every organisation that writes from it.

        The answer stands in the ledger afterwards. `once` names the message: heard again, even after later ones, it gets no
        second answer. Anything but STOP and START is answered once a day. NOT_OURS: the person is nobody's recipient, and
        gets no answer; STOP and START are kept all the same.
        """
        word, now = meaning(text), self._clock()
        # each row is written once: PostgreSQL locks the organisation of one that is changed twice in a transaction, and whoever
        # changes the organisation may wait for the row
        with self._database.write() as session, session.no_autoflush:
            found = _heard(session, account_id, peer)
            for row in found:
                row.telegram_user_id = peer.user_id
            if word is None:
                if found:
                    _answer(session, account_id, found, "unread", f"{now:%Y-%m-%d}", now)
                return Heard.ANSWERED if found else Heard.NOT_OURS
            if word is Word.START:
                found = sorted({*found, *_stopped_by(session, account_id, peer)}, key=lambda row: row.id)
            stopped = stops_of(session, found).keys()
            keep_word(session, account_id, peer.user_id, word, now)
            changed = _hear(session, found, stopped, word, now, said_by=peer.user_id)
            if changed:
                _answer(session, account_id, changed, str(word), once or now.isoformat(), now)
        if not found:
            return Heard.NOT_OURS
        return Heard.STOPPED if word is Word.STOP else Heard.STARTED

    def press(self, user_id: str, recipient_id: int, word: Word) -> Pressed | None:
        """A click in a message over Mattermost, by the user whose message it was: STOP or START for its organisation.

        None where they are no recipient there any more. The same again changes nothing. START does not lift what the person
        said to a number over Telegram, which counts for other organisations, too.
        """
        now = self._clock()
        with self._database.write() as session:
            clicked = session.get(Recipient, recipient_id)
            if clicked is None or clicked.removed_at is not None or clicked.mattermost != user_id:
                return None
            same = session.scalars(
                select(Recipient)
                .where(
                    Recipient.organisation_id == clicked.organisation_id,
                    Recipient.mattermost == user_id,
                    Recipient.removed_at.is_(None),
                )
                .order_by(Recipient.id)
                .with_for_update()
            ).all()
            said = said_to_number(session, same).keys()
            rows = [row for row in same if word is Word.STOP or row.id not in said]
            _hear(session, rows, {row.id for row in rows if row.stopped_at is not None}, word, now)
            return Pressed(organisation(session, clicked.organisation_id).name, word is Word.START and bool(said))

    def _values(self, settings: RecipientSettings) -> dict[str, Any]:
        """The columns; every mistake is an InvalidInputError. Mattermost is asked here, before any transaction."""
        if settings.channel not in CHANNELS:
            raise InvalidInputError(f"the channel is one of {', '.join(CHANNELS)}", field="channel")
        if settings.second_channel is not None and settings.second_channel not in CHANNELS:
            raise InvalidInputError(
                f"the second channel is one of {', '.join(CHANNELS)}, or null", field="second_channel"
            )
        if settings.second_channel == settings.channel:
            raise InvalidInputError("the second channel is another than the first", field="second_channel")
        for name in (settings.channel, settings.second_channel):
            if name is not None and not getattr(settings, name):
                raise InvalidInputError(f"messages go to {name}: give the address there", field=name)
        if len(settings.name) > MOST_NAME_CHARS:
            raise InvalidInputError(f"at most {MOST_NAME_CHARS} characters", field="name")
        quiet_from, quiet_until = parse_quiet_hours(settings.quiet_from, settings.quiet_until)
        return {
            "name": " ".join(plain_text.plain(settings.name, field="name").split()),
            "channel": settings.channel,
            "second_channel": settings.second_channel,
            "telegram": telegram_address(settings.telegram) if settings.telegram else None,
            "mattermost": self._mattermost_id(settings.mattermost) if settings.mattermost else None,
            "opted_in": settings.opted_in,
            "quiet_from": quiet_from,
            "quiet_until": quiet_until,
            "zone": parse_zone(settings.zone).key if settings.zone else None,
            "locale": language(settings.language) if settings.language else None,
            "digest": parse_every(settings.digest),
            "digest_at": parse_at(settings.digest_at),
            "is_contact": settings.is_contact,
        }

    def _mattermost_id(self, user: str) -> str:
        try:
            person = self._people.find(plain_text.plain(user, field="mattermost").strip())
        except ConfigError as error:
            raise InvalidInputError(f"nobody can be reached there: {error}", field="mattermost") from None
        if person is None:
            raise InvalidInputError("Mattermost has no active user with this id or name", field="mattermost")
        return person.id


def telegram_address(text: str) -> str:
    """An id, `@username` or `+phone` as it is stored; InvalidInputError, which does not repeat it, for anything else."""
    text = text.strip()
    if _USERNAME.fullmatch(text):
        return text.lower()
    if _TELEGRAM_ID.fullmatch(text) and int(text) <= MOST_USER_ID:
        return text
    if text.startswith("+"):
        return phones.normalise(text, field="telegram")
    raise InvalidInputError(
        "an address in Telegram is @username, +phone (with the plus and the country code), or a numeric id",
        field="telegram",
    )


def _refuse_phone_without_plus(session: Session, address: str | None) -> None:
    if address is None or not address.isdigit() or int(address) <= LARGEST_USUAL_ID:
        return
    if session.scalar(select(TelegramPeer.peer_id).where(TelegramPeer.peer_id == int(address)).limit(1)) is None:
        raise InvalidInputError(
            "no account here knows a person with this id: begin a phone with +, for example +79161234567",
            field="telegram",
        )


def _found_or_made(
    session: Session, organisation_id: int, external_id: str, values: Mapping[str, Any], now: datetime
) -> tuple[Recipient, bool]:
    """The row, locked; made where it is not there, however many do so at once."""
    new = {
        **values,
        "organisation_id": organisation_id,
        "external_id": external_id,
        "created_at": now,
        "updated_at": now,
    }
    made = insert_new(session, Recipient, [new], Recipient.id)
    row = session.scalars(_named(organisation_id, external_id).with_for_update()).one()
    return row, bool(made)


def _named(organisation_id: int, external_id: str) -> Select[Recipient]:
    return select(Recipient).where(Recipient.organisation_id == organisation_id, Recipient.external_id == external_id)


def _standing(session: Session, organisation_id: int, external_id: str, *, lock: bool = False) -> Recipient:
    query = _named(organisation_id, external_id).where(Recipient.removed_at.is_(None))
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise NotFoundError("this organisation has no such recipient")
    return row


def _stopped_elsewhere(session: Session, row: Recipient) -> tuple[datetime | None, int | None]:
    """The STOP of the same address under another name in the organisation, and who said it."""
    addresses = ((Recipient.telegram, row.telegram), (Recipient.mattermost, row.mattermost))
    found = session.execute(
        select(Recipient.stopped_at, Recipient.stopped_by)
        .where(
            Recipient.organisation_id == row.organisation_id,
            or_(*(column == address for column, address in addresses if address is not None)),
            Recipient.id != row.id,
            Recipient.stopped_at.is_not(None),
        )
        .order_by(Recipient.stopped_at)
    ).first()
    return (None, None) if found is None else (found.stopped_at, found.stopped_by)


def _heard(session: Session, account_id: int, peer: Peer) -> Sequence[Recipient]:
    """Who this person is for the organisations that write from this number, locked."""
    addresses = [str(peer.user_id)]
    if peer.username:
        addresses.append(f"@{peer.username.lower()}")
    if peer.phone:
        addresses.append("+" + peer.phone.lstrip("+"))
    return session.scalars(
        select(Recipient)
        .join(OrganisationTelegram, OrganisationTelegram.organisation_id == Recipient.organisation_id)
        .where(
            OrganisationTelegram.account_id == account_id,
            Recipient.removed_at.is_(None),
            or_(
                Recipient.telegram_user_id == peer.user_id,
                # a freed username may be another's by now: it names who was never seen yet
                (Recipient.telegram_user_id.is_(None)) & Recipient.telegram.in_(addresses),
            ),
        )
        .order_by(Recipient.id)
        .with_for_update(of=Recipient)
    ).all()


def _stopped_by(session: Session, account_id: int, peer: Peer) -> Sequence[Recipient]:
    """Who stands here under whatever address now and was stopped by this person, locked. Those who were removed are let go."""
    rows = session.scalars(
        select(Recipient)
        .join(OrganisationTelegram, OrganisationTelegram.organisation_id == Recipient.organisation_id)
        .where(OrganisationTelegram.account_id == account_id, Recipient.stopped_by == peer.user_id)
        .order_by(Recipient.id)
        .with_for_update(of=Recipient)
    ).all()
    for row in rows:
        if row.removed_at is not None:
            session.delete(row)
    return [row for row in rows if row.removed_at is None]


def _hear(
    session: Session,
    rows: Sequence[Recipient],
    stopped: Collection[int],
    word: Word,
    now: datetime,
    *,
    said_by: int | None = None,
) -> list[Recipient]:
    """STOP or START for these, of whom some are stopped now; those for whom it is news. `said_by` over Telegram."""
    for row in rows:
        if word is Word.START:
            row.stopped_at = row.stopped_by = None
        elif row.stopped_at is None or said_by is not None:
            row.stopped_at, row.stopped_by = row.stopped_at or now, said_by
    changed = [row for row in rows if (row.id in stopped) != (word is Word.STOP)]
    for row in changed:
        row.updated_at = now
        _audit(session, row, f"recipient.{word}", "recipient", now)
    return changed


def _answer(
    session: Session, account_id: int, found: Sequence[Recipient], answer: str, once: str, now: datetime
) -> None:
    """One message back, whichever of the person's records it hangs on."""
    first = found[0]
    DeliveryRepository(session).add(
        [
            NewDelivery(
                channel=TELEGRAM,
                kind=ANSWER_KIND,
                key=f"{ANSWER_KIND}|{account_id}|{first.id}|{answer}|{once}",
                subject=subject_of(TELEGRAM, account_id, first),
                recipient=str(first.id),
                body={
                    "answer": answer,
                    "recipient_id": first.id,
                    "organisation_ids": sorted({row.organisation_id for row in found}),
                },
                expires_at=now + ANSWER_USEFUL_FOR,
            )
        ],
        now,
    )


def _check_id(external_id: str) -> None:
    printable = external_id.isprintable() and external_id.strip() == external_id and "/" not in external_id
    if not 1 <= len(external_id) <= MOST_ID_CHARS or not printable:
        raise InvalidInputError(
            f"an external id has 1 to {MOST_ID_CHARS} printable characters and no slash", field="external_id"
        )


def _audit(session: Session, row: Recipient, action: str, actor: str, now: datetime, **details: object) -> None:
    details = {"recipient_id": row.id, **details}
    audit.record_of_organisation(session, row.organisation_id, action, actor, now, **details)


def _views(session: Session, rows: Sequence[Recipient]) -> list[RecipientView]:
    stops = stops_of(session, rows)
    return [_view(row, stops.get(row.id)) for row in rows]


def _view(row: Recipient, stopped_at: datetime | None) -> RecipientView:
    return RecipientView(
        organisation_id=row.organisation_id,
        external_id=row.external_id,
        name=row.name,
        channel=row.channel,
        second_channel=row.second_channel,
        telegram=row.telegram,
        mattermost=row.mattermost,
        opted_in=row.opted_in,
        stopped_at=stopped_at,
        quiet_from="" if row.quiet_from is None else f"{row.quiet_from:%H:%M}",
        quiet_until="" if row.quiet_until is None else f"{row.quiet_until:%H:%M}",
        zone=row.zone or "",
        language=row.locale or "",
        digest=row.digest or "",
        digest_at="" if row.digest_at is None else f"{row.digest_at:%H:%M}",
        is_contact=row.is_contact,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
