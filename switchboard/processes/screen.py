"""What a person at the terminal sees of a run: one table, and warnings beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from switchboard.processes.log_files import warning_in
from switchboard.processes.supervisor import Child, State

COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")
STATE_STYLE = {State.RUNNING: "green", State.BACKOFF: "bold red", State.STARTING: "yellow", State.DONE: "dim"}


class Screen:
    """A table that follows the states on a terminal; elsewhere it is printed once, when everything runs.

    Credentials appear on a terminal only. `quiet` shows warnings and errors of the children alone, else every line they write.
    """

    def __init__(self, console: Console, data_dir: Path, *, quiet: bool) -> None:
        self._console = console
        self._data_dir = data_dir
        self._quiet = quiet
        self._live: Live | None = None
        self._printed = False

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def changed(self, children: Sequence[Child]) -> None:
        if self._live is not None:
            self._live.update(self._table(children), refresh=True)
        elif not self._printed and all(child.state in (State.RUNNING, State.DONE) for child in children):
            self._printed = True
            self._console.print(self._table(children))

    def said(self, child: Child, line: str) -> None:
        shown = line
        if self._quiet:
            shown = (warning_in(line) if child.spec.show_warnings else None) or ""
        if shown:
            colour = COLOURS[sum(child.spec.name.encode()) % len(COLOURS)]
            self._console.print(Text(f"{child.spec.name:>9} | ", style=colour) + Text(shown), soft_wrap=True)

    def note(self, text: str) -> None:
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    def _table(self, children: Sequence[Child]) -> Table:
        table = Table(
            title="Switchboard",
            title_justify="left",
            caption=f"Logs: {self._data_dir / 'logs'}   Stop: Ctrl-C",
            caption_justify="left",
        )
        for heading in ("what", "where", "for", "state"):
            table.add_column(heading, overflow="fold")
        if self._console.is_terminal:
            table.add_column("log in with", overflow="fold")
        for child in children:
            state = child.state.value + (f" (started again {child.restarts}x)" if child.restarts else "")
            row: list[RenderableType] = [
                child.spec.name,
                child.spec.url,
                child.spec.purpose,
                Text(state, style=STATE_STYLE.get(child.state, "")),
            ]
            if self._console.is_terminal:
                row.append(child.spec.hint)
            table.add_row(*row)
        return table
