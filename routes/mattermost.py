"""What Mattermost calls: slash commands, clicks on buttons, dialogs.

A command proves itself by the token that its installation stored. Clicks and dialogs carry no credential of Mattermost:
theirs is the ticket that we signed into the button or dialog, for one person, with an end.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from pydantic import BaseModel, ConfigDict, Field

from routes import problems
from routes.authentication import matches
from routes.documentation import Answer, describes
from routes.inputs import Line
from routes.responses import json_answer
from routes.services import queue, services
from switchboard.errors import ConfigError, RemoteUnavailableError
from switchboard.logs import get_logger
from switchboard.services.conversation.desk import Call, Handled
from switchboard.services.conversation.tickets import BadTicketError

blueprint = Blueprint("mattermost", __name__, url_prefix="/mattermost")
LATER_TASKS = {"refresh": "calendar.conversations.refresh", "check_account": "calendar.conversations.check_account"}
POLL_TASK = "calendar.accounts.poll"
EXPAND_TASK = "calendar.occurrences.expand"
WRITE_TASK = "calendar.answers.write"
SHOW_TASK = "calendar.reminders.show"

_log = get_logger(__name__)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CommandForm(_Wire):
    """The form of a slash command (https://developers.mattermost.com/integrate/slash-commands/custom/)."""

    user_id: Line = Field(min_length=1, max_length=64)
    channel_id: Line = Field(min_length=1, max_length=64)
    text: str = Field(default="", max_length=16_384)
    trigger_id: Line = Field(default="", max_length=1024)
    response_url: Line = Field(default="", max_length=1024)


class ActionRequest(_Wire):
    """A click (specification: PostActionIntegrationRequest)."""

    user_id: Line = Field(min_length=1, max_length=64)
    channel_id: Line = Field(default="", max_length=64)
    trigger_id: Line = Field(default="", max_length=1024)
    post_id: Line = Field(default="", max_length=64)
    context: dict[str, Any] = Field(default_factory=dict)


class DialogRequest(_Wire):
    """A dialog that was sent, left or asks for options (specification: SubmitDialogRequest)."""

    type: str = ""
    user_id: Line = Field(min_length=1, max_length=64)
    channel_id: Line = Field(default="", max_length=64)
    state: Line = Field(default="", max_length=8192)
    submission: dict[str, Any] | None = None
    cancelled: bool = False


@blueprint.post("/command")
@describes(
    "Answer a slash command",
    answers={200: Answer("A CommandResponse of Mattermost.", content=dict[str, Any])},
    errors=(422,),
)
def command() -> Response:
    """Answered within three seconds; work that takes longer answers at the response_url."""
    form = CommandForm.model_validate(request.form.to_dict())
    call = Call(form.user_id, form.channel_id, form.trigger_id, form.response_url)
    handled = services().desk.command(call, form.text)
    if not _queue(handled):
        return json_answer({"response_type": "ephemeral", "text": services().desk.try_again(form.user_id)})
    return json_answer(handled.body)


@blueprint.post("/action")
@describes(
    "Answer a click on a button",
    answers={200: Answer("A PostActionIntegrationResponse of Mattermost.", content=dict[str, Any])},
    errors=(422,),
)
def action() -> Response:
    """The button's ticket says what it does and for whom."""
    click = ActionRequest.model_validate(request.get_json())
    call = Call(click.user_id, click.channel_id, click.trigger_id, post_id=click.post_id)
    handled = services().desk.action(call, _text(click.context.get("ticket")))
    if not _queue(handled):
        return json_answer({"ephemeral_text": services().desk.try_again(click.user_id)})
    return json_answer(handled.body)


@blueprint.post("/dialog")
@describes(
    "Take a dialog, or suggest options for one of its fields",
    answers={200: Answer("A SubmitDialogResponse or LookupDialogResponse of Mattermost.", content=dict[str, Any])},
    errors=(422,),
)
def dialog() -> Response:
    """Errors stand at their fields; else the dialog closes."""
    sent = DialogRequest.model_validate(request.get_json())
    entries = sent.submission or {}
    if sent.type == "dialog_lookup":
        return json_answer(services().desk.lookup(sent.user_id, sent.state, entries).body)
    if sent.cancelled:
        return json_answer({})
    handled = services().desk.dialog(sent.user_id, sent.channel_id, sent.state, entries)
    _queue(handled)
    return json_answer(handled.body)


def command_guard() -> Response | None:
    """Lets a command through that carries the token of an installed one."""
    accepted = services().command_tokens.accepted()
    if not accepted:
        detail = "No slash command is installed: run `python -m switchboard mattermost install TEAM`."
        return problems.problem(503, detail)
    if not matches(_text(request.form.get("token")), accepted):
        return problems.problem(401, "The token is of no command that is installed.")
    return None


def ticket_guard() -> Response | None:
    """Lets a click or dialog through whose ticket we signed; for whom and until when is judged with its meaning."""
    body = request.get_json(silent=True)
    found = body if isinstance(body, dict) else {}
    context = found.get("context")
    signed = context.get("ticket") if isinstance(context, dict) else found.get("state")
    try:
        services().tickets.open(_text(signed))
    except BadTicketError:
        return problems.problem(401, "The button or dialog is none of ours.")
    return None


def _queue(handled: Handled) -> bool:
    """Queue what the answer asks for; False when the work that the person waits for could not be.

    Polls, expansions and answers to invitations that are not queued now are found by the next scan. A snooze stands in the
    ledger, and its reader has the answer: a message that does not show it costs nothing.
    """
    try:
        for account_id in handled.poll:
            queue()(POLL_TASK, account_id=account_id)
        for account_id in handled.expand:
            queue()(EXPAND_TASK, account_id=account_id)
        for answer_id in handled.write:
            queue()(WRITE_TASK, answer_id=answer_id)
        for delivery_id, post_id in handled.show:
            queue()(SHOW_TASK, delivery_id=delivery_id, post_id=post_id)
        if handled.later is not None:
            queue()(LATER_TASKS[handled.later], user_id=handled.user_id, reply=handled.reply)
    except (RemoteUnavailableError, ConfigError) as error:
        _log.warning("work_not_queued", error=str(error))
        return handled.later is None
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
