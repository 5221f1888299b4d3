"""Writes docs/reference/ and .env.example from the code: `python -m docs.generate`; `--check` says which are out of date.

The pages hold nothing that the code does not say; a test runs the check.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from sqlalchemy import UniqueConstraint, make_url
from sqlalchemy.orm import Mapper

from api import create_app
from beat_schedule import SCHEDULE
from routes.documentation import assemble
from routes.services import Services
from switchboard import __version__, errors
from switchboard.cli.main import app as command_line
from switchboard.db.models import Base
from switchboard.queues import GATEWAY_QUEUES, PROCESS_QUEUES
from switchboard.settings import Settings
from tasks.app import TASK_MODULES, VISIBILITY_TIMEOUT_S, route
from tasks.app import app as celery_app

ROOT = Path(__file__).parents[1]
POSTGRESQL = make_url("postgresql+psycopg://").get_dialect()()
NOTE = "<!-- Written by `python -m docs.generate` from the code; change it there. -->\n"
OTHER_VARIABLES = (
    ("CALENDAR_PASSWORD", "the app password for `calendar connect` and `calendar password`, instead of typing it"),
    ("TELEGRAM_ACCOUNT_API_HASH", "the api_hash for `telegram add` and `telegram import` with `--api-id`"),
    ("TELEGRAM_ACCOUNT_TOKEN", "the token for `telegram add --bot`, instead of typing it"),
    ("SANDBOX_SAMPLES", "`empty`: the sandbox starts with empty calendars and connects nobody"),
    (
        "DYNO",
        "set by Heroku-style hosts: `run` then refuses the embedded database and Valkey, and Flower listens at PORT",
    ),
    ("SSL_CERT_FILE", "authorities to trust, for a Mattermost server with a certificate of its own"),
    ("SWITCHBOARD_SPECS", "folder of vendors' specifications against which tests hold the twins; without it they skip"),
)
ANSWERS = (
    (
        "TransientError",
        "tried again with backoff, not before `retry_after_s`; then left to its row",
        "503, Retry-After",
    ),
    ("UncertainError", "ends; the ledger looks at the remote before any repeat", "500"),
    ("InvalidInputError", "ends", "422 with the field"),
    ("NotFoundError", "ends", "404"),
    ("ConflictError", "ends", "409"),
    ("AuthError", "ends; the service has marked the row", "502"),
    ("every other PermanentError", "ends; the service has marked the row", "500"),
)

EXAMPLE_INTRO = """# Copy to .env and change what you need; what stays commented out has the value shown here.
# Written by `python -m docs.generate` from switchboard/settings.py; the test suite compares the two.
"""
SETTINGS_INTRO = """# Settings

Environment variables, or lines of a `.env` file in the working folder; the environment wins. All problems are reported at
once at the start. An empty value counts as not set. `.env.example` lists the same names.

"""
COMMANDS_INTRO = """# Commands

Each is `python -m switchboard ...`, with the Python of `.venv`; `--help` says the same.
"""
HTTP_INTRO = """# HTTP

The whole description, with the shapes of the answers, is served at `/openapi.json`; `/docs` is the same as a page.

Errors are problem documents (RFC 9457, `application/problem+json`); `instance` is the request id, which the answer's
`X-Request-Id` and the log lines carry too. Bodies are limited by `MAX_BODY_BYTES` and `BODY_READ_SECONDS`: 413, 408, or 411
for a transfer coding other than chunked. Every address can answer 500; the log then holds the cause under the request id.
"""
TASKS_INTRO = """# Tasks

The soft limit is the deadline that holds in code, on every queue. The hard limit is enforced on the queue `{prefork}` alone,
where tasks run in a process of their own. A message whose worker died is delivered again {visibility_s} s after it was taken;
rows in the database bring the work back sooner. "One at a time": the run is skipped while another is under way.

"""
DATABASE_INTRO = """# Database

The same tables on SQLite and PostgreSQL; types are PostgreSQL's. Times are UTC. Columns marked *sealed* hold ciphertext.
[delivery-ledger.md](../explanation/delivery-ledger.md) has the states of `deliveries`.
"""
ERRORS_INTRO = """# Errors

The class of an error says what its caller does next (`switchboard/errors.py`). Clients translate what their library raises;
services add classes of their own below these.

"""


def settings_page() -> str:
    rows = []
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = [str(choice) for choice in getattr(alias, "choices", (name.upper(),))]
        default = _default(field)
        shown = f"`{default}`" if default else ""
        kind = "secret" if "SecretStr" in repr(field.annotation) else ""
        rows.append((" or ".join(f"`{each}`" for each in names), shown, kind, _meaning(name, field)))
    return (
        SETTINGS_INTRO
        + _table(("name", "default", "", "meaning"), rows)
        + "\n## Variables that are no settings\n\n"
        + _table(("name", "meaning"), [(f"`{name}`", text) for name, text in OTHER_VARIABLES])
    )


def example() -> str:
    parts = [EXAMPLE_INTRO]
    for name, field in Settings.model_fields.items():
        first, *others = getattr(field.validation_alias, "choices", (name.upper(),))
        parts.append(f"\n# {_meaning(name, field)}\n# {first}={_default(field)}\n")
        parts.extend(f"# another name of {first}\n# {other}=\n" for other in others)
    return "".join(parts)


def _default(field: FieldInfo) -> str:
    """As it is written in the environment; empty where nothing is set."""
    value = field.default
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _meaning(name: str, field: FieldInfo) -> str:
    text = field.description or name
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return f"{text} ({', '.join(choices)})" if choices else text


def commands_page() -> str:
    parts = [COMMANDS_INTRO]
    for words, command in commands():
        if getattr(command, "commands", None) is not None:
            continue
        arguments = [each for each in command.params if each.param_type_name == "argument"]
        options = [each for each in command.params if each.param_type_name == "option"]
        usage = [each.name.upper() if each.required else f"[{each.name.upper()}]" for each in arguments]
        parts.append(f"\n## `{' '.join((*words, *usage))}`\n\n{_words(command.help)}\n")
        rows = [(f"`{each.name.upper()}`", _words(each.help)) for each in arguments]
        rows += [(f"`{'`, `'.join((*each.opts, *each.secondary_opts))}`", _with_default(each)) for each in options]
        if rows:
            parts.append("\n" + _table(("", ""), rows))
    return "".join(parts)


def commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every group and command of `python -m switchboard` by its words."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if words:
            yield words, command
        for name, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, (*words, name))

    return walk(typer.main.get_command(command_line), ())


def http_page() -> str:
    def queue(_task: str, /, **_arguments: object) -> str:
        raise AssertionError("no route is called here")

    document = assemble(create_app(Settings(), cast("Services", object()), queue), version=__version__)
    parts = [HTTP_INTRO]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts.append(f"\n## `{method.upper()} {path}`\n\n{operation['summary']}.\n")
            if "security" in operation:
                local = " or a request from this machine" if path == "/metrics" else ""
                parts.append(f"Needs `Authorization: Bearer ADMIN_TOKEN`{local}.\n")
            rows = [
                (f"`{each['name']}`", each["in"], each.get("description", ""))
                for each in operation.get("parameters", ())
            ]
            rows += _body_rows(operation, document)
            if rows:
                parts.append("\n" + _table(("parameter", "in", "meaning"), rows))
            answers = ", ".join(status for status in sorted(operation["responses"]) if status != "500")
            parts.append(f"\nAnswers {answers}.\n")
    return "".join(parts)


def _body_rows(operation: Mapping[str, Any], document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The fields of an operation's JSON body."""
    if "requestBody" not in operation:
        return []
    name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = document["components"]["schemas"][name]["properties"]
    return [(f"`{field}`", "body", facts.get("description", "")) for field, facts in fields.items()]


def tasks_page() -> str:
    for module in TASK_MODULES:
        __import__(module)
    celery_app.finalize()
    beats = {str(entry["task"]): entry for entry in SCHEDULE.values()}
    rows = []
    for name, task in sorted(celery_app.tasks.items()):
        if task.run.__module__ not in TASK_MODULES:
            continue
        queue = (route(name) or {})["queue"]
        arguments = ", ".join(inspect.signature(task.run).parameters)
        if queue in GATEWAY_QUEUES and "account_id" in arguments:
            queue = f"{queue}.SHARD"
        period, expires = _beat(beats.get(name, {}))
        limits = f"{task.soft_time_limit} / {task.time_limit} s"
        alone = "yes" if task.only_one else ""
        rows.append((f"`{name}`", queue, arguments, limits, alone, period, expires, _words(inspect.getdoc(task.run))))
    headings = ("task", "queue", "arguments", "soft / hard limit", "one at a time", "beat", "expires", "what it does")
    intro = TASKS_INTRO.format(prefork=", ".join(PROCESS_QUEUES), visibility_s=VISIBILITY_TIMEOUT_S)
    return intro + _table(headings, rows)


def _beat(entry: Mapping[str, str | int]) -> tuple[str, str]:
    """Period and expiry in words, empty for a task that the beat does not start."""
    if not entry:
        return "", ""
    period = f"every {entry['every_s']} s" if "every_s" in entry else f"daily at {entry['daily_at']} UTC"
    return period, f"{entry['expires_s']} s"


def database_page() -> str:
    mappers = sorted(Base.registry.mappers, key=lambda each: str(each.local_table))
    return DATABASE_INTRO + "".join(_table_section(mapper) for mapper in mappers)


def _table_section(mapper: Mapper[Any]) -> str:
    table = cast("Any", mapper.local_table)
    rows = []
    for column in table.columns:
        marks = ["key"] if column.primary_key else []
        marks += [f"-> {each.target_fullname}" for each in column.foreign_keys]
        marks += ["unique"] if column.unique else []
        marks += ["sealed"] if type(column.type).__name__ == "Sealed" else []
        nullable = "yes" if column.nullable else ""
        rows.append((f"`{column.name}`", str(column.type.compile(POSTGRESQL)).lower(), nullable, ", ".join(marks)))
    keys = sorted(
        ", ".join(column.name for column in each.columns)
        for each in table.constraints
        if isinstance(each, UniqueConstraint)
    )
    text = f"\n## `{table.name}`\n\n{_paragraphs(mapper.class_.__doc__)}\n\n" + _table(
        ("column", "type", "null", ""), rows
    )
    if keys := [each for each in keys if "," in each]:
        text += f"\nUnique together: {'; '.join(f'({each})' for each in keys)}.\n"
    return text


def errors_page() -> str:
    def tree(kind: type[Exception], depth: int) -> Iterator[str]:
        yield f"{'  ' * depth}- **{kind.__name__}**: {_words((kind.__doc__ or '').partition(chr(10) * 2)[0])}"
        for inner in kind.__subclasses__():
            if inner.__module__ == errors.__name__:
                yield from tree(inner, depth + 1)

    return (
        ERRORS_INTRO
        + "\n".join(tree(errors.SwitchboardError, 0))
        + "\n\n## What becomes of them\n\n"
        + _table(
            ("error", "in a task", "over HTTP"),
            [(f"`{name}`" if name.isidentifier() else name, *rest) for name, *rest in ANSWERS],
        )
        + "\nOn the command line each is one sentence and exit status 1.\n"
    )


def _with_default(option: Any) -> str:
    text = _words(option.help)
    shown = option.default not in (None, "", False) and not callable(option.default)
    return f"{text} Default: {option.default}." if shown else text


def _words(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip()


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(_words(part) for part in (text or "").split("\n\n"))


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


FILES: Mapping[str, Callable[[], str]] = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/commands.md": commands_page,
    "docs/reference/http.md": http_page,
    "docs/reference/tasks.md": tasks_page,
    "docs/reference/database.md": database_page,
    "docs/reference/errors.md": errors_page,
    ".env.example": example,
}


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status: 1 when `--check` finds a page that differs."""
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ.update(
            DATA_DIR=folder, REDIS_URL="redis://127.0.0.1:1/0", DATABASE_URL=""
        )  # read, never connected to
        for name, make in FILES.items():
            path, text = ROOT / name, make()
            if path.suffix == ".md":
                text = NOTE + text
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                differing.append(name)
                if "--check" not in arguments:
                    path.write_text(text, encoding="utf-8")
    if differing:
        sys.stdout.write(f"{'differ' if '--check' in arguments else 'written'}: {', '.join(differing)}\n")
    return int(bool(differing) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
