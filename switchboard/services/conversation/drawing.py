"""Answers in the wire shapes of Mattermost: attachments with buttons, dialogs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from switchboard.services.conversation.answers import Answer, Field, Form, Step
from switchboard.services.conversation.tickets import Ticket, Tickets

BUTTON_LIFE = timedelta(hours=24)
CONFIRMATION_LIFE = timedelta(minutes=10)
FORM_LIFE = timedelta(hours=1)
SUBSCRIPTION_LIFE = timedelta(days=3650)
"""Whoever wants no more messages finds the button in any of them, however old."""
_LIVES = {
    Step.DISCONNECT: CONFIRMATION_LIFE,
    Step.DELETE: CONFIRMATION_LIFE,
    Step.SUBSCRIPTION: SUBSCRIPTION_LIFE,
}
ACTION_PATH = "/mattermost/action"
DIALOG_PATH = "/mattermost/dialog"
MAX_FIELD_LENGTH = 3000


class Drawing:
    """Draws for one person at a time; every button and dialog gets a ticket of its own."""

    def __init__(self, tickets: Tickets, clock: Callable[[], datetime], *, public_url: str) -> None:
        self._tickets = tickets
        self._clock = clock
        self._public_url = public_url

    @property
    def dialog_url(self) -> str:
        """Where dialogs send what was entered."""
        return f"{self._public_url}{DIALOG_PATH}"

    def attachments(self, answer: Answer, user_id: str) -> list[dict[str, Any]]:
        """The buttons of an answer (https://developers.mattermost.com/integrate/plugins/interactive-messages/)."""
        now = self._clock()
        drawn = []
        for number, row in enumerate(answer.rows):
            actions = []
            for position, choice in enumerate(row.choices):
                until = choice.until or now + _LIVES.get(choice.step, BUTTON_LIFE)
                ticket = Ticket(choice.step, user_id, until, choice.details)
                actions.append(
                    {
                        "id": f"b{number}x{position}",  # letters and digits alone are allowed
                        "type": "button",
                        "name": choice.label,
                        "style": choice.style,
                        "integration": {
                            "url": f"{self._public_url}{ACTION_PATH}",
                            "context": {"ticket": self._tickets.sign(ticket)},
                        },
                    }
                )
            drawn.append({"fallback": row.text or answer.text[:200], "text": row.text, "actions": actions})
        return drawn

    def dialog(self, form: Form, user_id: str, details: Mapping[str, str]) -> dict[str, Any]:
        """A dialog; `details` are added to those of the form."""
        ticket = Ticket(form.step, user_id, self._clock() + FORM_LIFE, {**form.details, **details})
        return {
            "callback_id": form.step.value,
            "title": form.title,
            "introduction_text": form.introduction,
            "elements": [self._element(field) for field in form.fields],
            "submit_label": form.submit_label,
            "notify_on_cancel": False,
            "state": self._tickets.sign(ticket),
        }

    def _element(self, field: Field) -> dict[str, Any]:
        element: dict[str, Any] = {
            "display_name": field.label,
            "name": field.name,
            "type": field.kind,
            "subtype": field.subtype,
            "default": field.default,
            "placeholder": field.placeholder,
            "help_text": field.help,
            "optional": field.optional,
            "min_length": 0,
            "max_length": field.max_length if field.kind == "text" else MAX_FIELD_LENGTH,
        }
        if field.kind == "select":
            element["multiselect"] = field.multiple
            element["options"] = [{"text": text, "value": value} for text, value in field.options]
        if field.dynamic:
            element |= {"data_source": "dynamic", "data_source_url": self.dialog_url}
        return element
