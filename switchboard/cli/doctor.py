"""`doctor`: one table of what works."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from switchboard import wiring
from switchboard.cli.output import errors, print_json, print_table
from switchboard.services.doctor import Verdict, examine

COLOURS = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILED: "red", Verdict.SKIPPED: "dim"}


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line.")] = False) -> None:
    """Try every configured remote and say what works and what to do; exit status 1 when something does not."""
    findings = []
    with errors.status("Trying ...") as status:
        for finding in examine(wiring.doctor_checks()):
            findings.append(finding)
            status.update(f"Tried {finding.name}")
    if as_json:
        print_json(
            [
                {
                    "name": f.name,
                    "verdict": f.verdict,
                    "detail": f.detail,
                    "advice": f.advice,
                    "seconds": round(f.seconds, 3),
                }
                for f in findings
            ]
        )
    else:
        print_table(
            "Doctor",
            ("what", "verdict", "ms", "found", "what to do"),
            [
                (
                    f.name,
                    Text(f.verdict, style=COLOURS[f.verdict]),
                    "" if f.verdict is Verdict.SKIPPED else round(f.seconds * 1000),
                    f.detail,
                    f.advice,
                )
                for f in findings
            ],
            empty="Nothing to try.",
        )
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)
