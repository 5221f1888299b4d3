"""Telegram accounts over HTTP, with the administration token: the list, one by one, and signing in step by step.

The process `telegram` does what is asked for here. A route waits up to eight seconds for the row to say that it is done, and
answers 202 with the account's address where it takes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

from flask import Blueprint, Response, request, url_for
from pydantic import ConfigDict, Field, SecretStr, model_validator

from routes import problems
from routes.documentation import Answer, describes, example
from routes.inputs import Body, Line, Query
from routes.responses import json_answer
from routes.services import queue, services
from switchboard.domain.telegram.states import AccountState, Reason
from switchboard.errors import RateLimitedError, RemoteUnavailableError
from switchboard.services.telegram.accounts import AccountView
from switchboard.services.telegram.sign_in import WAIT_S

LOOK_TASK = "telegram.accounts.look"
ACTOR = "http"
LOCATION = {"Location": "The account; ask there until it is done."}

blueprint = Blueprint("telegram", __name__, url_prefix="/telegram/accounts")


class NewAccount(Body):
    """A number, or a bot's token."""

    model_config = example(phone="+79161234568")

    phone: Annotated[
        Line | None, Field(max_length=40, description="number with its country code, for example +79161234567")
    ] = None
    token: Annotated[SecretStr | None, Field(max_length=100, description="a bot's token, from @BotFather")] = None
    api_id: Annotated[int | None, Field(description="of my.telegram.org; else TELEGRAM_API_ID")] = None
    api_hash: Annotated[SecretStr | None, Field(description="of my.telegram.org; else TELEGRAM_API_HASH")] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> NewAccount:
        if (self.phone is None) == (self.token is None):
            raise ValueError("give either phone or token")
        return self


class Removal(Query):
    """How to remove."""

    log_out: Annotated[bool, Field(description="also end the session at Telegram")] = True


class GivenCode(Body):
    """The code that arrived."""

    model_config = example(code="12345")

    code: Annotated[SecretStr, Field(max_length=100, description="for example 12345; blanks and dashes do not count")]


class GivenPassword(Body):
    """The password of the two-step verification."""

    model_config = example(password="open sesame") | ConfigDict(str_strip_whitespace=False)  # noqa: S106  an example

    password: Annotated[SecretStr, Field(max_length=1024)]


@dataclass(frozen=True, slots=True)
class TelegramAccountList:
    """Every Telegram account."""

    accounts: list[AccountView]


@blueprint.get("")
@describes("Telegram accounts with their state and reason", answers={200: Answer("All.", TelegramAccountList)})
def accounts() -> Response:
    """All accounts."""
    return json_answer(TelegramAccountList(services().telegram_accounts.list_accounts()))


@blueprint.post("")
@describes(
    "Add a Telegram account: a number, which is then signed in, or a bot",
    body=NewAccount,
    answers={
        201: Answer("Added. A number is `new`: request a code.", AccountView, headers={"Location": "The account."}),
        202: Answer("Added; the bot is still being signed in.", AccountView, headers=LOCATION),
    },
    errors=(409,),
)
def add() -> Response:
    """A new account."""
    given = NewAccount.model_validate_json(request.get_data())
    api: dict[str, Any] = {"api_id": given.api_id, "api_hash": _plain(given.api_hash)}
    if given.phone is not None:
        account = services().telegram_accounts.add_user(given.phone, actor=ACTOR, **api)
        return json_answer(account, 201, location=_location(account.id))
    account = services().telegram_accounts.add_bot(_plain(given.token) or "", actor=ACTOR, **api)
    return _wait(account.id, _is_settled, done=201)


@blueprint.get("/<int:account_id>")
@describes("One Telegram account", answers={200: Answer("The account.", AccountView)}, errors=(404,))
def account(account_id: int) -> Response:
    """One account."""
    return json_answer(services().telegram_accounts.get(account_id))


@blueprint.delete("/<int:account_id>")
@describes(
    "Remove a Telegram account",
    query=Removal,
    answers={204: Answer("Gone."), 202: Answer("The gateway is still at it.", AccountView, headers=LOCATION)},
    errors=(404, 409),
)
def remove(account_id: int) -> Response:
    """Close, log out where asked to, and forget."""
    query = Removal.model_validate(request.args.to_dict())
    if services().telegram_accounts.remove(account_id, log_out=query.log_out, actor=ACTOR):
        return Response(status=204)
    _hint(account_id)
    view = services().telegram_accounts.wait(account_id, lambda _view: False, seconds=WAIT_S)
    return Response(status=204) if view is None else json_answer(view, 202, location=_location(account_id))


_STARTED = {
    200: Answer("As it is now.", AccountView),
    202: Answer("The gateway is still at it.", AccountView, headers=LOCATION),
}


@blueprint.post("/<int:account_id>/start")
@describes("Open a Telegram account's connection", answers=_STARTED, errors=(404, 409))
def start(account_id: int) -> Response:
    """Let it run."""
    services().telegram_accounts.start(account_id, actor=ACTOR)
    return _wait(account_id, _is_settled)


@blueprint.post("/<int:account_id>/stop")
@describes("Close a Telegram account's connection", answers=_STARTED, errors=(404, 409))
def stop(account_id: int) -> Response:
    """Let it rest."""
    services().telegram_accounts.stop(account_id, actor=ACTOR)
    return _wait(account_id, lambda view: view.state == AccountState.STOPPED)


@blueprint.post("/<int:account_id>/allow-strangers")
@describes(
    "Write to strangers again, after Telegram lifted its limit (ask @SpamBot from the account)",
    answers=_STARTED,
    errors=(404, 409),
)
def allow_strangers(account_id: int) -> Response:
    """409 where there is no such limit."""
    services().telegram_accounts.allow_strangers(account_id, actor=ACTOR)
    return _wait(account_id, _is_settled)


_STEP_ERRORS = (404, 409, 429)
_STEP = {
    200: Answer("Done: `sign_in.step` says what is next.", AccountView),
    202: Answer("The gateway is still at it.", AccountView, headers=LOCATION),
}


@blueprint.post("/<int:account_id>/code")
@describes("Sign in: let Telegram send a code", answers=_STEP, errors=_STEP_ERRORS)
def code(account_id: int) -> Response:
    """The first step."""
    return _step(account_id, lambda: services().telegram_sign_ins.request_code(account_id, actor=ACTOR))


@blueprint.post("/<int:account_id>/resend")
@describes("Sign in: let Telegram send the code another way", answers=_STEP, errors=_STEP_ERRORS)
def resend(account_id: int) -> Response:
    """Where the code did not arrive."""
    return _step(account_id, lambda: services().telegram_sign_ins.resend(account_id, actor=ACTOR))


@blueprint.post("/<int:account_id>/submit")
@describes("Sign in: submit the code", body=GivenCode, answers=_STEP, errors=_STEP_ERRORS)
def submit(account_id: int) -> Response:
    """The second step."""
    given = GivenCode.model_validate_json(request.get_data()).code.get_secret_value()
    return _step(account_id, lambda: services().telegram_sign_ins.submit_code(account_id, given, actor=ACTOR))


@blueprint.post("/<int:account_id>/password")
@describes("Sign in: submit the password", body=GivenPassword, answers=_STEP, errors=_STEP_ERRORS)
def password(account_id: int) -> Response:
    """The third step, of accounts with a two-step verification."""
    given = GivenPassword.model_validate_json(request.get_data()).password.get_secret_value()
    return _step(account_id, lambda: services().telegram_sign_ins.submit_password(account_id, given, actor=ACTOR))


@blueprint.post("/<int:account_id>/cancel")
@describes("Sign in: cancel", answers=_STEP, errors=_STEP_ERRORS)
def cancel(account_id: int) -> Response:
    """Throw the half-made session away."""
    return _step(account_id, lambda: services().telegram_sign_ins.cancel(account_id, actor=ACTOR))


def _step(account_id: int, ask: Callable[[], int]) -> Response:
    """Ask for a step and wait for its answer; a refusal of Telegram is a problem with its own words and its `problem`."""
    try:
        number = ask()
    except RateLimitedError as error:
        return problems.problem(429, str(error), retry_after_s=error.retry_after_s)
    _hint(account_id)
    view = services().telegram_sign_ins.wait(account_id, number, seconds=WAIT_S)
    if view is None:
        view = services().telegram_accounts.get(account_id)
        return json_answer(view, 202, location=_location(account_id))
    found = view.sign_in
    if found is None or found.problem is None or found.problem == "cancelled":
        return json_answer(view)
    text = found.problem_text or found.problem
    if found.retry_at is None:
        return problems.problem(409, text, word=found.problem)
    wait_s = (found.retry_at - services().now()).total_seconds()
    return problems.problem(429, text, retry_after_s=wait_s, word=found.problem)


def _wait(account_id: int, until: Callable[[AccountView], bool], *, done: int = 200) -> Response:
    _hint(account_id)
    view = services().telegram_accounts.wait(account_id, until, seconds=WAIT_S)
    if view is None:
        view = services().telegram_accounts.get(account_id)  # NotFoundError
    status = done if until(view) else 202
    return json_answer(view, status, location=None if status == HTTPStatus.OK else _location(account_id))


def _hint(account_id: int) -> None:
    """Wake the gateway; it looks by itself every few seconds, too."""
    try:
        queue()(LOOK_TASK, account_id=account_id)
    except RemoteUnavailableError:
        return


def _is_settled(view: AccountView) -> bool:
    """Whether the gateway has tried: it is online, or says why not."""
    return view.state != AccountState.OFFLINE or view.reason not in (Reason.STARTING, Reason.NO_GATEWAY, Reason.MOVING)


def _location(account_id: int) -> str:
    return url_for("telegram.account", account_id=account_id)


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
