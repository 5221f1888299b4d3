"""Snoozed reminders: the buttons, what is set, and what is said to a click."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from switchboard.domain.calendar.reminders import AT_START
from switchboard.texts.locales import Texts
from switchboard.texts.markdown import escape
from switchboard.texts.meetings import time_left

MAX_TITLE_CHARS = 120


def choice_label(choice: int, texts: Texts) -> str:
    """What stands on a button: `In 5 minutes`, or `At the start`."""
    return texts.gettext("At the start") if choice == AT_START else time_left(texts, timedelta(minutes=choice))


def offer_text(texts: Texts) -> str:
    """Over the buttons while nothing is set."""
    return texts.gettext("Remind me again:")


def set_text(at: datetime, now: datetime, zone: ZoneInfo, texts: Texts) -> str:
    """Over the buttons while a reminder is set."""
    if _is_same_day(at, now, zone):
        return texts.gettext("🔔 I will remind you at {time}", time=f"{at.astimezone(zone):%H:%M}")
    return texts.gettext("🔔 I will remind you on {time}", time=texts.moment(at, zone))


def taken_text(title: str, at: datetime, now: datetime, zone: ZoneInfo, texts: Texts) -> str:
    """At once after a click."""
    title = escape(title, MAX_TITLE_CHARS) or texts.gettext("(no title)")
    if _is_same_day(at, now, zone):
        return texts.gettext("{title}: I will remind you at {time}.", title=title, time=f"{at.astimezone(zone):%H:%M}")
    return texts.gettext("{title}: I will remind you on {time}.", title=title, time=texts.moment(at, zone))


def refused_text(reason: str, texts: Texts) -> str:
    """At once after a click that leads to nothing; `reason` is a word of services/calendar/snoozing.py."""
    reasons = {
        "begun": texts.gettext("the meeting has begun"),
        "off": texts.gettext("your reminders are switched off"),
    }
    reason = reasons.get(reason) or texts.gettext("the meeting was moved, cancelled or declined")
    return texts.gettext("I cannot remind you again: {reason}.", reason=reason)


def _is_same_day(at: datetime, now: datetime, zone: ZoneInfo) -> bool:
    return at.astimezone(zone).date() == now.astimezone(zone).date()
