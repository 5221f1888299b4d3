"""The command line in the process of the test: what its settings are, what it is given to read, what it says."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog

from switchboard import wiring
from switchboard.cli.main import main
from switchboard.settings import environment_names


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def told(self) -> str:
        return self.out + self.err


class Typist:
    """A standard input whose next line is made when it is asked for."""

    def __init__(self, *lines: str | Callable[[], str]) -> None:
        self._lines = list(lines)

    def isatty(self) -> bool:
        return False

    def readline(self) -> str:
        line = self._lines.pop(0)
        return f"{line if isinstance(line, str) else line()}\n"


class CommandLine:
    """Runs commands in this process, each with services of its own, as a new process would have them.

    Whatever they say, it holds no `password`, which commands that want one find in CALENDAR_PASSWORD.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], password: str) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.password = password

    def __call__(
        self, *arguments: str, password: str | None = None, lines: tuple[str | Callable[[], str], ...] | None = None
    ) -> Result:
        """`lines` are typed, or made by a function, when they are asked for; None: the input is pytest's."""
        self._monkeypatch.setenv("CALENDAR_PASSWORD", self.password if password is None else password)
        self._monkeypatch.setattr(sys, "argv", ["switchboard", *arguments])
        if lines is not None:
            self._monkeypatch.setattr(sys, "stdin", Typist(*lines))
        forget_services()
        self._capsys.readouterr()
        status = 0
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            forget_services()
        captured = self._capsys.readouterr()
        result = Result(status, captured.out, captured.err)
        assert "Traceback" not in result.told
        assert self.password not in result.told
        return result


def forget_services() -> None:
    if wiring.database.cache_info().currsize:
        wiring.database().dispose()
    if wiring.redis_client.cache_info().currsize:
        wiring.redis_client().close()
    for built in vars(wiring).values():
        if hasattr(built, "cache_clear"):
            built.cache_clear()


@contextmanager
def only_these_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, settings: Mapping[str, str]) -> Iterator[None]:
    """In `folder`, with none but these settings; afterwards logs go where they went before."""
    for name in environment_names():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(folder)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
