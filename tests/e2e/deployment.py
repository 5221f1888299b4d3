"""A deployment for tests that kill it: real workers and beats over real servers, and people whose messages are counted.

Where the product waits (a lease, the wait before a look-up, a backoff) the tests move the row's time back instead of waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from celery import Celery
from pydantic import SecretStr
from sqlalchemy import func, select, text, update

from beat_schedule import SCHEDULE
from sandbox.caldav.meetings import Meeting
from sandbox.mattermost.twin import MattermostTwin
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.clients.mattermost import MattermostClient
from switchboard.clients.redis import connect_redis
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import (
    Calendar,
    CalendarAccount,
    CalendarAnswer,
    CalendarReminder,
    CalendarSnapshot,
    CalendarStatus,
    CalendarSubscriber,
    Delivery,
    DeliveryState,
)
from switchboard.db.models.deliveries import OPEN_STATES
from switchboard.db.repositories.heartbeats import heartbeats
from switchboard.locks import KEY_PREFIX
from switchboard.processes.generated_secrets import read_or_make
from switchboard.processes.process import FileReady
from switchboard.processes.process_list import make_plan
from switchboard.queues import QUEUES
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, SubscriberSettings
from switchboard.services.calendar.agendas import Agendas
from switchboard.services.channels.mattermost import DELIVERY_PROP
from switchboard.services.people import MattermostPeople
from switchboard.settings import Settings
from tasks.app import route
from tests.e2e.calendar_servers import PASSWORD, PEOPLE, CalendarServer
from tests.servers import ROOT, ValkeyServer, dies_with_parent

SECRET_KEY = "a-secret-key-of-the-tests-0123456789"
TICK = tuple(str(entry["task"]) for entry in SCHEDULE.values() if int(entry.get("every_s", 3600)) <= 60)
POLLS, AGENDAS, REMINDERS, CHANGES, LEDGER, STATUSES, ANSWERS = (
    "calendar.accounts.scan_due",
    "calendar.agendas.scan_due",
    "calendar.reminders.scan_due",
    "calendar.changes.scan_due",
    "delivery.ledger.scan_open",
    "calendar.statuses.scan_due",
    "calendar.answers.scan_open",
)
SEND = "delivery.mattermost.send"
POSTS: dict[str, Any] = {"method": "POST", "path": "/api/v4/posts"}
WAIT_S = 40.0  # nothing here takes long; a busy machine may
POLLS_A_SCAN = 10  # at least so many are begun at once, however few accounts there are
PENDING_POST_MEMORY_S = 31  # a little more than Mattermost remembers a pending_post_id


def now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Person:
    """A Mattermost user with one connected calendar account."""

    name: str
    user_id: str
    subscriber_id: int
    account_id: int
    meeting: Meeting | None = None

    @property
    def subject(self) -> str:
        """Under which the ledger orders their messages."""
        return f"mattermost:{self.user_id}"


class ShiftedClock:
    """The twin's clock: ours, and what a test adds to it."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset_s


class Deployment:
    """Starts the processes as `run` does; `close` kills every one of them."""

    def __init__(
        self, folder: Path, database_url: str, valkey: ValkeyServer, calendars: CalendarServer, twin: MattermostTwin
    ) -> None:
        self.folder = folder
        self.database = Database(database_url)
        self.valkey = valkey
        self.calendars = calendars
        self.twin = twin
        self.log = folder / "processes.log"
        settings = Settings(
            data_dir=folder,
            database_url=database_url,
            redis_url=valkey.url,
            secret_keys=(SecretStr(SECRET_KEY),),
            mattermost_url=twin.url,
            mattermost_token=SecretStr(twin.bot_token),
            allowed_private_addresses=(f"127.0.0.1:{calendars.port}",),
            calendar_poll_seconds=3600,
            log_format="json",
            worker_threads=6,
            public_url="http://127.0.0.1:1",  # where buttons would be answered; nobody clicks them there
        )
        plan = make_plan(settings, sandbox=False, secrets=read_or_make(folder), any_ports=True)
        self._specs = {spec.name: spec for spec in plan.specs}
        self.environment = dict(self._specs["worker"].environment)
        self.accounts = CalendarAccounts(
            self.database,
            self._open_calendar_server,
            SecretBox([SECRET_KEY]),
            MattermostPeople(MattermostClient(twin.url, twin.bot_token)),
            self._guard(),
            now,
        )
        self._agendas = Agendas(self.database, now)
        self._names = iter(PEOPLE)
        self._processes: dict[str, list[subprocess.Popen[bytes]]] = {}

    # --- processes ----------------------------------------------------------------------------------------------------

    def worker(self) -> subprocess.Popen[bytes]:
        """One more worker for waiting tasks, which consumes already."""
        return self._start_from_list("worker")

    def the_worker(self) -> subprocess.Popen[bytes]:
        """The only worker; started when there is none."""
        running = [process for process in self._processes.get("worker", ()) if process.poll() is None]
        return running[0] if running else self.worker()

    def expander(self) -> subprocess.Popen[bytes]:
        """The worker for expansions; started when there is none."""
        running = [process for process in self._processes.get("expander", ()) if process.poll() is None]
        return running[0] if running else self._start_from_list("expander")

    def beat(self, scheduler: str) -> subprocess.Popen[bytes]:
        """A beat that ticks each second."""
        number = len(self._processes.get("beat", ()))
        schedule = ("-s", str(self.folder / f"beat-schedule-{number}")) if "redbeat" not in scheduler else ()
        argv = (sys.executable, "-m", "celery", "-A", "tests.e2e.fast_beat", "beat", "-S", scheduler, *schedule)
        return self.start("beat", argv)

    def start(self, name: str, argv: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Any process in this deployment's environment."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=dies_with_parent,  # noqa: PLW1509
            )
        self._processes.setdefault(name, []).append(process)
        return process

    def kill(self, *processes: subprocess.Popen[bytes]) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def kill_all(self, name: str) -> None:
        """Kill every process that was started under this name."""
        self.kill(*self._processes.pop(name, ()))

    def kill_a_sender(self, step: str, people: Sequence[Person], count: int) -> None:
        """SIGKILL a sender of their messages at a step of tests.e2e.stalled_sender, once `count` rows are there."""
        ids = [str(row.id) for row in self.rows(people)]
        sender = self.start("sender", (sys.executable, "-m", "tests.e2e.stalled_sender", step, *ids))
        self.wait(lambda: self.states(*people).count(step.upper()) == count, f"{count} rows to be {step}")
        self.kill(sender)

    def close(self) -> None:
        for name in tuple(self._processes):
            self.kill_all(name)
        self.database.dispose()

    # --- people -------------------------------------------------------------------------------------------------------

    def people(self, count: int, *, meeting_in: timedelta = timedelta(minutes=9)) -> list[Person]:
        """Connect new people, each with a meeting that is stored and expanded; their agenda and reminder are due."""
        made = [self.connect() for _ in range(count)]
        made = [self.with_meeting(person, meeting_in) for person in made]
        self.poll(*made)
        for person in made:
            self._agendas.send_today(person.subscriber_id)
        return made

    def with_changes(self, count: int) -> list[Person]:
        """Connect new people whose known meeting was moved on the server and one added; neither was polled yet."""
        made = [self.with_meeting(self.connect(changes=True), timedelta(hours=5)) for _ in range(count)]
        self.poll(*made)
        for person in made:
            self.move(person, timedelta(hours=6))
        return [self.with_meeting(person, timedelta(hours=7)) for person in made]

    def connect(self, *, changes: bool = False) -> Person:
        """A new person with an empty calendar and no agenda due; `changes`: notices of what changed are on."""
        name = next(self._names)
        user_id = self.twin.add_user(name)
        self.calendars.make_calendar(name)
        connected = self.accounts.connect(
            ConnectRequest(
                self.calendars.url,
                self.calendars.login(name),
                PASSWORD,
                name,
                zone_at_noon(),
                calendars=(self.calendars.calendar_url(name),),
            ),
            actor="test",
        )
        switches = SubscriberSettings(changes_enabled=changes, answers_enabled=changes)
        self.accounts.configure(connected.subscriber_id, switches, actor="test")
        return Person(name, user_id, connected.subscriber_id, connected.account_id)

    def with_meeting(self, person: Person, starts_in: timedelta) -> Person:
        """The same person with a meeting more in their calendar on the server."""
        start = (now() + starts_in).replace(microsecond=0)
        meeting = self.calendars.desk(person.name).add(person.name, "Review", start, calendar=person.name)
        return Person(person.name, person.user_id, person.subscriber_id, person.account_id, meeting)

    def move(self, person: Person, starts_in: timedelta) -> None:
        """Move the person's meeting on the server."""
        assert person.meeting is not None
        start = (now() + starts_in).replace(microsecond=0)
        self.calendars.desk(person.name).move(person.name, person.meeting.uid, start, calendar=person.name)

    def poll(self, *people: Person) -> None:
        """Let the workers poll these accounts and expand what they found, and wait for both."""
        before = self.polled_at(*people)
        for person in people:
            self.accounts.poll_soon(person.account_id)
        for _scan in range(0, len(people), POLLS_A_SCAN):
            self.tick(POLLS)
            self.wait_idle()
        self.wait(lambda: all(a != b for a, b in zip(self.polled_at(*people), before, strict=True)), "the polls")
        self.wait(lambda: not self.waiting_objects(), "the expansion")

    def polled_at(self, *people: Person) -> list[datetime | None]:
        """When each account was polled last, well or not."""
        return [self.account(person).last_polled_at for person in people]

    def account(self, person: Person) -> CalendarAccount:
        with self.database.read() as session:
            return session.get_one(CalendarAccount, person.account_id)

    def subscriber(self, person: Person) -> CalendarSubscriber:
        with self.database.read() as session:
            return session.get_one(CalendarSubscriber, person.subscriber_id)

    def received(self, person: Person) -> list[str]:
        """What stands in the person's direct channel: the kind of each post, read from its delivery key."""
        return sorted(re.split("[:|]", key)[0].removeprefix("calendar.") for key in self.keys(person))

    def texts(self, person: Person) -> list[str]:
        """What the posts in the person's direct channel say."""
        return [str(post["message"]) for post in self.twin.posts_to(person.name)]

    def keys(self, person: Person) -> list[str]:
        """The delivery key of each post in the person's direct channel."""
        return [str(post["props"].get(DELIVERY_PROP, "none")) for post in self.twin.posts_to(person.name)]

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, *tasks: str, times: int = 1) -> None:
        """What beat does: queue the scans (all of them without names), each `times` times at once."""
        for name in (tasks or TICK) * times:
            self.send(name, expires=15)

    def send(self, name: str, expires: float | None = None, **arguments: object) -> None:
        """Queue a task by its name, over a connection of its own: brokers are killed here."""
        queue = (route(name) or {})["queue"]
        with Celery("producer", broker=self.valkey.url, set_as_current=False) as producer:
            producer.send_task(name, kwargs=arguments, queue=queue, expires=expires)

    @contextmanager
    def blocked_ledger(self) -> Iterator[None]:
        """Nobody else writes to the ledger during the block: who tries, waits."""
        with self.blocked_table("deliveries"):
            yield

    @contextmanager
    def blocked_table(self, name: str) -> Iterator[None]:
        """Nobody else writes to this table during the block (on SQLite: to none): who tries, waits."""
        on_postgresql = self.database.dialect == "postgresql"
        with self.database.write() as session:  # on SQLite the first statement keeps every other writer out
            session.execute(text(f"LOCK TABLE {name} IN SHARE ROW EXCLUSIVE MODE" if on_postgresql else "SELECT 1"))
            yield

    def writers_waiting(self) -> int:
        """Connections to PostgreSQL that wait for a lock."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with self.database.read() as session:
            return session.scalar(text(waiting)) or 0

    def end_leases(self) -> None:
        """As if the leases of what is held (messages, statuses, answers) had ended, and the locks of killed tasks with them."""
        held = (DeliveryState.CLAIMED, DeliveryState.SENDING, DeliveryState.UNCERTAIN)
        with self.database.write() as session:
            session.execute(
                update(Delivery)
                .where(Delivery.state.in_(held), Delivery.claimed_until.is_not(None))
                .values(claimed_until=now() - timedelta(seconds=1))
            )
            for held_row in (CalendarStatus, CalendarAnswer):
                session.execute(
                    update(held_row)
                    .where(held_row.claimed_until.is_not(None))
                    .values(claimed_until=now() - timedelta(seconds=1))
                )
        self.end_locks()

    def end_locks(self) -> None:
        """As if the locks of killed tasks had ended."""
        with connect_redis(self.valkey.url) as client:
            for key in client.scan_iter(f"{KEY_PREFIX}*"):
                client.delete(key)

    def pass_waits(self) -> None:
        """As if the time had come for every retry and every look-up."""
        with self.database.write() as session:
            session.execute(
                update(Delivery)
                .where(Delivery.state.in_((DeliveryState.PENDING, DeliveryState.UNCERTAIN)))
                .values(next_attempt_at=now() - timedelta(seconds=1))
            )

    def forget_pending_posts(self) -> None:
        """Let the 30 s pass in which Mattermost remembers pending_post_id."""
        assert isinstance(self.twin.world.clock, ShiftedClock)
        self.twin.world.clock.offset_s += PENDING_POST_MEMORY_S

    def redeliver(self) -> None:
        """As if the visibility timeout had ended: what no worker acknowledged is queued again."""
        with connect_redis(self.valkey.url) as client:
            for tag, payload in client.hgetall("unacked").items():
                message, _exchange, queue = json.loads(payload)
                if client.hdel("unacked", tag):
                    client.zrem("unacked_index", tag)
                    client.rpush(queue, json.dumps(message))

    # --- Mattermost ---------------------------------------------------------------------------------------------------

    @contextmanager
    def mattermost_down(self) -> Iterator[None]:
        """Refuse connections during the block."""
        stopping = self.twin.call(lambda: asyncio.ensure_future(self.twin.stop()))
        self.wait(lambda: self.twin.call(stopping.done), "the twin to stop")
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", self.twin.port)) != 0
        try:
            yield
        finally:
            self.twin.call(lambda: self.twin.start(self.twin.port))

    # --- looking ------------------------------------------------------------------------------------------------------

    def rows(self, people: Sequence[Person]) -> list[Delivery]:
        """Their rows of the ledger, oldest first."""
        subjects = [person.subject for person in people]
        with self.database.read() as session:
            return list(session.scalars(select(Delivery).where(Delivery.subject.in_(subjects)).order_by(Delivery.id)))

    def states(self, *people: Person) -> list[str]:
        """The states of their rows, oldest row first."""
        return [str(row.state) for row in self.rows(people)]

    def expansions_begun(self) -> int:
        """Objects whose expansion has begun and not ended."""
        with self.database.read() as session:
            return session.scalar(text("SELECT count(*) FROM calendar_objects WHERE expansion_attempts > 0")) or 0

    def beat_of(self, task: str) -> datetime:
        """When this scan ran last."""
        with self.database.read() as session:
            return heartbeats(session)[task]

    def scans_under_way(self) -> set[str]:
        """The scans that hold their lock."""
        with connect_redis(self.valkey.url) as client:
            prefix = f"{KEY_PREFIX}scan:"
            return {str(key).removeprefix(prefix) for key in client.scan_iter(f"{prefix}*")}

    def wait(self, holds: Callable[[], bool], what: str, *, seconds: float = WAIT_S) -> None:
        """Wait until something holds; AssertionError with the processes' last words."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                log = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise AssertionError(f"waited {seconds} s for {what}; the processes said:\n{log}")
            time.sleep(0.03)

    def settle(self, people: Sequence[Person], *, seconds: float = WAIT_S) -> None:
        """Tick, and pass every wait, until nothing of these people is due or open; then provoke repeats, which must not be.

        A worker that ended is started again. Provoked is what a broker may do: it delivers again whatever was not
        acknowledged, and every message twice. No poll may be due any more: its second copy would wait for the first one's lock.
        """
        end = time.monotonic() + seconds
        while self._unfinished(people):
            if time.monotonic() > end:
                rows = [(row.key, row.state, row.attempts, row.reason) for row in self.rows(people)]
                log = self.log.read_text(encoding="utf-8", errors="replace")[-4000:]
                raise AssertionError(f"not settled within {seconds} s: {rows}; the processes said:\n{log}")
            self.the_worker()  # a supervisor would do the same
            self.expander()
            self.pass_waits()
            self.tick()
            time.sleep(0.15)
        self.forget_pending_posts()
        self.redeliver()
        ids = [row.id for row in self.rows(people)]
        for _copy in range(2):
            self.send(SEND, delivery_ids=ids)
            self.send("delivery.mattermost.look_up", delivery_ids=ids)
        self.tick()
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until the queues are empty, everything taken from them is acknowledged, and all workers wait for more."""
        started = [process for name in ("worker", "expander") for process in self._processes.get(name, ())]
        workers = sum(process.poll() is None for process in started)
        with connect_redis(self.valkey.url) as client:

            def idle() -> bool:
                looks = client.pipeline()  # all at one moment
                looks.client_list()
                looks.hlen("unacked")
                for queue in QUEUES:
                    looks.llen(queue)
                connections, *left = looks.execute()
                # Between its BRPOP and its HSET a worker has a message that is in no queue and not unacknowledged either.
                return not any(left) and sum("b" in one["flags"] for one in connections) >= workers

            self.wait(idle, "idle workers")

    def _unfinished(self, people: Sequence[Person]) -> bool:
        ids = [person.subscriber_id for person in people]
        with self.database.read() as session:
            due = session.scalar(
                select(func.count())
                .select_from(CalendarReminder)
                .where(CalendarReminder.subscriber_id.in_(ids), CalendarReminder.fire_at <= now())
            )
            agendas = session.scalar(
                select(func.count())
                .select_from(CalendarSubscriber)
                .where(CalendarSubscriber.id.in_(ids), CalendarSubscriber.next_agenda_at <= now())
            )
            changes = session.scalar(
                select(func.count())
                .select_from(CalendarSnapshot)
                .join(Calendar, Calendar.id == CalendarSnapshot.calendar_id)
                .join(CalendarAccount, CalendarAccount.id == Calendar.account_id)
                .where(CalendarAccount.subscriber_id.in_(ids))
            )
        return bool(due or agendas or changes) or any(row.state in OPEN_STATES for row in self.rows(people))

    def waiting_objects(self) -> bool:
        """Whether any object waits for its expansion."""
        with self.database.read() as session:
            return bool(session.scalar(text("SELECT count(*) FROM calendar_objects WHERE needs_expansion")))

    def _start_from_list(self, name: str) -> subprocess.Popen[bytes]:
        spec = self._specs[name]
        assert isinstance(spec.ready, FileReady)
        spec.ready.reset()
        process = self.start(name, spec.argv, **spec.environment)
        self.wait(spec.ready.is_ready, f"the {name} to be ready", seconds=40)
        return process

    def _guard(self) -> AddressGuard:
        return AddressGuard([f"127.0.0.1:{self.calendars.port}"])

    def _open_calendar_server(self, url: str, login: str, password: str) -> CaldavClient:
        return CaldavClient(url, login, password, guard=self._guard())


def zone_at_noon() -> str:
    """A zone in which it is about noon: no test runs over the end of a local day, and an agenda may be hours late."""
    hours = 12 - now().hour  # east of Greenwich is positive here and negative in the zones' names
    return f"Etc/GMT{-hours:+d}" if hours else "Etc/GMT"
