"""Leases on shards: one holder at a time, on both databases, whatever stops or is slow."""

from __future__ import annotations

import itertools
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from switchboard.db.engine import Database
from switchboard.db.models import TelegramGateway, TelegramShard
from switchboard.domain.telegram.sharding import SHARDS
from switchboard.services.telegram.shards import LeaseLostError, Leases, LeaseTimes, steady_s

TIMES = LeaseTimes(lease_s=20, renew_s=5, margin_s=6)


class Steady:
    """A steady clock that tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def steady() -> Steady:
    return Steady()


class Gateways:
    """Makes gateways over one database."""

    def __init__(self, database: Database, steady: Steady) -> None:
        self.database = database
        self._steady = steady
        self._names = (f"gateway-{number}" for number in itertools.count(1))

    def new(self, times: LeaseTimes = TIMES) -> Leases:
        leases = Leases(
            self.database,
            lambda: datetime.now(UTC),
            owner=next(self._names),
            host="test",
            times=times,
            steady=self._steady,
        )
        leases.prepare()
        return leases

    def end_leases(self, of: Leases) -> None:
        """As if the time of all its leases had passed, in the database."""
        with self.database.write() as session:
            session.execute(
                update(TelegramShard)
                .where(TelegramShard.owner == of.owner)
                .values(leased_until=datetime.now(UTC) - timedelta(seconds=1))
            )
            session.execute(
                update(TelegramGateway)
                .where(TelegramGateway.id == of.owner)
                .values(seen_at=datetime.now(UTC) - timedelta(seconds=TIMES.lease_s + 1))
            )


@pytest.fixture
def gateways(database: Database, steady: Steady) -> Gateways:
    return Gateways(database, steady)


def held(leases: Leases) -> dict[int, int]:
    """Shard -> fence."""
    fences = ((shard, leases.fence_of(shard)) for shard in leases.shards)
    return {shard: fence.number for shard, fence in fences if fence is not None}


def share(leases: Leases) -> None:
    """What a host does every few seconds."""
    above = leases.renew(accounts=0)
    if above:
        leases.release(sorted(leases.shards)[-above:])


def test_one_gateway_holds_every_shard(gateways: Gateways) -> None:
    leases = gateways.new()
    assert leases.renew(accounts=0) == 0
    assert held(leases) == dict.fromkeys(range(SHARDS), 1)


def test_a_second_gateway_gets_its_half_once_the_first_gives_it_back_and_never_a_shard_twice(
    gateways: Gateways,
) -> None:
    first, second = gateways.new(), gateways.new()
    first.renew(accounts=0)
    second.renew(accounts=0)
    assert second.shards == frozenset()

    assert first.renew(accounts=0) == 32
    first.release(range(32, SHARDS))

    assert first.renew(accounts=0) == 0
    assert first.shards == frozenset(range(32))
    second.renew(accounts=0)
    assert held(second) == dict.fromkeys(range(32, SHARDS), 2)
    assert first.fence_of(40) is None


def test_a_shard_of_a_killed_gateway_is_taken_when_its_lease_is_over_and_with_a_new_fence(gateways: Gateways) -> None:
    first, second = gateways.new(), gateways.new()
    first.renew(accounts=3)
    second.renew(accounts=0)
    assert held(second) == {}
    gateways.end_leases(first)
    second.renew(accounts=0)
    assert held(second) == dict.fromkeys(range(SHARDS), 2)


def test_a_lease_that_ended_is_still_ours_while_nobody_took_it_and_lost_once_somebody_did(
    gateways: Gateways, steady: Steady
) -> None:
    first, second = gateways.new(), gateways.new()
    first.renew(accounts=0)
    fence = first.fence_of(7)
    assert fence is not None
    gateways.end_leases(first)
    first.renew(accounts=0)
    assert len(first.shards) == SHARDS
    fence.check()

    gateways.end_leases(first)
    second.renew(accounts=0)
    first.renew(accounts=0)
    assert held(first) == {}
    with pytest.raises(LeaseLostError):
        fence.check()


def test_the_holder_lets_go_before_its_lease_can_end(gateways: Gateways, steady: Steady) -> None:
    leases = gateways.new()
    leases.renew(accounts=0)
    fence = leases.fence_of(0)
    assert fence is not None
    steady.now_s += TIMES.lease_s - TIMES.margin_s - 0.01
    fence.check()
    assert leases.remaining_s() > 0
    steady.now_s += 0.02
    assert not fence.valid
    assert leases.remaining_s() < 0
    with gateways.database.write() as session, pytest.raises(LeaseLostError):
        fence.hold(session)


def test_the_time_that_a_renewal_takes_is_counted_against_its_lease(gateways: Gateways, steady: Steady) -> None:
    leases = gateways.new()
    clock = itertools.chain((steady.now_s,), itertools.repeat(steady.now_s + 8))
    leases._steady = lambda: next(clock)
    leases.renew(accounts=0)
    assert leases.remaining_s() == pytest.approx(TIMES.lease_s - TIMES.margin_s - 8)


def test_a_fence_that_is_old_in_the_database_stores_nothing_though_its_own_clock_stood_still(
    gateways: Gateways,
) -> None:
    """A process that was stopped for a minute, on a machine whose clock stood still with it."""
    first, second = gateways.new(), gateways.new()
    first.renew(accounts=0)
    fence = first.fence_of(5)
    assert fence is not None
    gateways.end_leases(first)
    with gateways.database.write() as session, pytest.raises(LeaseLostError):
        fence.hold(session)
    second.renew(accounts=0)
    assert fence.valid  # it cannot know
    with gateways.database.write() as session, pytest.raises(LeaseLostError):
        fence.hold(session)
    taken = second.fence_of(5)
    assert taken is not None
    with gateways.database.write() as session:
        taken.hold(session)


def test_nobody_takes_a_shard_while_its_holder_is_storing_however_long_that_takes(gateways: Gateways) -> None:
    """The lease ends in the middle of the holder's transaction, as when its process is stopped there."""
    short = LeaseTimes(lease_s=1.0, renew_s=0.2, margin_s=0.2)
    first, second = gateways.new(short), gateways.new(short)
    first.renew(accounts=0)
    fence = first.fence_of(5)
    assert fence is not None
    taking = threading.Thread(target=second.renew, kwargs={"accounts": 0})
    with gateways.database.write() as session:
        fence.hold(session)
        time.sleep(short.lease_s + 0.2)
        taking.start()
        taking.join(1.0)
        assert second.fence_of(5) is None
    taking.join(20)
    second.renew(accounts=0)
    assert second.fence_of(5) is not None


def test_many_gateways_at_once_share_without_an_overlap(gateways: Gateways) -> None:
    every = [gateways.new() for _ in range(5)]

    def live(leases: Leases) -> None:
        for _ in range(6):
            share(leases)

    threads = [threading.Thread(target=live, args=(leases,)) for leases in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for leases in every:
        share(leases)
    for leases in every:
        share(leases)
    owned = [shard for leases in every for shard in leases.shards]
    assert len(owned) == len(set(owned))
    with gateways.database.read() as session:
        assert set(session.scalars(select(TelegramShard.owner))) <= {None, *(leases.owner for leases in every)}
    assert set(owned) == set(range(SHARDS))


def test_a_gateway_that_leaves_leaves_nothing_behind(gateways: Gateways) -> None:
    first, second = gateways.new(), gateways.new()
    first.renew(accounts=0)
    first.leave()
    assert first.fence_of(0) is None
    second.renew(accounts=0)
    assert len(second.shards) == SHARDS
    with gateways.database.read() as session:
        assert list(session.scalars(select(TelegramGateway.id))) == [second.owner]


def test_a_renewal_never_brings_back_what_was_released_while_it_ran(gateways: Gateways) -> None:
    leases = gateways.new()
    for _ in range(20):
        leases.renew(accounts=0)
        renewing = threading.Thread(target=leases.renew, kwargs={"accounts": 0})
        releasing = threading.Thread(target=leases.release, args=(range(32),))
        renewing.start()
        releasing.start()
        renewing.join(20)
        releasing.join(20)
        with gateways.database.read() as session:
            ours = select(TelegramShard.shard).where(TelegramShard.owner == leases.owner)
            assert leases.shards == frozenset(session.scalars(ours))


def test_what_was_dropped_is_nobodys_until_it_is_renewed(gateways: Gateways) -> None:
    leases = gateways.new()
    leases.renew(accounts=0)
    fence = leases.fence_of(1)
    assert fence is not None
    leases.drop()
    assert not fence.valid
    assert leases.remaining_s() == float("inf")
    leases.renew(accounts=0)
    assert fence.valid


def test_times_that_leave_no_room_for_a_failed_renewal_are_refused() -> None:
    with pytest.raises(ValueError, match="outlive"):
        LeaseTimes(lease_s=10, renew_s=4, margin_s=3)


def test_the_steady_clock_is_one_that_nobody_sets() -> None:
    """Not the time of day, which an operator or NTP may set back while a lease runs out."""
    name = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    before = time.clock_gettime(name)
    assert before <= steady_s() <= time.clock_gettime(name)


def test_a_fence_from_before_a_change_of_hands_is_dead_though_the_shard_came_back(gateways: Gateways) -> None:
    leases = gateways.new()
    leases.renew(accounts=0)
    old = leases.fence_of(5)
    assert old is not None
    leases.release([5])
    leases.renew(accounts=0)
    new = leases.fence_of(5)
    assert new is not None
    new.check()
    assert not old.valid
    with gateways.database.write() as session, pytest.raises(LeaseLostError):
        old.hold(session)
