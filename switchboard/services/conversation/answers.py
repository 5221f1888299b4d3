"""What a conversation answers: texts, buttons, forms, and work that goes on after the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Step(StrEnum):
    """What a button or a form leads to; stands in its signed ticket."""

    COMMAND = "command"  # details: line
    PAGE = "page"  # details: first, last, page
    CONNECT = "connect"
    UPDATE = "update"  # details: account
    DISCONNECT = "disconnect"  # details: account
    NOTIFICATIONS = "notifications"
    DELETE = "delete"
    KEEP = "keep"
    DAY = "day"
    PERIOD = "period"
    ANSWER = "answer"  # details: delivery, meeting (its number there), answer (a Reply)
    SUBSCRIPTION = "subscription"  # details: recipient, word (of domain.organisations.words)
    SNOOZE = "snooze"  # details: delivery, choice (minutes from now, or 0 for the start)


class Later(StrEnum):
    """Work that needs the calendar server and is done after the answer."""

    REFRESH = "refresh"
    CHECK_ACCOUNT = "check_account"


@dataclass(frozen=True, slots=True)
class Choice:
    """A button; it lives until `until`, or as long as buttons of its kind do."""

    label: str
    step: Step
    details: Mapping[str, str] = field(default_factory=dict)
    style: str = "default"  # of Mattermost: default, primary, danger
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ButtonRow:
    """Buttons under a line of text."""

    choices: tuple[Choice, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """An element of a form. `kind` is text, select, bool or date; a `source` of "dynamic" looks its options up as one types.

    The default of several chosen values is comma-separated.
    """

    name: str
    label: str
    kind: str = "text"
    subtype: str = ""
    default: str = ""
    placeholder: str = ""
    help: str = ""
    optional: bool = False
    options: tuple[tuple[str, str], ...] = ()  # (text, value)
    multiple: bool = False
    dynamic: bool = False
    max_length: int = 256


@dataclass(frozen=True, slots=True)
class Form:
    """A dialog; what is entered comes back under `step` with `details`."""

    step: Step
    title: str
    introduction: str
    fields: tuple[Field, ...]
    submit_label: str
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to show; `form` is opened instead of a text.

    The accounts are to be polled or expanded after the answer, the answers to invitations written, and what was asked for shown
    in messages: `show` are pairs of delivery and post id.
    """

    text: str = ""
    rows: tuple[ButtonRow, ...] = ()
    form: Form | None = None
    later: Later | None = None
    poll: tuple[int, ...] = ()
    expand: tuple[int, ...] = ()
    write: tuple[int, ...] = ()
    show: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FormAnswer:
    """What a form got: errors (at fields, or one for all), and then it stays open; or an answer, and it closes."""

    answer: Answer | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
