"""What operators see, over real databases and a real Valkey."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest
import redis
from sqlalchemy import text, update

from sandbox.ports import free_port
from switchboard.db.engine import Database
from switchboard.db.models import CalendarAccount, CalendarSubscriber, Delivery, DeliveryState
from switchboard.db.repositories.heartbeats import beat
from switchboard.errors import NotFoundError
from switchboard.services.health import Health, database_probe, heartbeat_probe, redis_probe, schema_probe
from switchboard.services.operations import Operations

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PASSWORD = "an-app-password"
QUEUES = {"calendar": ("calendar",), "delivery": ("delivery",), "telegram.shards": ("telegram.0", "telegram.1")}


def _deliver(database: Database, *states: DeliveryState, finished_at: datetime | None = None) -> None:
    with database.write() as session:
        for number, state in enumerate(states):
            session.add(
                Delivery(
                    channel="mattermost",
                    kind="reminder",
                    key=f"{state}-{number}-{finished_at}",
                    subject="user:u1",
                    recipient="u1",
                    body={"summary": "confidential"},
                    state=state,
                    next_attempt_at=NOW,
                    created_at=NOW - timedelta(seconds=60 - number),
                    finished_at=finished_at,
                )
            )


def _account(database: Database) -> int:
    with database.write() as session:
        subscriber = CalendarSubscriber(
            mattermost_user_id="u1",
            username="anna",
            zone="Europe/Moscow",
            agenda_time=NOW.time(),
            weekdays=[1],
            reminder_minutes=[10],
            created_at=NOW,
            updated_at=NOW,
        )
        session.add(subscriber)
        session.flush()
        account = CalendarAccount(
            subscriber_id=subscriber.id,
            server_url="https://caldav.example.org",
            login="anna",
            password=PASSWORD,
            addresses=[],
            next_poll_at=NOW,
            created_at=NOW,
        )
        session.add(account)
        session.flush()
        return account.id


@pytest.fixture
def client(valkey: str) -> redis.Redis:
    return redis.Redis.from_url(valkey, socket_timeout=2, socket_connect_timeout=2)


@pytest.fixture
def operations(database: Database, client: redis.Redis) -> Operations:
    return Operations(database, client, queues=QUEUES)


def test_facts_count_what_is_open_what_ended_lately_and_what_waits(
    operations: Operations, database: Database, client: redis.Redis
) -> None:
    _deliver(database, DeliveryState.PENDING, DeliveryState.PENDING, DeliveryState.UNCERTAIN)
    _deliver(database, DeliveryState.SENT, DeliveryState.DEAD, finished_at=NOW - timedelta(hours=1))
    _deliver(database, DeliveryState.SENT, finished_at=NOW - timedelta(days=2))
    client.lpush("calendar", "a", "b")
    client.lpush("telegram.0", "a")
    client.lpush("telegram.1", "b", "c")
    with database.write() as session:
        beat(session, "beat", NOW - timedelta(seconds=7))
    facts = operations.facts(NOW)
    assert facts.open_deliveries == {("mattermost", "PENDING"): 2, ("mattermost", "UNCERTAIN"): 1}
    assert facts.finished_deliveries == {("mattermost", "SENT"): 1, ("mattermost", "DEAD"): 1}
    assert facts.oldest_open_age_s == {"mattermost": 60.0}
    assert facts.heartbeat_age_s == {"beat": 7.0}
    assert facts.queue_lengths == {"calendar": 2, "delivery": 0, "telegram.shards": 3}
    assert facts.silent == ()


def test_a_message_that_was_put_off_is_not_late_before_its_time(operations: Operations, database: Database) -> None:
    _deliver(database, DeliveryState.PENDING)
    with database.write() as session:
        session.execute(update(Delivery).values(claimed_until=NOW + timedelta(hours=8)))
    assert operations.facts(NOW).oldest_open_age_s == {}
    assert operations.facts(NOW + timedelta(hours=8, seconds=5)).oldest_open_age_s == {"mattermost": 5.0}


def test_facts_of_a_server_that_is_away_are_missing_and_the_others_are_there(database: Database) -> None:
    away = redis.Redis(port=free_port(), socket_connect_timeout=1, socket_timeout=1)
    facts = Operations(database, away, queues={"calendar": ("calendar",)}).facts(NOW)
    assert facts.silent == ("redis",)
    assert facts.queue_lengths == {}
    assert facts.open_deliveries == {}


def test_accounts_are_shown_without_their_password(operations: Operations, database: Database) -> None:
    account_id = _account(database)
    (account,) = operations.calendar_accounts()
    assert account == operations.calendar_account(account_id)
    assert (account.mattermost_user_id, account.login, account.state) == ("u1", "anna", "active")
    assert PASSWORD not in str(asdict(account))
    with pytest.raises(NotFoundError):
        operations.calendar_account(account_id + 1)


def test_deliveries_are_paged_newest_first_without_their_texts(operations: Operations, database: Database) -> None:
    _deliver(database, *[DeliveryState.PENDING] * 5)
    first = operations.deliveries(limit=3)
    second = operations.deliveries(limit=3, before_id=first[-1].id)
    ids = [row.id for row in (*first, *second)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 5
    assert "confidential" not in str([asdict(row) for row in first])
    assert operations.deliveries(state="SENT") == []


def test_a_healthy_deployment_is_ready(database: Database, client: redis.Redis) -> None:
    with database.write() as session:
        beat(session, "beat", NOW - timedelta(seconds=20))
    probes = [
        database_probe(database),
        schema_probe(database),
        redis_probe(client),
        heartbeat_probe(database, "beat", within=timedelta(seconds=60), clock=lambda: NOW),
    ]
    report = Health(probes).report()
    assert [finding for finding in report.findings if not finding.ok] == []
    assert report.findings[3].reason == "seen 20 s ago"


def test_a_schema_that_is_behind_says_to_migrate(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    (finding,) = Health([schema_probe(database)]).report().findings
    assert not finding.ok
    assert "the schema is at older" in finding.reason
    assert "migrations" in finding.reason


@pytest.mark.parametrize(("age_s", "ok"), [(59, True), (61, False)])
def test_an_old_heartbeat_is_a_fault_that_is_not_needed(database: Database, age_s: int, ok: bool) -> None:
    with database.write() as session:
        beat(session, "beat", NOW - timedelta(seconds=age_s))
    report = Health([heartbeat_probe(database, "beat", within=timedelta(seconds=60), clock=lambda: NOW)]).report()
    assert report.findings[0].ok is ok
    assert report.ready


def test_a_redis_that_hangs_does_not_hang_the_report(database: Database) -> None:
    # Given a server that takes connections and says nothing
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = redis.Redis(port=silent.getsockname()[1], socket_timeout=10)
        started = time.monotonic()
        report = Health([redis_probe(client), database_probe(database)], deadline_s=0.5).report()
        assert time.monotonic() - started < 8  # the client itself would wait for 10 s
    assert [finding.ok for finding in report.findings] == [False, True]
    assert not report.ready
