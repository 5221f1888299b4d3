"""Document events over HTTP to their arrival in Telegram, against a program that connects for each message.

Everything is the product's own: the web process, Valkey, one `telegram` worker; the twin is a process apart. Each account has
readers whom it knows, and the pace is the fastest that the settings allow, which limits nothing here. On SQLite and on
PostgreSQL, for one account and for many:

- `per_s`: events of one recipient each are posted from four threads as fast as they are taken; messages per second from the
  first POST to the last arrival. `posts_per_s` is how fast they were taken.
- `mailing_per_s`: the same where each event goes to all readers of the account, for one account with twenty.
- `ratio`: `per_s` divided by the rate of a program with a stored session and known recipients that connects, sends and
  disconnects for each message, all accounts side by side on one loop; half of it runs before ours and half after.
  `mailing_ratio` divides `mailing_per_s` by it.
- `way_p50_ms`, `way_p99_ms`: from the POST to the arrival when ten events a second are posted, which is no load.

A message that arrives twice or never fails the benchmark.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from telethon import TelegramClient
from telethon.crypto import rsa
from telethon.sessions import StringSession
from telethon.tl.types import InputPeerUser

from benchmarks.telegram import WAIT_S, Deployment, Office, Twin, running_deployment
from sandbox.telegram.twin import API_HASH, API_ID

SIZES = {  # accounts: messages at once, messages on their way, messages of the program that connects for each
    "full": {1: (300, 200, 100), 50: (1_000, 200, 400)},
    "small": {1: (30, 20, 10), 5: (60, 20, 20)},
}
READERS = 20  # of an account that is alone
POSTERS = 4
WAY_PER_S = 10
NUMBER = re.compile(r"\b(?:now|all|way)-\d+\b")


def run(scale: str) -> dict[str, Any]:
    """Rates a second, `ratio` (the worst), the way in milliseconds, by database and number of accounts."""
    result: dict[str, Any] = {}
    for database in ("sqlite", "postgresql"):
        for accounts, (count, on_the_way, bare) in SIZES[scale].items():
            readers = READERS if accounts == 1 else 1
            with running_deployment(database, accounts=accounts, readers=readers) as deployment:
                measured = _measure(deployment, count, on_the_way, bare)
            result.update({f"{database}_{accounts}_{key}": value for key, value in measured.items()})
    result["ratio"] = min(value for key, value in result.items() if key.endswith("_ratio"))
    return result


def _measure(deployment: Deployment, count: int, on_the_way: int, bare: int) -> dict[str, Any]:
    twin = deployment.twin
    deployment.add_accounts()
    offices = deployment.add_offices()
    port = deployment.start_web()
    deployment.start_gateway()
    deployment.meet()

    arrivals = Arrivals(twin)
    bare_s = asyncio.run(_connect_for_each(twin, bare // 2))
    posted = _post_all(port, offices, [f"now-{number}" for number in range(count)], per_s=None)
    arrived = arrivals.wait_for(count)
    posts_rate = (count - 1) / (max(posted.values()) - min(posted.values()))
    rate = count / (max(arrived.values()) - min(posted.values()))
    mailing_rate = _mail_all(port, offices[0], arrivals, count) if len(offices) == 1 else None
    bare_s += asyncio.run(_connect_for_each(twin, bare - bare // 2))
    bare_rate = bare / bare_s

    posted = _post_all(port, offices, [f"way-{number}" for number in range(on_the_way)], per_s=WAY_PER_S)
    arrived = arrivals.wait_for(on_the_way)
    ways = [(at - posted[number]) * 1000 for (number, _reader), at in arrived.items()]
    mailing = (
        {}
        if mailing_rate is None
        else {
            "mailing_per_s": round(mailing_rate, 1),
            "mailing_ratio": round(mailing_rate / bare_rate, 2),
        }
    )
    return mailing | {
        "per_s": round(rate, 1),
        "posts_per_s": round(posts_rate, 1),
        "connecting_per_s": round(bare_rate, 1),
        "ratio": round(rate / bare_rate, 2),
        "way_p50_ms": round(statistics.median(ways), 1),
        "way_p99_ms": round(statistics.quantiles(ways, n=100)[98], 1),
    }


def _mail_all(port: int, office: Office, arrivals: Arrivals, count: int) -> float:
    """Messages a second of events that go to every reader of one account."""
    numbers = [f"all-{number}" for number in range(count // len(office.recipients))]
    posted = _post_all(port, [office], numbers, per_s=None, recipients=len(office.recipients))
    arrived = arrivals.wait_for(len(numbers) * len(office.recipients))
    return len(arrived) / (max(arrived.values()) - min(posted.values()))


class Arrivals:
    """What has arrived at the twin, by its number and reader; one that is there twice is an error."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._at: dict[tuple[str, int], float] = {}

    def wait_for(self, count: int) -> dict[tuple[str, int], float]:
        """Wait until `count` more have arrived, and a little for those that must not; when, in seconds since 1970."""
        known = set(self._at)
        end = time.monotonic() + WAIT_S
        while len(self._at) < len(known) + count:
            if time.monotonic() > end:
                raise RuntimeError(f"only {len(self._at) - len(known)} of {count} messages arrived")
            time.sleep(0.2)
            self._read()
        time.sleep(1.5)
        self._read()
        return {one: at for one, at in self._at.items() if one not in known}

    def _read(self) -> None:
        for text, reader, at in self._twin.arrivals():
            found = NUMBER.search(text)
            if found is None:
                continue  # of the program that connects
            if (found[0], reader) in self._at:
                raise RuntimeError(f"{found[0]} arrived twice")
            self._at[found[0], reader] = at


def _post_all(
    port: int, offices: list[Office], numbers: list[str], *, per_s: float | None, recipients: int = 1
) -> dict[str, float]:
    """Post events to so many recipients each, the offices in turn, evenly spread where a rate is given; when each was sent."""
    begun = time.time()

    def post(share: int) -> dict[str, float]:
        sent = {}
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for index in range(share, len(numbers), POSTERS):
            if per_s is not None:
                time.sleep(max(0.0, begun + index / per_s - time.time()))
            office, number = offices[index % len(offices)], numbers[index]
            document = {"number": number, "title": "Delivery note", "link": "https://documents.example.org/1"}
            body = {"kind": "to_sign", "document": document, "recipients": office.recipients[:recipients]}
            headers = {
                "Authorization": f"Bearer {office.token}",
                "Idempotency-Key": number,
                "Content-Type": "application/json",
            }
            sent[number] = time.time()
            connection.request("POST", "/documents/events", json.dumps(body), headers)
            with connection.getresponse() as answer:
                text = answer.read()
                if answer.status != 202:
                    raise RuntimeError(text.decode(errors="replace"))
        connection.close()
        return sent

    with ThreadPoolExecutor(POSTERS) as pool:
        return {number: at for sent in pool.map(post, range(POSTERS)) for number, at in sent.items()}


async def _connect_for_each(twin: Twin, count: int) -> float:
    """Seconds for so many messages by the program that connects for each."""
    rsa.add_key(twin.pem, old=False)
    share = -(-count // len(twin.accounts))

    async def send(account: dict[str, Any], count: int) -> None:
        for number in range(count):
            async with TelegramClient(
                StringSession(account["bare_session"]), API_ID, API_HASH, receive_updates=False
            ) as client:
                await client.send_message(InputPeerUser(*account["bare_reader"]), f"Bare {number}")

    begun = time.perf_counter()
    shares = [min(share, max(0, count - share * index)) for index in range(len(twin.accounts))]
    await asyncio.gather(*map(send, twin.accounts, shares))
    return time.perf_counter() - begun
