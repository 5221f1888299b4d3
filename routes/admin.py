"""What operators do over HTTP, with the administration token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from flask import Blueprint, Response, request, url_for
from pydantic import Field

from routes.documentation import Answer, describes
from routes.inputs import Id, Line, Query
from routes.responses import json_answer
from routes.services import queue, services
from switchboard.db.models import DeliveryState
from switchboard.services.audit import AuditRecord
from switchboard.services.operations import AccountStatus, DeliveryView

POLL_TASK = "calendar.accounts.poll"
MAX_PAGE = 500

blueprint = Blueprint("admin", __name__, url_prefix="/admin")

Before = Annotated[
    Id | None, Field(description="only entries with an id below this one: `next_before` of the page before")
]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE, description="entries on a page")]


class DeliveryQuery(Query):
    """Which rows of the ledger."""

    state: Annotated[DeliveryState | None, Field(description="only deliveries in this state")] = None
    before: Before = None
    limit: Limit = 100


class AuditQuery(Query):
    """Which entries of the audit log."""

    subject: Annotated[
        Line | None, Field(max_length=160, description="only entries on this subject, for example calendar_account:7")
    ] = None
    before: Before = None
    limit: Limit = 100


@dataclass(frozen=True, slots=True)
class AccountList:
    """Every calendar account."""

    accounts: list[AccountStatus]


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, newest first; `next_before` asks for the next page, and is null on the last one."""

    deliveries: list[DeliveryView]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries, newest first; `next_before` asks for the next page, and is null on the last one."""

    entries: list[AuditRecord]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Queued:
    """A task is in the queue."""

    task: str
    task_id: str


@blueprint.get("/calendar/accounts")
@describes(
    "Calendar accounts with their state, last poll and last error", answers={200: Answer("All accounts.", AccountList)}
)
def calendar_accounts() -> Response:
    """All accounts."""
    return json_answer(AccountList(accounts=services().operations.calendar_accounts()))


@blueprint.get("/calendar/accounts/<int:account_id>")
@describes("One calendar account", answers={200: Answer("The account.", AccountStatus)}, errors=(404,))
def calendar_account(account_id: int) -> Response:
    """One account."""
    return json_answer(services().operations.calendar_account(account_id))


@blueprint.post("/calendar/accounts/<int:account_id>/poll")
@describes(
    "Poll a calendar account now",
    answers={
        202: Answer("Queued.", Queued, headers={"Location": "The account; its last_polled_at shows when it was done."})
    },
    errors=(404,),
)
def poll_calendar_account(account_id: int) -> Response:
    """Queue a poll."""
    services().operations.calendar_account(account_id)  # an unknown account is 404 now, not a failed task later
    task_id = queue()(POLL_TASK, account_id=account_id)
    location = url_for(".calendar_account", account_id=account_id)
    return json_answer(Queued(task=POLL_TASK, task_id=task_id), 202, location=location)


@blueprint.get("/deliveries")
@describes("The delivery ledger, without texts", answers={200: Answer("A page.", DeliveryPage)}, query=DeliveryQuery)
def deliveries() -> Response:
    """A page of the ledger."""
    query = DeliveryQuery.model_validate(request.args.to_dict())
    rows = services().operations.deliveries(state=query.state, before_id=query.before, limit=query.limit)
    return json_answer(DeliveryPage(deliveries=rows, next_before=rows[-1].id if len(rows) == query.limit else None))


@blueprint.get("/audit")
@describes("The audit log", answers={200: Answer("A page.", AuditPage)}, query=AuditQuery)
def audit() -> Response:
    """A page of the audit log."""
    query = AuditQuery.model_validate(request.args.to_dict())
    entries = services().audit_log.latest(limit=query.limit, before_id=query.before, subject=query.subject)
    return json_answer(AuditPage(entries=entries, next_before=entries[-1].id if len(entries) == query.limit else None))
