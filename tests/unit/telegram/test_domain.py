"""Phones, states and shards of Telegram accounts."""

from __future__ import annotations

import collections

import pytest

from switchboard.domain.telegram import phones
from switchboard.domain.telegram.sharding import SHARDS, fair_share, shard_of
from switchboard.domain.telegram.states import TEXTS, AccountState, Reason, may_follow, predecessors
from switchboard.errors import InvalidInputError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("+7 (916) 123-45-67", "+79161234567"),
        ("0079161234567", "+79161234567"),
        (" 380671234567 ", "+380671234567"),
        ("+99966\u00a0200\u201117", "+9996620017"),
        ("+888 0123 4567", "+88801234567"),
    ],
)
def test_a_phone_has_one_spelling(written: str, meant: str) -> None:
    assert phones.normalise(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", "+", "12345", "+1234567890123456", "89161234567", "+0123456789", "ann", "+7916123456x", "+٧٩١٦١٢٣٤٥٦٧"],
)
def test_what_is_no_international_number_is_refused_and_not_repeated(written: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        phones.normalise(written, field="phone")
    assert caught.value.field == "phone"
    assert len(written) < 6 or written not in str(caught.value)


def test_a_masked_phone_shows_its_ends_only() -> None:
    assert phones.masked("+79161234567") == "+79*****4567"
    assert phones.masked("+12345") == "******"


def test_accounts_in_a_row_are_dealt_evenly_and_for_ever() -> None:
    dealt = collections.Counter(shard_of(account_id) for account_id in range(1, 641))
    assert set(dealt) <= set(range(SHARDS))
    assert len(dealt) == SHARDS
    assert max(dealt.values()) <= 12
    assert [shard_of(account_id) for account_id in (1, 2, 3, 1_000_000)] == [39, 15, 54, 63]


@pytest.mark.parametrize(("gateways", "share"), [(0, 64), (1, 64), (2, 32), (3, 22), (64, 1), (100, 1)])
def test_the_shares_of_all_gateways_cover_every_shard(gateways: int, share: int) -> None:
    assert fair_share(gateways) == share
    assert fair_share(gateways) * max(1, gateways) >= SHARDS


def test_a_dead_session_only_leads_to_a_new_sign_in_or_a_stop() -> None:
    assert not may_follow(AccountState.SIGN_IN_AGAIN, AccountState.ONLINE)
    assert not may_follow(AccountState.STOPPED, AccountState.ONLINE)
    assert AccountState.CODE_SENT not in predecessors(AccountState.ONLINE)
    assert AccountState.ONLINE not in predecessors(AccountState.CODE_SENT)


def test_every_reason_has_a_sentence() -> None:
    assert set(TEXTS) == set(Reason)
