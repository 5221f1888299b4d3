"""What a person at the terminal sees of a run: one table, and warnings beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from switchboard.processes.log_files import warning_in
from switchboard.processes.supervisor import Child, State

COLOURS = ("cyan", "magenta", "green", "blue", "yellow", "bright_cyan", "bright_magenta", "bright_green", "bright_blue")
STATE_STYLE = {State.RUNNING: "green", State.BACKOFF: "bold red", State.STARTING: "yellow"}


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
        """Narrow enough for 80 columns, and low enough for 24 lines; steps that are done are left out."""
        hints = [f"{child.spec.name}: {child.spec.hint}" for child in children if child.spec.hint]
        caption = [f"Logs in {self._data_dir / 'logs'}. Ctrl-C stops everything."]
        if hints and self._console.is_terminal:
            caption.insert(0, "Log in with  " + "  ".join(hints))
        table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=Text("\n".join(caption)), caption_justify="left")
        for heading in ("what", "where", "state"):
            table.add_column(heading, no_wrap=True)
        table.add_column("for")
        for child in children:
            if child.state is State.DONE:
                continue
            state = child.state.value
            if child.restarts and child.state is State.RUNNING:
                state = f"restarted {child.restarts}x"
            style = STATE_STYLE.get(child.state, "")
            table.add_row(child.spec.name, child.spec.url, Text(state, style=style), child.spec.purpose)
        return table
