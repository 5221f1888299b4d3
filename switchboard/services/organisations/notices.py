"""Messages of organisations, written at the moment they are sent: what is not true or not wanted any more is not said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import (
    Delivery,
    DeliveryState,
    DocumentDelivery,
    DocumentEvent,
    EventState,
    Mailing,
    NoticeTemplate,
    Organisation,
    Recipient,
)
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.db.repositories.organisations import lineage, organisation, recipients_by_name
from switchboard.domain.calendar.quiet_hours import quiet_hours_end
from switchboard.domain.organisations import templates
from switchboard.domain.organisations.digests import LINE_SPANS, LINE_UNITS
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.organisations.templates import Purpose
from switchboard.domain.organisations.words import Word
from switchboard.errors import NotFoundError
from switchboard.services.channels.channel import Obsolete, Postponed, Rendered
from switchboard.services.conversation.answers import ButtonRow
from switchboard.services.conversation.subscriptions import subscription_row
from switchboard.services.organisations.addresses import MATTERMOST, TELEGRAM
from switchboard.services.organisations.events import DIGEST_KIND, DOCUMENT_KIND, PROCESSED_BEFORE, RECIPIENT_REMOVED
from switchboard.services.organisations.organisations import language as known_language
from switchboard.services.organisations.previews import Preview, PreviewOf, check_channel, check_values, shown
from switchboard.services.organisations.recipients import ANSWER_KIND
from switchboard.services.organisations.stops import ANSWERED_STOP, stops_of
from switchboard.texts import notices as texts_of
from switchboard.texts.locales import LOCALES, Texts
from switchboard.texts.markdown import Message, formatted_markdown

EDIT_KIND = "organisation.edit"
TEST_KIND = "organisation.test"
WITH_BUTTON = (DOCUMENT_KIND, DIGEST_KIND, EDIT_KIND)
KINDS = (DOCUMENT_KIND, DIGEST_KIND, EDIT_KIND, TEST_KIND, ANSWER_KIND)
MAILING = "mailing"
"""The kind of the events of mailings."""
ANY_KIND = "default"
"""The kind of a template that serves events of every kind without one of their own."""
SAMPLE = {"number": "123/45", "title": "Contract", "link": "https://example.org/documents/123"}
"""The document of tests and previews, by placeholder."""
SAMPLE_RECIPIENT = "Anna Petrova"

Result = Rendered | Obsolete | Postponed


def language_among(texts: Mapping[str, str], *wanted: str) -> str:
    """The first wanted language that a mailing has a text in; else its first one."""
    return next(locale for locale in (*wanted, *LOCALES) if locale in texts)


def mailing_values(mailing: Mailing) -> dict[str, str]:
    """What a mailing says of itself, by placeholder."""
    return {"number": mailing.name, "title": mailing.title, "link": mailing.link}


class Notices:
    """Implements Renderer for notices, digests, reminders, their edits, tests and answers."""

    def __init__(self, database: Database, *, support_contact: str) -> None:
        self._database = database
        self._support_contact = support_contact

    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Result]:
        """See Renderer."""
        with self._database.read() as session:
            desk = _Desk(session, self._support_contact)
            desk.look_for_stops([delivery.body["recipient_id"] for delivery in deliveries])
            return {delivery.id: desk.render(delivery, now) for delivery in deliveries}

    def preview(self, organisation_id: int, wanted: PreviewOf, *, now: datetime) -> Preview:
        """How a message would look; nothing is sent or stored. NotFoundError for an unknown organisation or recipient."""
        templates.check_kind(wanted.kind)
        check_channel(wanted.channel)
        check_values(wanted.values)
        purpose = templates.parse_purpose(wanted.purpose)
        locale = known_language(wanted.language) if wanted.language else ""
        with self._database.read() as session:
            organisation(session, organisation_id)
            recipient: Recipient | None = Recipient(organisation_id=organisation_id, name=SAMPLE_RECIPIENT)
            if wanted.recipient is not None:
                recipient = recipients_by_name(session, organisation_id, [wanted.recipient]).get(wanted.recipient)
            if recipient is None:
                raise NotFoundError("this organisation has no such recipient")
            return _Desk(session, self._support_contact).preview(recipient, wanted, purpose, locale, now)


class _Desk:
    """One batch: the session remembers rows that were read, templates and lineages are remembered here."""

    def __init__(self, session: Session, support_contact: str) -> None:
        self._session = session
        self._support_contact = support_contact
        self._lineages: dict[int, list[Organisation]] = {}
        self._templates: dict[tuple[int, str, Purpose, str], str | None] = {}
        self._stops: Mapping[int, datetime] = {}

    def look_for_stops(self, recipient_ids: Sequence[int]) -> None:
        """Who of these answered STOP, to the organisation or to its number."""
        people = select(Recipient).where(Recipient.id.in_(recipient_ids))
        self._stops = stops_of(self._session, self._session.scalars(people).all())

    def render(self, delivery: ClaimedDelivery, now: datetime) -> Result:
        recipient = self._session.get(Recipient, delivery.body["recipient_id"])
        if recipient is None or recipient.removed_at is not None:
            return Obsolete(RECIPIENT_REMOVED)
        if delivery.channel == TELEGRAM and recipient.telegram is None:
            return Obsolete("the recipient has no address in Telegram any more")
        if delivery.channel == MATTERMOST and recipient.mattermost != delivery.recipient:
            return Obsolete("the recipient has another address in Mattermost now")
        match delivery.kind:
            case "organisation.answer":
                return self._answer(delivery, recipient)
            case "organisation.test":
                return self._test(delivery, recipient, now)
            case "organisation.edit":
                return self._edit(delivery, recipient)
            case "organisation.digest":
                return self._digest(delivery, recipient, now)
            case _:
                return self._document(delivery, recipient, now)

    def _document(self, delivery: ClaimedDelivery, recipient: Recipient, now: datetime) -> Result:
        event = self._session.get(DocumentEvent, delivery.body["event_id"])
        if event is None or event.number is None:
            return Obsolete("the event was erased")
        if event.state == EventState.PROCESSED:
            return Obsolete(PROCESSED_BEFORE if event.mailing_id is None else "the mailing was withdrawn")
        unwanted = self._unwanted(delivery, recipient, now)
        if unwanted is not None:
            return unwanted
        if event.mailing_id is not None:
            mailing = self._session.get(Mailing, event.mailing_id)
            if mailing is None:
                return Obsolete("the mailing was deleted")
            return self._rendered(delivery, recipient, self._mailing(delivery, recipient, mailing))
        text = self._text(delivery, recipient, event, Purpose(delivery.body["purpose"]))
        return self._rendered(delivery, recipient, text)

    def preview(self, recipient: Recipient, wanted: PreviewOf, purpose: Purpose, locale: str, now: datetime) -> Preview:
        """What `_test` would send, and of `source` what it would send were it stored."""
        texts = Texts.for_locale(locale or self._locale(recipient))
        values = self._values(recipient, wanted.kind, now, wanted.channel, texts) | SAMPLE | dict(wanted.values)
        found = self._nearest(recipient, wanted.kind, purpose, texts.locale)
        if wanted.source is not None:
            origin, source = "given", wanted.source
        elif found is not None:
            origin, source = f"organisation {found[0]}", found[1]
        else:
            return Preview([], "built-in", texts.locale, shown(texts_of.built_in(purpose, values, texts)))
        message = None if templates.faults(source) else shown(templates.written(source, values))
        return Preview(templates.problems(source, purpose), origin, texts.locale, message)

    def _mailing(self, delivery: ClaimedDelivery, recipient: Recipient, mailing: Mailing) -> Formatted:
        locale = language_among(mailing.texts, self._locale(recipient), self._chain(recipient)[0].locale)
        texts = Texts.for_locale(locale)
        values = self._values(recipient, MAILING, None, delivery.channel, texts) | mailing_values(mailing)
        return texts_of.mailing(mailing.texts[locale], values, texts).cut()

    def _digest(self, delivery: ClaimedDelivery, recipient: Recipient, now: datetime) -> Result:
        """What has been processed or erased since it was collected is left out; one that is left is a notice."""
        events = [event for event in self._documents(recipient, delivery.id) if event.state == EventState.OPEN]
        if not events:
            return Obsolete("every document has been processed")
        unwanted = self._unwanted(delivery, recipient, now)
        if unwanted is not None:
            return unwanted
        return self._rendered(delivery, recipient, self._digest_text(delivery, recipient, events))

    def _unwanted(self, delivery: ClaimedDelivery, recipient: Recipient, now: datetime) -> Obsolete | Postponed | None:
        if recipient.id in self._stops:
            return Obsolete(ANSWERED_STOP)
        if not recipient.opted_in:
            return Obsolete("the recipient opted out")
        zone = ZoneInfo(recipient.zone or self._chain(recipient)[0].zone)
        quiet_end = quiet_hours_end(now, zone, recipient.quiet_from, recipient.quiet_until)
        if quiet_end is not None:
            if delivery.expires_at is not None and quiet_end >= delivery.expires_at:
                return Obsolete("quiet hours last longer than it is of use")
            return Postponed(quiet_end, "quiet hours")
        return None

    def _edit(self, delivery: ClaimedDelivery, recipient: Recipient) -> Result:
        """Silent, so that quiet hours and STOP do not matter: it changes what the person has."""
        event = self._session.get(DocumentEvent, delivery.body["event_id"])
        sent = self._session.get(Delivery, delivery.body["delivery_id"])
        if event is None or event.number is None:
            return Obsolete("the event was erased")
        if sent is None or sent.remote_id is None or sent.state not in (DeliveryState.SENT, DeliveryState.READ):
            return Obsolete("there is no message to change")
        if sent.kind == DIGEST_KIND:
            text = self._digest_text(delivery, recipient, self._documents(recipient, sent.id))
        else:
            text = self._text(delivery, recipient, event, Purpose.PROCESSED)
        return self._rendered(delivery, recipient, text, edits=sent.remote_id)

    def _documents(self, recipient: Recipient, digest_id: int) -> list[DocumentEvent]:
        """The documents that a digest names, in the order they came; without those that are erased."""
        return list(
            self._session.scalars(
                select(DocumentEvent)
                .join(DocumentDelivery, DocumentDelivery.event_id == DocumentEvent.id)
                .where(
                    DocumentDelivery.recipient_id == recipient.id,
                    DocumentDelivery.delivery_id == digest_id,
                    DocumentDelivery.state.is_(None),
                    DocumentEvent.number.is_not(None),
                )
                .order_by(DocumentDelivery.id)
            )
        )

    def _digest_text(
        self, delivery: ClaimedDelivery, recipient: Recipient, events: Sequence[DocumentEvent]
    ) -> Formatted:
        if len(events) == 1:
            only = events[0]
            purpose = Purpose.NOTICE if only.state == EventState.OPEN else Purpose.PROCESSED
            return self._text(delivery, recipient, only, purpose)
        lines: dict[str, list[Formatted]] = {EventState.OPEN: [], EventState.PROCESSED: []}
        for event in events:
            line = self._text(delivery, recipient, event, Purpose.DIGEST)
            # a template was checked with some values, and what its conditions leave in may be more with others
            line = replace(line, text=line.text.replace("\n", " "), spans=line.spans[:LINE_SPANS]).cut(LINE_UNITS)
            lines[event.state].append(line)
        texts = Texts.for_locale(self._locale(recipient))
        hint = texts_of.stop_hint(texts) if delivery.channel == TELEGRAM else ""
        name = self._chain(recipient)[0].name
        return texts_of.digest(lines[EventState.OPEN], lines[EventState.PROCESSED], name, hint, texts)

    def _test(self, delivery: ClaimedDelivery, recipient: Recipient, now: datetime) -> Result:
        body = delivery.body
        texts = Texts.for_locale(body["locale"])
        values = self._values(recipient, body["kind"], now, delivery.channel, texts) | SAMPLE
        written = self._written(recipient, body["kind"], Purpose(body["purpose"]), values, texts)
        return self._rendered(delivery, recipient, texts_of.test_message(written, texts))

    def _answer(self, delivery: ClaimedDelivery, recipient: Recipient) -> Result:
        answer = delivery.body["answer"]
        if answer == "stop" and recipient.stopped_at is None:
            return Obsolete("the recipient answered START since")
        if answer == "start" and recipient.stopped_at is not None:
            return Obsolete("the recipient answered STOP since")
        texts = Texts.for_locale(self._locale(recipient))
        names = list(
            self._session.scalars(
                select(Organisation.name)
                .where(Organisation.id.in_(delivery.body["organisation_ids"]))
                .order_by(Organisation.id)
            )
        )
        written = {
            "stop": lambda: texts_of.stopped_message(names, texts),
            "start": lambda: texts_of.started_message(names, texts),
            "unread": lambda: texts_of.unread_message(self._contact(recipient), texts),
        }
        return self._rendered(delivery, recipient, written[answer]().cut())

    def _text(
        self, delivery: ClaimedDelivery, recipient: Recipient, event: DocumentEvent, purpose: Purpose
    ) -> Formatted:
        texts = Texts.for_locale(self._locale(recipient))
        values = self._values(recipient, event.kind, event.deadline_at, delivery.channel, texts)
        values |= {"number": event.number or "", "title": event.title or "", "link": event.link or ""}
        return self._written(recipient, event.kind, purpose, values, texts)

    def _values(
        self, recipient: Recipient, kind: str, deadline: datetime | None, channel: str, texts: Texts
    ) -> dict[str, str]:
        zone = ZoneInfo(recipient.zone or self._chain(recipient)[0].zone)
        return {
            "deadline": "" if deadline is None else texts.moment(deadline, zone),
            "kind": kind,
            "organisation": self._chain(recipient)[0].name,
            "recipient": recipient.name,
            "support_contact": self._contact(recipient),
            "stop_hint": texts_of.stop_hint(texts) if channel == TELEGRAM else "",
        }

    def _written(
        self, recipient: Recipient, kind: str, purpose: Purpose, values: Mapping[str, str], texts: Texts
    ) -> Formatted:
        """By the nearest template, else the built-in words."""
        found = self._nearest(recipient, kind, purpose, texts.locale)
        return texts_of.built_in(purpose, values, texts) if found is None else templates.render(found[1], values)

    def _nearest(self, recipient: Recipient, kind: str, purpose: Purpose, locale: str) -> tuple[int, str] | None:
        """The organisation's own template, or its parents', each for the kind before the one for all; and whose it is."""
        for one in self._chain(recipient):
            for name in (kind, ANY_KIND):
                source = self._template(one.id, name, purpose, locale)
                if source is not None:
                    return one.id, source
        return None

    def _template(self, organisation_id: int, kind: str, purpose: Purpose, locale: str) -> str | None:
        key = (organisation_id, kind, purpose, locale)
        if key not in self._templates:
            self._templates[key] = self._session.scalar(
                select(NoticeTemplate.source).where(
                    NoticeTemplate.organisation_id == organisation_id,
                    NoticeTemplate.kind == kind,
                    NoticeTemplate.purpose == purpose,
                    NoticeTemplate.locale == locale,
                )
            )
        return self._templates[key]

    def _chain(self, recipient: Recipient) -> list[Organisation]:
        if recipient.organisation_id not in self._lineages:
            self._lineages[recipient.organisation_id] = lineage(self._session, recipient.organisation_id)
        return self._lineages[recipient.organisation_id]

    def _locale(self, recipient: Recipient) -> str:
        return recipient.locale or self._chain(recipient)[0].locale

    def _contact(self, recipient: Recipient) -> str:
        own = (one.support_contact for one in self._chain(recipient) if one.support_contact)
        return next(own, self._support_contact)

    def _rendered(
        self, delivery: ClaimedDelivery, recipient: Recipient, text: Formatted, *, edits: str | None = None
    ) -> Rendered:
        address = recipient.telegram if delivery.channel == TELEGRAM else None
        rows: tuple[ButtonRow, ...] = ()
        if delivery.channel == MATTERMOST and delivery.kind in WITH_BUTTON:
            rows = (subscription_row(recipient.id, Word.STOP, Texts.for_locale(self._locale(recipient))),)
        return Rendered(Message(formatted_markdown(text)), address=address, rows=rows, formatted=text, edits=edits)
