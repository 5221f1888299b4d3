"""The meetings of a message that its reader is asked to answer, and their buttons.

A meeting is asked about where the reader is among the attendees and does not call it: a new one that they have not answered, a
moved one, and each one that they are reminded of. A ticket names the message and the meeting's number in it, so that a
button stays short whatever the UID.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from switchboard.db.models import (
    AnswerState,
    CalendarAccount,
    CalendarAnswer,
    CalendarOccurrence,
    CalendarSubscriber,
    Delivery,
)
from switchboard.domain.calendar.answering import Reply
from switchboard.domain.calendar.changes import Change, ChangeKind
from switchboard.domain.calendar.occurrences import NEEDS_ACTION, Occurrence
from switchboard.services.calendar.snoozes import REMINDER_KIND, snooze_rows, snoozes_of
from switchboard.services.conversation.answers import ButtonRow, Choice, Step
from switchboard.texts import answers as words
from switchboard.texts.locales import Texts

MAX_QUESTIONS = 5
"""Rows of buttons that a notice has at most."""
LIFE_AFTER_END = timedelta(days=30)
"""How long a button still says that its meeting is over; then it is only too old."""
REMINDER_NUMBER = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A meeting to answer: `number` in its message, `recurrence_id` '' for all of a series, `title` '' where it is plain.

    `partstat` is the present answer in the store, `ends_at` when the meeting ends (of a series, the next one).
    """

    number: int
    uid: str
    recurrence_id: str
    title: str
    series: bool
    partstat: str
    ends_at: datetime

    @property
    def whole(self) -> bool:
        """Whether the answer is for a whole series."""
        return self.series and not self.recurrence_id


@dataclass(frozen=True, slots=True)
class Asked:
    """The questions of a message, and how many more there would be."""

    questions: tuple[Question, ...]
    more: int = 0


def is_asked(meeting: Occurrence) -> bool:
    """Whether the meeting's reader has something to answer."""
    return bool(meeting.own_partstat) and not (meeting.organizer is not None and meeting.organizer.own)


class Meetings:
    """A person's meetings in the store with some UIDs."""

    def __init__(self, session: Session, subscriber_id: int, uids: Collection[str]) -> None:
        self._found: dict[str, list[Any]] = {}
        accounts = session.scalars(
            select(CalendarAccount.id).where(CalendarAccount.subscriber_id == subscriber_id)
        ).all()
        rows = session.execute(
            select(
                CalendarOccurrence.uid,
                CalendarOccurrence.recurrence_id,
                CalendarOccurrence.end_at,
                CalendarOccurrence.details,
            )
            .where(CalendarOccurrence.account_id.in_(accounts), CalendarOccurrence.uid.in_(uids))
            .order_by(CalendarOccurrence.start_at, CalendarOccurrence.id)
        )
        for row in rows:
            self._found.setdefault(row.uid, []).append(row)

    def find(self, uid: str, recurrence_id: str, now: datetime) -> Occurrence | None:
        """The meeting, or for '' the next of its series; where several calendars hold it, one to answer."""
        same = [one for one in self._found.get(uid, ()) if one.recurrence_id == recurrence_id or not recurrence_id]
        to_come = [one for one in same if one.end_at > now] or same
        copies = [Occurrence.from_json(one.details) for one in to_come if one.recurrence_id == to_come[0].recurrence_id]
        return next(filter(is_asked, copies), copies[0] if copies else None)


def reminder_questions(meeting: Occurrence | None) -> Asked:
    """The question of a reminder: of a series this meeting alone."""
    if meeting is None or not is_asked(meeting):
        return Asked(())
    question = Question(
        REMINDER_NUMBER,
        meeting.uid,
        meeting.recurrence_id,
        "",
        bool(meeting.recurrence_id),
        meeting.own_partstat,
        meeting.end,
    )
    return Asked((question,))


def target_of(change: Change) -> tuple[str, str]:
    """UID and RECURRENCE-ID that an answer to a told change is for: of what was told of a series as one, the series."""
    whole = change.series and (change.whole or change.count > 1)
    return (change.uid, "" if whole else change.recurrence_id)


def change_questions(
    session: Session, subscriber_id: int, changes: Sequence[tuple[int, Change]], answered: set[int], now: datetime
) -> Asked:
    """The questions of a notice; `changes` with their numbers. What was `answered` here keeps its question."""
    asking = [(number, one) for number, one in changes if one.kind in {ChangeKind.MOVED, ChangeKind.ADDED}]
    if not asking:
        return Asked(())
    meetings = Meetings(session, subscriber_id, {one.uid for _, one in asking})
    questions: list[Question] = []
    more = 0
    for number, change in asking:
        uid, recurrence_id = target_of(change)
        meeting = meetings.find(uid, recurrence_id, now)
        if meeting is None or not is_asked(meeting) or meeting.end <= now:
            continue
        if change.kind is ChangeKind.ADDED and meeting.own_partstat != NEEDS_ACTION and number not in answered:
            continue
        if len(questions) == MAX_QUESTIONS:
            more += 1
            continue
        title = change.title or meeting.title
        questions.append(Question(number, uid, recurrence_id, title, change.series, meeting.own_partstat, meeting.end))
    return Asked(tuple(questions), more)


def question_rows(
    questions: Sequence[Question], delivery_id: int, answers: Sequence[CalendarAnswer], texts: Texts
) -> tuple[ButtonRow, ...]:
    """The buttons of a message. An answer that was clicked here says how it stands, otherwise the store does."""
    clicked = {(one.uid, one.recurrence_id): one for one in answers}
    return tuple(
        _row(question, delivery_id, clicked.get((question.uid, question.recurrence_id)), texts)
        for question in questions
    )


def asked_in(
    session: Session, body: Mapping[str, Any], subscriber_id: int, answers: Sequence[CalendarAnswer], now: datetime
) -> tuple[Question, ...]:
    """The questions of a message that was sent, as they are now."""
    if "changes" not in body:
        found = Meetings(session, subscriber_id, {body["uid"]}).find(body["uid"], body["recurrence_id"], now)
        return reminder_questions(found).questions
    changes = [(number, Change.from_json(one)) for number, one in enumerate(body["changes"])]
    keys = {(one.uid, one.recurrence_id) for one in answers}
    answered = {number for number, change in changes if target_of(change) in keys}
    return change_questions(session, subscriber_id, changes, answered, now).questions


def rows_of_message(
    session: Session,
    delivery: Delivery,
    subscriber: CalendarSubscriber,
    answers: Sequence[CalendarAnswer],
    now: datetime,
) -> tuple[ButtonRow, ...]:
    """All buttons that a message that was sent should have now: its questions, and of a reminder the snooze.

    Who declines the meeting is not reminded of it again.
    """
    body = delivery.body or {}
    questions = asked_in(session, body, subscriber.id, answers, now)
    rows = question_rows(questions, delivery.id, answers, Texts.for_locale(subscriber.locale))
    if delivery.kind != REMINDER_KIND or any(_standing(one, answers) == Reply.DECLINED for one in questions):
        return rows
    return (*rows, *snooze_rows(body, delivery.id, subscriber, snoozes_of(session, [delivery.subject], now), now))


def _standing(question: Question, answers: Sequence[CalendarAnswer]) -> str:
    """The answer that stands or is being written."""
    for one in answers:
        if (one.uid, one.recurrence_id) == (question.uid, question.recurrence_id) and one.state != AnswerState.FAILED:
            return one.partstat
    return question.partstat


def _row(question: Question, delivery_id: int, answer: CalendarAnswer | None, texts: Texts) -> ButtonRow:
    partstat = question.partstat if answer is None else answer.partstat
    if answer is None or answer.state == AnswerState.WRITTEN:
        state = words.standing_text(partstat, texts)
    elif answer.state == AnswerState.WAITING:
        state = words.waiting_text(partstat, answer.reason, texts)
    else:
        partstat = question.partstat
        state = words.failed_text(answer.partstat, answer.reason, texts)
    choices = tuple(
        Choice(
            words.reply_label(reply, texts, chosen=reply == partstat),
            Step.ANSWER,
            {"delivery": str(delivery_id), "meeting": str(question.number), "answer": reply.value},
            "primary" if reply == partstat else "default",
            until=question.ends_at + LIFE_AFTER_END,
        )
        for reply in Reply
    )
    text = words.question_text(question.title, series=question.series, whole=question.whole, state=state, texts=texts)
    return ButtonRow(choices, text)
