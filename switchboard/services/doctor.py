"""Tries everything that is configured, for real, and says in one table what works and what to do where it does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from switchboard.errors import SwitchboardError
from switchboard.logs import redact_value


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "not configured"


class WarningFound(SwitchboardError):
    """It works, but somebody should look."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table; `advice` says what to do, empty where nothing is."""

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Check:
    """Something to try: `run` returns what it found or raises an error of ours, SQLAlchemy's or Redis's; `advice` helps."""

    name: str
    run: Callable[[], str]
    advice: str
    configured: bool = True


def examine(checks: Sequence[Check]) -> Iterator[Finding]:
    """Run the checks in order and yield each finding as soon as it is known; a failing check never stops the others."""
    for check in checks:
        if not check.configured:
            yield Finding(check.name, Verdict.SKIPPED, "", check.advice)
            continue
        begun = time.monotonic()
        try:
            detail = check.run()
        except WarningFound as warning:
            yield Finding(check.name, Verdict.WARNING, str(warning), check.advice, time.monotonic() - begun)
        except (SwitchboardError, SQLAlchemyError, RedisError) as error:
            yield Finding(check.name, Verdict.FAILED, in_words(error), check.advice, time.monotonic() - begun)
        else:
            yield Finding(check.name, Verdict.OK, detail, "", time.monotonic() - begun)


def in_words(error: SwitchboardError | SQLAlchemyError | RedisError) -> str:
    """What went wrong in one line: without the statement and the link to a manual that SQLAlchemy adds, and without secrets."""
    if isinstance(error, SwitchboardError):
        return str(error)
    cause = getattr(error, "orig", None) or error
    return str(redact_value(str(cause).strip().partition("\n")[0])) or type(error).__name__
