"""The guard for addresses that users give: https to public hosts, nothing else.

A URL is judged twice: its form when it is entered (`check`), and the addresses its name resolves to whenever a connection
is made (`resolve`), because a name may point elsewhere by then (DNS rebinding). A client of such URLs must connect to the
addresses that `resolve` returned and ask again for each redirect.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable
from urllib.parse import SplitResult, urlsplit

from switchboard.errors import InvalidInputError

FIELD = "server_url"
MAX_URL_LENGTH = 2_048
HTTPS_PORT = 443
FIRST_UNPRIVILEGED_PORT = 1024
MAX_ADDRESSES = 4  # each one may cost a connection time-out

AddressInfo = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]
Resolver = Callable[[str, int], list[AddressInfo]]

_IPv6 = ipaddress.IPv6Network
_NAT64 = _IPv6("64:ff9b::/96")  # RFC 6052: on IPv6-only hosts every IPv4 server is reached through it
_REFUSED = (
    _IPv6("::/96"),  # IPv4-compatible, RFC 4291 section 2.5.5.1
    _IPv6("::ffff:0:0/96"),  # IPv4-mapped: no honest name has such a record
    _IPv6("64:ff9b:1::/48"),  # NAT64 of one's own network, RFC 8215
    _IPv6("2001::/32"),  # Teredo: holds an IPv4 address
    _IPv6("2002::/16"),  # 6to4: holds an IPv4 address
    _IPv6("fec0::/10"),  # site-local
    ipaddress.IPv4Network("192.0.0.0/24"),  # protocol assignments, RFC 6890
    ipaddress.IPv4Network("192.88.99.0/24"),  # 6to4 relays, RFC 7526
)


class AddressGuard:
    """Decides which addresses a user's URL may reach.

    `allowed` lists exceptions as host:port, exactly as the URL spells them: such a server may be private and speak plain http.
    Ports: 443 and everything from 1024 up; the other low ports belong to services that are no calendar servers.
    """

    def __init__(self, allowed: Iterable[str] = (), *, resolver: Resolver | None = None) -> None:
        self._allowed = frozenset(address.lower() for address in allowed)
        self._resolver = resolver or _system_resolver

    def check(self, url: str) -> SplitResult:
        """The parts of a URL whose form is acceptable; raises InvalidInputError(field="server_url"). Asks no DNS."""
        if len(url) > MAX_URL_LENGTH:
            raise _refused(f"The server address is too long: at most {MAX_URL_LENGTH} characters.")
        if any(character <= " " or character == "\\" for character in url):
            raise _refused("The server address holds a space or another character that no address has.")
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise _refused("The server address cannot be read: write it as https://host/path.") from None
        if parts.scheme not in ("https", "http") or not host:
            raise _refused("The server address must begin with https:// and name a host.")
        if parts.username is not None or parts.password is not None:
            raise _refused("Leave login and password out of the server address: they have fields of their own.")
        if port is None:
            port = HTTPS_PORT if parts.scheme == "https" else 80
        if self._is_allowed(host, port):
            return parts
        if parts.scheme != "https":
            raise _refused(
                "The server address must begin with https://: over http the password could be read on the way."
            )
        if port != HTTPS_PORT and port < FIRST_UNPRIVILEGED_PORT:
            raise _refused("This port is not allowed: use 443 (the default) or a port from 1024 up.")
        return parts

    def resolve(self, host: str, port: int) -> list[AddressInfo]:
        """The addresses to connect to, at most four; InvalidInputError when any of the name's addresses is not public.

        Raises OSError (socket.gaierror) when the name does not resolve, like socket.getaddrinfo.
        """
        found = self._resolver(host, port)
        if not self._is_allowed(host, port) and any(not is_public(str(info[4][0])) for info in found):
            raise _refused("The server address leads into a private or reserved network, which is not allowed.")
        return found[:MAX_ADDRESSES]

    def _is_allowed(self, host: str, port: int) -> bool:
        return f"{host.lower()}:{port}" in self._allowed or f"[{host.lower()}]:{port}" in self._allowed


def is_same_site(host: str, other: str) -> bool:
    """Whether two hosts belong to one registered domain, as caldav.icloud.com and p42-caldav.icloud.com do.

    The domain is guessed without a list: the last two labels, or three below a short label of a country (co.uk, com.tr). So
    the customers of a provider of names (duckdns.org) count as one. IP addresses are their own site.
    """
    return _site(host) == _site(other)


def _site(host: str) -> str:
    host = host.rstrip(".").lower()
    labels = host.split(".")
    if ":" in host or labels[-1].isdecimal() or len(labels) < 2:
        return host
    is_below_country = len(labels[-1]) == 2 and len(labels[-2]) <= 3
    return ".".join(labels[-3 if is_below_country else -2 :])


def is_public(address: str) -> bool:
    """Whether an IP address (text, a zone index included) lies in the public internet; anything unreadable does not."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip in _NAT64:
        return is_public(str(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)))
    if any(ip.version == network.version and ip in network for network in _REFUSED):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_link_local)


def _system_resolver(host: str, port: int) -> list[AddressInfo]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]  # numeric hosts only


def _refused(message: str) -> InvalidInputError:
    return InvalidInputError(message, field=FIELD)
