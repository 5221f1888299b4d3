"""`python -m switchboard.processes [--sandbox]`: the run behind `Stack`, on free ports, without a person watching."""

from __future__ import annotations

import argparse
import sys

from switchboard.errors import SwitchboardError
from switchboard.processes.stack import run
from switchboard.settings import load_settings


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m switchboard.processes")
    parser.add_argument("--sandbox", action="store_true", help="start the twins of the remotes too")
    arguments = parser.parse_args()
    try:
        return run(load_settings(), sandbox=arguments.sandbox, quiet=True, any_ports=True)
    except SwitchboardError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
