"""Notices about documents where an organisation wrote no template, and what is said beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

from switchboard.domain.organisations import markup, templates
from switchboard.domain.organisations.digests import LINE_UNITS
from switchboard.domain.organisations.markup import Formatted, Span, Style, utf16_units
from switchboard.domain.organisations.templates import Purpose
from switchboard.texts.locales import Texts


def built_in(purpose: Purpose, values: Mapping[str, str], texts: Texts) -> Formatted:
    """The message of an organisation without a template of its own; `values` by the names of templates.PLACEHOLDERS."""
    if purpose is Purpose.DIGEST:
        return _line(values, texts)
    safe = {name: escape(value) for name, value in values.items()}
    heads = {
        Purpose.NOTICE: texts.gettext("Document {number} waits for you", number=safe["number"]),
        Purpose.REMINDER: texts.gettext("Document {number} still waits for you", number=safe["number"]),
        Purpose.PROCESSED: texts.gettext("Document {number} has been processed", number=safe["number"]),
    }
    lines = [f"<b>{heads[purpose]}</b>"]
    if safe["title"]:
        lines.append(safe["title"])
    if safe["deadline"] and purpose is not Purpose.PROCESSED:
        lines.append(texts.gettext("Deadline: {deadline}", deadline=safe["deadline"]))
    if safe["link"]:
        words = texts.gettext("Open the document")
        lines.append(f'<a href="{safe["link"]}">{words}</a>')
    lines.append(f"<i>{safe['organisation']}</i>")
    if safe["stop_hint"] and purpose is Purpose.NOTICE:
        lines.append(safe["stop_hint"])
    return markup.parse("\n".join(lines)).cut()


def digest(
    waiting: Sequence[Formatted], processed: Sequence[Formatted], organisation: str, hint: str, texts: Texts
) -> Formatted:
    """One message about several documents, of their lines; those of processed ones are struck out behind the others.

    `hint` is the stop hint, '' for none.
    """
    head = (
        texts.ngettext("{count} document waits for you", "{count} documents wait for you", len(waiting))
        if waiting
        else texts.gettext("All these documents have been processed")
    )
    return markup.lines(
        [
            Formatted(head).styled(Style.BOLD),
            *waiting,
            *(line.styled(Style.STRIKE) for line in processed),
            Formatted(organisation).styled(Style.ITALIC),
            Formatted(hint),
        ]
    ).cut()


def _line(values: Mapping[str, str], texts: Texts) -> Formatted:
    """A document's line in a digest. A long title is cut, so that the number and the deadline stay."""
    number = " ".join(values["number"].split())
    begin = f"• {number}"
    deadline = values["deadline"]
    end = texts.gettext(", until {deadline}", deadline=deadline) if deadline else ""
    title = Formatted(" ".join(values["title"].split())).cut(LINE_UNITS - utf16_units(begin + " " + end)).text
    named = f"{begin} {title}" if title else begin
    spans = [Span(Style.BOLD, 2, len(begin))]
    if values["link"]:
        spans.append(Span(Style.LINK, len(begin) + 1 if title else 2, len(named), values["link"]))
    return Formatted(named + end, tuple(spans))


def mailing(source: str, values: Mapping[str, str], texts: Texts) -> Formatted:
    """A mailing, uncut: its text between its title and its link, and who sends it; what the text names itself stands once.

    `source` is a template without faults.
    """
    named = templates.named(source)
    around = {name: "" if name in named else value for name, value in values.items()}
    words, link = texts.gettext("Open"), around["link"]
    return markup.lines(
        [
            Formatted(around["title"]).styled(Style.BOLD),
            templates.written(source, values),
            Formatted(words, (Span(Style.LINK, 0, len(words), link),)) if link else Formatted(""),
            Formatted(around["organisation"]).styled(Style.ITALIC),
            Formatted(around["stop_hint"]),
        ]
    )


def stop_hint(texts: Texts) -> str:
    """How to get no more messages."""
    return texts.gettext("To get no more of these messages, answer STOP.")


def stopped_message(organisations: Sequence[str], texts: Texts) -> Formatted:
    """The answer to STOP."""
    return Formatted(
        texts.gettext(
            "You get no more messages of {organisations}. To get them again, answer START.",
            organisations=", ".join(organisations),
        )
    )


def started_message(organisations: Sequence[str], texts: Texts) -> Formatted:
    """The answer to START."""
    return Formatted(
        texts.gettext(
            "You get the messages of {organisations} again. To get no more of them, answer STOP.",
            organisations=", ".join(organisations),
        )
    )


def stop_button(texts: Texts) -> str:
    """STOP as a button."""
    return texts.gettext("No more messages")


def start_button(texts: Texts) -> str:
    """START as a button."""
    return texts.gettext("Send me messages again")


def unsubscribed_text(organisation: str, texts: Texts) -> str:
    """The answer to the button that says STOP."""
    return texts.gettext("You get no more messages of {organisation}.", organisation=organisation)


def subscribed_text(organisation: str, texts: Texts) -> str:
    """The answer to the button that says START."""
    return texts.gettext("You get the messages of {organisation} again.", organisation=organisation)


def still_stopped_text(organisation: str, texts: Texts) -> str:
    """The answer to START over Mattermost while a STOP over Telegram stands."""
    return texts.gettext(
        "You answered STOP in Telegram. To get the messages of {organisation} again, answer START there.",
        organisation=organisation,
    )


def no_recipient_text(texts: Texts) -> str:
    """The answer to a button of whoever was removed."""
    return texts.gettext("You do not get these messages any more.")


def unread_message(support_contact: str, texts: Texts) -> Formatted:
    """The answer to anything else that a person writes to the number."""
    lines = [texts.gettext("Nobody reads what is written here. To get no more of these messages, answer STOP.")]
    if support_contact:
        lines.append(texts.gettext("Questions: {contact}", contact=support_contact))
    return Formatted("\n".join(lines))


def service_out_message(
    organisation: str, why: str, since: datetime, support_contact: str, *, zone: ZoneInfo, texts: Texts
) -> Formatted:
    """To the contacts: nothing goes out. `why` is the state of the account, or `no_account`."""
    reasons = {
        "sign_in_again": texts.gettext("the number has to be signed in again."),
        "stopped": texts.gettext("somebody stopped the number."),
        "no_account": texts.gettext("the number was removed."),
    }
    lines = [
        texts.gettext(
            "⚠️ Telegram messages of {organisation} do not go out since {when}: {reason}",
            organisation=organisation,
            when=texts.moment(since, zone),
            reason=reasons.get(why) or texts.gettext("Telegram cannot be reached."),
        ),
        texts.gettext("They wait, and go out when it works again."),
    ]
    if support_contact:
        lines.append(texts.gettext("Questions: {contact}", contact=support_contact))
    return Formatted("\n".join(lines))


def service_back_message(organisation: str, texts: Texts) -> Formatted:
    """To the contacts: it works again."""
    return Formatted(texts.gettext("Telegram messages of {organisation} go out again.", organisation=organisation))


def test_message(text: Formatted, texts: Texts) -> Formatted:
    """A message that says it is a test; its spans move with the line before it."""
    return markup.lines([Formatted(texts.gettext("A test of the template:")), text]).cut()
