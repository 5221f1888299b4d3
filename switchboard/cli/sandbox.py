"""Commands of the sandbox."""

from __future__ import annotations

import os

import typer

from switchboard import wiring
from switchboard.cli.output import say
from switchboard.errors import ConfigError, InvalidInputError, PermanentError, TransientError
from switchboard.processes.process_list import SAMPLES_VARIABLE, SANDBOX_API_HASH, SANDBOX_API_ID
from switchboard.services.calendar.accounts import ConnectRequest, SubscriberSettings
from switchboard.services.mattermost_commands import TRIGGERS
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.organisations.recipients import RecipientSettings

app = typer.Typer(help="The sandbox that `run --sandbox` starts.", no_args_is_help=True)

PEOPLE = ("anna", "boris")
TEAM = "demo"
ZONE = "Europe/Moscow"
ORGANISATION, OFFICE_PHONE = "Sample office", "+9996612001"
RECIPIENTS = {"anna": ("Анна", "@anna_ivanova", "ru"), "boris": ("Boris", "+9996612003", "en")}  # the twin's people
SANDBOX_ADMIN_TOKEN = "SANDBOX_ADMIN_TOKEN"  # noqa: S105 - the name of a variable


@app.command()
def connect() -> None:
    """Install the slash commands, connect the sample people, send each today's agenda, and add an organisation to Telegram.

    What stands is left alone. Their status during meetings is on, which nobody else gets unasked: a newcomer is to see
    it happen.
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
    if os.environ.get("SANDBOX_TELEGRAM_URL"):
        _add_organisation()


def _add_organisation() -> None:
    """An organisation with a number and two recipients of the loopback Telegram; signing it in is left to the newcomer."""
    use_cases = wiring.organisations()
    if any(one.name == ORGANISATION for one in use_cases.organisations.list_all()):
        return
    made = use_cases.organisations.create(ORGANISATION, OrganisationChanges(zone=ZONE), actor="sandbox")
    api_id, api_hash = int(SANDBOX_API_ID), SANDBOX_API_HASH
    made = use_cases.organisations.set_telegram(
        made.id, OFFICE_PHONE, api_id=api_id, api_hash=api_hash, actor="sandbox"
    )
    for external_id, (name, telegram, language) in RECIPIENTS.items():
        person = RecipientSettings(opted_in=True, telegram=telegram, name=name, language=language)
        use_cases.recipients.put(made.id, external_id, person, actor="sandbox")
    account = made.status.account_id
    say(
        f"Organisation {made.id} has a number: `python -m switchboard telegram sign-in {account}`, the page has the code."
    )
