"""A supervisor over fake children, as a program: `python -m tests.e2e.supervised DATA_DIR PLAN.json`.

The plan is a list of objects with `name`, `code` (Python) or `argv`, and, optionally, fields of ProcessSpec.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from switchboard.errors import SwitchboardError
from switchboard.processes.log_files import warning_in
from switchboard.processes.process import FileReady, Phase, ProcessSpec
from switchboard.processes.run_lock import RunLock
from switchboard.processes.supervisor import Backoff, Child, Supervisor


class Printed:
    """A view that prints notes and warnings as plain lines."""

    def changed(self, children: Sequence[Child]) -> None:
        """States are read from run.json."""

    def said(self, child: Child, line: str) -> None:
        if warning_in(line):
            self.note(f"{child.spec.name} said {line}")

    def note(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def spec_of(item: dict[str, Any]) -> ProcessSpec:
    return ProcessSpec(
        name=item["name"],
        argv=tuple(item.get("argv") or (sys.executable, "-c", item["code"])),
        environment=os.environ | item.get("environment", {}),
        phase=Phase(item.get("phase", Phase.WORKERS)),
        ready=FileReady(Path(item["ready_file"])) if "ready_file" in item else None,
        grace_s=item.get("grace_s", 5.0),
        once=item.get("once", False),
    )


def main() -> int:
    data_dir, plan = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    try:
        lock = RunLock(data_dir)
        backoff = Backoff(first_s=0.1, longest_s=0.8, healthy_s=60.0)
        return Supervisor([spec_of(item) for item in plan], data_dir, lock, Printed(), {"port": "1"}, backoff).run()
    except SwitchboardError as error:
        sys.stdout.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
