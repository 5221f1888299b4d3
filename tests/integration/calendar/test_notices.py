"""Notices about accounts and calendars, on both databases."""

from __future__ import annotations

import pytest

from switchboard.db.models import Calendar, CalendarAccount, CalendarSubscriber
from switchboard.services.calendar.notices import USEFUL_FOR
from tests.integration.calendar.household import Household
from tests.servers import ANY_DATABASE


def tell(household: Household, notice: str, account_id: int, calendar_id: int = 0) -> None:
    """As a poll does: in the transaction of what is told of."""
    with household.database.write() as session:
        account = session.get_one(CalendarAccount, account_id)
        calendar = session.get_one(Calendar, calendar_id) if calendar_id else None
        if calendar is None:
            account.state = "paused"
            household.notices.account_paused(session, account, household.clock())
        elif notice == "lost":
            calendar.state = "lost"
            household.notices.calendar_lost(session, account, calendar, household.clock())
        else:
            calendar.state = "active"
            household.notices.calendar_back(session, account, calendar, household.clock())


@pytest.fixture
def calendar(household: Household) -> Calendar:
    return household.calendar(household.person("anna", locale="ru", agenda_enabled=False))


@ANY_DATABASE
def test_the_owner_reads_once_and_in_their_language_that_the_account_is_paused(
    household: Household, calendar: Calendar
) -> None:
    tell(household, "paused", calendar.account_id)
    (post,) = household.tick()
    assert post.user == "anna"
    assert "приостановлен" in post.text
    assert "/yandex-calendar connections update" in post.text
    household.clock.forward(days=1)
    assert household.tick() == []


def test_a_lost_calendar_and_its_return_are_told_each(household: Household, calendar: Calendar) -> None:
    tell(household, "lost", calendar.account_id, calendar.id)
    (lost,) = household.tick()
    assert "Work" in lost.text
    household.clock.forward(days=1)
    tell(household, "back", calendar.account_id, calendar.id)
    assert len(household.tick()) == 1
    household.clock.forward(days=1)
    tell(household, "lost", calendar.account_id, calendar.id)
    assert len(household.tick()) == 1


def test_a_notice_whose_transaction_fails_is_not_told(household: Household, calendar: Calendar) -> None:
    with household.database.write() as session:
        account = session.get_one(CalendarAccount, calendar.account_id)
        household.notices.account_paused(session, account, household.clock())
        session.rollback()
    assert household.tick() == []


@ANY_DATABASE
@pytest.mark.parametrize(
    ("notice", "meanwhile", "reason"),
    [
        ("paused", "resumed", "the account works again"),
        ("paused", "disconnected", "the account was disconnected"),
        ("lost", "back", "the calendar's state has changed again"),
        ("lost", "unwatched", "the calendar is not watched any more"),
        ("lost", "deleted", "the calendar is not watched any more"),
        ("back", "lost", "the calendar's state has changed again"),
    ],
)
def test_what_is_not_so_any_more_is_not_told(
    household: Household, calendar: Calendar, notice: str, meanwhile: str, reason: str
) -> None:
    tell(household, notice, calendar.account_id, 0 if notice == "paused" else calendar.id)
    if meanwhile == "resumed":
        household.set(CalendarAccount, calendar.account_id, state="active")
    elif meanwhile == "unwatched":
        household.set(Calendar, calendar.id, watched=False)
    elif meanwhile in {"disconnected", "deleted"}:
        household.delete(
            *((CalendarAccount, calendar.account_id) if meanwhile == "disconnected" else (Calendar, calendar.id))
        )
    else:
        household.set(Calendar, calendar.id, state="lost" if meanwhile == "lost" else "active")
    assert household.tick() == []
    assert household.reasons() == [reason]


def test_a_notice_that_could_not_be_sent_for_a_week_expires(household: Household, calendar: Calendar) -> None:
    tell(household, "paused", calendar.account_id)
    household.clock.now += USEFUL_FOR
    assert household.tick() == []
    assert household.ledger() == {"EXPIRED": 1}


def test_a_disconnected_person_is_told_nothing(household: Household, calendar: Calendar) -> None:
    tell(household, "paused", calendar.account_id)
    household.delete(CalendarSubscriber, 1)
    assert household.tick() == []
