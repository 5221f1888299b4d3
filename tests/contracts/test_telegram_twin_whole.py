"""The loopback Telegram as a whole: its names are the vendor's, its state outlives restarts, it runs as a process."""

from __future__ import annotations

import asyncio
import base64
import inspect
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from telethon import Button, errors, functions, types
from telethon.crypto import rsa
from telethon.errors import rpcerrorlist
from telethon.sessions import StringSession

import sandbox.telegram
from sandbox.ports import free_port
from sandbox.telegram import TelegramTwin, running_telegram
from sandbox.telegram.errors import VENDOR_ONLY, code_of
from sandbox.telegram.faults import ENDS_SESSION
from sandbox.telegram.requests import METHODS, name_of
from sandbox.telegram.samples import OFFICE_PASSWORD, OFFICE_PHONE
from tests.contracts.telegram_client import Clients, new_client, played

PACKAGE = Path(inspect.getfile(sandbox.telegram)).parent
NAME = re.compile(r'f?"([A-Z][A-Z0-9]+(?:_(?:[A-Z0-9]+|\{[^}"]+\}))+)"')

NO_ERRORS = {
    "API_HASH",
    "API_ID",
    "APP_VERSION",
    "CONNECTION_7_EMPTY",
    "CONSTRUCTOR_ID",
    "DEVICE_MODEL",
    "SYSTEM_LANG_CODE",
}


def names_in_the_code() -> set[str]:
    """Everything in the twin that looks like the name of an error, numbers in it as 7."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for name in NAME.findall(path.read_text(encoding="utf-8")):
            found.add(re.sub(r"\{[^}]+\}", "7", name))
    return found - NO_ERRORS


@pytest.mark.parametrize("name", sorted(names_in_the_code()))
def test_every_error_of_the_twin_is_one_of_telegrams(name: str) -> None:
    known = name in rpcerrorlist.rpc_errors_dict or any(
        re.fullmatch(one, name) for one, _ in rpcerrorlist.rpc_errors_re
    )
    assert known or name in VENDOR_ONLY
    assert code_of(name) in {303, 400, 401, 403, 404, 406, 420, 500, 503}


def test_the_search_for_error_names_finds_them() -> None:
    assert len(names_in_the_code()) > 150
    assert {"CONNECTION_DEVICE_MODEL_EMPTY", "CONNECTION_SYSTEM_LANG_CODE_EMPTY"} <= set(rpcerrorlist.rpc_errors_dict)
    assert set(rpcerrorlist.rpc_errors_dict) >= ENDS_SESSION
    assert not set(VENDOR_ONLY) & set(rpcerrorlist.rpc_errors_dict)


def test_every_method_is_served_under_the_vendors_name() -> None:
    assert len(METHODS) > 100
    assert name_of(functions.messages.SendMessageRequest) == "messages.sendMessage"
    for request_type, method in METHODS.items():
        family, _, word = method.name.rpartition(".")
        assert getattr(getattr(functions, family), f"{word[0].upper()}{word[1:]}Request") is request_type


def test_the_product_does_not_know_the_twin() -> None:
    """It may start the twin as a process, and no more."""
    product, imports = PACKAGE.parents[1] / "switchboard", re.compile(r"\b(from|import) sandbox\.telegram")
    assert not [path for path in product.rglob("*.py") if imports.search(path.read_text(encoding="utf-8"))]


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_everything_outlives_a_restart(tmp_path: Path) -> None:
    @played
    async def before(clients: Clients) -> None:
        twin = clients.twin
        anna, bot = await clients.of("Anna"), await clients.of("helper_bot")
        await anna(functions.messages.SendMessageRequest("boris_n", "**no marks**", random_id=99))
        await anna.send_message("boris_n", "**bold**", reply_to=1)
        await anna.send_file("boris_n", b"paper", attributes=[types.DocumentAttributeFilename("a.txt")])
        await anna.forward_messages("boris_n", 2, "boris_n")
        gone = await anna.send_message("boris_n", "gone")
        await anna.delete_messages("boris_n", gone.id)
        await anna(functions.contacts.BlockRequest("boris_n"))
        await anna(functions.contacts.AddContactRequest("boris_n", "Bob", "", "", add_phone_privacy_exception=False))
        await anna.send_message("helper_bot", "/start")
        await bot.send_message(twin.world.person("Anna").id, "Go on?", buttons=[Button.inline("Yes", b"yes")])
        group = (await anna(functions.channels.CreateChannelRequest("Team", "", megagroup=True))).chats[0]
        await anna(functions.messages.ExportChatInviteRequest(group))
        await anna.send_message(group, "in the group")
        await anna(functions.messages.CreateChatRequest(["clara_w"], "Plans"))
        twin.read_as("Boris", "Anna")

    def make(twin: TelegramTwin) -> None:
        twin.add_person("Anna", phone="+9996610001", username="anna_i")
        twin.add_person("Boris", phone="+9996610002", username="boris_n", password="secret", hint="a hint")
        twin.add_person("Clara", phone="+9996610003", username="clara_w")
        twin.add_bot("Helper", "helper_bot")

    def look(twin: TelegramTwin) -> dict[str, Any]:
        world = twin.world
        boxes = {}
        for owner, box in world.boxes.items():
            reads = {place.key: (mark.read_in, mark.read_out) for place, mark in box.dialogs.items() if mark.read_in}
            boxes[owner] = (box.pts, box.last_id, list(box.posts), [tuple(one) for one in box.log], reads)
        posts = {uid: (post.text, [repr(one.to_dict()) for one in post.entities], post.copies, post.reply_to, post.forward,
                       post.action and post.action.to_dict(), post.markup and post.markup.to_dict())
                 for uid, post in world.posts.items()}  # fmt: skip
        return {"people": world.people, "groups": world.groups, "posts": posts, "boxes": boxes, "apps": world.apps,
                "random": world.random_ids, "secret": world.secret, "keys": set(world.keys)}  # fmt: skip

    with running_telegram(data_dir=tmp_path) as first:
        rsa.add_key(first.public_pem, old=False)
        make(first)
        first.add_app(7, "a" * 32)
        before(first)
        saved = first.call(lambda: look(first))
    with running_telegram(data_dir=tmp_path) as second:
        found = second.call(lambda: look(second))
        for part, value in saved.items():
            assert found[part] == value, part
        group = second.world.peer("Team")
        invite = next(iter(second.world.groups[group.id].invites))
        assert second.world.group_by_invite(invite) is second.world.groups[group.id]
        media = next(post.media for post in second.world.posts.values() if post.media)
        assert second.server.files.read(media.file_id) == b"paper"
        after(second)
        assert second.server.mistakes == []
    with (tmp_path / "telegram.jsonl").open("a") as journal:
        journal.write('["post","7",{"uid":')  # cut off in the middle
    with running_telegram(data_dir=tmp_path) as third:
        assert third.texts("Boris", "Anna")[-1] == "after the restart"


@played
async def after(clients: Clients) -> None:
    """What only works when ids, hashes and numbers are the old ones."""
    anna = await clients.of("Anna")
    with pytest.raises(errors.RandomIdDuplicateError):
        await anna(functions.messages.SendMessageRequest("boris_n", "again", random_id=99))
    with pytest.raises(errors.YouBlockedUserError):
        await anna.send_message("boris_n", "blocked")
    await anna(functions.contacts.UnblockRequest("boris_n"))
    await anna.send_message("boris_n", "after the restart")


# --- as a process -----------------------------------------------------------------------------------------------------


@contextmanager
def process(folder: Path) -> Iterator[tuple[str, int]]:
    """`python -m sandbox.telegram`; gives its control address and its port."""
    port, control = free_port(), free_port()
    command = [sys.executable, "-m", "sandbox.telegram", "--port", str(port), "--control-port", str(control)]
    running = subprocess.Popen([*command, "--data", str(folder)], cwd=PACKAGE.parents[1])
    url = f"http://127.0.0.1:{control}/_sandbox/telegram"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                requests.get(url, timeout=5)
                break
            except requests.ConnectionError:
                assert running.poll() is None, "the process ended"
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield url, port
    finally:
        running.terminate()
        assert running.wait(30) == 0


def test_a_newcomer_signs_in_and_reads_over_the_side_door(tmp_path: Path) -> None:
    async def newcomer(url: str, port: int, about: dict[str, Any]) -> str:
        rsa.add_key(about["public_key"], old=False)
        session = StringSession()
        session.set_dc(about["dc"], "127.0.0.1", port)
        client = new_client(session, api_id=about["api_id"], api_hash=about["api_hash"])
        await client.connect()
        try:
            await client.send_code_request(OFFICE_PHONE)
            sent = requests.get(f"{url}/codes", params={"phone": OFFICE_PHONE}, timeout=10).json()["codes"][-1]
            assert sent["via"] == "sms"
            with pytest.raises(errors.SessionPasswordNeededError):
                await client.sign_in(OFFICE_PHONE, sent["code"])
            await client.sign_in(password=OFFICE_PASSWORD)
            await client.send_message("anna_ivanova", "hello")
            return str(client.session.save())
        finally:
            await client.disconnect()

    with process(tmp_path) as (url, port):
        about = requests.get(url, timeout=10).json()
        assert about["port"] == port
        asyncio.run(newcomer(url, port, about))
        person = {"as": "anna_ivanova"}
        chats = requests.get(f"{url}/chats", params=person, timeout=10).json()["chats"]
        assert [(one["title"], one["unread"]) for one in chats] == [("Office", 1)]
        answered = {**person, "chat": "office_demo", "text": "hi", "reply_to": 1}
        assert requests.post(f"{url}/messages", json=answered, timeout=10).json() == {"id": 2}
        assert requests.post(f"{url}/reads", json={**person, "chat": "office_demo"}, timeout=10).status_code == 200
        office = {"as": "office_demo", "chat": "anna_ivanova"}
        seen = requests.get(f"{url}/messages", params=office, timeout=10).json()["messages"]
        assert [(one["text"], one["out"], one["read"], one["reply_to"]) for one in seen] == [
            ("hello", True, True, 0),
            ("hi", False, False, 1),
        ]
    with process(tmp_path) as (url, _port):
        seen = requests.get(f"{url}/messages", params=office, timeout=10).json()["messages"]
        assert [one["text"] for one in seen] == ["hello", "hi"]
        faults = f"{url}/faults"
        made = requests.post(faults, json={"kind": "error", "name": "PEER_FLOOD"}, timeout=10)
        assert made.status_code == 201
        assert requests.post(faults, json={"kind": "error", "name": "NOPE"}, timeout=10).status_code == 400
        assert len(requests.get(faults, timeout=10).json()["faults"]) == 1
        assert requests.delete(f"{faults}/{made.json()['id']}", timeout=10).json()["faults"] == []
        wrong = requests.post(f"{url}/messages", json={"as": "Nobody", "chat": "Office", "text": "x"}, timeout=10)
        assert (wrong.status_code, wrong.json()) == (400, {"error": "no person is called Nobody"})
        pressed = {**office, "message": 1, "data": base64.b64encode(b"x").decode()}
        assert requests.post(f"{url}/presses", json=pressed, timeout=10).status_code == 400
