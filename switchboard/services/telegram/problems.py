"""Why a step of a sign-in was refused: each answer of Telegram's, and ours, in one sentence that says what to do."""

from __future__ import annotations

from collections.abc import Mapping

PROBLEMS: Mapping[str, str] = {
    "code_wrong": "This is not the code. Look again and submit it once more.",
    "code_expired": "The code is not valid any more. Request a new one.",
    "too_many_attempts": "Too many wrong tries: this sign-in is over. Wait a while and request a new code.",
    "too_many_codes": "Telegram has sent this number too many codes. Try again tomorrow.",
    "password_wrong": "This is not the password. Try again.",
    "password_again": "Telegram asks for the password once more.",
    "phone_banned": "Telegram has banned this number. Write to recover@telegram.org, or take another number.",
    "phone_invalid": "Telegram knows no such number. Remove the account and add it with the right number.",
    "phone_unoccupied": "Nobody has registered this number with Telegram. Register it in a Telegram app first.",
    "phone_protected": "Telegram protects this number just now. Sign in with an app of Telegram first.",
    "no_other_way": "Telegram offers no other way to send this code.",
    "app_too_old": "Telegram wants a newer program. Update Switchboard.",
    "payment_required": "Telegram wants a payment before it sends a code here. Sign in with an app of Telegram first.",
    "email_needed": "Telegram wants an e-mail address for this account first. Set one up in an app of Telegram.",
    "api_refused": "Telegram refuses api_id and api_hash. Remove the account and add it with the pair of my.telegram.org.",
    "flood": "Telegram asks to wait before the next try.",
    "again": "Telegram asks to begin again. Request a new code.",
    "failed": "Telegram could not sign in. Request a new code.",
    "unreachable": "Telegram could not be reached. Try again.",
    "internal": "Something went wrong here; the log of the `telegram` process has it. Try again.",
    "cancelled": "The sign-in was cancelled.",
    "expired": "The sign-in was not finished in time. Request a new code.",
}
ENDING = frozenset(PROBLEMS) - {
    "code_wrong",
    "password_wrong",
    "password_again",
    "no_other_way",
    "flood",
    "unreachable",
    "internal",
}
"""After these the half-made session is of no use and thrown away; after the others the step can be tried again."""
