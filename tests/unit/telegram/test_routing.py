"""Hints for an account go to the process that holds it."""

from __future__ import annotations

from switchboard.domain.telegram.sharding import SHARD_QUEUES, SHARDS, shard_of
from switchboard.queues import QUEUES
from tasks.app import route


def test_a_task_on_one_account_goes_to_the_queue_of_its_shard() -> None:
    for account_id in (1, 2, 77):
        chosen = route("telegram.accounts.look", (), {"account_id": account_id})
        assert chosen == {"queue": SHARD_QUEUES[shard_of(account_id)]}


def test_a_task_on_no_account_goes_to_any_gateway_and_another_familys_to_its_own() -> None:
    assert route("telegram.accounts.scan_due", (), {}) == {"queue": "telegram"}
    assert route("calendar.accounts.poll", (), {"account_id": 7}) == {"queue": "calendar"}
    assert route("celery.backend_cleanup") is None


def test_every_shard_has_a_queue_of_its_own() -> None:
    assert len(set(SHARD_QUEUES)) == SHARDS
    assert not set(SHARD_QUEUES) & set(QUEUES)
