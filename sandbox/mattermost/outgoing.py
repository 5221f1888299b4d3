"""Calls from the twin to an integration (slash commands, buttons, dialogs), with the server's guard against private hosts."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse

from sandbox.mattermost.model import Json

MAX_RESPONSE_BYTES = 1024 * 1024


class CallRefusedError(Exception):
    """No answer came: the host is private and not allowed, refused the connection, or was too slow."""


def is_allowed(host: str, port: int, address: str, allowed: Iterable[str]) -> bool:
    """Whether AllowedUntrustedInternalConnections lets this through; public addresses always pass.

    An entry is a host name, an address, a network, or (narrower than the server) `host:port`.
    """
    ip = ipaddress.ip_address(address)
    if ip.is_global and not ip.is_multicast:
        return True
    for entry in allowed:
        if entry in {host, address, f"{host}:{port}", f"{address}:{port}"}:
            return True
        try:
            if ip in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


class Integrations:
    """Sends requests to integrations; every call ends within `timeout_s`."""

    def __init__(self, allowed: tuple[str, ...], timeout_s: float) -> None:
        self._allowed = allowed
        self._timeout_s = timeout_s

    async def post_json(self, url: str, body: Json) -> HTTPResponse:
        """POST JSON; the answer whatever its status, or CallRefusedError."""
        return await self._send(url, "POST", {"Content-Type": "application/json"}, json.dumps(body))

    async def send_form(self, url: str, method: str, form: str, token: str) -> HTTPResponse:
        """A slash command's call: a form in the body (POST) or in the query (GET), and its token in the header."""
        headers = {"Authorization": f"Token {token}"}
        if method == "G":
            return await self._send(f"{url}{'&' if '?' in url else '?'}{form}", "GET", headers, None)
        return await self._send(url, "POST", headers | {"Content-Type": "application/x-www-form-urlencoded"}, form)

    async def _send(self, url: str, method: str, headers: dict[str, str], body: str | None) -> HTTPResponse:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._check(url)
                return await AsyncHTTPClient().fetch(
                    HTTPRequest(
                        url,
                        method=method,
                        headers={"Accept": "application/json", "User-Agent": "Mattermost-Bot/1.1", **headers},
                        body=body,
                        follow_redirects=False,
                        request_timeout=self._timeout_s,
                        decompress_response=False,
                    ),
                    raise_error=False,
                )
        except (OSError, HTTPClientError, ValueError) as failure:
            raise CallRefusedError(str(failure) or type(failure).__name__) from failure

    async def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise CallRefusedError("the address is not http")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        for *_, address in found:
            if not is_allowed(parts.hostname, port, str(address[0]), self._allowed):
                raise CallRefusedError("address forbidden, you may need to set AllowedUntrustedInternalConnections")
