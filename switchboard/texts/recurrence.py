"""How a series repeats, in words."""

from __future__ import annotations

from babel.dates import get_day_names

from switchboard.domain.calendar.recurrence import RecurrenceError, Rule, parse_rule
from switchboard.texts.locales import Texts


def recurrence_in_words(rule_text: str, texts: Texts) -> str:
    """`every week on Monday, until Dec 31`; rules with rarer parts are only said to repeat; '' for no rule."""
    if not rule_text:
        return ""
    try:
        rule = parse_rule(rule_text)
    except RecurrenceError:
        return texts.gettext("repeats")
    words = _frequency(rule, texts)
    if rule.freq == "WEEKLY" and rule.by_day:
        names = get_day_names("abbreviated", locale=texts.locale)
        days = ", ".join(names[weekday] for _, weekday in sorted(rule.by_day, key=lambda one: one[1]))
        words = texts.gettext("{how_often} on {days}", how_often=words, days=days)
    if rule.until is not None:
        words = texts.gettext("{how_often}, until {date}", how_often=words, date=f"{rule.until.at:%d.%m.%Y}")
    elif rule.count is not None:
        words = texts.ngettext(
            "{how_often}, {count} time in all", "{how_often}, {count} times in all", rule.count, how_often=words
        )
    return words


def _frequency(rule: Rule, texts: Texts) -> str:
    every_one = {
        "DAILY": texts.gettext("every day"),
        "WEEKLY": texts.gettext("every week"),
        "MONTHLY": texts.gettext("every month"),
        "YEARLY": texts.gettext("every year"),
    }
    if rule.freq not in every_one or rule.interval == 1:
        return every_one.get(rule.freq, texts.gettext("repeats"))
    match rule.freq:
        case "DAILY":
            return texts.ngettext("every {count} day", "every {count} days", rule.interval)
        case "WEEKLY":
            return texts.ngettext("every {count} week", "every {count} weeks", rule.interval)
        case "MONTHLY":
            return texts.ngettext("every {count} month", "every {count} months", rule.interval)
        case _:
            return texts.ngettext("every {count} year", "every {count} years", rule.interval)
