"""Where Mattermost's calls arrive: each becomes a step of the conversation, its answer takes Mattermost's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from switchboard.clients.mattermost import MattermostClient
from switchboard.deadlines import deadline_in
from switchboard.errors import SwitchboardError
from switchboard.logs import get_logger
from switchboard.services.conversation.answers import Answer, Form, Later
from switchboard.services.conversation.conversation import Conversation
from switchboard.services.conversation.drawing import Drawing
from switchboard.services.conversation.entries import Entries
from switchboard.services.conversation.replies import Replies, ReplyAddress
from switchboard.services.conversation.tickets import ExpiredTicketError, ForeignTicketError, Tickets

ANSWER_S = 2.5  # a person waits for three seconds at most
REPLY_S = 5.0  # after a form, which Mattermost waits for longer
REPLY = "reply"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Handled:
    """The JSON to answer with, and what is to be queued; `reply` is the sealed address of the later answer."""

    body: Mapping[str, Any]
    user_id: str = ""
    later: Later | None = None
    reply: str = ""
    poll: tuple[int, ...] = ()
    expand: tuple[int, ...] = ()
    write: tuple[int, ...] = ()
    show: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """What Mattermost says of a command or click. A user id of a click is proven by its ticket, of a command by its token.

    `post_id` is the post with the button.
    """

    user_id: str
    channel_id: str
    trigger_id: str
    response_url: str = field(default="", repr=False)
    post_id: str = ""


class Desk:
    """Answers commands, clicks and dialogs."""

    def __init__(
        self,
        conversation: Conversation,
        tickets: Tickets,
        drawing: Drawing,
        replies: Replies,
        client: MattermostClient,
        clock: Callable[[], datetime],
    ) -> None:
        self._conversation = conversation
        self._tickets = tickets
        self._drawing = drawing
        self._replies = replies
        self._client = client
        self._clock = clock

    def command(self, call: Call, text: str) -> Handled:
        """A typed line; shown to the person alone."""
        with deadline_in(ANSWER_S):
            answer = self._conversation.type(call.user_id, text)
            problem = self._open(answer.form, call) if answer.form else ""
        if answer.form:
            return Handled(_ephemeral(problem, []) if problem else {})
        body = _ephemeral(answer.text, self._drawing.attachments(answer, call.user_id))
        return self._handled(body, answer, _address(call))

    def action(self, call: Call, signed: str) -> Handled:
        """A click. BadTicketError for a ticket that is not ours.

        The post with the button may be an ephemeral one, which cannot be changed, and an answer to a click has no buttons of
        its own: an answer with buttons is therefore a new post.
        """
        with deadline_in(ANSWER_S):
            try:
                ticket = self._tickets.read(signed, user_id=call.user_id, now=self._clock())
            except ForeignTicketError:
                return Handled({"ephemeral_text": self._conversation.foreign(call.user_id)})
            except ExpiredTicketError:
                return Handled({"ephemeral_text": self._conversation.expired(call.user_id)})
            answer = self._conversation.press(ticket, call.post_id)
            if answer.form:
                problem = self._open(answer.form, call)
                return Handled({"ephemeral_text": problem} if problem else {})
            sent = bool(answer.rows) and self._sent(_address(call), answer)
        return self._handled({} if sent else {"ephemeral_text": answer.text}, answer, _address(call))

    def dialog(self, user_id: str, channel_id: str, signed: str, entries: Entries) -> Handled:
        """A filled form: errors at its fields, or it closes and the answer follows. BadTicketError as above."""
        try:
            ticket = self._tickets.read(signed, user_id=user_id, now=self._clock())
        except ForeignTicketError:
            return Handled({"error": self._conversation.foreign(user_id)})
        except ExpiredTicketError:
            return Handled({"error": self._conversation.expired(user_id)})
        outcome = self._conversation.submit(ticket, entries)
        if outcome.answer is None:
            return Handled({"errors": dict(outcome.errors), "error": outcome.error})
        sealed = ticket.details.get(REPLY)
        address = self._replies.unseal(sealed) if sealed else ReplyAddress(user_id, channel_id)
        with deadline_in(REPLY_S):
            self._sent(address, outcome.answer)
        return self._handled({}, outcome.answer, address)

    def lookup(self, user_id: str, signed: str, entries: Entries) -> Handled:
        """The options of a dynamic field (the time zone) for what was typed so far."""
        try:
            ticket = self._tickets.read(signed, user_id=user_id, now=self._clock())
        except (ForeignTicketError, ExpiredTicketError):
            return Handled({"items": []})
        with deadline_in(ANSWER_S):
            names = self._conversation.suggest_zones(ticket, entries)
        return Handled({"items": [{"text": name, "value": name} for name in names]})

    def try_again(self, user_id: str) -> str:
        """What to say when the answer's work could not be queued."""
        return self._conversation.try_again(user_id)

    def _open(self, form: Form, call: Call) -> str:
        """Show a form; empty, or the words that say it could not be opened."""
        details = {REPLY: self._replies.seal(_address(call))}
        dialog = self._drawing.dialog(form, call.user_id, details)
        try:
            self._client.open_dialog(call.trigger_id, self._drawing.dialog_url, dialog)
        except SwitchboardError as error:
            log.warning("dialog_not_opened", step=form.step.value, error=str(error))
            return self._conversation.form_not_opened(call.user_id)
        return ""

    def _sent(self, address: ReplyAddress, answer: Answer) -> bool:
        try:
            self._replies.send(address, answer)
        except SwitchboardError as error:
            log.warning("answer_not_sent", error=str(error))
            return False
        return True

    def _handled(self, body: Mapping[str, Any], answer: Answer, address: ReplyAddress) -> Handled:
        reply = self._replies.seal(address) if answer.later else ""
        return Handled(
            body, address.user_id, answer.later, reply, answer.poll, answer.expand, answer.write, answer.show
        )


def _address(call: Call) -> ReplyAddress:
    return ReplyAddress(call.user_id, call.channel_id, call.response_url)


def _ephemeral(text: str, attachments: list[dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"response_type": "ephemeral", "text": text}
    return {**body, "attachments": attachments} if attachments else body
