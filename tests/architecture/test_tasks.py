"""Every task and every beat entry keeps the rules that make a lost process harmless."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Task

from beat_schedule import SCHEDULE
from switchboard.locks import DEFAULT_LEASE_S, LONGEST_HOLD_S
from switchboard.queues import PROCESS_QUEUES, QUEUES
from tasks.app import TASK_MODULES, VISIBILITY_TIMEOUT_S, app, route, settings
from tasks.base import LONGEST_COUNTDOWN_S, SwitchboardTask
from tasks.shutdown import CUT_AFTER_S, GIVE_BACK_S, TASKS_END_AFTER_S
from tests.servers import ROOT

JSON_TYPES = {int, str, bool, float, type(None)}


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    yield
    settings.cache_clear()


def our_tasks() -> dict[str, Task]:
    for module in TASK_MODULES:
        __import__(module)
    app.finalize()
    return {name: task for name, task in app.tasks.items() if task.run.__module__ in TASK_MODULES}


def test_every_module_of_tasks_is_loaded_by_the_worker() -> None:
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "tasks").glob("*/*.py")}
    assert {name for name in files if not name.endswith("__init__")} == set(TASK_MODULES)


def test_every_task_is_named_after_its_module_and_verb() -> None:
    for name, task in our_tasks().items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+\.[a-z_]+", name)
        assert f"tasks.{name}" == f"{task.run.__module__}.{task.run.__name__}"


def test_every_task_has_a_queue_that_a_process_of_the_procfile_consumes() -> None:
    consumed: dict[str, str] = {}
    for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines():
        words = shlex.split(line)
        if "worker" in words and "celery" in words:
            pool = words[words.index("-P") + 1]
            consumed |= dict.fromkeys(words[words.index("-Q") + 1].split(","), pool)
    assert set(consumed) == set(QUEUES)
    assert {queue for queue, pool in consumed.items() if pool == "prefork"} == set(PROCESS_QUEUES)
    for name in our_tasks():
        assert (route(name) or {})["queue"] in consumed


def test_every_task_takes_keyword_only_json() -> None:
    for name, task in our_tasks().items():
        hints = typing.get_type_hints(task.run)
        for parameter in inspect.signature(task.run).parameters.values():
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
            assert is_json(hints[parameter.name]), f"{name}: {parameter.name}"


def is_json(hint: Any) -> bool:
    inner = typing.get_args(hint)
    return hint in JSON_TYPES if not inner else all(is_json(each) for each in inner)


def test_limits_rise_from_the_task_to_the_broker() -> None:
    for name, task in our_tasks().items():
        assert isinstance(task, SwitchboardTask)
        assert task.time_limit is not None
        lease_s = min(leases_of(task), default=LONGEST_HOLD_S)
        assert task.soft_time_limit < task.time_limit < lease_s, name
        assert lease_s <= LONGEST_HOLD_S < VISIBILITY_TIMEOUT_S, name
        assert LONGEST_COUNTDOWN_S + task.time_limit < VISIBILITY_TIMEOUT_S, name


def leases_of(task: Task) -> list[float]:
    """The `lease_s` of each lock a task takes."""
    tree = ast.parse(inspect.getsource(task.run))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    locks = [call for call in calls if call.func.attr in ("require", "attempt")]  # type: ignore[attr-defined]
    return [
        next((ast.literal_eval(word.value) for word in call.keywords if word.arg == "lease_s"), DEFAULT_LEASE_S)
        for call in locks
    ]


def test_the_visibility_timeout_stands_in_all_three_places() -> None:
    assert app.conf.broker_transport_options["visibility_timeout"] == VISIBILITY_TIMEOUT_S
    assert app.conf.result_backend_transport_options["visibility_timeout"] == VISIBILITY_TIMEOUT_S
    assert app.conf.visibility_timeout == VISIBILITY_TIMEOUT_S


def test_a_task_is_acknowledged_late_and_comes_back_when_its_process_dies() -> None:
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_create_missing_queues is False
    assert app.conf.accept_content == ["json"]
    for name, task in our_tasks().items():
        assert (task.acks_late, task.reject_on_worker_lost) == (True, True), name


def test_a_worker_ends_before_its_host_would_kill_it() -> None:
    assert TASKS_END_AFTER_S < CUT_AFTER_S
    assert CUT_AFTER_S + GIVE_BACK_S < 25


def test_every_beat_entry_is_a_task_and_expires_before_two_of_its_ticks() -> None:
    tasks = our_tasks()
    for name, entry in SCHEDULE.items():
        assert entry["task"] in tasks, name
        period_s = int(entry.get("every_s", 86_400))
        assert 0 < int(entry["expires_s"]) <= period_s, name
        assert not inspect.signature(tasks[str(entry["task"])].run).parameters, f"{name}: a scan takes no arguments"
    assert app.conf.beat_schedule.keys() == SCHEDULE.keys()


def test_importing_the_app_reads_no_settings(tmp_path: Path) -> None:
    environment = {**os.environ, "REDIS_URL": "nonsense", "DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", "import tasks.app"], env=environment, cwd=tmp_path, check=True, timeout=30)


def test_settings_that_cannot_be_used_are_told_in_words(tmp_path: Path) -> None:
    environment = {**os.environ, "REDIS_URL": "nonsense", "DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "tasks.app", "worker"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "REDIS_URL: must begin with redis://" in ended.stderr
    assert "Traceback" not in ended.stderr
