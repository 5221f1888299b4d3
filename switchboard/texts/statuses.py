"""The custom status during meetings, and how things stand with it."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from switchboard.texts.locales import Texts


def status_text(texts: Texts) -> str:
    """What everybody reads beside the name, 100 characters at most: never a word of the meeting itself."""
    return texts.gettext("In a meeting")


def status_line(
    *,
    shown_until: datetime | None,
    left_alone_until: datetime | None,
    next_at: datetime | None,
    zone: ZoneInfo,
    texts: Texts,
) -> str:
    """What the status is now, or when it changes next."""
    if shown_until is not None:
        return texts.gettext("Status: shown until {when}", when=texts.moment(shown_until, zone))
    if left_alone_until is not None:
        return texts.gettext(
            "Status: you set one yourself during the meeting; it is left alone until {when}",
            when=texts.moment(left_alone_until, zone),
        )
    if next_at is not None:
        return texts.gettext("Status: changes next at {when}", when=texts.moment(next_at, zone))
    return texts.gettext("Status: on; there is no meeting in the coming week")


def status_problem_text(problem: str, since: datetime, zone: ZoneInfo, texts: Texts) -> str:
    """Why the status does not follow the meetings; `problem` is a value of services.calendar.statuses.Problem."""
    reasons = {
        "no_right": texts.gettext(
            "the bot may not set other people's statuses. An administrator gives it the right with `mattermost install`."
        ),
        "switched_off": texts.gettext("custom statuses are switched off on this Mattermost server."),
        "bad_token": texts.gettext("Mattermost does not accept the bot's token. An administrator has to renew it."),
        "deactivated": texts.gettext("your Mattermost account is deactivated."),
        "unreachable": texts.gettext("Mattermost did not answer; it is tried again in a few minutes."),
    }
    reason = reasons.get(problem) or texts.gettext("Mattermost refused the change.")
    return texts.gettext(
        "⚠️ Status: does not follow your meetings since {when}: {reason}", when=texts.moment(since, zone), reason=reason
    )
