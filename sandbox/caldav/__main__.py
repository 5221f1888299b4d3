"""`python -m sandbox.caldav --port P --data DIR`: Radicale with the sample calendars, as this very process."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from sandbox.caldav.radicale import PASSWORD_ENV, STORAGE, prepare
from sandbox.caldav.samples import write_samples

SAMPLES_ENV = "SANDBOX_SAMPLES"  # `empty`: the sample calendars without their meetings


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m sandbox.caldav", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="port on 127.0.0.1")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder for calendars, the password and the configuration"
    )
    parser.add_argument("--no-samples", action="store_true", help="start without the sample calendars")
    chosen = parser.parse_args()
    data_dir = chosen.data.resolve()
    configuration, _ = prepare(data_dir, chosen.port, password=os.environ.get(PASSWORD_ENV, ""))
    if not chosen.no_samples:
        write_samples(data_dir / STORAGE, datetime.now(UTC), meetings=os.environ.get(SAMPLES_ENV) != "empty")
    environment = {name: value for name, value in os.environ.items() if name != PASSWORD_ENV}
    # The process becomes Radicale: whoever started us stops it with one SIGTERM, and no child can be left.
    os.execve(sys.executable, [sys.executable, "-m", "radicale", "--config", str(configuration)], environment)  # noqa: S606


if __name__ == "__main__":
    main()
