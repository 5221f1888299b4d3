"""Answers that stop and start messages; the pace of an account."""

from __future__ import annotations

import pytest

from switchboard.domain.organisations.words import Word, meaning
from switchboard.domain.telegram import pacing
from switchboard.domain.telegram.pacing import Limits, Pace

LIMITS = Limits(between_s=2, between_first_s=100)


@pytest.mark.parametrize("text", ["STOP", "stop", " Стоп. ", "«СТОП»", "/stop", "Stop!!!", "отписаться"])
def test_stop_is_heard_however_it_is_written(text: str) -> None:
    assert meaning(text) is Word.STOP


@pytest.mark.parametrize("text", ["START", "/start", "старт", "Старт\n"])
def test_start_is_heard(text: str) -> None:
    assert meaning(text) is Word.START


@pytest.mark.parametrize("text", ["", "stop it", "не стоп", "стопка", "ok", "/startgroup"])
def test_a_word_inside_a_sentence_does_nothing(text: str) -> None:
    assert meaning(text) is None


def test_strangers_wait_longer_than_people_known_and_hold_nobody_up() -> None:
    pace = Pace.begin(0, LIMITS).after(100, LIMITS, first=True)
    assert (pace.earliest_s(first=False), pace.earliest_s(first=True)) == (102, 200)
    pace = pace.after(150, LIMITS, first=False)
    assert (pace.earliest_s(first=False), pace.earliest_s(first=True)) == (152, 200)
    pace = pace.after(199, LIMITS, first=False)
    assert pace.earliest_s(first=True) == 201


def test_an_account_whose_past_is_not_known_waits_before_its_first_message() -> None:
    assert Pace.begin(1_000, LIMITS).earliest_s(first=True) == 1_100
    assert Pace.begin(1_000, LIMITS).earliest_s(first=False) == 1_002


def test_the_ladder_of_flood_pauses_ends_after_five() -> None:
    assert [pacing.flood_pause_s(times) for times in range(7)] == [None, 30, 60, 300, 1800, 3600, None]


def test_a_mailing_is_dealt_out_side_by_side() -> None:
    assert pacing.slots_s([True, False, False, True, False], LIMITS) == [0, 0, 2, 100, 4]


def test_the_duration_is_that_of_the_slower_half() -> None:
    assert pacing.duration_s(known=1000, strangers=1, limits=LIMITS) == 2002
    assert pacing.duration_s(known=10, strangers=30, limits=LIMITS) == 3000
    assert pacing.duration_s(known=0, strangers=0, limits=LIMITS) == 0
