"""The error tree: the class of an error says what the caller does next.

Messages name a method, a route template and a status; never a whole URL, a body or a token, because messages end in logs,
in Flower and in front of people.
"""

from __future__ import annotations

from collections.abc import Sequence


class SwitchboardError(Exception):
    """Base of every error that Switchboard raises on purpose."""


class TransientError(SwitchboardError):
    """Nothing took effect and a later try may succeed: the caller tries again.

    `retry_after_s` is the wait that the remote asked for, in seconds, or None where it asked for none.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimitedError(TransientError):
    """The remote refused because of its rate limit (429, FLOOD_WAIT)."""


class RemoteUnavailableError(TransientError):
    """The remote could not be reached or could not answer sensibly (refused, 5xx on a read, HTML instead of XML)."""


class LockBusyError(TransientError):
    """Another process holds the lock; `retry_after_s` is the rest of its lease."""


class LockLostError(TransientError):
    """The lease of a lock ended while its holder was still at work: stop before the next effect."""


class UncertainError(SwitchboardError):
    """A call with an effect was begun and its answer was lost: look before any repeat, never retry blindly."""


class PermanentError(SwitchboardError):
    """A later try of the same call cannot succeed: mark the row, tell its owner, do not retry."""


class AuthError(PermanentError):
    """The remote does not accept our credentials."""


class NotFoundError(PermanentError):
    """The thing is not there (any more)."""


class ConflictError(PermanentError):
    """The thing changed or exists already; read it again before deciding."""


class RemoteRejectedError(PermanentError):
    """The remote understood and refused; `status` is the HTTP status, `code` the remote's own error id (may be empty)."""

    def __init__(self, message: str, *, status: int, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ConfigError(PermanentError):
    """The configuration is wrong; the message names the settings and what to write in them."""


class InvalidInputError(PermanentError):
    """A person or program gave bad input; `field` names it and the message says what would be right."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidInputsError(InvalidInputError):
    """One or several things are wrong with one field; `problems` holds a sentence for each."""

    def __init__(self, problems: Sequence[str], *, field: str) -> None:
        super().__init__("; ".join(problems), field=field)
        self.problems = tuple(problems)
