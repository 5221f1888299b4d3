"""Commands for operators: the ledger, the audit log, the keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from switchboard import wiring
from switchboard.cli.output import print_json, print_table, progress_bar, say
from switchboard.db.models import DeliveryState

keys_app = typer.Typer(help="The keys that encrypt stored secrets.", no_args_is_help=True)

Limit = Annotated[int, typer.Option(min=1, max=1_000, help="How many rows at most.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line.")]


def deliveries(
    *,
    state: Annotated[DeliveryState | None, typer.Option(help="Only messages in this state.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List messages of the delivery ledger, newest first, without their texts."""
    views = wiring.operations().deliveries(state=state, before_id=None, limit=limit)
    if as_json:
        print_json([asdict(view) for view in views])
        return
    print_table(
        "Deliveries",
        ("id", "kind", "to", "state", "attempts", "created", "finished", "reason"),
        [
            (v.id, v.kind, f"{v.channel}:{v.recipient}", v.state, v.attempts, v.created_at, v.finished_at, v.reason)
            for v in views
        ],
        empty="No messages." if state is None else f"No messages are {state}.",
    )


def audit(
    *,
    subject: Annotated[str | None, typer.Option(help="Only this subject, for example calendar_account:7.")] = None,
    limit: Limit = 50,
) -> None:
    """List who did what to whom, newest first."""
    print_table(
        "Audit log",
        ("id", "when", "who", "did", "to", "details"),
        [
            (entry.id, entry.at, entry.actor, entry.action, entry.subject, dict(entry.details) or "")
            for entry in wiring.audit_log().latest(limit=limit, subject=subject)
        ],
        empty="Nothing was done yet.",
    )


@keys_app.command("rotate")
def rotate() -> None:
    """Encrypt every stored secret with the newest key of SECRET_KEYS; older keys may be dropped afterwards."""
    with progress_bar("Encrypting") as progress:
        count = wiring.keys().rotate(progress)
    say(f"{count} secrets are encrypted with the newest key. Older keys can leave SECRET_KEYS now.")


@keys_app.command("check")
def check() -> None:
    """Say whether SECRET_KEYS opens what is stored."""
    wiring.keys().check()
    say("SECRET_KEYS opens the stored secrets.")
