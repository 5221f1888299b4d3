"""`python -m benchmarks NAME [--json] [--scale small]`: one measurement; without a name, the list of them.

With `--json` the last line of standard output is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module

BENCHMARKS = {
    "task_overhead": "our no-op task against Celery's own: ratio of throughput",
    "calendar_poll": "one changed event among 5,000: our poll against fetching everything",
    "calendar_day": "today and a month from a store of 5,000 events, against asking the server",
    "calendar_fleet": "a poll round over 1,000 accounts of 100 events, 1 % changed, against fetching every calendar",
    "reminder_scan": "100 due reminders among 10,000 and among 1,000,000: growth of the scan's time",
    "diff_storm": "a shared calendar of 500 meetings moved by an hour: one message for each of 200 subscribers",
    "reminder_fanout": "10,000 reminders due in one minute, against the bare HTTP posts",
    "telegram_send": "document events from the POST to Telegram, against a program that connects for each message",
    "telegram_receive": "updates a second into the database, 50 accounts",
    "gateway_scale": "memory and processor of an idle Telegram account at 10, 100, 500 of them; take-over after a kill",
}


def main(arguments: list[str]) -> int:
    """Run what the arguments name; each module has `run(scale) -> dict`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="?", choices=BENCHMARKS)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    parser.add_argument("--scale", choices=("full", "small"), default="full", help="small: seconds, to try it out")
    options = parser.parse_args(arguments)
    if options.name is None:
        print("\n".join(f"{name:16} {claim}" for name, claim in BENCHMARKS.items()))
        return 0
    figures = import_module(f"benchmarks.{options.name}").run(options.scale)
    if options.json:
        print(json.dumps({"benchmark": options.name, "scale": options.scale, **figures}))
    else:
        print("\n".join(f"{name:32} {value}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
