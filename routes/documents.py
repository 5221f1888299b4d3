"""What document systems send: events of documents, for the recipients of their organisation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from flask import Blueprint, Response, request, url_for
from pydantic import Field, field_validator

from routes import problems
from routes.documentation import Answer, describes, example
from routes.inputs import Body, ExternalId, Id, Line, Moment, Query
from routes.responses import json_answer
from routes.senders import HEADERS, organisation_id, signature
from routes.services import queue, services
from switchboard.db.types import MOST_ID
from switchboard.domain.organisations.markup import is_link
from switchboard.domain.organisations.templates import PLACEHOLDERS
from switchboard.errors import ConfigError, RemoteUnavailableError
from switchboard.logs import get_logger
from switchboard.services.organisations.events import (
    DELIVERY_STATES,
    MOST_RECIPIENTS,
    Accepted,
    DeliveryFilter,
    EventDelivery,
    EventView,
    NewEvent,
)

SEND_TASK = "delivery.mattermost.send"
WAKE_TASK = "telegram.accounts.wake"
FOLLOW_TASK = "delivery.documents.scan_due"
MOST_BATCHES = 20
"""Batches that a request queues itself; a scan finds the others within 15 s, and the answer does not wait for them."""
MOST_KEY_CHARS = 200
MAX_PAGE = 1_000
KEY = "Idempotency-Key"

blueprint = Blueprint("documents", __name__, url_prefix="/documents/events")
_log = get_logger(__name__)


def _longest(placeholder: str) -> int:
    """As long as templates expect a value to be at most."""
    return len(PLACEHOLDERS[placeholder][1])


class DocumentFacts(Body):
    """A document."""

    number: Annotated[Line, Field(min_length=1, max_length=_longest("number"))]
    title: Annotated[Line, Field(max_length=_longest("title"))] = ""
    link: Annotated[Line, Field(max_length=_longest("link"), description="where it is opened: http or https")] = ""
    deadline: Annotated[Moment | None, Field(description="RFC 3339 with an offset, in the years 2000 to 2199")] = None

    @field_validator("link")
    @classmethod
    def _http(cls, link: str) -> str:
        if link and not (link.startswith(("http://", "https://")) and is_link(link)):
            raise ValueError("a link begins with https:// (or http://) and has no spaces")
        return link


class EventBody(Body):
    """What happened to a document, and whom to tell."""

    model_config = example(
        kind="to_sign",
        document={
            "number": "7/A",
            "title": "Lease",
            "link": "https://docs.example.org/7",
            "deadline": "2030-12-25T18:00:00+03:00",
        },
        recipients=["anna"],
        remind_minutes=180,
    )

    kind: Annotated[
        str,
        Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$", description="chooses the template, for example to_sign"),
    ]
    document: DocumentFacts
    recipients: Annotated[
        list[ExternalId],
        Field(min_length=1, max_length=MOST_RECIPIENTS, description="external ids; unknown ones become states"),
    ]
    remind_minutes: Annotated[
        int | None,
        Field(ge=0, le=60 * 24 * 90, description="reminder so long before the deadline; 0: none; else a day before"),
    ] = None
    urgent: Annotated[bool, Field(description="tell everybody at once, also those who get digests")] = False


class ProcessedBody(Body):
    """The event of the address once more. Only a signed request needs it, because a signature covers the body alone."""

    model_config = example(event=1)

    event: Annotated[
        Id | None,
        Field(description="the same number as in the address; another is refused. With a token it may be left out"),
    ] = None


class DeliveryQuery(Query):
    """Which deliveries of the event."""

    state: Annotated[
        str | None, Field(max_length=20, description=f"only those in this state: {', '.join(DELIVERY_STATES)}")
    ] = None
    unread: Annotated[bool, Field(description="only those that were sent over Telegram and not read yet")] = False
    after: Annotated[
        int, Field(ge=0, le=MOST_ID, description="only those behind this id: `next_after` of the page before")
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = MAX_PAGE


class EventQuery(Query):
    """Which events."""

    before: Annotated[Id | None, Field(description="only those with an id below: `next_before`")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


@dataclass(frozen=True, slots=True)
class EventAccepted:
    """The event stands; its id shows what becomes of it."""

    id: int


@dataclass(frozen=True, slots=True)
class EventDetails:
    """An event, and its deliveries; `next_after` asks for the next page, and is null on the last one."""

    event: EventView
    deliveries: list[EventDelivery]
    next_after: int | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events, newest first; `next_before` asks for the next page, and is null on the last one."""

    events: list[EventView]
    next_before: int | None


@blueprint.post("")
@describes(
    "Tell recipients of a document. Needs the header Idempotency-Key: a repeat with the same body gets the same answer",
    answers={202: Answer("Stored; the messages follow.", EventAccepted, headers={"Location": "The event."})},
    body=EventBody,
    headers={KEY: "Names the event for all time, 1 to 200 printable characters.", **HEADERS},
    errors=(400, 409, 422),
)
def accept() -> Response:
    """202 as soon as the event and its messages stand in the database; nothing else is waited for."""
    key = request.headers.get(KEY, "").strip()
    if not (1 <= len(key) <= MOST_KEY_CHARS and key.isascii() and key.isprintable()):
        return problems.problem(
            400, f"Send the header {KEY} with 1 to {MOST_KEY_CHARS} printable characters that name this event."
        )
    body = EventBody.model_validate_json(request.get_data())
    accepted = services().organisations.events.accept(
        organisation_id(),
        key,
        request.get_data(),
        NewEvent(
            kind=body.kind,
            number=body.document.number,
            title=body.document.title,
            link=body.document.link,
            deadline_at=body.document.deadline,
            recipients=body.recipients,
            remind_before=None if body.remind_minutes is None else timedelta(minutes=body.remind_minutes),
            urgent=body.urgent,
        ),
        signature=signature(),
    )
    queue_accepted(accepted)
    location = url_for(".event", event_id=accepted.event_id)
    return json_answer(EventAccepted(accepted.event_id), 202, location=location)


@blueprint.get("")
@describes(
    "The organisation's events",
    answers={200: Answer("A page.", EventPage)},
    query=EventQuery,
    headers=HEADERS,
)
def events() -> Response:
    """A page of events."""
    query = EventQuery.model_validate(request.args.to_dict())
    found = services().organisations.events.latest(organisation_id(), before_id=query.before, limit=query.limit)
    return json_answer(EventPage(found, found[-1].id if len(found) == query.limit else None))


@blueprint.get("/<int:event_id>")
@describes(
    "An event with the state of each of its deliveries",
    answers={200: Answer("The event.", EventDetails)},
    query=DeliveryQuery,
    headers=HEADERS,
    errors=(404,),
)
def event(event_id: int) -> Response:
    """One event."""
    query = DeliveryQuery.model_validate(request.args.to_dict())
    use_cases = services().organisations.events
    found = use_cases.get(organisation_id(), event_id)
    wanted = DeliveryFilter(state=query.state, unread=query.unread, after=query.after, limit=query.limit)
    rows = use_cases.deliveries(organisation_id(), event_id, wanted)
    return json_answer(EventDetails(found, rows, rows[-1].id if len(rows) == query.limit else None))


@blueprint.post("/<int:event_id>/processed")
@describes(
    "Say that the document has been processed: reminders end, and messages that were sent say so",
    answers={200: Answer("The event.", EventView)},
    body=ProcessedBody,
    body_required=False,
    headers=HEADERS,
    errors=(404, 422),
)
def processed(event_id: int) -> Response:
    """The same again changes nothing."""
    if request.get_data():
        named = ProcessedBody.model_validate_json(request.get_data()).event
        if named is None and signature() is not None:
            return problems.problem(422, "A signature covers the body alone: name the event there.")
        if named not in (None, event_id):
            return problems.problem(422, "The body names another event than the address.")
    services().organisations.events.processed(organisation_id(), event_id)
    try:
        queue()(FOLLOW_TASK)
    except (RemoteUnavailableError, ConfigError) as error:
        _log.warning("work_not_queued", error=str(error))  # the next scan finds it
    return json_answer(services().organisations.events.get(organisation_id(), event_id))


def queue_accepted(accepted: Accepted) -> None:
    """Queue what may be sent now; what cannot be queued is found by the next scan."""
    try:
        for delivery_ids in accepted.batches[:MOST_BATCHES]:
            queue()(SEND_TASK, delivery_ids=delivery_ids)
        for account_id in accepted.accounts:
            queue()(WAKE_TASK, account_id=account_id)
    except (RemoteUnavailableError, ConfigError) as error:
        _log.warning("work_not_queued", error=str(error))
