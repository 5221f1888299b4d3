"""The loopback Telegram as a program of its own for benchmarks: it notes when each message arrives, and writes as people.

One JSON order a line on standard input, one JSON answer a line on standard output. The first order makes the people.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from sandbox.telegram.model import Person, Post
from sandbox.telegram.twin import TelegramTwin

ORDER_BYTES = 1 << 20


class Stage:
    """People who write and read, and what arrived from those who are accounts."""

    def __init__(self, accounts: int, readers: int) -> None:
        self.twin = TelegramTwin()
        self.accounts = [self._person(f"Account {number}", f"79160{number:06}") for number in range(accounts)]
        self.bare = [self._person(f"Bare {number}") for number in range(accounts)]
        self.readers = [
            [self._person(f"Reader {number} {index}") for index in range(readers)] for number in range(accounts)
        ]
        self._senders = {person.id for person in (*self.accounts, *self.bare)}
        self._noted: set[int] = set()
        self._arrived: list[tuple[str, int, float]] = []
        self.twin.world.record = self._note

    def _person(self, name: str, phone: str = "") -> Person:
        return self.twin.add_person(name, phone=phone)

    def _note(self, kind: str, thing: object) -> None:
        if kind == "post" and isinstance(thing, Post) and thing.sender_id in self._senders:
            if thing.uid not in self._noted:
                self._arrived.append((thing.text, thing.peer.id, time.time()))
            self._noted.add(thing.uid)

    def facts(self) -> dict[str, Any]:
        """Where the twin listens, and every account: phone, session, readers; and as much for the bare program."""
        return {
            "port": self.twin.port,
            "pem": self.twin.public_pem,
            "accounts": [
                {
                    "phone": f"+{account.phone}",
                    "session": self.twin.session_string(account),
                    "readers": [reader.id for reader in readers],
                    "bare_session": self.twin.session_string(bare),
                    "bare_reader": [readers[0].id, self.twin.world.access_hash(bare.id, "user", readers[0].id)],
                }
                for account, bare, readers in zip(self.accounts, self.bare, self.readers, strict=True)
            ],
        }

    async def obey(self, order: dict[str, Any]) -> Any:
        """`write`: each reader writes so many messages to their account; when that began. `arrivals`: since the last time.

        `lines`: open connections.
        """
        match order["do"]:
            case "write":
                begun = time.time()
                for number in range(order["count"]):
                    for account, readers in zip(self.accounts, self.readers, strict=True):
                        for reader in readers:
                            self.twin.write_as(reader, account, f"{order['text']} {number}")
                        await asyncio.sleep(0)  # the lines have their turn
                return begun
            case "arrivals":
                arrived, self._arrived = self._arrived, []
                return arrived
            case "lines":
                return len(self.twin.server.connections)
        raise ValueError(order)


async def serve() -> None:
    """Obey until standard input ends."""
    orders = asyncio.StreamReader(limit=ORDER_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    first = json.loads(await orders.readline())
    stage = Stage(first["accounts"], first["readers"])
    await stage.twin.start()
    answer: Any = stage.facts()
    while True:
        print(json.dumps(answer), flush=True)
        line = await orders.readline()
        if not line:
            break
        answer = await stage.obey(json.loads(line))
    await stage.twin.stop()


if __name__ == "__main__":
    asyncio.run(serve())
