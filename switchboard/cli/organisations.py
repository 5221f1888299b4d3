"""Commands for organisations: their number, recipients, templates, document events and credentials."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from switchboard import wiring
from switchboard.cli import mailings
from switchboard.cli.output import print_json, print_table, say
from switchboard.cli.sending import send_now
from switchboard.db.types import MOST_ID
from switchboard.errors import InvalidInputError
from switchboard.services.organisations.addresses import MATTERMOST
from switchboard.services.organisations.events import DeliveryFilter
from switchboard.services.organisations.organisations import OrganisationChanges, OrganisationView
from switchboard.services.organisations.previews import PreviewOf
from switchboard.services.organisations.recipients import RecipientSettings
from switchboard.texts.locales import LOCALES

app = typer.Typer(help="Organisations and their notices about documents.", no_args_is_help=True)
app.add_typer(mailings.app, name="mailings")

ACTOR = "cli"
API_HASH_VARIABLE = "TELEGRAM_ACCOUNT_API_HASH"

Number = Annotated[
    int, typer.Argument(min=1, max=MOST_ID, help="The organisation's number, as `organisations list` shows it.")
]
EventNumber = Annotated[
    int, typer.Argument(metavar="EVENT_ID", min=1, max=MOST_ID, help="The event, as `organisations events` shows it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line.")]
Limit = Annotated[int, typer.Option(min=1, max=1_000, help="How many rows at most.")]
Under = Annotated[
    int | None, typer.Option(min=0, max=MOST_ID, help="The organisation above it in the holding; 0: none.")
]
Contact = Annotated[str | None, typer.Option(help="Whom its people ask when notices do not come.")]
Zone = Annotated[str | None, typer.Option(help="Time zone, for example Europe/Moscow.")]
Language = Annotated[str | None, typer.Option(help=f"Language: {', '.join(LOCALES)}.")]
Digest = Annotated[str | None, typer.Option(help="One message an hour or a day: none, hour, day; '': the parent's.")]
DigestAt = Annotated[str | None, typer.Option(help="Time of a daily digest, for example 09:00; '': the parent's.")]


@app.command("list")
def list_organisations(*, as_json: AsJson = False) -> None:
    """List the organisations with their service status."""
    found = wiring.organisations().organisations.list_all()
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        "Organisations",
        ("id", "name", "belongs to", "recipients", "number", "service", "since", "why"),
        [
            (
                one.id,
                one.name,
                one.parent_id,
                one.recipients,
                one.status.phone,
                "online" if one.status.online else one.status.state,
                one.status.since,
                one.status.reason,
            )
            for one in found
        ],
        empty="No organisation is here yet: `python -m switchboard organisations add NAME`.",
    )


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Its name, as recipients read it.")],
    *,
    under: Under = None,
    contact: Contact = None,
    zone: Zone = None,
    language: Language = None,
    digest: Digest = None,
    digest_at: DigestAt = None,
) -> None:
    """Add an organisation."""
    settings = OrganisationChanges(
        parent_id=under, support_contact=contact, zone=zone, language=language, digest=digest, digest_at=digest_at
    )
    made = wiring.organisations().organisations.create(name, settings, actor=ACTOR)
    say(f"Organisation {made.id} is added. Its number: `organisations telegram {made.id} PHONE --api-id ID`.")


@app.command()
def change(
    organisation: Number,
    *,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    under: Under = None,
    contact: Contact = None,
    zone: Zone = None,
    language: Language = None,
    digest: Digest = None,
    digest_at: DigestAt = None,
) -> None:
    """Change what is given."""
    changes = OrganisationChanges(
        name=name,
        parent_id=under,
        support_contact=contact,
        zone=zone,
        language=language,
        digest=digest,
        digest_at=digest_at,
    )
    wiring.organisations().organisations.update(organisation, changes, actor=ACTOR)
    say(f"Organisation {organisation} is changed.")


@app.command()
def remove(organisation: Number, *, yes: Annotated[bool, typer.Option(help="Do not ask.")] = False) -> None:
    """Remove an organisation with its recipients, templates and events; its Telegram account stays."""
    found = wiring.organisations().organisations.get(organisation)
    if not yes:
        typer.confirm(f"Remove {found.name} with {found.recipients} recipients and all their notices?", abort=True)
    wiring.organisations().organisations.remove(organisation, actor=ACTOR)
    say(f"Organisation {organisation} is removed.")


@app.command()
def telegram(
    organisation: Number,
    phone: Annotated[
        str, typer.Argument(help="The number it writes from, with the country code; `none` for no number.")
    ],
    *,
    api_id: Annotated[int, typer.Option(help="Of my.telegram.org for this number; its hash is asked for.")] = 0,
) -> None:
    """Set the number an organisation writes from. api_hash is asked for, or read from TELEGRAM_ACCOUNT_API_HASH or a pipe."""
    use_cases = wiring.organisations().organisations
    if phone == "none":
        use_cases.unset_telegram(organisation, actor=ACTOR)
        say(f"Organisation {organisation} writes from no number any more.")
        return
    found = use_cases.set_telegram(organisation, phone, api_id=api_id, api_hash=_api_hash(), actor=ACTOR)
    account = found.status.account_id
    if found.status.online:
        say(f"Organisation {organisation} writes from account {account}, which is online.")
    else:
        say(f"Account {account} is not online yet: `python -m switchboard telegram sign-in {account}`.")


@app.command()
def status(organisation: Number, *, as_json: AsJson = False) -> None:
    """Say whether an organisation's Telegram messages go out, why not, and since when."""
    found = wiring.organisations().organisations.get(organisation)
    if as_json:
        print_json(asdict(found.status))
    else:
        say("\n".join(_status_lines(found)))


@app.command()
def recipients(
    organisation: Number,
    *,
    after: Annotated[str, typer.Option(help="Only external ids behind this one.")] = "",
    limit: Limit = 100,
    as_json: AsJson = False,
) -> None:
    """List whom an organisation notifies."""
    found = wiring.organisations().recipients.page(organisation, after=after, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        "Recipients",
        ("external id", "name", "first", "second", "Telegram", "gets messages", "quiet", "digest", "contact"),
        [
            (
                one.external_id,
                one.name,
                one.channel,
                one.second_channel,
                one.telegram,
                "answered STOP" if one.stopped_at else "yes" if one.opted_in else "not opted in",
                f"{one.quiet_from}-{one.quiet_until}" if one.quiet_from else None,
                " ".join(filter(None, (one.digest, one.digest_at))),
                "yes" if one.is_contact else "",
            )
            for one in found
        ],
        empty="This organisation has no recipients yet: `organisations recipient --help`.",
    )


@app.command()
def recipient(
    organisation: Number,
    external_id: Annotated[str, typer.Argument(help="The document system's name for the person.")],
    *,
    opted_in: Annotated[bool, typer.Option(help="The person agreed to get messages; their own STOP wins.")],
    name: Annotated[str, typer.Option(help="Name for templates.")] = "",
    telegram: Annotated[str | None, typer.Option(help="@username, +phone or numeric id.")] = None,
    mattermost: Annotated[str | None, typer.Option(help="User id or @name.")] = None,
    channel: Annotated[str, typer.Option(help="telegram or mattermost.")] = "telegram",
    second_channel: Annotated[str | None, typer.Option(help="Taken where the first cannot deliver.")] = None,
    quiet: Annotated[str, typer.Option(help="Quiet hours, for example 22:00-08:00.")] = "",
    zone: Annotated[str, typer.Option(help="Else the organisation's.")] = "",
    language: Annotated[str, typer.Option(help="Else the organisation's.")] = "",
    digest: Annotated[
        str, typer.Option(help="One message an hour or a day: none, hour, day; else the organisation's.")
    ] = "",
    digest_at: Annotated[str, typer.Option(help="Time of a daily digest, HH:MM; else the organisation's.")] = "",
    contact: Annotated[bool, typer.Option(help="Is told when the organisation's Telegram falls out.")] = False,
) -> None:
    """Add a recipient, or make one so: what is not given is empty."""
    quiet_from, _, quiet_until = quiet.partition("-")
    settings = RecipientSettings(
        opted_in=opted_in,
        channel=channel,
        second_channel=second_channel,
        telegram=telegram,
        mattermost=mattermost,
        name=name,
        quiet_from=quiet_from,
        quiet_until=quiet_until,
        zone=zone,
        language=language,
        digest=digest,
        digest_at=digest_at,
        is_contact=contact,
    )
    stored, created = wiring.organisations().recipients.put(organisation, external_id, settings, actor=ACTOR)
    say(f"The recipient is {'added' if created else 'stored'}.")
    if stored.stopped_at is not None:
        say("They answered STOP and get no messages until they answer START.")


@app.command()
def forget(
    organisation: Number,
    external_id: Annotated[str, typer.Argument(help="The document system's name for the person.")],
) -> None:
    """Forget a recipient; that they answered STOP is kept."""
    wiring.organisations().recipients.remove(organisation, external_id, actor=ACTOR)
    say("The recipient is forgotten.")


@app.command()
def templates(organisation: Number, *, as_json: AsJson = False) -> None:
    """List an organisation's own templates; where it has none, its parents' hold, then the built-in ones."""
    found = wiring.organisations().wording.list_all(organisation)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        "Templates",
        ("kind", "purpose", "language", "text", "stored"),
        [(one.kind, one.purpose, one.language, one.source, one.updated_at) for one in found],
        empty="This organisation has no template of its own.",
    )


@app.command()
def template(
    organisation: Number,
    kind: Annotated[str, typer.Argument(help="Kind of event, or `default` for all.")],
    language: Annotated[str, typer.Argument(help=f"One of {', '.join(LOCALES)}.")],
    file: Annotated[Path, typer.Argument(help="File with the text; `-` reads it from a pipe.", allow_dash=True)],
    *,
    purpose: Annotated[str, typer.Option(help="notice, digest, reminder or processed.")] = "notice",
) -> None:
    """Store a template after checking it; every problem is said."""
    wiring.organisations().wording.put(
        organisation, kind, purpose, language, mailings.read_text(str(file)), actor=ACTOR
    )
    say("The template is stored. Try it: `organisations test-send`.")


@app.command("template-preview")
def preview_template(
    organisation: Number,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="File with a text; `-` reads it from a pipe. Else the template that is used.", allow_dash=True
        ),
    ] = None,
    *,
    kind: Annotated[str, typer.Option(help="Kind of event.")] = "default",
    purpose: Annotated[str, typer.Option(help="notice, digest, reminder or processed.")] = "notice",
    language: Annotated[str, typer.Option(help="Else the recipient's, else the organisation's.")] = "",
    channel: Annotated[str, typer.Option(help="telegram or mattermost.")] = "telegram",
    recipient: Annotated[
        str | None, typer.Option(help="External id of whom it would go to; else somebody made up.")
    ] = None,
    value: Annotated[list[str] | None, typer.Option(help="PLACEHOLDER=VALUE, for example title=Lease.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how a template's message would look, and what is wrong with the template; send and store nothing."""
    wanted = PreviewOf(
        source=None if file is None else mailings.read_text(str(file)),
        kind=kind,
        purpose=purpose,
        language=language,
        channel=channel,
        recipient=recipient,
        values=dict(_named(one) for one in value or ()),
    )
    found = wiring.organisations().notices.preview(organisation, wanted, now=wiring.utc_now())
    if as_json:
        print_json(asdict(found))
        return
    for problem in found.problems:
        say(f"Wrong: {problem}")
    if (message := found.message) is not None:
        say(message.markdown if channel == MATTERMOST else message.html)
        say(
            f"\n{found.origin}, {found.language}: {message.units} of {message.most_units} characters, "
            f"{message.entities_used} of {message.most_entities} formatted parts"
        )


@app.command("test-send")
def send_test(
    organisation: Number,
    external_id: Annotated[str, typer.Argument(help="The recipient who gets the test.")],
    *,
    kind: Annotated[str, typer.Option(help="Kind of event whose template is tried.")] = "default",
    purpose: Annotated[str, typer.Option(help="notice, digest, reminder or processed.")] = "notice",
    language: Annotated[str, typer.Option(help="Else the recipient's.")] = "",
) -> None:
    """Send a made-up document in a template's words to one recipient."""
    accepted = wiring.organisations().wording.send_test(
        organisation, external_id, kind=kind, purpose=purpose, language=language, actor=ACTOR
    )
    say(f"Delivery {accepted.event_id} goes out within seconds: `python -m switchboard deliveries` shows it.")
    send_now(accepted.batches, accepted.accounts)


@app.command()
def events(organisation: Number, *, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List an organisation's document events, newest first."""
    found = wiring.organisations().events.latest(organisation, limit=limit)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        "Document events",
        ("id", "kind", "document", "state", "people", "how they stand", "expected by", "taken"),
        [
            (
                one.id,
                one.kind,
                one.number,
                one.state,
                one.recipients,
                ", ".join(f"{state} {count}" for state, count in sorted(one.counts.items())),
                one.expected_by,
                one.created_at,
            )
            for one in found
        ],
        empty="No event came from this organisation yet.",
    )


@app.command()
def event(
    organisation: Number,
    event_id: EventNumber,
    *,
    unread: Annotated[bool, typer.Option(help="Only what was sent over Telegram and not read.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what became of each message of an event."""
    found = wiring.organisations().events.deliveries(organisation, event_id, DeliveryFilter(unread=unread))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        f"Event {event_id}",
        ("recipient", "what", "over", "state", "why", "not before", "ended"),
        [
            (d.recipient, d.purpose, d.channel, d.state, d.reason, d.digest_at or d.not_before, d.finished_at)
            for d in found
        ],
        empty="No message is so." if unread else "The event names nobody.",
    )


@app.command()
def processed(
    organisation: Number,
    event_id: EventNumber,
) -> None:
    """Say that the document has been processed: reminders end, messages that were sent say so."""
    wiring.organisations().events.processed(organisation, event_id)
    say(f"Event {event_id} is processed.")
    followed = wiring.document_following().follow()
    send_now(followed.batches, followed.accounts)


@app.command()
def secret(
    organisation: Number,
    *,
    end: Annotated[int, typer.Option(min=0, max=MOST_ID, help="Accept this pair no more instead of making one.")] = 0,
) -> None:
    """Make a new token and secret for the document system, shown this once; the pair before stays valid until the next."""
    credentials = wiring.organisations().credentials
    if end:
        credentials.end(organisation, end, actor=ACTOR)
        say(f"Pair {end} is refused from now on.")
        return
    made = credentials.rotate(organisation, actor=ACTOR)
    say(f"Pair {made.id}. Keep both now, they are not shown again.\ntoken:  {made.token}\nsecret: {made.secret}")
    others = [str(one.id) for one in credentials.list_all(organisation) if one.id != made.id]
    if others:
        say(f"Pair {', '.join(others)} is still accepted; `--end {others[0]}` ends that at once.")


def _named(text: str) -> tuple[str, str]:
    name, is_given, value = text.partition("=")
    if not is_given:
        raise InvalidInputError("a value is PLACEHOLDER=VALUE, for example title=Lease", field="value")
    return name, value


def _status_lines(found: OrganisationView) -> list[str]:
    status = found.status
    lines = [f"{found.name}: {'online' if status.online else status.state}"]
    if status.since is not None:
        lines.append(f"since {status.since:%Y-%m-%d %H:%M:%S} UTC")
    if status.reason is not None:
        lines.append(status.reason)
    if status.phone is not None:
        lines.append(f"number {status.phone}, account {status.account_id or 'gone'}")
    if status.support_contact:
        lines.append(f"Ask {status.support_contact}.")
    return lines


def _api_hash() -> str:
    """Never from the command line, which every user of the machine can read."""
    given = os.environ.get(API_HASH_VARIABLE)
    if given is None:
        given = getpass.getpass("api_hash: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not given.strip():
        raise InvalidInputError("give the api_hash that stands beside api_id", field="api_hash")
    return given.strip()
