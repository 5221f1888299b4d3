"""The web process as it is started, over raw sockets: whole requests, slow ones, cut ones, too large ones."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from sandbox.ports import free_port
from tests.integration.web_of_fakes import BODY_BYTES, READ_S, STREAM_CHUNK, STREAM_CHUNKS, THREADS
from tests.servers import dies_with_parent
from tests.unit.routes.fakes import ADMIN_TOKEN

DEADLINE_S = READ_S + 1
SLOW_CLIENTS = 64
POST = b"POST /test/echo HTTP/1.1\r\nHost: test\r\n"


@dataclass(frozen=True, slots=True)
class Web:
    """A running web process."""

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        connection = socket.socket()
        if receive_buffer is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.settimeout(15)
        connection.connect(("127.0.0.1", self.port))
        return connection


@contextmanager
def _running(folder: Path) -> Iterator[Web]:
    port = free_port()
    environment = {
        **os.environ,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATA_DIR": str(folder),
        "ADMIN_TOKEN": ADMIN_TOKEN,
    }
    environment |= {"LOG_FORMAT": "json"}
    log = folder / "web.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.web_of_fakes"],
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=dies_with_parent,  # noqa: PLW1509
        )
    web = Web(port, process, log)
    try:
        deadline = time.monotonic() + 20
        while not _alive(web):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield web
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def _alive(web: Web) -> bool:
    try:
        return requests.get(web.url("/healthz"), timeout=3).status_code == 200
    except requests.RequestException:
        return False


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with _running(tmp_path_factory.mktemp("web")) as running:
        yield running


def _answer(connection: socket.socket) -> bytes:
    """Everything until the server closes the connection."""
    received = bytearray()
    try:
        while chunk := connection.recv(65_536):
            received += chunk
    except ConnectionResetError:
        pass
    return bytes(received)


def _status(answer: bytes) -> int:
    """The last status line of an answer (a 100 may come first)."""
    statuses = re.findall(rb"HTTP/1\.1 (\d{3})", answer)
    return int(statuses[-1]) if statuses else 0


def _answers_at_once(web: Web) -> None:
    for _ in range(3):
        started = time.monotonic()
        assert requests.get(web.url("/healthz"), timeout=2).status_code == 200
        assert requests.post(web.url("/test/echo"), data=b"abc", timeout=2).json()["length"] == 3
        assert time.monotonic() - started < READ_S / 2


def _ends(connections: list[socket.socket]) -> list[bytes]:
    """What each connection gets until it is closed, read at the same time."""
    answers: list[bytes] = []
    readers = [threading.Thread(target=lambda c=connection: answers.append(_answer(c))) for connection in connections]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    return answers


@pytest.mark.parametrize(
    "beginning",
    [
        b"Content-Length: 1000\r\n\r\nabc",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n",
        b"Content-Length: 1000\r\n\r\n",
    ],
    ids=["length", "chunked", "nothing"],
)
def test_half_sent_bodies_hold_nobody_up_and_are_answered_408_in_time(web: Web, beginning: bytes) -> None:
    # Given sixteen times more half-sent bodies than threads
    assert SLOW_CLIENTS == 16 * THREADS
    started = time.monotonic()
    with ExitStack() as stack:
        slow = [stack.enter_context(web.connect()) for _ in range(SLOW_CLIENTS)]
        for connection in slow:
            connection.sendall(POST + beginning)
        # then others are answered at once
        _answers_at_once(web)
        assert time.monotonic() - started < READ_S, "this machine was too slow to see anything"
        # and each slow one gets its answer, and its end, in time
        answers = _ends(slow)
    assert time.monotonic() - started < DEADLINE_S
    assert {_status(answer) for answer in answers} == {408}


def test_a_body_that_drips_is_over_at_the_same_deadline(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        started = time.monotonic()
        with suppress(OSError):
            while time.monotonic() - started < DEADLINE_S + 5:
                connection.sendall(b"x")
                time.sleep(0.1)
        assert time.monotonic() - started < DEADLINE_S + 2


def test_half_sent_headers_and_silent_connections_hold_nobody_up_and_are_closed(web: Web) -> None:
    started = time.monotonic()
    with ExitStack() as stack:
        slow = [stack.enter_context(web.connect()) for _ in range(SLOW_CLIENTS)]
        for number, connection in enumerate(slow):
            connection.sendall(b"" if number % 2 else POST + b"X-Unfinished")
        _answers_at_once(web)
        assert set(_ends(slow)) == {b""}
    assert time.monotonic() - started < DEADLINE_S


def test_slow_readers_hold_no_thread(web: Web) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(web.connect(receive_buffer=4096)) for _ in range(4 * THREADS)]
        for connection in slow:
            connection.sendall(b"GET /test/stream HTTP/1.1\r\nHost: test\r\n\r\n")
        time.sleep(0.5)
        _answers_at_once(web)


def test_a_long_answer_arrives_whole(web: Web) -> None:
    assert len(requests.get(web.url("/test/stream"), timeout=30).content) == len(STREAM_CHUNK) * STREAM_CHUNKS


def _chunked(size: int) -> bytes:
    pieces = []
    for start in range(0, size, 16_384):
        piece = min(16_384, size - start)
        pieces.append(b"%x\r\n" % piece + b"a" * piece + b"\r\n")
    return b"".join(pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(("size", "status"), [(BODY_BYTES, 200), (BODY_BYTES + 1, 413), (BODY_BYTES * 3, 413)])
@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "length"])
def test_a_body_over_the_limit_is_413_and_never_cut(web: Web, size: int, status: int, chunked: bool) -> None:
    with web.connect() as connection:
        headers = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
        body = _chunked(size) if chunked else b"a" * size
        connection.sendall(POST + b"Connection: close\r\n" + headers + b"\r\n\r\n" + body)
        answer = _answer(connection)
    assert _status(answer) == status
    if status == 200:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["length"] == size
    else:
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 413


def test_a_far_too_large_body_that_asks_first_is_told_413_before_it_is_sent(web: Web) -> None:
    started = time.monotonic()
    with web.connect() as connection:
        connection.sendall(POST + b"Content-Length: 100000000\r\nExpect: 100-continue\r\n\r\n")
        answer = connection.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413")
    assert time.monotonic() - started < READ_S


@pytest.mark.parametrize(
    ("request_rest", "statuses"),
    [
        (b"Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", {400, 411}),
        (b"Transfer-Encoding: gzip\r\n\r\nabc", {400, 411}),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", {400}),
        (b"Content-Length: -1\r\n\r\n", {400}),
        (b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}),
        (b"Content-Length: 99999999999999999999999\r\n\r\n", {400, 413}),
    ],
)
def test_odd_framing_is_refused(web: Web, request_rest: bytes, statuses: set[int]) -> None:
    with web.connect() as connection:
        connection.sendall(POST + b"Connection: close\r\n" + request_rest)
        assert _status(_answer(connection)) in statuses


def test_a_body_that_ends_early_is_400_and_reaches_no_route(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(POST + b"Content-Length: 1000\r\n\r\nabc")
        connection.shutdown(socket.SHUT_WR)
        assert _status(_answer(connection)) in (0, 400)


def test_bodies_in_progress_are_bounded_over_all_requests(web: Web) -> None:
    # Given bodies that together are larger than what may be held
    with ExitStack() as stack:
        held = [stack.enter_context(web.connect()) for _ in range(20)]
        for connection in held:
            connection.sendall(POST + b"Connection: close\r\nContent-Length: 99000\r\n\r\n" + b"a" * 98_000)
        answers = _ends(held)
    statuses = [_status(answer) for answer in answers]
    assert set(statuses) == {408, 503}
    assert all(b"retry-after" in answer for answer in answers if _status(answer) == 503)
    # then the held memory is given back
    assert requests.post(web.url("/test/echo"), data=b"a" * 99_000, timeout=5).json()["length"] == 99_000


def test_requests_on_one_connection_keep_their_bodies_apart(web: Web) -> None:
    with requests.Session() as session:
        for number in range(20):
            body = f"body {number}"
            assert session.post(web.url("/test/echo"), data=body, timeout=5).json()["start"] == body


def test_refusals_carry_the_request_id_and_the_security_headers(web: Web) -> None:
    answer = requests.post(
        web.url("/test/echo"), data=b"a" * (BODY_BYTES + 1), headers={"X-Request-Id": "known-id-1"}, timeout=5
    )
    assert answer.status_code == 413
    assert answer.headers["X-Request-Id"] == "known-id-1" == answer.json()["instance"]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_request_id_is_one_in_answer_application_and_log(web: Web) -> None:
    answer = requests.post(web.url("/test/echo"), data=b"x", headers={"X-Request-Id": "known-id-2"}, timeout=5)
    assert answer.headers["X-Request-Id"] == "known-id-2" == answer.json()["id"]
    time.sleep(0.2)
    lines = [json.loads(line) for line in web.log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line.get("request_id") == "known-id-2" and line["event"] == "request"]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/test/echo", 200)


def test_a_header_with_an_underscore_does_not_pass_for_one_with_a_hyphen(web: Web) -> None:
    given = {"X_Forwarded_For": "1.2.3.4", "X-Real": "yes"}
    environ = requests.get(web.url("/test/environ?a=%20b"), headers=given, timeout=5).json()
    assert "HTTP_X_FORWARDED_FOR" not in environ
    assert environ["HTTP_X_REAL"] == "yes"
    assert environ["QUERY_STRING"] == "a=%20b"
    assert environ["REMOTE_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/%ff%fe", "/%00", "/%2e%2e/%2e%2e/etc/passwd", "/admin//audit", "/" + "a" * 20_000])
def test_odd_addresses_are_answered(web: Web, path: str) -> None:
    with web.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        assert _status(_answer(connection)) in (308, 404, 414)


@pytest.mark.parametrize("path", ["//admin/audit", "/%61dmin/audit", "/x/../admin/audit"])
def test_no_other_spelling_of_an_address_goes_round_its_guard(web: Web, path: str) -> None:
    with web.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        assert _status(_answer(connection)) in (308, 401, 404)


def test_metrics_count_requests_by_route_template_and_refusals_too(web: Web) -> None:
    requests.post(web.url("/test/echo"), data=b"a" * (BODY_BYTES + 1), timeout=5)
    requests.get(web.url("/files/one"), timeout=5)
    requests.get(web.url("/files/two"), timeout=5)
    time.sleep(0.2)
    text = requests.get(web.url("/metrics"), timeout=5).text
    assert re.search(r'request_seconds_count\{method="GET",route="/files/<signed>",status="404"\} [2-9]', text)
    assert re.search(r'request_seconds_count\{method="POST",route="\(none\)",status="413"\}', text)
    assert "/files/one" not in text


def test_per_process_files_are_wiped_at_the_start(tmp_path: Path) -> None:
    leftover = tmp_path / "metrics" / "web" / "histogram_1.db"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"no metrics file")
    with _running(tmp_path) as web:
        assert not leftover.exists()
        assert requests.get(web.url("/metrics"), timeout=5).status_code == 200


def test_sigterm_lets_a_request_under_way_finish(tmp_path: Path) -> None:
    with _running(tmp_path) as web:
        answers: list[int] = []
        asking = threading.Thread(
            target=lambda: answers.append(requests.get(web.url("/test/slow"), timeout=10).status_code)
        )
        asking.start()
        time.sleep(0.5)
        web.process.terminate()
        assert web.process.wait(10) == 0
        asking.join()
        assert answers == [200]


def test_a_killed_server_process_is_started_again(tmp_path: Path) -> None:
    with _running(tmp_path) as web:
        children = Path(f"/proc/{web.process.pid}/task/{web.process.pid}/children")
        if not children.exists():
            pytest.skip("needs /proc")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        deadline = time.monotonic() + 15
        time.sleep(0.3)
        while not _alive(web):
            assert time.monotonic() < deadline
            time.sleep(0.1)
