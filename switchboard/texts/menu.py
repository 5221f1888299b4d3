"""The menu of commands, the help, and what is said to a line, button or form that leads nowhere."""

from __future__ import annotations

from switchboard.domain.commands import MAX_RANGE_DAYS, Command
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape

TRIGGER = "/yandex-calendar"
APP_PASSWORD_PAGES = {
    "Yandex": "https://id.yandex.ru/security/app-passwords",
    "iCloud": "https://support.apple.com/102654",
    "Fastmail": "https://www.fastmail.help/hc/en-us/articles/360058752854",
}


def command_label(command: Command, texts: Texts) -> str:
    """What stands on a command's button."""
    labels = {
        Command.CONNECT: texts.gettext("Connect"),
        Command.UPDATE: texts.gettext("Change the connection"),
        Command.DISCONNECT: texts.gettext("Disconnect"),
        Command.PROFILE: texts.gettext("Profile"),
        Command.TODAY: texts.gettext("Today"),
        Command.CURRENT: texts.gettext("A day"),
        Command.FROM_TO: texts.gettext("From … to …"),
        Command.WEEK: texts.gettext("A week"),
        Command.MONTH: texts.gettext("A month"),
        Command.REFRESH: texts.gettext("Refresh"),
        Command.CREATE: texts.gettext("Switch on"),
        Command.CHANGE: texts.gettext("Change notifications"),
        Command.DELETE: texts.gettext("Switch off"),
        Command.CHECK_ACCOUNT: texts.gettext("Check the account"),
        Command.CHECK_SCHEDULER: texts.gettext("Check what is planned"),
        Command.INFO: texts.gettext("Help"),
    }
    return labels[command]


def command_description(command: Command, texts: Texts) -> str:
    """What a command does, for the help."""
    descriptions = {
        Command.CONNECT: texts.gettext("connect a calendar"),
        Command.UPDATE: texts.gettext("another password, login, server or time zone"),
        Command.DISCONNECT: texts.gettext("end a connection and delete what is stored of it"),
        Command.PROFILE: texts.gettext("your accounts, calendars, time zone and language"),
        Command.TODAY: texts.gettext("today's meetings"),
        Command.CURRENT: texts.gettext("the meetings of a day"),
        Command.FROM_TO: texts.gettext("the meetings of several days"),
        Command.WEEK: texts.gettext("the meetings of today and the next six days"),
        Command.MONTH: texts.gettext("the meetings of the coming month"),
        Command.REFRESH: texts.gettext("ask the calendar server now"),
        Command.CREATE: texts.gettext("switch notifications on"),
        Command.CHANGE: texts.gettext("choose calendars, times, notifications and language"),
        Command.DELETE: texts.gettext("switch notifications off"),
        Command.CHECK_ACCOUNT: texts.gettext("whether the server accepts us, and the last poll"),
        Command.CHECK_SCHEDULER: texts.gettext("what will be sent, when next, and what is paused"),
        Command.INFO: texts.gettext("this help"),
    }
    return descriptions[command]


def group_title(group: str, texts: Texts) -> str:
    """The line over a group's buttons."""
    titles = {
        "connections": texts.gettext("**Connection** to your calendar"),
        "calendars": texts.gettext("**Meetings**"),
        "notifications": texts.gettext("**Notifications**: agenda and reminders"),
        "checks": texts.gettext("**Checks**"),
        "info": texts.gettext("**Help**"),
    }
    return titles[group]


def menu_text(unknown: str, texts: Texts) -> str:
    """Over the menu; `unknown` is what was typed and not understood, or empty."""
    if unknown:
        word = escape(unknown, 80)
        return texts.gettext("There is no command “{word}”. Choose one:", word=word)
    return texts.gettext("What shall it be?")


def info_text(texts: Texts) -> str:
    """All commands and where an app password is made."""
    lines = [
        texts.gettext("### Your calendar in Mattermost"),
        texts.gettext(
            "Switchboard reads your calendar over CalDAV, sends the day's agenda, reminds you before meetings, "
            "tells what changed and can show “In a meeting” beside your name."
        ),
        "",
        *(f"- `{TRIGGER} {command.value}` – {command_description(command, texts)}" for command in Command),
        "",
        texts.gettext("Dates are written dd.mm.yyyy: `{example}`", example=f"{TRIGGER} calendars current 21.11.2026"),
        app_password_text(texts),
    ]
    return "\n".join(lines)


def app_password_text(texts: Texts) -> str:
    """Where an app password is made."""
    pages = ", ".join(f"[{name}]({url})" for name, url in APP_PASSWORD_PAGES.items())
    return texts.gettext(
        "The password is an **app password for calendars**, not the one you sign in with; your provider makes it: {pages}. "
        "In Yandex: Security → App passwords → Calendar CalDAV. "
        "In Nextcloud: Settings → Security. Google accepts no app passwords.",
        pages=pages,
    )


def connect_first_text(texts: Texts) -> str:
    """Nothing can be shown without a calendar."""
    return texts.gettext("No calendar is connected yet. Connect one first.")


def bad_day_text(text: str, texts: Texts) -> str:
    """What was typed is no date."""
    shown = escape(text, 40)
    return texts.gettext("“{text}” is no date. Write it dd.mm.yyyy, for example 21.11.2026.", text=shown)


def reversed_range_text(texts: Texts) -> str:
    """The dates are in the wrong order."""
    return texts.gettext("The last day is before the first. Write the earlier date first.")


def too_long_range_text(texts: Texts) -> str:
    """Too many days at once."""
    return texts.ngettext("At most {count} day at once.", "At most {count} days at once.", MAX_RANGE_DAYS)


def day_count_text(expected: int, texts: Texts) -> str:
    """More or fewer dates than the command takes."""
    return texts.ngettext(
        "This command takes {count} date, dd.mm.yyyy.", "This command takes {count} dates, dd.mm.yyyy.", expected
    )


def working_text(texts: Texts) -> str:
    """The answer will come later."""
    return texts.gettext("Working on it: asking the calendar server …")


def expired_text(texts: Texts) -> str:
    """A button or form is older than it may be."""
    return texts.gettext("This button or form is too old. Type the command again.")


def foreign_text(texts: Texts) -> str:
    """Somebody else's button."""
    return texts.gettext("This button belongs to somebody else. Type the command yourself.")


def form_not_opened_text(texts: Texts) -> str:
    """Mattermost did not take the dialog in time."""
    return texts.gettext("The form could not be opened. Try again in a moment.")


def try_again_text(texts: Texts) -> str:
    """A passing fault of ours or of a server."""
    return texts.gettext("This did not work just now. Try again in a moment.")


def page_labels(texts: Texts) -> tuple[str, str]:
    """Previous and next."""
    return texts.gettext("← Earlier"), texts.gettext("Later →")


def day_form_texts(texts: Texts) -> dict[str, str]:
    """Of the forms that ask for days. Mattermost cuts titles and labels at 24 bytes."""
    return {
        "day": texts.gettext("Day"),
        "period": texts.gettext("Period"),
        "first": texts.gettext("First day"),
        "last": texts.gettext("Last day"),
        "day_introduction": texts.gettext("Which day's meetings shall be shown?"),
        "period_introduction": texts.ngettext(
            "At most {count} day at once.", "At most {count} days at once.", MAX_RANGE_DAYS
        ),
        "submit": texts.gettext("Show"),
    }
