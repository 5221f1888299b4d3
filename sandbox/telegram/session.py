"""One client on the line: its packets, its session, and the service messages of core.telegram.org/mtproto/service_messages."""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telethon.errors import InvalidBufferError, InvalidChecksumError, TypeNotFoundError
from telethon.extensions import BinaryReader
from telethon.tl import functions, types

from sandbox.telegram.envelope import GZIP_PACKED, BadEnvelopeError, Message, open_message, result_of, seal, serialise
from sandbox.telegram.errors import RpcError, refused
from sandbox.telegram.framing import BadFrameError, Line
from sandbox.telegram.handshake import Handshake, HandshakeError
from sandbox.telegram.model import AuthKey, Tl

if TYPE_CHECKING:
    from sandbox.telegram.server import Server

CONTAINER = 0x73F1F8DC
CONTAINER_MAX = 1020  # core.telegram.org/mtproto/service_messages#simple-container
TOO_OLD_S, TOO_NEW_S = 300, 30  # core.telegram.org/mtproto/description#message-identifier-msg-id
SALT_SLOT_S = 1800  # a salt is good for two slots
REMEMBERED = 1000  # answers and unacknowledged pushes kept for a resend
# Error codes of bad_msg_notification.
ID_TOO_LOW, ID_TOO_HIGH, ID_NOT_EVEN, SEQ_EVEN_WANTED, SEQ_ODD_WANTED, BAD_CONTAINER = 16, 17, 18, 34, 35, 64
BAD_SALT = 48
# What the client need not have acknowledged, so its number is even.
_SERVICE = (types.MsgsAck, types.MsgsStateReq, types.MsgsStateInfo, types.MsgsAllInfo, types.MsgResendReq)


@dataclass(slots=True)
class Session:
    """What the server remembers of one session of one key, also over a change of the line."""

    id: int
    key: AuthKey
    content_sent: int = 0
    answers: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    waiting: dict[int, asyncio.Future[bool]] = field(default_factory=dict)
    failed: set[int] = field(default_factory=set)
    pushed: OrderedDict[int, bytes] = field(default_factory=OrderedDict)
    received: OrderedDict[int, None] = field(default_factory=OrderedDict)
    announced: bool = False
    line: Connection | None = None

    def remember(self, msg_id: int) -> bool:
        """False when a message with this number came before."""
        if msg_id in self.received:
            return False
        self.received[msg_id] = None
        while len(self.received) > REMEMBERED:
            self.received.popitem(last=False)
        return True

    def keep(self, store: OrderedDict[int, bytes], msg_id: int, body: bytes) -> None:
        store[msg_id] = body
        while len(store) > REMEMBERED:
            store.popitem(last=False)


class Connection:
    """A TCP connection from accept to close."""

    def __init__(self, server: Server, line: Line) -> None:
        self._server = server
        self._line = line
        self._handshake = Handshake(server.key, server.dice, server.dc_id)
        self._last_msg_id = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._hang_up: asyncio.TimerHandle | None = None
        self.key: AuthKey | None = None
        self._session: Session | None = None
        self.account = 0  # whose updates are pushed here; 0 for none
        self.spoke = False  # an authorised call came over it
        self.open = True

    @property
    def session(self) -> Session:
        if self._session is None:
            raise RuntimeError("no encrypted message came over this line yet")
        return self._session

    @property
    def address(self) -> str:
        return self._line.peer_address

    async def run(self) -> None:
        try:
            while True:
                self._packet(await self._line.read())
        except (asyncio.IncompleteReadError, ConnectionError, BadFrameError, InvalidChecksumError,
                InvalidBufferError, BadEnvelopeError, HandshakeError):  # fmt: skip
            pass  # whatever is wrong with the line, it ends; the client sees it closed
        finally:
            self.open = False
            if self._hang_up is not None:
                self._hang_up.cancel()
            for task in list(self._tasks):
                task.cancel()
            self._line.close()

    def cut(self) -> None:
        self.open = False
        self._server.unsubscribe(self)
        self._line.abort()

    def close(self) -> None:
        self._line.close()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as long as the line stands."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- in ---------------------------------------------------------------------------------------------------------

    def _packet(self, packet: bytes) -> None:
        if len(packet) < 20:
            raise BadEnvelopeError("too short for any message")
        (key_id,) = struct.unpack("<Q", packet[:8])
        if key_id == 0:
            self._plain(packet)
            return
        key = self._server.world.keys.get(key_id)
        if key is None:
            self._line.refuse(-404)
            return
        self.key = key
        self._message(key, open_message(key.key, packet))

    def _plain(self, packet: bytes) -> None:
        msg_id, length = struct.unpack("<qi", packet[8:20])
        if length != len(packet) - 20 or msg_id % 4:
            raise HandshakeError("an unencrypted message of another length than it says")
        try:
            request = _parse(packet[20:])
        except TypeNotFoundError as unknown:
            raise HandshakeError("an unknown request outside encryption") from unknown
        reply = serialise(self._handshake.answer(request, int(time.time())))
        if self._handshake.made is not None:
            self._server.add_key(self._handshake.made)
            self._handshake = Handshake(self._server.key, self._server.dice, self._server.dc_id)
        self._line.write(bytes(8) + struct.pack("<qi", self._next_msg_id(1), len(reply)) + reply)

    def _message(self, key: AuthKey, message: Message) -> None:
        if self._session is None or self._session.id != message.session_id:
            self._session = self._server.session(key, message.session_id)
        session = self._session
        salt = self._server.salt(key)
        if message.salt not in self._server.valid_salts(key):
            self._service(types.BadServerSalt(message.msg_id, message.seq_no, BAD_SALT, salt))
            return
        problem = self._wrong_number(message.msg_id)
        if problem:
            self._service(types.BadMsgNotification(message.msg_id, message.seq_no, problem))
            return
        if not session.announced:
            session.announced = True
            self._service(types.NewSessionCreated(message.msg_id, secrets.randbits(62), salt), content=True)
        elif session.line is not self:
            self._push_again()
        session.line = self
        self._unpack(message.msg_id, message.seq_no, message.body)

    @staticmethod
    def _wrong_number(msg_id: int) -> int:
        if msg_id % 4:
            return ID_NOT_EVEN
        age_s = time.time() - (msg_id >> 32)
        return ID_TOO_LOW if age_s > TOO_OLD_S else ID_TOO_HIGH if age_s < -TOO_NEW_S else 0

    def _unpack(self, msg_id: int, seq_no: int, body: bytes, *, inside: bool = False) -> None:
        (constructor,) = struct.unpack("<I", body[:4])
        if constructor != CONTAINER:
            self._one(msg_id, seq_no, body)
            return
        (count,) = struct.unpack("<i", body[4:8])
        if inside or not 0 < count <= CONTAINER_MAX:
            self._service(types.BadMsgNotification(msg_id, seq_no, BAD_CONTAINER))
            return
        position = 8
        for _ in range(count):
            inner_id, inner_seq, length = struct.unpack("<qii", body[position : position + 16])
            inner = body[position + 16 : position + 16 + length]
            position += 16 + length
            if inner_id >= msg_id or len(inner) < length:
                self._service(types.BadMsgNotification(msg_id, seq_no, BAD_CONTAINER))
                return
            problem = self._wrong_number(inner_id)
            if problem:
                self._service(types.BadMsgNotification(inner_id, inner_seq, problem))
                continue
            self._unpack(inner_id, inner_seq, inner, inside=True)

    def _one(self, msg_id: int, seq_no: int, body: bytes) -> None:
        if not self.session.remember(msg_id):
            self._answer_again([msg_id])
            return
        try:
            asked = _parse(body)
        except TypeNotFoundError as unknown:
            number = unknown.invalid_constructor_id
            self._server.unknown[f"{number:#010x}"] += 1
            self.answer(msg_id, refused("INPUT_METHOD_INVALID"))
            return
        service = isinstance(asked, _SERVICE)
        # Pings and the like may be numbered either way: real clients differ there.
        if service != (seq_no % 2 == 0) and not isinstance(asked, _EITHER_WAY):
            wanted = SEQ_EVEN_WANTED if service else SEQ_ODD_WANTED
            self._service(types.BadMsgNotification(msg_id, seq_no, wanted))
            return
        if not self._serve_service(msg_id, asked):
            self._server.requests.serve(self, msg_id, asked)

    def _serve_service(self, msg_id: int, asked: Tl) -> bool:
        """Answer what concerns the connection itself; False when it is a call of the API."""
        session = self.session
        match asked:
            case types.MsgsAck():
                for number in asked.msg_ids:
                    session.pushed.pop(number, None)
            case functions.PingRequest() | functions.PingDelayDisconnectRequest():
                self._service(types.Pong(msg_id, asked.ping_id))
                self._close_in(getattr(asked, "disconnect_delay", None))
            case functions.GetFutureSaltsRequest():
                self._service(self._future_salts(msg_id, asked.num))
            case types.MsgsStateReq() | types.MsgResendReq():
                self._answer_again(asked.msg_ids if isinstance(asked, types.MsgResendReq) else [])
                states = "".join(chr(4 if number in session.received else 1) for number in asked.msg_ids)
                self._service(types.MsgsStateInfo(msg_id, states))
            case types.MsgsStateInfo() | types.MsgsAllInfo():
                pass
            case functions.RpcDropAnswerRequest():
                self.answer(msg_id, types.RpcAnswerUnknown())
            case functions.DestroySessionRequest():
                gone = self._server.drop_session(session.key, asked.session_id)
                self._service((types.DestroySessionOk if gone else types.DestroySessionNone)(asked.session_id))
            case functions.DestroyAuthKeyRequest():
                self._server.drop_key(session.key)
                self._service(types.DestroyAuthKeyOk())
            case _:
                return False
        return True

    def _close_in(self, delay_s: int | None) -> None:
        """ping_delay_disconnect: the line ends unless the next one comes in time."""
        if delay_s is not None:
            if self._hang_up is not None:
                self._hang_up.cancel()
            self._hang_up = asyncio.get_running_loop().call_later(delay_s, self.close)

    def _answer_again(self, msg_ids: Sequence[int]) -> None:
        for number in msg_ids:
            if number in self.session.answers:
                self._write(self.session.answers[number], reply=True, content=True)

    def _future_salts(self, msg_id: int, count: int) -> Tl:
        now = int(time.time())
        slot = now // SALT_SLOT_S
        salts = [
            types.FutureSalt(
                number * SALT_SLOT_S,
                (number + 2) * SALT_SLOT_S,
                self._server.salt(self.session.key, ahead=number - slot),
            )
            for number in range(slot, slot + max(1, min(count, 64)))
        ]
        return types.FutureSalts(msg_id, now, salts)

    # --- out --------------------------------------------------------------------------------------------------------

    def answer(self, msg_id: int, result: Tl) -> None:
        """`rpc_result` for a call; a RpcError becomes `rpc_error`. Kept for a resend until acknowledged."""
        session = self.session
        value = types.RpcError(result.code, result.name) if isinstance(result, RpcError) else result
        body = result_of(msg_id, value, compress=not isinstance(value, types.upload.File))
        if isinstance(result, RpcError):
            session.failed.add(msg_id)
        waiter = session.waiting.pop(msg_id, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(True)
        session.keep(session.answers, msg_id, body)
        self._write(body, reply=True, content=True)

    def acknowledge(self, msg_id: int) -> None:
        self._service(types.MsgsAck([msg_id]))

    def push(self, updates: bytes) -> None:
        if self._session is None or not self.open:
            return
        self._session.keep(self._session.pushed, self._write(updates, reply=False, content=True), updates)

    def _push_again(self) -> None:
        """What an old session has not acknowledged comes again on its new line."""
        session = self.session
        waiting, session.pushed = session.pushed, OrderedDict()
        for body in waiting.values():
            self.push(body)

    def _service(self, message: Tl, *, content: bool = False) -> None:
        self._write(serialise(message), reply=True, content=content)

    def _write(self, body: bytes, *, reply: bool, content: bool) -> int:
        session = self.session
        key = session.key
        msg_id = self._next_msg_id(1 if reply else 3)
        seq_no = session.content_sent * 2 + (1 if content else 0)
        session.content_sent += content
        message = Message(self._server.salt(key), session.id, msg_id, seq_no, body)
        self._line.write(seal(key.key, key.id, message))
        return msg_id

    def _next_msg_id(self, remainder: int) -> int:
        """Rising, about the time times 2^32, 1 modulo 4 for an answer and 3 for what nobody asked for."""
        number = (int(time.time() * 2**32) & ~3) | remainder
        if number <= self._last_msg_id:
            number = (self._last_msg_id & ~3) + 4 + remainder
        self._last_msg_id = number
        return number


_EITHER_WAY = (functions.PingRequest, functions.PingDelayDisconnectRequest, functions.GetFutureSaltsRequest,
               functions.DestroySessionRequest, functions.RpcDropAnswerRequest, types.HttpWait)  # fmt: skip


def _parse(body: bytes) -> Tl:
    with BinaryReader(body) as reader:
        found = reader.tgread_object()
    if getattr(found, "CONSTRUCTOR_ID", 0) == GZIP_PACKED:
        with BinaryReader(found.data) as reader:
            return reader.tgread_object()
    return found
