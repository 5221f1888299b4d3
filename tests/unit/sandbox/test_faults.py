import pytest

from sandbox.faults import FaultBook, InvalidFaultError
from sandbox.mattermost.outgoing import is_allowed


def test_a_fault_acts_as_often_as_it_says_and_on_what_it_names() -> None:
    book = FaultBook()
    book.add("error", method="POST", path="/api/v4/channels/*/posts", count=2)
    assert book.take("GET", "/api/v4/channels/a/posts") is None
    assert book.take("POST", "/api/v4/posts") is None
    assert book.take("POST", "/api/v4/channels/a/posts") is not None
    assert book.take("POST", "/api/v4/channels/b/posts") is not None
    assert book.take("POST", "/api/v4/channels/b/posts") is None
    assert book.fired == 2


def test_faults_without_a_count_stay_until_they_are_removed() -> None:
    book = FaultBook()
    fault = book.add("cut")
    assert [book.take("GET", "/") is not None for _ in range(3)] == [True, True, True]
    assert book.listing()[0].hits == 3
    assert book.remove(fault.id)
    assert not book.remove(fault.id)
    assert book.take("GET", "/") is None


def test_the_control_addresses_never_fail() -> None:
    book = FaultBook()
    book.add("cut")
    assert book.take("DELETE", "/_sandbox/faults") is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"count": 0},
        {"when": "later"},
        {"method": "post"},
        {"path": "api"},
        {"status": 200},
        {"seconds": -1},
        {"probability": 0.5},
    ],
)
def test_a_malformed_fault_is_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidFaultError, match=next(iter(wrong))):
        FaultBook().add("error", **wrong)


@pytest.mark.parametrize(
    ("address", "allowed", "passes"),
    [
        ("127.0.0.1", (), False),
        ("10.1.2.3", (), False),
        ("169.254.169.254", (), False),
        ("::1", (), False),
        ("8.8.8.8", (), True),
        ("127.0.0.1", ("127.0.0.1:8000",), True),
        ("127.0.0.1", ("127.0.0.1:8001",), False),
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("10.1.2.3", ("web.internal",), True),
    ],
)
def test_private_addresses_are_called_only_when_the_setting_names_them(
    address: str, allowed: tuple[str, ...], passes: bool
) -> None:
    assert is_allowed("web.internal", 8000, address, allowed) is passes
