"""Mailings: what an organisation tells its people regularly, by a cron rule and its own clocks.

A mailing that goes out is an event as those of documents are, with the same deliveries, pace, second channel and STOP. One
transaction moves `next_at` from its old value and enters the event under a key of mailing and time: whoever comes second, or
comes again after a kill, does nothing, and nothing is lost between the two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from switchboard.db.engine import Database
from switchboard.db.models import DocumentDelivery, DocumentEvent, Mailing, Organisation, Recipient
from switchboard.db.repositories.organisations import organisation, recipients_by_name, telegram_of
from switchboard.deadlines import current_deadline
from switchboard.domain import plain_text
from switchboard.domain.organisations import templates, timetable
from switchboard.domain.organisations.markup import MOST_SPANS, MOST_UNITS, Formatted, is_link
from switchboard.domain.organisations.templates import PLACEHOLDERS
from switchboard.domain.organisations.timetable import LEAST_BETWEEN, Due
from switchboard.domain.telegram import pacing
from switchboard.domain.telegram.pacing import Limits
from switchboard.errors import ConflictError, InvalidInputError, InvalidInputsError, NotFoundError
from switchboard.logs import get_logger
from switchboard.services import audit
from switchboard.services.organisations.addresses import TELEGRAM, reachable
from switchboard.services.organisations.events import (
    MOST_RECIPIENTS,
    NOTICE_USEFUL_FOR,
    Accepted,
    Events,
    NewEvent,
    refusal,
)
from switchboard.services.organisations.following import Followed
from switchboard.services.organisations.notices import MAILING, SAMPLE_RECIPIENT, mailing_values
from switchboard.services.organisations.previews import Shown, shown
from switchboard.services.organisations.recipients import MOST_ID_CHARS
from switchboard.services.organisations.stops import stops_of
from switchboard.texts import notices as texts_of
from switchboard.texts.locales import LOCALES, Texts

MOST_NAME_CHARS = len(PLACEHOLDERS["number"][1])
MOST_TITLE_CHARS = len(PLACEHOLDERS["title"][1])
MOST_LINK_CHARS = len(PLACEHOLDERS["link"][1])
MOST_KEY_CHARS = 150
SHOWN_AHEAD = 3
SCHEDULE = "schedule"
NOBODY = "nobody is opted in"
_LONGEST = {name: PLACEHOLDERS[name][1] for name in ("organisation", "recipient", "support_contact")}
_ONCE = f" {MAILING}"  # begins the keys of our events; no document system can send one that begins with a space
_LEFT_S = 10  # of the time of the task: 10,000 recipients take four seconds


_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MailingSettings:
    """What a mailing is. `rule` is cron by the organisation's clocks, `texts` are templates by language.

    `recipients` are external ids; None: everybody who is opted in at that moment.
    """

    name: str
    rule: str
    texts: Mapping[str, str]
    title: str = ""
    link: str = ""
    recipients: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Ahead:
    """A time of a mailing; `local` is the same by the organisation's clocks."""

    at: datetime
    local: str


@dataclass(frozen=True, slots=True)
class MailingView:
    """A mailing; `ahead` are its next times, none while it is stopped (`active`).

    `last_event_id` is the event of what went out last, at `last_at`; `problem` says why that reached nobody.
    `skipped_count` times from `skipped_from` on were left out the last time we were down for too long.
    """

    id: int
    organisation_id: int
    name: str
    rule: str
    zone: str
    title: str
    link: str
    texts: Mapping[str, str]
    recipients: list[str] | None
    active: bool
    ahead: list[Ahead]
    last_at: datetime | None
    last_event_id: int | None
    problem: str | None
    skipped_count: int
    skipped_from: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class DryRun:
    """What would happen were a mailing sent now: how many would get it over which channel, and why others would not.

    `takes_s` is what the number needs for it at its pace, where nothing else is to be sent; `strangers` are those of its
    people to whom it never wrote. `messages` are the words by language, to somebody over Telegram.
    """

    people: int
    channels: Mapping[str, int]
    left_out: Mapping[str, int]
    strangers: int
    takes_s: float
    warnings: list[str]
    messages: Mapping[str, Shown] = field(default_factory=dict)


class Mailings:
    """Makes, changes and sends mailings. `working` says which Telegram accounts are online."""

    def __init__(
        self,
        database: Database,
        events: Events,
        clock: Callable[[], datetime],
        limits: Limits,
        working: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._events = events
        self._clock = clock
        self._limits = limits
        self._working = working

    def list_all(self, organisation_id: int) -> list[MailingView]:
        """By number; NotFoundError for an unknown organisation."""
        with self._database.read() as session:
            sender = organisation(session, organisation_id)
            rows = session.scalars(
                select(Mailing).where(Mailing.organisation_id == organisation_id).order_by(Mailing.id)
            )
            return [_view(row, sender) for row in rows]

    def get(self, organisation_id: int, mailing_id: int) -> MailingView:
        """One; NotFoundError where there is none, and for another organisation's."""
        with self._database.read() as session:
            sender = organisation(session, organisation_id)
            return _view(_standing(session, organisation_id, mailing_id), sender)

    def create(self, organisation_id: int, settings: MailingSettings, *, actor: str) -> MailingView:
        """A new one, which goes out at its next time. ConflictError where the organisation has one with this name."""
        values, now = _values(settings), self._clock()
        with self._database.write() as session:
            sender = locked_sender(session, organisation_id)
            values["rule"] = timetable.check(settings.rule, now, ZoneInfo(sender.zone))
            made = Mailing(organisation_id=organisation_id, skipped_count=0, created_at=now, updated_at=now, **values)
            made.next_at = _next(made, sender, now)
            session.add(made)
            _flush(session)
            _audit(session, made, "mailing.create", actor, now, rule=made.rule)
            return _view(made, sender)

    def update(self, organisation_id: int, mailing_id: int, settings: MailingSettings, *, actor: str) -> MailingView:
        """Make it so; one that is stopped stays so. What waits to be sent gets the new words."""
        values, now = _values(settings), self._clock()
        with self._database.write() as session:
            sender = locked_sender(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            values["rule"] = timetable.check(settings.rule, now, ZoneInfo(sender.zone))
            changed = sorted(name for name, value in values.items() if getattr(row, name) != value)
            for name in changed:
                setattr(row, name, values[name])
            if "rule" in changed and row.next_at is not None:
                row.next_at = _next(row, sender, now)
            if changed:
                row.updated_at = now
                _flush(session)
                _audit(session, row, "mailing.update", actor, now, changed=changed)
            return _view(row, sender)

    def remove(self, organisation_id: int, mailing_id: int, *, actor: str) -> None:
        """Remove it; what still waits to be sent of it is given up."""
        with self._database.write() as session:
            locked_sender(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            _audit(session, row, "mailing.remove", actor, self._clock())
            session.delete(row)

    def stop(self, organisation_id: int, mailing_id: int, *, actor: str) -> MailingView:
        """It does not go out any more until `resume`. What waits of it already is sent."""
        with self._database.write() as session:
            sender = locked_sender(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            if row.next_at is not None:
                row.next_at = None
                _audit(session, row, "mailing.stop", actor, self._clock())
            return _view(row, sender)

    def resume(self, organisation_id: int, mailing_id: int, *, actor: str) -> MailingView:
        """It goes out again from its next time on; those that passed meanwhile are not made up for."""
        now = self._clock()
        with self._database.write() as session:
            sender = locked_sender(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            if row.next_at is None:
                row.next_at = _next(row, sender, now)
                _audit(session, row, "mailing.resume", actor, now)
            return _view(row, sender)

    def send_now(self, organisation_id: int, mailing_id: int, key: str, *, actor: str) -> Accepted:
        """Send it out of its turn, once for each `key`.

        ConflictError where it is for everybody, and nobody or too many are opted in. Where people are named it goes out as at
        its times: `problem` and the event say why it reaches nobody.
        """
        if not (1 <= len(key) <= MOST_KEY_CHARS and key.isascii() and key.isprintable()):
            raise InvalidInputError(f"a key has 1 to {MOST_KEY_CHARS} printable characters", field="key")
        now = self._clock()
        with self._database.write() as session:
            sender = locked_sender(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            once = f"{_ONCE}:{row.id}:now:{key}"
            before = session.scalar(
                select(DocumentEvent.id).where(
                    DocumentEvent.organisation_id == organisation_id, DocumentEvent.idempotency_key == once
                )
            )
            if before is not None:
                return Accepted(before)
            names = _names(session, row)
            if refused := _too_many_or_nobody(names):
                raise ConflictError(refused)
            sent = self._enter(session, sender, row, once, names, NOTICE_USEFUL_FOR, now, actor)
            if sent is None:
                raise ConflictError("somebody sends it under this key just now; try again")
            row.last_at = now
            return sent

    def dry_run(self, organisation_id: int, mailing_id: int) -> DryRun:
        """What would happen were it sent now; nothing is."""
        now = self._clock()
        with self._database.read() as session:
            sender = organisation(session, organisation_id)
            row = _standing(session, organisation_id, mailing_id)
            names = _names(session, row)
            known = recipients_by_name(session, organisation_id, names)
            stops = stops_of(session, known.values())
            number = telegram_of(session, organisation_id)
        account_id = None if number is None else number.account_id
        channels: Counter[str] = Counter()
        left_out: Counter[str] = Counter()
        strangers = 0
        for name in names:
            recipient = known.get(name)
            state = refusal(recipient, account_id, stops)
            if state is not None:
                left_out[state] += 1
            elif recipient is not None:
                channel = reachable(recipient, account_id)[0]
                channels[channel] += 1
                strangers += channel == TELEGRAM and recipient.contacted_at is None
        takes_s = pacing.duration_s(channels[TELEGRAM] - strangers, strangers, self._limits)
        warnings = [refused] if (refused := _too_many_or_nobody(names)) else []
        if names and not channels:
            warnings.append("none of its recipients can be reached")
        if channels[TELEGRAM] and account_id is not None and not self._working(account_id):
            warnings.append("the organisation's Telegram is not online: messages wait for it until the next time")
        if takes_s > (between := _between(row, sender, now)).total_seconds():
            warnings.append(f"it takes longer than the {between} to its next time: two would go out side by side")
        values = {
            "organisation": sender.name,
            "recipient": SAMPLE_RECIPIENT,
            "support_contact": sender.support_contact,
        }
        return DryRun(
            people=len(names),
            channels=dict(channels),
            left_out=dict(left_out),
            strangers=strangers,
            takes_s=takes_s,
            warnings=warnings,
            messages={locale: shown(_written(row, locale, values)) for locale in row.texts},
        )

    def fire_due(self, *, limit: int = 1_000) -> Followed:
        """Send the mailings that are due, each in a transaction of its own, as long as the task has time."""
        with self._database.read() as session:
            due = session.scalars(
                select(Mailing).where(Mailing.next_at <= self._clock()).order_by(Mailing.next_at).limit(limit)
            ).all()
        sent: list[Accepted] = []
        for row in due:
            deadline = current_deadline()
            if deadline is not None and deadline.remaining_s() < _LEFT_S:
                break
            if (
                row.next_at is not None
                and (one := self._fire_alone(row.organisation_id, row.id, row.next_at)) is not None
            ):
                sent.append(one)
        batches = [batch for one in sent for batch in one.batches]
        return Followed(len(sent), batches, sorted({account for one in sent for account in one.accounts}))

    def _fire_alone(self, organisation_id: int, mailing_id: int, next_at: datetime) -> Accepted | None:
        """Fire one; what is wrong with it keeps no other back, and the next scan tries it again."""
        try:
            return self.fire(organisation_id, mailing_id, next_at)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001  the outermost handler of a mailing
            _log.error("mailing not sent", mailing_id=mailing_id, error=type(error).__name__)
            return None

    def fire(self, organisation_id: int, mailing_id: int, next_at: datetime) -> Accepted | None:
        """Send what was due at `next_at`; None where nothing is sent: somebody else did, or changed, stopped or removed it."""
        now = self._clock()
        with self._database.write() as session:
            try:
                sender = locked_sender(session, organisation_id)
            except NotFoundError:
                return None
            row = session.get(Mailing, mailing_id)
            if row is None:
                return None
            zone = ZoneInfo(sender.zone)
            due = timetable.due(row.rule, next_at, now, zone)
            following = timetable.next_instant(row.rule, now, zone)
            moved = session.scalars(
                update(Mailing)
                .where(Mailing.id == mailing_id, Mailing.next_at == next_at)
                .values(next_at=following)
                .returning(Mailing.id)
                .execution_options(synchronize_session=False)
            ).all()
            if not moved:
                return None
            if due.skipped:
                _skip(session, row, due, now)
            return None if due.at is None else self._fire(session, sender, row, due.at, following, now)

    def _fire(
        self,
        session: Session,
        sender: Organisation,
        row: Mailing,
        at: datetime,
        following: datetime | None,
        now: datetime,
    ) -> Accepted | None:
        """A message is of use until the next one, so that somebody who cannot be reached for long gets one, not all."""
        names = _names(session, row)
        row.last_at = at
        if refused := _too_many_or_nobody(names):
            row.problem, row.last_event_id = refused, None
            _audit(session, row, "mailing.reach_nobody", SCHEDULE, now, at=at.isoformat())
            return None
        useful_for = NOTICE_USEFUL_FOR
        if following is not None:
            useful_for = min(useful_for, max(following - now, LEAST_BETWEEN))
        once = f"{_ONCE}:{row.id}:{at.isoformat()}"
        return self._enter(session, sender, row, once, names, useful_for, now, SCHEDULE)

    def _enter(
        self,
        session: Session,
        sender: Organisation,
        row: Mailing,
        once: str,
        names: Sequence[str],
        useful_for: timedelta,
        now: datetime,
        actor: str,
    ) -> Accepted | None:
        """The event of a mailing; None where it was sent under this key before."""
        event = NewEvent(
            kind=MAILING,
            number=row.name,
            title=row.title,
            link=row.link,
            recipients=names,
            mailing_id=row.id,
            useful_for=useful_for,
        )
        sent = self._events.enter(session, sender, once, once.encode(), event, now=now, actor=actor)
        if sent is not None:
            row.last_event_id = sent.event_id
            row.problem = _problem(session, sent.event_id)
        return sent


def locked_sender(session: Session, organisation_id: int) -> Organisation:
    """The organisation, locked for what concerns its mailings: those of others and its document events are not kept waiting."""
    found = session.get(Organisation, organisation_id, with_for_update={"key_share": True}, populate_existing=True)
    if found is None:
        raise NotFoundError(f"there is no organisation {organisation_id}")
    return found


def _standing(session: Session, organisation_id: int, mailing_id: int) -> Mailing:
    row = session.get(Mailing, mailing_id)
    if row is None or row.organisation_id != organisation_id:
        raise NotFoundError(f"this organisation has no mailing {mailing_id}")
    return row


def _next(row: Mailing, sender: Organisation, now: datetime) -> datetime | None:
    return timetable.next_instant(row.rule, now, ZoneInfo(sender.zone))


def _names(session: Session, row: Mailing) -> list[str]:
    """Whom a mailing is for, now."""
    if row.recipients is not None:
        return list(row.recipients)
    return list(
        session.scalars(
            select(Recipient.external_id)
            .where(
                Recipient.organisation_id == row.organisation_id,
                Recipient.removed_at.is_(None),
                Recipient.opted_in,
                Recipient.stopped_at.is_(None),
            )
            .order_by(Recipient.id)
            .limit(MOST_RECIPIENTS + 1)
        )
    )


def _too_many_or_nobody(names: Sequence[str]) -> str:
    if not names:
        return NOBODY
    if len(names) > MOST_RECIPIENTS:
        return f"more than {MOST_RECIPIENTS} people are opted in: name its recipients, in several mailings"
    return ""


def _problem(session: Session, event_id: int) -> str | None:
    """Why an event told nobody; None where it tells somebody."""
    states = session.execute(
        select(DocumentDelivery.state, func.count())
        .where(DocumentDelivery.event_id == event_id)
        .group_by(DocumentDelivery.state)
        .order_by(DocumentDelivery.state)
    ).all()
    if any(state is None for state, _ in states):
        return None
    return "none of its recipients can be reached: " + ", ".join(f"{state} {count}" for state, count in states)


def _skip(session: Session, row: Mailing, due: Due, now: datetime) -> None:
    row.skipped_count, row.skipped_from = due.skipped, due.skipped_from
    first = None if due.skipped_from is None else due.skipped_from.isoformat()
    _audit(session, row, "mailing.skip", SCHEDULE, now, times=due.skipped, first=first)


def _between(row: Mailing, sender: Organisation, now: datetime) -> timedelta:
    """How long from its next time to the one behind it."""
    times = list(islice(timetable.instants(row.rule, now, ZoneInfo(sender.zone)), 2))
    return times[1] - times[0] if len(times) == 2 else NOTICE_USEFUL_FOR


def _values(settings: MailingSettings) -> dict[str, Any]:
    """The columns but `rule`, which needs the organisation's clocks; every mistake is an InvalidInputError."""
    name = " ".join(plain_text.plain(settings.name, field="name").split())
    title = " ".join(plain_text.plain(settings.title, field="title").split())
    if not 1 <= len(name) <= MOST_NAME_CHARS or not name.isprintable():
        raise InvalidInputError(f"a name has 1 to {MOST_NAME_CHARS} printable characters", field="name")
    if len(title) > MOST_TITLE_CHARS or "\x00" in title:
        raise InvalidInputError(f"at most {MOST_TITLE_CHARS} characters that can be stored", field="title")
    link = settings.link.strip()
    if link and not (len(link) <= MOST_LINK_CHARS and link.isprintable() and _is_web(link)):
        raise InvalidInputError(
            f"a link begins with https:// (or http://), has no spaces and at most {MOST_LINK_CHARS} characters",
            field="link",
        )
    values = {
        "name": name,
        "title": title,
        "link": link,
        "texts": dict(settings.texts),
        "recipients": None if settings.recipients is None else _recipients(settings.recipients),
    }
    if problems := _problems_of_texts(Mailing(**values)):
        raise InvalidInputsError(problems, field="texts")
    return values


def _is_web(link: str) -> bool:
    return link.startswith(("http://", "https://")) and is_link(link)


def _recipients(names: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(names))
    if not 1 <= len(found) <= MOST_RECIPIENTS:
        raise InvalidInputError(
            f"1 to {MOST_RECIPIENTS} external ids; leave it out, or null, for everybody who is opted in",
            field="recipients",
        )
    if not all(1 <= len(name) <= MOST_ID_CHARS and name.isprintable() for name in found):
        raise InvalidInputError(f"an external id has 1 to {MOST_ID_CHARS} printable characters", field="recipients")
    return found


def _problems_of_texts(row: Mailing) -> list[str]:
    """What is wrong with the words of a mailing, each with its language."""
    if not row.texts:
        return [f"give a text in at least one language: {', '.join(LOCALES)}"]
    found: list[str] = []
    for locale, source in row.texts.items():
        if locale not in LOCALES:
            found.append(f"{locale}: the language is one of {', '.join(LOCALES)}")
            continue
        problems = templates.problems(source)
        if not problems:
            longest = _written(row, locale, _LONGEST)
            if longest.units > MOST_UNITS:
                problems = [
                    f"with title and link it could have {longest.units} characters, {MOST_UNITS} fit in one message"
                ]
            elif len(longest.spans) > MOST_SPANS:
                problems = [
                    f"with title and link it has {len(longest.spans)} formatted parts, Telegram shows {MOST_SPANS}"
                ]
        found += [f"{locale}: {problem}" for problem in problems]
    return found


def _written(row: Mailing, locale: str, values: Mapping[str, str]) -> Formatted:
    """The words in a language to somebody over Telegram, uncut."""
    texts = Texts.for_locale(locale)
    own = {"kind": MAILING, "deadline": "", "stop_hint": texts_of.stop_hint(texts), **mailing_values(row)}
    return texts_of.mailing(row.texts[locale], {**own, **values}, texts)


def _view(row: Mailing, sender: Organisation) -> MailingView:
    zone = ZoneInfo(sender.zone)
    ahead: list[datetime] = []
    if row.next_at is not None:
        ahead = [row.next_at, *islice(timetable.instants(row.rule, row.next_at, zone), SHOWN_AHEAD - 1)]
    return MailingView(
        id=row.id,
        organisation_id=row.organisation_id,
        name=row.name,
        rule=row.rule,
        zone=sender.zone,
        title=row.title,
        link=row.link,
        texts=row.texts,
        recipients=row.recipients,
        active=row.next_at is not None,
        ahead=[Ahead(at, at.astimezone(zone).isoformat(timespec="minutes")) for at in ahead],
        last_at=row.last_at,
        last_event_id=row.last_event_id,
        problem=row.problem,
        skipped_count=row.skipped_count,
        skipped_from=row.skipped_from,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _flush(session: Session) -> None:
    try:
        session.flush()
    except IntegrityError:
        raise ConflictError("another mailing of this organisation has this name") from None


def _audit(session: Session, row: Mailing, action: str, actor: str, now: datetime, **details: object) -> None:
    details = {"mailing_id": row.id, **details}
    audit.record_of_organisation(session, row.organisation_id, action, actor, now, **details)
