"""Organisations, with the administration token; an organisation's own token reaches its recipients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request, url_for
from pydantic import Field, SecretStr

from routes.documentation import Answer, describes, example
from routes.documents import EventPage, EventQuery, queue_accepted
from routes.inputs import Body, Line, Query, Text
from routes.responses import json_answer
from routes.senders import actor
from routes.services import services
from switchboard.db.types import MOST_ID
from switchboard.services.organisations.credentials import CredentialView, Minted
from switchboard.services.organisations.organisations import OrganisationChanges, OrganisationView, ServiceStatus
from switchboard.services.organisations.previews import Preview, PreviewOf
from switchboard.services.organisations.recipients import RecipientSettings, RecipientView
from switchboard.services.organisations.wording import TemplateView

MAX_PAGE = 500

blueprint = Blueprint("organisations", __name__, url_prefix="/organisations")
recipients = Blueprint("recipients", __name__, url_prefix="/organisations/<int:organisation_id>/recipients")


class OrganisationFields(Body):
    """What may be changed."""

    model_config = example(support_contact="help desk, 101")

    name: Annotated[Line | None, Field(min_length=1, max_length=200)] = None
    parent_id: Annotated[
        int | None, Field(ge=0, le=MOST_ID, description="the organisation above it in the holding; 0: none")
    ] = None
    support_contact: Annotated[
        Line | None, Field(max_length=200, description="whom its people ask; empty: the parent's, then SUPPORT_CONTACT")
    ] = None
    zone: Annotated[Line | None, Field(max_length=64, description="for example Europe/Moscow; else UTC")] = None
    language: Annotated[Line | None, Field(max_length=8, description="en, ru or uk; else en")] = None
    digest: Annotated[
        Line | None,
        Field(max_length=8, description="none (notices go out at once), hour or day; empty: the parent's, then none"),
    ] = None
    digest_at: Annotated[
        Line | None, Field(max_length=5, description="HH:MM of a daily digest; empty: the parent's, then 09:00")
    ] = None

    def changes(self) -> OrganisationChanges:
        """As the service takes them."""
        return OrganisationChanges(**self.model_dump())


class NewOrganisation(OrganisationFields):
    """A new organisation."""

    model_config = example(name="Altair", zone="Europe/Moscow", language="ru")

    name: Annotated[Line, Field(min_length=1, max_length=200)]


class TelegramFields(Body):
    """The number it writes from, and its pair of my.telegram.org; one number has one pair."""

    model_config = example(phone="+79160001122", api_id=12345, api_hash="0123456789abcdef0123456789abcdef")

    phone: Annotated[Line, Field(max_length=40, description="with the country code, for example +79161234567")]
    api_id: int
    api_hash: Annotated[SecretStr, Field(max_length=64, description="32 hexadecimal digits")]


class RecipientFields(Body):
    """What the document system knows of a person."""

    model_config = example(
        opted_in=True, telegram="+79160001122", name="Anna Petrova", quiet_from="22:00", quiet_until="08:00"
    )

    opted_in: Annotated[bool, Field(description="whether the person agreed to get messages; their own STOP wins")]
    channel: Annotated[Line, Field(description="telegram or mattermost")] = "telegram"
    second_channel: Annotated[
        Line | None, Field(description="where a message goes that cannot be delivered over the first")
    ] = None
    telegram: Annotated[Line | None, Field(max_length=40, description="@username, +phone or numeric id")] = None
    mattermost: Annotated[Line | None, Field(max_length=64, description="user id or @name")] = None
    name: Annotated[Line, Field(max_length=160)] = ""
    quiet_from: Annotated[Line, Field(max_length=5, description="HH:MM by the clocks of the zone; empty: none")] = ""
    quiet_until: Annotated[Line, Field(max_length=5)] = ""
    zone: Annotated[Line, Field(max_length=64, description="empty: the organisation's")] = ""
    language: Annotated[Line, Field(max_length=8, description="empty: the organisation's")] = ""
    digest: Annotated[
        Line,
        Field(max_length=8, description="one message an hour or a day: none, hour, day; empty: the organisation's"),
    ] = ""
    digest_at: Annotated[
        Line,
        Field(max_length=5, description="HH:MM of a daily digest by the clocks of the zone; empty: the organisation's"),
    ] = ""
    is_contact: Annotated[
        bool, Field(description="is told over Mattermost when the organisation's Telegram falls out")
    ] = False


class TemplateFields(Body):
    """The words."""

    model_config = example(source="Document {{ number }} is for you to sign: {{ link }}")

    source: Annotated[Text, Field(max_length=100_000)]


class PreviewFields(Body):
    """What to show: `source`, else the template that such a message takes."""

    model_config = example(source="<b>{{ number }}</b> for {{ recipient }}", values={"number": "7/A"})

    source: Annotated[Text | None, Field(max_length=100_000, description="null: the stored or built-in template")] = (
        None
    )
    kind: Annotated[Line, Field(max_length=64)] = "default"
    purpose: Annotated[Line, Field(max_length=16, description="notice, digest, reminder or processed")] = "notice"
    language: Annotated[Line, Field(max_length=8, description="empty: the recipient's, else the organisation's")] = ""
    channel: Annotated[Line, Field(max_length=16, description="telegram or mattermost")] = "telegram"
    recipient: Annotated[
        Line | None, Field(max_length=128, description="external id of whom it would go to; null: somebody made up")
    ] = None
    values: dict[str, Line] = Field(
        default_factory=dict, description="by placeholder, in place of those of a made-up document"
    )


class TestFields(Body):
    """Whom to send a test to, and which template."""

    model_config = example(recipient="anna", kind="to_sign")

    recipient: Annotated[Line, Field(max_length=128, description="external id")]
    kind: Annotated[Line, Field(max_length=64)] = "default"
    purpose: Annotated[Line, Field(max_length=16, description="notice, digest, reminder or processed")] = "notice"
    language: Annotated[Line, Field(max_length=8, description="empty: the recipient's")] = ""


class RecipientQuery(Query):
    """Which recipients."""

    after: Annotated[Line, Field(max_length=128, description="only external ids behind this one")] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100


@dataclass(frozen=True, slots=True)
class OrganisationList:
    """Every organisation."""

    organisations: list[OrganisationView]


@dataclass(frozen=True, slots=True)
class CredentialList:
    """The valid pairs of token and secret, newest first, without them."""

    credentials: list[CredentialView]


@dataclass(frozen=True, slots=True)
class TemplateList:
    """The organisation's own templates."""

    templates: list[TemplateView]


@dataclass(frozen=True, slots=True)
class RecipientPage:
    """Recipients by external id; `next_after` asks for the next page, and is null on the last one."""

    recipients: list[RecipientView]
    next_after: str | None


@dataclass(frozen=True, slots=True)
class TestQueued:
    """The test message's number in the ledger."""

    delivery_id: int


def _nothing() -> Response:
    return Response(status=204)


@blueprint.get("")
@describes("Organisations with their service status", answers={200: Answer("All of them.", OrganisationList)})
def organisations() -> Response:
    """All of them."""
    return json_answer(OrganisationList(services().organisations.organisations.list_all()))


@blueprint.post("")
@describes(
    "Add an organisation",
    answers={201: Answer("Added.", OrganisationView, headers={"Location": "The organisation."})},
    body=NewOrganisation,
    errors=(404, 409, 422),
)
def add() -> Response:
    """A new organisation."""
    fields = NewOrganisation.model_validate_json(request.get_data())
    made = services().organisations.organisations.create(fields.name, fields.changes(), actor=actor())
    return json_answer(made, 201, location=url_for(".organisation", organisation_id=made.id))


@blueprint.get("/<int:organisation_id>")
@describes("One organisation", answers={200: Answer("It.", OrganisationView)}, errors=(404,))
def organisation(organisation_id: int) -> Response:
    """One organisation."""
    return json_answer(services().organisations.organisations.get(organisation_id))


@blueprint.patch("/<int:organisation_id>")
@describes(
    "Change an organisation",
    answers={200: Answer("It.", OrganisationView)},
    body=OrganisationFields,
    errors=(404, 409, 422),
)
def change(organisation_id: int) -> Response:
    """Only what is given."""
    fields = OrganisationFields.model_validate_json(request.get_data())
    changed = services().organisations.organisations.update(organisation_id, fields.changes(), actor=actor())
    return json_answer(changed)


@blueprint.delete("/<int:organisation_id>")
@describes(
    "Remove an organisation with its recipients, templates, mailings and events",
    answers={204: Answer("Gone.")},
    errors=(404, 409),
)
def remove(organisation_id: int) -> Response:
    """Not while others belong to it."""
    services().organisations.organisations.remove(organisation_id, actor=actor())
    return _nothing()


@blueprint.put("/<int:organisation_id>/telegram")
@describes(
    "Set the number it writes from; sign it in at /telegram/accounts, once for all organisations with this number",
    answers={200: Answer("The organisation.", OrganisationView)},
    body=TelegramFields,
    errors=(404, 409, 422),
)
def set_telegram(organisation_id: int) -> Response:
    """409 says why the pair does not fit the number."""
    fields = TelegramFields.model_validate_json(request.get_data())
    return json_answer(
        services().organisations.organisations.set_telegram(
            organisation_id,
            fields.phone,
            api_id=fields.api_id,
            api_hash=fields.api_hash.get_secret_value(),
            actor=actor(),
        )
    )


@blueprint.delete("/<int:organisation_id>/telegram")
@describes(
    "Write from no number any more; the account stays",
    answers={200: Answer("The organisation.", OrganisationView)},
    errors=(404,),
)
def unset_telegram(organisation_id: int) -> Response:
    """The account may have other uses."""
    return json_answer(services().organisations.organisations.unset_telegram(organisation_id, actor=actor()))


@blueprint.get("/<int:organisation_id>/status")
@describes(
    "Whether its Telegram messages go out, why not, and since when",
    answers={200: Answer("The status.", ServiceStatus)},
    errors=(404,),
)
def status(organisation_id: int) -> Response:
    """The service status."""
    return json_answer(services().organisations.organisations.status(organisation_id))


@blueprint.get("/<int:organisation_id>/credentials")
@describes("Valid credentials, without the secrets", answers={200: Answer("They.", CredentialList)}, errors=(404,))
def credentials(organisation_id: int) -> Response:
    """At most two."""
    return json_answer(CredentialList(services().organisations.credentials.list_all(organisation_id)))


@blueprint.post("/<int:organisation_id>/credentials")
@describes(
    "Make a new token and secret, shown this once; the pair before stays valid until the next rotation",
    answers={201: Answer("The pair.", Minted)},
    errors=(404,),
)
def rotate(organisation_id: int) -> Response:
    """Rotate."""
    return json_answer(services().organisations.credentials.rotate(organisation_id, actor=actor()), 201)


@blueprint.delete("/<int:organisation_id>/credentials/<int:credential_id>")
@describes("Accept a pair no more", answers={204: Answer("It is refused from now on.")}, errors=(404,))
def end_credential(organisation_id: int, credential_id: int) -> Response:
    """For a pair that leaked."""
    services().organisations.credentials.end(organisation_id, credential_id, actor=actor())
    return _nothing()


@blueprint.get("/<int:organisation_id>/events")
@describes("Its document events", answers={200: Answer("A page.", EventPage)}, query=EventQuery, errors=(404,))
def events(organisation_id: int) -> Response:
    """A page of events."""
    query = EventQuery.model_validate(request.args.to_dict())
    found = services().organisations.events.latest(organisation_id, before_id=query.before, limit=query.limit)
    return json_answer(EventPage(found, found[-1].id if len(found) == query.limit else None))


@blueprint.get("/<int:organisation_id>/templates")
@describes("Its own templates", answers={200: Answer("They.", TemplateList)}, errors=(404,))
def templates(organisation_id: int) -> Response:
    """Not its parents'."""
    return json_answer(TemplateList(services().organisations.wording.list_all(organisation_id)))


@blueprint.put("/<int:organisation_id>/templates/<purpose>/<kind>/<language>")
@describes(
    "Store a template: purpose notice, digest, reminder or processed; kind of event, or default for all",
    answers={200: Answer("It.", TemplateView)},
    body=TemplateFields,
    errors=(404, 422),
)
def put_template(organisation_id: int, purpose: str, kind: str, language: str) -> Response:
    """422 names every problem."""
    fields = TemplateFields.model_validate_json(request.get_data())
    stored = services().organisations.wording.put(
        organisation_id, kind, purpose, language, fields.source, actor=actor()
    )
    return json_answer(stored)


@blueprint.post("/<int:organisation_id>/templates/preview")
@describes(
    "Show how a template's message would look, and what is wrong with the template; nothing is sent or stored",
    answers={200: Answer("The problems and the message.", Preview)},
    body=PreviewFields,
    errors=(404, 422),
)
def preview(organisation_id: int) -> Response:
    """Problems of the template are an answer, not an error."""
    fields = PreviewFields.model_validate_json(request.get_data())
    wanted = PreviewOf(**fields.model_dump())
    return json_answer(services().organisations.notices.preview(organisation_id, wanted, now=services().now()))


@blueprint.delete("/<int:organisation_id>/templates/<purpose>/<kind>/<language>")
@describes(
    "Remove a template: the parent's or the built-in one is used again",
    answers={204: Answer("Gone.")},
    errors=(404,),
)
def remove_template(organisation_id: int, purpose: str, kind: str, language: str) -> Response:
    """Remove."""
    services().organisations.wording.remove(organisation_id, kind, purpose, language, actor=actor())
    return _nothing()


@blueprint.post("/<int:organisation_id>/test-messages")
@describes(
    "Send a made-up document in a template's words to one recipient",
    answers={202: Answer("It is on its way; see /admin/deliveries.", TestQueued)},
    body=TestFields,
    errors=(404, 409, 422),
)
def send_test(organisation_id: int) -> Response:
    """409 for a recipient who gets no messages."""
    fields = TestFields.model_validate_json(request.get_data())
    accepted = services().organisations.wording.send_test(
        organisation_id,
        fields.recipient,
        kind=fields.kind,
        purpose=fields.purpose,
        language=fields.language,
        actor=actor(),
    )
    queue_accepted(accepted)
    return json_answer(TestQueued(accepted.event_id), 202)


@recipients.get("")
@describes(
    "An organisation's recipients",
    answers={200: Answer("A page.", RecipientPage)},
    query=RecipientQuery,
    errors=(403, 404),
)
def page(organisation_id: int) -> Response:
    """A page."""
    query = RecipientQuery.model_validate(request.args.to_dict())
    found = services().organisations.recipients.page(organisation_id, after=query.after, limit=query.limit)
    return json_answer(RecipientPage(found, found[-1].external_id if len(found) == query.limit else None))


@recipients.get("/<external_id>")
@describes("One recipient", answers={200: Answer("They.", RecipientView)}, errors=(403, 404))
def recipient(organisation_id: int, external_id: str) -> Response:
    """One."""
    return json_answer(services().organisations.recipients.get(organisation_id, external_id))


@recipients.put("/<external_id>")
@describes(
    "Make a recipient so, new or not; the same again changes nothing",
    answers={200: Answer("Changed or left.", RecipientView), 201: Answer("New.", RecipientView)},
    body=RecipientFields,
    errors=(403, 404, 422),
)
def put(organisation_id: int, external_id: str) -> Response:
    """Their STOP stays whatever is sent."""
    fields = RecipientFields.model_validate_json(request.get_data())
    stored, created = services().organisations.recipients.put(
        organisation_id, external_id, RecipientSettings(**fields.model_dump()), actor=actor()
    )
    return json_answer(stored, 201 if created else 200)


@recipients.delete("/<external_id>")
@describes("Forget a recipient; their STOP is kept", answers={204: Answer("Gone.")}, errors=(403, 404))
def forget(organisation_id: int, external_id: str) -> Response:
    """Forget."""
    services().organisations.recipients.remove(organisation_id, external_id, actor=actor())
    return _nothing()
