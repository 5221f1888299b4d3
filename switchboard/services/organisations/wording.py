"""Templates of organisations: checked when they are saved, tried with a test message."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import delete, select

from switchboard.db.engine import Database
from switchboard.db.models import NoticeTemplate, Recipient
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.db.repositories.organisations import organisation, recipients_by_name, telegram_of
from switchboard.db.upsert import upsert
from switchboard.domain.organisations import templates
from switchboard.errors import ConflictError, InvalidInputsError, NotFoundError
from switchboard.services import audit
from switchboard.services.organisations.addresses import ledger_recipient, reachable, subject_of
from switchboard.services.organisations.events import Accepted, to_queue
from switchboard.services.organisations.notices import TEST_KIND
from switchboard.services.organisations.organisations import language as known_language
from switchboard.services.organisations.stops import stops_of

TEST_USEFUL_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class TemplateView:
    """A template of an organisation; those below it in the holding use it too, where they have none of their own."""

    kind: str
    purpose: str
    language: str
    source: str
    updated_at: datetime


class Wording:
    """Stores templates and sends tests."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    def list_all(self, organisation_id: int) -> list[TemplateView]:
        """The organisation's own; NotFoundError for an unknown one."""
        with self._database.read() as session:
            organisation(session, organisation_id)
            rows = session.scalars(
                select(NoticeTemplate)
                .where(NoticeTemplate.organisation_id == organisation_id)
                .order_by(NoticeTemplate.kind, NoticeTemplate.purpose, NoticeTemplate.locale)
            )
            return [TemplateView(row.kind, row.purpose, row.locale, row.source, row.updated_at) for row in rows]

    def put(
        self, organisation_id: int, kind: str, purpose: str, language: str, source: str, *, actor: str
    ) -> TemplateView:
        """Store a template; InvalidInputsError with everything that is wrong with it."""
        wanted, now = templates.parse_purpose(purpose), self._clock()
        templates.check_kind(kind)
        problems = templates.problems(source, wanted)
        if problems:
            raise InvalidInputsError(problems, field="source")
        row = {
            "organisation_id": organisation_id,
            "kind": kind,
            "purpose": wanted,
            "locale": known_language(language),
            "source": source,
            "updated_at": now,
        }
        with self._database.write() as session:
            organisation(session, organisation_id)
            upsert(session, NoticeTemplate, row, ("organisation_id", "kind", "purpose", "locale"))
            audit.record_of_organisation(
                session, organisation_id, "template.put", actor, now, kind=kind, purpose=wanted, language=language
            )
        return TemplateView(kind, wanted, language, source, now)

    def remove(self, organisation_id: int, kind: str, purpose: str, language: str, *, actor: str) -> None:
        """Use the parent's or the built-in wording again; NotFoundError where there is none of its own."""
        with self._database.write() as session:
            gone = session.scalars(
                delete(NoticeTemplate)
                .where(
                    NoticeTemplate.organisation_id == organisation_id,
                    NoticeTemplate.kind == kind,
                    NoticeTemplate.purpose == purpose,
                    NoticeTemplate.locale == language,
                )
                .returning(NoticeTemplate.id)
            ).all()
            if not gone:
                raise NotFoundError("this organisation has no such template")
            now = self._clock()
            audit.record_of_organisation(
                session, organisation_id, "template.remove", actor, now, kind=kind, purpose=purpose
            )

    def send_test(
        self, organisation_id: int, external_id: str, *, kind: str, purpose: str, language: str = "", actor: str
    ) -> Accepted:
        """Send a made-up document in these words to one recipient; `event_id` of the answer is the delivery's number.

        ConflictError where the recipient gets no messages: a test is no way around a STOP.
        """
        wanted, now = templates.parse_purpose(purpose), self._clock()
        templates.check_kind(kind)
        with self._database.write() as session:
            sender = organisation(session, organisation_id)
            recipient = recipients_by_name(session, organisation_id, [external_id]).get(external_id)
            if recipient is None:
                raise NotFoundError("this organisation has no such recipient")
            number = telegram_of(session, organisation_id)
            account_id = None if number is None else number.account_id
            stopped = recipient.id in stops_of(session, [recipient])
            channel = _channel(recipient, account_id, stopped=stopped)
            locale = known_language(language) if language else recipient.locale or sender.locale
            row = NewDelivery(
                channel=channel,
                kind=TEST_KIND,
                key=f"{TEST_KIND}|{recipient.id}|{uuid4().hex}",
                subject=subject_of(channel, account_id, recipient),
                recipient=ledger_recipient(channel, recipient),
                body={"recipient_id": recipient.id, "kind": kind, "purpose": str(wanted), "locale": locale},
                expires_at=now + TEST_USEFUL_FOR,
            )
            ids = DeliveryRepository(session).enter([row], now)
            audit.record_of_organisation(
                session, organisation_id, "template.test", actor, now, recipient_id=recipient.id, kind=kind
            )
        return Accepted(ids[row.key], *to_queue([row], ids))


def _channel(recipient: Recipient, account_id: int | None, *, stopped: bool) -> str:
    if stopped or not recipient.opted_in:
        raise ConflictError("this recipient gets no messages: not opted in, or answered STOP")
    channels = reachable(recipient, account_id)
    if not channels:
        raise ConflictError("this recipient cannot be reached: the organisation has no number to write from")
    return channels[0]
