"""Commands of the sandbox."""

from __future__ import annotations

import os

import typer

from switchboard import wiring
from switchboard.cli.output import say
from switchboard.errors import ConfigError, InvalidInputError, PermanentError, TransientError
from switchboard.processes.process_list import SAMPLES_VARIABLE
from switchboard.services.calendar.accounts import ConnectRequest, SubscriberSettings
from switchboard.services.mattermost_commands import TRIGGERS

app = typer.Typer(help="The sandbox that `run --sandbox` starts.", no_args_is_help=True)

PEOPLE = ("anna", "boris")
TEAM = "demo"
ZONE = "Europe/Moscow"
SANDBOX_ADMIN_TOKEN = "SANDBOX_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


@app.command()
def connect() -> None:
    """Install the slash commands, connect the sample people and send each today's agenda; what stands is left alone.

    Their status during meetings is on, which nobody else gets unasked: a newcomer is to see it happen.
    """
    url, password = os.environ.get("SANDBOX_CALDAV_URL", ""), os.environ.get("SANDBOX_CALDAV_PASSWORD", "")
    if not url:
        raise ConfigError("the sandbox is not running here: start it with `make run`")
    if SANDBOX_ADMIN_TOKEN in os.environ:
        try:
            wiring.install_commands([TEAM], admin_token=os.environ[SANDBOX_ADMIN_TOKEN])
            say(f"/{TRIGGERS[0]} works in the team {TEAM}.")
        except (PermanentError, TransientError) as error:
            say(f"The slash commands were not installed: {error}")
    if os.environ.get(SAMPLES_VARIABLE) == "empty":
        return
    known = {account.login for account in wiring.calendar_accounts().list_accounts() if account.server_url == url}
    for person in PEOPLE:
        if person in known:
            continue
        request = ConnectRequest(server=url, login=person, password=password, mattermost_user=person, zone=ZONE)
        try:
            connected = wiring.calendar_accounts().connect(request, actor="sandbox")
        except (InvalidInputError, TransientError) as error:  # somebody changed the samples: the rest shall run
            say(f"@{person} was not connected: {error}")
            continue
        wiring.calendar_accounts().configure(
            connected.subscriber_id, SubscriberSettings(status_enabled=True), actor="sandbox"
        )
        wiring.calendar_polling().poll(connected.account_id)
        wiring.calendar_expansion().expand_account(connected.account_id)
        wiring.agendas().send_today(connected.subscriber_id)
        say(f"@{person} is connected; today's agenda is on its way.")
