"""Pauses before restarts, log files, and what of them is shown."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from switchboard.processes import log_files
from switchboard.processes.log_files import LogFile, warning_in
from switchboard.processes.process import ProcessSpec
from switchboard.processes.screen import Screen
from switchboard.processes.supervisor import Backoff, Child, State


def test_pauses_double_up_to_the_longest_and_are_spread() -> None:
    backoff = Backoff(first_s=1.0, longest_s=30.0)

    for failures, pause_s in ((1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (5_000, 30)):
        seen = {backoff.pause_s(failures) for _ in range(200)}
        assert 0.8 * pause_s <= min(seen) < max(seen) <= pause_s


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"event": "sent", "level": "info"}', None),
        (
            '{"event": "poll failed", "level": "warning", "timestamp": "t", "account": 7}',
            "warning: poll failed account=7",
        ),
        ('{"event": "down", "level": "error", "exception": "Traceback..."}', "error: down"),
        ('{"event": "lost\\nlong advice", "level": "warning"}', "warning: lost"),
        ("[ERROR] Unexpected exit from worker-1", "[ERROR] Unexpected exit from worker-1"),
        ("listening, no error yet", None),
        ("    . logfile -> [stderr]@%WARNING", None),  # Celery's banner
        ("{broken", None),
    ],
)
def test_warnings_and_errors_are_shown_and_nothing_else(line: str, shown: str | None) -> None:
    assert warning_in(line) == shown


def test_the_log_of_the_last_run_is_kept(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("old\n", encoding="utf-8")

    log = LogFile(tmp_path, "web")

    assert (tmp_path / "web.log.1").read_text(encoding="utf-8") == "old\n"
    assert log.new_lines() == []


def test_only_whole_lines_are_read_and_each_once(tmp_path: Path) -> None:
    log = LogFile(tmp_path, "web")
    output = log.open_for_child()
    os.write(output, b"one\ntw")
    assert log.new_lines() == ["one"]
    os.write(output, b"o\n")

    assert log.new_lines() == ["two"]
    assert log.new_lines() == []
    os.close(output)


def test_a_log_that_grows_too_large_is_moved_aside_while_its_child_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 10)
    log = LogFile(tmp_path, "web")
    output = log.open_for_child()
    os.write(output, b"0123456789ab\n")
    assert log.new_lines() == ["0123456789ab"]
    os.write(output, b"next\n")

    assert log.new_lines() == ["next"]
    assert log.path.read_bytes() == b"next\n"
    assert (tmp_path / "web.log.1").read_bytes() == b"0123456789ab\n"
    os.close(output)


@pytest.mark.parametrize(("terminal", "seen"), [(True, True), (False, False)])
def test_credentials_are_shown_on_a_terminal_only(tmp_path: Path, *, terminal: bool, seen: bool) -> None:
    child = Child(
        ProcessSpec(name="flower", argv=(), hint="operator / hush"), LogFile(tmp_path, "flower"), State.RUNNING
    )
    output = io.StringIO()

    with Screen(Console(file=output, force_terminal=terminal, width=160), tmp_path, quiet=True) as screen:
        screen.changed([child])

    assert "flower" in output.getvalue()
    assert ("hush" in output.getvalue()) is seen


@pytest.mark.parametrize(("quiet", "shown"), [(True, ["disk full"]), (False, ["all well", "disk full"])])
def test_quiet_shows_warnings_alone_and_otherwise_every_line(tmp_path: Path, *, quiet: bool, shown: list[str]) -> None:
    child = Child(ProcessSpec(name="web", argv=()), LogFile(tmp_path, "web"), State.RUNNING)
    output = io.StringIO()

    with Screen(Console(file=output, width=160), tmp_path, quiet=quiet) as screen:
        screen.said(child, "all well")
        screen.said(child, "ERROR disk full")

    assert [text for text in ("all well", "disk full") if text in output.getvalue()] == shown
