"""Signing in: the steps of https://core.telegram.org/api/auth and https://core.telegram.org/api/srp, one call each.

A sign-in may be spread over processes and minutes: its session (`connection.session`) and the hash of the code are all
that the next step needs.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from telethon import functions, types
from telethon.password import compute_check

from switchboard.clients.telegram.connection import Connection, Me, as_me
from switchboard.clients.telegram.errors import SignInRefusedError

_WAYS = {
    types.auth.SentCodeTypeApp: "app",
    types.auth.SentCodeTypeSms: "sms",
    types.auth.SentCodeTypeSmsWord: "sms",
    types.auth.SentCodeTypeSmsPhrase: "sms",
    types.auth.SentCodeTypeFirebaseSms: "sms",
    types.auth.SentCodeTypeCall: "call",
    types.auth.SentCodeTypeFlashCall: "flash_call",
    types.auth.SentCodeTypeMissedCall: "missed_call",
    types.auth.SentCodeTypeEmailCode: "email",
    types.auth.SentCodeTypeFragmentSms: "fragment",
}


@dataclass(frozen=True, slots=True, repr=False)
class SentCode:
    """A code on its way: `sent_by` is app, sms, call, flash_call, missed_call, email or fragment.

    `resend_after_s` is the wait before another way may be asked for; None where Telegram offers none.
    """

    hash: str
    sent_by: str
    length: int | None
    resend_after_s: float | None


async def send_code(connection: Connection, phone: str) -> SentCode | Me:
    """Ask for a code. Me where Telegram lets this session in without one."""
    client = connection.client
    settings = types.CodeSettings()
    request = functions.auth.SendCodeRequest(phone, client.api_id, client.api_hash, settings)
    return _sent(await connection.call(request))


async def resend_code(connection: Connection, phone: str, code_hash: str) -> SentCode | Me:
    """Ask for the code by the next way. SignInRefusedError `no_other_way` when there is none."""
    return _sent(await connection.call(functions.auth.ResendCodeRequest(phone, code_hash)))


async def cancel_code(connection: Connection, phone: str, code_hash: str) -> None:
    """Make the code worthless."""
    await connection.call(functions.auth.CancelCodeRequest(phone, code_hash))


async def submit_code(connection: Connection, phone: str, code_hash: str, code: str) -> Me:
    """Sign in with the code; PasswordNeededError when the account has a password too."""
    found = await connection.call(functions.auth.SignInRequest(phone, code_hash, code), effect=True)
    if isinstance(found, types.auth.AuthorizationSignUpRequired):
        raise SignInRefusedError("phone_unoccupied", status=400, code="PHONE_NUMBER_UNOCCUPIED")
    return as_me(found.user)


async def password_hint(connection: Connection) -> str:
    """The hint that the owner left for the password; may be empty."""
    return str((await connection.call(functions.account.GetPasswordRequest())).hint or "")


async def submit_password(connection: Connection, password: str) -> Me:
    """The last step of an account with a password."""
    question = await connection.call(functions.account.GetPasswordRequest())
    try:
        answer = await asyncio.to_thread(compute_check, question, password)  # a tenth of a second of computing
    except ValueError:
        raise SignInRefusedError("failed", status=400, code="PASSWORD_ALGORITHM") from None
    found = await connection.call(functions.auth.CheckPasswordRequest(answer), effect=True)
    return as_me(found.user)


async def sign_in_bot(connection: Connection, token: str) -> Me:
    """Sign a bot in; SessionLostError `bot_token_refused` for a wrong token."""
    client = connection.client
    request = functions.auth.ImportBotAuthorizationRequest(0, client.api_id, client.api_hash, token)
    return as_me((await connection.call(request, effect=True)).user)


def _sent(answer: Any) -> SentCode | Me:
    if isinstance(answer, types.auth.SentCodeSuccess):
        return as_me(answer.authorization.user)
    if isinstance(answer, types.auth.SentCodePaymentRequired):
        raise SignInRefusedError("payment_required", status=400, code="PAYMENT_REQUIRED")
    way = _WAYS.get(type(answer.type))
    if way is None:  # it wants an e-mail address to be set first
        raise SignInRefusedError("email_needed", status=400, code="EMAIL_SETUP_REQUIRED")
    wait_s = None if answer.next_type is None else float(answer.timeout or 0)
    return SentCode(answer.phone_code_hash, way, getattr(answer.type, "length", None), wait_s)
