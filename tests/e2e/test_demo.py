"""The demo: the calendar job once with the real processes, and nothing left of it afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.marked import Marked
from tests.servers import ROOT

COMMAND = (sys.executable, "-m", "switchboard", "demo", "--json")


@pytest.mark.full  # it waits for a real reminder, which other e2e tests do not have to
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_ends_with_one_agenda_one_reminder_and_no_process(tmp_path: Path) -> None:
    marked = Marked(tmp_path)
    ended = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, **marked.environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout.splitlines()[-1])
    assert {name: told[name] for name in ("agenda_posts", "reminders", "duplicates")} == {
        "agenda_posts": 1,
        "reminders": 1,
        "duplicates": 0,
    }
    assert 0 < told["seconds"] < 120
    assert marked.left_after(5) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_demo_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    marked = Marked(tmp_path)
    with subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, **marked.environment, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as demo:
        end = time.monotonic() + 60
        while not any("celery" in line and "beat" in line for line in marked.command_lines()):
            assert time.monotonic() < end, marked.command_lines()
            assert demo.poll() is None
            time.sleep(0.1)
        assert any("valkey" in line for line in marked.command_lines())
        demo.kill()
    assert marked.left_after(60) == []
