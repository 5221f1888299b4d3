"""Commands for Telegram accounts. The process `telegram` does what they ask for; it looks for that every two seconds."""

from __future__ import annotations

import getpass
import os
import sys
from dataclasses import asdict
from typing import Annotated

import typer

from switchboard import wiring
from switchboard.cli.output import complain, console, print_json, print_table, say
from switchboard.db.types import MOST_ID
from switchboard.domain.telegram import phones
from switchboard.domain.telegram.sessions import Application
from switchboard.domain.telegram.states import AccountState, Origin, Reason
from switchboard.errors import ConfigError, ConflictError, InvalidInputError, RateLimitedError
from switchboard.services.telegram.accounts import AccountView, SignInView
from switchboard.services.telegram.waits import strangers_limit

app = typer.Typer(help="Telegram accounts and their sign-in.", no_args_is_help=True)

ACTOR = "cli"
WAIT_S = 30.0
API_HASH_VARIABLE, TOKEN_VARIABLE = "TELEGRAM_ACCOUNT_API_HASH", "TELEGRAM_ACCOUNT_TOKEN"
WAYS = {
    "app": "in a message of Telegram itself, on another device",
    "sms": "by SMS",
    "call": "by a call that says it",
    "flash_call": "as the number of a call",
    "missed_call": "as the last digits of a calling number",
    "email": "by e-mail",
    "fragment": "to fragment.com",
}

Account = Annotated[int, typer.Argument(min=1, max=MOST_ID, help="The account's number, as `telegram list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one line.")]
ApiId = Annotated[
    int | None,
    typer.Option(help="Of my.telegram.org, its hash is asked for; else TELEGRAM_API_ID and TELEGRAM_API_HASH."),
]


@app.command("list")
def list_accounts(*, as_json: AsJson = False) -> None:
    """List the accounts with their state and its reason, and who holds them."""
    accounts = wiring.telegram_accounts().list_accounts()
    if as_json:
        print_json([asdict(account) for account in accounts])
        return
    print_table(
        "Telegram accounts",
        ("id", "kind", "number or name", "Telegram id", "state", "since", "why", "defined by"),
        [
            (
                a.id,
                a.kind,
                _name(a),
                a.own_id,
                a.state,
                a.since,
                " ".join([*([a.reason_text] if a.reason_text else []), *(wait.text for wait in a.waits)]) or None,
                "variables" if a.origin == "env" else "us",
            )
            for a in accounts
        ],
        empty="No account yet: `python -m switchboard telegram add +79161234567`.",
    )
    facts = wiring.telegram_status().facts()
    say(
        f"{len(facts.gateways)} gateways, {facts.shards_held} of {facts.shards} shards held."
        if facts.gateways
        else "No gateway runs: start the process `telegram`."
    )


@app.command()
def show(account: Account, *, as_json: AsJson = False) -> None:
    """Show an account, and what Telegram lets it wait for."""
    view = wiring.telegram_accounts().get(account)
    if as_json:
        print_json(asdict(view))
        return
    _say(view)
    print_table(
        "Waits",
        ("what", "since", "until", "why"),
        [(wait.method, wait.since, wait.until, wait.text) for wait in view.waits],
        empty="Telegram lets it wait for nothing.",
    )
    if strangers_limit(view.waits) is not None:
        say(
            f"Write to @SpamBot from it; once the limit is lifted: `python -m switchboard telegram allow-strangers {account}`."
        )


@app.command("allow-strangers")
def allow_strangers(account: Account) -> None:
    """Write to strangers again, after Telegram lifted its limit: ask @SpamBot from the account first."""
    wiring.telegram_accounts().allow_strangers(account, actor=ACTOR)
    say(f"Account {account} writes to strangers again; what waited for that goes out slowly.")


@app.command()
def add(
    phone: Annotated[str, typer.Argument(help="The number with its country code; empty for a bot.")] = "",
    *,
    bot: Annotated[bool, typer.Option("--bot", help="Add a bot: its token is asked for.")] = False,
    api_id: ApiId = None,
) -> None:
    """Add a number, to be signed in with `telegram sign-in`, or a bot."""
    api_hash = None if api_id is None else _secret("api_hash", API_HASH_VARIABLE)
    accounts = wiring.telegram_accounts()
    if bot:
        account = accounts.add_bot(_secret("Bot token", TOKEN_VARIABLE), api_id=api_id, api_hash=api_hash, actor=ACTOR)
        _say(_wait_settled(account.id))
        return
    account = accounts.add_user(phone, api_id=api_id, api_hash=api_hash, actor=ACTOR)
    say(f"Account {account.id} is added; sign it in: `python -m switchboard telegram sign-in {account.id}`.")


@app.command("sign-in")
def sign_in(
    account: Account,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Throw away a sign-in under way.")] = False,
) -> None:
    """Sign a number in: the code and, where it has one, the password are asked for. Needs the process `telegram`."""
    if cancel:
        _step(account, wiring.telegram_sign_ins().cancel(account, actor=ACTOR))
        say("The sign-in is cancelled.")
        return
    view = wiring.telegram_accounts().get(account)
    if view.state not in (AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED):
        view = _step(account, wiring.telegram_sign_ins().request_code(account, actor=ACTOR))
        _refuse(view)
    while view.state == AccountState.CODE_SENT:
        view = _ask_code(account, view)
    while view.state == AccountState.PASSWORD_NEEDED:
        hint = view.sign_in.hint if view.sign_in is not None else None
        given = _ask(f"Password (hint: {hint}): " if hint else "Password: ", hidden=True)
        view = _step(account, wiring.telegram_sign_ins().submit_password(account, given, actor=ACTOR))
        _say_problem(view)
    _refuse(view)
    _say(_wait_settled(account))


@app.command()
def start(
    account: Annotated[
        int | None, typer.Argument(min=1, max=MOST_ID, help="The account's number; none with --restored.")
    ] = None,
    *,
    restored: Annotated[bool, typer.Option("--restored", help="Every account that a restore stopped.")] = False,
) -> None:
    """Let the gateway open the account's connection."""
    accounts = wiring.telegram_accounts()
    if (account is None) != restored:
        raise InvalidInputError("give either the number of an account or --restored", field="account")
    stopped = [view.id for view in accounts.list_accounts() if view.reason == Reason.RESTORED]
    for each in stopped if account is None else [account]:
        accounts.start(each, actor=ACTOR)
        _say(_wait_settled(each))


@app.command()
def restored(
    *,
    yes: Annotated[bool, typer.Option(help="Do not ask.")] = False,
) -> None:
    """Say that this database is a restored copy: every account is stopped, so that no session is open twice."""
    if not yes:
        typer.confirm("Stop every Telegram account of this database?", abort=True)
    count = len(wiring.telegram_restores().stop_all(actor=ACTOR))
    say(
        f"{count} accounts are stopped. When the deployment that this database was copied from holds none of them any more: "
        "`python -m switchboard telegram start --restored`, or `telegram start ID` one by one."
    )


@app.command()
def stop(
    account: Annotated[
        int | None, typer.Argument(min=1, max=MOST_ID, help="The account's number; none with --all.")
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every account but those that variables define.")] = False,
) -> None:
    """Let the gateway close an account, and nobody open it."""
    accounts = wiring.telegram_accounts()
    if (account is None) != every:
        raise InvalidInputError("give either the number of an account or --all", field="account")
    signing_in = (AccountState.CODE_SENT, AccountState.PASSWORD_NEEDED)  # nothing of them is open
    listed = accounts.list_accounts()
    ours = [view.id for view in listed if view.origin == Origin.DATABASE and view.state not in signing_in]
    for each in ours if account is None else [account]:
        accounts.stop(each, actor=ACTOR)
        with console.status("Waiting for the gateway ..."):
            view = accounts.wait(each, lambda view: view.state == AccountState.STOPPED, seconds=WAIT_S)
        if view is not None:
            _say(view)


@app.command()
def remove(
    account: Account,
    *,
    keep_session: Annotated[bool, typer.Option("--keep-session", help="Do not end its session at Telegram.")] = False,
    yes: Annotated[bool, typer.Option(help="Do not ask.")] = False,
) -> None:
    """Forget an account, and end its session at Telegram."""
    view = wiring.telegram_accounts().get(account)
    if not yes:
        typer.confirm(f"Remove account {account} ({_name(view)}) and all that is stored of it?", abort=True)
    gone = wiring.telegram_accounts().remove(account, log_out=not keep_session, actor=ACTOR)
    if not gone:
        with console.status("Waiting for the gateway ..."):
            gone = wiring.telegram_accounts().wait(account, lambda _view: False, seconds=WAIT_S) is None
    say(f"Account {account} is removed." if gone else "The gateway removes it as soon as it can.")


@app.command("import")
def import_file(
    file: Annotated[str, typer.Argument(help="The bare name of a .session file in DATA_DIR/telegram-import.")],
    *,
    api_id: ApiId = None,
) -> None:
    """Take over the session of a Telethon file. It is only read; no other program may use it any more."""
    api_hash = None if api_id is None else _secret("api_hash", API_HASH_VARIABLE)
    account = wiring.telegram_accounts().import_file(file, api_id=api_id, api_hash=api_hash, actor=ACTOR)
    say(f"Account {account.id} has the session. Delete the file now: whoever has it has the account.")
    _say(_wait_settled(account.id))


@app.command("auth-key")
def auth_key(
    phone: Annotated[str, typer.Argument(help="The number with its country code.")],
) -> None:
    """Sign in here and print a session string for TELEGRAM_STRING_SESSION: it is as good as the account's password."""
    application = wiring.telegram_application() or _ask_application()
    made = wiring.make_telegram_auth_key(
        phones.normalise(phone),
        application,
        ask_code=lambda way: _ask(f"Code, sent {WAYS.get(way, way)}: "),
        ask_password=lambda hint: _ask(f"Password (hint: {hint}): " if hint else "Password: ", hidden=True),
        tell=complain,
    )
    console.file.flush()
    sys.stderr.write(f"Signed in as {made.name}. Keep this line secret:\n")
    print(f"TELEGRAM_STRING_SESSION={made.session}")


def _ask_code(account: int, view: AccountView) -> AccountView:
    found = view.sign_in
    way = WAYS.get(found.sent_by or "", "by Telegram") if found is not None else "by Telegram"
    until = f" We wait for it until {found.expires_at.astimezone():%H:%M}." if found and found.expires_at else ""
    say(f"The code was sent {way}.{until}")
    given = _ask(f"Code{_other_way(found)}: ")
    sign_ins = wiring.telegram_sign_ins()
    if given or found is None or found.resend_at is None:
        view = _step(account, sign_ins.submit_code(account, given, actor=ACTOR))
    else:
        try:
            number = sign_ins.resend(account, actor=ACTOR)
        except RateLimitedError as error:
            say(f"Not yet: {error}.")
            return view
        view = _step(account, number)
    _say_problem(view)
    return view


def _other_way(found: SignInView | None) -> str:
    """What an empty answer does, and from when on."""
    if found is None or found.resend_at is None:
        return ""
    when = f" from {found.resend_at.astimezone():%H:%M:%S} on" if found.resend_at > wiring.utc_now() else ""
    return f" (empty: send it another way{when})"


def _step(account: int, number: int) -> AccountView:
    with console.status("Waiting for the gateway ..."):
        view = wiring.telegram_sign_ins().wait(account, number, seconds=WAIT_S)
    if view is None:
        raise ConflictError("no gateway has answered: start the process `telegram`, then look at `telegram list`")
    return view


def _refuse(view: AccountView) -> None:
    """ConflictError with Telegram's answer where a sign-in ended without a session."""
    if view.sign_in is not None and view.sign_in.problem is not None:
        raise ConflictError(view.sign_in.problem_text or view.sign_in.problem)


def _say_problem(view: AccountView) -> None:
    if view.sign_in is not None and view.sign_in.problem_text and view.sign_in.step != "ended":
        say(view.sign_in.problem_text)


def _wait_settled(account: int) -> AccountView:
    def settled(view: AccountView) -> bool:
        waiting = (Reason.STARTING, Reason.NO_GATEWAY, Reason.MOVING)
        return view.state != AccountState.OFFLINE or view.reason not in waiting

    with console.status("Waiting for the gateway ..."):
        view = wiring.telegram_accounts().wait(account, settled, seconds=WAIT_S)
    return view or wiring.telegram_accounts().get(account)


def _say(view: AccountView) -> None:
    say(f"Account {view.id} ({_name(view)}) is {view.state}.{f' {view.reason_text}' if view.reason_text else ''}")


def _name(view: AccountView) -> str:
    """As an operator knows it."""
    return " ".join(part for part in (view.phone, view.own_name, view.own_username and f"@{view.own_username}") if part)


def _ask_application() -> Application:
    given = _ask("api_id (of my.telegram.org): ")
    if not given.isdigit():
        raise ConfigError("api_id is a number: set TELEGRAM_API_ID and TELEGRAM_API_HASH, or write it here")
    return Application(int(given), _secret("api_hash", API_HASH_VARIABLE))


def _secret(what: str, variable: str) -> str:
    """Never from the command line, which every user of the machine can read."""
    return os.environ.get(variable) or _ask(f"{what}: ", hidden=True)


def _ask(prompt: str, *, hidden: bool = False) -> str:
    """A line from the terminal, unseen where it is secret, or from a pipe."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise InvalidInputError(f"the input has ended, and this was to be read from it: {prompt}", field="input")
        return line.strip()
    return (getpass.getpass(prompt) if hidden else input(prompt)).strip()
