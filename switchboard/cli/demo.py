"""`demo`: the calendar job once, end to end, with the real processes and the sandbox's twins, in a folder of its own."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from switchboard.cli.output import errors, print_json
from switchboard.clients.mattermost import MattermostClient, MattermostPost
from switchboard.services.channels.mattermost import DELIVERY_PROP

PERSON = "anna"
LEAD = timedelta(minutes=10, seconds=20)  # the reminder of ten minutes is due in twenty seconds
WAIT_S = 120.0
DUPLICATES_APPEAR_WITHIN_S = 35.0  # two more ticks, and the sweep of the ledger


@dataclass(frozen=True, slots=True)
class Arrived:
    """What reached the person: posts by kind, and how many of them repeat another."""

    agendas: int
    reminders: int
    duplicates: int


def demo(*, as_json: Annotated[bool, typer.Option("--json", help="End with one JSON line.")] = False) -> None:
    """Show agenda and reminder arriving, with real processes on free ports; exit status 0 only if each came exactly once."""
    from switchboard.processes.stack import Stack  # noqa: PLC0415  only this command needs a Unix supervisor

    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="switchboard-demo-") as folder:
        _say("Starting Valkey, web, workers, beat, Flower, Radicale and twins of Mattermost and Telegram ...")
        environment = {"SANDBOX_SAMPLES": "empty", "CALENDAR_POLL_SECONDS": "15"}
        with Stack.start(Path(folder), sandbox=True, environment=environment) as stack:
            os.environ.update(stack.environment)
            arrived = _run(stack.url("radicale"), stack.environment)
    seconds = round(time.monotonic() - begun, 1)
    passed = arrived == Arrived(agendas=1, reminders=1, duplicates=0)
    _say(
        f"{arrived.agendas} agenda, {arrived.reminders} reminder, {arrived.duplicates} duplicates in {seconds} s: "
        + ("as it should be." if passed else "[red]that is not one of each.[/red]")
    )
    if as_json:
        print_json(
            {
                "agenda_posts": arrived.agendas,
                "reminders": arrived.reminders,
                "duplicates": arrived.duplicates,
                "seconds": seconds,
            }
        )
    if not passed:
        raise typer.Exit(1)


def _run(caldav_url: str, environment: dict[str, str]) -> Arrived:
    from sandbox.caldav import CalendarDesk  # noqa: PLC0415  the sandbox is no part of a deployment
    from switchboard import wiring  # noqa: PLC0415  built from the stack's environment, which is set only now
    from switchboard.services.calendar.accounts import ConnectRequest  # noqa: PLC0415

    password = environment["SANDBOX_CALDAV_PASSWORD"]
    start = datetime.now(UTC) + LEAD
    CalendarDesk(caldav_url, password).add(PERSON, "Demo meeting", start)
    _say(f"A meeting stands in {PERSON}'s calendar at {start:%H:%M:%S} UTC.")
    connected = wiring.calendar_accounts().connect(
        ConnectRequest(
            server=caldav_url, login=PERSON, password=password, mattermost_user=PERSON, zone="Europe/Moscow"
        ),
        actor="demo",
    )
    _say("The account is connected; the workers poll it and expand its meetings.")
    _wait_for_meeting(connected.subscriber_id)
    wiring.agendas().send_today(connected.subscriber_id)
    client = wiring.mattermost()
    channel_id = client.open_direct_channel(client.me().id, client.user_by_username(PERSON).id)
    arrived = _wait_for_posts(client, channel_id)
    _say(f"Both wanted posts are there; waiting {DUPLICATES_APPEAR_WITHIN_S:.0f} s for any that should not be ...")
    time.sleep(DUPLICATES_APPEAR_WITHIN_S)
    return _count(client, channel_id) if arrived.agendas and arrived.reminders else arrived


def _wait_for_meeting(subscriber_id: int) -> None:
    from switchboard import wiring  # noqa: PLC0415
    from switchboard.services.calendar.agendas import occurrences_between  # noqa: PLC0415

    deadline = time.monotonic() + WAIT_S
    now = datetime.now(UTC)
    while time.monotonic() < deadline:
        with wiring.database().read() as session:
            if occurrences_between(session, subscriber_id, now, now + timedelta(hours=1)):
                return
        time.sleep(0.25)


def _wait_for_posts(client: MattermostClient, channel_id: str) -> Arrived:
    deadline = time.monotonic() + WAIT_S
    said = Arrived(0, 0, 0)
    while time.monotonic() < deadline:
        arrived = _count(client, channel_id)
        if arrived.agendas > said.agendas:
            _say("[green]The agenda arrived.[/green]")
        if arrived.reminders > said.reminders:
            _say("[green]The reminder arrived.[/green]")
        said = arrived
        if arrived.agendas and arrived.reminders:
            break
        time.sleep(0.5)
    return said


def _count(client: MattermostClient, channel_id: str) -> Arrived:
    posts: Sequence[MattermostPost] = list(client.posts_since(channel_id, datetime.fromtimestamp(0, UTC)))
    keys = Counter(str(post.props.get(DELIVERY_PROP, "")) for post in posts)
    return Arrived(
        agendas=sum(count for key, count in keys.items() if key.startswith("agenda:")),
        reminders=sum(count for key, count in keys.items() if key.startswith("calendar.reminder:")),
        duplicates=sum(count - 1 for count in keys.values()),
    )


def _say(text: str) -> None:
    errors.print(text, highlight=False)
