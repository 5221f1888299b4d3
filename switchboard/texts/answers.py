"""Answers to invitations: the buttons, how the answer stands, and what is said to a click."""

from __future__ import annotations

from switchboard.domain.calendar.answering import Reply
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape
from switchboard.texts.menu import TRIGGER

MAX_TITLE_CHARS = 120


def reply_label(reply: Reply, texts: Texts, *, chosen: bool) -> str:
    """What stands on a button; the one that is the answer now is ticked."""
    labels = {
        Reply.ACCEPTED: texts.gettext("Accept"),
        Reply.TENTATIVE: texts.gettext("Maybe"),
        Reply.DECLINED: texts.gettext("Decline"),
    }
    return f"✓ {labels[reply]}" if chosen else labels[reply]


def reply_words(partstat: str, texts: Texts) -> str:
    """How the person has answered."""
    if partstat == Reply.ACCEPTED:
        return texts.gettext("you accepted")
    if partstat == Reply.TENTATIVE:
        return texts.gettext("you said maybe")
    if partstat == Reply.DECLINED:
        return texts.gettext("you declined")
    return texts.gettext("you have not answered yet")


def standing_text(partstat: str, texts: Texts) -> str:
    """An answer that stands in the calendar."""
    mark = {Reply.ACCEPTED: "✅ ", Reply.TENTATIVE: "❔ ", Reply.DECLINED: "❌ "}
    return f"{mark.get(Reply(partstat), '') if partstat in set(Reply) else ''}{reply_words(partstat, texts)}"


def waiting_text(partstat: str, reason: str | None, texts: Texts) -> str:
    """An answer on its way; `reason` is a word for what has held it up."""
    words = reply_words(partstat, texts)
    if reason is None:
        return texts.gettext("⏳ {answer}: being written to your calendar", answer=words)
    return texts.gettext(
        "⏳ {answer}: not in your calendar yet, because {reason}; it is tried again",
        answer=words,
        reason=reason_text(reason, texts),
    )


def failed_text(partstat: str, reason: str | None, texts: Texts) -> str:
    """An answer that could not be written."""
    return texts.gettext(
        "⚠️ {answer}, but this could not be written to your calendar: {reason}",
        answer=reply_words(partstat, texts),
        reason=reason_text(reason or "", texts),
    )


def question_text(title: str, *, series: bool, whole: bool, state: str, texts: Texts) -> str:
    """Over the buttons: which meeting, all of its series or it alone, and the answer. `title` is '' where it is plain."""
    parts = []
    if title:
        parts.append(f"**{escape(title, MAX_TITLE_CHARS)}**")
    if whole:
        parts.append(texts.gettext("the whole series"))
    elif series:
        parts.append(texts.gettext("this meeting of the series alone"))
    text = f"{', '.join(parts)}: {state}" if parts else state
    return text[:1].upper() + text[1:]


def more_questions_text(count: int, texts: Texts) -> str:
    """Under a notice with more meetings to answer than it has buttons for."""
    return texts.ngettext(
        "{count} more invitation waits for your answer: answer it in your calendar, or by the buttons of its reminder.",
        "{count} more invitations wait for your answer: answer them in your calendar, or by the buttons of their reminders.",
        count,
    )


def taken_text(title: str, partstat: str, texts: Texts) -> str:
    """At once after a click."""
    return texts.gettext(
        "{title}: {answer}. Writing it to your calendar … The message will show the result.",
        title=escape(title, MAX_TITLE_CHARS) or texts.gettext("(no title)"),
        answer=reply_words(partstat, texts),
    )


def refused_text(reason: str, texts: Texts) -> str:
    """At once after a click that leads to nothing."""
    return texts.gettext("This cannot be answered here: {reason}.", reason=reason_text(reason, texts))


def reason_text(reason: str, texts: Texts) -> str:
    """Why an answer is not written, as part of a sentence; `reason` is a word of services/calendar/answering.py."""
    command = f"`{TRIGGER} connections update`"
    reasons = {
        "gone": texts.gettext("the meeting is not in your calendar any more"),
        "over": texts.gettext("the meeting is over"),
        "not_invited": texts.gettext("you are not among those invited"),
        "organiser": texts.gettext("it is your own meeting"),
        "password": texts.gettext(
            "the calendar server refused your password; give a new one by {command}", command=command
        ),
        "refused": texts.gettext("the calendar server does not allow it; answer in your calendar program"),
        "unsafe": texts.gettext("this entry cannot be changed safely from here; answer in your calendar program"),
        "conflict": texts.gettext("the meeting is being changed by somebody else"),
    }
    return reasons.get(reason) or texts.gettext("the calendar server does not answer")
