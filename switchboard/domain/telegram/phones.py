"""Phone numbers: one spelling for each, and a clear refusal of what is none."""

from __future__ import annotations

import re

from switchboard.errors import InvalidInputError

FEWEST_DIGITS = 7
MOST_DIGITS = 15  # ITU-T E.164
_ORNAMENTS = re.compile(r"[\s().\-\u00a0\u2010-\u2015]+")
_DIGITS = re.compile(r"[0-9]+")
RUSSIAN_NATIONAL_LENGTH = 11


def normalise(text: str, *, field: str = "phone") -> str:
    """`+` and 7 to 15 digits from what people write: "+7 (916) 123-45-67", "0079161234567", "79161234567".

    InvalidInputError for anything else; it does not repeat the number.
    """
    bare = _ORNAMENTS.sub("", text.strip())
    international = bare.startswith(("+", "00"))
    digits = bare.removeprefix("+") if bare.startswith("+") else bare.removeprefix("00")
    if not _DIGITS.fullmatch(digits) or not FEWEST_DIGITS <= len(digits) <= MOST_DIGITS or digits.startswith("0"):
        raise InvalidInputError(
            "this is no phone number: write it with the country code, for example +79161234567", field=field
        )
    if not international and digits.startswith("8") and len(digits) == RUSSIAN_NATIONAL_LENGTH:
        raise InvalidInputError(
            "this looks like a number without a country code: begin it with + and the code, for example +7 instead of 8",
            field=field,
        )
    return f"+{digits}"


def masked(phone: str) -> str:
    """The number with most of its digits hidden, to recognise it by: "+79*****4567"."""
    return f"{phone[:3]}{'*' * max(0, len(phone) - 7)}{phone[-4:]}" if len(phone) > FEWEST_DIGITS else "*" * len(phone)
