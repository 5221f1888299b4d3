from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from switchboard.services.health import DependencyFaultError, Health, Probe


def _raise(error: Exception) -> Callable[[], str]:
    def look() -> str:
        raise error

    return look


def test_each_finding_has_name_time_and_reason() -> None:
    report = Health([Probe("database", lambda: "sqlite")]).report()
    (finding,) = report.findings
    assert (finding.name, finding.ok, finding.needed, finding.reason) == ("database", True, True, "sqlite")
    assert finding.ms >= 0
    assert report.ready


def test_a_fault_is_told_in_words_and_a_foreign_error_by_its_kind_alone() -> None:
    report = Health(
        [
            Probe("schema", _raise(DependencyFaultError("run the migrations"))),
            Probe("redis", _raise(ConnectionError("redis://:hunter2@host"))),
        ]
    ).report()
    assert [finding.reason for finding in report.findings] == ["run the migrations", "ConnectionError"]
    assert not report.ready


@pytest.mark.parametrize(("needed", "ready"), [(True, False), (False, True)])
def test_only_a_needed_fault_makes_it_unready(needed: bool, ready: bool) -> None:
    assert Health([Probe("beat", _raise(DependencyFaultError("never seen")), needed=needed)]).report().ready is ready


def test_probes_run_at_once_and_a_hung_one_delays_the_report_by_the_deadline_alone() -> None:
    # Given two probes that hang and one that does not
    release = threading.Event()

    def hang() -> str:
        release.wait(20)
        return "late"

    health = Health([Probe("redis", hang), Probe("database", hang), Probe("schema", lambda: "head")], deadline_s=0.3)
    # when the report is asked
    started = time.monotonic()
    report = health.report()
    # then it is there after one deadline, and says which hang
    assert time.monotonic() - started < 10  # they hang for 20 s
    assert [finding.ok for finding in report.findings] == [False, False, True]
    assert report.findings[0].reason == "no answer in time"
    assert report.findings[0].ms >= 300
    release.set()


def test_a_probe_that_hangs_is_not_started_again_until_it_returns() -> None:
    release = threading.Event()
    begun: list[int] = []

    def hang() -> str:
        begun.append(1)
        release.wait(20)
        return "late"

    health = Health([Probe("redis", hang)], deadline_s=0.05)
    for _ in range(10):
        assert not health.report().ready
    assert len(begun) == 1
    # and once it returned, the next look is a new one
    release.set()
    deadline = time.monotonic() + 5
    while not health.report().ready:
        assert time.monotonic() < deadline
    assert len(begun) >= 2 or health.report().ready


def test_callers_at_the_same_time_share_one_look() -> None:
    looks: list[int] = []

    def look() -> str:
        looks.append(1)
        time.sleep(0.3)
        return "ok"

    health = Health([Probe("database", look)])
    callers = [threading.Thread(target=health.report) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(looks) == 1
