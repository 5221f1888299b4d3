"""Receiving: everything once, in order, whatever was missed, cut or killed in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session
from telethon import functions, types

from sandbox.telegram import actions
from sandbox.telegram.twin import TelegramTwin
from switchboard.db.engine import Database
from switchboard.db.models import TelegramAccount, TelegramChat, TelegramMessage, TelegramPeer
from switchboard.domain.telegram.facts import Batch, Position
from switchboard.errors import RemoteUnavailableError
from switchboard.services.telegram.inbox import TelegramInbox
from switchboard.services.telegram.session import LiveAccount
from switchboard.services.telegram.shards import LeaseLostError, LeaseTimes
from tests.integration.telegram.conftest import Office, utc_now, wait_for

SHORT = LeaseTimes(lease_s=3.0, renew_s=0.3, margin_s=1.2)


class Post:
    """An account of Ann's that receives, and Bob who writes to her."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.twin = office.twin
        self.ann = self.twin.add_person("Ann", phone="+79161234567", username="ann_lee")
        self.bob = self.twin.add_person("Bob", "Ray", phone="+79161234568", username="bob_ray")
        self.account = office.add_signed_in("Ann")

    def inbox(self, **options: Any) -> TelegramInbox:
        return TelegramInbox(self.office.database, utc_now, **options)

    def open(self, inbox: TelegramInbox | None = None, **options: Any) -> None:
        """A gateway, once it has a position to go on from."""
        self.office.gateway(inbox=inbox or self.inbox(), **options)
        self.office.wait_state(self.account.id, "online")
        wait_for(lambda: self.row().pts is not None, "a position")

    def close(self) -> None:
        self.office.hosts[-1].stop()

    def row(self) -> TelegramAccount:
        with self.office.database.read() as session:
            return session.get_one(TelegramAccount, self.account.id)

    def rows(self) -> list[TelegramMessage]:
        with self.office.database.read() as session:
            return list(session.scalars(select(TelegramMessage).order_by(TelegramMessage.id)))

    def read_out(self) -> list[int]:
        with self.office.database.read() as session:
            return list(session.scalars(select(TelegramChat.read_out)))

    def texts(self) -> list[str | None]:
        return [row.text for row in self.rows()]

    def write(self, *texts: str, chat: Any = "Ann") -> list[int]:
        return [self.twin.write_as("Bob", chat, text) for text in texts]

    def until(self, *texts: str) -> None:
        wait_for(lambda: len(self.texts()) >= len(texts), f"{len(texts)} messages")
        assert self.texts() == list(texts)


@pytest.fixture
def post(office: Office) -> Post:
    return Post(office)


class Failing(Database):
    """A database whose write transactions fail, before or after their commit, while `kind` says so."""

    kind = ""
    failures = 0

    @contextmanager
    def write(self) -> Iterator[Session]:
        kind = self.kind
        with super().write() as session:
            yield session
            if kind == "before":
                self._fail()
        if kind == "after":
            self._fail()

    def _fail(self) -> None:
        self.kind = ""
        self.failures += 1
        raise RemoteUnavailableError("the test's database is gone")


# --- the first connection, and what comes live ----------------------------------------------------------------------


def test_the_first_connection_begins_with_the_present(post: Post) -> None:
    post.write("old")
    post.open()
    assert post.rows() == []
    post.write("new")
    post.until("new")
    row = post.rows()[0]
    assert (row.chat_id, row.sender_id, row.out, row.edit, row.state) == (
        post.bob.id,
        post.bob.id,
        False,
        0,
        "received",
    )


def test_messages_are_stored_in_order_with_the_number_after_them(post: Post) -> None:
    post.open()
    before = post.row().pts or 0
    texts = [f"message {n}" for n in range(30)]
    post.write(*texts)
    post.until(*texts)
    assert post.row().pts == before + 30


def test_whoever_writes_is_remembered_with_the_accounts_own_access_hash(post: Post) -> None:
    post.open()
    post.write("hello")
    post.until("hello")
    with post.office.database.read() as session:
        peer = session.scalars(select(TelegramPeer).where(TelegramPeer.peer_id == post.bob.id)).one()
    expected = post.twin.call(lambda: post.twin.world.access_hash(post.ann.id, "user", post.bob.id))
    assert (peer.access_hash, peer.username, peer.name, peer.kind) == (expected, "bob_ray", "Bob Ray", "user")


def test_an_edit_is_a_row_of_its_own_and_one_that_changes_nothing_is_none(post: Post) -> None:
    post.open()
    post.write("first")
    post.until("first")
    edit(post, "second", date=1_700_000_000)
    post.until("first", "second")
    edit(post, "second", date=1_700_000_000)
    edit(post, "third", date=1_700_000_000)  # within the same second
    wait_for(lambda: post.texts() == ["first", "third"], "the later edit")
    first, third = post.rows()
    assert (first.message_id, first.edit, third.edit) == (third.message_id, 0, 1_700_000_000)


def edit(post: Post, text: str, *, date: int) -> None:
    def change() -> None:
        found = next(iter(post.twin.world.boxes[post.ann.id].posts.values()))
        found.text, found.edit_date = text, date
        actions.changed(post.twin.server, found)

    post.twin.call(change)


def test_deleted_messages_stay_as_rows_that_say_so(post: Post) -> None:
    post.open()
    first, _second = post.write("one", "two")
    post.until("one", "two")
    post.twin.call(lambda: actions.delete(post.twin.server, post.bob.id, [first], everywhere=True))
    wait_for(lambda: post.rows()[0].deleted_at is not None, "the deletion")
    assert post.rows()[1].deleted_at is None


def test_a_photo_is_stored_by_its_reference(post: Post) -> None:
    post.open()
    post.twin.send_file_as("Bob", "Ann", b"a report", "report.pdf", caption="look")
    post.until("look")
    media = post.rows()[0].media or {}
    assert (media["kind"], media["size"], media["name"]) == ("document", 8, "report.pdf")
    assert media["file_reference"]


def test_what_the_other_side_has_read_is_told_with_the_store_that_keeps_it(post: Post) -> None:
    heard: list[tuple[int, int, int]] = []
    post.open(post.inbox(mark_read=lambda _session, account, chat, upto: heard.append((account, chat, upto))))
    number = post.twin.write_as("Ann", "Bob", "from her phone")
    post.twin.read_as("Bob", "Ann")
    wait_for(lambda: heard, "the receipt")
    assert heard == [(post.account.id, post.bob.id, number)]
    wait_for(lambda: post.read_out() == [number], "the commit")


def test_what_was_read_before_the_first_connection_listened_is_told_too(post: Post) -> None:
    heard: list[tuple[int, int]] = []
    number = post.twin.write_as("Ann", "Bob", "sent at once")
    post.twin.read_as("Bob", "Ann")
    post.open(post.inbox(mark_read=lambda _session, _account, chat, upto: heard.append((chat, upto))))
    assert heard == [(post.bob.id, number)]
    assert post.rows() == []


def test_sign_in_codes_in_telegrams_own_chat_are_not_kept(post: Post) -> None:
    post.open()
    post.twin.write_as(777000, "Ann", "Login code: 12345")
    wait_for(post.rows, "the message")
    assert post.texts() == [None]


# --- what was missed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slice_size", [100, 4])
def test_what_came_during_a_downtime_is_caught_up_in_order(post: Post, slice_size: int) -> None:
    post.open()
    post.close()
    post.twin.world.settings.difference_slice = slice_size
    texts = [f"missed {n}" for n in range(10)]
    post.write(*texts)
    post.open()
    post.until(*texts)
    post.write("live")
    post.until(*texts, "live")


def test_a_difference_that_is_too_long_is_filled_from_each_chats_history(post: Post) -> None:
    post.twin.add_person("Cid")
    post.write("before we began")
    post.open()
    post.write("stored")
    post.until("stored")
    post.close()
    texts = [f"missed {n}" for n in range(150)]
    post.write(*texts)
    post.twin.write_as("Cid", "Ann", "also missed")
    post.twin.call(lambda: forget_changes(post.twin, post.ann.id))
    post.open()
    wait_for(lambda: len(post.texts()) >= 152, "all messages")
    assert [row.text for row in post.rows() if row.chat_id == post.bob.id] == ["stored", *texts]
    assert [row.text for row in post.rows() if row.chat_id != post.bob.id] == ["also missed"]
    wait_for(lambda: post.row().pts == post.twin.world.boxes[post.ann.id].pts, "the position")
    post.write("live")
    wait_for(lambda: post.texts()[-1] == "live", "a live message")


def forget_changes(twin: TelegramTwin, owner: int) -> None:
    """The server keeps no change of this box any more."""
    box = twin.world.boxes[owner]
    box.forgotten_pts = box.pts
    box.log.clear()


def test_a_position_that_the_server_does_not_know_is_no_dead_end(post: Post) -> None:
    post.open()
    post.close()
    post.write("missed")
    with post.office.database.write() as session:
        session.execute(update(TelegramAccount).values(pts=1_000_000))
    post.open()
    post.until("missed")


def test_a_push_that_was_lost_is_noticed_by_the_next_one(post: Post) -> None:
    post.open()
    post.twin.faults.add("mute", account=post.ann.id, count=1)
    post.write("lost on the way")
    post.write("arrives")
    post.until("lost on the way", "arrives")


@pytest.mark.parametrize("too_long", [False, True])
def test_a_channels_changes_are_caught_up_by_its_own_number(post: Post, too_long: bool) -> None:
    group = post.twin.add_group("megagroup", "Team", "Bob", "Ann")
    post.open()
    post.write("one", chat="Team")
    post.until("one")
    post.close()
    texts = [f"missed {n}" for n in range(120)]
    post.write(*texts, chat="Team")
    if too_long:
        post.twin.call(lambda: forget_changes(post.twin, group.id))
    post.open()
    post.until("one", *texts)
    post.write("live", chat="Team")
    post.until("one", *texts, "live")
    with post.office.database.read() as session:
        chat = session.scalars(select(TelegramChat)).one()
    assert chat.pts == post.twin.world.boxes[group.id].pts


def test_a_channel_that_the_account_was_thrown_out_of_is_forgotten(post: Post) -> None:
    group = post.twin.add_group("megagroup", "Team", "Bob", "Ann")
    post.open()
    post.write("one", chat="Team")
    post.until("one")
    post.close()
    post.twin.call(lambda: post.twin.world.drop_member(group, post.ann.id))
    post.open()
    post.write("private")
    post.until("one", "private")
    with post.office.database.read() as session:
        assert session.scalars(select(TelegramChat)).one().pts is None


# --- what breaks in between -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["before", "after"])
def test_a_store_that_fails_is_made_up_for_by_the_next_connection(post: Post, sqlite_url: str, kind: str) -> None:
    database = Failing(sqlite_url)
    post.open(TelegramInbox(database, utc_now))
    database.kind = kind
    post.write("one", "two", "three")
    wait_for(lambda: database.failures, "the failure")
    post.write("four")
    post.until("one", "two", "three", "four")
    assert count_pts(post) == post.twin.world.boxes[post.ann.id].pts
    database.dispose()


def count_pts(post: Post) -> int:
    wait_for(lambda: post.row().pts == post.twin.world.boxes[post.ann.id].pts, "the position")
    return post.row().pts or 0


def test_lines_that_are_cut_again_and_again_lose_and_repeat_nothing(post: Post) -> None:
    post.open()
    texts = [f"message {n}" for n in range(40)]
    for number, text in enumerate(texts):
        post.write(text)
        if number % 10 == 5:
            post.twin.cut("Ann")
    post.until(*texts)


def test_a_host_that_stops_in_the_middle_leaves_the_rest_to_the_next(post: Post) -> None:
    post.open()
    texts = [f"message {n}" for n in range(60)]
    post.write(*texts[:20])
    post.twin.call(lambda: None)
    post.office.hosts[-1]._lines.sever()  # as a kill would: nothing is finished, nothing given back
    post.close()
    post.write(*texts[20:])
    post.open()
    post.until(*texts)


def test_a_holder_whose_lease_was_taken_stores_nothing_more(post: Post) -> None:
    inbox = Kept(post.office.database, utc_now)
    post.open(inbox, times=SHORT)
    stale = inbox.held[0]
    post.office.hosts[-1].stop()
    post.open(times=SHORT)
    post.write("one", "two")
    post.until("one", "two")
    before = post.row().pts
    with pytest.raises(LeaseLostError):
        inbox._store(stale, Batch(position=Position(1, 0, 1, 0, 0)))
    assert post.row().pts == before


def test_two_hosts_that_pass_an_account_to_each_other_store_everything_once(post: Post) -> None:
    post.open(times=SHORT)
    texts = [f"message {n}" for n in range(30)]
    post.write(*texts[:10])
    first = post.office.hosts[-1]
    post.office.gateway(inbox=post.inbox(), times=SHORT)
    post.write(*texts[10:20])
    first._lines.sever()
    first.stop()
    post.write(*texts[20:])
    post.until(*texts)
    with post.office.database.read() as session:
        assert session.scalar(select(func.count()).select_from(TelegramMessage)) == 30


def test_news_is_announced_after_it_is_stored_and_once_more_after_a_new_start(post: Post) -> None:
    heard: list[int] = []

    def hear(account_id: int) -> None:
        heard.append(len(post.rows()))

    inbox = post.inbox()
    inbox.announce_with(hear)
    post.open(inbox)
    post.write("one")
    wait_for(lambda: heard, "the announcement")
    assert heard[0] == 1
    post.close()
    again = post.inbox()
    again.announce_with(hear)
    count = len(heard)
    post.open(again)
    wait_for(lambda: len(heard) > count, "what a killed process may not have announced")


class Kept(TelegramInbox):
    """An inbox that lets a test have its accounts."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.held: list[LiveAccount] = []

    async def run(self, live: LiveAccount) -> None:
        self.held.append(live)
        await super().run(live)


def test_what_the_connection_itself_sends_moves_the_number_and_is_no_row_and_no_gap(post: Post) -> None:
    inbox = Kept(post.office.database, utc_now)
    post.open(inbox)
    post.write("hello")
    post.until("hello")
    post.twin.faults.add("slow", method="updates.getDifference", seconds=0)  # counts the calls
    access_hash = post.twin.call(lambda: post.twin.world.access_hash(post.ann.id, "user", post.bob.id))
    request = functions.messages.SendMessageRequest(
        types.InputPeerUser(post.bob.id, access_hash), "answer", random_id=1
    )
    loop = post.office.hosts[-1]._loop
    assert loop is not None
    asyncio.run_coroutine_threadsafe(inbox.held[0].connection.call(request), loop).result(20)
    post.write("thanks")
    post.until("hello", "thanks")
    assert post.row().pts == post.twin.world.boxes[post.ann.id].pts
    assert post.twin.faults.fired["slow"] == 0


# --- bots -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def bot(post: Post) -> Post:
    """A bot that receives."""
    post.ann = post.twin.add_bot("Helper", "helper_bot")
    post.office.accounts.remove(post.account.id, log_out=False, actor="test")
    post.account = post.office.accounts.add_bot(post.ann.token, actor="test")
    return post


def test_a_pressed_button_is_a_row_with_its_data(bot: Post) -> None:
    bot.open()
    bot.write("/start", chat=bot.ann)
    bot.until("/start")
    number = bot.twin.call(lambda: ask(bot, b"yes:7"))
    bot.twin.press_as("Bob", bot.ann, number, b"yes:7")
    wait_for(lambda: len([row for row in bot.rows() if row.kind == "button"]) == 1, "the pressed button")
    row = next(row for row in bot.rows() if row.kind == "button")
    assert (row.text, row.sender_id, row.chat_id, row.state) == ("yes:7", bot.bob.id, bot.bob.id, "received")


def ask(bot: Post, data: bytes) -> int:
    """A message of the bot's with a button; its number where Bob sees it."""
    button = types.KeyboardInlineButton("Yes", types.InlineButtonTypeCallback(data))
    draft = actions.Draft("Choose", markup=types.ReplyInlineMarkup([types.KeyboardInlineButtonRow([button])]))
    made = actions.post(bot.twin.server, bot.ann, bot.twin.world.peer(bot.bob), draft).post
    return made.copies[bot.bob.id]


def test_a_bot_that_may_not_read_chats_catches_up_by_the_numbers_of_messages(bot: Post) -> None:
    bot.open()
    bot.write("/start", chat=bot.ann)
    bot.until("/start")
    bot.close()
    texts = [f"missed {n}" for n in range(150)]
    bot.write(*texts, chat=bot.ann)
    bot.twin.call(lambda: forget_changes(bot.twin, bot.ann.id))
    bot.open()
    bot.until("/start", *texts)
