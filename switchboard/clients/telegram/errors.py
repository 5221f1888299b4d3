"""What Telethon raises, in our words: one table, and what the lines of a lost connection mean.

Names and numbers of Telegram's errors: https://core.telegram.org/api/errors. Messages name the method and the error, never
the request's content.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from typing import Any

from telethon import errors
from telethon.errors import rpcerrorlist

from switchboard.domain.telegram.states import Reason
from switchboard.errors import (
    AuthError,
    ConflictError,
    PermanentError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    UncertainError,
)

LOST = (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, asyncio.CancelledError, BufferError)
"""What a call that was under way ends with when the connection goes."""

_GARBLED = (errors.SecurityError, errors.TypeNotFoundError, errors.InvalidChecksumError, errors.BadMessageError)


class SessionLostError(AuthError):
    """The session is dead: no retry, somebody must sign in again. `reason` is one of states.Reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"Telegram does not accept the session: {reason}")
        self.reason = reason


class PeerFloodError(RateLimitedError):
    """Telegram limits what this account may do with strangers; it gives no time, so the caller's ladder does."""


class SlowModeError(RateLimitedError):
    """This one chat takes no message of the account before `retry_after_s`; all others do."""


class SignInRefusedError(RemoteRejectedError):
    """A step of a sign-in was refused; `reason` is a key of switchboard.services.telegram.sign_in.PROBLEMS."""

    def __init__(self, reason: str, *, status: int, code: str) -> None:
        super().__init__(f"Telegram refused the sign-in: {reason}", status=status, code=code)
        self.reason = reason


class PasswordNeededError(PermanentError):
    """The code was right; the account also has a password."""


class RecipientRefusedError(RemoteRejectedError):
    """This recipient or chat cannot be written to; `reason` is a word of ours."""

    def __init__(self, reason: str, *, method: str, status: int, code: str) -> None:
        super().__init__(f"Telegram refused {method}: {reason}", status=status, code=code)
        self.reason = reason


class AlreadySentError(ConflictError):
    """A message with this random_id was sent before (RANDOM_ID_DUPLICATE): it counts as sent."""


SESSION_LOST: Mapping[type[Exception], Reason] = {
    errors.AuthKeyDuplicatedError: Reason.AUTH_KEY_DUPLICATED,
    errors.AuthKeyUnregisteredError: Reason.AUTH_KEY_UNREGISTERED,
    errors.AuthKeyInvalidError: Reason.AUTH_KEY_UNREGISTERED,
    errors.AuthKeyPermEmptyError: Reason.AUTH_KEY_UNREGISTERED,
    errors.AuthKeyNotFound: Reason.AUTH_KEY_UNREGISTERED,
    errors.SessionRevokedError: Reason.SESSION_REVOKED,
    errors.SessionExpiredError: Reason.SESSION_EXPIRED,
    errors.UserDeactivatedError: Reason.USER_DEACTIVATED,
    errors.UserDeactivatedBanError: Reason.USER_DEACTIVATED,
    errors.AccessTokenInvalidError: Reason.BOT_TOKEN_REFUSED,
    errors.AccessTokenExpiredError: Reason.BOT_TOKEN_REFUSED,
    errors.ApiIdInvalidError: Reason.API_ID_REFUSED,
    errors.ApiIdPublishedFloodError: Reason.API_ID_REFUSED,
    errors.ConnectionApiIdInvalidError: Reason.API_ID_REFUSED,
}
WAITS = (
    errors.FloodWaitError,
    errors.FloodPremiumWaitError,
    errors.FloodTestPhoneWaitError,
    errors.SlowModeWaitError,
    errors.TwoFaConfirmWaitError,
    errors.TakeoutInitDelayError,
)
"""Refusals that say how many seconds to wait."""

SIGN_IN_REFUSED: Mapping[type[Exception], str] = {
    errors.PhoneCodeInvalidError: "code_wrong",
    errors.PhoneCodeEmptyError: "code_wrong",
    errors.PhoneCodeExpiredError: "code_expired",
    errors.PhoneHashExpiredError: "code_expired",
    errors.PhoneCodeHashEmptyError: "code_expired",
    errors.PhoneNumberBannedError: "phone_banned",
    errors.PhoneNumberInvalidError: "phone_invalid",
    errors.PhoneNumberUnoccupiedError: "phone_unoccupied",
    errors.PhoneNotOccupiedError: "phone_unoccupied",
    errors.PhoneNumberAppSignupForbiddenError: "phone_unoccupied",
    errors.PhoneNumberFloodError: "too_many_codes",
    errors.PhonePasswordFloodError: "too_many_attempts",
    errors.PhonePasswordProtectedError: "phone_protected",
    errors.PasswordHashInvalidError: "password_wrong",
    errors.PasswordEmptyError: "password_wrong",
    errors.SrpIdInvalidError: "password_again",
    errors.SrpPasswordChangedError: "password_again",
    errors.SendCodeUnavailableError: "no_other_way",
    errors.UpdateAppToLoginError: "app_too_old",
    errors.SignInFailedError: "failed",
    errors.AuthRestartError: "again",
}
RECIPIENT_REFUSED: Mapping[type[Exception], str] = {
    errors.UserPrivacyRestrictedError: "privacy",
    errors.UserNotMutualContactError: "privacy",
    errors.VoiceMessagesForbiddenError: "privacy",
    errors.UserIsBlockedError: "blocked_by_user",
    errors.YouBlockedUserError: "blocked_by_us",
    errors.InputUserDeactivatedError: "deactivated",
    errors.UserDeletedError: "deactivated",
    errors.UserInvalidError: "unknown",
    errors.UserIdInvalidError: "unknown",
    errors.PeerIdInvalidError: "unknown",
    errors.ChatIdInvalidError: "unknown",
    errors.UsernameInvalidError: "unknown",
    errors.UsernameNotOccupiedError: "unknown",
    errors.UserIsBotError: "is_bot",
    errors.UserBotError: "is_bot",
    errors.ChatWriteForbiddenError: "forbidden",
    errors.ChatAdminRequiredError: "forbidden",
    errors.ChatGuestSendForbiddenError: "forbidden",
    errors.ChatRestrictedError: "forbidden",
    errors.ChatForbiddenError: "forbidden",
    errors.UserBannedInChannelError: "forbidden",
    errors.ChannelPrivateError: "left",
    errors.UserNotParticipantError: "left",
    errors.ChatSendPlainForbiddenError: "media_forbidden",
    errors.ChatSendMediaForbiddenError: "media_forbidden",
    errors.ChatSendPhotosForbiddenError: "media_forbidden",
    errors.ChatSendVideosForbiddenError: "media_forbidden",
    errors.ChatSendVoicesForbiddenError: "media_forbidden",
}
RECIPIENT_REFUSED_CODES: Mapping[str, str] = {"PRIVACY_PREMIUM_REQUIRED": "privacy"}
"""The same by Telegram's own name, where Telethon has no class for it."""
FROZEN = (errors.FrozenMethodInvalidError, errors.FrozenParticipantMissingError)
"""The account was frozen by Telegram: it can read, and no method with an effect works."""

_WORDS = re.compile(r"(?<!^)(?=[A-Z])")


def translate(error: BaseException, *, method: str, effect: bool) -> SwitchboardError:
    """Our error for what a call raised. `effect` says that the call changes something at Telegram, so that a lost answer is
    uncertain; `method` is Telegram's name of it, for example `messages.sendMessage`.
    """
    kind: Any = type(error)
    lost: SwitchboardError = (
        UncertainError(f"the answer to {method} was lost")
        if effect
        else RemoteUnavailableError(f"Telegram did not answer {method}")
    )
    if kind in SESSION_LOST:
        return SessionLostError(SESSION_LOST[kind])
    if kind is errors.SlowModeWaitError:
        return SlowModeError(f"the chat's slow mode refuses {method}", retry_after_s=_seconds(error))
    if isinstance(error, WAITS):
        return RateLimitedError(f"Telegram asks to wait before {method}", retry_after_s=_seconds(error))
    if kind is errors.PeerFloodError:
        return PeerFloodError(f"Telegram limits {method} with strangers")
    if kind is errors.SessionPasswordNeededError:
        return PasswordNeededError("the account has a password")
    if kind in (errors.RandomIdDuplicateError, AlreadySentError):
        return AlreadySentError(f"{method} was done before")
    if isinstance(error, errors.RPCError):
        return _refused(error, method=method) or lost
    return lost


def _refused(error: errors.RPCError, *, method: str) -> SwitchboardError | None:
    """What a refusal of Telegram means; None where it is none: 500 and the like come after the request took effect or not."""
    kind, status, code = type(error), abs(error.code or 400), _code(error)
    if kind in SIGN_IN_REFUSED:
        return SignInRefusedError(SIGN_IN_REFUSED[kind], status=status, code=code)
    if isinstance(error, (errors.ServerError, errors.TimedOutError)) or status >= 500:
        return None
    if kind in RECIPIENT_REFUSED:
        return RecipientRefusedError(RECIPIENT_REFUSED[kind], method=method, status=status, code=code)
    if code in RECIPIENT_REFUSED_CODES:
        return RecipientRefusedError(RECIPIENT_REFUSED_CODES[code], method=method, status=status, code=code)
    if isinstance(error, FROZEN):
        return PeerFloodError(f"Telegram has frozen the account: {method} is refused")
    if isinstance(error, errors.FloodError):
        return RateLimitedError(f"Telegram asks to wait before {method}")
    return RemoteRejectedError(f"Telegram refused {method}: {code}", status=status, code=code)


def _code(error: errors.RPCError) -> str:
    """Telegram's name of the error, for example CHAT_ADMIN_REQUIRED; one that Telethon knows carries it in its class's name."""
    kind = type(error)
    if kind.__module__ == rpcerrorlist.__name__:
        return _WORDS.sub("_", kind.__name__.removesuffix("Error")).upper()
    return str(error.message)[:64]


def _seconds(error: errors.RPCError) -> float:
    return float(max(1, math.ceil(getattr(error, "seconds", 0) or 0)))
