"""The CalDAV client against a server with the faults and quirks of calendar servers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sandbox.caldav.faulty import CALENDAR, LOGIN, FaultyServer
from switchboard.clients import caldav
from switchboard.clients.address_guard import AddressGuard, AddressInfo
from switchboard.clients.caldav import (
    CaldavClient,
    NotCaldavError,
    SyncTokenExpiredError,
    SyncUnsupportedError,
    error_for_status,
)
from switchboard.deadlines import DeadlinePassedError, deadline_in
from switchboard.errors import (
    AuthError,
    InvalidInputError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
)

EVENT = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:%d\nSUMMARY:Plan\nEND:VEVENT\nEND:VCALENDAR\n"
SECRETS = ("right", "anna", "127.0.0.1", "Sign in", "http")


def fill(server: FaultyServer, count: int) -> list[str]:
    return [server.put(f"{number}.ics", EVENT % number) for number in range(count)]


@pytest.mark.parametrize(
    ("fault", "expected", "retry_after_s"),
    [
        ({"kind": "error", "status": 400}, SyncUnsupportedError, None),
        ({"kind": "error", "status": 401}, AuthError, None),
        ({"kind": "error", "status": 403}, RemoteRejectedError, None),
        ({"kind": "error", "status": 404}, NotFoundError, None),
        ({"kind": "error", "status": 408}, RemoteUnavailableError, None),
        ({"kind": "rate_limit", "retry_after_s": 77}, RateLimitedError, 77.0),
        ({"kind": "error", "status": 500}, RemoteUnavailableError, None),
        ({"kind": "error", "status": 502}, RemoteUnavailableError, None),
        ({"kind": "error", "status": 503}, RemoteUnavailableError, None),
        ({"kind": "error", "status": 504}, RemoteUnavailableError, None),
        ({"kind": "error", "status": 507}, RemoteUnavailableError, None),
        ({"kind": "slow", "seconds": 5}, RemoteUnavailableError, None),
        ({"kind": "cut"}, RemoteUnavailableError, None),
        ({"kind": "cut_body"}, RemoteUnavailableError, None),
        ({"kind": "html"}, NotCaldavError, None),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_every_fault_becomes_one_of_our_errors_and_tells_no_secret(
    faulty: FaultyServer,
    client: CaldavClient,
    hurried: CaldavClient,
    fault: dict[str, Any],
    expected: type[Exception],
    retry_after_s: float | None,
) -> None:
    fill(faulty, 3)
    faulty.faults.add(**fault)
    with pytest.raises(expected) as caught:
        (hurried if fault["kind"] == "slow" else client).changes(faulty.calendar_url, None)
    assert getattr(caught.value, "retry_after_s", None) == retry_after_s
    assert not [secret for secret in SECRETS if secret in str(caught.value)]


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "empty"), (b"<d:multistatus xmlns:d='DAV:'><d:resp", "broken XML"), (b"<html><p>Hi</p></html>", "web page")],
)
def test_an_answer_that_is_no_multistatus_is_told_apart(
    faulty: FaultyServer, client: CaldavClient, body: bytes, words: str
) -> None:
    faulty.quirks.body = body
    with pytest.raises(NotCaldavError, match=words):
        client.etags(faulty.calendar_url)


def test_an_empty_list_of_members_is_not_believed(faulty: FaultyServer, client: CaldavClient) -> None:
    faulty.quirks.body = b"<d:multistatus xmlns:d='DAV:'/>"
    with pytest.raises(NotCaldavError):
        client.etags(faulty.calendar_url)


def test_the_library_cannot_log_what_it_is_not_given(
    faulty: FaultyServer, client: CaldavClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    faulty.quirks.body = b"<broken>a private meeting"
    with pytest.raises(NotCaldavError):
        client.etags(faulty.calendar_url)
    assert "private meeting" not in caplog.text


@pytest.mark.parametrize("seconds", [1e999, -5.0, float("nan")])
def test_a_senseless_retry_after_is_no_wait_at_all(seconds: float) -> None:
    error = error_for_status("REPORT", 429, (), seconds)
    assert isinstance(error, RateLimitedError)
    assert error.retry_after_s is None


@contextmanager
def self_signed_server(folder: Path) -> Iterator[int]:
    """The port of a TLS server whose certificate nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(secret + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(5)


def test_refused_unknown_and_untrusted_servers_are_transient_and_told_apart(tmp_path: Path) -> None:
    with socket.socket() as unused, self_signed_server(tmp_path) as tls_port:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        cases = {
            f"http://127.0.0.1:{port}/": "refused",
            f"https://127.0.0.1:{tls_port}/": "TLS",
            "https://nowhere.invalid/": "not known",
        }
        guard = AddressGuard([f"127.0.0.1:{port}", f"127.0.0.1:{tls_port}"])
        for url, words in cases.items():
            with CaldavClient(url, LOGIN, "x", guard=guard, timeout_s=1) as client:
                with pytest.raises(RemoteUnavailableError, match=words) as caught:
                    client.etags(url)
                assert not isinstance(caught.value, NotCaldavError)


def test_a_name_that_moves_into_the_private_network_after_the_check_is_not_connected_to(faulty: FaultyServer) -> None:
    def rebound(_host: str, _port: int) -> list[AddressInfo]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", faulty.port))]

    guard = AddressGuard(resolver=rebound)
    with (
        CaldavClient(f"https://calendar.example.org:{faulty.port}/", LOGIN, "x", guard=guard) as client,
        pytest.raises(InvalidInputError) as caught,
    ):
        client.discover()
    assert caught.value.field == "server_url"
    assert faulty.requests == []


def test_a_redirect_to_another_host_is_not_followed(faulty: FaultyServer, client: CaldavClient) -> None:
    faulty.quirks.redirect = "http://169.254.169.254/latest/"
    with pytest.raises(NotCaldavError, match="another host"):
        client.etags(faulty.calendar_url)
    faulty.quirks.redirect = "/elsewhere"
    with pytest.raises(RemoteUnavailableError, match="without end"):
        client.etags(faulty.calendar_url)


def test_a_trickle_of_bytes_is_ended_by_the_deadline(
    faulty: FaultyServer, client: CaldavClient, hurried: CaldavClient
) -> None:
    fill(faulty, 50)
    faulty.quirks.trickle_s = 0.05
    begun = time.monotonic()
    with pytest.raises(RemoteUnavailableError, match="longer than 2 seconds"):
        hurried.etags(faulty.calendar_url)
    assert time.monotonic() - begun < 20  # the trickle would last minutes
    faulty.quirks.trickle_s = 0
    assert len(client.etags(faulty.calendar_url)) == 50


def test_the_deadline_of_the_work_at_hand_ends_a_call_too(faulty: FaultyServer, client: CaldavClient) -> None:
    fill(faulty, 50)
    faulty.quirks.trickle_s = 0.05
    with pytest.raises(DeadlinePassedError), deadline_in(0.3):
        client.etags(faulty.calendar_url)


def test_an_answer_without_end_is_not_read_to_the_end(
    faulty: FaultyServer, client: CaldavClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty.quirks.endless_body = True
    with pytest.raises(RemoteUnavailableError):
        client.etags(faulty.calendar_url)
    assert client.received_bytes <= caldav.MAX_ANSWER_BYTES + 1_000_000


@pytest.mark.parametrize("path", ["", "/", "/principals/anna/", "/home/anna/", CALENDAR, "/wrong/path"])
def test_the_principal_and_the_calendars_for_events_are_found_from_any_address(faulty: FaultyServer, path: str) -> None:
    guard = AddressGuard([f"127.0.0.1:{faulty.port}"])
    with CaldavClient(faulty.url + path, LOGIN, faulty.password, guard=guard) as client:
        principal = client.discover()
    assert principal.addresses == ("anna@example.org",)
    assert [(calendar.url, calendar.name) for calendar in principal.calendars] == [(faulty.calendar_url, "Work")]


def test_a_server_that_takes_digest_alone_is_signed_in_to(faulty: FaultyServer, client: CaldavClient) -> None:
    faulty.quirks.wants_digest = True
    fill(faulty, 2)
    assert len(client.etags(faulty.calendar_url)) == 2


def test_all_pages_of_a_cut_report_are_followed(faulty: FaultyServer, client: CaldavClient) -> None:
    hrefs = fill(faulty, 25)
    faulty.quirks.page_size = 4
    changes = client.changes(faulty.calendar_url, None)
    assert sorted(changes.changed) == sorted(hrefs)
    assert (changes.complete, changes.pages, changes.token) == (True, 7, "twin:25")


def test_a_cut_report_that_gives_no_way_on_is_said_to_be_incomplete(faulty: FaultyServer, client: CaldavClient) -> None:
    fill(faulty, 25)
    faulty.quirks.page_size, faulty.quirks.endless_pages = 4, True
    assert not client.changes(faulty.calendar_url, None).complete


def test_a_cut_list_of_members_is_no_list(faulty: FaultyServer, client: CaldavClient) -> None:
    fill(faulty, 3)
    faulty.quirks.cut_listing = True
    with pytest.raises(RemoteUnavailableError):
        client.etags(faulty.calendar_url)


def test_changes_are_told_since_the_token(faulty: FaultyServer, client: CaldavClient) -> None:
    fill(faulty, 3)
    faulty.quirks.lists_itself = True
    token = client.changes(faulty.calendar_url, None).token
    faulty.put("1.ics", EVENT % 11)
    faulty.delete("2.ics")
    changes = client.changes(faulty.calendar_url, token)
    assert changes.changed == {CALENDAR + "1.ics": '"4"'}
    assert changes.removed == {CALENDAR + "2.ics"}


@pytest.mark.parametrize(
    ("status", "says_why"), [(403, True), (403, False), (409, False), (410, False), (412, True), (418, False)]
)
def test_a_token_the_server_forgot_is_expired(
    faulty: FaultyServer, client: CaldavClient, status: int, says_why: bool
) -> None:
    fill(faulty, 1)
    token = client.changes(faulty.calendar_url, None).token
    faulty.forget_history()
    faulty.quirks.expired_status, faulty.quirks.expired_says_why = status, says_why
    with pytest.raises(SyncTokenExpiredError):
        client.changes(faulty.calendar_url, token)


@pytest.mark.parametrize("status", [400, 403, 405, 415, 501])
def test_a_server_without_sync_reports_is_recognised(faulty: FaultyServer, client: CaldavClient, status: int) -> None:
    faulty.quirks.sync_status = status
    with pytest.raises(SyncUnsupportedError):
        client.changes(faulty.calendar_url, None)


def test_objects_come_in_batches_and_what_nobody_asked_for_is_left(faulty: FaultyServer, client: CaldavClient) -> None:
    hrefs = fill(faulty, 250)
    faulty.quirks.ignores_filters = True
    faulty.quirks.listed_but_gone = {hrefs[7]}
    batches = list(client.fetch(faulty.calendar_url, hrefs))
    assert [len(batch.objects) for batch in batches] == [99, 100, 50]
    assert batches[0].missing == (hrefs[7],)
    assert {item.href: item.raw for batch in batches for item in batch.objects}[hrefs[200]] == EVENT % 200
    assert faulty.requests.count(f"REPORT {CALENDAR}") == 3


def test_batches_are_fetched_when_they_are_asked_for(faulty: FaultyServer, client: CaldavClient) -> None:
    batches = client.fetch(faulty.calendar_url, fill(faulty, 250))
    next(batches)
    assert faulty.requests.count(f"REPORT {CALENDAR}") == 1


@pytest.mark.parametrize("spoilt", ["xml", "400", "500"])
def test_an_object_that_spoils_its_batch_hides_no_other(
    faulty: FaultyServer, client: CaldavClient, spoilt: str
) -> None:
    hrefs = fill(faulty, 100)
    faulty.quirks.spoils_multiget = {hrefs[41]: spoilt}
    [batch] = client.fetch(faulty.calendar_url, hrefs)
    came = {item.href for item in batch.objects}
    assert set(hrefs) - came <= {hrefs[41]}
    assert batch.failed == ((hrefs[41],) if spoilt == "500" else ())
    assert len(faulty.requests) < 20


@pytest.mark.parametrize(
    ("spoilt", "requests"), [("xml", 22), ("400", 150), ("500", 150)], ids=["characters", "refused", "stumbles"]
)
def test_many_objects_that_spoil_their_batches_hide_no_other(
    faulty: FaultyServer, client: CaldavClient, spoilt: str, requests: int
) -> None:
    hrefs = fill(faulty, 100)
    bad = hrefs[::6]
    faulty.quirks.spoils_multiget = dict.fromkeys(bad, spoilt)
    [batch] = client.fetch(faulty.calendar_url, hrefs)
    lost = set(hrefs) - {item.href for item in batch.objects}
    assert lost == set(batch.failed) == (set(bad) if spoilt == "500" else set())
    assert len(faulty.requests) < requests


def test_bytes_that_are_no_text_come_as_they_are(faulty: FaultyServer, client: CaldavClient) -> None:
    latin = EVENT.replace(b"SUMMARY:", b"SUMMARY:Caf\xe9 ") % 1
    hrefs = [faulty.put("latin.ics", latin), faulty.put("wide.ics", (EVENT % 2).decode().encode("utf-16"))]
    [batch] = client.fetch(faulty.calendar_url, [*hrefs, *fill(faulty, 20)])
    came = {item.href: item.raw for item in batch.objects}
    assert len(came) == 22
    assert came[hrefs[0]] == latin.replace(b"\r\n", b"\n")
    assert came[hrefs[1]].decode("utf-16") == (EVENT % 2).decode()


def test_a_server_that_stumbles_over_everything_is_not_asked_for_each_object(
    faulty: FaultyServer, client: CaldavClient
) -> None:
    hrefs = fill(faulty, 300)
    faulty.quirks.spoils_multiget = dict.fromkeys(hrefs, "500")
    with pytest.raises(RemoteUnavailableError):
        list(client.fetch(faulty.calendar_url, hrefs))
    assert len(faulty.requests) < 20


def test_an_object_too_large_is_named_and_not_kept(
    faulty: FaultyServer, client: CaldavClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caldav, "MAX_OBJECT_BYTES", 1_000)
    small = faulty.put("small.ics", EVENT % 1)
    large = faulty.put("large.ics", EVENT % 2 + b"X" * 2_000)
    [batch] = client.fetch(faulty.calendar_url, [small, large])
    assert {item.href: bool(item.problem) for item in batch.objects} == {small: False, large: True}


@pytest.mark.parametrize(
    "url", ["https://apidata.googleusercontent.com/caldav/v2/x/user", "https://www.google.com/calendar/dav/x"]
)
def test_google_is_refused_because_it_takes_no_passwords(url: str) -> None:
    with pytest.raises(InvalidInputError, match="Google"):
        caldav.refuse_oauth_only(url)


def test_the_preset_yandex_is_known_and_others_are_listed() -> None:
    assert caldav.preset_url("Yandex") == "https://caldav.yandex.ru"
    with pytest.raises(InvalidInputError, match="yandex"):
        caldav.preset_url("nowhere")


def test_every_error_of_the_table_is_ours() -> None:
    for status in (*range(400, 432), *range(500, 512)):
        assert isinstance(error_for_status("REPORT", status), SwitchboardError)
