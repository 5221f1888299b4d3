"""Commands for the Mattermost server: install and uninstall the bot's rights and the slash commands."""

from __future__ import annotations

from typing import Annotated

import typer

from switchboard import wiring
from switchboard.cli.output import console
from switchboard.services.mattermost_commands import TRIGGERS

app = typer.Typer(help="The bot and its slash commands on the Mattermost server.", no_args_is_help=True)

Teams = Annotated[list[str], typer.Argument(help="Names of teams, as they stand in their addresses.")]


@app.command()
def install(teams: Teams) -> None:
    """Make the bot, its rights and the slash commands of these teams, with MATTERMOST_ADMIN_TOKEN. May be repeated."""
    with console.status("Asking the Mattermost server ..."):
        installed = wiring.install_commands(teams)
    console.print(f"@{installed.bot.username} is in {', '.join(teams)}; /{' and /'.join(TRIGGERS)} are installed.")
    if installed.bot.token:
        console.print("Set this and start the processes anew; the token is shown only now:")
        console.print(f"MATTERMOST_TOKEN={installed.bot.token}", highlight=False, soft_wrap=True)
    if installed.refused_right is not None:
        console.print(f"[yellow]{installed.refused_right}[/yellow]", highlight=False)


@app.command()
def uninstall(teams: Teams) -> None:
    """Take the slash commands of these teams back; with the last team also the bot's rights."""
    with console.status("Asking the Mattermost server ..."):
        removed = wiring.command_installer().uninstall(teams)
    console.print(f"{removed} commands were taken away from {', '.join(teams)}.")
