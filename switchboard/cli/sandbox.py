"""Commands of the sandbox."""

from __future__ import annotations

import os

import typer

from switchboard import wiring
from switchboard.cli.output import say
from switchboard.errors import ConfigError, InvalidInputError, TransientError
from switchboard.services.calendar.accounts import ConnectRequest

app = typer.Typer(help="The sandbox that `run --sandbox` starts.", no_args_is_help=True)

PEOPLE = ("anna", "boris")
ZONE = "Europe/Moscow"


@app.command()
def connect() -> None:
    """Connect the sandbox's sample people and send each today's agenda; those who are connected already are left alone."""
    url, password = os.environ.get("SANDBOX_CALDAV_URL", ""), os.environ.get("SANDBOX_CALDAV_PASSWORD", "")
    if not url:
        raise ConfigError("the sandbox is not running here: start it with `make run`")
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
        wiring.calendar_polling().poll(connected.account_id)
        wiring.calendar_expansion().expand_account(connected.account_id)
        wiring.agendas().send_today(connected.subscriber_id)
        say(f"@{person} is connected; today's agenda is on its way.")
