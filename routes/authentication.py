"""Who may call: public endpoints by a literal list, everything else behind a guard. An unguarded route stops the start."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence

from flask import Flask, Response, request

from routes import problems
from switchboard.errors import ConfigError

Guard = Callable[[], Response | None]  # None: go on; an answer: refused

PUBLIC_ENDPOINTS = frozenset(
    {
        "system.home",
        "system.healthz",
        "system.readyz",
        "system.openapi",
        "system.docs",
        "files.download",  # the address itself is signed and expires
    }
)
FORWARDING_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via")


def matches(given: str, accepted: Sequence[str]) -> bool:
    """Whether `given` is one of the accepted tokens; the time it takes tells nothing of them, nor of their lengths."""
    given_digest = hashlib.sha256(given.encode("utf-8", "surrogateescape")).digest()
    found = False
    for token in accepted:
        found |= hmac.compare_digest(given_digest, hashlib.sha256(token.encode()).digest())
    return found


def bearer_token() -> str | None:
    """The token of `Authorization: Bearer TOKEN` (RFC 6750), None where there is none."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


class TokenGuard:
    """Lets a request through that carries one of several tokens.

    `setting` is what an operator sets to have a token; while `accepted()` is empty every request is answered 503 with that
    name. `read` takes the token from the current request: webhooks of some callers carry it in a header of their own.
    """

    def __init__(
        self, accepted: Callable[[], Sequence[str]], *, setting: str, read: Callable[[], str | None] = bearer_token
    ) -> None:
        self._accepted = accepted
        self._setting = setting
        self._read = read

    def __call__(self) -> Response | None:
        """See Guard."""
        accepted = self._accepted()
        if not accepted:
            return problems.problem(503, f"{self._setting} is not set on this server, so nobody can use this address.")
        given = self._read()
        if given is None:
            return problems.problem(401, "This address needs a token.", challenge='Bearer realm="switchboard"')
        if not matches(given, accepted):
            challenge = 'Bearer realm="switchboard", error="invalid_token"'
            return problems.problem(401, "The token is not accepted.", challenge=challenge)
        return None


def loopback_or(guard: Guard) -> Guard:
    """Lets requests of this very machine through, and asks `guard` for all others.

    A request that a proxy on this machine passed on comes from loopback too: its forwarding headers give it away.
    """

    def check() -> Response | None:
        return None if _is_local() else guard()

    return check


def install(app: Flask, guards: Mapping[str, Guard]) -> None:
    """Guard every endpoint of `app` by its own name or its blueprint's.

    ConfigError for one that has no guard and is not in PUBLIC_ENDPOINTS.
    """
    for rule in app.url_map.iter_rules():
        if rule.endpoint not in PUBLIC_ENDPOINTS and _guard_of(rule.endpoint, guards) is None:
            raise ConfigError(f"the endpoint {rule.endpoint} has no guard and is not in PUBLIC_ENDPOINTS")

    @app.before_request
    def check() -> Response | None:
        if request.endpoint is None or request.endpoint in PUBLIC_ENDPOINTS:
            return None
        guard = _guard_of(request.endpoint, guards)
        return guard() if guard is not None else problems.problem(401, "This address is closed.")


def _guard_of(endpoint: str, guards: Mapping[str, Guard]) -> Guard | None:
    return guards.get(endpoint) or guards.get(endpoint.rpartition(".")[0])


def _is_local() -> bool:
    if any(name in request.headers for name in FORWARDING_HEADERS):
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False
