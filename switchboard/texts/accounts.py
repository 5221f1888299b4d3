"""Messages about the connection to a calendar: what happened and what the person can do."""

from __future__ import annotations

from switchboard.texts.locales import Texts
from switchboard.texts.markdown import Message, escape

MAX_LOGIN_CHARS = 120
MAX_CALENDAR_CHARS = 120


def account_paused_message(login: str, how_to_update: str, locale: str) -> Message:
    """The server refused the password several times: polling stopped, nothing is lost. `how_to_update` is a command to type."""
    texts = Texts.for_locale(locale)
    return Message(
        texts.gettext(
            "**Your calendar is paused.** The calendar server has repeatedly refused the login and password of {login}.\n"
            "Your settings and meetings are kept, but they are not updated. "
            "Make a new app password with your calendar provider and enter it: {command}",
            login=escape(login, MAX_LOGIN_CHARS),
            command=_command(how_to_update),
        )
    )


def calendar_lost_message(calendar: str, login: str, how_to_choose: str, locale: str) -> Message:
    """A watched calendar is gone or no longer shared with this account; the others go on."""
    texts = Texts.for_locale(locale)
    return Message(
        texts.gettext(
            "**The calendar {calendar} can no longer be read** with the account {login}: "
            "it was deleted or is no longer shared with you.\n"
            "Your other calendars go on as before. We keep trying; to choose calendars anew: {command}",
            calendar=escape(calendar, MAX_CALENDAR_CHARS),
            login=escape(login, MAX_LOGIN_CHARS),
            command=_command(how_to_choose),
        )
    )


def account_back_message(login: str, locale: str) -> Message:
    """The account works again after it was paused or lost."""
    texts = Texts.for_locale(locale)
    return Message(
        texts.gettext(
            "**Your calendar is back.** The account {login} works again; agendas and reminders go on.",
            login=escape(login, MAX_LOGIN_CHARS),
        )
    )


def _command(text: str) -> str:
    """A command as code; it is our own text, a backquote cannot be part of it."""
    return f"`{text.replace('`', '')}`"
