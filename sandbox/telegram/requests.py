"""Calls of the API: taken out of their wrappers, checked, handed to the function that serves them, and answered."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from telethon.tl import functions
from telethon.tl.alltlobjects import LAYER

from sandbox.telegram.errors import RpcError, refused
from sandbox.telegram.faults import ENDS_SESSION, Fault
from sandbox.telegram.model import AuthKey, Person, Tl
from sandbox.telegram.stage import Cast, Stage
from sandbox.telegram.world import World

if TYPE_CHECKING:
    from sandbox.telegram.server import Server
    from sandbox.telegram.session import Connection

log = logging.getLogger(__name__)
Serve = Callable[["Call", Any], Tl]


@dataclass(frozen=True, slots=True)
class Method:
    """How one request type is served."""

    name: str
    serve: Serve
    signed_in: bool
    users_only: bool
    bots_only: bool


METHODS: dict[type, Method] = {}


def name_of(request_type: type) -> str:
    """The vendor's name of a request: `messages.sendMessage` for `functions.messages.SendMessageRequest`."""
    family = request_type.__module__.rpartition(".")[2]
    word = request_type.__name__.removesuffix("Request")
    word = word[0].lower() + word[1:]
    return word if family == "functions" else f"{family}.{word}"


def method(
    request_type: type, *, signed_in: bool = True, users_only: bool = False, bots_only: bool = False
) -> Callable[[Serve], Serve]:
    """Register the function that serves a request type.

    `users_only`: bots get BOT_METHOD_INVALID, for the methods the vendor closes to them; `bots_only`: USER_BOT_REQUIRED.
    """

    def register(serve: Serve) -> Serve:
        METHODS[request_type] = Method(name_of(request_type), serve, signed_in, users_only, bots_only)
        return serve

    return register


@dataclass(slots=True)
class Call:
    """One call while it is served: who asks, over which line, and what it changes."""

    server: Server
    connection: Connection
    msg_id: int
    request: Tl
    method: str
    key: AuthKey
    after: list[int] = field(default_factory=list)  # calls that must have succeeded
    silent: bool = False  # invokeWithoutUpdates
    told: bool = False  # the answer itself holds what concerns the caller

    @property
    def world(self) -> World:
        return self.server.world

    @property
    def stage(self) -> Stage:
        return self.server.stage

    @property
    def me(self) -> Person:
        return self.server.world.people[self.key.user_id]

    def cast(self) -> Cast:
        return Cast(self.world, self.me)

    def updates(self, *first: Tl, cast: Cast | None = None) -> Tl:
        """What changed for the caller, as the answer."""
        self.told = True
        scene = self.stage.take(self.me.id)
        if cast is not None:
            scene.cast.join(cast)
        return scene.updates(first)

    def affected(self, pts: int, count: int, make: Callable[..., Tl], **more: int) -> Tl:
        """The answer that tells only how far the caller's own box moved."""
        self.told = True
        return make(pts=pts, pts_count=count, **more)


_WRAPPERS = (
    functions.InvokeWithLayerRequest, functions.InitConnectionRequest, functions.InvokeAfterMsgRequest,
    functions.InvokeAfterMsgsRequest, functions.InvokeWithoutUpdatesRequest, functions.InvokeWithTakeoutRequest,
    functions.InvokeWithMessagesRangeRequest,
)  # fmt: skip


class Requests:
    """Serves calls one after another on the event loop; only what must wait (a slow fault, a bot's answer) runs beside."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def serve(self, connection: Connection, msg_id: int, asked: Tl) -> None:
        key = connection.session.key
        call = Call(self._server, connection, msg_id, asked, "", key)
        try:
            self._unwrap(call)
            if isinstance(asked, _WRAPPERS) and type(call.request) not in METHODS:
                raise refused("METHOD_INVALID")
        except RpcError as refusal:
            call.method = call.method or name_of(type(call.request))
            self._count_unknown(call)
            connection.answer(msg_id, refusal)
            return
        call.method = name_of(type(call.request))
        self._server.calls[call.method] += 1
        fault = self._server.faults.take(call.method, key.user_id or key.pending_user_id)
        waiting = [number for number in call.after if number in connection.session.waiting]
        if fault is not None and fault.kind == "slow" and fault.when == "before":
            self._later(call, self._wait_and_run(call, None, fault.seconds))
        elif waiting:
            self._later(call, self._run_after(call, fault))
        else:
            self._run(call, fault)

    def _count_unknown(self, call: Call) -> None:
        if type(call.request) not in METHODS:
            self._server.unknown[call.method] += 1

    # --- wrappers ---------------------------------------------------------------------------------------------------

    def _unwrap(self, call: Call) -> None:
        """Take the call out of invokeWithLayer, initConnection and the like (core.telegram.org/api/invoking)."""
        key = call.key
        while isinstance(call.request, _WRAPPERS):
            wrapper = call.request
            match wrapper:
                case functions.InvokeWithLayerRequest():
                    if not 1 <= wrapper.layer <= LAYER:
                        raise refused("CONNECTION_LAYER_INVALID")
                    key.layer = wrapper.layer if key.layer or _inits(wrapper.query) else 0
                case functions.InitConnectionRequest():
                    self._init(key, wrapper)
                case functions.InvokeAfterMsgRequest():
                    call.after.append(wrapper.msg_id)
                case functions.InvokeAfterMsgsRequest():
                    call.after.extend(wrapper.msg_ids)
                case functions.InvokeWithoutUpdatesRequest():
                    call.silent = True
            call.request = wrapper.query
        if not key.layer:
            raise refused("CONNECTION_NOT_INITED")

    def _init(self, key: AuthKey, wrapper: Tl) -> None:
        if wrapper.api_id not in self._server.world.apps:
            raise refused("CONNECTION_API_ID_INVALID")
        for value, name in ((wrapper.device_model, "DEVICE_MODEL"), (wrapper.system_version, "SYSTEM"),
                            (wrapper.app_version, "APP_VERSION"), (wrapper.system_lang_code, "SYSTEM_LANG_CODE")):  # fmt: skip
            if not value:
                raise refused(f"CONNECTION_{name}_EMPTY")
        known = (key.api_id, key.device, key.system, key.app)
        key.api_id, key.device = wrapper.api_id, wrapper.device_model
        key.system, key.app = wrapper.system_version, wrapper.app_version
        if known != (key.api_id, key.device, key.system, key.app):
            self._server.world.record("key", key)

    # --- running ----------------------------------------------------------------------------------------------------

    def _later(self, call: Call, work: Coroutine[Any, Any, None]) -> None:
        session = call.connection.session
        session.waiting[call.msg_id] = asyncio.get_running_loop().create_future()
        call.connection.acknowledge(call.msg_id)
        call.connection.spawn(work)

    async def _wait_and_run(self, call: Call, fault: Fault | None, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._run(call, fault)

    async def _run_after(self, call: Call, fault: Fault | None) -> None:
        session = call.connection.session
        await asyncio.gather(*(session.waiting[number] for number in call.after if number in session.waiting))
        self._run(call, fault)

    def _run(self, call: Call, fault: Fault | None) -> None:
        try:
            self._try(call, fault)
        except Exception as mistake:  # the twin's own fault must not look like a refusal, nor end the line
            log.exception("the twin failed at %s", call.method)
            self._server.mistakes.append(mistake)
            call.connection.answer(call.msg_id, refused("RPC_CALL_FAIL"))

    def _try(self, call: Call, fault: Fault | None) -> None:
        connection = call.connection
        if fault is not None and fault.kind == "cut" and fault.when == "before":
            connection.cut()
            return
        try:
            if fault is not None and fault.kind == "error" and fault.when == "before":
                raise self._fault_error(call, fault)
            result = self._served(call)
        except RpcError as refusal:
            self._server.flush()
            connection.answer(call.msg_id, refusal)
            return
        if inspect.isawaitable(result):
            self._server.flush()
            self._later(call, self._finish_later(call, result, fault))
            return
        self._finish(call, result, fault)

    async def _finish_later(self, call: Call, result: Any, fault: Fault | None) -> None:
        try:
            value = await result
        except RpcError as refusal:
            call.connection.answer(call.msg_id, refusal)
            return
        self._finish(call, value, fault)

    def _finish(self, call: Call, result: Tl, fault: Fault | None) -> None:
        connection = call.connection
        told = call.key.user_id if call.told else 0
        self._server.flush(connection if call.told else None, told)
        if fault is None or (fault.when == "before" and fault.kind != "lost"):
            connection.answer(call.msg_id, result)
        elif fault.kind == "cut":
            connection.cut()
        elif fault.kind == "error":
            connection.answer(call.msg_id, self._fault_error(call, fault))
        elif fault.kind == "slow":
            self._later(call, self._answer_late(call, result, fault.seconds))

    async def _answer_late(self, call: Call, result: Tl, seconds: float) -> None:
        await asyncio.sleep(seconds)
        call.connection.answer(call.msg_id, result)

    def _fault_error(self, call: Call, fault: Fault) -> RpcError:
        if fault.name in ENDS_SESSION:
            self._server.end_session(call.key, fault.name)
        return refused(fault.name)

    def _served(self, call: Call) -> Tl:
        served = METHODS.get(type(call.request))
        if served is None:
            self._count_unknown(call)
            raise refused("METHOD_INVALID")
        session = call.connection.session
        for number in call.after:
            if number in session.failed or number not in session.received:
                raise refused("MSG_WAIT_FAILED")
        self._admit(call, served)
        self._server.actor = call.key.user_id
        return served.serve(call, call.request)

    def _admit(self, call: Call, served: Method) -> None:
        """Who may call what (core.telegram.org/api/errors#401-unauthorized)."""
        key, connection = call.key, call.connection
        # A session that was ended still connects: help.* and auth.* answer it, until the key itself is dead.
        if key.refusal and (served.signed_in or key.refusal == "AUTH_KEY_DUPLICATED"):
            raise refused(key.refusal)
        if not key.user_id or key.refusal:
            if served.signed_in:
                raise refused("SESSION_PASSWORD_NEEDED" if key.pending_user_id else "AUTH_KEY_UNREGISTERED")
            return
        if self._elsewhere(connection):
            self._server.end_session(key, "AUTH_KEY_DUPLICATED")
            raise refused("AUTH_KEY_DUPLICATED")
        me = call.me
        if me.banned or me.deleted:
            name = "USER_DEACTIVATED_BAN" if me.banned else "USER_DEACTIVATED"
            self._server.end_session(key, name)
            raise refused(name)
        if me.is_bot and served.users_only:
            raise refused("BOT_METHOD_INVALID")
        if not me.is_bot and served.bots_only:
            raise refused("USER_BOT_REQUIRED")
        key.active = self._server.world.now()
        connection.spoke = True
        if not call.silent and not served.name.startswith("upload."):
            self._server.subscribe(connection, key.user_id)

    def _elsewhere(self, connection: Connection) -> bool:
        """Whether the same key is at work over another line that the rule forbids."""
        rule = self._server.world.settings.duplicate_key
        if rule == "never":
            return False
        return any(
            other is not connection
            and other.key is connection.key
            and other.spoke
            and other.open
            and (rule == "connection" or other.address != connection.address)
            for other in self._server.connections
        )


def _inits(query: Tl) -> bool:
    while isinstance(query, _WRAPPERS):
        if isinstance(query, functions.InitConnectionRequest):
            return True
        query = query.query
    return False
