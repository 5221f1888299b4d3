"""A click on the snooze of a reminder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from switchboard.services.calendar.snoozing import Snoozing
from switchboard.services.conversation.answers import Answer
from switchboard.services.conversation.menus import connect_first
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import snoozes as words


def snooze_reminder(
    speaker: Speaker, snoozing: Snoozing, details: Mapping[str, str], post_id: str, now: datetime
) -> Answer:
    """The reminder stands in the ledger with the answer; the message with the button shows it afterwards."""
    if speaker.subscriber is None:
        return connect_first(speaker)
    delivery_id = int(details["delivery"])
    snoozed = snoozing.ask(speaker.user_id, delivery_id, int(details["choice"]))
    if snoozed.at is None:
        return Answer(words.refused_text(snoozed.reason, speaker.texts))
    text = words.taken_text(snoozed.title, snoozed.at, now, ZoneInfo(speaker.zone), speaker.texts)
    return Answer(text, show=((delivery_id, post_id),) if post_id else ())
