"""The ledger's Telegram rows on both databases: whose they are, what is fixed before a send, and what is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from switchboard.db.engine import Database
from switchboard.db.models import Delivery, TelegramChat
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, NewDelivery
from switchboard.domain.organisations.markup import Formatted
from switchboard.domain.telegram.peers import Address, AddressKind, Peer, PeerKind, SeenPeer
from switchboard.domain.telegram.sharding import SHARDS, shard_of
from switchboard.domain.telegram.states import AccountKind, Origin
from switchboard.services.channels.channel import Rendered
from switchboard.services.telegram.accounts import insert_account
from switchboard.services.telegram.outbox_rows import Done, Letter, OutboxRows, Results, Turn, Wait, mark_read
from switchboard.services.telegram.peers import Peers
from switchboard.services.telegram.shards import Fence, LeaseLostError, Leases
from switchboard.texts.markdown import Message
from tests.integration.telegram.conftest import APPLICATION, BOX, utc_now

BOB = Peer(PeerKind.USER, 77, 5)


class Words:
    def render(self, deliveries: Sequence[ClaimedDelivery], now: datetime) -> Mapping[int, Rendered]:
        if any(row.key.startswith("broken") for row in deliveries):
            raise OverflowError
        return {row.id: Rendered(Message(""), formatted=Formatted(row.key)) for row in deliveries}


class Desk:
    """Two accounts, a gateway that holds all shards, and their rows."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = OutboxRows(database, {"words": Words(), "other words": Words()}, utc_now)
        with database.write() as session:
            accounts = [
                insert_account(session, AccountKind.USER, Origin.DATABASE, APPLICATION, BOX, now=utc_now(), values={})
                for _ in range(2)
            ]
            self.ann, self.other = (account.id for account in accounts)
        self.leases = Leases(database, utc_now, owner="one", host="test")
        self.leases.prepare()
        self.leases.renew(accounts=0)

    @property
    def fence(self) -> Fence:
        fence = self.leases.fence_of(shard_of(self.ann))
        assert fence is not None
        return fence

    def enter(self, *keys: str, subject: str = "bob", account: int | None = None) -> None:
        with self.database.write() as session:
            DeliveryRepository(session).add(
                [
                    NewDelivery("telegram", "words", key, f"telegram:{account or self.ann}:{subject}", "77")
                    for key in keys
                ],
                utc_now(),
            )

    def do(self, **turn: Any) -> Done:
        (done,) = self.rows.do([Turn(account_id=self.ann, fence=self.fence, **turn)])
        if isinstance(done, Exception):
            raise done
        return done

    def take(self) -> list[Letter]:
        return self.rows.letters(self.do(most=10))[0]

    def keys(self) -> list[str]:
        return [letter.row.key for letter in self.take()]

    def change(self, key: str, **values: Any) -> None:
        with self.database.write() as session:
            session.execute(update(Delivery).where(Delivery.key == key).values(**values))

    def begin(self) -> list[Letter]:
        letters = self.take()
        for letter in letters:
            letter.peer = BOB
        assert self.do(begin=letters).ours == {letter.row.id for letter in letters}
        return letters

    def record(self, **results: Any) -> None:
        self.do(results=Results(**results))

    def states(self) -> dict[str, str]:
        with self.database.read() as session:
            return {row.key: row.state for row in session.scalars(select(Delivery).order_by(Delivery.id))}


@pytest.fixture
def desk(database: Database) -> Desk:
    return Desk(database)


def test_an_account_gets_its_own_rows_in_order(desk: Desk) -> None:
    desk.enter("one", "two")
    desk.enter("three", subject="cid")
    desk.enter("four", account=desk.other)
    assert desk.rows.due(range(SHARDS)) == {desk.ann, desk.other}
    assert desk.keys() == ["one", "two", "three"]
    assert desk.rows.due([shard_of(desk.other)]) == {desk.other}
    assert desk.rows.due([]) == set()


def test_rows_are_taken_no_further_than_to_one_of_their_subject_that_waits(desk: Desk) -> None:
    desk.enter("one", "two", "three", "four")
    desk.change("three", next_attempt_at=utc_now() + timedelta(hours=1))
    desk.enter("five", "six", subject="cid")
    desk.change("five", next_attempt_at=utc_now() + timedelta(hours=1))
    assert desk.keys() == ["one", "two"]
    assert desk.keys() == []


def test_a_row_that_was_put_off_lets_those_behind_it_pass(desk: Desk) -> None:
    desk.enter("one", "two", "three")
    later = utc_now() + timedelta(hours=1)
    for key in ("one", "two"):
        desk.change(key, next_attempt_at=later, claimed_until=later)
    assert desk.keys() == ["three"]


def test_a_row_of_another_kind_waits_for_what_becomes_of_the_one_before(desk: Desk) -> None:
    desk.enter("one", "two", "three")
    desk.change("two", kind="other words")
    first = desk.begin()
    assert [letter.row.key for letter in first] == ["one"]
    assert desk.take() == []
    desk.record(sent=first)
    assert desk.keys() == ["two"]


def test_no_more_is_taken_than_was_asked_for(desk: Desk) -> None:
    desk.enter("one", "two", "three")
    desk.enter("four", subject="cid")
    assert [row.key for row in desk.do(most=2).rows] == ["one", "four"]


def test_a_row_that_cannot_be_written_is_put_off_and_those_beside_it_go(desk: Desk) -> None:
    desk.enter("broken", "two")
    letters, results = desk.rows.letters(desk.do(most=10))
    assert [letter.row.key for letter in letters] == ["two"]
    assert [row.key for row, _until, _why in results.postponed] == ["broken"]


def test_what_came_of_one_batch_is_recorded_before_the_next_is_claimed(desk: Desk) -> None:
    desk.enter("one")
    first = desk.begin()
    desk.enter("two")
    assert [row.key for row in desk.do(results=Results(sent=first), most=10).rows] == ["two"]


def test_a_row_that_moves_to_another_account_before_it_is_taken_is_taken_by_neither_now(desk: Desk) -> None:
    desk.enter("one")
    desk.enter("two", account=desk.other)
    with desk.database.write() as session:
        repository = DeliveryRepository(session)
        found = {one: repository.due_in_order(one, utc_now(), limit=5) for one in (desk.ann, desk.other)}
        session.execute(update(Delivery).where(Delivery.key == "one").values(sender=desk.other))
        rows, _ = repository.claim_in_order(found, owner="x", now=utc_now(), lease=timedelta(minutes=1))
    assert [row.key for row in rows] == ["two"]


def test_many_accounts_take_their_turns_together_and_one_that_cannot_keeps_none_back(desk: Desk) -> None:
    desk.enter("one")
    desk.enter("two", account=desk.other)
    other = desk.leases.fence_of(shard_of(desk.other))
    assert other is not None
    lost = Turn(account_id=desk.ann, fence=Fence(desk.leases, desk.fence.shard, desk.fence.number + 1), most=5)
    wrong = Turn(account_id=desk.ann, fence=desk.fence, results=Results(waits={"x": Wait(None)}))  # type: ignore[arg-type]
    well = Turn(account_id=desk.other, fence=other, most=5)
    without_lease, done = desk.rows.do([lost, well])
    assert isinstance(without_lease, LeaseLostError)
    assert isinstance(done, Done)
    assert [row.key for row in done.rows] == ["two"]
    refused, again = desk.rows.do([wrong, Turn(account_id=desk.other, fence=other, most=5)])
    assert isinstance(refused, Exception)
    assert again == Done()
    assert desk.keys() == ["one"]


def test_the_next_holder_goes_on_at_once_and_doubts_only_what_was_being_sent(desk: Desk) -> None:
    desk.enter("one")
    begun = desk.begin()
    desk.enter("two", subject="cid")
    desk.enter("three", account=desk.other)
    desk.take()
    other = desk.leases.fence_of(shard_of(desk.other))
    assert other is not None
    desk.rows.do([Turn(account_id=desk.other, fence=other, most=10)])
    desk.rows.begin(desk.ann, desk.fence)
    assert desk.states() == {"one": "UNCERTAIN", "two": "PENDING", "three": "CLAIMED"}
    again = {letter.row.key: letter for letter in desk.take()}
    assert again["one"].uncertain
    assert not again["two"].uncertain
    assert again["one"].plan.random_ids(0) == begun[0].plan.random_ids(0)
    desk.record(sent=begun)  # the one who vanished comes back, too late
    assert desk.states()["one"] == "UNCERTAIN"


def test_nothing_is_claimed_begun_or_recorded_without_the_lease(desk: Desk) -> None:
    desk.enter("one")
    letters = desk.begin()
    desk.enter("two", subject="cid")
    with desk.database.write() as session:
        session.connection().exec_driver_sql("UPDATE telegram_shards SET owner = 'two', fence = fence + 1")
    for turn in ({"most": 10}, {"begin": letters}, {"results": Results(sent=letters)}):
        with pytest.raises(LeaseLostError):
            desk.do(**turn)
    assert desk.states() == {"one": "SENDING", "two": "PENDING"}


def test_a_row_that_was_put_off_keeps_its_random_id(desk: Desk) -> None:
    desk.enter("one")
    letter = desk.begin()[0]
    desk.record(unsent=[(letter, utc_now(), "wait")])
    assert desk.take()[0].plan.random_ids(0) == letter.plan.random_ids(0)


def test_a_row_is_read_when_its_last_message_is(desk: Desk) -> None:
    desk.enter("one")
    desk.enter("two", subject="cid")
    first, second = desk.begin()
    first.done, second.done = [(5,), (6,)], [(7,)]
    desk.record(sent=[first, second])
    for max_id, states in ((5, ("SENT", "SENT")), (6, ("READ", "SENT")), (9, ("READ", "READ"))):
        with desk.database.write() as session:
            mark_read(session, desk.ann, BOB.chat_id, max_id)
        assert tuple(desk.states().values()) == states
    with desk.database.write() as session:
        mark_read(session, desk.ann, BOB.chat_id, 8)
        assert session.get_one(TelegramChat, (desk.ann, BOB.chat_id)).read_out == 9
    desk.enter("three")
    third = desk.begin()[0]
    third.done = [(8,)]
    desk.record(sent=[third])
    assert desk.states()["three"] == "READ"


def test_who_was_written_to_or_wrote_is_no_stranger(desk: Desk) -> None:
    assert desk.rows.strangers(desk.ann, {BOB.chat_id}) == {BOB.chat_id}
    desk.enter("one")
    letter = desk.begin()[0]
    letter.done = [(5,)]
    desk.record(sent=[letter])
    assert desk.rows.strangers(desk.ann, {BOB.chat_id, -5}) == set()
    assert desk.rows.strangers(desk.other, {BOB.chat_id}) == {BOB.chat_id}


def test_peers_belong_to_the_account_that_met_them_and_misses_too(desk: Desk) -> None:
    peers = Peers(desk.database, utc_now)
    phone, name = Address(AddressKind.PHONE, "+79160000002"), Address(AddressKind.USERNAME, "bobby")
    peers.remember(desk.ann, [SeenPeer(BOB, "Bob", "Bobby", phone.value)])
    assert peers.find(desk.ann, phone) == peers.find(desk.ann, name) == BOB
    assert peers.find(desk.ann, Address(AddressKind.ID, "77")) == BOB
    assert peers.find(desk.other, phone) is None
    peers.forget(desk.ann, BOB)
    assert peers.find(desk.ann, phone) is None
    peers.miss(desk.ann, phone)
    peers.miss(desk.ann, phone)
    assert peers.is_missed(desk.ann, phone)
    assert not peers.is_missed(desk.other, phone)
    assert not peers.is_missed(desk.ann, name)
    assert peers.find(desk.ann, Address(AddressKind.ID, "-5")) == Peer(PeerKind.CHAT, 5)
