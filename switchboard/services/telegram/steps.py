"""Carrying out the steps of a sign-in at Telegram: one short connection for each, under the half-made session.

A step is safe to repeat after a crash in its middle: it looks first whether the session is signed in already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from switchboard.clients.telegram import sign_in
from switchboard.clients.telegram.connection import Connection, Me
from switchboard.clients.telegram.errors import PasswordNeededError, SessionLostError, SignInRefusedError
from switchboard.domain.telegram.states import Reason
from switchboard.errors import RateLimitedError, RemoteRejectedError, SwitchboardError, TransientError, UncertainError
from switchboard.logs import get_logger
from switchboard.services.telegram.records import Step, StepResult, own_of
from switchboard.services.telegram.sign_in import Request

Opened = Callable[[str], AbstractAsyncContextManager[Connection]]
"""Opens a connection for signing in under a session string, '' for a new one."""

_log = get_logger(__name__)


async def carry_out(step: Step, opened: Opened) -> StepResult:
    """Do the step; every way in which Telegram refuses it is a result with a `problem`, never an error."""
    try:
        async with opened(step.session) as connection:
            return await _STEPS[step.request](connection, step)
    except SwitchboardError as error:
        return refused(error)


def refused(error: SwitchboardError) -> StepResult:
    """The result that a refusal or a fault is."""
    match error:
        case SignInRefusedError():
            return StepResult(problem=error.reason)
        case SessionLostError(reason=Reason.API_ID_REFUSED):
            return StepResult(problem="api_refused")
        case SessionLostError(reason=Reason.USER_DEACTIVATED):
            return StepResult(problem="phone_banned")
        case SessionLostError():
            return StepResult(problem="again")
        case RateLimitedError():
            return StepResult(problem="flood", retry_after_s=error.retry_after_s)
        case TransientError() | UncertainError():
            return StepResult(problem="unreachable")
        case RemoteRejectedError():
            _log.warning("sign-in refused by an unknown word", code=error.code, status=error.status)
            return StepResult(problem="failed")
    return StepResult(problem="internal")


async def _send(connection: Connection, step: Step) -> StepResult:
    return _on_its_way(connection, await sign_in.send_code(connection, step.phone))


async def _resend(connection: Connection, step: Step) -> StepResult:
    return _on_its_way(connection, await sign_in.resend_code(connection, step.phone, step.code_hash))


async def _code(connection: Connection, step: Step) -> StepResult:
    if (me := await _already(connection)) is not None:
        return _done(connection, me)
    try:
        me = await sign_in.submit_code(connection, step.phone, step.code_hash, step.given)
    except PasswordNeededError:
        hint = await sign_in.password_hint(connection)
        return StepResult(session=connection.session, step="password", hint=hint)
    return _done(connection, me)


async def _password(connection: Connection, step: Step) -> StepResult:
    me = await _already(connection) or await sign_in.submit_password(connection, step.given)
    return _done(connection, me)


async def _cancel(connection: Connection, step: Step) -> StepResult:
    if step.code_hash:
        await sign_in.cancel_code(connection, step.phone, step.code_hash)
    return StepResult(problem="cancelled")


async def _already(connection: Connection) -> Me | None:
    """Whose session it is, where an earlier try of the step was cut off after it took effect."""
    try:
        return await connection.me()
    except (SessionLostError, PasswordNeededError):
        return None


def _on_its_way(connection: Connection, sent: sign_in.SentCode | Me) -> StepResult:
    if isinstance(sent, Me):
        return _done(connection, sent)
    return StepResult(
        session=connection.session,
        step="code",
        code_hash=sent.hash,
        sent_by=sent.sent_by,
        code_length=sent.length,
        resend_after_s=sent.resend_after_s,
    )


def _done(connection: Connection, me: Me) -> StepResult:
    return StepResult(session=connection.session, own=own_of(me))


_STEPS: dict[Request, Callable[[Connection, Step], Awaitable[StepResult]]] = {
    Request.SEND: _send,
    Request.RESEND: _resend,
    Request.CODE: _code,
    Request.PASSWORD: _password,
    Request.CANCEL: _cancel,
}
