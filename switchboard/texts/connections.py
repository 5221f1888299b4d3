"""Connecting, changing and ending a connection to a calendar; the profile; the check of an account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from urllib.parse import urlsplit

from babel import Locale

from switchboard.texts.listings import time_ago
from switchboard.texts.locales import LOCALES, Texts
from switchboard.texts.markdown import escape
from switchboard.texts.menu import app_password_text

MAX_CHARS = 120
MAX_DETAIL_CHARS = 300


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """An account to describe. `watched` and `unwatched` are names of calendars; `last_error` is English.

    `reason` says in the reader's language why a paused account rests.
    """

    login: str
    server_url: str
    paused: bool
    reason: str
    watched: tuple[str, ...]
    unwatched: tuple[str, ...]
    last_polled_at: datetime | None
    last_error: str


def connection_form_texts(texts: Texts) -> dict[str, str]:
    """Of the connect and update forms. Mattermost cuts titles and labels at 24 bytes, help at 150."""
    return {
        "connect_title": texts.gettext("Connect a calendar"),
        "update_title": texts.gettext("Change connection"),
        "server": texts.gettext("Server"),
        "server_help": texts.gettext("“yandex”, or the CalDAV address: https://…"),
        "login": texts.gettext("Login"),
        "password": texts.gettext("App password"),
        "keep_password": texts.gettext("Leave empty to keep the present one."),
        "zone": texts.gettext("Time zone"),
        "zone_help": texts.gettext("Type a city, for example Moscow."),
        "connect": texts.gettext("Connect"),
        "save": texts.gettext("Save"),
        "introduction": app_password_text(texts),
    }


def wrong_password_text(texts: Texts) -> str:
    """At the field of the password."""
    return texts.gettext("The server refuses this login and password. It must be an app password for calendars.")


def no_calendars_text(texts: Texts) -> str:
    """At the field of the login."""
    return texts.gettext("The login works, but it has no calendar for events.")


def not_caldav_text(texts: Texts) -> str:
    """At the field of the server."""
    return texts.gettext("This is no CalDAV server. Take the CalDAV address from your provider's help.")


def bad_server_text(texts: Texts) -> str:
    """At the field of the server: its address may not or cannot be used."""
    return texts.gettext("Write “yandex” or a public address that begins with https:// and exists.")


def google_text(texts: Texts) -> str:
    """At the field of the server."""
    return texts.gettext("Google takes no passwords over CalDAV, only its own sign-in; it cannot be connected.")


def unreachable_text(texts: Texts) -> str:
    """Over the form."""
    return texts.gettext("The calendar server did not answer in time. Nothing was changed; try again in a while.")


def busy_text(texts: Texts) -> str:
    """Over the form."""
    return texts.gettext("Many calendars are being connected just now. Try again in a minute.")


def server_busy_text(retry_after_s: float | None, texts: Texts) -> str:
    """Over the form, and of a poll on demand."""
    return texts.gettext(
        "The calendar server takes no more requests from us just now. Nothing was changed; try again in {minutes} min.",
        minutes=max(1, ceil((retry_after_s or 0) / 60)),
    )


def bad_zone_text(close: Sequence[str], texts: Texts) -> str:
    """At the field of the zone."""
    if close:
        return texts.gettext("There is no such time zone. Did you mean {names}?", names=", ".join(close))
    return texts.gettext("There is no such time zone. Write it like Europe/Moscow or Europe/Kyiv.")


def bad_field_text(texts: Texts) -> str:
    """At a field that is empty, too long, or holds characters that it cannot."""
    return texts.gettext("Fill this in; it may not be too long.")


def password_needed_text(texts: Texts) -> str:
    """At the field of the password, when another login or server was entered."""
    return texts.gettext("Another login or server needs its own app password.")


def connected_text(login: str, calendars: Sequence[str], *, created: bool, newcomer: bool, texts: Texts) -> str:
    """After the form: what was connected, and what follows. A `newcomer` had no account: the usual notifications are on."""
    shown = escape(login, MAX_CHARS)
    first = (
        texts.gettext("**{login} is connected.**", login=shown)
        if created
        else texts.gettext("**The connection of {login} was renewed.**", login=shown)
    )
    lines = [
        first,
        texts.gettext("Calendars: {names}", names=_names(calendars)),
        texts.gettext("The meetings are being fetched; `calendars today` shows them in a moment."),
    ]
    if newcomer:
        lines.append(
            texts.gettext(
                "The day's agenda, reminders and changes will come by direct message; `notifications update` changes that."
            )
        )
    return "\n".join(lines)


def updated_text(texts: Texts) -> str:
    """After the form."""
    return texts.gettext("The connection is stored.")


def nothing_to_disconnect_text(texts: Texts) -> str:
    """There is no account."""
    return texts.gettext("Nothing to disconnect: no calendar is connected.")


def choose_account_text(texts: Texts) -> str:
    """Over a button for each account."""
    return texts.gettext("Which account?")


def confirm_disconnect_text(accounts: Sequence[tuple[str, str]], texts: Texts) -> str:
    """What disconnecting deletes; `accounts` are logins with their servers."""
    lines = [
        texts.gettext(
            "Disconnecting deletes for good: the stored password, the calendars, meetings, reminders "
            "and, with the last account, your settings. The calendar on the server stays as it is."
        )
    ]
    lines += [f"- {escape(login, MAX_CHARS)} ({_host(url)})" for login, url in accounts]
    return "\n".join(lines)


def disconnect_labels(login: str, texts: Texts) -> tuple[str, str]:
    """Yes and no."""
    return texts.gettext("Disconnect {login}", login=login[:60]), texts.gettext("Keep")


def disconnected_text(texts: Texts) -> str:
    """It is done."""
    return texts.gettext("Disconnected. The password and everything that was stored of this account are deleted.")


def kept_text(texts: Texts) -> str:
    """The answer to Keep."""
    return texts.gettext("Nothing was changed.")


def profile_text(accounts: Sequence[AccountFacts], zone: str, locale: str, texts: Texts) -> str:
    """Accounts, zone, calendars, language."""
    lines = [texts.gettext("### Profile")]
    for account in accounts:
        lines.append(f"**{escape(account.login, MAX_CHARS)}** ({_host(account.server_url)})")
        lines += _calendars(account, texts)
    lines.append(texts.gettext("Time zone: {zone}", zone=zone))
    lines.append(texts.gettext("Language: {language}", language=language_name(locale)))
    return "\n".join(lines)


def account_check_text(
    account: AccountFacts,
    *,
    accepted: bool,
    problem: str,
    new_calendars: bool,
    left_out: int,
    reasons: Sequence[str],
    now: datetime,
    texts: Texts,
) -> str:
    """Whether the server accepts us now, which calendars, the last poll and its error, and what could not be read.

    `problem` is in the reader's language, `reasons` are English; `left_out` is the number of entries that they stand for.
    """
    login = escape(account.login, MAX_CHARS)
    if accepted:
        lines = [texts.gettext("✅ **{login}**: the server accepts the login and password.", login=login)]
    else:
        lines = [f"❌ **{login}**: {escape(problem, MAX_DETAIL_CHARS)}"]
    lines += _calendars(account, texts)
    if new_calendars:
        lines.append(texts.gettext("New calendars were found; choose them with `notifications update`."))
    if account.paused:
        lines.append(texts.gettext("The account is paused: {reason}", reason=account.reason))
    if account.last_polled_at is None:
        lines.append(texts.gettext("Last poll: none yet"))
    else:
        lines.append(texts.gettext("Last poll: {age}", age=time_ago(account.last_polled_at, now, texts)))
    if account.last_error:
        lines.append(texts.gettext("Last error: {detail}", detail=escape(account.last_error, MAX_DETAIL_CHARS)))
    else:
        lines.append(texts.gettext("Last error: none"))
    if left_out:
        lines.append(
            texts.ngettext(
                "⚠️ {count} entry could not be read in full: {detail}",
                "⚠️ {count} entries could not be read in full: {detail}",
                left_out,
                detail="; ".join(escape(reason, MAX_DETAIL_CHARS) for reason in reasons),
            )
        )
    return "\n".join(lines)


def paused_text(*, is_owner_deactivated: bool, texts: Texts) -> str:
    """Why an account is paused, and what ends that."""
    if is_owner_deactivated:
        return texts.gettext("You were deactivated in Mattermost; it goes on by itself within five minutes.")
    return texts.gettext(
        "The server has repeatedly refused the login and password. Enter a new password: `connections update`"
    )


def refreshed_text(login: str, changed: int, removed: int, problem: str, texts: Texts) -> str:
    """What a poll on demand found; `problem` is empty where all went well.

    What changed itself is told by the change notice, to whoever wants these.
    """
    shown = escape(login, MAX_CHARS)
    lines = []
    if problem:
        lines.append(texts.gettext("⚠️ **{login}** could not be read: {detail}", login=shown, detail=problem))
    elif not changed and not removed:
        lines.append(texts.gettext("**{login}**: nothing has changed.", login=shown))
    if changed:
        lines.append(
            texts.ngettext(
                "**{login}**: {count} new or changed entry",
                "**{login}**: {count} new or changed entries",
                changed,
                login=shown,
            )
        )
    if removed:
        lines.append(
            texts.ngettext(
                "**{login}**: {count} removed entry", "**{login}**: {count} removed entries", removed, login=shown
            )
        )
    return "\n".join(lines)


def changes_follow_text(texts: Texts) -> str:
    """After a poll on demand that found something, to whoever wants change notices."""
    return texts.gettext("What changed in your meetings comes by direct message.")


def language_name(locale: str) -> str:
    """A language in its own words."""
    name = Locale.parse(locale if locale in LOCALES else LOCALES[0]).get_language_name() or locale
    return name[:1].upper() + name[1:]


def _calendars(account: AccountFacts, texts: Texts) -> list[str]:
    lines = [texts.gettext("Watched calendars: {names}", names=_names(account.watched))]
    if account.unwatched:
        lines.append(texts.gettext("Not watched: {names}", names=_names(account.unwatched)))
    return lines


def _names(names: Sequence[str]) -> str:
    return ", ".join(escape(name, MAX_CHARS) for name in names) or "–"


def _host(url: str) -> str:
    return escape(urlsplit(url).hostname or url, MAX_CHARS)
