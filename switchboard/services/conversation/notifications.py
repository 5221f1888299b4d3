"""notifications create, update, delete: one set of notifications for each person."""

from __future__ import annotations

from dataclasses import replace

from switchboard.domain.calendar.gaps import parse_working_hours
from switchboard.domain.calendar.quiet_hours import parse_quiet_hours
from switchboard.domain.calendar.reminders import clean_minutes
from switchboard.domain.calendar.wall_clock import agenda_times, parse_agenda_time, parse_wall_time
from switchboard.domain.commands import Command
from switchboard.errors import InvalidInputError
from switchboard.services.calendar.accounts import AccountView, CalendarAccounts, SubscriberSettings
from switchboard.services.calendar.subscribers import SubscriberView
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Field, Form, FormAnswer, Step
from switchboard.services.conversation.entries import Entries, list_entry, switch_entry, text_entry
from switchboard.services.conversation.menus import command_choice, connect_first
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import notifications as words
from switchboard.texts.connections import language_name
from switchboard.texts.locales import LOCALES, Texts

MAX_NAME_CHARS = 60


class Notifications:
    """What is sent by itself."""

    def __init__(self, accounts: CalendarAccounts) -> None:
        self._accounts = accounts

    def create(self, speaker: Speaker) -> Answer:
        """The form; the offer to change them where they are on already."""
        if speaker.subscriber is None:
            return connect_first(speaker)
        if speaker.subscriber.has_notifications:
            change = command_choice(Command.CHANGE, speaker.texts, style="primary")
            return Answer(
                words.already_there_text(describe(speaker.subscriber, speaker.texts), speaker.texts),
                (ButtonRow((change,)),),
            )
        return Answer(form=_form(speaker, speaker.subscriber))

    def change(self, speaker: Speaker) -> Answer:
        """The form; the offer to switch them on where they are off."""
        if speaker.subscriber is None:
            return connect_first(speaker)
        if not speaker.subscriber.has_notifications:
            create = command_choice(Command.CREATE, speaker.texts, style="primary")
            return Answer(words.nothing_to_change_text(speaker.texts), (ButtonRow((create,)),))
        return Answer(form=_form(speaker, speaker.subscriber))

    def delete(self, speaker: Speaker) -> Answer:
        """The question whether to delete."""
        texts = speaker.texts
        if speaker.subscriber is None:
            return connect_first(speaker)
        if not speaker.subscriber.has_notifications:
            return Answer(words.nothing_to_delete_text(texts))
        yes, no = words.delete_labels(texts)
        choices = (Choice(yes, Step.DELETE, style="danger"), Choice(no, Step.KEEP))
        chosen = describe(speaker.subscriber, texts)
        return Answer(words.confirm_delete_text(chosen, texts), (ButtonRow(choices),))

    def confirm_delete(self, speaker: Speaker) -> Answer:
        """Switch everything off; the planned reminders go in the same transaction."""
        if speaker.subscriber is None or not speaker.subscriber.has_notifications:
            return Answer(words.nothing_to_delete_text(speaker.texts))
        settings = SubscriberSettings(
            agenda_enabled=False,
            reminders_enabled=False,
            changes_enabled=False,
            answers_enabled=False,
            status_enabled=False,
        )
        self._accounts.configure(speaker.subscriber.id, settings, actor=_actor(speaker))
        return Answer(words.deleted_text(speaker.texts))

    def submit(self, speaker: Speaker, entries: Entries) -> FormAnswer:
        """Store what was entered."""
        if speaker.subscriber is None:
            return FormAnswer(answer=connect_first(speaker))
        errors = _errors(entries, speaker)
        if errors:
            return FormAnswer(errors=errors)
        settings = SubscriberSettings(
            locale=text_entry(entries, "language") or None,
            agenda_enabled=switch_entry(entries, "agenda"),
            agenda_time=text_entry(entries, "agenda_time"),
            agenda_on_empty_days=switch_entry(entries, "empty_days"),
            weekdays=tuple(int(one) for one in list_entry(entries, "weekdays")) or None,
            reminders_enabled=switch_entry(entries, "reminders"),
            reminder_minutes=_minutes(entries) or None,
            changes_enabled=switch_entry(entries, "changes"),
            answers_enabled=switch_entry(entries, "answers"),
            status_enabled=switch_entry(entries, "status"),
            quiet_from=text_entry(entries, "quiet_from"),
            quiet_until=text_entry(entries, "quiet_until"),
            work_from=text_entry(entries, "work_from"),
            work_until=text_entry(entries, "work_until"),
        )
        expand = self._accounts.configure(speaker.subscriber.id, settings, actor=_actor(speaker))
        poll = self._watch(speaker, {int(one) for one in list_entry(entries, "calendars")})
        texts = Texts.for_locale(settings.locale or speaker.subscriber.locale)
        chosen = words.chosen_text(
            agenda_time=settings.agenda_time or "" if settings.agenda_enabled else "",
            weekdays=settings.weekdays or speaker.subscriber.weekdays,
            empty_days=bool(settings.agenda_on_empty_days),
            minutes=(settings.reminder_minutes or ()) if settings.reminders_enabled else (),
            changes=bool(settings.changes_enabled),
            answers=bool(settings.answers_enabled),
            status=bool(settings.status_enabled),
            quiet=_clocks(settings.quiet_from, settings.quiet_until),
            work=_clocks(settings.work_from, settings.work_until),
            zone=speaker.zone,
            texts=texts,
        )
        return FormAnswer(answer=Answer(words.stored_text(chosen, texts), poll=poll, expand=tuple(expand)))

    def _watch(self, speaker: Speaker, wanted: set[int]) -> tuple[int, ...]:
        """Watch these calendars; returns the accounts that are to be polled because their choice changed."""
        changed = []
        for account in speaker.accounts:
            own = {calendar.id for calendar in account.calendars}
            if {calendar.id for calendar in account.calendars if calendar.watched} != wanted & own:
                self._accounts.watch(account.id, wanted & own, actor=_actor(speaker))
                changed.append(account.id)
        return tuple(changed)


def describe(subscriber: SubscriberView, texts: Texts) -> str:
    """What a person has chosen, as a list."""
    return words.chosen_text(
        agenda_time=subscriber.agenda_time if subscriber.agenda_enabled else "",
        weekdays=subscriber.weekdays,
        empty_days=subscriber.agenda_on_empty_days,
        minutes=subscriber.reminder_minutes if subscriber.reminders_enabled else (),
        changes=subscriber.changes_enabled,
        answers=subscriber.answers_enabled,
        status=subscriber.status_enabled,
        quiet=(subscriber.quiet_from, subscriber.quiet_until),
        work=(subscriber.work_from, subscriber.work_until),
        zone=subscriber.zone,
        texts=texts,
    )


def _form(speaker: Speaker, subscriber: SubscriberView) -> Form:
    said = words.notification_form_texts(speaker.texts)
    is_new = not subscriber.has_notifications
    calendars = [(account, calendar) for account in speaker.accounts for calendar in account.calendars]
    watched = ",".join(str(calendar.id) for _, calendar in calendars if calendar.watched)
    options = tuple(
        (_calendar_name(account, calendar.name, speaker), str(calendar.id)) for account, calendar in calendars
    )
    times = tuple((shown, shown) for shown in (f"{one:%H:%M}" for one in agenda_times()))
    weekdays = tuple((name, str(number)) for number, name in enumerate(words.weekday_names(speaker.texts), start=1))
    languages = tuple((language_name(one), one) for one in LOCALES)
    return Form(
        step=Step.NOTIFICATIONS,
        title=said["title"],
        introduction=said["introduction"],
        fields=(
            Field("calendars", said["calendars"], "select", default=watched, options=options, multiple=True),
            _switch("agenda", said["agenda"], said["agenda_switch"], on=is_new or subscriber.agenda_enabled),
            Field("agenda_time", said["agenda_time"], "select", default=subscriber.agenda_time, options=times),
            Field(
                "weekdays",
                said["weekdays"],
                "select",
                default=",".join(str(one) for one in subscriber.weekdays),
                options=weekdays,
                multiple=True,
                optional=True,
            ),
            _switch("empty_days", said["empty_days"], said["empty_days_switch"], on=subscriber.agenda_on_empty_days),
            _switch(
                "reminders", said["reminders"], said["reminders_switch"], on=is_new or subscriber.reminders_enabled
            ),
            Field(
                "minutes",
                said["minutes"],
                default=", ".join(str(one) for one in subscriber.reminder_minutes),
                help=said["minutes_help"],
                optional=True,
            ),
            _switch("changes", said["changes"], said["changes_switch"], on=is_new or subscriber.changes_enabled),
            _switch("answers", said["answers"], said["answers_switch"], on=is_new or subscriber.answers_enabled),
            replace(
                _switch("status", said["status"], said["status_switch"], on=subscriber.status_enabled),
                help=said["status_help"],
            ),
            Field(
                "quiet_from", said["quiet_from"], default=subscriber.quiet_from, help=said["quiet_help"], optional=True
            ),
            Field("quiet_until", said["quiet_until"], default=subscriber.quiet_until, optional=True),
            Field("work_from", said["work_from"], default=subscriber.work_from, help=said["work_help"], optional=True),
            Field("work_until", said["work_until"], default=subscriber.work_until, optional=True),
            Field("language", said["language"], "select", default=subscriber.locale, options=languages),
        ),
        submit_label=said["submit"],
    )


def _switch(name: str, label: str, words_beside: str, *, on: bool) -> Field:
    return Field(name, label, "bool", default="true" if on else "false", placeholder=words_beside, optional=True)


def _calendar_name(account: AccountView, name: str, speaker: Speaker) -> str:
    """With the login where there are several accounts."""
    shown = name[:MAX_NAME_CHARS] or "–"
    return shown if len(speaker.accounts) == 1 else f"{shown} ({account.login[:MAX_NAME_CHARS]})"


def _errors(entries: Entries, speaker: Speaker) -> dict[str, str]:
    """What is wrong, by field."""
    texts = speaker.texts
    errors = {}
    own = {str(calendar.id) for account in speaker.accounts for calendar in account.calendars}
    chosen = set(list_entry(entries, "calendars"))
    if not chosen or not chosen <= own:
        errors["calendars"] = words.no_calendar_text(texts)
    try:
        parse_agenda_time(text_entry(entries, "agenda_time"))
    except InvalidInputError:
        errors["agenda_time"] = words.bad_time_text(texts)
    weekdays = list_entry(entries, "weekdays")
    if not set(weekdays) <= set("1234567") or (not weekdays and switch_entry(entries, "agenda")):
        errors["weekdays"] = words.no_weekday_text(texts)
    try:
        minutes = clean_minutes(_minutes(entries))
        if not minutes and switch_entry(entries, "reminders"):
            errors["minutes"] = words.bad_minutes_text(texts)
    except (InvalidInputError, ValueError):
        errors["minutes"] = words.bad_minutes_text(texts)
    try:
        parse_quiet_hours(text_entry(entries, "quiet_from"), text_entry(entries, "quiet_until"))
    except InvalidInputError as error:
        errors[error.field] = words.bad_quiet_hours_text(texts)
    try:
        parse_working_hours(text_entry(entries, "work_from"), text_entry(entries, "work_until"))
    except InvalidInputError as error:
        errors[error.field] = words.bad_working_hours_text(texts)
    return errors


def _clocks(begins: str | None, ends: str | None) -> tuple[str, str]:
    """Times that were entered, as HH:MM: `7:00` is 07:00; empty for none."""
    first, last = parse_wall_time(begins or ""), parse_wall_time(ends or "")
    return (f"{first:%H:%M}" if first else "", f"{last:%H:%M}" if last else "")


def _minutes(entries: Entries) -> tuple[int, ...]:
    """The numbers in the field; ValueError for anything else."""
    return tuple(int(one) for one in text_entry(entries, "minutes").replace(",", " ").split())


def _actor(speaker: Speaker) -> str:
    return f"mattermost:{speaker.user_id}"
