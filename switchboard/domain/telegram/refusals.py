"""Why a message could not be delivered for good: words that stay the same, each with a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping

PEER_FLOOD = "peer_flood"
UNKNOWN = "unknown"

REFUSALS: Mapping[str, str] = {
    "privacy": "the person's privacy settings do not let this account write to them",
    "blocked_by_user": "the person has blocked this account",
    "blocked_by_us": "this account has blocked the person",
    "deactivated": "the person's account was deleted",
    UNKNOWN: "nobody at Telegram can be found by this id, name or phone",
    "is_bot": "this is a bot, which cannot be written to",
    "forbidden": "this account may not write in this chat",
    "left": "this account is not in this chat any more",
    "media_forbidden": "this chat does not take this kind of content",
    PEER_FLOOD: "Telegram does not let this account write to strangers any more; ask @SpamBot from it",
}


def reason(word: str) -> str:
    """What stands in the ledger: the word, and its sentence."""
    return f"{word}: {REFUSALS[word]}"


def word_of(reason_text: str | None) -> str | None:
    """The word of such a reason; None for any other text."""
    word = (reason_text or "").partition(":")[0]
    return word if word in REFUSALS else None
