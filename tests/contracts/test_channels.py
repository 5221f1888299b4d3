"""What every Channel promises the ledger, over each implementation with the twin of its remote."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from sandbox.mattermost import MattermostTwin
from switchboard.clients.mattermost import MattermostClient
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.domain.organisations.markup import Formatted
from switchboard.errors import (
    AuthError,
    PermanentError,
    RateLimitedError,
    RemoteRejectedError,
    RemoteUnavailableError,
    UncertainError,
)
from switchboard.services.channels.channel import Channel, Rendered
from switchboard.services.channels.mattermost import DELIVERY_PROP, MattermostChannel
from switchboard.texts.markdown import Button, Message

NOW = datetime.now(UTC)
numbers = itertools.count(1)


@dataclass
class World:
    """A channel beside its remote. `lose_answer` and `refuse_send` switch a fault on for the next message."""

    channel: Channel
    recipient: str
    arrived: Callable[[], list[str]]
    lose_answer: Callable[[], object]
    lose_message: Callable[[], object]
    forget_repeats: Callable[[], object]
    break_reading: Callable[[], object]

    def delivery(self, key: str | None = None, *, attempted: datetime | None = NOW) -> ClaimedDelivery:
        number = next(numbers)
        return ClaimedDelivery(
            id=number,
            channel=self.channel.name,
            kind="plain",
            key=key or f"key-{number}",
            subject=self.recipient,
            recipient=self.recipient,
            body={},
            fence=1,
            claimed_until=NOW + timedelta(minutes=1),
            expires_at=None,
            attempts=1,
            first_attempt_at=attempted,
        )


class Clock:
    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return datetime.now(UTC).timestamp() + self.offset_s


@contextmanager
def mattermost() -> Iterator[World]:
    clock = Clock()

    def forget() -> None:
        clock.offset_s += 31.0

    with MattermostTwin.running(clock=clock) as twin:
        posts = {"method": "POST", "path": "/api/v4/posts", "count": 1}
        yield World(
            channel=MattermostChannel(MattermostClient(twin.url, twin.bot_token)),
            recipient=twin.user_id("anna"),
            arrived=lambda: [post["message"] for post in twin.posts_to("anna")],
            lose_answer=lambda: twin.faults.add("cut", when="after", **posts),
            lose_message=lambda: twin.faults.add("cut", when="before", **posts),
            forget_repeats=forget,
            break_reading=lambda: twin.faults.add("error", method="GET", path="/api/v4/channels/*/posts"),
        )


CHANNELS = {"mattermost": mattermost}


@pytest.fixture(params=list(CHANNELS.values()), ids=list(CHANNELS))
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with request.param() as made:
        yield made


HELLO = Rendered(Message(text="hello"))


def test_a_message_is_sent_and_found_again(world: World) -> None:
    delivery = world.delivery()
    remote_id = world.channel.send(delivery, HELLO)
    assert world.arrived() == ["hello"]
    assert world.channel.find(delivery) == remote_id


def test_a_message_whose_answer_was_lost_is_found_and_not_sent_twice(world: World) -> None:
    delivery = world.delivery()
    world.lose_answer()
    with pytest.raises(UncertainError):
        world.channel.send(delivery, HELLO)
    assert world.arrived() == ["hello"]
    assert world.channel.find(delivery) is not None


def test_it_is_found_when_the_remotes_memory_of_repeats_is_over(world: World) -> None:
    delivery = world.delivery()
    world.lose_answer()
    with pytest.raises(UncertainError):
        world.channel.send(delivery, HELLO)
    world.forget_repeats()
    assert world.channel.find(delivery) is not None


def test_a_message_that_did_not_arrive_is_provably_absent(world: World) -> None:
    world.channel.send(world.delivery(), HELLO)
    delivery = world.delivery()
    world.lose_message()
    with pytest.raises(UncertainError):
        world.channel.send(delivery, HELLO)
    assert world.channel.find(delivery) is None
    world.channel.send(delivery, HELLO)
    assert world.arrived() == ["hello", "hello"]


def test_only_a_message_with_the_same_key_is_the_same_message(world: World) -> None:
    world.channel.send(world.delivery("agenda:anna:2026-11-21"), HELLO)
    assert world.channel.find(world.delivery("agenda:anna:2026-11-22")) is None


def test_what_was_never_tried_is_absent(world: World) -> None:
    assert world.channel.find(world.delivery(attempted=None)) is None


def test_where_the_remote_cannot_be_read_nothing_is_proven(world: World) -> None:
    delivery = world.delivery()
    world.channel.send(delivery, HELLO)
    world.break_reading()
    with pytest.raises(RemoteUnavailableError):
        world.channel.find(delivery)


def test_a_repeat_of_a_send_while_the_remote_remembers_is_the_same_message(world: World) -> None:
    delivery = world.delivery()
    assert world.channel.send(delivery, HELLO) == world.channel.send(delivery, HELLO)
    assert world.arrived() == ["hello"]


def test_a_message_that_replaces_another_changes_it_and_sends_nothing(world: World) -> None:
    first = world.delivery()
    remote_id = world.channel.send(first, HELLO)
    changed = Rendered(Message(text="done"), formatted=Formatted("done"), edits=remote_id)
    edit = world.delivery()
    assert world.channel.send(edit, changed) == world.channel.send(edit, changed) == remote_id
    assert world.arrived() == ["done"]
    assert world.channel.find(first) == remote_id


# --- Mattermost alone ---------------------------------------------------------------------------------------------------


@pytest.fixture
def twin() -> Iterator[MattermostTwin]:
    with MattermostTwin.running() as running:
        yield running


def on(twin: MattermostTwin) -> tuple[MattermostChannel, World]:
    channel = MattermostChannel(MattermostClient(twin.url, twin.bot_token))
    nothing = tuple
    made = World(channel, twin.user_id("anna"), list, nothing, nothing, nothing, nothing)
    return channel, made


@pytest.mark.parametrize("address", ["a" * 26, "gone", "of-another-server"])
def test_an_address_the_server_does_not_know_is_asked_for_anew(twin: MattermostTwin, address: str) -> None:
    channel, world = on(twin)
    channel.send(world.delivery(), Rendered(Message(text="hello"), address=address))
    assert [post["message"] for post in twin.posts_to("anna")] == ["hello"]


def test_a_direct_channel_that_is_gone_meanwhile_is_asked_for_anew(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    channel.send(world.delivery(), HELLO)
    channel._addresses[world.recipient] = "z" * 26
    channel.send(world.delivery(), HELLO)
    assert len(twin.posts_to("anna")) == 2


def test_a_message_costs_one_call_once_the_direct_channel_is_known(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    channel.send(world.delivery(), HELLO)
    for route in ("/api/v4/users/*", "/api/v4/channels/*"):
        twin.faults.add("error", path=route)
    channel.send(world.delivery(), HELLO)
    assert len(twin.posts_to("anna")) == 2


def test_a_refusal_of_the_right_address_is_final(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    twin.faults.add("error", path="/api/v4/posts", status=400)
    with pytest.raises(PermanentError) as caught:
        channel.send(world.delivery(), HELLO)
    assert isinstance(caught.value, RemoteRejectedError)
    with pytest.raises(PermanentError):
        channel.send(world.delivery(), HELLO)
    assert twin.posts_to("anna") == []


def test_a_person_who_is_gone_is_a_final_refusal_in_words(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    world.recipient = "z" * 26
    with pytest.raises(RemoteRejectedError, match="there is no such person any more"):
        channel.send(world.delivery(), HELLO)


def test_a_post_that_somebody_else_wrote_with_our_key_is_not_ours(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    delivery = world.delivery()
    anna = MattermostClient(twin.url, twin.token_of("anna"))
    anna.create_post(
        channel.open(world.recipient), "forged", props={DELIVERY_PROP: delivery.key}, pending_post_id="x:1"
    )
    assert channel.find(delivery) is None


def test_a_rate_limit_took_no_effect_and_a_refused_token_stops_the_channel(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    channel.send(world.delivery(), HELLO)
    twin.faults.add("rate_limit", path="/api/v4/posts", retry_after_s=5, count=1)
    with pytest.raises(RateLimitedError) as caught:
        channel.send(world.delivery(), HELLO)
    assert caught.value.retry_after_s == 5
    twin.faults.add("error", path="/api/v4/posts", status=401)
    with pytest.raises(AuthError):
        channel.send(world.delivery(), HELLO)


def test_links_go_out_as_titles_that_open_them(twin: MattermostTwin) -> None:
    channel, world = on(twin)
    message = Message(text="hello", buttons=(Button("Join", "https://meet.example.org/1"),))
    channel.send(world.delivery(), Rendered(message))
    (post,) = twin.posts_to("anna")
    (attachment,) = post["props"]["attachments"]
    assert (attachment["title"], attachment["title_link"]) == ("Join", "https://meet.example.org/1")
