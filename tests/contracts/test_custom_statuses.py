"""Custom statuses over the real client against the twin: whose they are, what the server makes of them, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.mattermost import MattermostTwin, Settings
from switchboard.clients.mattermost import MattermostClient
from switchboard.domain.custom_status import CustomStatus
from switchboard.errors import NotFoundError, RemoteRejectedError, RemoteUnavailableError
from tests.contracts.mattermost_client import Caller
from tests.contracts.raw_server import answer, running_raw_server
from tests.contracts.test_mattermost_client import answering


@pytest.fixture
def twin() -> Iterator[MattermostTwin]:
    with MattermostTwin.running() as running:
        running.grant_rights()
        yield running


@pytest.fixture
def client(twin: MattermostTwin) -> MattermostClient:
    return MattermostClient(twin.url, twin.bot_token)


def ours(**changes: object) -> CustomStatus:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    return replace(CustomStatus("calendar", "In a meeting", "date_and_time", ends), **changes)  # type: ignore[arg-type]


def test_what_is_set_is_read_back_and_known_again(twin: MattermostTwin, client: MattermostClient) -> None:
    anna, status = twin.user_id("anna"), ours()
    assert client.user(anna).custom_status is None
    client.set_custom_status(anna, status)
    assert status.same(client.user(anna).custom_status)
    client.clear_custom_status(anna)
    assert client.user(anna).custom_status is None


@pytest.mark.parametrize(
    "given",
    [
        {"emoji": "", "text": "only words"},
        {"emoji": "fire", "text": ""},
        {"emoji": "fire", "text": "ы" * 150},
        {"emoji": "fire", "text": "to the end", "duration": "today", "expires_at": "2100-01-01T00:00:00Z"},
        {"emoji": "fire", "text": "without a duration", "expires_at": "2100-01-01T03:00:00+03:00"},
    ],
)
def test_whatever_a_person_set_can_be_given_back_as_it_was(
    twin: MattermostTwin, client: MattermostClient, given: dict[str, str]
) -> None:
    anna = twin.user_id("anna")
    assert Caller(twin, twin.token_of("anna"))("PUT", "/users/me/status/custom", given).ok
    before = client.user(anna).custom_status
    assert before is not None
    client.set_custom_status(anna, ours())
    client.set_custom_status(anna, before)
    assert client.user(anna).custom_status == before


@pytest.mark.parametrize(("kind", "changed"), [("before", False), ("after", True)])
def test_a_lost_answer_may_be_repeated(
    twin: MattermostTwin, client: MattermostClient, kind: str, changed: bool
) -> None:
    anna, status = twin.user_id("anna"), ours()
    twin.faults.add("cut", when=kind, count=1, method="PUT", path="/api/v4/users/*/status/custom")
    with pytest.raises(RemoteUnavailableError):
        client.set_custom_status(anna, status)
    assert status.same(client.user(anna).custom_status) == changed
    client.set_custom_status(anna, status)
    assert status.same(client.user(anna).custom_status)


def test_without_the_right_only_ones_own_may_be_changed() -> None:
    with MattermostTwin.running() as twin:
        client = MattermostClient(twin.url, twin.bot_token)
        assert "edit_other_users" not in client.own_permissions()
        calls: list[Callable[[], None]] = [
            lambda: client.set_custom_status(twin.user_id("anna"), ours()),
            lambda: client.clear_custom_status(twin.user_id("anna")),
        ]
        for call in calls:
            with pytest.raises(RemoteRejectedError) as refused:
                call()
            assert refused.value.status == 403
        twin.grant_rights()
        assert client.own_permissions() >= {"edit_other_users", "create_post_ephemeral"}


def test_a_server_without_custom_statuses_says_so() -> None:
    with MattermostTwin.running(settings=Settings(enable_custom_user_statuses=False)) as twin:
        twin.grant_rights()
        client = MattermostClient(twin.url, twin.bot_token)
        assert not client.custom_statuses_enabled()
        with pytest.raises(RemoteRejectedError, match="switched off at the server") as refused:
            client.set_custom_status(twin.user_id("anna"), ours())
        assert refused.value.status == 501


def test_a_server_with_custom_statuses_says_so(client: MattermostClient) -> None:
    assert client.custom_statuses_enabled()


def test_an_end_in_the_past_and_an_unknown_person_are_refused(twin: MattermostTwin, client: MattermostClient) -> None:
    with pytest.raises(RemoteRejectedError) as refused:
        client.set_custom_status(twin.user_id("anna"), ours(expires_at=datetime.now(UTC) - timedelta(seconds=1)))
    assert refused.value.status == 400
    with pytest.raises(NotFoundError):
        client.set_custom_status("z" * 26, ours())


@pytest.mark.parametrize("kept", ['""', '"{"', '"null"', '"[]"', '"{}"', "7"])
def test_a_status_that_nobody_can_read_is_none(kept: str) -> None:
    user = answer(b'{"id": "u", "username": "anna", "props": {"customStatus": %s}}' % kept.encode())
    with running_raw_server(answering(user)) as server:
        assert MattermostClient(server.url, "token").user("u").custom_status is None
