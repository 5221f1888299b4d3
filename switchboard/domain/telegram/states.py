"""States of a Telegram account: what each means, which may follow which, and the reasons that stand beside them."""

from __future__ import annotations

from enum import StrEnum


class AccountKind(StrEnum):
    """Who signs in: a person's number or a bot's token."""

    USER = "user"
    BOT = "bot"


class Origin(StrEnum):
    """Where an account is looked after: in the database, or by environment variables alone."""

    DATABASE = "database"
    ENVIRONMENT = "env"


class Wanted(StrEnum):
    """What somebody wants of an account; the gateway makes it so."""

    RUN = "run"
    STOP = "stop"
    REMOVE = "remove"
    LOG_OUT = "log_out"


class AccountState(StrEnum):
    """Where an account stands."""

    NEW = "new"
    CODE_SENT = "code_sent"
    PASSWORD_NEEDED = "password_needed"  # noqa: S105  a state
    ONLINE = "online"
    OFFLINE = "offline"
    FLOOD_LIMITED = "flood_limited"
    SIGN_IN_AGAIN = "sign_in_again"
    STOPPED = "stopped"


class Reason(StrEnum):
    """Why an account is in its state; `TEXTS` says it in a sentence."""

    STARTING = "starting"
    MOVING = "moving"
    NO_GATEWAY = "no_gateway"
    CONNECTION_LOST = "connection_lost"
    UNREACHABLE = "unreachable"
    INTERNAL = "internal"
    FLOOD_WAIT = "flood_wait"
    ASKED = "asked"
    NOT_IN_ENVIRONMENT = "not_in_environment"
    SESSION_IN_USE = "session_in_use"
    SIGN_IN_CANCELLED = "sign_in_cancelled"
    SIGN_IN_EXPIRED = "sign_in_expired"
    AUTH_KEY_DUPLICATED = "auth_key_duplicated"
    AUTH_KEY_UNREGISTERED = "auth_key_unregistered"
    SESSION_REVOKED = "session_revoked"
    SESSION_EXPIRED = "session_expired"
    SESSION_UNREADABLE = "session_unreadable"
    USER_DEACTIVATED = "user_deactivated"
    BOT_TOKEN_REFUSED = "bot_token_refused"  # noqa: S105  a reason
    API_ID_REFUSED = "api_id_refused"
    OTHER_TELEGRAM = "other_telegram"
    RESTORED = "restored"


TEXTS: dict[str, str] = {
    Reason.STARTING: "It is being connected.",
    Reason.MOVING: "It moves to another gateway process.",
    Reason.NO_GATEWAY: "No `telegram` process holds it: start one, or wait for the next to take over.",
    Reason.CONNECTION_LOST: "The connection to Telegram was lost; it is tried again.",
    Reason.UNREACHABLE: "Telegram could not be reached; it is tried again.",
    Reason.INTERNAL: "Something went wrong here; the log of the `telegram` process has it. It is tried again.",
    Reason.FLOOD_WAIT: "Telegram asked to wait; it goes on by itself.",
    Reason.ASKED: "Somebody stopped it.",
    Reason.NOT_IN_ENVIRONMENT: "The variables that define it are not set any more.",
    Reason.SESSION_IN_USE: "Another account here has the same session; a session may be open once only.",
    Reason.SIGN_IN_CANCELLED: "The sign-in was cancelled.",
    Reason.SIGN_IN_EXPIRED: "The sign-in was not finished in time.",
    Reason.AUTH_KEY_DUPLICATED: "Telegram ended the session because two programs used it at once. Sign in again.",
    Reason.AUTH_KEY_UNREGISTERED: "Telegram does not know the session any more. Sign in again.",
    Reason.SESSION_REVOKED: "The session was ended from another device. Sign in again.",
    Reason.SESSION_EXPIRED: "The session has expired. Sign in again.",
    Reason.SESSION_UNREADABLE: "The stored session cannot be read. Sign in again.",
    Reason.USER_DEACTIVATED: "Telegram has deleted or banned this account.",
    Reason.BOT_TOKEN_REFUSED: "Telegram refuses the bot's token. Remove the account (or change its variable), and add it with "
    "the present token from @BotFather.",
    Reason.API_ID_REFUSED: "Telegram refuses api_id and api_hash. Remove the account (or change its variables), and add it "
    "with the pair from my.telegram.org.",
    Reason.RESTORED: "The database is a restored copy. Once nothing else holds this account any more, start it.",
    Reason.OTHER_TELEGRAM: "Its session is of another Telegram (the real one or a sandbox's) than this deployment talks to, "
    "and is kept unopened. Set TELEGRAM_API_ID for the real one, or unset it for the sandbox's; then start it.",
}

_SIGNING_IN = frozenset({AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED})
_HELD = frozenset({AccountState.ONLINE, AccountState.OFFLINE, AccountState.FLOOD_LIMITED})
_FOLLOWING: dict[AccountState, frozenset[AccountState]] = {
    AccountState.NEW: _SIGNING_IN | _HELD | {AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.CODE_SENT: _SIGNING_IN
    | {AccountState.OFFLINE, AccountState.NEW, AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.PASSWORD_NEEDED: _SIGNING_IN
    | {AccountState.OFFLINE, AccountState.NEW, AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.ONLINE: _HELD | {AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.OFFLINE: _HELD | {AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.FLOOD_LIMITED: _HELD | {AccountState.SIGN_IN_AGAIN, AccountState.STOPPED},
    AccountState.SIGN_IN_AGAIN: _SIGNING_IN | {AccountState.OFFLINE, AccountState.STOPPED},
    AccountState.STOPPED: _SIGNING_IN | {AccountState.OFFLINE, AccountState.NEW, AccountState.SIGN_IN_AGAIN},
}


def may_follow(before: AccountState, after: AccountState) -> bool:
    """Whether an account may go from `before` to `after`; staying where it is (with another reason) is always allowed."""
    return before == after or after in _FOLLOWING[before]


def predecessors(after: AccountState) -> frozenset[AccountState]:
    """The states from which `after` may be reached, itself included: what an UPDATE may find."""
    return frozenset(before for before in AccountState if may_follow(before, after))
