"""Commands for mailings of organisations."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

from switchboard import wiring
from switchboard.cli.output import print_json, print_table, say
from switchboard.cli.sending import send_now
from switchboard.db.types import MOST_ID
from switchboard.errors import InvalidInputError
from switchboard.services.organisations.mailings import MailingSettings, MailingView

app = typer.Typer(help="What an organisation tells its people regularly.", no_args_is_help=True)

ACTOR = "cli"

Number = Annotated[
    int, typer.Argument(min=1, max=MOST_ID, help="The organisation's number, as `organisations list` shows it.")
]
MailingNumber = Annotated[
    int, typer.Argument(metavar="MAILING", min=1, max=MOST_ID, help="The mailing's number, as `list` shows it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line.")]
TextFiles = Annotated[
    list[str] | None,
    typer.Option("--text", help="LANGUAGE=FILE, for example en=menu.txt; `en=-` reads a pipe. Once for each language."),
]
RuleOption = Annotated[str | None, typer.Option(help="Cron, by the organisation's clocks.")]
Title = Annotated[str | None, typer.Option(help="A bold line before the text.")]
Link = Annotated[str | None, typer.Option(help="Behind the word Open below the text.")]
To = Annotated[
    list[str] | None, typer.Option("--to", help="External id of a recipient, once for each; else everybody opted in.")
]


@app.command("list")
def list_mailings(organisation: Number, *, as_json: AsJson = False) -> None:
    """List an organisation's mailings."""
    found = wiring.organisations().mailings.list_all(organisation)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        "Mailings",
        ("id", "name", "rule", "next", "for", "last", "event", "problem"),
        [
            (
                one.id,
                one.name,
                one.rule,
                one.ahead[0].local if one.ahead else "stopped",
                "everybody" if one.recipients is None else len(one.recipients),
                one.last_at,
                one.last_event_id,
                one.problem,
            )
            for one in found
        ],
        empty="This organisation has no mailing yet: `organisations mailings add --help`.",
    )


@app.command()
def show(organisation: Number, mailing: MailingNumber, *, as_json: AsJson = False) -> None:
    """Show one mailing with its next three times."""
    found = wiring.organisations().mailings.get(organisation, mailing)
    if as_json:
        print_json(asdict(found))
    else:
        say("\n".join(_lines(found)))


@app.command()
def add(
    organisation: Number,
    name: Annotated[str, typer.Argument(help="Its name, one of its own in the organisation.")],
    rule: Annotated[
        str,
        typer.Argument(
            help="Cron: minute, hour, day of the month, month, day of the week, by the organisation's clocks; "
            "for example '0 9 * * MON-FRI'."
        ),
    ],
    *,
    text: TextFiles = None,
    title: Title = None,
    link: Link = None,
    to: To = None,
) -> None:
    """Add a mailing, which goes out at its next time; what is wrong with its rule or texts is said."""
    settings = MailingSettings(
        name=name, rule=rule, texts=_texts(text or ()), title=title or "", link=link or "", recipients=to
    )
    made = wiring.organisations().mailings.create(organisation, settings, actor=ACTOR)
    say(f"Mailing {made.id} is added.")
    say("\n".join(_lines(made)))
    say(f"Try it: `organisations mailings dry-run {organisation} {made.id}`.")


@app.command()
def change(
    organisation: Number,
    mailing: MailingNumber,
    *,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    rule: RuleOption = None,
    text: TextFiles = None,
    title: Title = None,
    link: Link = None,
    to: To = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="For everybody who is opted in again.")] = False,
) -> None:
    """Change what is given; the languages that are not given keep their texts."""
    use_cases = wiring.organisations().mailings
    found = use_cases.get(organisation, mailing)
    settings = MailingSettings(
        name=name or found.name,
        rule=rule or found.rule,
        texts={**found.texts, **_texts(text or ())},
        title=found.title if title is None else title,
        link=found.link if link is None else link,
        recipients=found.recipients,
    )
    if everybody or to:
        settings = replace(settings, recipients=None if everybody else to)
    say("\n".join(_lines(use_cases.update(organisation, mailing, settings, actor=ACTOR))))


@app.command()
def stop(organisation: Number, mailing: MailingNumber) -> None:
    """Let a mailing go out no more until it is resumed; what waits of it is sent."""
    wiring.organisations().mailings.stop(organisation, mailing, actor=ACTOR)
    say(f"Mailing {mailing} is stopped.")


@app.command()
def resume(organisation: Number, mailing: MailingNumber) -> None:
    """Let a mailing go out again, from its next time on."""
    say("\n".join(_lines(wiring.organisations().mailings.resume(organisation, mailing, actor=ACTOR))))


@app.command()
def remove(organisation: Number, mailing: MailingNumber) -> None:
    """Delete a mailing; what still waits of it is given up."""
    wiring.organisations().mailings.remove(organisation, mailing, actor=ACTOR)
    say(f"Mailing {mailing} is deleted.")


@app.command("dry-run")
def dry_run(organisation: Number, mailing: MailingNumber, *, as_json: AsJson = False) -> None:
    """Say how many would get a mailing now over which channel, and how long it takes; show it; send nothing."""
    found = wiring.organisations().mailings.dry_run(organisation, mailing)
    if as_json:
        print_json(asdict(found))
        return
    counts = [f"{count} over {channel}" for channel, count in sorted(found.channels.items())]
    counts += [f"{count} not: {state}" for state, count in sorted(found.left_out.items())]
    say(f"{found.people} people: {', '.join(counts) or 'none'}")
    say(
        f"Telegram needs {found.takes_s / 60:.0f} minutes, {found.strangers} of its people are strangers to the number."
    )
    for warning in found.warnings:
        say(f"Mind: {warning}")
    for language, message in found.messages.items():
        used = f"{message.units} of {message.most_units} characters, {message.entities_used} of {message.most_entities}"
        say(f"\n{language} ({used} formatted parts):\n{message.text}")


@app.command()
def send(
    organisation: Number,
    mailing: MailingNumber,
    *,
    key: Annotated[str, typer.Option(help="Names this sending: the same again sends nothing. Else one is made.")] = "",
) -> None:
    """Send a mailing now, out of its turn."""
    accepted = wiring.organisations().mailings.send_now(organisation, mailing, key or uuid4().hex, actor=ACTOR)
    say(f"Event {accepted.event_id} goes out: `organisations event {organisation} {accepted.event_id}` shows it.")
    send_now(accepted.batches, accepted.accounts)


def read_text(file: str) -> str:
    """What a file holds, or a pipe for `-`; InvalidInputError where it cannot be read."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{file} cannot be read: {error}", field="file") from None


def _texts(files: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in files:
        language, is_given, file = one.partition("=")
        if not is_given:
            raise InvalidInputError("a text is LANGUAGE=FILE, for example en=menu.txt", field="text")
        found[language] = read_text(file)
    return found


def _lines(found: MailingView) -> list[str]:
    people = "everybody who is opted in" if found.recipients is None else f"{len(found.recipients)} recipients"
    lines = [f"{found.name}: {found.rule} ({found.zone}), for {people}, in {', '.join(found.texts)}"]
    lines.append(f"next: {', '.join(one.local for one in found.ahead)}" if found.active else "stopped")
    if found.last_at is not None:
        event = "" if found.last_event_id is None else f", event {found.last_event_id}"
        lines.append(f"last: {found.last_at:%Y-%m-%d %H:%M} UTC{event}")
    if found.problem is not None:
        lines.append(f"problem: {found.problem}")
    if found.skipped_from is not None:
        lines.append(
            f"left out after a downtime: {found.skipped_count}, from {found.skipped_from:%Y-%m-%d %H:%M} UTC on"
        )
    return lines
