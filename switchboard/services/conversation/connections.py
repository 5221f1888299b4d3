"""connect, update, disconnect, profile."""

from __future__ import annotations

from threading import BoundedSemaphore

from switchboard.clients.caldav import refuse_oauth_only
from switchboard.deadlines import deadline_in
from switchboard.domain.calendar.wall_clock import close_zone_names
from switchboard.domain.commands import Command
from switchboard.errors import InvalidInputError, NotFoundError, TransientError
from switchboard.services.calendar.accounts import (
    AccountView,
    CalendarAccounts,
    Connected,
    ConnectRequest,
    NoCalendarsError,
    NotACalendarServerError,
    ServerBusyError,
    SubscriberSettings,
    WrongPasswordError,
)
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Field, Form, FormAnswer, Step
from switchboard.services.conversation.entries import Entries, text_entry
from switchboard.services.conversation.menus import command_choice, connect_first
from switchboard.services.conversation.speakers import Speaker, facts_of
from switchboard.texts import connections as words
from switchboard.texts.locales import Texts

VERIFICATION_S = 15.0  # Mattermost waits 30 s for the answer to a dialog
VERIFICATIONS_AT_ONCE = 3  # each holds a thread of the web process
DEFAULT_SERVER = "yandex"


class Connections:
    """A person's connections to calendar servers.

    A password is verified within the request that brings it and goes nowhere else: not into a task, not into a log.
    """

    def __init__(self, accounts: CalendarAccounts) -> None:
        self._accounts = accounts
        self._verifying = BoundedSemaphore(VERIFICATIONS_AT_ONCE)

    def connect(self, speaker: Speaker) -> Answer:
        """The form for a new connection."""
        return Answer(form=_form(speaker.texts, Step.CONNECT, zone=speaker.zone))

    def update(self, speaker: Speaker, account_id: int | None = None) -> Answer:
        """The form for the connection there is; a choice where there are several."""
        chosen = [one for one in speaker.accounts if account_id in (None, one.id)]
        if not chosen:
            return connect_first(speaker)
        if len(chosen) > 1:
            choices = tuple(Choice(one.login, Step.UPDATE, {"account": str(one.id)}) for one in chosen)
            return Answer(words.choose_account_text(speaker.texts), (ButtonRow(choices),))
        return Answer(form=_form(speaker.texts, Step.UPDATE, account=chosen[0], zone=speaker.zone))

    def disconnect(self, speaker: Speaker) -> Answer:
        """The question whether to delete."""
        texts = speaker.texts
        if not speaker.accounts:
            return Answer(words.nothing_to_disconnect_text(texts))
        choices = [
            Choice(words.disconnect_labels(one.login, texts)[0], Step.DISCONNECT, {"account": str(one.id)}, "danger")
            for one in speaker.accounts
        ]
        choices.append(Choice(words.disconnect_labels("", texts)[1], Step.KEEP))
        listed = [(one.login, one.server_url) for one in speaker.accounts]
        return Answer(words.confirm_disconnect_text(listed, texts), (ButtonRow(tuple(choices)),))

    def confirm_disconnect(self, speaker: Speaker, account_id: int) -> Answer:
        """Delete an account of the speaker with all that is stored of it."""
        if all(one.id != account_id for one in speaker.accounts):
            return Answer(words.nothing_to_disconnect_text(speaker.texts))
        try:
            self._accounts.disconnect(account_id, actor=_actor(speaker))
        except NotFoundError:  # pressed twice
            return Answer(words.nothing_to_disconnect_text(speaker.texts))
        return Answer(words.disconnected_text(speaker.texts))

    def profile(self, speaker: Speaker) -> Answer:
        """Accounts, zone, calendars, language."""
        if speaker.subscriber is None:
            return connect_first(speaker)
        facts = [facts_of(one, speaker.texts) for one in speaker.accounts]
        return Answer(words.profile_text(facts, speaker.zone, speaker.subscriber.locale, speaker.texts))

    def submit_connect(self, speaker: Speaker, entries: Entries) -> FormAnswer:
        """Verify what was entered, and store it."""
        connected = self._connect(speaker, entries)
        return connected if isinstance(connected, FormAnswer) else _connected(speaker, connected, entries)

    def submit_update(self, speaker: Speaker, account_id: int, entries: Entries) -> FormAnswer:
        """Store a new password, login, server or zone; an empty password keeps the present one."""
        account = next((one for one in speaker.accounts if one.id == account_id), None)
        if account is None:
            return FormAnswer(answer=connect_first(speaker))
        same = text_entry(entries, "login") == account.login and _same_server(text_entry(entries, "server"), account)
        if not text_entry(entries, "password"):
            if not same:
                return FormAnswer(errors={"password": words.password_needed_text(speaker.texts)})
            return self._change_zone(speaker, account, text_entry(entries, "zone"))
        connected = self._connect(speaker, entries)
        if isinstance(connected, FormAnswer):
            return connected
        if connected.account_id != account.id:
            self._accounts.disconnect(account.id, actor=_actor(speaker))
        return _connected(speaker, connected, entries)

    def _connect(self, speaker: Speaker, entries: Entries) -> Connected | FormAnswer:
        if not self._verifying.acquire(blocking=False):
            return FormAnswer(error=words.busy_text(speaker.texts))
        try:
            with deadline_in(VERIFICATION_S):
                return self._accounts.connect(
                    ConnectRequest(
                        server=text_entry(entries, "server") or DEFAULT_SERVER,
                        login=text_entry(entries, "login"),
                        password=text_entry(entries, "password"),
                        mattermost_user=speaker.user_id,
                        zone=text_entry(entries, "zone"),
                    ),
                    actor=_actor(speaker),
                )
        except (InvalidInputError, TransientError) as error:
            return _refusal(error, entries, speaker.texts)
        finally:
            self._verifying.release()

    def _change_zone(self, speaker: Speaker, account: AccountView, zone: str) -> FormAnswer:
        try:
            expand = self._accounts.configure(
                account.subscriber_id, SubscriberSettings(zone=zone or None), actor=_actor(speaker)
            )
        except InvalidInputError as error:
            return _refusal(error, {"zone": zone}, speaker.texts)
        return FormAnswer(answer=Answer(words.updated_text(speaker.texts), expand=tuple(expand)))


def _form(texts: Texts, step: Step, *, zone: str, account: AccountView | None = None) -> Form:
    said = words.connection_form_texts(texts)
    keeps = account is not None
    return Form(
        step=step,
        title=said["update_title"] if keeps else said["connect_title"],
        introduction=said["introduction"],
        fields=(
            Field(
                "server",
                said["server"],
                default=account.server_url if account else DEFAULT_SERVER,
                help=said["server_help"],
            ),
            Field("login", said["login"], default=account.login if account else ""),
            Field(
                "password",
                said["password"],
                subtype="password",
                optional=keeps,
                help=said["keep_password"] if keeps else "",
            ),
            Field("zone", said["zone"], kind="select", default=zone, help=said["zone_help"], dynamic=True),
        ),
        submit_label=said["save"] if keeps else said["connect"],
        details={"account": str(account.id)} if account else {},
    )


def _connected(speaker: Speaker, connected: Connected, entries: Entries) -> FormAnswer:
    names = [calendar.name for calendar in connected.calendars if calendar.watched]
    text = words.connected_text(
        text_entry(entries, "login"),
        names,
        created=connected.created,
        newcomer=speaker.subscriber is None,
        texts=speaker.texts,
    )
    choices = tuple(command_choice(one, speaker.texts) for one in (Command.TODAY, Command.CHANGE, Command.PROFILE))
    return FormAnswer(answer=Answer(text, (ButtonRow(choices),), poll=(connected.account_id,)))


def server_problem_text(error: InvalidInputError | NotFoundError | TransientError, texts: Texts) -> str:
    """What a calendar server had against us, in the person's language."""
    match error:
        case ServerBusyError():
            return words.server_busy_text(error.retry_after_s, texts)
        case TransientError():
            return words.unreachable_text(texts)
        case WrongPasswordError():
            return words.wrong_password_text(texts)
        case NoCalendarsError():
            return words.no_calendars_text(texts)
        case NotACalendarServerError():
            return words.not_caldav_text(texts)
        case _:
            return str(error)


def _refusal(error: InvalidInputError | TransientError, entries: Entries, texts: Texts) -> FormAnswer:
    """The error at its field, in the person's language."""
    match error:
        case TransientError():
            return FormAnswer(error=server_problem_text(error, texts))
        case WrongPasswordError() | NoCalendarsError() | NotACalendarServerError():
            fields = {"server_url": "server"}
            return FormAnswer(errors={fields.get(error.field, error.field): server_problem_text(error, texts)})
        case _ if error.field == "server_url":
            return FormAnswer(errors={"server": _server_text(text_entry(entries, "server"), texts)})
        case _ if error.field == "zone":
            close = close_zone_names(text_entry(entries, "zone"))
            return FormAnswer(errors={"zone": words.bad_zone_text(close, texts)})
        case _ if error.field in ("login", "password"):
            return FormAnswer(errors={error.field: words.bad_field_text(texts)})
        case _:
            return FormAnswer(error=str(error))


def _server_text(server: str, texts: Texts) -> str:
    try:
        refuse_oauth_only(server if "://" in server else f"https://{server}")
    except InvalidInputError:
        return words.google_text(texts)
    except ValueError:
        pass  # not even an address
    return words.bad_server_text(texts)


def _same_server(entered: str, account: AccountView) -> bool:
    return entered.rstrip("/").lower() in ("", account.server_url.rstrip("/").lower())


def _actor(speaker: Speaker) -> str:
    return f"mattermost:{speaker.user_id}"
