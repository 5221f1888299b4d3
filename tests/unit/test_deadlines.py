"""The deadline of the work at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from switchboard import deadlines
from switchboard.deadlines import DeadlinePassedError, cap_timeout_s, current_deadline, deadline_in, end_process_in
from switchboard.errors import TransientError


@pytest.fixture(autouse=True)
def no_end() -> Iterator[None]:
    yield
    deadlines._process_end = None


def test_without_a_deadline_a_time_out_stays_as_it_is() -> None:
    assert current_deadline() is None
    assert cap_timeout_s(30) == 30


def test_a_time_out_is_cut_to_what_is_left() -> None:
    with deadline_in(5) as deadline:
        assert 4.5 < cap_timeout_s(30) <= deadline.remaining_s() + 0.1
        assert cap_timeout_s(2) == 2
    assert current_deadline() is None


def test_a_deadline_inside_another_never_ends_later() -> None:
    with deadline_in(5):
        with deadline_in(60) as inner:
            assert inner.remaining_s() <= 5
        with deadline_in(1):
            assert cap_timeout_s(30) <= 1


def test_a_call_past_the_deadline_is_refused_as_a_transient_error() -> None:
    with deadline_in(0.01):
        time.sleep(0.02)
        with pytest.raises(DeadlinePassedError):
            cap_timeout_s(30)
    assert issubclass(DeadlinePassedError, TransientError)


def test_the_end_of_the_process_cuts_the_work_of_every_thread() -> None:
    end_process_in(2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(cap_timeout_s, 30).result() <= 2
    with deadline_in(60):
        assert cap_timeout_s(30) <= 2
    with deadline_in(1):
        assert cap_timeout_s(30) <= 1
