"""The line between Telethon and the loopback Telegram: transports, keys, salts, numbers, service messages."""

from __future__ import annotations

import asyncio
import gzip
import struct
from pathlib import Path
from typing import Any

import pytest
from telethon import functions, types
from telethon.crypto import rsa
from telethon.errors import AuthKeyNotFound, ConnectionApiIdInvalidError, MethodInvalidError, MsgWaitFailedError
from telethon.network.connection import (
    ConnectionTcpAbridged,
    ConnectionTcpFull,
    ConnectionTcpIntermediate,
    ConnectionTcpObfuscated,
)
from telethon.sessions import StringSession
from telethon.tl import TLObject
from telethon.tl.alltlobjects import LAYER
from telethon.tl.core import GzipPacked

from sandbox.telegram import API_ID, TelegramTwin, running_telegram
from sandbox.telegram.handshake import ServerKey
from tests.contracts.telegram_client import KEY, Clients, Raw, hear, played, until


@pytest.mark.parametrize(
    "transport", [ConnectionTcpFull, ConnectionTcpAbridged, ConnectionTcpIntermediate, ConnectionTcpObfuscated]
)
def test_every_transport_of_telethon_carries_a_whole_conversation(telegram_twin: TelegramTwin, transport: Any) -> None:
    async def play() -> None:
        clients = Clients(telegram_twin)
        try:
            anna = await clients.of("Anna", connection=transport)
            assert (await anna.get_me()).first_name == "Anna"
        finally:
            await clients.close()

    asyncio.run(play())


@played
async def test_a_new_client_exchanges_keys_and_comes_back_with_the_same_key(clients: Clients) -> None:
    client = await clients.connect()
    first = client.session.save()
    await client.disconnect()
    assert len(clients.twin.world.keys) == 1
    again = await clients.connect(first)
    assert not await again.is_user_authorized()
    assert len(clients.twin.world.keys) == 1


def test_a_client_that_does_not_know_the_servers_key_gets_no_connection() -> None:
    async def play(twin: TelegramTwin) -> None:
        clients = Clients(twin)
        with pytest.raises(ConnectionError):
            await clients.connect(connection_retries=1)
        await clients.close()

    with running_telegram(key=ServerKey.make()) as twin:
        asyncio.run(play(twin))


@played
async def test_a_key_the_server_does_not_know_is_answered_with_404(clients: Clients) -> None:
    session = clients.twin.session_string("Anna")
    clients.twin.call(clients.twin.world.keys.clear)
    with pytest.raises(AuthKeyNotFound):
        await clients.connect(session)
    async with Raw(session, clients.twin.port) as raw:
        raw.send(bytes(functions.PingRequest(1)))
        assert await raw.packet() == struct.pack("<i", -404)
        assert await raw.ended()


@played
async def test_a_wrong_salt_is_corrected_and_a_new_session_announced(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        sent = raw.send(bytes(functions.PingRequest(1)))
        bad = await raw.next()
        assert isinstance(bad, types.BadServerSalt)
        assert (bad.bad_msg_id, bad.error_code) == (sent, 48)
        raw.state.salt = bad.new_server_salt
        raw.send(bytes(functions.PingRequest(2)))
        assert isinstance(await raw.next(), types.NewSessionCreated)
        assert (await raw.next()).ping_id == 2
    anna = await clients.of("Anna")
    clients.twin.call(clients.twin.world.expire_salts)
    assert (await anna.get_me()).first_name == "Anna"


@played
async def test_numbers_of_messages_must_be_even_fours_of_the_present_time(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        for number, code in ((raw.new_id() + 1, 18), (raw.new_id(ahead_s=-400), 16), (raw.new_id(ahead_s=90), 17)):
            raw.send(bytes(functions.PingRequest(1)), msg_id=number)
            assert (await raw.next_of(types.BadMsgNotification)).error_code == code


@played
async def test_a_call_has_an_odd_sequence_number_and_an_acknowledgement_an_even_one(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        raw.send(bytes(functions.help.GetNearestDcRequest()), seq_no=2)
        assert (await raw.next_of(types.BadMsgNotification)).error_code == 35
        raw.send(bytes(types.MsgsAck([1])), seq_no=3)
        assert (await raw.next_of(types.BadMsgNotification)).error_code == 34


@played
async def test_a_container_in_a_container_is_refused(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        first, second = raw.new_id(), raw.new_id()
        ping = bytes(functions.PingRequest(1))
        inner = struct.pack("<Iiqii", 0x73F1F8DC, 1, first, 1, len(ping)) + ping
        outer = struct.pack("<Iiqii", 0x73F1F8DC, 1, second, 0, len(inner)) + inner
        raw.send(outer, seq_no=0)
        assert (await raw.next_of(types.BadMsgNotification)).error_code == 64


@played
async def test_a_message_that_was_not_made_with_the_key_ends_the_line(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        raw.send_packet(struct.pack("<Q", raw.key.key_id) + bytes(16) + bytes(64))
        assert await raw.ended()


@played
async def test_a_packet_out_of_order_ends_the_line(clients: Clients) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", clients.twin.port)
    writer.write(struct.pack("<ii", 24, 0) + bytes(16))  # the right length, a wrong CRC32
    async with asyncio.timeout(10):
        assert await reader.read(100) == b""
    writer.close()
    await writer.wait_closed()


@played
async def test_many_calls_in_one_container_are_all_answered(clients: Clients) -> None:
    anna = await clients.of("Anna")
    answers = await anna([functions.help.GetNearestDcRequest() for _ in range(150)])
    assert len(answers) == 150


@played
async def test_long_calls_and_long_answers_travel_packed(clients: Clients) -> None:
    twin = clients.twin
    anna = await clients.of("Anna")
    boris = await anna.get_input_entity("boris_n")
    await anna.send_message(boris, "a" * 4000)  # Telethon packs what is longer than 512 bytes
    assert twin.texts("Boris", "Anna") == ["a" * 4000]
    async with Raw(anna.session.save(), twin.port) as raw:
        await raw.salted()
        raw.send(_initialised(functions.messages.GetHistoryRequest(boris, 0, None, 0, 5, 0, 0, 0)))
        assert isinstance(await raw.next(), types.NewSessionCreated)
        packet = await raw.packet()
        assert len(packet) < 1000
        assert b"a" * 4000 in raw.state.decrypt_message_data(packet).obj.body


def _initialised(call: Any) -> bytes:
    begun = functions.InitConnectionRequest(API_ID, "d", "s", "1", "en", "", "en", call)
    return bytes(functions.InvokeWithLayerRequest(LAYER, begun))


@played
async def test_a_packed_call_is_unpacked(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        packed = TLObject.serialize_bytes(gzip.compress(bytes(functions.PingRequest(77))))
        raw.send(struct.pack("<I", GzipPacked.CONSTRUCTOR_ID) + packed)
        assert (await raw.next_of(types.Pong)).ping_id == 77


@played
async def test_an_answer_comes_again_when_the_same_message_comes_again(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        body = bytes(functions.help.GetNearestDcRequest())
        number = raw.send(body)
        await _result(raw, number)
        raw.send(body, msg_id=number)
        await _result(raw, number)
        assert clients.twin.server.calls["help.getNearestDc"] == 1
        raw.send(bytes(types.MsgResendReq([number])), seq_no=2)
        await _result(raw, number)


async def _result(raw: Raw, number: int) -> None:
    while getattr(await raw.next(), "req_msg_id", 0) != number:
        pass


@played
async def test_state_requests_sessions_and_salts_are_answered(clients: Clients) -> None:
    anna = await clients.of("Anna")
    salts = await anna(functions.GetFutureSaltsRequest(3))
    assert len({one.salt for one in salts.salts}) == 3
    assert isinstance(await anna(functions.DestroySessionRequest(12345)), types.DestroySessionNone)
    assert (await anna(functions.PingRequest(5))).ping_id == 5
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        raw.send(bytes(types.MsgsStateReq([1, 2])), seq_no=2)
        assert len((await raw.next_of(types.MsgsStateInfo)).info) == 2


@played
async def test_a_line_without_the_promised_ping_is_closed(clients: Clients) -> None:
    async with Raw(clients.twin.session_string("Anna"), clients.twin.port) as raw:
        await raw.salted()
        raw.send(bytes(functions.PingDelayDisconnectRequest(1, 0)))
        assert await raw.ended()


@played
async def test_what_was_pushed_and_not_acknowledged_comes_again_in_the_same_session(clients: Clients) -> None:
    twin = clients.twin
    session = twin.session_string("Anna")
    async with Raw(session, twin.port) as first:
        await first.salted()
        first.send(_initialised(functions.updates.GetStateRequest()))
        await until(lambda: twin.call(twin.server.online))
        twin.write_as("Boris", "Anna", "are you there?")
        assert (await first.next_of(types.Updates)).updates[0].message.message == "are you there?"
        state = first.state
    async with Raw(session, twin.port) as second:
        second.state.id, second.state.salt = state.id, state.salt
        second.send(bytes(functions.PingRequest(1)))
        assert (await second.next_of(types.Updates)).updates[0].message.message == "are you there?"


@played
async def test_a_destroyed_key_is_unknown_afterwards(clients: Clients) -> None:
    anna = await clients.of("Anna")
    assert isinstance(await anna(functions.DestroyAuthKeyRequest()), types.DestroyAuthKeyOk)
    assert anna.session.auth_key.key_id not in clients.twin.world.keys


# --- wrappers ---------------------------------------------------------------------------------------------------------


@played
async def test_a_connection_must_be_initialised_by_a_known_app(clients: Clients) -> None:
    with pytest.raises(ConnectionApiIdInvalidError):
        await clients.connect(api_id=4242)
    twin = clients.twin
    session = twin.session_string("Anna")
    number = StringSession(session).auth_key.key_id
    twin.world.keys[number].layer = 0
    async with Raw(session, twin.port) as raw:
        await raw.salted()
        raw.send(bytes(functions.updates.GetStateRequest()))
        while (error := getattr(await raw.next(), "error", None)) is None:
            pass
        assert error.error_message == "CONNECTION_NOT_INITED"


@played
async def test_a_call_waits_for_the_one_it_comes_after(clients: Clients) -> None:
    anna = await clients.of("Anna")
    clients.twin.faults.add("slow", method="help.getNearestDc", seconds=0.2, count=1)
    await anna([functions.help.GetNearestDcRequest(), functions.help.GetConfigRequest()], ordered=True)
    with pytest.raises(MsgWaitFailedError):
        await anna(functions.InvokeAfterMsgRequest(4, functions.help.GetNearestDcRequest()))


@played
async def test_a_client_that_wants_no_updates_gets_none(clients: Clients) -> None:
    twin = clients.twin
    quiet, loud = await clients.of("Anna", receive_updates=False), await clients.of("Anna")
    silence, noise = hear(quiet), hear(loud)
    twin.write_as("Boris", "Anna", "one")
    assert (await noise.next()).raw_text == "one"
    assert (await quiet.get_me()).first_name == "Anna"
    assert silence.rest() == []


@played
async def test_a_method_the_twin_does_not_serve_is_refused_and_counted(clients: Clients) -> None:
    anna = await clients.of("Anna")
    with pytest.raises(MethodInvalidError):
        await anna(functions.help.GetSupportRequest())
    assert clients.twin.server.unknown == {"help.getSupport": 1}


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_keys_and_sessions_outlive_a_restart_of_the_server(tmp_path: Path) -> None:
    async def who(twin: TelegramTwin, session: str) -> str:
        clients = Clients(twin)
        stored = StringSession(session)
        stored.set_dc(twin.dc_id, "127.0.0.1", twin.port)
        try:
            return str((await (await clients.connect(stored.save())).get_me()).first_name)
        finally:
            await clients.close()

    with running_telegram(data_dir=tmp_path) as first:
        first.add_person("Anna", phone="+9996610001")
        session = first.session_string("Anna")
        pem = first.public_pem
    rsa.add_key(pem, old=False)
    with running_telegram(data_dir=tmp_path) as second:
        assert second.public_pem == pem == (tmp_path / "server.pem").read_text()
        assert asyncio.run(who(second, session)) == "Anna"
    with running_telegram(key=KEY) as stranger, pytest.raises(AuthKeyNotFound):
        asyncio.run(who(stranger, session))
