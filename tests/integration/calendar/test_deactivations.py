"""People who are deactivated in Mattermost, on both databases: nothing is polled or sent, and nothing they chose is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, update

from sandbox.mattermost import MattermostTwin
from switchboard.clients.mattermost import MattermostClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import AuditEntry, CalendarAccount, CalendarSnapshot, CalendarStatus
from switchboard.db.repositories import statuses
from switchboard.db.repositories.snapshots import subscribers_with_changes
from switchboard.services.calendar.deactivations import PEOPLE_A_CALL, REASON, Deactivations
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling
from switchboard.services.people import MattermostPeople
from tests.integration.calendar.household import NOW, Household, meeting
from tests.servers import ANY_DATABASE


class Register:
    """What Mattermost says of each person; who is not in it is unknown there."""

    def __init__(self) -> None:
        self.deactivated_people: dict[str, bool] = {}
        self.calls: list[int] = []

    def deactivated(self, user_ids: Sequence[str]) -> Mapping[str, bool]:
        self.calls.append(len(user_ids))
        return {user_id: self.deactivated_people[user_id] for user_id in user_ids if user_id in self.deactivated_people}


class Office:
    """Anna with a meeting tomorrow at nine in Berlin, and all that works for her."""

    def __init__(self, household: Household) -> None:
        self.household = household
        self.register = Register()
        self.deactivations = Deactivations(household.database, self.register, household.clock)
        self.anna = household.person("anna", minutes=(10,))
        self.calendar = household.calendar(self.anna)
        household.expand_all(self.calendar, meeting("nine", NOW + timedelta(hours=23)), href="/nine.ics")

    def mattermost_says(self, *, deactivated: bool) -> int:
        self.register.deactivated_people["anna"] = deactivated
        return self.deactivations.follow()

    def account(self) -> CalendarAccount:
        with self.household.database.read() as session:
            return session.get_one(CalendarAccount, self.calendar.account_id)

    def polls(self) -> list[int]:
        """The accounts that a scan claims."""

        def nobody(_url: str, _login: str, _password: str) -> None:
            raise AssertionError("no server is asked")

        box, database = SecretBox(["k" * 32]), self.household.database
        polling = CalendarPolling(
            database,
            nobody,  # type: ignore[arg-type]
            box,
            CalendarNotices(database),
            self.household.clock,
            poll_period_s=120,
        )
        return polling.claim_due()


@pytest.fixture
def office(household: Household) -> Office:
    return Office(household)


def test_nothing_is_polled_and_nothing_sent_while_a_person_is_deactivated(office: Office) -> None:
    assert office.mattermost_says(deactivated=False) == 0
    assert office.mattermost_says(deactivated=True) == 1
    assert (office.account().state, office.account().reason) == ("paused", REASON)
    assert office.polls() == []
    office.household.clock.forward(days=2)
    assert office.household.tick() == []
    assert office.household.ledger() == {}
    assert office.mattermost_says(deactivated=True) == 0


def test_everything_goes_on_by_itself_with_the_old_settings_when_the_person_is_back(office: Office) -> None:
    before = office.household.subscriber(office.anna)
    armed = office.household.armed()
    office.mattermost_says(deactivated=True)
    assert office.household.armed() == []
    assert office.mattermost_says(deactivated=False) == 1
    after = office.household.subscriber(office.anna)
    assert (after.next_agenda_at, after.reminder_minutes, after.zone) == (
        before.next_agenda_at,
        before.reminder_minutes,
        before.zone,
    )
    assert office.household.armed() == armed
    assert (office.account().state, office.account().reason) == ("active", None)
    assert office.polls() == [office.calendar.account_id]
    office.household.clock.forward(hours=22, minutes=50)
    assert [post.user for post in office.household.tick()] == ["anna", "anna"]  # the agenda and the reminder


def test_what_waits_in_the_ledger_is_given_up(office: Office) -> None:
    office.household.clock.forward(hours=22, minutes=50)
    assert len(office.household.claimed()) == 1
    office.mattermost_says(deactivated=True)
    assert office.household.tick() == []
    assert office.household.ledger() == {"EXPIRED": 1}
    assert office.household.reasons() == [REASON]


def test_a_meeting_that_is_expanded_meanwhile_is_not_reminded_of(office: Office) -> None:
    office.mattermost_says(deactivated=True)
    office.household.put_again(office.calendar)
    office.household.expand(office.calendar)
    assert office.household.armed() == []


def test_changes_that_nobody_was_told_of_wait_for_the_person(office: Office) -> None:
    now = office.household.clock()
    with office.household.database.write() as session:
        session.add(
            CalendarSnapshot(calendar_id=office.calendar.id, href="/gone.ics", before=[], known=True, taken_at=now)
        )

    def waiting() -> list[int]:
        with office.household.database.read() as session:
            return subscribers_with_changes(session, now, 10)

    assert waiting() == [office.anna.id]
    office.mattermost_says(deactivated=True)
    assert waiting() == []
    office.mattermost_says(deactivated=False)
    assert waiting() == [office.anna.id]


def test_an_account_whose_password_was_refused_stays_paused_for_that(office: Office) -> None:
    refused = {"state": "paused", "reason": "the password", "auth_failures": 3}
    office.household.set(CalendarAccount, office.calendar.account_id, **refused)
    assert office.mattermost_says(deactivated=True) == 1
    assert office.mattermost_says(deactivated=True) == 0
    assert office.account().reason == "the password"
    office.mattermost_says(deactivated=False)
    assert (office.account().state, office.account().reason) == ("paused", "the password")


def test_an_account_that_somebody_resumed_is_paused_again(office: Office) -> None:
    office.mattermost_says(deactivated=True)
    office.household.set(CalendarAccount, office.calendar.account_id, state="active", reason=None)
    assert office.mattermost_says(deactivated=True) == 1
    assert office.account().state == "paused"


def test_the_status_of_a_person_who_is_back_is_looked_at_again(office: Office) -> None:
    with office.household.database.write() as session:
        statuses.want(session, "anna", NOW)

    def due_at() -> datetime | None:
        with office.household.database.read() as session:
            return session.scalar(select(CalendarStatus.due_at))

    office.mattermost_says(deactivated=True)
    with office.household.database.write() as session:
        session.execute(update(CalendarStatus).values(due_at=NOW + timedelta(days=1)))
    office.mattermost_says(deactivated=False)
    assert due_at() == NOW


@ANY_DATABASE
def test_who_is_unknown_to_mattermost_is_left_alone_and_each_call_asks_for_many(office: Office) -> None:
    for number in range(PEOPLE_A_CALL):
        office.household.person(f"person-{number}")
    assert office.deactivations.follow() == 0
    assert office.register.calls == [PEOPLE_A_CALL, 1]
    assert office.account().state == "active"


def test_each_change_stands_in_the_audit_log(office: Office) -> None:
    office.mattermost_says(deactivated=True)
    office.mattermost_says(deactivated=False)
    with office.household.database.read() as session:
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
    assert actions == ["calendar_subscriber.deactivated", "calendar_subscriber.activated"]


@ANY_DATABASE
def test_mattermost_is_asked_who_is_deactivated(database: Database) -> None:
    household = Household(database)
    with MattermostTwin.running() as twin:
        people = {name: household.person(twin.user_id(name)) for name in ("anna", "boris")}
        deactivations = Deactivations(
            database, MattermostPeople(MattermostClient(twin.url, twin.bot_token)), household.clock
        )
        twin.deactivate("boris")
        assert deactivations.follow() == 1
        assert household.subscriber(people["boris"]).deactivated_at == NOW
        assert household.subscriber(people["anna"]).deactivated_at is None
        twin.activate("boris")
        assert deactivations.follow() == 1
        assert household.subscriber(people["boris"]).deactivated_at is None
