"""Menus of commands as buttons: every command can be clicked as well as typed."""

from __future__ import annotations

from switchboard.domain.commands import GROUPS, Command, CommandLine
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Step
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import menu as words
from switchboard.texts.locales import Texts


def command_choice(command: Command, texts: Texts, *, style: str = "default") -> Choice:
    """A button that does what typing the command does."""
    return Choice(words.command_label(command, texts), Step.COMMAND, {"line": command.value}, style)


def menu(line: CommandLine, texts: Texts) -> Answer:
    """The menu of the line's group, or of all."""
    groups = [line.group] if line.group else GROUPS
    rows = []
    for group in groups:
        choices = tuple(command_choice(one, texts) for one in Command if one.group == group)
        rows.append(ButtonRow(choices, words.group_title(group, texts)))
    return Answer(words.menu_text(line.unknown, texts), tuple(rows))


def info(texts: Texts) -> Answer:
    """The help."""
    choices = tuple(command_choice(one, texts) for one in (Command.CONNECT, Command.TODAY))
    return Answer(words.info_text(texts), (ButtonRow(choices),))


def connect_first(speaker: Speaker) -> Answer:
    """What everything answers that needs a calendar, while there is none."""
    choice = command_choice(Command.CONNECT, speaker.texts, style="primary")
    return Answer(words.connect_first_text(speaker.texts), (ButtonRow((choice,)),))
