"""Mailings of organisations, with the administration token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request, url_for
from pydantic import Field

from routes import problems
from routes.documentation import Answer, describes, example
from routes.documents import KEY, EventAccepted, queue_accepted
from routes.inputs import Body, ExternalId, Line, Text
from routes.responses import json_answer
from routes.senders import actor
from routes.services import services
from switchboard.services.organisations.events import MOST_RECIPIENTS
from switchboard.services.organisations.mailings import (
    MOST_KEY_CHARS,
    DryRun,
    MailingSettings,
    MailingView,
)

blueprint = Blueprint("mailings", __name__, url_prefix="/organisations/<int:organisation_id>/mailings")


class MailingFields(Body):
    """What a mailing is."""

    model_config = example(
        name="Menu",
        rule="0 9 * * MON-FRI",
        title="Today in the canteen",
        link="https://canteen.example.org/today",
        texts={"en": "<b>{{ recipient }}</b>, the menu is here."},
        recipients=["anna"],
    )

    name: Annotated[Line, Field(max_length=100, description="one of its own in the organisation")]
    rule: Annotated[
        Line,
        Field(
            max_length=100,
            description="cron: minute, hour, day of the month, month, day of the week, by the organisation's clocks; "
            "every 15 minutes at most",
        ),
    ]
    texts: Annotated[dict[str, Text], Field(description="by language, en, ru or uk; written as templates are")]
    title: Annotated[Line, Field(max_length=500, description="a bold line before the text; empty: none")] = ""
    link: Annotated[Line, Field(max_length=2_000, description="behind the word Open below the text; empty: none")] = ""
    recipients: Annotated[
        list[ExternalId] | None,
        Field(max_length=MOST_RECIPIENTS, description="external ids; null: everybody who is opted in at that moment"),
    ] = None

    def settings(self) -> MailingSettings:
        """As the service takes them."""
        return MailingSettings(**self.model_dump())


@dataclass(frozen=True, slots=True)
class MailingList:
    """An organisation's mailings."""

    mailings: list[MailingView]


@blueprint.get("")
@describes("Its mailings", answers={200: Answer("All of them.", MailingList)}, errors=(404,))
def mailings(organisation_id: int) -> Response:
    """All of them."""
    return json_answer(MailingList(services().organisations.mailings.list_all(organisation_id)))


@blueprint.post("")
@describes(
    "Add a mailing, which goes out at its next time; try it with dry-run",
    answers={201: Answer("Added, with its next three times.", MailingView, headers={"Location": "The mailing."})},
    body=MailingFields,
    errors=(404, 409, 422),
)
def add(organisation_id: int) -> Response:
    """422 says what is wrong with the rule or the texts."""
    fields = MailingFields.model_validate_json(request.get_data())
    made = services().organisations.mailings.create(organisation_id, fields.settings(), actor=actor())
    location = url_for(".mailing", organisation_id=organisation_id, mailing_id=made.id)
    return json_answer(made, 201, location=location)


@blueprint.get("/<int:mailing_id>")
@describes("One mailing, with its next three times", answers={200: Answer("It.", MailingView)}, errors=(404,))
def mailing(organisation_id: int, mailing_id: int) -> Response:
    """One."""
    return json_answer(services().organisations.mailings.get(organisation_id, mailing_id))


@blueprint.put("/<int:mailing_id>")
@describes(
    "Make a mailing so; what waits of it gets the new words",
    answers={200: Answer("It.", MailingView)},
    body=MailingFields,
    errors=(404, 409, 422),
)
def change(organisation_id: int, mailing_id: int) -> Response:
    """One that is stopped stays so."""
    fields = MailingFields.model_validate_json(request.get_data())
    return json_answer(
        services().organisations.mailings.update(organisation_id, mailing_id, fields.settings(), actor=actor())
    )


@blueprint.delete("/<int:mailing_id>")
@describes("Delete a mailing; what still waits of it is given up", answers={204: Answer("Gone.")}, errors=(404,))
def remove(organisation_id: int, mailing_id: int) -> Response:
    """Delete."""
    services().organisations.mailings.remove(organisation_id, mailing_id, actor=actor())
    return Response(status=204)


@blueprint.post("/<int:mailing_id>/stop")
@describes(
    "Let it go out no more until it is resumed; what waits of it is sent",
    answers={200: Answer("It.", MailingView)},
    errors=(404,),
)
def stop(organisation_id: int, mailing_id: int) -> Response:
    """The same again changes nothing."""
    return json_answer(services().organisations.mailings.stop(organisation_id, mailing_id, actor=actor()))


@blueprint.post("/<int:mailing_id>/resume")
@describes(
    "Let it go out again, from its next time on",
    answers={200: Answer("It.", MailingView)},
    errors=(404,),
)
def resume(organisation_id: int, mailing_id: int) -> Response:
    """The same again changes nothing."""
    return json_answer(services().organisations.mailings.resume(organisation_id, mailing_id, actor=actor()))


@blueprint.post("/<int:mailing_id>/send")
@describes(
    "Send it now, out of its turn. Needs the header Idempotency-Key: a repeat sends nothing and gets the same answer",
    answers={202: Answer("Stored; the messages follow.", EventAccepted)},
    headers={KEY: f"Names this one for all time, 1 to {MOST_KEY_CHARS} printable characters."},
    errors=(400, 404, 409, 422),
)
def send(organisation_id: int, mailing_id: int) -> Response:
    """409 where it is for everybody and nobody is opted in; named people who cannot be reached are 202 and a `problem`."""
    key = request.headers.get(KEY, "").strip()
    if not key:
        return problems.problem(400, f"Send the header {KEY} that names this sending, so that a repeat sends nothing.")
    accepted = services().organisations.mailings.send_now(organisation_id, mailing_id, key, actor=actor())
    queue_accepted(accepted)
    return json_answer(EventAccepted(accepted.event_id), 202)


@blueprint.get("/<int:mailing_id>/dry-run")
@describes(
    "How many would get it now over which channel, how long that takes, and how it looks; nothing is sent",
    answers={200: Answer("What would happen.", DryRun)},
    errors=(404,),
)
def dry_run(organisation_id: int, mailing_id: int) -> Response:
    """A dry run."""
    return json_answer(services().organisations.mailings.dry_run(organisation_id, mailing_id))
