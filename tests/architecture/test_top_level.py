"""`api.py` and `beat_schedule.py` stay thin: import-linter reads packages only, so these two are read here."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_the_api_is_an_app_factory_that_mounts_routes() -> None:
    path = ROOT / "api.py"
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 150
    assert not _imports(path) & {"sqlalchemy", "redis", "requests", "celery", "sandbox"}


def test_the_beat_schedule_is_plain_data() -> None:
    path = ROOT / "beat_schedule.py"
    assert _imports(path) <= {"__future__", "typing", "collections"}
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    assert calls == []


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}
    for package in ("switchboard", "tasks", "routes", "sandbox", "benchmarks"):
        found = [path for path in (ROOT / package).rglob("*.py") if path.stem in drawers]
        assert found == []
