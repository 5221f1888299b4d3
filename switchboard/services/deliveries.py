"""Sends what stands in the delivery ledger, exactly once as far as the channel allows.

claim (commit) -> render -> SENDING (commit) -> call -> record (commit). No call happens inside a transaction. A sender that
is killed leaves rows whose leases end: CLAIMED ones are sent by another, SENDING ones are looked up first.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import uuid4

from switchboard.db.engine import Database
from switchboard.db.models import DeliveryState
from switchboard.db.repositories.deliveries import ClaimedDelivery, DeliveryRepository, Swept
from switchboard.domain.portions import portions
from switchboard.errors import AuthError, ConfigError, PermanentError, TransientError, UncertainError
from switchboard.logs import get_logger
from switchboard.services.channels.channel import Channel, Obsolete, Postponed, Rendered, Renderer, render_each

SENDING_CHUNK = 25  # rows a killed sender leaves UNCERTAIN at most; one commit each way serves them all
SEND_BUDGET = timedelta(seconds=12)  # below the task's limit: no call begins later than this
LEASE = timedelta(seconds=60)
BACKOFF_FIRST = timedelta(seconds=2)
BACKOFF_LONGEST = timedelta(minutes=10)
CHANNEL_REFUSED_WAIT = timedelta(seconds=60)
LOOK_UPS_A_TASK = 25

log = get_logger(__name__)


@dataclass(slots=True)
class SendReport:
    """What became of a batch; `following` are the deliveries of the same people that may be sent now."""

    sent: int = 0
    deferred: int = 0
    uncertain: int = 0
    dead: int = 0
    expired: int = 0
    following: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OpenWork:
    """What a scan found to queue, by channel: batches of ids to send, and batches of ids to look up."""

    to_send: Mapping[str, list[list[int]]]
    to_look_up: Mapping[str, list[list[int]]]
    swept: Swept


class Deliveries:
    """The ledger's use cases over all channels. `renderers` maps a kind to whoever writes its messages."""

    def __init__(
        self,
        database: Database,
        channels: Mapping[str, Channel],
        renderers: Mapping[str, Renderer],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._channels = channels
        self._renderers = renderers
        self._clock = clock

    def scan_open(self, *, limit: int = 5_000, batch: int = 50) -> OpenWork:
        """End lost leases, expire what came too late, and list what is due: the repair of lost queue messages."""
        now = self._clock()
        settle = max((channel.settle for channel in self._channels.values()), default=timedelta())
        with self._database.write() as session:
            swept = DeliveryRepository(session).sweep(now, settle=settle)
        if swept.uncertain:
            log.warning("deliveries_uncertain", count=swept.uncertain)
        with self._database.read() as session:
            repository = DeliveryRepository(session)
            return OpenWork(
                to_send={
                    name: portions(repository.due_ids(name, DeliveryState.PENDING, now, limit=limit), batch)
                    for name in self._channels
                },
                to_look_up={
                    name: portions(repository.due_ids(name, DeliveryState.UNCERTAIN, now, limit=limit), LOOK_UPS_A_TASK)
                    for name in self._channels
                },
                swept=swept,
            )

    def send(self, channel_name: str, ids: Sequence[int]) -> SendReport:
        """Send those of `ids` that are due and free. Idempotent: a second call finds nothing to claim."""
        channel = self._channel(channel_name)
        stop_at = self._clock() + SEND_BUDGET
        with self._database.write() as session:
            claimed = DeliveryRepository(session).claim(
                channel_name, owner=uuid4().hex, now=self._clock(), lease=LEASE, ids=ids, limit=len(ids)
            )
        report = SendReport()
        for number, chunk in enumerate(portions(claimed, SENDING_CHUNK)):
            if self._clock() >= stop_at:
                self._give_back(claimed[number * SENDING_CHUNK :], report)
                break
            self._send_chunk(channel, chunk, stop_at, report)
        if claimed:
            with self._database.read() as session:
                subjects = sorted({delivery.subject for delivery in claimed})
                report.following = DeliveryRepository(session).following_ids(subjects, self._clock())
        return report

    def look_up(self, channel_name: str, ids: Sequence[int]) -> SendReport:
        """Ask the remote about UNCERTAIN messages: found ones are SENT, absent ones wait to be sent again."""
        channel = self._channel(channel_name)
        stop_at = self._clock() + SEND_BUDGET
        report = SendReport()
        with self._database.write() as session:
            claimed = DeliveryRepository(session).claim(
                channel_name,
                owner=uuid4().hex,
                now=self._clock(),
                lease=LEASE,
                ids=ids,
                limit=len(ids),
                state=DeliveryState.UNCERTAIN,
            )
        for delivery in claimed:
            if self._clock() >= stop_at:
                break  # the claim ends by itself and the next scan goes on
            self._look_up_one(channel, delivery, report)
        return report

    def _channel(self, name: str) -> Channel:
        if name not in self._channels:
            raise ConfigError(f"the channel {name} is not configured: its messages wait")
        return self._channels[name]

    def _send_chunk(
        self, channel: Channel, chunk: Sequence[ClaimedDelivery], stop_at: datetime, report: SendReport
    ) -> None:
        rendered = render_each(self._renderers, chunk, self._clock())
        ready: list[ClaimedDelivery] = []
        with self._database.write() as session:
            repository = DeliveryRepository(session)
            now = self._clock()
            for row in chunk:
                match rendered[row.id]:
                    case Obsolete(reason=reason):
                        repository.record_expired([row], reason=reason, now=now)
                        report.expired += 1
                    case Postponed(until=until, reason=reason):
                        repository.record_postponed([row], until=until, reason=reason)
                        report.deferred += 1
                    case Rendered():
                        ready.append(row)
            ours = repository.begin_sending(ready, now)
        outcome = _Outcome()
        for row in ready:
            if row.id not in ours:
                continue
            result = rendered[row.id]
            if self._clock() >= stop_at or outcome.channel_refused is not None:
                outcome.unsent.append((row, self._clock(), outcome.channel_refused))
            elif isinstance(result, Rendered):
                self._send_one(channel, row, result, outcome)
        self._record(channel, outcome, report)

    def _send_one(self, channel: Channel, row: ClaimedDelivery, rendered: Rendered, outcome: _Outcome) -> None:
        try:
            outcome.sent[row] = channel.send(row, rendered)
        except UncertainError as error:
            outcome.uncertain.append((row, str(error)))
        except TransientError as error:
            outcome.unsent.append((row, self._clock() + _backoff(row.attempts, error.retry_after_s), str(error)))
        except AuthError as error:
            outcome.channel_refused = str(error)
            outcome.unsent.append((row, self._clock() + CHANNEL_REFUSED_WAIT, str(error)))
        except PermanentError as error:
            outcome.dead.append((row, str(error)))

    def _record(self, channel: Channel, outcome: _Outcome, report: SendReport) -> None:
        now = self._clock()
        with self._database.write() as session:
            repository = DeliveryRepository(session)
            report.sent += repository.record_sent(outcome.sent, now)
            for row, next_attempt_at, reason in outcome.unsent:
                repository.record_unsent([row], next_attempt_at=next_attempt_at, reason=reason)
            for row, reason in outcome.uncertain:
                repository.record_uncertain([row], look_at=now + channel.settle, reason=reason)
            for row, reason in outcome.dead:
                repository.record_dead([row], reason=reason, now=now)
        report.deferred += len(outcome.unsent)
        report.uncertain += len(outcome.uncertain)
        report.dead += len(outcome.dead)
        for row, reason in (*outcome.dead, *outcome.uncertain):
            log.warning("delivery_failed", delivery_id=row.id, kind=row.kind, reason=reason)

    def _give_back(self, claimed: Sequence[ClaimedDelivery], report: SendReport) -> None:
        with self._database.write() as session:
            DeliveryRepository(session).record_unsent(claimed, next_attempt_at=self._clock(), reason=None)
        report.deferred += len(claimed)

    def _look_up_one(self, channel: Channel, row: ClaimedDelivery, report: SendReport) -> None:
        try:
            remote_id = channel.find(row)
        except (TransientError, PermanentError) as error:
            later = self._clock() + _backoff(row.attempts + 3, getattr(error, "retry_after_s", None))
            with self._database.write() as session:
                DeliveryRepository(session).record_uncertain([row], look_at=later, reason=f"not looked up yet: {error}")
            report.uncertain += 1
            return
        now = self._clock()
        with self._database.write() as session:
            repository = DeliveryRepository(session)
            if remote_id is not None:
                report.sent += repository.record_sent({row: remote_id}, now)
            elif row.expires_at is not None and row.expires_at <= now:
                repository.record_expired([row], reason="was not sent in time", now=now)
                report.expired += 1
            else:
                repository.record_unsent([row], next_attempt_at=now, reason="looked up: it had not arrived")
                report.following.append(row.id)


@dataclass(slots=True)
class _Outcome:
    """Results of a chunk of calls, recorded together."""

    sent: dict[ClaimedDelivery, str] = field(default_factory=dict)
    unsent: list[tuple[ClaimedDelivery, datetime, str | None]] = field(default_factory=list)
    uncertain: list[tuple[ClaimedDelivery, str]] = field(default_factory=list)
    dead: list[tuple[ClaimedDelivery, str]] = field(default_factory=list)
    channel_refused: str | None = None


def _backoff(attempts: int, retry_after_s: float | None) -> timedelta:
    """Exponential with full jitter in its upper half, never earlier than the remote asked."""
    longest = min(BACKOFF_LONGEST, BACKOFF_FIRST * (1 << min(attempts, 12)))
    wait = longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
    return max(wait, timedelta(seconds=retry_after_s or 0))
