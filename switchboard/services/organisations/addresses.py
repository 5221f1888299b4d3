"""How the ledger calls those who are reached for an organisation: channel, subject, recipient."""

from __future__ import annotations

from switchboard.db.models import Recipient

TELEGRAM = "telegram"
MATTERMOST = "mattermost"
CHANNELS = (TELEGRAM, MATTERMOST)


def subject_of(channel: str, account_id: int | None, recipient: Recipient) -> str:
    """What orders messages to one person: their chat with one number, or with the bot."""
    if channel == MATTERMOST:
        return f"mattermost:{recipient.mattermost}"
    return f"telegram:{account_id}:{recipient.id}"


def account_of(subject: str) -> int | None:
    """The Telegram account of a subject; None for another channel's."""
    channel, _, rest = subject.partition(":")
    return int(rest.partition(":")[0]) if channel == TELEGRAM else None


def ledger_recipient(channel: str, recipient: Recipient) -> str:
    """Mattermost's own id of the user; for Telegram our number of the recipient, whose address the renderer gives."""
    return str(recipient.mattermost) if channel == MATTERMOST else str(recipient.id)


def reachable(recipient: Recipient, account_id: int | None) -> tuple[str, ...]:
    """The channels that can be tried, the person's first one first. Telegram needs a number to write from."""
    wanted = (recipient.channel, recipient.second_channel)
    has_address = {
        TELEGRAM: recipient.telegram is not None and account_id is not None,
        MATTERMOST: recipient.mattermost is not None,
    }
    return tuple(channel for channel in wanted if channel is not None and has_address[channel])
