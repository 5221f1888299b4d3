"""Making a session string by hand: a sign-in in one go, under a session that nothing else knows yet."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from switchboard.clients.telegram import sign_in
from switchboard.clients.telegram.connection import Connection, Me
from switchboard.clients.telegram.errors import PasswordNeededError, SignInRefusedError
from switchboard.domain.telegram.sessions import Application
from switchboard.errors import InvalidInputError, RateLimitedError, SwitchboardError
from switchboard.services.telegram.problems import PROBLEMS
from switchboard.services.telegram.session import Opener
from switchboard.services.telegram.steps import refused

TRIES = 3
_AGAIN = ("code_wrong", "password_wrong", "password_again")


@dataclass(frozen=True, slots=True, repr=False)
class AuthKey:
    """A session string, which is as good as the account's password, and whose it is."""

    session: str
    name: str


def make_auth_key(
    opener: Opener,
    application: Application,
    phone: str,
    *,
    ask_code: Callable[[str], str],
    ask_password: Callable[[str], str],
    tell: Callable[[str], None],
) -> AuthKey:
    """Sign in, disconnect, and only then give the session away.

    `ask_code` gets how the code was sent, `ask_password` the hint (may be empty); each is asked up to three times, and `tell`
    gets why once more. InvalidInputError or the error of the client says in words why it did not work.
    """
    return asyncio.run(_make(opener(application, "", True), phone, _Asking(ask_code, ask_password, tell)))


@dataclass(frozen=True, slots=True)
class _Asking:
    code: Callable[[str], str]
    password: Callable[[str], str]
    tell: Callable[[str], None]


async def _make(connection: Connection, phone: str, asking: _Asking) -> AuthKey:
    try:
        await connection.connect()
        me = await _sign_in(connection, phone, asking)
        session = connection.session
    except RateLimitedError as error:
        wait = "a while" if error.retry_after_s is None else f"{error.retry_after_s:.0f} s"
        raise InvalidInputError(f"Telegram asks to wait {wait} before the next try", field="phone") from None
    except SignInRefusedError as error:
        raise InvalidInputError(PROBLEMS[error.reason], field="sign-in") from None
    except InvalidInputError:
        raise
    except SwitchboardError as error:
        problem = refused(error).problem or "failed"
        raise InvalidInputError(PROBLEMS[problem], field="sign-in") from None
    finally:
        await connection.close()
    return AuthKey(session, me.name)


async def _sign_in(connection: Connection, phone: str, asking: _Asking) -> Me:
    sent = await sign_in.send_code(connection, phone)
    if isinstance(sent, Me):
        return sent
    try:
        return await _try(
            lambda code: sign_in.submit_code(connection, phone, sent.hash, code), asking.code, sent.sent_by, asking.tell
        )
    except PasswordNeededError:
        hint = await sign_in.password_hint(connection)
    return await _try(
        lambda password: sign_in.submit_password(connection, password), asking.password, hint, asking.tell
    )


async def _try(
    submit: Callable[[str], Awaitable[Me]], ask: Callable[[str], str], about: str, tell: Callable[[str], None]
) -> Me:
    for left in reversed(range(TRIES)):
        given = await asyncio.to_thread(ask, about)
        try:
            return await submit(given)
        except SignInRefusedError as error:
            if error.reason not in _AGAIN:
                raise
            if left:
                tell(PROBLEMS[error.reason])
    raise InvalidInputError(f"{TRIES} answers were wrong: begin anew, with a new code", field="sign-in")
