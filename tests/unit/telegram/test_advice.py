"""What `doctor` advises can be done with that account; nothing it says is refused."""

from __future__ import annotations

import pytest

from switchboard.domain.telegram.advice import advice
from switchboard.domain.telegram.states import AccountKind, AccountState, Origin, Reason

USER, BOT = AccountKind.USER, AccountKind.BOT
OURS, VARIABLES = Origin.DATABASE, Origin.ENVIRONMENT
AGAIN, OFFLINE, STOPPED = AccountState.SIGN_IN_AGAIN, AccountState.OFFLINE, AccountState.STOPPED


@pytest.mark.parametrize(
    ("kind", "origin", "state", "reason", "words"),
    [
        (USER, OURS, AccountState.NEW, None, "sign-in 7"),
        (USER, OURS, AccountState.CODE_SENT, None, "sign-in 7"),
        (USER, OURS, AGAIN, Reason.SESSION_REVOKED, "sign-in 7"),
        (USER, OURS, AGAIN, Reason.API_ID_REFUSED, "remove 7"),
        (USER, OURS, AGAIN, Reason.USER_DEACTIVATED, "recover@telegram.org"),
        (USER, OURS, STOPPED, Reason.RESTORED, "start 7"),
        (USER, OURS, AGAIN, Reason.OTHER_TELEGRAM, "start 7"),
        (USER, OURS, OFFLINE, Reason.INTERNAL, "log of the process"),
        (USER, OURS, OFFLINE, Reason.NO_GATEWAY, "Start the process"),
        (USER, OURS, OFFLINE, Reason.UNREACHABLE, "reaches Telegram"),
        (USER, OURS, AccountState.FLOOD_LIMITED, Reason.FLOOD_WAIT, "by itself"),
        (BOT, OURS, AGAIN, Reason.BOT_TOKEN_REFUSED, "remove 7"),
        (BOT, OURS, AGAIN, Reason.SESSION_REVOKED, "start 7"),
        (USER, VARIABLES, AGAIN, Reason.AUTH_KEY_UNREGISTERED, "auth-key PHONE"),
        (BOT, VARIABLES, AGAIN, Reason.BOT_TOKEN_REFUSED, "TELEGRAM_BOT_TOKEN"),
        (USER, VARIABLES, AGAIN, Reason.API_ID_REFUSED, "TELEGRAM_API_ID"),
        (USER, VARIABLES, STOPPED, Reason.RESTORED, "start 7"),
    ],
)
def test_the_advice_fits_the_account(kind: str, origin: str, state: str, reason: str | None, words: str) -> None:
    assert words in advice(7, kind, origin, state, reason)


@pytest.mark.parametrize("reason", [None, *Reason])
def test_nobody_is_told_to_do_what_is_refused(reason: Reason | None) -> None:
    for state in AccountState:
        assert "sign-in" not in advice(7, BOT, OURS, state, reason)
        variables = advice(7, USER, VARIABLES, state, reason)
        assert "sign-in" not in variables
        assert "remove" not in variables
        assert "sign-in" not in advice(7, USER, OURS, OFFLINE, reason)
