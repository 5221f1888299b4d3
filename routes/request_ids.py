"""The id of a request: taken from `X-Request-Id` where that is sane, else made; it stands in logs, answers and problems."""

from __future__ import annotations

import re
import uuid

from flask import request

HEADER = "X-Request-Id"
ENVIRON_KEY = "switchboard.request_id"
_SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{7,127}")


def accept_or_make(given: str | None) -> str:
    """`given` if it is 8 to 128 letters, digits or `._:-`, else a new id of 32 hexadecimal digits.

    Whatever else a client sends must not end in log lines and answers.
    """
    return given if given and _SANE.fullmatch(given) else uuid.uuid4().hex


def current() -> str:
    """The id of the request that Flask is answering: the front's, or one of its own where there is no front."""
    request_id: str = request.environ.setdefault(ENVIRON_KEY, accept_or_make(request.headers.get(HEADER)))
    return request_id
