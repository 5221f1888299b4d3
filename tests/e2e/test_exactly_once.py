"""Whatever dies or misbehaves, everybody gets one agenda and one reminder: real processes, killed at every step.

In CI on PostgreSQL and Radicale; `make test-full` runs every database with every calendar server.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import update

from switchboard.db.models import CalendarSubscriber
from switchboard.db.models import DeliveryState as State
from tests.e2e.deployment import (
    AGENDAS,
    LEDGER,
    POLLS,
    POSTS,
    REMINDERS,
    SEND,
    Deployment,
    Person,
    now,
    zone_at_noon,
)

ONE_OF_EACH = ["agenda", "reminder"]


@pytest.mark.parametrize("victim", ["agenda", "reminder"])
def test_a_post_whose_worker_was_killed_before_its_record_is_found_and_not_repeated(
    deployment: Deployment, victim: str
) -> None:
    people = deployment.people(3)
    first = people[0]
    if victim == "reminder":
        deployment.tick(AGENDAS)
        deployment.wait(lambda: all(deployment.received(one) == ["agenda"] for one in people), "the agendas")
        deployment.wait(lambda: deployment.states(*people) == [State.SENT] * 3, "their records")
    deployment.twin.faults.add("slow", when="after", seconds=60, count=1, **POSTS)
    deployment.tick(AGENDAS if victim == "agenda" else REMINDERS)
    posted = [victim] if victim == "agenda" else ONE_OF_EACH
    deployment.wait(lambda: any(deployment.received(one) == posted for one in people), "the first post")

    deployment.kill(deployment.the_worker())
    assert deployment.states(*people)[-3:] == [State.SENDING] * 3

    deployment.forget_pending_posts()
    deployment.worker()
    deployment.end_leases()
    deployment.tick(LEDGER)
    deployment.wait(lambda: deployment.states(first)[-1] == State.UNCERTAIN, "the lost call to be noticed")
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 3
    assert set(deployment.states(*people)) == {State.SENT}


def test_what_was_claimed_and_never_queued_because_the_worker_was_killed_is_sent_once(deployment: Deployment) -> None:
    people = deployment.people(2)
    with deployment.blocked_ledger():
        deployment.tick(AGENDAS, REMINDERS)
        deployment.wait(lambda: deployment.scans_under_way() == {AGENDAS, REMINDERS}, "both scans to begin")
        os.kill(deployment.valkey.pid, signal.SIGSTOP)
    deployment.wait(lambda: len(deployment.rows(people)) == 4, "the rows of the ledger")
    deployment.kill(deployment.the_worker())
    deployment.valkey.kill()  # with what the dying worker may have sent it meanwhile
    deployment.valkey.start()
    assert deployment.states(*people) == [State.PENDING] * 4

    deployment.end_locks()
    deployment.worker()
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 2


@pytest.mark.parametrize("step", ["claimed", "sending"])
def test_what_a_killed_sender_held_is_sent_once(deployment: Deployment, step: str) -> None:
    people = deployment.people(2)
    with deployment.mattermost_down():
        deployment.tick(AGENDAS, REMINDERS)
        deployment.wait(lambda: any(row.attempts for row in deployment.rows(people)), "a first try")
        deployment.wait(lambda: deployment.states(*people) == [State.PENDING] * 4, "all rows to wait")
    deployment.wait_idle()
    deployment.pass_waits()
    deployment.kill_a_sender(step, people, 2)
    assert [deployment.received(one) for one in people] == [[]] * 2

    deployment.end_leases()
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 2


@pytest.mark.parametrize("accident", ["killed", "killed while a post is under way", "emptied"])
def test_a_broker_that_is_killed_or_emptied_loses_no_message_and_doubles_none(
    deployment: Deployment, accident: str
) -> None:
    people = deployment.people(3)
    worker = deployment.the_worker()
    if accident == "killed while a post is under way":
        deployment.twin.faults.add("slow", when="after", seconds=2, count=1, **POSTS)
        deployment.tick(AGENDAS, REMINDERS)
        deployment.wait(lambda: any(deployment.received(one) for one in people), "the first post")
    else:
        os.kill(worker.pid, signal.SIGSTOP)
        deployment.tick(AGENDAS, REMINDERS)
    if accident == "emptied":
        deployment.valkey.flush()
    else:
        deployment.valkey.kill()
        time.sleep(0.5)
        deployment.valkey.start()
    os.kill(worker.pid, signal.SIGCONT)
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 3


@pytest.mark.parametrize("scheduler", ["redbeat.RedBeatScheduler", "celery.beat.PersistentScheduler"])
def test_two_beats_double_nothing(deployment: Deployment, scheduler: str) -> None:
    """With RedBeat one of them waits; two plain ones, which do not know of each other, really tick twice."""
    people = deployment.people(4)
    for _beat in range(2):
        deployment.beat(scheduler)
    deployment.wait(lambda: all(deployment.received(one) == ONE_OF_EACH for one in people), "the messages")
    time.sleep(3)
    deployment.kill_all("beat")
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 4


def test_the_same_tick_ten_times_at_once_has_its_effect_once(deployment: Deployment) -> None:
    people = deployment.people(4)
    deployment.tick(times=10)
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 4


def test_two_workers_that_race_for_the_same_messages_send_each_once(deployment: Deployment) -> None:
    people = deployment.people(12)
    rival = deployment.worker()
    deployment.tick(AGENDAS, REMINDERS, times=5)
    deployment.wait(lambda: bool(deployment.rows(people)), "the rows of the ledger")
    ids = [row.id for row in deployment.rows(people)]
    for _copy in range(6):
        deployment.send(SEND, delivery_ids=ids)
        deployment.tick(LEDGER)
    deployment.settle(people)
    deployment.kill(rival)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 12


@pytest.mark.parametrize("memory", ["fresh", "forgotten"])
def test_a_post_that_was_stored_and_answered_with_500_is_found_by_its_delivery_id(
    deployment: Deployment, memory: str
) -> None:
    """`forgotten`: the next try comes after the 30 s in which Mattermost remembers pending_post_id."""
    [person] = deployment.people(1)
    deployment.twin.faults.add("error", when="after", status=500, count=1, **POSTS)
    deployment.tick(AGENDAS)
    deployment.wait(lambda: deployment.states(person) == [State.UNCERTAIN], "the lost answer")
    assert deployment.received(person) == ["agenda"]
    if memory == "forgotten":
        deployment.forget_pending_posts()
    [row] = deployment.rows([person])
    assert row.next_attempt_at - now() > timedelta(seconds=10), "it is not looked up before the server can have settled"

    deployment.tick(REMINDERS, LEDGER)
    deployment.wait(lambda: len(deployment.rows([person])) == 2, "the reminder")
    deployment.wait_idle()
    assert deployment.states(person) == [State.UNCERTAIN, State.PENDING], "nothing overtakes the uncertain one"
    deployment.settle([person])
    assert deployment.received(person) == ONE_OF_EACH
    [agenda, reminder] = deployment.rows([person])
    assert (agenda.attempts, reminder.attempts) == (1, 1)


@pytest.mark.parametrize(
    ("fault", "first_state"),
    [
        pytest.param({"kind": "rate_limit", "retry_after_s": 45}, State.PENDING, id="429"),
        pytest.param({"kind": "error", "status": 503}, State.UNCERTAIN, id="503 before the effect"),
        pytest.param({"kind": "cut"}, State.UNCERTAIN, id="cut before the effect"),
        pytest.param({"kind": "cut", "when": "after"}, State.UNCERTAIN, id="cut after the effect"),
        pytest.param({"kind": "cut_body"}, State.UNCERTAIN, id="cut in the answer"),
        pytest.param({"kind": "html"}, State.UNCERTAIN, id="a sign-in page"),
        pytest.param({"kind": "slow", "seconds": 9}, State.UNCERTAIN, id="slower than the time-out"),
    ],
)
def test_a_misbehaving_mattermost_gets_each_message_once(
    deployment: Deployment, fault: dict[str, Any], first_state: State
) -> None:
    [person] = deployment.people(1)
    deployment.twin.faults.add(count=1, **POSTS, **fault)
    deployment.tick(AGENDAS)
    deployment.wait(lambda: any(row.attempts and row.state == first_state for row in deployment.rows([person])), "it")
    [row] = deployment.rows([person])
    if fault["kind"] == "rate_limit":
        assert timedelta(seconds=40) < row.next_attempt_at - now() <= timedelta(seconds=45)
    if fault["kind"] == "slow":  # the look-up waits longer than this in truth
        deployment.wait(lambda: deployment.received(person) == ["agenda"], "the late effect")
    deployment.forget_pending_posts()
    deployment.settle([person])
    assert deployment.received(person) == ONE_OF_EACH


def test_a_mattermost_that_is_down_gets_each_message_once_when_it_is_back(deployment: Deployment) -> None:
    people = deployment.people(3)
    with deployment.mattermost_down():
        for _try in range(3):
            before = _tries(deployment, people)
            deployment.tick(AGENDAS, REMINDERS, LEDGER)
            deployment.wait(partial(_tried_more, deployment, people, before), "a try")
            deployment.wait(lambda: set(deployment.states(*people)) == {State.PENDING}, "its record")
            deployment.pass_waits()
    deployment.settle(people)
    assert [deployment.received(one) for one in people] == [ONE_OF_EACH] * 3


def test_a_meeting_moved_between_due_and_send_is_told_with_its_new_time_alone(deployment: Deployment) -> None:
    [person] = deployment.people(1, meeting_in=timedelta(minutes=9))
    with deployment.mattermost_down():
        deployment.tick(REMINDERS)
        deployment.wait(lambda: deployment.states(person) == [State.PENDING], "the old reminder to be due")
        deployment.wait(lambda: deployment.rows([person])[0].attempts > 0, "a try")
        deployment.move(person, timedelta(minutes=6))
        deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ONE_OF_EACH
    reminders = [row for row in deployment.rows([person]) if row.kind == "calendar.reminder"]
    assert [row.state for row in reminders] == [State.EXPIRED, State.SENT]
    assert reminders[1].key in deployment.keys(person)


def test_a_meeting_moved_away_before_its_reminder_was_sent_and_then_back_is_told_once(deployment: Deployment) -> None:
    [person] = deployment.people(1, meeting_in=timedelta(minutes=9))
    assert person.meeting is not None
    with deployment.mattermost_down():
        deployment.tick(REMINDERS)
        deployment.wait(lambda: _tries(deployment, [person]) > 0, "a try")
        deployment.wait(lambda: deployment.states(person) == [State.PENDING], "its record")
        deployment.move(person, timedelta(minutes=40))
        deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ["agenda"]
    for _time in range(2):
        deployment.move(person, person.meeting.start - now())
        deployment.poll(person)
        deployment.settle([person])
        assert deployment.received(person) == ONE_OF_EACH


def test_a_meeting_made_five_minutes_ahead_is_told_at_once(deployment: Deployment) -> None:
    person = deployment.with_meeting(deployment.connect(), timedelta(minutes=5))
    deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ["reminder"]


def test_after_a_downtime_over_its_time_the_agenda_comes_late_and_once(deployment: Deployment) -> None:
    person = deployment.connect()
    deployment.poll(person)
    deployment.kill(deployment.the_worker())
    with deployment.database.write() as session:
        due = now() - timedelta(hours=2)
        session.execute(
            update(CalendarSubscriber)
            .where(CalendarSubscriber.id == person.subscriber_id)
            .values(next_agenda_at=due, next_agenda_date=due.astimezone(ZoneInfo(zone_at_noon())).date())
        )
    deployment.worker()
    deployment.end_locks()
    deployment.tick(times=3)
    deployment.settle([person])
    assert deployment.received(person) == ["agenda"]
    upcoming = deployment.subscriber(person).next_agenda_at
    assert upcoming is not None
    assert upcoming > now() + timedelta(hours=1)


def test_while_the_calendar_server_is_down_what_is_stored_is_told_and_nothing_is_lost(deployment: Deployment) -> None:
    [person] = deployment.people(1)
    deployment.calendars.stop()
    [before] = deployment.polled_at(person)
    deployment.accounts.poll_soon(person.account_id)
    deployment.tick(POLLS)
    deployment.wait(partial(_polled_since, deployment, person, before), "the poll to fail")
    assert deployment.account(person).failures == 1
    deployment.settle([person])
    assert deployment.received(person) == ONE_OF_EACH

    deployment.calendars.start()
    deployment.with_meeting(person, timedelta(minutes=8))
    deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ["agenda", "reminder", "reminder"]
    assert len(set(deployment.keys(person))) == 3
    assert (deployment.account(person).failures, deployment.account(person).last_error) == (0, None)


def test_a_refused_password_pauses_the_account_tells_its_owner_once_and_costs_nothing(deployment: Deployment) -> None:
    if not deployment.calendars.checks_passwords:
        pytest.skip("this calendar server asks for no password")
    [person] = deployment.people(1)
    settings = deployment.subscriber(person)
    deployment.calendars.set_password(person.name, "another")
    for refusal in range(1, 4):
        [before] = deployment.polled_at(person)
        deployment.accounts.poll_soon(person.account_id)
        deployment.tick(POLLS)
        deployment.wait(partial(_polled_since, deployment, person, before), "the poll to be refused")
        assert deployment.account(person).state == ("paused" if refusal == 3 else "active")
    deployment.accounts.poll_soon(person.account_id)
    deployment.settle([person])
    assert deployment.received(person) == ["account_paused", *ONE_OF_EACH]

    deployment.with_meeting(person, timedelta(minutes=8))
    deployment.accounts.update_password(person.account_id, "another", actor="test")
    deployment.poll(person)
    deployment.settle([person])
    assert deployment.received(person) == ["account_paused", "agenda", "reminder", "reminder"]
    after = deployment.subscriber(person)
    assert (after.zone, after.agenda_time, after.reminder_minutes) == (
        settings.zone,
        settings.agenda_time,
        settings.reminder_minutes,
    )


def _tries(deployment: Deployment, people: Sequence[Person]) -> int:
    return sum(row.attempts for row in deployment.rows(people))


def _tried_more(deployment: Deployment, people: Sequence[Person], before: int) -> bool:
    return _tries(deployment, people) > before


def _polled_since(deployment: Deployment, person: Person, before: datetime | None) -> bool:
    return deployment.polled_at(person) != [before]
