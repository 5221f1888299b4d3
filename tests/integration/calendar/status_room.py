"""Anna at a Mattermost twin whose clock is the test's, with a calendar and the services that set her status."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.mattermost import MattermostTwin
from sandbox.mattermost.model import Json
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.mattermost import MattermostClient, MattermostUser
from switchboard.crypto import SecretBox
from switchboard.db.models import CalendarObject, CalendarStatus
from switchboard.db.repositories.statuses import wake_account
from switchboard.domain.custom_status import CustomStatus
from switchboard.services.calendar.accounts import CalendarAccounts, Person, SubscriberSettings
from switchboard.services.calendar.statuses import Statuses
from tests.integration.calendar.household import NOW, Household, meeting

PUTS = {"method": "PUT", "path": "/api/v4/users/*/status/custom"}
READS = {"method": "GET", "path": "/api/v4/users/*"}
VACATION = {"emoji": "palm_tree", "text": "Vacation"}
HAND = {"emoji": "fire", "text": "Leave me alone"}


class Nobody:
    def find(self, username_or_id: str) -> Person | None:
        return None


class KilledError(Exception):
    """The process ends here."""


class Counting:
    """The real client; counts its calls, and may die or lose time at one of them."""

    def __init__(self, client: MattermostClient) -> None:
        self.client = client
        self.calls: list[str] = []
        self.dies_at: tuple[str, str] | None = None  # (call, before | after)

    def user(self, user_id: str) -> MattermostUser:
        found: MattermostUser = self._call("read", lambda: self.client.user(user_id))
        return found

    def set_custom_status(self, user_id: str, status: CustomStatus) -> None:
        self._call("set", lambda: self.client.set_custom_status(user_id, status))

    def clear_custom_status(self, user_id: str) -> None:
        self._call("clear", lambda: self.client.clear_custom_status(user_id))

    def _call(self, name: str, work: Any) -> Any:
        if self.dies_at == (name, "before"):
            raise KilledError
        self.calls.append(name)
        found = work()
        if self.dies_at == (name, "after"):
            raise KilledError
        return found


class Room:
    """Anna at a twin whose clock is ours, with one calendar; both services over one database."""

    def __init__(self, household: Household, twin: MattermostTwin) -> None:
        self.household, self.twin, self.clock = household, twin, household.clock
        self.server = Counting(MattermostClient(twin.url, twin.bot_token))
        self.statuses = Statuses(household.database, self.server, self.clock)
        box = SecretBox(["k" * 32])
        self.accounts = CalendarAccounts(
            household.database, lambda *_: pytest.fail("no server is asked"), box, Nobody(), AddressGuard(), self.clock
        )
        self.anna = household.person(twin.user_id("anna"))
        self.calendar = household.calendar(self.anna)
        self.switch(on=True)

    def switch(self, *, on: bool) -> None:
        self.accounts.configure(self.anna.id, SubscriberSettings(status_enabled=on), actor="test")

    def meets(self, begin: float, end: float, *lines: str, uid: str = "plan") -> None:
        """A meeting from minute to minute after NOW; the same uid again moves it."""
        start = NOW + timedelta(minutes=begin)
        raw = meeting(uid, start, *lines, minutes=int(end - begin))
        self.household.expand_all(self.calendar, raw, href=f"/{uid}.ics")

    def cancel(self, uid: str = "plan") -> None:
        """As a poll removes an object."""
        with self.household.database.write() as session:
            found = select(CalendarObject).where(CalendarObject.href == f"/{uid}.ics")
            session.delete(session.scalars(found).one())
            wake_account(session, self.calendar.account_id, self.clock())

    def at(self, minute: float) -> int:
        """The tick at that minute after NOW; how many statuses were written."""
        self.clock.now = NOW + timedelta(minutes=minute)
        return self.tick()

    def tick(self) -> int:
        return sum(self.statuses.reconcile(claims) for claims in self.statuses.claim_due())

    @property
    def shown(self) -> str | None:
        """What the clients show beside the name."""
        kept = self.kept
        if kept is None:
            return None
        return None if CustomStatus.from_json(kept).is_over(self.clock()) else str(kept["text"])

    @property
    def kept(self) -> Json | None:
        return self.twin.custom_status_of("anna")

    @property
    def rows(self) -> list[CalendarStatus]:
        with self.household.database.read() as session:
            return list(session.scalars(select(CalendarStatus)))
