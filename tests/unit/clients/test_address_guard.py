"""Addresses that users give: what is refused, and when."""

from __future__ import annotations

import socket

import pytest

from switchboard.clients.address_guard import AddressGuard, AddressInfo, is_public, is_same_site
from switchboard.errors import InvalidInputError


def resolving_to(*addresses: str) -> AddressGuard:
    def resolver(_host: str, port: int) -> list[AddressInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return AddressGuard(["127.0.0.1:5232", "[::1]:5232", "inside.example:80"], resolver=resolver)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "fc00::1", "fd12::1",
        "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "localhost", "",
    ],
)  # fmt: skip
def test_an_address_outside_the_public_internet_is_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_accepted(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://caldav.example.org/",
        "ftp://caldav.example.org/",
        "file:///etc/passwd",
        "caldav.example.org",
        "https://",
        "https://user@caldav.example.org/",
        "https://user:secret@caldav.example.org/",
        "https://caldav.example.org:22/",
        "https://caldav.example.org:99999/",
        "https://caldav.example.org/a b",
        "https://good.example\\@evil.example/",
        "https://[::1/",
        "https://caldav.example.org/" + "a" * 2_100,
        "http://127.0.0.1:5233/",
        "http://inside.example:81/",
    ],
)
def test_a_url_of_a_wrong_form_is_refused_and_names_its_field(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        resolving_to("8.8.8.8").check(url)
    assert caught.value.field == "server_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://caldav.example.org",
        "https://caldav.example.org:8443/dav/",
        "http://127.0.0.1:5232/",
        "http://[::1]:5232/",
        "http://INSIDE.example/",
    ],
)
def test_https_and_the_exceptions_are_accepted(url: str) -> None:
    resolving_to("8.8.8.8").check(url)


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        resolving_to("8.8.8.8", "10.0.0.1").resolve("mixed.example.org", 443)
    assert len(resolving_to("8.8.8.8").resolve("good.example.org", 443)) == 1


def test_an_exception_holds_for_its_host_and_port_alone() -> None:
    guard = resolving_to("127.0.0.1")
    assert guard.resolve("127.0.0.1", 5232)
    with pytest.raises(InvalidInputError):
        guard.resolve("127.0.0.1", 5233)
    with pytest.raises(InvalidInputError):
        guard.resolve("other.example", 5232)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost.", "localhost"])
def test_other_spellings_of_loopback_are_refused_by_the_real_resolver(host: str) -> None:
    with pytest.raises((InvalidInputError, socket.gaierror)):
        AddressGuard().resolve(host, 443)


@pytest.mark.parametrize(
    ("host", "other", "expected"),
    [
        ("caldav.icloud.com", "p42-caldav.icloud.com", True),
        ("caldav.icloud.com", "CALDAV.iCloud.com.", True),
        ("icloud.com", "p42-caldav.icloud.com", True),
        ("caldav.icloud.com.cn", "p42-caldav.icloud.com.cn", True),
        ("caldav.icloud.com.cn", "caldav.other.com.cn", False),
        ("calendar.example.co.uk", "calendar.evil.co.uk", False),
        ("calendar.example.co.uk", "dav.example.co.uk", True),
        ("caldav.icloud.com", "evil-icloud.com", False),
        ("caldav.icloud.com", "icloud.com.evil.org", False),
        ("caldav.icloud.com", "com", False),
        ("com", "evil.com", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "203.0.2.1", False),
        ("2001:db8::1", "2001:db8::2", False),
        ("2001:db8::1", "2001:db8::1", True),
        ("localhost", "localhost", True),
        ("localhost", "evil.localhost", False),
        ("", "evil.org", False),
    ],
)
def test_a_password_may_go_to_hosts_of_the_same_registered_domain_alone(host: str, other: str, expected: bool) -> None:
    assert is_same_site(host, other) is expected
    assert is_same_site(other, host) is expected
