"""Choice of ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from switchboard.errors import ConfigError
from switchboard.processes.ports import PortChooser


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_taken_port_gives_way_to_a_later_free_one(taken_port: int) -> None:
    chosen = PortChooser().choose(taken_port)

    assert taken_port < chosen <= taken_port + 100


def test_an_explicitly_set_port_that_is_taken_is_a_clear_error(taken_port: int) -> None:
    with pytest.raises(ConfigError, match=f"PORT={taken_port}: another program listens"):
        PortChooser().require(taken_port, setting="PORT")


def test_no_port_is_handed_out_twice() -> None:
    ports = PortChooser()
    first = ports.choose(0)

    assert ports.choose(first) != first
    with pytest.raises(ConfigError):
        ports.require(first, setting="PORT")


def test_zero_means_any_free_port() -> None:
    assert PortChooser().require(0, setting="PORT") > 0
