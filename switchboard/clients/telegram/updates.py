"""What happens to an account, in order and without gaps: our own reading of Telegram's numbered updates.

The rules are those of https://core.telegram.org/api/updates: every change of the account's message box, and of each
channel's, has a number (`pts`); a jump means that something was missed, and `updates.getDifference` or
`updates.getChannelDifference` fills it. Telethon has a message box of its own; it asks for differences when it sees fit,
passes over what is too long, and shows handlers neither the numbers of what it fetched nor our own sends, so that nobody
could store a number with its message. Therefore the client's own loop stands still (`Client`), and a `Feed` reads what
came over the line.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from telethon import TelegramClient, functions
from telethon.errors import RandomIdDuplicateError
from telethon.tl import types

from switchboard.clients.telegram.errors import AlreadySentError
from switchboard.clients.telegram.facts import (
    channel_chat_id,
    chat_id_of,
    fact_of,
    input_channel,
    input_peer,
    message_of,
    peers_of,
)
from switchboard.domain.telegram.facts import Batch, ChannelPosition, Fact, Position, ReadFact, is_channel
from switchboard.domain.telegram.peers import SeenPeer
from switchboard.errors import RemoteRejectedError
from switchboard.logs import get_logger

if TYPE_CHECKING:
    from switchboard.clients.telegram.connection import Connection

GAP_S = 0.5  # a missing number may be on its way
AGAIN_S = 5.0  # after a difference that did not know yet what was pushed
IDLE_S = 900.0  # without any update this long: ask (core.telegram.org/api/updates#recovering-gaps)
PAGE = 100
AT_ONCE = 200  # containers stored in one transaction at most

_ACCOUNT = 0
_PTS_REFUSED = ("PERSISTENT_TIMESTAMP_INVALID", "PERSISTENT_TIMESTAMP_EMPTY", "PTS_INVALID")
_TRY_LATER = ("PERSISTENT_TIMESTAMP_OUTDATED",)

_log = get_logger(__name__)


class Client(TelegramClient):  # type: ignore[misc]
    """Telethon's client, which leaves every update in its queue, and takes a repeated random_id for an answer."""

    async def _call(self, sender: Any, request: Any, *options: Any, **named: Any) -> Any:
        return await super()._call(_Sender(sender), request, *options, **named)

    async def _update_loop(self) -> None:
        """Nothing: a `Feed` reads the queue."""

    async def containers(self, timeout_s: float) -> list[Any]:
        """What came over the line, in order: at least one container, or none when the time is over."""
        queue = self._updates_queue
        try:
            async with asyncio.timeout(timeout_s):
                found = [await queue.get()]
        except TimeoutError:
            return []
        while len(found) < AT_ONCE and not queue.empty():
            found.append(queue.get_nowait())
        return found


class _Sender:
    """Telethon's sender. RANDOM_ID_DUPLICATE has the code 500, which Telethon takes for trouble at the server: it would wait
    2 s, ask again, and wait once more. Here it is AlreadySentError at once.
    """

    def __init__(self, sender: Any) -> None:
        self._sender = sender

    def send(self, request: Any, *, ordered: bool = False) -> Any:
        """An awaitable answer, or a list of them for a list."""
        answer = self._sender.send(request, ordered=ordered)
        return answer if isinstance(answer, list) else self._answered(answer)

    @staticmethod
    async def _answered(answer: Any) -> Any:
        try:
            return await answer
        except RandomIdDuplicateError:
            raise AlreadySentError("it was done before") from None


@dataclass(frozen=True, slots=True)
class _Numbered:
    """An update with its number. `box` is 0 for the account's, else the channel's chat id. `own`: an answer to a request."""

    update: Any
    box: int
    pts: int
    count: int
    at: datetime
    own: bool


class Feed:
    """The updates of one open connection, from a stored position on. It lives and ends with the connection.

    `position` None begins with the present: nothing older is told. `hashes` holds the access hash of every known peer.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        is_bot: bool,
        position: Position | None,
        channels: Mapping[int, ChannelPosition],
        hashes: Mapping[int, int],
    ) -> None:
        self._connection = connection
        self._is_bot = is_bot
        self._position = position
        self._stored = position
        self._channels = dict(channels)
        self._hashes = dict(hashes)
        self._facts: list[Fact] = []
        self._peers: dict[int, SeenPeer] = {}
        self._seen: dict[int, SeenPeer] = {}
        self._moved: set[int] = set()
        self._left: set[int] = set()
        self._waiting: list[_Numbered] = []  # beyond a gap
        self._asked: set[int] = set()  # boxes whose difference is wanted at once
        self._late: set[int] = set()  # boxes whose difference did not know yet what was pushed

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """First what was missed, then what comes, without end. Store each batch before you ask for the next."""
        if self._position is None:
            yield await self._begin()
        else:
            async for batch in self._difference():
                yield batch
            for chat_id in sorted(self._channels):
                async for batch in self._channel_difference(chat_id):
                    yield batch
        self._asked.clear()
        async for batch in self._live():
            yield batch

    # --- live -------------------------------------------------------------------------------------------------------

    async def _live(self) -> AsyncIterator[Batch]:
        loop = asyncio.get_running_loop()
        ask_at = loop.time() + IDLE_S
        while True:
            containers = await self._connection.client.containers(max(0.0, ask_at - loop.time()))
            had_gap = bool(self._waiting)
            for container in containers:
                self._unpack(container)
            self._settle()
            for batch in self._ready():
                yield batch
            if loop.time() >= ask_at:
                self._asked |= {one.box for one in self._waiting} | self._late or {_ACCOUNT}
            if self._asked:
                async for batch in self._close_gaps():
                    yield batch
            elif had_gap == bool(self._waiting) and (had_gap or not containers or self._late):
                continue  # what was to be waited for is to be waited for still
            wait_s = GAP_S if self._waiting else AGAIN_S if self._late else IDLE_S
            ask_at = loop.time() + wait_s

    async def _close_gaps(self) -> AsyncIterator[Batch]:
        """Ask for the differences that are wanted; the account's may name channels.

        What was pushed and they do not know yet is asked for later.
        """
        asked = set(self._asked)
        if _ACCOUNT in asked:
            async for batch in self._difference():
                yield batch
            asked |= self._asked
        for chat_id in sorted(asked - {_ACCOUNT}):
            async for batch in self._channel_difference(chat_id):
                yield batch
        self._asked.clear()
        self._settle()
        self._late = {one.box for one in self._waiting if one.box in asked}
        self._waiting = [one for one in self._waiting if one.box not in asked]
        for batch in self._ready():
            yield batch

    def _unpack(self, container: Any) -> None:
        """Take the updates out of what came over the line."""
        own = getattr(container, "_self_outgoing", False)
        match container:
            case types.Updates() | types.UpdatesCombined():
                self._meet(container.users, container.chats)
                self._take(container.updates, container.date, own=own, unnumbered=self._in_sequence(container))
            case types.UpdateShort():
                self._take([container.update], container.date, own=own)
            case types.UpdateShortMessage() | types.UpdateShortChatMessage():
                self._take_short(container)
            case types.UpdateShortSentMessage():
                self._waiting.append(
                    _Numbered(container, _ACCOUNT, container.pts, container.pts_count, _time(container.date), own=True)
                )
            case _:  # updatesTooLong, and whatever a later layer brings
                self._asked.add(_ACCOUNT)

    def _in_sequence(self, container: Any) -> bool:
        """Whether the container's updates without a number are news; a jump in `seq` asks for the difference."""
        here = self._here
        if not container.seq or not here.seq:
            self._position = replace(here, seq=container.seq or here.seq)
            return True
        start = getattr(container, "seq_start", container.seq)
        if start > here.seq + 1:
            self._asked.add(_ACCOUNT)
        if start != here.seq + 1:
            return False
        self._position = replace(here, seq=container.seq)
        return True

    def _take(self, updates: Iterable[Any], date: Any, *, own: bool, unnumbered: bool = True) -> None:
        at = _time(date)
        for update in updates:
            pts, count = getattr(update, "pts", None), getattr(update, "pts_count", None)
            if pts is None or count is None:
                if unnumbered:
                    self._take_unnumbered(update, at)
                continue
            if own and isinstance(update, types.UpdateDeleteMessages) and not update.messages:
                # Telethon makes this of answers that say a number and not whose: a channel's would fit here by chance.
                if pts > self._here.pts:
                    self._asked.add(_ACCOUNT)
                continue
            self._waiting.append(_Numbered(update, _box_of(update), pts, count, at, own))

    def _take_short(self, short: Any) -> None:
        """A message in short form names people by number alone: one we do not know is introduced by the difference."""
        in_group = isinstance(short, types.UpdateShortChatMessage)
        place = types.PeerChat(short.chat_id) if in_group else types.PeerUser(short.user_id)
        sender = types.PeerUser(short.from_id) if in_group else None
        if any(chat_id_of(one) not in self._hashes for one in (place, sender) if one is not None):
            self._asked.add(_ACCOUNT)
            return
        message = types.Message(
            id=short.id,
            peer_id=place,
            date=short.date,
            message=short.message,
            out=short.out,
            from_id=sender,
            reply_to=short.reply_to,
            entities=short.entities,
        )
        update = types.UpdateNewMessage(message, short.pts, short.pts_count)
        self._take([update], short.date, own=False)

    def _take_unnumbered(self, update: Any, at: datetime) -> None:
        if isinstance(update, types.UpdateChannelTooLong):
            chat_id = channel_chat_id(update.channel_id)
            if chat_id in self._channels:
                self._asked.add(chat_id)
            elif update.pts:  # we came into it while we were away: it begins now
                self._move(chat_id, pts=update.pts)
        elif isinstance(update, types.UpdatePtsChanged):
            self._asked.add(_ACCOUNT)
        elif qts := getattr(update, "qts", None):
            if self._here.qts and qts > self._here.qts + 1:
                self._asked.add(_ACCOUNT)
            elif qts > self._here.qts:
                self._position = replace(self._here, qts=qts)
        elif fact := fact_of(update, at):
            self._facts.append(fact)

    def _settle(self) -> None:
        """Apply what follows on what we have, in the order of the numbers; what lies beyond a gap waits."""
        waiting, self._waiting = self._waiting, []
        for one in sorted(waiting, key=lambda one: (one.pts - one.count, one.pts)):
            pts = self._pts_of(one)
            if pts + one.count == one.pts:
                self._apply(one)
            elif pts + one.count < one.pts:
                self._waiting.append(one)

    def _pts_of(self, one: _Numbered) -> int:
        if one.box == _ACCOUNT:
            return self._here.pts
        if one.box not in self._channels:  # its first update is where it begins
            self._move(one.box, pts=one.pts - one.count)
        return self._channels[one.box].pts

    def _apply(self, one: _Numbered) -> None:
        if one.box == _ACCOUNT:
            self._position = replace(self._here, pts=one.pts, date=max(self._here.date, int(one.at.timestamp())))
        else:
            self._move(one.box, pts=one.pts)
        message = getattr(one.update, "message", None)
        self._reach(message)
        new = isinstance(one.update, (types.UpdateNewMessage, types.UpdateNewChannelMessage))
        if one.own and new:
            return  # what this connection sends is the sender's to record
        if fact := fact_of(one.update, one.at):
            self._facts.append(fact)

    # --- what was missed --------------------------------------------------------------------------------------------

    async def _begin(self) -> Batch:
        """The present, as the place to begin: the numbers of the account and of its channels, and whom it knows."""
        state = await self._connection.call(functions.updates.GetStateRequest())
        self._position = _position(state, top_message=0)
        if not self._is_bot:
            async for page in self._dialogs():
                for dialog in page:
                    chat_id = chat_id_of(dialog.peer)
                    if is_channel(chat_id) and dialog.pts:
                        self._move(chat_id, pts=dialog.pts, top=dialog.top_message)
                    elif not is_channel(chat_id):
                        self._raise_top(dialog.top_message)
                    if dialog.read_outbox_max_id:  # what was sent in this moment may be read before we listen
                        self._facts.append(ReadFact(chat_id, dialog.read_outbox_max_id, by_us=False))
        return next(iter(self._ready()), Batch(position=self._position))

    async def _difference(self) -> AsyncIterator[Batch]:
        """Everything in the account's own box since our position."""
        while True:
            here = self._here
            request = functions.updates.GetDifferenceRequest(pts=here.pts, date=here.date, qts=here.qts)
            try:
                found = await self._connection.call(request)
            except RemoteRejectedError as error:
                if error.code not in _PTS_REFUSED:
                    raise
                state = await self._connection.call(functions.updates.GetStateRequest())
                async for batch in self._from_history(_position(state, top_message=here.top_message)):
                    yield batch
                return
            if isinstance(found, types.updates.DifferenceTooLong):
                async for batch in self._from_history(replace(here, pts=found.pts)):
                    yield batch
                continue
            if isinstance(found, types.updates.DifferenceEmpty):
                self._position = replace(here, date=_seconds(found.date), seq=found.seq)
            else:
                ended = isinstance(found, types.updates.Difference)
                self._take_difference(found, found.state if ended else found.intermediate_state)
            for batch in self._ready():
                yield batch
            if isinstance(found, (types.updates.DifferenceEmpty, types.updates.Difference)):
                return

    def _take_difference(self, found: Any, state: Any) -> None:
        self._meet(found.users, found.chats)
        for message in found.new_messages:
            self._reach(message)
            if written := message_of(message):
                self._facts.append(written)
        at = _time(state.date)
        of_channels = []
        for update in found.other_updates:
            if getattr(update, "pts_count", None) is None:
                self._take_unnumbered(update, at)
            elif _box_of(update) != _ACCOUNT:
                of_channels.append(update)
            elif fact := fact_of(update, at):
                self._facts.append(fact)
        self._position = _position(state, top_message=self._here.top_message)
        self._take(of_channels, state.date, own=False)
        self._settle()

    async def _from_history(self, reached: Position) -> AsyncIterator[Batch]:
        """In place of a difference that is too long: what each chat holds beyond the newest message that is stored.

        The position moves at the end alone: an end in the middle begins here again. Edits and deletions of older messages are
        not told.
        """
        since = self._here.top_message
        _log.info("telegram difference too long, reading chats", since_pts=self._here.pts)
        pages = self._numbers_since(since) if self._is_bot else self._chats_since(since)
        async for facts in pages:
            yield Batch(facts=tuple(facts), peers=self._take_peers())
        self._position = replace(reached, top_message=self._here.top_message)
        for batch in self._ready():
            yield batch

    async def _chats_since(self, since: int) -> AsyncIterator[list[Fact]]:
        async for page in self._dialogs():
            for dialog in page:
                chat_id = chat_id_of(dialog.peer)
                if is_channel(chat_id):
                    continue
                if dialog.read_outbox_max_id:
                    yield [ReadFact(chat_id, dialog.read_outbox_max_id, by_us=False)]
                if dialog.top_message > since:
                    async for facts in self._history(chat_id, since):
                        yield facts

    async def _history(self, chat_id: int, since: int) -> AsyncIterator[list[Fact]]:
        """The messages of a chat above a number, the oldest first, page by page."""
        peer = input_peer(chat_id, self._hashes.get(chat_id))
        while True:
            request = functions.messages.GetHistoryRequest(
                peer,
                offset_id=since + 1,
                offset_date=None,
                add_offset=-PAGE,
                limit=PAGE,
                max_id=0,
                min_id=since,
                hash=0,
            )
            page = await self._connection.call(request)
            self._meet(page.users, page.chats)
            messages = sorted((one for one in page.messages if one.id > since), key=lambda one: one.id)
            if not messages:
                return
            since = messages[-1].id
            yield self._found(messages)

    async def _numbers_since(self, since: int) -> AsyncIterator[list[Fact]]:
        """The same for a bot, which may not read chats: message after message of its one numbering."""
        while True:
            wanted = [types.InputMessageID(number) for number in range(since + 1, since + 1 + PAGE)]
            page = await self._connection.call(functions.messages.GetMessagesRequest(wanted))
            self._meet(page.users, page.chats)
            messages = [one for one in page.messages if not isinstance(one, types.MessageEmpty)]
            if not messages:
                return
            since += PAGE
            yield self._found(messages)

    def _found(self, messages: Iterable[Any]) -> list[Fact]:
        facts: list[Fact] = []
        for message in messages:
            self._reach(message)
            if fact := message_of(message):
                facts.append(fact)
        return facts

    async def _dialogs(self) -> AsyncIterator[list[Any]]:
        """Every chat of the account (https://core.telegram.org/api/offsets)."""
        date, number, peer = None, 0, types.InputPeerEmpty()
        while True:
            page = await self._connection.call(
                functions.messages.GetDialogsRequest(
                    offset_date=date, offset_id=number, offset_peer=peer, limit=PAGE, hash=0
                )
            )
            self._meet(page.users, page.chats)
            dialogs = [one for one in page.dialogs if isinstance(one, types.Dialog)]
            yield dialogs
            dates = {(chat_id_of(one.peer_id), one.id): getattr(one, "date", None) for one in page.messages}
            dated = [one for one in dialogs if (chat_id_of(one.peer), one.top_message) in dates]
            if not isinstance(page, types.messages.DialogsSlice) or not dated:
                return
            last = dated[-1]
            chat_id = chat_id_of(last.peer)
            date, number = dates[chat_id, last.top_message], last.top_message
            peer = input_peer(chat_id, self._hashes.get(chat_id))

    async def _channel_difference(self, chat_id: int) -> AsyncIterator[Batch]:
        """Everything in a channel since our position in it; one that we may not read any more is forgotten."""
        while True:
            here, access_hash = self._channels.get(chat_id), self._hashes.get(chat_id)
            if here is None:
                return
            if access_hash is None:  # nobody introduced it properly: it begins with its next update
                self._forget(chat_id)
                break
            request = functions.updates.GetChannelDifferenceRequest(
                input_channel(chat_id, access_hash), types.ChannelMessagesFilterEmpty(), pts=here.pts, limit=PAGE
            )
            try:
                found = await self._connection.call(request)
            except RemoteRejectedError as error:
                if error.code not in _TRY_LATER:
                    self._forget(chat_id)
                break
            if isinstance(found, types.updates.ChannelDifferenceTooLong):
                async for batch in self._channel_from_history(chat_id, here, found):
                    yield batch
            elif isinstance(found, types.updates.ChannelDifferenceEmpty):
                self._move(chat_id, pts=found.pts)
            else:
                self._take_channel_difference(chat_id, found)
            if found.final or isinstance(found, types.updates.ChannelDifferenceEmpty):
                break
            for batch in self._ready():
                yield batch
        for batch in self._ready():
            yield batch

    def _take_channel_difference(self, chat_id: int, found: Any) -> None:
        self._meet(found.users, found.chats)
        self._facts += self._found(found.new_messages)
        at = datetime.now(UTC)
        self._facts += [fact for update in found.other_updates if (fact := fact_of(update, at))]
        self._move(chat_id, pts=found.pts)

    async def _channel_from_history(self, chat_id: int, here: ChannelPosition, found: Any) -> AsyncIterator[Batch]:
        self._meet(found.users, found.chats)
        if self._is_bot:  # it may not read chats: the newest messages are all there is
            newest = sorted((one for one in found.messages if one.id > here.top_message), key=lambda one: one.id)
            self._facts += self._found(newest)
        else:
            async for facts in self._history(chat_id, here.top_message):
                yield Batch(facts=tuple(facts), peers=self._take_peers())
        self._move(chat_id, pts=found.dialog.pts, top=found.dialog.top_message)

    # --- where we stand ---------------------------------------------------------------------------------------------

    @property
    def _here(self) -> Position:
        if self._position is None:
            raise RuntimeError("the feed has not begun")
        return self._position

    def _reach(self, message: Any) -> None:
        """Remember the highest number of a message in its numbering."""
        place = getattr(message, "peer_id", None)
        if place is None:
            return
        chat_id = chat_id_of(place)
        if not is_channel(chat_id):
            self._raise_top(message.id)
        elif chat_id in self._channels:
            self._move(chat_id, pts=self._channels[chat_id].pts, top=message.id)

    def _raise_top(self, number: int) -> None:
        self._position = replace(self._here, top_message=max(self._here.top_message, number))

    def _move(self, chat_id: int, *, pts: int, top: int = 0) -> None:
        before = self._channels.get(chat_id)
        after = ChannelPosition(pts, max(top, before.top_message if before else 0))
        if before != after:
            self._channels[chat_id] = after
            self._moved.add(chat_id)
            self._left.discard(chat_id)

    def _forget(self, chat_id: int) -> None:
        self._channels.pop(chat_id, None)
        self._moved.discard(chat_id)
        self._left.add(chat_id)

    def _meet(self, users: Iterable[Any], chats: Iterable[Any]) -> None:
        for seen in peers_of(users, chats):
            chat_id = seen.peer.chat_id
            self._hashes[chat_id] = seen.peer.access_hash
            if self._seen.get(chat_id) != seen:
                self._seen[chat_id] = self._peers[chat_id] = seen

    def _take_peers(self) -> tuple[SeenPeer, ...]:
        peers, self._peers = tuple(self._peers.values()), {}
        return peers

    def _ready(self) -> list[Batch]:
        """What is to be stored since the last batch; empty for nothing."""
        position = self._position if self._position != self._stored else None
        if not (self._facts or self._peers or self._moved or self._left or position):
            return []
        batch = Batch(
            facts=tuple(self._facts),
            peers=self._take_peers(),
            position=position,
            channels={chat_id: self._channels[chat_id] for chat_id in self._moved},
            left=frozenset(self._left),
        )
        self._facts, self._moved, self._left = [], set(), set()
        self._stored = self._position
        return [batch]


def _box_of(update: Any) -> int:
    """Whose number an update carries: 0 for the account's, else a channel's chat id."""
    place = getattr(getattr(update, "message", None), "peer_id", None)
    if isinstance(place, types.PeerChannel):
        return chat_id_of(place)
    channel_id = getattr(update, "channel_id", None)
    return channel_chat_id(channel_id) if channel_id else _ACCOUNT


def _position(state: Any, *, top_message: int) -> Position:
    return Position(state.pts, state.qts, _seconds(state.date), state.seq, top_message)


def _seconds(date: Any) -> int:
    return int(_time(date).timestamp())


def _time(date: Any) -> datetime:
    """Telethon reads a date as None where it is 0."""
    return date if isinstance(date, datetime) else datetime.fromtimestamp(0, UTC)
