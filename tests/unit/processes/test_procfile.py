"""The Procfile for hosts says the same as the process list for one machine, and a container runs any line of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from switchboard.processes import generated_secrets
from switchboard.processes.process_list import ROOT, make_plan
from switchboard.queues import GATEWAY_QUEUES, PROCESS_QUEUES, THREAD_QUEUES
from switchboard.settings import Settings

ENTRYPOINT = ROOT / "container-entrypoint.sh"


def lines() -> dict[str, list[str]]:
    """Process types and their words, with the defaults of variables filled in."""
    text = (ROOT / "Procfile").read_text(encoding="utf-8")
    filled = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return {name: shlex.split(command) for name, _, command in (line.partition(":") for line in filled.splitlines())}


@pytest.mark.parametrize("name", ["web", "worker", "expander", "telegram", "beat"])
def test_a_process_has_the_same_command_on_a_host_as_on_one_machine(name: str, tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, host="0.0.0.0", port=0)  # type: ignore[call-arg]
    secrets = generated_secrets.read_or_make(tmp_path)
    plan = make_plan(settings, sandbox=False, secrets=secrets, any_ports=True, environment={})
    here = next(list(spec.argv) for spec in plan.specs if spec.name == name)

    there = lines()[name]

    if "-I" in here:  # readiness is told to our own supervisor only
        here = here[: here.index("-I")]
    assert here[1:] == there[there.index("python") + 1 :]  # a host also says where to listen, by `env`


def test_the_workers_of_the_procfile_serve_every_queue() -> None:
    workers = ("worker", "expander", "telegram")
    served = [words[words.index("-Q") + 1].split(",") for name, words in lines().items() if name in workers]

    assert [tuple(queues) for queues in served] == [THREAD_QUEUES, PROCESS_QUEUES, GATEWAY_QUEUES]


def test_every_process_type_of_the_app_manifest_is_in_the_procfile() -> None:
    manifest = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))

    assert manifest["formation"].keys() <= lines().keys()


def test_a_container_becomes_the_line_it_is_asked_for(tmp_path: Path) -> None:
    """A stand-in `python` prints its arguments and its own process id, which is the script's: nothing stays between."""
    stand_in = tmp_path / "python"
    stand_in.write_text('#!/bin/sh\necho "$$ $PORT $*"\n', encoding="utf-8")
    stand_in.chmod(0o755)
    with subprocess.Popen(
        ("sh", str(ENTRYPOINT), "flower"),
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PORT": "7777"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        output, _ = process.communicate(timeout=10)

    assert output == f"{process.pid} 7777 -m tasks.monitor --routed\n"


def test_an_unknown_line_names_those_that_exist() -> None:
    result = subprocess.run(("sh", str(ENTRYPOINT), "nosuch"), capture_output=True, text=True, timeout=10, check=False)

    assert result.returncode == 2
    assert "'nosuch' is not in the Procfile; it has: release web worker expander telegram beat flower" in result.stderr
