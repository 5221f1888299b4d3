"""The button of an organisation's message: no more of them, or again. It stands in for STOP and START, which nobody can write
to a bot of Mattermost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from switchboard.domain.organisations.words import Word
from switchboard.services.conversation.answers import Answer, ButtonRow, Choice, Step
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import notices as words
from switchboard.texts.locales import Texts


class Pressed(Protocol):
    """What a click did: for which organisation, and whether a STOP over Telegram stands in spite of it."""

    @property
    def organisation(self) -> str: ...

    @property
    def stays_stopped(self) -> bool: ...


class Subscriptions(Protocol):
    """switchboard.services.organisations.recipients.Recipients."""

    def press(self, user_id: str, recipient_id: int, word: Word) -> Pressed | None: ...


def subscription_row(recipient_id: int, word: Word, texts: Texts) -> ButtonRow:
    """The button that says `word` for a recipient."""
    label = words.stop_button(texts) if word is Word.STOP else words.start_button(texts)
    return ButtonRow((Choice(label, Step.SUBSCRIPTION, {"recipient": str(recipient_id), "word": str(word)}),))


def press_subscription(speaker: Speaker, subscriptions: Subscriptions, details: Mapping[str, str]) -> Answer:
    """It stands at once; the answer has the button that undoes it."""
    recipient_id, word = int(details["recipient"]), Word(details["word"])
    pressed = subscriptions.press(speaker.user_id, recipient_id, word)
    if pressed is None:
        return Answer(words.no_recipient_text(speaker.texts))
    if pressed.stays_stopped:
        return Answer(words.still_stopped_text(pressed.organisation, speaker.texts))
    if word is Word.STOP:
        text, other = words.unsubscribed_text(pressed.organisation, speaker.texts), Word.START
    else:
        text, other = words.subscribed_text(pressed.organisation, speaker.texts), Word.STOP
    return Answer(text, rows=(subscription_row(recipient_id, other, speaker.texts),))
