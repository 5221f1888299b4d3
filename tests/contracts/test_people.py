"""Finding a person in Mattermost by what somebody typed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox.mattermost import MattermostTwin
from switchboard.clients.mattermost import MattermostClient
from switchboard.errors import AuthError, RemoteUnavailableError
from switchboard.services.people import MattermostPeople

LOOKS_LIKE_AN_ID = "nameof26lettersanddigits26"


@pytest.fixture
def twin() -> Iterator[MattermostTwin]:
    with MattermostTwin.running() as running:
        yield running


@pytest.fixture
def people(twin: MattermostTwin) -> MattermostPeople:
    return MattermostPeople(MattermostClient(twin.url, twin.bot_token))


def test_a_person_is_found_by_name_by_at_name_and_by_id(twin: MattermostTwin, people: MattermostPeople) -> None:
    anna = people.find("anna")
    assert anna is not None
    assert (anna.username, anna.email, anna.locale) == ("anna", "anna@example.org", "ru")
    assert people.find("@anna") == people.find(twin.user_id("anna")) == anna
    assert anna.direct_channel_id is not None


def test_the_channel_of_a_person_is_the_one_that_messages_go_to(twin: MattermostTwin, people: MattermostPeople) -> None:
    anna = people.find("anna")
    assert anna is not None
    MattermostClient(twin.url, twin.bot_token).create_post(
        str(anna.direct_channel_id), "hello", props={}, pending_post_id="one"
    )
    assert [post["message"] for post in twin.posts_to("anna")] == ["hello"]


def test_a_name_that_looks_like_an_id_is_found_too(twin: MattermostTwin, people: MattermostPeople) -> None:
    user_id = twin.add_user(LOOKS_LIKE_AN_ID)
    found = people.find(LOOKS_LIKE_AN_ID)
    assert found is not None
    assert found.id == user_id


@pytest.mark.parametrize("nobody", ["", "@", "nobody", "../system/ping", "anna/../boris", "имярек", "a b"])
def test_who_does_not_exist_is_nobody(people: MattermostPeople, nobody: str) -> None:
    assert people.find(nobody) is None


def test_neither_bots_nor_deactivated_people_are_found(twin: MattermostTwin, people: MattermostPeople) -> None:
    assert people.find("switchboard") is None
    twin.deactivate("boris")
    assert people.find("boris") is None


def test_a_server_that_cannot_be_asked_is_not_taken_for_nobody(twin: MattermostTwin, people: MattermostPeople) -> None:
    twin.faults.add("error", path="/api/v4/users/*", status=503)
    with pytest.raises(RemoteUnavailableError):
        people.find("anna")
    twin.faults.clear()
    with pytest.raises(AuthError):
        MattermostPeople(MattermostClient(twin.url, "x" * 26)).find("@anna")
