"""Commands for calendar accounts: connect, watch, poll, look, configure, disconnect."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from switchboard import wiring
from switchboard.cli.output import console, print_json, print_table, progress_bar, say
from switchboard.db.types import MOST_ID
from switchboard.errors import InvalidInputError
from switchboard.services.calendar.accounts import AccountView, CalendarView, ConnectRequest, SubscriberSettings
from switchboard.services.calendar.polling import PollOutcome
from switchboard.texts.locales import LOCALES

app = typer.Typer(help="Calendar accounts and what is sent about them.", no_args_is_help=True)

PASSWORD_VARIABLE = "CALENDAR_PASSWORD"  # noqa: S105 - the name of a variable
Account = Annotated[int, typer.Argument(min=1, max=MOST_ID, help="The account's number, as `calendar list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line.")]


@app.command()
def connect(
    server: Annotated[str, typer.Argument(help="A CalDAV address (https://...) or the preset `yandex`.")],
    login: Annotated[str, typer.Argument(help="The login of the calendar account.")],
    user: Annotated[str, typer.Argument(help="The Mattermost user who gets the messages: @name or id.")],
    *,
    zone: Annotated[
        str, typer.Option(help="Time zone, for example Europe/Moscow; else the user's in Mattermost.")
    ] = "",
    calendar: Annotated[
        list[str] | None, typer.Option(help="Watch only this calendar (name or URL); repeatable.")
    ] = None,
) -> None:
    """Connect an account after asking its server. The app password is asked for, or read from CALENDAR_PASSWORD or a pipe."""
    request = ConnectRequest(
        server=server,
        login=login,
        password=_password(),
        mattermost_user=user,
        zone=zone,
        calendars=tuple(calendar or ()),
    )
    with console.status("Asking the server ..."):
        connected = wiring.calendar_accounts().connect(request, actor="cli")
    say(
        f"Account {connected.account_id} {'is connected' if connected.created else 'has its new password'}; "
        "its first poll is due now."
    )
    _print_calendars(connected.calendars)


@app.command("list")
def list_accounts(*, as_json: AsJson = False) -> None:
    """List the accounts with their state."""
    accounts = wiring.calendar_accounts().list_accounts()
    if as_json:
        names = ("id", "username", "server_url", "login", "state", "reason", "last_polled_at", "last_error")
        print_json(
            [
                {name: getattr(account, name) for name in names} | {"left_out": _left_out(account.id)}
                for account in accounts
            ]
        )
        return
    print_table(
        "Calendar accounts",
        ("id", "user", "login", "server", "state", "watched", "last poll", "last error", "left out"),
        [
            (
                a.id,
                f"@{a.username}",
                a.login,
                a.server_url,
                a.state if a.reason is None else f"{a.state}: {a.reason}",
                f"{sum(c.watched for c in a.calendars)} of {len(a.calendars)}",
                a.last_polled_at,
                a.last_error,
                _left_out(a.id),
            )
            for a in accounts
        ],
        empty="No account is connected yet: `python -m switchboard calendar connect --help`.",
    )


@app.command()
def calendars(account: Account) -> None:
    """List an account's calendars, new ones on the server included."""
    with console.status("Asking the server ..."):
        found = wiring.calendar_accounts().refresh_calendars(account)
    _print_calendars(found)


@app.command()
def watch(
    account: Account,
    calendar_ids: Annotated[
        list[int] | None, typer.Argument(min=1, max=MOST_ID, help="Numbers as `calendar calendars` shows them.")
    ] = None,
) -> None:
    """Watch exactly these calendars; without numbers, show which there are."""
    if not calendar_ids:
        calendars(account)
        return
    _print_calendars(wiring.calendar_accounts().watch(account, calendar_ids, actor="cli"))


@app.command()
def poll(account: Account) -> None:
    """Fetch what changed now, with progress, and expand it."""
    view = _view(account)
    with progress_bar("Fetching") as progress, wiring.locks().require(f"calendar-account:{account}"):
        result = wiring.calendar_polling().poll(account, progress=progress)
    _expand(account)
    say(f"{result.outcome}: {result.changed} changed, {result.removed} removed.")
    if result.error is not None:
        say(result.error)
    if result.outcome is PollOutcome.SKIPPED:
        say(f"The account is {view.state}{f': {view.reason}' if view.reason else ''}.")
    if result.outcome is PollOutcome.CONTINUED:
        say("Its time was over; the next poll goes on from here.")


@app.command()
def agenda(
    account: Account,
    *,
    days: Annotated[int, typer.Option(min=1, max=31, help="How many days, today included.")] = 1,
    send: Annotated[bool, typer.Option(help="Also send today's agenda to the user, once a day.")] = False,
) -> None:
    """Print the agenda of an account's user as the store knows it."""
    view = _view(account)
    now = wiring.utc_now()
    for day in range(days):
        say(wiring.agendas().preview(view.subscriber_id, now + timedelta(days=day)))
    if send:
        when = wiring.agendas().send_today(view.subscriber_id)
        say(f"The agenda goes out at {when:%H:%M:%S} UTC, unless today's was sent before.")


@app.command()
def configure(
    account: Account,
    *,
    zone: Annotated[str | None, typer.Option(help="Time zone, for example Europe/Moscow.")] = None,
    locale: Annotated[str | None, typer.Option(help=f"Language: {', '.join(LOCALES)}.")] = None,
    agenda_time: Annotated[str | None, typer.Option(help="HH:MM, 00:00 to 23:45 by 15 minutes.")] = None,
    weekdays: Annotated[str | None, typer.Option(help="Days of the agenda, 1 Monday .. 7 Sunday: 1,2,3,4,5.")] = None,
    reminder_minutes: Annotated[
        str | None, typer.Option(help="Minutes before a meeting, for example 10 or 15,5.")
    ] = None,
    agendas: Annotated[bool | None, typer.Option(help="Send agendas.")] = None,
    reminders: Annotated[bool | None, typer.Option(help="Send reminders.")] = None,
    empty_days: Annotated[bool | None, typer.Option(help="Send a line on days without meetings.")] = None,
    changes: Annotated[bool | None, typer.Option(help="Tell of new, moved, changed and cancelled meetings.")] = None,
    answers: Annotated[bool | None, typer.Option(help="Tell of attendees' answers.")] = None,
    status: Annotated[
        bool | None, typer.Option(help="Show “In a meeting” as the user's status during meetings.")
    ] = None,
    quiet: Annotated[str | None, typer.Option(help="Quiet hours, for example 22:00-08:00, or `off`.")] = None,
    working_hours: Annotated[
        str | None, typer.Option(help="Hours whose free time the agenda names, for example 09:00-18:00, or `off`.")
    ] = None,
) -> None:
    """Change what the account's user gets; agenda and reminders follow at once."""
    quiet_from, quiet_until = _hours(quiet, "quiet", "22:00-08:00")
    work_from, work_until = _hours(working_hours, "working-hours", "09:00-18:00")
    settings = SubscriberSettings(
        zone=zone,
        locale=locale,
        agenda_enabled=agendas,
        agenda_time=agenda_time,
        agenda_on_empty_days=empty_days,
        weekdays=None if weekdays is None else _numbers(weekdays, "weekdays"),
        reminders_enabled=reminders,
        reminder_minutes=None if reminder_minutes is None else _numbers(reminder_minutes, "reminder-minutes"),
        changes_enabled=changes,
        answers_enabled=answers,
        status_enabled=status,
        quiet_from=quiet_from,
        quiet_until=quiet_until,
        work_from=work_from,
        work_until=work_until,
    )
    for changed in wiring.calendar_accounts().configure(_view(account).subscriber_id, settings, actor="cli"):
        _expand(changed)
    say("The settings are stored.")


@app.command()
def statuses(*, as_json: AsJson = False) -> None:
    """List who gets "In a meeting" as custom status, what it is now, and what keeps it from changing."""
    found = wiring.statuses().list_all()
    if as_json:
        print_json([{"mattermost_user_id": user_id, **asdict(view)} for user_id, view in found])
        return
    print_table(
        "Custom statuses",
        ("Mattermost user", "shown until", "left alone until", "next meeting", "problem", "since"),
        [
            (user_id, view.shown_until, view.left_alone_until, view.next_at, view.problem, view.problem_at)
            for user_id, view in found
        ],
        empty="Nobody wants a status: `python -m switchboard calendar configure ACCOUNT --status`.",
    )


@app.command()
def password(account: Account) -> None:
    """Store a new app password after the server accepted it; a paused account goes on."""
    wiring.calendar_accounts().update_password(account, _password(), actor="cli")
    say("The server accepted the new password; the account is active.")


@app.command()
def disconnect(account: Account, *, yes: Annotated[bool, typer.Option(help="Do not ask.")] = False) -> None:
    """Delete an account with its password, calendars, meetings and reminders."""
    view = _view(account)
    if not yes:
        typer.confirm(
            f"Delete account {account} ({view.login} of @{view.username}) and all that is stored of it?", abort=True
        )
    wiring.calendar_accounts().disconnect(account, actor="cli")
    say(f"Account {account} is deleted.")


def _expand(account: int) -> None:
    with console.status("Expanding ..."):
        while wiring.calendar_expansion().expand_account(account).more:
            pass


def _left_out(account: int) -> str:
    """What of the account's entries could not be read in full, and why; '' where all could."""
    found = wiring.calendar_polling().left_out(account)
    return f"{found.count}: {'; '.join(found.reasons)}" if found.count else ""


def _view(account: int) -> AccountView:
    for view in wiring.calendar_accounts().list_accounts():
        if view.id == account:
            return view
    raise InvalidInputError(f"there is no account {account}: see `calendar list`", field="account")


def _print_calendars(found: tuple[CalendarView, ...]) -> None:
    print_table(
        "Calendars",
        ("id", "name", "watched", "state"),
        [
            (c.id, c.name, "yes" if c.watched else "no", c.state if c.reason is None else f"{c.state}: {c.reason}")
            for c in found
        ],
        empty="The account has no calendars.",
    )


def _password() -> str:
    """Never from the command line, which every user of the machine can read."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return given
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    return getpass.getpass("App password: ")


def _hours(text: str | None, field: str, example: str) -> tuple[str, str] | tuple[None, None]:
    """Begin and end of what was given as `example` is; empty ones for `off`."""
    if text is None:
        return None, None
    if text.strip().lower() == "off":
        return "", ""
    begins, dash, ends = text.partition("-")
    if not (dash and begins.strip() and ends.strip()):
        raise InvalidInputError(f"{text!r} are no hours: write {example}, or off", field=field)
    return begins, ends


def _numbers(text: str, field: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InvalidInputError(f"{text!r} is no list of numbers, for example 10 or 15,5", field=field) from None
