"""The doctor tries everything and explains each failure; none stops the others."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy.exc import OperationalError

from switchboard.errors import ConfigError
from switchboard.services.doctor import Check, Verdict, WarningFound, examine, in_words


def failing(error: Exception) -> Callable[[], str]:
    def run() -> str:
        raise error

    return run


DATABASE_ERROR = OperationalError(
    "SELECT secret FROM t", {}, Exception("connection to postgresql://app:hunter2hunter2@db failed\nIs it running?")
)


def test_each_ending_has_its_verdict_and_none_stops_the_others() -> None:
    checks = [
        Check("fine", lambda: "revision 1", "unused"),
        Check("odd", failing(WarningFound("look at it")), "look"),
        Check("ours", failing(ConfigError("SECRET_KEYS is empty")), "set it"),
        Check("database", failing(DATABASE_ERROR), "check DATABASE_URL"),
        Check("redis", failing(RedisConnectionError("Connection refused")), "check REDIS_URL"),
        Check("absent", failing(AssertionError("was tried")), "configure it", configured=False),
        Check("last", lambda: "reached", ""),
    ]
    found = {finding.name: finding for finding in examine(checks)}
    assert [finding.verdict for finding in found.values()] == [
        Verdict.OK,
        Verdict.WARNING,
        Verdict.FAILED,
        Verdict.FAILED,
        Verdict.FAILED,
        Verdict.SKIPPED,
        Verdict.OK,
    ]
    assert (found["fine"].detail, found["fine"].advice) == ("revision 1", "")
    assert (found["odd"].detail, found["odd"].advice) == ("look at it", "look")
    assert (found["redis"].detail, found["redis"].advice) == ("Connection refused", "check REDIS_URL")


def test_findings_come_as_they_are_known() -> None:
    tried: list[str] = []
    findings = examine([Check(name, lambda name=name: tried.append(name) or "", "") for name in ("one", "two")])  # type: ignore[misc,func-returns-value]
    assert next(findings).name == "one"
    assert tried == ["one"]


def test_a_mistake_of_ours_is_not_hidden_as_a_finding() -> None:
    with pytest.raises(KeyError):
        list(examine([Check("broken", failing(KeyError("x")), "")]))


def test_the_words_hold_no_statement_no_second_line_and_no_password() -> None:
    words = in_words(DATABASE_ERROR)
    assert words == "connection to postgresql://[redacted]@db failed"
