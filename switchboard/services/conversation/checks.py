"""check_scheduler: what will be sent, when next, what is paused and why."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from switchboard.domain.commands import Command
from switchboard.services.calendar.statuses import StatusView
from switchboard.services.calendar.subscribers import Subscribers
from switchboard.services.conversation.answers import Answer, ButtonRow
from switchboard.services.conversation.menus import command_choice, connect_first
from switchboard.services.conversation.notifications import describe
from switchboard.services.conversation.speakers import Speaker, facts_of
from switchboard.texts import notifications as words
from switchboard.texts import statuses as status_words


def check_scheduler(speaker: Speaker, subscribers: Subscribers, now: datetime) -> Answer:
    """From the store alone."""
    subscriber = speaker.subscriber
    if subscriber is None:
        return connect_first(speaker)
    if not subscriber.has_notifications:
        choice = command_choice(Command.CREATE, speaker.texts, style="primary")
        return Answer(words.scheduler_is_off_text(speaker.texts), (ButtonRow((choice,)),))
    facts = [facts_of(one, speaker.texts) for one in speaker.accounts]
    upcoming = subscribers.next_reminder(subscriber, now)
    status = subscribers.status(speaker.user_id, now) if subscriber.status_enabled else None
    return Answer(
        words.scheduler_text(
            chosen=describe(subscriber, speaker.texts),
            next_agenda_at=subscriber.next_agenda_at,
            next_reminder=(upcoming.fire_at, upcoming.title, upcoming.start) if upcoming else None,
            status=_status_lines(status, speaker) if status is not None else (),
            paused=[(one.login, one.reason) for one in facts if one.paused],
            zone=ZoneInfo(speaker.zone),
            texts=speaker.texts,
        )
    )


def _status_lines(status: StatusView, speaker: Speaker) -> tuple[str, ...]:
    zone = ZoneInfo(speaker.zone)
    line = status_words.status_line(
        shown_until=status.shown_until,
        left_alone_until=status.left_alone_until,
        next_at=status.next_at,
        zone=zone,
        texts=speaker.texts,
    )
    if status.problem is None or status.problem_at is None:
        return (line,)
    return (line, status_words.status_problem_text(status.problem, status.problem_at, zone, speaker.texts))
