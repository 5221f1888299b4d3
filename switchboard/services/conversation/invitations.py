"""A click on Accept, Maybe or Decline."""

from __future__ import annotations

from collections.abc import Mapping

from switchboard.domain.calendar.answering import Reply
from switchboard.services.calendar.answering import Invitations
from switchboard.services.conversation.answers import Answer
from switchboard.services.conversation.menus import connect_first
from switchboard.services.conversation.speakers import Speaker
from switchboard.texts import answers as words


def answer_invitation(speaker: Speaker, invitations: Invitations, details: Mapping[str, str], post_id: str) -> Answer:
    """The wish is kept, and written after the answer; the message with the button will show what became of it."""
    if speaker.subscriber is None:
        return connect_first(speaker)
    reply = Reply(details["answer"])
    taken = invitations.ask(speaker.user_id, int(details["delivery"]), int(details["meeting"]), reply, post_id)
    if taken.answer_id is None:
        return Answer(words.refused_text(taken.reason, speaker.texts))
    return Answer(words.taken_text(taken.title, reply, speaker.texts), write=(taken.answer_id,))
