"""Notifications: the form, what was chosen, what is planned and what keeps it from coming."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from babel.dates import get_day_names

from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape

MAX_CHARS = 120


def notification_form_texts(texts: Texts) -> dict[str, str]:
    """Of the form. Mattermost cuts titles and labels at 24 bytes, placeholders and help at 150."""
    return {
        "title": texts.gettext("Notifications"),
        "introduction": texts.gettext("What is sent to you by direct message, and when."),
        "calendars": texts.gettext("Calendars"),
        "agenda": texts.gettext("Agenda"),
        "agenda_switch": texts.gettext("Send the day's meetings"),
        "agenda_time": texts.gettext("Agenda at"),
        "weekdays": texts.gettext("Weekdays"),
        "empty_days": texts.gettext("Free days"),
        "empty_days_switch": texts.gettext("Also say when there are no meetings"),
        "reminders": texts.gettext("Reminders"),
        "reminders_switch": texts.gettext("Remind before meetings"),
        "minutes": texts.gettext("Minutes ahead"),
        "minutes_help": texts.gettext("One or several, for example 10 or 15, 5."),
        "changes": texts.gettext("Changes"),
        "changes_switch": texts.gettext("Tell when meetings are added, moved, changed or cancelled"),
        "answers": texts.gettext("Attendees"),
        "answers_switch": texts.gettext("Tell how attendees answer"),
        "status": texts.gettext("Status"),
        "status_switch": texts.gettext("Show “In a meeting” beside your name during meetings"),
        "status_help": texts.gettext("Your own status comes back afterwards; one you set meanwhile is left alone."),
        "quiet_from": texts.gettext("Quiet from"),
        "quiet_until": texts.gettext("Quiet until"),
        "quiet_help": texts.gettext("For example 22:00. Leave both empty for no quiet hours."),
        "work_from": texts.gettext("Work from"),
        "work_until": texts.gettext("Work until"),
        "work_help": texts.gettext("The agenda names the free time between. Leave both empty not to."),
        "language": texts.gettext("Language"),
        "submit": texts.gettext("Save"),
    }


def weekday_names(texts: Texts) -> list[str]:
    """Monday to Sunday."""
    names = get_day_names("wide", context="stand-alone", locale=texts.locale)
    return [names[number][:1].upper() + names[number][1:] for number in range(7)]


def bad_minutes_text(texts: Texts) -> str:
    """At the field of the minutes."""
    return texts.gettext("Write up to ten numbers from 1 to 10080, for example 10 or 15, 5.")


def bad_quiet_hours_text(texts: Texts) -> str:
    """At a field of the quiet hours."""
    return texts.gettext("Write two different times, like 22:00 and 08:00, or leave both empty.")


def bad_working_hours_text(texts: Texts) -> str:
    """At a field of the working hours."""
    return texts.gettext("Write two times of one day, like 09:00 and 18:00, or leave both empty.")


def bad_time_text(texts: Texts) -> str:
    """At the field of the agenda's time."""
    return texts.gettext("Choose a time from 00:00 to 23:45 by 15 minutes.")


def no_weekday_text(texts: Texts) -> str:
    """At the field of the weekdays."""
    return texts.gettext("Choose at least one weekday, or switch the agenda off.")


def no_calendar_text(texts: Texts) -> str:
    """At the field of the calendars."""
    return texts.gettext("Choose at least one calendar.")


def already_there_text(chosen: str, texts: Texts) -> str:
    """`create` on notifications that are on; `chosen` describes them."""
    return texts.gettext("Your notifications are on already:\n{chosen}\n\nShall they be changed?", chosen=chosen)


def nothing_to_change_text(texts: Texts) -> str:
    """`update` on notifications that are off."""
    return texts.gettext("Your notifications are off. Switch them on?")


def nothing_to_delete_text(texts: Texts) -> str:
    """`delete` on notifications that are off."""
    return texts.gettext("Nothing to delete: your notifications are off.")


def confirm_delete_text(chosen: str, texts: Texts) -> str:
    """Before switching off."""
    return texts.gettext(
        "These notifications will end and their planned reminders be deleted:\n{chosen}", chosen=chosen
    )


def delete_labels(texts: Texts) -> tuple[str, str]:
    """Yes and no."""
    return texts.gettext("Delete"), texts.gettext("Keep")


def deleted_text(texts: Texts) -> str:
    """It is done."""
    return texts.gettext("Deleted: nothing is sent by itself any more. The connection stays.")


def stored_text(chosen: str, texts: Texts) -> str:
    """After the form."""
    return texts.gettext("The notifications are stored:\n{chosen}", chosen=chosen)


def chosen_text(
    *,
    agenda_time: str,
    weekdays: Sequence[int],
    empty_days: bool,
    minutes: Sequence[int],
    changes: bool,
    answers: bool,
    status: bool,
    quiet: tuple[str, str],
    work: tuple[str, str],
    zone: str,
    texts: Texts,
) -> str:
    """What is sent; an empty `agenda_time` or no minutes mean that it is off. `quiet` hours and those of
    `work` are HH:MM, or both empty."""
    lines = []
    if agenda_time:
        lines.append(
            texts.gettext(
                "- agenda at {time} ({zone}): {days}", time=agenda_time, zone=zone, days=_weekdays(weekdays, texts)
            )
        )
        if not empty_days:
            lines.append(texts.gettext("- nothing on days without meetings"))
        if all(work):
            lines.append(texts.gettext("- free time between {begins} and {ends}", begins=work[0], ends=work[1]))
    else:
        lines.append(texts.gettext("- no agenda"))
    if minutes:
        shown = ", ".join(str(one) for one in minutes)
        lines.append(texts.gettext("- reminders, minutes before a meeting: {minutes}", minutes=shown))
    else:
        lines.append(texts.gettext("- no reminders"))
    if changes:
        lines.append(texts.gettext("- changes of meetings"))
    if answers:
        lines.append(texts.gettext("- attendees' answers"))
    if status:
        lines.append(texts.gettext("- the status “In a meeting” during meetings"))
    if all(quiet):
        lines.append(texts.gettext("- quiet hours: {begins}–{ends}", begins=quiet[0], ends=quiet[1]))
    return "\n".join(lines)


def scheduler_text(
    *,
    chosen: str,
    next_agenda_at: datetime | None,
    next_reminder: tuple[datetime, str, datetime] | None,
    status: Sequence[str],
    paused: Sequence[tuple[str, str]],
    zone: ZoneInfo,
    texts: Texts,
) -> str:
    """What will be sent and when next.

    `next_reminder` is (when, title, start); `status` are lines about the custom status; `paused` are logins and texts of why.
    """
    # The empty line ends the list of what was chosen: else the rest is read as a part of its last item.
    lines = [texts.gettext("### What is planned"), chosen, ""]
    if next_agenda_at is not None:
        lines.append(texts.gettext("Next agenda: {when}", when=texts.moment(next_agenda_at, zone)))
    if next_reminder is not None:
        fire_at, title, start = next_reminder
        lines.append(
            texts.gettext(
                "Next reminder: {when}, of {title} at {start}",
                when=texts.moment(fire_at, zone),
                title=escape(title, MAX_CHARS) or texts.gettext("(no title)"),
                start=f"{start.astimezone(zone):%H:%M}",
            )
        )
    else:
        lines.append(texts.gettext("Next reminder: none in the meetings known now"))
    lines += status
    if not paused:
        lines.append(texts.gettext("Nothing is paused."))
    for login, reason in paused:
        lines.append(
            texts.gettext(
                "Paused, and its meetings are not updated: {login}. {reason}",
                login=escape(login, MAX_CHARS),
                reason=reason,
            )
        )
    return "\n".join(lines)


def scheduler_is_off_text(texts: Texts) -> str:
    """Nothing is planned."""
    return texts.gettext("Nothing is planned: your notifications are off.")


def _weekdays(weekdays: Sequence[int], texts: Texts) -> str:
    if set(weekdays) == set(range(1, 8)):
        return texts.gettext("every day")
    names = get_day_names("abbreviated", locale=texts.locale)
    return ", ".join(names[number - 1] for number in sorted(weekdays))
