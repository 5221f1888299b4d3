"""Changing an object on the server: only the version that was read, and never blindly."""

from __future__ import annotations

import pytest

from sandbox.caldav.faulty import FaultyServer
from sandbox.faults import Kind
from switchboard.clients.caldav import CaldavClient
from switchboard.deadlines import deadline_in
from switchboard.errors import (
    AuthError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    UncertainError,
)

OLD = b"BEGIN:VCALENDAR\r\nX:\xc3\xa4\r\nEND:VCALENDAR\r\n"
NEW = OLD.replace(b"X:", b"Y:")


@pytest.fixture
def href(faulty: FaultyServer) -> str:
    return faulty.put("a.ics", OLD)


def stored(faulty: FaultyServer, href: str) -> bytes:
    return faulty.objects[href][1]


def test_what_was_read_is_replaced_and_its_new_etag_told(faulty: FaultyServer, client: CaldavClient, href: str) -> None:
    read = client.get(faulty.calendar_url, href)
    assert (read.raw, read.etag) == (OLD, faulty.objects[href][0])
    etag = client.put(faulty.calendar_url, href, NEW, read.etag)
    assert (etag, NEW) == faulty.objects[href]
    assert client.get(faulty.calendar_url, href).etag == etag


def test_what_was_changed_meanwhile_is_a_conflict_and_stays(
    faulty: FaultyServer, client: CaldavClient, href: str
) -> None:
    read = client.get(faulty.calendar_url, href)
    faulty.quirks.edits.append(lambda: faulty.touch("a.ics", b"theirs"))
    with pytest.raises(ConflictError):
        client.put(faulty.calendar_url, href, NEW, read.etag)
    assert stored(faulty, href) == b"theirs"


def test_a_server_that_stores_other_bytes_tells_no_etag(faulty: FaultyServer, client: CaldavClient, href: str) -> None:
    faulty.quirks.rewrites = lambda raw: raw + b"X-OWN:1\r\n"
    assert client.put(faulty.calendar_url, href, NEW, faulty.objects[href][0]) == ""


@pytest.mark.parametrize(
    ("sent", "meant"), [('W/"1"', '"1"'), ('"1-gzip"', '"1"'), ('W/"1-gzip"', '"1"'), ('"1"', '"1"'), ("", "")]
)
def test_what_compressing_proxies_make_of_an_etag_is_undone(
    faulty: FaultyServer, client: CaldavClient, href: str, sent: str, meant: str
) -> None:
    faulty.objects[href] = (sent, OLD)
    assert client.get(faulty.calendar_url, href).etag == meant


@pytest.mark.parametrize("kind", ["cut", "slow", "error"])
def test_an_answer_that_is_lost_after_the_effect_is_uncertain(
    faulty: FaultyServer, client: CaldavClient, hurried: CaldavClient, href: str, kind: Kind
) -> None:
    faulty.faults.add(kind, method="PUT", when="after", seconds=3.0, status=502)
    with pytest.raises(UncertainError):
        (hurried if kind == "slow" else client).put(faulty.calendar_url, href, NEW, faulty.objects[href][0])
    assert stored(faulty, href) == NEW


def test_the_end_of_the_work_during_a_put_is_uncertain(faulty: FaultyServer, client: CaldavClient, href: str) -> None:
    faulty.faults.add("slow", method="PUT", when="after", seconds=3.0)
    with deadline_in(0.3), pytest.raises(UncertainError):
        client.put(faulty.calendar_url, href, NEW, faulty.objects[href][0])


@pytest.mark.parametrize("status", [403, 409, 415, 501])
def test_a_refusal_is_told_with_its_status(faulty: FaultyServer, client: CaldavClient, href: str, status: int) -> None:
    faulty.quirks.put_status = status
    with pytest.raises(RemoteRejectedError) as refused:
        client.put(faulty.calendar_url, href, NEW, faulty.objects[href][0])
    assert refused.value.status == status


def test_other_refusals_are_those_of_every_call(faulty: FaultyServer, client: CaldavClient, href: str) -> None:
    with pytest.raises(NotFoundError):
        client.get(faulty.calendar_url, faulty.calendar + "none.ics")
    faulty.faults.add("rate_limit", method="PUT", count=1)
    with pytest.raises(RateLimitedError):
        client.put(faulty.calendar_url, href, NEW, '"1"')
    faulty.quirks.redirect = "http://elsewhere.example.org/a.ics"
    with pytest.raises(RemoteUnavailableError, match="another host"):
        client.put(faulty.calendar_url, href, NEW, '"1"')
    faulty.quirks.redirect = ""
    faulty.password = "other"
    with pytest.raises(AuthError):
        client.put(faulty.calendar_url, href, NEW, '"1"')
    assert stored(faulty, href) == OLD


@pytest.mark.parametrize("elsewhere", ["https://elsewhere.example.org/a.ics", "http://elsewhere.example.org/a.ics"])
def test_an_address_of_another_host_is_not_called(faulty: FaultyServer, client: CaldavClient, elsewhere: str) -> None:
    requests = len(faulty.requests)
    for call in (
        lambda: client.get(faulty.calendar_url, elsewhere),
        lambda: client.put(faulty.calendar_url, elsewhere, NEW, '"1"'),
    ):
        with pytest.raises((RemoteUnavailableError, InvalidInputError)):
            call()
    assert len(faulty.requests) == requests
