"""The rules of the base task, without a worker."""

# mypy: disallow-untyped-decorators=False
from __future__ import annotations

from collections.abc import Iterator

import pytest
from celery import Celery
from celery.exceptions import Retry
from structlog.contextvars import bound_contextvars, get_contextvars

from sandbox.ports import free_port
from switchboard.deadlines import current_deadline
from switchboard.errors import LockBusyError, PermanentError, RemoteUnavailableError, TransientError, UncertainError
from tasks import base
from tasks.base import LONGEST_BACKOFF_S, SwitchboardTask, wait_before_retry_s


@pytest.fixture
def app() -> Iterator[Celery]:
    made = Celery("test", task_cls=SwitchboardTask, set_as_current=False, broker="memory://")
    yield made
    made.close()


def test_a_task_called_directly_raises_the_original_error(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.fail")
    def fail() -> None:
        raise RemoteUnavailableError("down")

    with pytest.raises(RemoteUnavailableError):
        fail()


def test_positional_arguments_are_refused_when_a_task_is_registered(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.positional")
    def positional(account_id: int) -> None: ...

    with pytest.raises(TypeError, match="account_id must be keyword-only"):
        app.finalize()


def test_positional_arguments_are_refused_when_a_task_is_queued(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.keyword")
    def keyword(*, account_id: int) -> None: ...

    with pytest.raises(TypeError, match="keyword arguments only"):
        keyword.delay(1)


def test_a_task_runs_under_its_deadline_with_its_ids_bound(app: Celery) -> None:
    seen: dict[str, object] = {}

    @app.task(shared=False, name="upkeep.test.look", soft_time_limit=7)
    def look() -> None:
        deadline = current_deadline()
        assert deadline is not None
        seen.update(get_contextvars(), left_s=deadline.remaining_s())

    look.apply(task_id="the-id", headers={"request_id": "the-request"}, throw=True)
    assert 6 < float(str(seen.pop("left_s"))) <= 7
    assert seen == {"task": "upkeep.test.look", "task_id": "the-id", "root_id": "the-id"} | (
        {"request_id": "the-request"} if "request_id" in seen else {}
    )
    assert get_contextvars() == {}


def test_the_hard_limit_follows_the_soft_one(app: Celery) -> None:
    @app.task(shared=False, name="upkeep.test.limits", soft_time_limit=120)
    def limits() -> None: ...

    assert limits.time_limit == 130


@pytest.mark.parametrize("error", [PermanentError("no"), UncertainError("lost")])
def test_permanent_and_uncertain_errors_are_never_tried_again(app: Celery, error: Exception) -> None:
    runs = []

    @app.task(shared=False, name="upkeep.test.fail")
    def fail() -> None:
        runs.append(1)
        raise error

    result = fail.apply()
    assert result.state == "FAILURE"
    assert runs == [1]


@pytest.mark.parametrize(("retries", "ceiling_s"), [(0, 2.0), (1, 4.0), (3, 16.0), (20, LONGEST_BACKOFF_S)])
def test_the_wait_is_random_below_a_ceiling_that_doubles(retries: int, ceiling_s: float) -> None:
    waits = [wait_before_retry_s(TransientError("x"), retries=retries) for _ in range(500)]
    assert 0.8 * ceiling_s < max(waits) <= ceiling_s
    assert min(waits) < 0.2 * ceiling_s


def test_the_wait_is_never_shorter_than_the_remote_or_the_lock_asks_for() -> None:
    assert wait_before_retry_s(LockBusyError("busy", retry_after_s=45.0), retries=0) == 45.0


def retry_of(app: Celery, error: TransientError, monkeypatch: pytest.MonkeyPatch) -> BaseException:
    @app.task(shared=False, name="upkeep.test.fail")
    def fail() -> None: ...

    fail.push_request(id="x", root_id="x", retries=0, called_directly=False, args=(), kwargs={})
    monkeypatch.setattr(SwitchboardTask, "run", lambda self: (_ for _ in ()).throw(error))
    monkeypatch.setattr(type(fail._get_current_object()), "run", lambda self: (_ for _ in ()).throw(error))
    monkeypatch.setattr(SwitchboardTask, "apply_async", lambda *_args, **_options: None)
    with pytest.raises((Retry, TransientError)) as caught:
        fail.__call__()
    error_raised: BaseException = caught.value
    return error_raised


def test_a_transient_error_is_tried_again_after_the_remotes_wait(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    retry = retry_of(app, TransientError("slow down", retry_after_s=90.0), monkeypatch)
    assert isinstance(retry, Retry)
    assert retry.when == 90.0


def test_a_wait_longer_than_a_countdown_may_be_is_left_to_the_row(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    error = TransientError("flood", retry_after_s=base.LONGEST_COUNTDOWN_S + 1)
    assert retry_of(app, error, monkeypatch) is error


def test_the_id_of_the_web_request_goes_along(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = {}
    monkeypatch.setattr(app, "send_task", lambda *_args, **options: sent.update(options))

    @app.task(shared=False, name="upkeep.test.keyword")
    def keyword(*, account_id: int) -> None: ...

    with bound_contextvars(request_id="r-1"):
        keyword.delay(account_id=1)
    assert sent["headers"] == {"request_id": "r-1"}


def test_a_broker_that_is_down_is_a_remote_that_is_unavailable(app: Celery) -> None:
    app.conf.update(
        broker_url=f"redis://127.0.0.1:{free_port()}/0",
        task_publish_retry_policy={"max_retries": 0},
        result_backend=None,
    )

    @app.task(shared=False, name="upkeep.test.keyword")
    def keyword(*, account_id: int) -> None: ...

    with pytest.raises(RemoteUnavailableError, match=r"upkeep\.test\.keyword"):
        keyword.delay(account_id=1)
