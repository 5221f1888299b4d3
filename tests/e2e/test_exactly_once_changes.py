"""Whatever dies or misbehaves, everybody is told of a change once, in one message: real processes, killed at every step.

Each person's meeting was moved and another one was added before the poll under test; the notice tells both.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import pytest

from switchboard.db.models import DeliveryState as State
from tests.e2e.deployment import CHANGES, LEDGER, POLLS, POSTS, Deployment, Person, now

TOLD = ["changes"]
ONE_WRITER = "with one writer at a time nothing can be held between two transactions"


def told_once(deployment: Deployment, people: Sequence[Person]) -> None:
    """Let everything settle; then each person has one notice with both changes."""
    deployment.settle(people)
    for person in people:
        assert deployment.received(person) == TOLD
        [text] = deployment.texts(person)
        assert (text.count("**Moved**"), text.count("**New**"), text.count("Review")) == (1, 1, 2)
    assert set(deployment.states(*people)) == {State.SENT}


def test_a_poll_whose_worker_and_broker_died_before_its_expansion_was_queued_is_told_once(
    deployment: Deployment,
) -> None:
    if deployment.database.dialect == "sqlite":
        pytest.skip(ONE_WRITER)
    people = deployment.with_changes(2)
    with deployment.blocked_table("calendar_objects"):
        for person in people:
            deployment.accounts.poll_soon(person.account_id)
        deployment.tick(POLLS)
        deployment.wait(lambda: deployment.writers_waiting() == 2, "the polls to store what they fetched")
        os.kill(deployment.valkey.pid, signal.SIGSTOP)
    deployment.wait(
        lambda: all(deployment.account(person).claimed_until is None for person in people), "the end of the polls"
    )
    assert deployment.waiting_objects()
    deployment.kill(deployment.the_worker(), deployment.expander())
    renew_broker(deployment)
    told_once(deployment, people)


def test_an_expansion_that_was_killed_half_way_is_done_again_and_told_once(deployment: Deployment) -> None:
    if deployment.database.dialect == "sqlite":
        pytest.skip(ONE_WRITER)
    people = deployment.with_changes(2)
    with deployment.blocked_table("calendar_occurrences"):
        for person in people:
            deployment.accounts.poll_soon(person.account_id)
        deployment.tick(POLLS)
        deployment.wait(lambda: deployment.expansions_begun() > 0, "an expansion to begin")
        deployment.kill(deployment.expander())
    begun = now()
    deployment.tick(CHANGES)
    deployment.wait(lambda: deployment.beat_of(CHANGES) > begun, "a scan for changes")
    assert deployment.waiting_objects()
    assert [deployment.received(person) for person in people] == [[]] * 2, "half of the changes is not told"
    deployment.expander()
    deployment.redeliver()
    told_once(deployment, people)


def test_a_notice_that_was_entered_and_never_queued_because_the_worker_died_is_told_once(
    deployment: Deployment,
) -> None:
    people = deployment.with_changes(2)
    deployment.poll(*people)
    with deployment.blocked_ledger():
        deployment.tick(CHANGES)
        deployment.wait(lambda: deployment.scans_under_way() == {CHANGES}, "the scan to begin")
        os.kill(deployment.valkey.pid, signal.SIGSTOP)
    deployment.wait(lambda: len(deployment.rows(people)) == 2, "the rows of the ledger")
    deployment.kill(deployment.the_worker())
    renew_broker(deployment)
    assert deployment.states(*people) == [State.PENDING] * 2
    told_once(deployment, people)


def test_a_scan_killed_before_its_commit_has_told_nothing_and_forgotten_nothing(deployment: Deployment) -> None:
    people = deployment.with_changes(1)
    deployment.poll(*people)
    with deployment.blocked_ledger():
        deployment.tick(CHANGES)
        deployment.wait(lambda: deployment.scans_under_way() == {CHANGES}, "the scan to begin")
        deployment.kill(deployment.the_worker())
    assert deployment.rows(people) == []
    deployment.end_locks()
    told_once(deployment, people)


@pytest.mark.parametrize("step", ["claimed", "sending"])
def test_a_notice_that_a_killed_sender_held_is_told_once(deployment: Deployment, step: str) -> None:
    people = deployment.with_changes(2)
    deployment.poll(*people)
    with deployment.mattermost_down():
        deployment.tick(CHANGES)
        deployment.wait(lambda: any(row.attempts for row in deployment.rows(people)), "a first try")
        deployment.wait(lambda: deployment.states(*people) == [State.PENDING] * 2, "both to wait")
    deployment.wait_idle()
    deployment.pass_waits()
    deployment.kill_a_sender(step, people, 2)
    assert [deployment.received(person) for person in people] == [[]] * 2
    deployment.end_leases()
    told_once(deployment, people)


def test_a_notice_whose_worker_was_killed_between_the_post_and_its_record_is_told_once(deployment: Deployment) -> None:
    people = deployment.with_changes(2)
    deployment.poll(*people)
    deployment.twin.faults.add("slow", when="after", seconds=60, count=1, **POSTS)
    deployment.tick(CHANGES)
    deployment.wait(lambda: any(deployment.received(person) == TOLD for person in people), "the first post")
    deployment.kill(deployment.the_worker())
    assert deployment.states(*people) == [State.SENDING] * 2
    deployment.forget_pending_posts()
    deployment.end_leases()
    deployment.tick(LEDGER)
    told_once(deployment, people)


def test_two_beats_and_each_message_ten_times_tell_nothing_twice(deployment: Deployment) -> None:
    """Two plain beats do not know of each other and really tick twice; a rival worker takes half of it all."""
    people = deployment.with_changes(3)
    rival = deployment.worker()
    for person in people:
        deployment.accounts.poll_soon(person.account_id)
    for _beat in range(2):
        deployment.beat("celery.beat.PersistentScheduler")
    for person in people:
        for _copy in range(5):
            deployment.send("calendar.occurrences.expand", account_id=person.account_id)
    deployment.tick(POLLS, CHANGES, times=10)
    deployment.wait(lambda: all(deployment.received(person) for person in people), "the notices")
    deployment.kill_all("beat")
    deployment.kill(rival)
    deployment.end_locks()
    deployment.redeliver()
    told_once(deployment, people)


def renew_broker(deployment: Deployment) -> None:
    """Kill the broker, with what a dying worker may have sent it meanwhile, and start it again."""
    deployment.valkey.kill()
    deployment.valkey.start()
    deployment.end_locks()
