"""What an operator does about an account that does not work: only what can be done with that account as it stands."""

from __future__ import annotations

from switchboard.domain.telegram.states import AccountKind, AccountState, Origin, Reason

_NEEDS_SIGN_IN = (
    AccountState.NEW,
    AccountState.CODE_SENT,
    AccountState.PASSWORD_NEEDED,
    AccountState.SIGN_IN_AGAIN,
)
_BY_REASON: dict[str, str] = {
    Reason.STARTING: "Wait a moment, then look again.",
    Reason.MOVING: "Wait a moment, then look again.",
    Reason.NO_GATEWAY: "Start the process `telegram`.",
    Reason.CONNECTION_LOST: "Look whether this machine reaches Telegram; it is tried again by itself.",
    Reason.UNREACHABLE: "Look whether this machine reaches Telegram; it is tried again by itself.",
    Reason.INTERNAL: "Look at the log of the process `telegram`; it is tried again by itself.",
    Reason.FLOOD_WAIT: "Wait: it goes on by itself.",
    Reason.USER_DEACTIVATED: "Write to recover@telegram.org, or take another number.",
}
"""Where nothing is to be done with the account itself."""


_OURS: dict[str, str] = {
    Reason.BOT_TOKEN_REFUSED: "`{telegram} remove {id}`, then `telegram add --bot` with the present token of @BotFather.",
    Reason.API_ID_REFUSED: "`{telegram} remove {id}`, then `telegram add` with the pair of my.telegram.org.",
}
_VARIABLES: dict[str, str] = {
    Reason.BOT_TOKEN_REFUSED: "Set TELEGRAM_BOT_TOKEN to the present token of @BotFather, restart the process `telegram`.",
    Reason.API_ID_REFUSED: "Set TELEGRAM_API_ID and TELEGRAM_API_HASH to the pair of my.telegram.org, restart the process "
    "`telegram`.",
}
_START, _SIGN_IN = "`{telegram} start {id}`.", "`{telegram} sign-in {id}`."
_AUTH_KEY = "`{telegram} auth-key PHONE` makes a new TELEGRAM_STRING_SESSION; then restart the process `telegram`."
_RESTART = "Restart the process `telegram`."


def advice(account_id: int, kind: str, origin: str, state: str, reason: str | None) -> str:
    """What to do about an account that is not online, in a sentence."""
    defined_by_us = origin == Origin.DATABASE
    known = _BY_REASON | (_OURS if defined_by_us else _VARIABLES)
    if reason in known:
        text = known[reason]
    elif reason in (Reason.RESTORED, Reason.OTHER_TELEGRAM):
        text = _START
    elif kind == AccountKind.USER and state in _NEEDS_SIGN_IN:
        text = _SIGN_IN if defined_by_us else _AUTH_KEY
    else:
        text = _START if defined_by_us else _RESTART
    return text.format(telegram="python -m switchboard telegram", id=account_id)
