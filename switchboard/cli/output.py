"""How commands speak: tables, progress bars, errors in words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PIPED_WIDTH = 160
console = Console(width=None if sys.stdout.isatty() else PIPED_WIDTH)
errors = Console(stderr=True)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str) -> None:
    """A table, or the sentence `empty` where there are no rows. A cell that shall have a colour is a `Text`."""
    if not rows:
        say(empty)
        return
    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def say(text: str) -> None:
    """A sentence as it is: what people and servers wrote into it has no power over its looks."""
    console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)


def complain(text: str) -> None:
    """The same on standard error, in red."""
    errors.print(text, style="red", markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_json(value: object) -> None:
    """One line of JSON, for programs."""
    say(json.dumps(value, ensure_ascii=False, default=str))


@contextmanager
def progress_bar(what: str) -> Iterator[ProgressCallback]:
    """A bar on standard error for work that reports (done, of)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield ProgressCallback(progress, task)


class ProgressCallback:
    """Call it with (done, of)."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def __call__(self, done: int, total: int) -> None:
        self._progress.update(self._task, completed=done, total=total)


def _cell(value: object) -> Text:
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("-")
    if isinstance(value, datetime):
        return Text(value.astimezone().strftime("%Y-%m-%d %H:%M:%S"))
    return Text("".join(character for character in str(value) if character.isprintable()))
