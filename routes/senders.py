"""Who sends for an organisation: a bearer token, or a signature over the body.

A signature covers the time and the body, not the address. So it is accepted where the body says what is done, and for reading;
a change without a body needs the token, or anybody who saw a signed request could turn it into another one.
"""

from __future__ import annotations

from flask import Response, g, request

from routes import problems
from routes.authentication import Guard, bearer_token
from routes.services import services

ORGANISATION = "X-Switchboard-Organisation"
TIMESTAMP = "X-Switchboard-Timestamp"
SIGNATURE = "X-Switchboard-Signature"
CHALLENGE = 'Bearer realm="switchboard"'
HEADERS = {
    ORGANISATION: "With a signature: the organisation's number.",
    TIMESTAMP: "With a signature: Unix seconds, at most 300 away from our clock.",
    SIGNATURE: "Instead of a token: v1= and the hexadecimal HMAC-SHA256 of `timestamp.body` under the organisation's secret.",
}
_READING = ("GET", "HEAD")


def sender_guard() -> Response | None:
    """Lets a request through that an organisation sent, and notes which one."""
    return _signed() if SIGNATURE in request.headers else _with_token()


def administrator_or_sender(administrator: Guard) -> Guard:
    """Lets the administrator through, and an organisation's token for that organisation's own addresses."""

    def check() -> Response | None:
        token = bearer_token()
        organisation_id = None if token is None else services().organisations.credentials.by_token(token)
        if organisation_id is None:
            return administrator()
        if organisation_id != (request.view_args or {}).get("organisation_id"):
            return problems.problem(403, "This token belongs to another organisation.")
        g.actor = f"organisation:{organisation_id}"
        return None

    return check


def organisation_id() -> int:
    """The organisation that sent the current request."""
    return int(g.organisation_id)


def signature() -> str | None:
    """What the current request was signed with."""
    return request.headers.get(SIGNATURE)


def actor() -> str:
    """Who changes something, for the audit log."""
    return str(g.get("actor", "http"))


def _with_token() -> Response | None:
    token = bearer_token()
    if token is None:
        return problems.problem(401, "This address needs a token or a signature.", challenge=CHALLENGE)
    found = services().organisations.credentials.by_token(token)
    if found is None:
        return problems.problem(401, "The token is not accepted.", challenge=f'{CHALLENGE}, error="invalid_token"')
    g.organisation_id = found
    return None


def _signed() -> Response | None:
    credentials = services().organisations.credentials
    number, timestamp = request.headers.get(ORGANISATION, ""), request.headers.get(TIMESTAMP, "")
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        return problems.problem(401, f"A signed request names its organisation in {ORGANISATION}.", challenge=CHALLENGE)
    if not credentials.is_timely(timestamp):
        detail = (
            f"{TIMESTAMP} is not the present time: Unix seconds, at most 300 from {int(services().now().timestamp())}."
        )
        return problems.problem(401, detail, challenge=CHALLENGE)
    body = request.get_data()
    given = request.headers[SIGNATURE]
    if not credentials.is_signed(int(number), timestamp=timestamp, signature=given, body=body):
        detail = "The signature is not that of this organisation over `timestamp.body`: compare the exact bytes."
        return problems.problem(401, detail, challenge=CHALLENGE)
    if request.method not in _READING and not body:
        detail = "A signature over an empty body says nothing of this address: use the token, or send the body."
        return problems.problem(401, detail, challenge=CHALLENGE)
    g.organisation_id = int(number)
    return None
