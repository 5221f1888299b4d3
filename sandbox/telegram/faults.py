"""Faults a test can switch on in the Telegram twin, by method and by account; every use is counted.

The HTTP twins' faults (`sandbox.faults`) speak of statuses and paths; MTProto has names of errors, two ways of losing an
answer (with the line, or alone), and pushes that nobody asked for, so it has a book of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

from sandbox.fault_rules import FaultRules, Rule
from sandbox.telegram.errors import code_of

Kind = Literal["error", "slow", "cut", "lost", "mute"]
When = Literal["before", "after"]
KINDS: tuple[str, ...] = get_args(Kind)

# After these the session is over: the key keeps answering with the error (core.telegram.org/api/errors#401-unauthorized).
ENDS_SESSION = {
    "AUTH_KEY_DUPLICATED", "AUTH_KEY_UNREGISTERED", "AUTH_KEY_INVALID", "SESSION_REVOKED", "SESSION_EXPIRED",
    "USER_DEACTIVATED", "USER_DEACTIVATED_BAN",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault(Rule):
    """One rule. The oldest matching one acts; `count` uses later it is gone (None: until it is removed).

    kind      error  `name` (`FLOOD_WAIT_30`, `PEER_FLOOD`, `RPC_CALL_FAIL`, `SESSION_REVOKED` ...), before or after the effect
              slow   `seconds` of delay, before the effect or between the effect and the answer
              cut    the line is cut, before the effect or after it
              lost   the effect takes place, the answer never comes, the line stays
              mute   updates are numbered and kept, but not pushed
    method    a shell pattern of the method (`messages.sendMessage`, `upload.*`); unused by `mute`
    account   the id of the account it concerns; 0 for all
    """

    kind: Kind
    method: str = "*"
    account: int = 0
    name: str = ""
    when: When = "before"
    seconds: float = 1.0


class InvalidFaultError(ValueError):
    """A rule that says something a fault cannot be; the message names the field."""


def parse_fault(wanted: Mapping[str, Any]) -> Fault:
    """A `Fault` from JSON; raises InvalidFaultError."""
    unknown = set(wanted) - {"kind", "method", "account", "name", "when", "count", "seconds"}
    if unknown:
        raise InvalidFaultError(f"unknown field: {', '.join(sorted(unknown))}")
    if wanted.get("kind") not in KINDS:
        raise InvalidFaultError(f"kind must be one of {', '.join(KINDS)}")
    if wanted.get("when", "before") not in get_args(When):
        raise InvalidFaultError("when must be before or after")
    for field, kinds in (("method", str), ("account", int), ("name", str), ("seconds", int | float)):
        if field in wanted and (not isinstance(wanted[field], kinds) or isinstance(wanted[field], bool)):
            raise InvalidFaultError(f"{field} is of the wrong type")
    if not 0 <= wanted.get("seconds", 1) <= 600:
        raise InvalidFaultError("seconds must be 0 to 600")
    count = wanted.get("count")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise InvalidFaultError("count must be a whole number above 0, or null")
    if wanted["kind"] == "error":
        try:
            code_of(wanted.get("name", ""))
        except KeyError:
            raise InvalidFaultError(f"name must be an error of Telegram, not {wanted.get('name', '')!r}") from None
    return Fault(**wanted)


class FaultBook(FaultRules[Fault]):
    """The faults that are on, in order, and how often each acted. Safe to use from a test's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.fired: Counter[str] = Counter()  # by kind, or by the error's name

    def add(self, kind: Kind, **wanted: Any) -> Fault:
        """Switch a fault on; fields as in `Fault`. Raises InvalidFaultError."""
        return self._add(parse_fault({"kind": kind, **wanted}))

    def take(self, method: str, account: int) -> Fault | None:
        """The fault that acts on this request, counted; None for nearly all."""
        return self._use(
            lambda fault: fault.account in {0, account} and fault.kind != "mute" and fnmatchcase(method, fault.method)
        )

    def mutes(self, account: int) -> bool:
        """Whether this push to the account is held back, counted."""
        return self._use(lambda fault: fault.account in {0, account} and fault.kind == "mute") is not None

    def _note(self, used: Fault) -> None:
        self.fired[used.name or used.kind] += 1
