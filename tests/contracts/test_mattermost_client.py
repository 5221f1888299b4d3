"""What may happen between the Mattermost client and a server, and which error says it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from sandbox.mattermost import MattermostTwin
from switchboard.clients import http_connection, mattermost
from switchboard.clients.mattermost import REFUSALS, MattermostClient
from switchboard.deadlines import DeadlinePassedError, deadline_in
from switchboard.errors import (
    AuthError,
    ConfigError,
    NotFoundError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    SwitchboardError,
    UncertainError,
)
from tests.contracts.raw_server import RawServer, answer, reset, running_raw_server, self_signed

SECRET = "a-token-that-nobody-may-see"
TEXT = "a text that nobody may see"
POSTED = answer(b'{"id": "post-1"}', status="201 Created")
ME = answer(b'{"id": "bot-1", "username": "switchboard"}')

Behaviour = Callable[[RawServer, socket.socket], None]


@pytest.fixture
def twin() -> Iterator[MattermostTwin]:
    with MattermostTwin.running() as running:
        yield running


@pytest.fixture
def client(twin: MattermostTwin) -> MattermostClient:
    return MattermostClient(twin.url, twin.bot_token)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs that a test can wait for."""
    monkeypatch.setattr(mattermost, "CONNECT_TIMEOUT_S", 0.3)
    monkeypatch.setattr(mattermost, "READ_TIMEOUT_S", 0.4)


def post(client: MattermostClient, channel_id: str = "channel-1", pending: str = "p:1") -> str:
    return client.create_post(channel_id, TEXT, props={"key": "k"}, pending_post_id=pending)


def dm(twin: MattermostTwin, client: MattermostClient, username: str = "anna") -> str:
    return client.open_direct_channel(client.me().id, twin.user_id(username))


def answering(*answers: bytes) -> Behaviour:
    """One answer to each request, then the end of the line."""

    def behave(server: RawServer, line: socket.socket) -> None:
        for one in answers:
            if server.read_request(line):
                line.sendall(one)

    return behave


def assert_discreet(error: BaseException, *more: str) -> None:
    """Neither the error nor anything it drags along tells a secret."""
    told = f"{error} {error!r} {error.__cause__!r}"
    assert error.__cause__ is None
    assert error.__suppress_context__, "a traceback would show the cause with its address"
    for secret in (SECRET, TEXT, "127.0.0.1", "http://", "https://", *more):
        assert secret not in told


# --- the table: what happened -> which error ------------------------------------------------------------------------

NOT_CONNECTED: list[tuple[str, str]] = [
    ("refused", "http://127.0.0.1:{closed}"),
    ("no such name", "http://nowhere.invalid:8065"),
    ("not a name", f"http://{'x' * 70}.example.org"),
]


@pytest.mark.parametrize(("case", "url"), NOT_CONNECTED, ids=[case for case, _ in NOT_CONNECTED])
def test_without_a_connection_even_a_post_certainly_did_not_happen(case: str, url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        closed = probe.getsockname()[1]
    client = MattermostClient(url.format(closed=closed), SECRET)
    for call in (client.me, lambda: post(client)):
        with pytest.raises(RemoteUnavailableError, match="no connection") as caught:
            call()
        assert_discreet(caught.value, "nowhere.invalid", "xxxx")


@pytest.mark.usefixtures("quick")
def test_a_connection_that_is_not_accepted_in_time_is_none() -> None:
    with socket.socket() as listener:  # one place in the queue, taken by somebody else
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        client = MattermostClient(f"http://127.0.0.1:{listener.getsockname()[1]}", SECRET)
        with pytest.raises(RemoteUnavailableError, match="no connection in time"):
            post(client)
        for filler in fillers:
            filler.close()


def test_a_certificate_that_is_not_valid_is_no_connection_and_gets_no_token(tmp_path: Path) -> None:
    context, _ = self_signed(tmp_path)
    with running_raw_server(answering(POSTED), tls=context) as server:
        with pytest.raises(RemoteUnavailableError, match="certificate") as caught:
            post(MattermostClient(server.url, SECRET))
        assert_discreet(caught.value)
        assert server.requests == []


@pytest.mark.usefixtures("quick")
def test_a_broken_tls_line_is_never_taken_for_no_connection() -> None:
    with running_raw_server(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        client = MattermostClient(server.url.replace("http:", "https:"), SECRET)
        with pytest.raises(UncertainError) as caught:
            post(client)
        assert_discreet(caught.value)
        with pytest.raises(RemoteUnavailableError):
            client.me()


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context whose certificate the client trusts."""
    context, certificate = self_signed(tmp_path)
    monkeypatch.setenv(http_connection.TRUST_VARIABLE, str(certificate))
    return context


def test_a_trusted_server_is_spoken_to_over_one_tls_connection(trusted: ssl.SSLContext) -> None:
    with running_raw_server(answering(ME, POSTED), tls=trusted) as server:
        client = MattermostClient(server.url, SECRET)
        assert client.me().id == "bot-1"
        assert post(client) == "post-1"
        assert (server.connections, len(server.requests)) == (1, 2)


def test_a_tls_line_that_breaks_after_the_request_leaves_a_post_uncertain(trusted: ssl.SSLContext) -> None:
    def break_off(server: RawServer, line: socket.socket) -> None:
        server.read_request(line)
        plain = socket.socket(fileno=line.detach())
        plain.sendall(b"\x15\x03\x03\x00\x02\x02\x28")  # an alert that nobody encrypted
        plain.close()

    with running_raw_server(break_off, tls=trusted) as server, pytest.raises(UncertainError):
        post(MattermostClient(server.url, SECRET))


def silent(server: RawServer, line: socket.socket) -> None:
    server.read_request(line)
    line.recv(1)


def trickling_body(server: RawServer, line: socket.socket) -> None:
    server.read_request(line)
    line.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(1000):
        line.sendall(b" ")
        time.sleep(0.05)


def reset_with_the_request_unread(server: RawServer, line: socket.socket) -> None:
    line.recv(1, socket.MSG_PEEK)  # before that the client may still connect, and no answer could be lost
    reset(line)


def reset_after_the_request(server: RawServer, line: socket.socket) -> None:
    server.read_request(line)
    reset(line)


def reset_in_the_answer(server: RawServer, line: socket.socket) -> None:
    server.read_request(line)
    line.sendall(ME[:40])
    time.sleep(0.05)
    reset(line)


LOST: dict[str, Behaviour] = {
    "silence": silent,
    "a trickle of body bytes": trickling_body,
    "reset with the request unread": reset_with_the_request_unread,
    "reset after the request": reset_after_the_request,
    "reset in the answer": reset_in_the_answer,
    "farewell without an answer": answering(b""),
    "a body that ends early": answering(ME[:-5]),
    "chunks that end early": answering(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n'),
    "no HTTP": answering(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "no JSON": answering(answer(b"<html>Sign in</html>")),
    "an empty body": answering(answer(b"")),
    "another shape": answering(answer(b'[{"id": "x"}]')),
    "no id": answering(answer(b'{"username": "x"}', status="201 Created")),
    "an id that is none": answering(answer(b'{"id": null}', status="201 Created")),
    "not UTF-8": answering(answer(b'{"id": "\xff\xfe"}')),
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("behave", LOST.values(), ids=LOST.keys())
def test_a_lost_answer_leaves_a_post_uncertain_and_a_read_to_be_repeated(behave: Behaviour) -> None:
    with running_raw_server(behave) as server:
        began = time.monotonic()
        with pytest.raises(UncertainError) as uncertain:
            post(MattermostClient(server.url, SECRET))
        with pytest.raises(RemoteUnavailableError) as unavailable:
            MattermostClient(server.url, SECRET).me()
        assert time.monotonic() - began < 25  # the trickle would last 50 s
    assert_discreet(uncertain.value, "Sign in", "OpenSSH")
    assert_discreet(unavailable.value, "Sign in", "OpenSSH")


def refusal(status: int, code: str = "api.some.app_error", headers: str = "") -> bytes:
    body = json.dumps({"id": code, "message": SECRET, "detailed_error": TEXT}).encode() if code else b"<html></html>"
    return answer(body, status=f"{status} Whatever", headers=headers)


STATUSES: list[tuple[int, str, type[SwitchboardError], type[SwitchboardError]]] = [
    (301, "", RemoteUnavailableError, RemoteUnavailableError),
    (400, "api.some.app_error", RemoteRejectedError, RemoteRejectedError),
    (400, "", RemoteUnavailableError, RemoteUnavailableError),
    (401, "api.some.app_error", AuthError, AuthError),
    (401, "", AuthError, AuthError),
    (403, "api.some.app_error", RemoteRejectedError, RemoteRejectedError),
    (403, "", RemoteUnavailableError, RemoteUnavailableError),
    (404, "api.some.app_error", NotFoundError, NotFoundError),
    (404, "", RemoteUnavailableError, RemoteUnavailableError),
    (413, "", RemoteRejectedError, RemoteRejectedError),
    (429, "", RateLimitedError, RateLimitedError),
    (500, "api.some.app_error", UncertainError, RemoteUnavailableError),
    (501, "api.some.app_error", RemoteRejectedError, RemoteRejectedError),
    (501, "", UncertainError, RemoteUnavailableError),
    (502, "", UncertainError, RemoteUnavailableError),
    (503, "", UncertainError, RemoteUnavailableError),
    (504, "", UncertainError, RemoteUnavailableError),
]


@pytest.mark.parametrize(
    ("status", "code", "of_a_post", "of_a_read"), STATUSES, ids=[f"{s}-{c or 'html'}" for s, c, _, _ in STATUSES]
)
def test_each_refusal_has_its_error(
    status: int, code: str, of_a_post: type[SwitchboardError], of_a_read: type[SwitchboardError]
) -> None:
    with running_raw_server(answering(refusal(status, code))) as server:
        for call, expected in (
            (lambda: post(MattermostClient(server.url, SECRET)), of_a_post),
            (lambda: MattermostClient(server.url, SECRET).me(), of_a_read),
        ):
            with pytest.raises(SwitchboardError) as caught:
                call()
            assert type(caught.value) is expected
            assert str(status) in str(caught.value)
            told = f"{caught.value!r}"
            assert SECRET not in told
            assert TEXT not in told
            assert "127.0.0.1" not in told
            if isinstance(caught.value, RemoteRejectedError):
                assert (caught.value.status, caught.value.code) == (status, code)


def test_an_error_id_that_is_none_of_mattermosts_stays_out_of_the_message() -> None:
    with running_raw_server(answering(refusal(400, f"Bearer {SECRET}"))) as server:
        with pytest.raises(RemoteUnavailableError) as caught:
            post(MattermostClient(server.url, SECRET))
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("", None),
        ("Retry-After: 7\r\n", 7.0),
        ("Retry-After: 99999999999\r\n", 3600.0),
        ("Retry-After: inf\r\n", None),
        ("Retry-After: -3\r\n", None),
        ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n", None),
    ],
)
def test_the_wait_of_a_429_is_honoured_where_it_is_one(header: str, wait_s: float | None) -> None:
    with running_raw_server(answering(refusal(429, "", header))) as server:
        with pytest.raises(RateLimitedError) as caught:
            post(MattermostClient(server.url, SECRET))
        assert caught.value.retry_after_s == wait_s


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_never_followed(status: int) -> None:
    with running_raw_server(answering(POSTED)) as other:
        elsewhere = answer(b"", status=f"{status} Moved", headers=f"Location: {other.url}/api/v4/posts\r\n")
        with running_raw_server(answering(elsewhere)) as server:
            with pytest.raises(RemoteUnavailableError, match="MATTERMOST_URL"):
                post(MattermostClient(server.url, SECRET))
            assert len(server.requests) == 1
        assert other.connections == 0


def test_neither_a_proxy_nor_a_netrc_of_the_host_sees_or_replaces_the_token(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    with running_raw_server(answering(ME)) as proxy, running_raw_server(answering(ME)) as server:
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        MattermostClient(server.url, SECRET).me()
        assert proxy.connections == 0
        assert f"Authorization: Bearer {SECRET}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("token", [f"{SECRET}\n", f"{SECRET}\r\nX: y", f"{SECRET}ю"])
def test_a_token_that_no_header_can_hold_is_a_mistake_in_the_settings(token: str) -> None:
    with pytest.raises(ConfigError, match="MATTERMOST_TOKEN") as caught:
        MattermostClient("http://127.0.0.1:1", token)
    assert SECRET not in str(caught.value)


def test_no_token_in_the_repr() -> None:
    client = MattermostClient("http://127.0.0.1:1", SECRET)
    assert SECRET not in repr(client) + str(client)


# --- against the twin -----------------------------------------------------------------------------------------------


def test_a_post_arrives_with_its_text_and_props(twin: MattermostTwin, client: MattermostClient) -> None:
    post_id = client.create_post(dm(twin, client), "Привет 👋", props={"key": "k"}, pending_post_id="p:1")
    (arrived,) = twin.posts_to("anna")
    assert (arrived["id"], arrived["message"], arrived["props"]["key"]) == (post_id, "Привет 👋", "k")


def test_a_post_gets_other_props_and_keeps_its_text(twin: MattermostTwin, client: MattermostClient) -> None:
    post_id = client.create_post(dm(twin, client), "hello", props={"key": "1"}, pending_post_id="p1")
    client.update_post(post_id, props={"key": "2"})
    client.update_post(post_id, props={"key": "2"})
    assert client.post(post_id).props["key"] == "2"
    [post] = twin.posts_to("anna")
    assert (post["message"], post["edit_at"]) == ("hello", 0)


def test_a_post_that_is_gone_or_of_somebody_else_is_not_changed(twin: MattermostTwin, client: MattermostClient) -> None:
    with pytest.raises(NotFoundError):
        client.post("a" * 26)
    with pytest.raises(RemoteRejectedError):
        client.update_post("a" * 26, props={})
    twin.faults.add("error", method="PUT", path="/api/v4/posts/*/patch", status=502)
    with pytest.raises(RemoteUnavailableError):
        client.update_post("a" * 26, props={})


def test_a_server_below_a_path_is_reached_there() -> None:
    with running_raw_server(answering(ME)) as server:
        MattermostClient(f"{server.url}/chat/", SECRET).me()
        assert server.requests[0].startswith(b"GET /chat/api/v4/users/me HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("fault", "stands"),
    [
        ({"kind": "error", "when": "before"}, False),
        ({"kind": "error", "when": "after"}, True),
        ({"kind": "error", "when": "after", "status": 502}, True),
        ({"kind": "cut", "when": "before"}, False),
        ({"kind": "cut", "when": "after"}, True),
        ({"kind": "cut_body"}, True),
        ({"kind": "html"}, False),
    ],
    ids=str,
)
def test_a_repeat_with_the_same_pending_id_never_makes_a_second_post(
    twin: MattermostTwin, client: MattermostClient, fault: dict[str, str], stands: bool
) -> None:
    channel_id = dm(twin, client)
    twin.faults.add(method="POST", path="/api/v4/posts", count=1, **fault)  # type: ignore[arg-type]
    with pytest.raises(UncertainError):
        post(client, channel_id)
    assert len(twin.posts_to("anna")) == stands
    post_id = post(client, channel_id)
    assert [one["id"] for one in twin.posts_to("anna")] == [post_id]


def test_a_429_took_no_effect(twin: MattermostTwin, client: MattermostClient) -> None:
    channel_id = dm(twin, client)
    twin.faults.add("rate_limit", path="/api/v4/posts", retry_after_s=3)
    with pytest.raises(RateLimitedError) as caught:
        post(client, channel_id)
    assert caught.value.retry_after_s == 3
    assert twin.posts_to("anna") == []


def test_a_wrong_token_is_said_as_such(twin: MattermostTwin) -> None:
    with pytest.raises(AuthError, match="MATTERMOST_TOKEN"):
        MattermostClient(twin.url, SECRET).me()


@pytest.mark.parametrize("strange", ["", "..", "a/b", "a?b", "a b", "a%2fb", "a#b", "a\r\nb", "a\\b"])
def test_an_id_that_would_leave_the_route_is_not_found_and_not_sent(strange: str) -> None:
    with running_raw_server(answering(ME)) as server:
        client = MattermostClient(server.url, SECRET)
        for call in (
            lambda: client.user(strange),
            lambda: client.user_by_username(strange),
            lambda: list(client.posts_since(strange, datetime.now(UTC))),
        ):
            with pytest.raises(NotFoundError):
                call()
        assert server.connections == 0


def test_people_are_found_by_id_and_by_name(twin: MattermostTwin, client: MattermostClient) -> None:
    anna = client.user_by_username("@anna")
    assert (anna.id, anna.locale, anna.is_bot, anna.deactivated) == (twin.user_id("anna"), "ru", False, False)
    assert client.user(anna.id) == anna
    assert client.me().is_bot
    with pytest.raises(NotFoundError):
        client.user_by_username("nobody")
    with pytest.raises(NotFoundError):
        client.user_by_username("имярек")
    client.ping()


def test_people_are_read_together_deactivated_ones_among_them(twin: MattermostTwin, client: MattermostClient) -> None:
    twin.deactivate("boris")
    found = client.users([twin.user_id("anna"), twin.user_id("boris"), "z" * 26])
    assert {one.username: one.deactivated for one in found} == {"anna": False, "boris": True}


@pytest.mark.parametrize("code", REFUSALS)
def test_what_a_refusal_means_is_said_in_words(code: str) -> None:
    with running_raw_server(answering(refusal(400, code))) as server, pytest.raises(RemoteRejectedError) as caught:
        post(MattermostClient(server.url, SECRET))
    assert str(caught.value).endswith(f"400 {code}: {REFUSALS[code]}")


def test_posts_are_read_over_pages_until_they_are_too_old(
    twin: MattermostTwin, client: MattermostClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mattermost, "PAGE_SIZE", 3)
    channel_id = dm(twin, client)
    made = [post(client, channel_id, f"p:{number}") for number in range(8)]
    everything = list(client.posts_since(channel_id, datetime.now(UTC) - timedelta(minutes=1)))
    assert [one.id for one in everything] == made[::-1]
    third = everything[-3]
    since = datetime.fromtimestamp(third.created_ms / 1000, UTC)
    assert [one.id for one in client.posts_since(channel_id, since)] == made[:1:-1]
    assert list(client.posts_since(channel_id, datetime.now(UTC) + timedelta(minutes=1))) == []


def test_a_post_deleted_while_pages_are_read_hides_no_other(
    twin: MattermostTwin, client: MattermostClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mattermost, "PAGE_SIZE", 3)
    channel_id = dm(twin, client)
    made = [post(client, channel_id, f"p:{number}") for number in range(6)]
    reading = client.posts_since(channel_id, datetime.now(UTC) - timedelta(minutes=1))
    read = [next(reading).id]

    def delete() -> None:
        twin.world.post(made[4]).delete_at = twin.world.now_ms()

    twin.call(delete)
    read += [one.id for one in reading]
    assert set(made) <= set(read)


def test_the_servers_clock_decides_which_posts_are_new() -> None:
    ahead = timedelta(minutes=7)
    with MattermostTwin.running(clock=lambda: time.time() + ahead.total_seconds()) as twin:
        client = MattermostClient(twin.url, twin.bot_token)
        post_id = post(client, dm(twin, client))
        (found,) = client.posts_since(dm(twin, client), datetime.now(UTC))
        assert found.id == post_id
        assert abs(found.created_ms / 1000 - time.time() - ahead.total_seconds()) < 5


# --- time and connections -------------------------------------------------------------------------------------------


def test_a_deadline_shortens_the_wait_for_an_answer() -> None:
    with running_raw_server(silent) as server, deadline_in(0.3):
        began = time.monotonic()
        with pytest.raises(UncertainError, match="in time"):
            post(MattermostClient(server.url, SECRET))
        assert time.monotonic() - began < mattermost.READ_TIMEOUT_S / 2


def test_after_the_deadline_nothing_is_sent() -> None:
    with running_raw_server(answering(POSTED)) as server:
        with deadline_in(0), pytest.raises(DeadlinePassedError):
            post(MattermostClient(server.url, SECRET))
        assert server.connections == 0


def test_a_handshake_that_hangs_ends_at_the_deadline_and_leaves_a_post_uncertain() -> None:
    def slow_handshake(server: RawServer, line: socket.socket) -> None:
        line.recv(65_536)
        line.recv(1)  # nothing is said until the client goes

    with running_raw_server(slow_handshake) as server, deadline_in(0.3):
        with pytest.raises(UncertainError):
            post(MattermostClient(server.url.replace("http:", "https:"), SECRET))
        assert server.requests == []


def test_each_thread_has_a_connection_of_its_own_and_keeps_it() -> None:
    echoed: list[tuple[str, str]] = []

    def echo(server: RawServer, line: socket.socket) -> None:
        while request := server.read_request(line):
            name = request.split(b" ")[1].rpartition(b"/")[2]
            line.sendall(answer(b'{"id": "%s", "username": "x"}' % name))

    with running_raw_server(echo) as server:
        client = MattermostClient(server.url, SECRET)

        def ask(thread: int) -> None:
            for number in range(25):
                user_id = f"u{thread}-{number}"
                echoed.append((user_id, client.user(user_id).id))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(echoed) == 200
        assert all(asked == answered for asked, answered in echoed)
        assert server.connections == 8


def test_an_answer_that_nobody_read_is_never_taken_for_the_next_ones() -> None:
    def late(server: RawServer, line: socket.socket) -> None:
        server.read_request(line)
        time.sleep(0.5)
        line.sendall(answer(b'{"id": "stale", "username": "x"}'))
        if server.read_request(line):
            line.sendall(answer(b'{"id": "fresh", "username": "x"}'))

    with running_raw_server(late) as server:
        client = MattermostClient(server.url, SECRET)
        with deadline_in(0.2), pytest.raises(RemoteUnavailableError):
            client.me()
        with pytest.raises(RemoteUnavailableError), deadline_in(0.2):
            client.me()
        assert server.connections == 2


def test_a_server_that_was_restarted_between_two_posts_costs_no_post_its_certainty() -> None:
    with MattermostTwin.running() as twin:
        client = MattermostClient(twin.url, twin.bot_token)
        port, token = twin.port, twin.bot_token
        post(client, dm(twin, client))
    for round_number in range(3):
        with MattermostTwin.running(port=port, bot_token=token) as twin:
            world = twin.world
            channel = twin.call(
                partial(lambda w: w.direct_channel(w.user_named("switchboard"), w.user_named("anna")), world)
            )
            post(client, channel.id, f"p:{round_number}")
            assert len(twin.posts_to("anna")) == 1


def test_a_line_that_was_closed_while_idle_is_made_anew() -> None:
    with running_raw_server(answering(ME)) as server:  # hangs up after one answer without announcing it
        client = MattermostClient(server.url, SECRET)
        for _ in range(5):
            client.me()
            time.sleep(0.05)
        assert server.connections == 5


def test_a_line_that_was_idle_for_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_raw_server(answering(ME, ME, ME)) as server:
        client = MattermostClient(server.url, SECRET)
        client.me()
        client.me()
        assert server.connections == 1
        monkeypatch.setattr(http_connection, "IDLE_LIMIT_S", 0.05)
        time.sleep(0.1)
        client.me()
        assert server.connections == 2


def test_a_server_that_announces_the_end_of_the_line_is_believed() -> None:
    closing = answer(b'{"id": "bot-1", "username": "x"}', headers="Connection: close\r\n")
    with running_raw_server(answering(closing)) as server:
        client = MattermostClient(server.url, SECRET)
        assert client.me().id == client.me().id == "bot-1"
        assert server.connections == 2
