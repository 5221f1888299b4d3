"""The top of the command line."""

from __future__ import annotations

import logging
import sys
from typing import Annotated

import typer
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from switchboard import __version__, wiring
from switchboard.cli import calendar, demo, doctor, mattermost, operations, organisations, sandbox, telegram
from switchboard.cli.output import complain, say
from switchboard.db import migrate as migrations
from switchboard.errors import InvalidInputError, SwitchboardError
from switchboard.logs import configure_logging
from switchboard.services.doctor import in_words
from switchboard.settings import load_settings

app = typer.Typer(
    name="switchboard",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(calendar.app, name="calendar")
app.add_typer(operations.keys_app, name="keys")
app.add_typer(mattermost.app, name="mattermost")
app.add_typer(organisations.app, name="organisations")
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(telegram.app, name="telegram")
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)
app.command("deliveries")(operations.deliveries)
app.command("audit")(operations.audit)


@app.callback()
def prepare(context: typer.Context) -> None:
    """Connects people, chats, calendars and tools. Start with `run --sandbox` or `doctor`."""
    if context.invoked_subcommand != "version":
        configure_logging(load_settings())
        logging.getLogger("alembic").setLevel(logging.WARNING)


@app.command()
def run(
    *,
    with_sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Start twins of the remotes that are not set.")
    ] = False,
    verbose: Annotated[bool, typer.Option(help="Show every process's log lines here, not only its warnings.")] = False,
) -> None:
    """Run every process on this machine, restart those that die, stop all on Ctrl-C."""
    from switchboard.processes import stack  # noqa: PLC0415  only this command needs a Unix supervisor

    raise typer.Exit(stack.run(load_settings(), sandbox=with_sandbox, quiet=not verbose))


@app.command()
def migrate(
    revision: Annotated[str, typer.Argument(help="The revision to reach; older ones are gone back to.")] = "head",
) -> None:
    """Bring the database to the newest schema (or to REVISION), and check that SECRET_KEYS fits it."""
    settings = load_settings()
    if not settings.database_url:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
    reached = migrations.migrate(settings.effective_database_url, revision)
    if settings.secret_keys and reached:
        wiring.keys().check()
    say(f"The database is at revision {reached or 'base'}.")


@app.command()
def version() -> None:
    """Print the version."""
    say(__version__)


def main() -> None:
    """Run a command; errors that are ours come out as one sentence and exit status 1."""
    try:
        app()
    except InvalidInputError as error:
        complain(f"{error.field}: {error}")
    except SwitchboardError as error:
        complain(str(error))
    except SQLAlchemyError as error:
        complain(
            f"The database cannot be used: {in_words(error)}. Check DATABASE_URL, then run `python -m switchboard migrate`."
        )
    except RedisError as error:
        complain(f"Redis cannot be used: {in_words(error)}. Check REDIS_URL, or start `python -m switchboard run`.")
    except OSError as error:
        complain(f"{error.strerror or error}: {error.filename or ''}".rstrip(": "))
    else:
        return
    sys.exit(1)
