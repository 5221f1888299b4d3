"""The conversation: from a typed line, a click or a filled form to its answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from switchboard.domain.calendar.wall_clock import search_zones
from switchboard.domain.commands import Command, day_range, parse_command, parse_day
from switchboard.errors import InvalidInputError
from switchboard.services.calendar.accounts import CalendarAccounts
from switchboard.services.calendar.answering import Invitations
from switchboard.services.calendar.listings import Listings
from switchboard.services.calendar.snoozing import Snoozing
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.conversation.agendas import AgendaAnswers
from switchboard.services.conversation.answers import Answer, FormAnswer, Later, Step
from switchboard.services.conversation.checks import check_scheduler
from switchboard.services.conversation.connections import Connections
from switchboard.services.conversation.entries import Entries, text_entry
from switchboard.services.conversation.invitations import answer_invitation
from switchboard.services.conversation.menus import connect_first, info, menu
from switchboard.services.conversation.notifications import Notifications
from switchboard.services.conversation.snoozes import snooze_reminder
from switchboard.services.conversation.speakers import Speaker, Speakers
from switchboard.services.conversation.subscriptions import Subscriptions, press_subscription
from switchboard.services.conversation.tickets import Ticket
from switchboard.texts import connections as connection_words
from switchboard.texts import menu as words

MAX_SUGGESTIONS = 700  # all zones: some clients ask once, without a query


class Conversation:
    """One method for each thing that a person can do. Slow work is named in the answer and not done here."""

    def __init__(
        self,
        accounts: CalendarAccounts,
        subscribers: Subscribers,
        listings: Listings,
        speakers: Speakers,
        invitations: Invitations,
        snoozing: Snoozing,
        subscriptions: Subscriptions,
        clock: Callable[[], datetime],
    ) -> None:
        self._subscribers = subscribers
        self._speakers = speakers
        self._invitations = invitations
        self._snoozing = snoozing
        self._subscriptions = subscriptions
        self._clock = clock
        self._connections = Connections(accounts)
        self._notifications = Notifications(accounts)
        self._agendas = AgendaAnswers(listings, clock)
        self._answers: dict[Command, Callable[[Speaker], Answer]] = {
            Command.CONNECT: self._connections.connect,
            Command.UPDATE: self._connections.update,
            Command.DISCONNECT: self._connections.disconnect,
            Command.PROFILE: self._connections.profile,
            Command.REFRESH: lambda speaker: self._later(speaker, Later.REFRESH),
            Command.CREATE: self._notifications.create,
            Command.CHANGE: self._notifications.change,
            Command.DELETE: self._notifications.delete,
            Command.CHECK_ACCOUNT: lambda speaker: self._later(speaker, Later.CHECK_ACCOUNT),
            Command.CHECK_SCHEDULER: lambda speaker: check_scheduler(speaker, self._subscribers, clock()),
            Command.INFO: lambda speaker: info(speaker.texts),
        }

    def type(self, user_id: str, line: str) -> Answer:
        """A line after the slash command."""
        return self._command(self._speakers.find(user_id), line)

    def press(self, ticket: Ticket, post_id: str = "") -> Answer:
        """A button of the post; its ticket was read for the person who pressed it."""
        speaker = self._speakers.find(ticket.user_id)
        match ticket.step:
            case Step.COMMAND:
                return self._command(speaker, ticket.details.get("line", ""))
            case Step.PAGE:
                days = day_range(parse_day(ticket.details["first"]), parse_day(ticket.details["last"]))
                return self._agendas.page(speaker, days, int(ticket.details["page"]))
            case Step.UPDATE:
                return self._connections.update(speaker, int(ticket.details["account"]))
            case Step.DISCONNECT:
                return self._connections.confirm_disconnect(speaker, int(ticket.details["account"]))
            case Step.DELETE:
                return self._notifications.confirm_delete(speaker)
            case Step.ANSWER | Step.SNOOZE | Step.SUBSCRIPTION:
                return self._in_message(speaker, ticket, post_id)
            case Step.KEEP:
                return Answer(connection_words.kept_text(speaker.texts))
            case _:
                return menu(parse_command(""), speaker.texts)

    def _in_message(self, speaker: Speaker, ticket: Ticket, post_id: str) -> Answer:
        """A button of a message that came by itself."""
        if ticket.step is Step.SUBSCRIPTION:
            return press_subscription(speaker, self._subscriptions, ticket.details)
        if ticket.step is Step.SNOOZE:
            return snooze_reminder(speaker, self._snoozing, ticket.details, post_id, self._clock())
        return answer_invitation(speaker, self._invitations, ticket.details, post_id)

    def submit(self, ticket: Ticket, entries: Entries) -> FormAnswer:
        """A filled form; its ticket was read for the person who sent it."""
        speaker = self._speakers.find(ticket.user_id)
        match ticket.step:
            case Step.CONNECT:
                return self._connections.submit_connect(speaker, entries)
            case Step.UPDATE:
                return self._connections.submit_update(speaker, int(ticket.details["account"]), entries)
            case Step.NOTIFICATIONS:
                return self._notifications.submit(speaker, entries)
            case Step.DAY:
                return self._agendas.submit_day(speaker, entries)
            case Step.PERIOD:
                return self._agendas.submit_period(speaker, entries)
            case _:
                raise InvalidInputError("this ticket belongs to no form", field="state")

    def suggest_zones(self, ticket: Ticket, entries: Entries) -> list[str]:
        """Names of time zones for what was typed so far; the person's own first while nothing is."""
        query = text_entry(entries, "query")
        found = search_zones(query, MAX_SUGGESTIONS)
        if query:
            return found
        zone = self._speakers.find(ticket.user_id).zone
        return [zone, *(name for name in found if name != zone)] if zone else found

    def expired(self, user_id: str) -> str:
        """What is said to a button or form that is too old."""
        return words.expired_text(self._speakers.find(user_id).texts)

    def foreign(self, user_id: str) -> str:
        """What is said to somebody else's button."""
        return words.foreign_text(self._speakers.find(user_id).texts)

    def form_not_opened(self, user_id: str) -> str:
        """What is said when Mattermost did not take a form."""
        return words.form_not_opened_text(self._speakers.find(user_id).texts)

    def try_again(self, user_id: str) -> str:
        """What is said of a passing fault."""
        return words.try_again_text(self._speakers.find(user_id).texts)

    def _command(self, speaker: Speaker, line: str) -> Answer:
        read = parse_command(line)
        if read.command is None:
            return menu(read, speaker.texts)
        answer = self._answers.get(read.command)
        if answer is not None:
            return answer(speaker)
        return self._agendas.command(speaker, read.command, read.arguments)

    def _later(self, speaker: Speaker, later: Later) -> Answer:
        if not speaker.accounts:
            return connect_first(speaker)
        return Answer(words.working_text(speaker.texts), later=later)
