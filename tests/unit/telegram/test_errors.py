"""What Telethon raises, in our words: the table, over every error that Telethon knows."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from telethon import errors as raised
from telethon import functions
from telethon.errors import rpcerrorlist
from telethon.errors.rpcbaseerrors import RPCError

from switchboard.clients.telegram import errors
from switchboard.errors import (
    AuthError,
    PermanentError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    TransientError,
    UncertainError,
)

NAMED = {*errors.SIGN_IN_REFUSED, raised.RandomIdDuplicateError}
REQUEST = functions.messages.SendMessageRequest("me", "a secret text")
EVERY = sorted(
    {kind for kind in vars(rpcerrorlist).values() if inspect.isclass(kind) and issubclass(kind, RPCError)},
    key=lambda kind: kind.__name__,
)


def made(kind: type[Exception]) -> Any:
    """An error as Telethon makes it."""
    parameters = inspect.signature(kind.__init__).parameters
    values = {"request": REQUEST, "capture": 7, "message": "SOME_ERROR"}
    return kind(**{name: values[name] for name in parameters if name in values})


def ours(error: BaseException, *, effect: bool = True) -> SwitchboardError:
    return errors.translate(error, method="messages.sendMessage", effect=effect)


@pytest.mark.parametrize("kind", errors.SESSION_LOST)
def test_a_dead_session_is_never_tried_again_and_says_why(kind: type[Exception]) -> None:
    error = ours(made(kind))
    assert isinstance(error, errors.SessionLostError)
    assert isinstance(error, AuthError)
    assert error.reason == errors.SESSION_LOST[kind]


@pytest.mark.parametrize("kind", errors.WAITS)
def test_a_wait_carries_the_seconds_that_telegram_asked_for(kind: type[Exception]) -> None:
    error = ours(made(kind))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == 7


def test_a_wait_of_no_seconds_is_at_least_one() -> None:
    error = ours(raised.FloodWaitError(request=REQUEST, capture=0))
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s == 1


@pytest.mark.parametrize("kind", errors.SIGN_IN_REFUSED)
def test_each_refusal_of_a_sign_in_has_its_own_word(kind: type[Exception]) -> None:
    error = ours(made(kind))
    assert isinstance(error, errors.SignInRefusedError)
    assert error.reason == errors.SIGN_IN_REFUSED[kind]


@pytest.mark.parametrize("kind", errors.RECIPIENT_REFUSED)
def test_each_refusal_of_a_recipient_is_permanent_and_has_a_word(kind: type[Exception]) -> None:
    error = ours(made(kind))
    assert isinstance(error, errors.RecipientRefusedError)
    assert isinstance(error, PermanentError)
    assert error.reason == errors.RECIPIENT_REFUSED[kind]


def test_peer_flood_gives_no_time_and_a_frozen_account_is_one() -> None:
    for kind in (raised.PeerFloodError, *errors.FROZEN):
        error = ours(made(kind))
        assert isinstance(error, errors.PeerFloodError)
        assert error.retry_after_s is None


def test_a_message_sent_before_and_a_password_are_told_apart_from_refusals() -> None:
    assert isinstance(ours(made(raised.RandomIdDuplicateError)), errors.AlreadySentError)
    assert isinstance(ours(made(raised.SessionPasswordNeededError)), errors.PasswordNeededError)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_of_telethon_becomes_one_of_ours_that_says_nothing_of_the_content(kind: type[Exception]) -> None:
    for effect in (True, False):
        error = ours(made(kind), effect=effect)
        assert isinstance(error, (TransientError, PermanentError, UncertainError))
        assert "secret" not in str(error)
        if issubclass(kind, raised.ServerError) and kind not in NAMED:
            assert isinstance(error, UncertainError if effect else RemoteUnavailableError)


def test_another_refusal_keeps_telegrams_name_and_number() -> None:
    error = ours(made(raised.MessageTooLongError))
    assert isinstance(error, RemoteRejectedError)
    assert (error.status, error.code) == (400, "MESSAGE_TOO_LONG")
    error = ours(raised.BadRequestError(REQUEST, "NEW_THING_INVALID", 400))
    assert isinstance(error, RemoteRejectedError)
    assert error.code == "NEW_THING_INVALID"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("gone"),
        TimeoutError(),
        asyncio.CancelledError(),
        asyncio.IncompleteReadError(b"", 4),
        raised.SecurityError("x"),
        raised.InvalidBufferError(b"\x6c\xfe\xff\xff"),
        ValueError("Request was unsuccessful 3 time(s)"),
        raised.ServerError(REQUEST, "INTERDC_5_CALL_ERROR", 500),
        raised.TimedOutError(REQUEST, "Timeout", 503),
        RPCError(REQUEST, "WORKER", -503),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_lost_answer_is_uncertain_where_something_may_have_been_done(error: BaseException) -> None:
    assert isinstance(ours(error, effect=True), UncertainError)
    assert isinstance(ours(error, effect=False), RemoteUnavailableError)
