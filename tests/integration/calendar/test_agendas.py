"""The daily agenda from stored objects to posts, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from switchboard.db.models import CalendarSubscriber
from switchboard.errors import NotFoundError
from switchboard.services.calendar.agendas import schedule_next
from tests.integration.calendar.household import NOW, Household, ics, meeting
from tests.servers import ANY_DATABASE

BERLIN = ZoneInfo("Europe/Berlin")
AT_EIGHT = datetime(2026, 3, 3, 7, 0, tzinfo=UTC)  # 08:00 in Berlin, the day after NOW


def change(household: Household, person: CalendarSubscriber, **values: Any) -> CalendarSubscriber:
    """As the accounts service does."""
    with household.database.write() as session:
        subscriber = session.get_one(CalendarSubscriber, person.id)
        for name, value in values.items():
            setattr(subscriber, name, value)
        schedule_next(subscriber, household.clock())
        return subscriber


def test_the_agenda_comes_at_its_wall_time_and_once_that_day(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", datetime(2026, 3, 3, 9, 0, tzinfo=UTC)))
    household.clock.now = AT_EIGHT - timedelta(seconds=1)
    assert household.tick() == []
    household.clock.now = AT_EIGHT
    (post,) = household.tick()
    assert "Tuesday, March 3: 1 meeting" in post.text
    assert "**10:00–11:00** Plan" in post.text
    for _ in range(3):
        household.clock.forward(minutes=20)
        assert household.tick() == []


@pytest.mark.parametrize(
    ("zone", "first", "at"),
    [
        ("Europe/Berlin", date(2026, 3, 27), time(2, 30)),  # 02:30 is skipped on 29 March
        ("Europe/Berlin", date(2026, 10, 23), time(2, 30)),  # comes twice on 25 October
        ("Asia/Beirut", date(2026, 3, 27), time(0, 0)),  # midnight is skipped
        ("Africa/Cairo", date(2026, 4, 22), time(0, 15)),
        ("Australia/Lord_Howe", date(2026, 4, 3), time(1, 45)),  # the clock goes back by half an hour
        ("Asia/Kathmandu", date(2026, 3, 27), time(7, 45)),
        ("Pacific/Apia", date(2026, 3, 27), time(23, 45)),
    ],
)
def test_every_local_day_has_one_agenda_whatever_the_clocks_do(
    household: Household, zone: str, first: date, at: time
) -> None:
    household.clock.now = datetime.combine(first, time(12), tzinfo=ZoneInfo(zone)).astimezone(UTC)
    person = household.person("anna", zone=zone, agenda_time=at)
    sent: list[datetime] = []
    for _ in range(5):
        due = household.subscriber(person).next_agenda_at
        assert due is not None
        for before_or_after in (-1, 0, 60, 3600):  # a time that comes twice comes again after an hour
            household.clock.now = due + timedelta(seconds=before_or_after)
            sent += [household.clock() for _post in household.tick()]
    local = [moment.astimezone(ZoneInfo(zone)) for moment in sent]
    assert len({moment.date() for moment in local}) == len(local) == 5
    shifted = [moment for moment in local if moment.time() != at]
    assert len(shifted) <= 1


@ANY_DATABASE
def test_only_chosen_weekdays_have_an_agenda(household: Household) -> None:
    household.person("anna", weekdays=[1, 5])
    days = []
    for number in range(1, 15):
        household.clock.now = NOW + timedelta(days=number)
        days += [household.clock().isoweekday() for _post in household.tick()]
    assert days == [5, 1, 5, 1]


@pytest.mark.parametrize(("late", "posts"), [(timedelta(hours=4, seconds=-1), 1), (timedelta(hours=4, seconds=1), 0)])
def test_a_late_agenda_is_sent_for_four_hours(household: Household, late: timedelta, posts: int) -> None:
    household.person("anna")
    household.clock.now = AT_EIGHT + late
    assert len(household.tick()) == posts


def test_a_late_agenda_is_not_sent_on_the_next_local_day(household: Household) -> None:
    household.person("anna", agenda_time=time(23, 0))
    household.clock.now = datetime(2026, 3, 2, 23, 30, tzinfo=UTC)  # 00:30 in Berlin
    assert household.tick() == []


def test_after_days_of_downtime_only_todays_agenda_is_sent(household: Household) -> None:
    anna = household.person("anna")
    household.clock.now = AT_EIGHT + timedelta(days=3, minutes=40)
    (post,) = household.tick()
    assert "March 6" in post.text
    assert household.subscriber(anna).next_agenda_date == date(2026, 3, 7)
    assert household.tick() == []


def test_after_days_of_downtime_todays_agenda_that_is_still_to_come_is_waited_for(household: Household) -> None:
    household.person("anna")
    household.clock.now = AT_EIGHT + timedelta(days=3, minutes=-40)
    assert household.tick() == []
    household.clock.forward(minutes=40)
    assert len(household.tick()) == 1


def test_an_agenda_held_up_in_the_ledger_expires_with_its_day(household: Household) -> None:
    household.person("anna", agenda_time=time(23, 0))
    household.clock.now = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
    (claimed,) = household.agendas.claim_due()
    household.clock.forward(hours=1)
    assert household.deliveries.send("mattermost", claimed).expired == 1
    assert household.reasons() == ["another day had begun"]


@pytest.mark.parametrize("new_time", [time(9, 0), time(12, 0)])
def test_a_later_time_chosen_on_the_same_day_sends_no_second_agenda(household: Household, new_time: time) -> None:
    anna = household.person("anna")
    household.clock.now = AT_EIGHT
    assert len(household.tick()) == 1
    household.clock.forward(minutes=5)
    change(household, anna, agenda_time=new_time)
    household.clock.now = datetime.combine(date(2026, 3, 3), new_time, tzinfo=BERLIN).astimezone(UTC)
    assert household.tick() == []
    household.clock.forward(days=1)
    assert len(household.tick()) == 1


def test_settings_changed_between_the_time_and_the_scan_lose_no_agenda(household: Household) -> None:
    anna = household.person("anna")
    household.clock.now = AT_EIGHT + timedelta(seconds=5)
    change(household, anna, locale="ru")
    assert len(household.tick()) == 1


def test_an_agenda_switched_off_is_neither_scheduled_nor_sent(household: Household) -> None:
    anna = household.person("anna")
    household.clock.now = AT_EIGHT
    (claimed,) = household.agendas.claim_due()
    assert change(household, anna, agenda_enabled=False).next_agenda_at is None
    assert household.deliveries.send("mattermost", claimed).expired == 1
    assert change(household, anna, agenda_enabled=True, weekdays=[]).next_agenda_at is None
    household.clock.forward(days=1)
    assert household.tick() == []


@ANY_DATABASE
@pytest.mark.parametrize(("on_empty_days", "texts"), [(True, ["Tuesday, March 3: no meetings"]), (False, [])])
def test_an_empty_day_is_one_line_that_can_be_switched_off(
    household: Household, on_empty_days: bool, texts: list[str]
) -> None:
    anna = household.person("anna", agenda_on_empty_days=on_empty_days)
    household.expand_all(
        household.calendar(anna),
        meeting("No", AT_EIGHT, "ATTENDEE;PARTSTAT=DECLINED:mailto:anna@example.org"),
        meeting("Off", AT_EIGHT, "STATUS:CANCELLED"),
        meeting("Tomorrow", AT_EIGHT + timedelta(days=1)),
    )
    household.clock.now = AT_EIGHT
    assert [post.text for post in household.tick()] == texts


def test_the_agenda_holds_the_local_day_over_all_watched_calendars(household: Household) -> None:
    anna = household.person("anna", locale="uk")
    account = household.account(anna)
    both = meeting("Both", AT_EIGHT + timedelta(hours=1))
    household.expand_all(
        household.calendar(anna, account),
        both,
        ics("UID:fair\nDTSTART;VALUE=DATE:20260303\nSUMMARY:Fair"),
        meeting("Late", datetime(2026, 3, 3, 22, 30, tzinfo=UTC)),
        meeting("Next day", datetime(2026, 3, 3, 23, 0, tzinfo=UTC)),
    )
    household.expand_all(household.calendar(anna, account), both)
    household.expand_all(household.calendar(household.person("boris")), meeting("Of Boris", AT_EIGHT))
    household.clock.now = AT_EIGHT
    (post,) = [post for post in household.tick() if post.user == "anna"]
    assert "3 зустрічі" in post.text
    meetings = [line for line in post.text.splitlines() if line.startswith("- ")]
    assert [line.split("** ")[1] for line in meetings] == ["Fair", "Both", "Late"]


def free_lines(household: Household) -> list[str]:
    """The lines about free time in what is sent now."""
    return [line for post in household.tick() for line in post.text.splitlines() if "Free" in line or "Вільно" in line]


@ANY_DATABASE
def test_the_agenda_names_the_free_gaps_of_the_working_day(household: Household) -> None:
    anna = household.person("anna", work_from=time(9, 30), work_until=time(17))
    calendar = household.calendar(anna)
    household.expand_all(
        calendar,
        meeting("Plan", datetime(2026, 3, 3, 9, 0, tzinfo=UTC)),
        meeting("Talk", datetime(2026, 3, 3, 10, 15, tzinfo=UTC)),
        meeting("Free", datetime(2026, 3, 3, 13, 0, tzinfo=UTC), "TRANSP:TRANSPARENT"),
        meeting("No", datetime(2026, 3, 3, 14, 0, tzinfo=UTC), "ATTENDEE;PARTSTAT=DECLINED:mailto:anna@example.org"),
    )
    household.clock.now = AT_EIGHT
    assert free_lines(household) == ["Free: 09:30–10:00, 12:15–17:00", "- **14:00–15:00** Free"]


@ANY_DATABASE
def test_nothing_is_free_by_name_without_gaps_meetings_or_working_hours(household: Household) -> None:
    boris, clara = (household.person(name, work_from=time(10), work_until=time(11)) for name in ("boris", "clara"))
    household.expand_all(household.calendar(boris), meeting("Plan", AT_EIGHT + timedelta(hours=2)))
    household.expand_all(household.calendar(clara), ics("UID:fair\nDTSTART;VALUE=DATE:20260303\nSUMMARY:Fair"))
    dora = household.person("dora")
    household.expand_all(household.calendar(dora), meeting("Plan", AT_EIGHT + timedelta(hours=2)))
    change(household, dora, work_from=None, work_until=None)
    household.person("emil")
    household.clock.now = AT_EIGHT
    assert free_lines(household) == []


@ANY_DATABASE
def test_an_agenda_that_comes_late_names_no_gap_that_is_over(household: Household) -> None:
    anna = household.person("anna", locale="uk")
    household.expand_all(household.calendar(anna), meeting("Plan", AT_EIGHT + timedelta(hours=2)))
    household.clock.now = AT_EIGHT + timedelta(hours=2)
    assert free_lines(household) == ["Вільно: 11:00–18:00"]


def test_todays_agenda_can_be_asked_for_and_is_still_sent_once(household: Household) -> None:
    anna = household.person("anna")
    household.agendas.send_today(anna.id)
    assert len(household.tick()) == 1
    household.agendas.send_today(anna.id)
    assert household.tick() == []
    assert household.subscriber(anna).next_agenda_at == AT_EIGHT


@ANY_DATABASE
def test_a_preview_shows_a_day_and_sends_nothing(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", AT_EIGHT))
    assert "Plan" in household.agendas.preview(anna.id, AT_EIGHT)
    assert household.ledger() == {}


@ANY_DATABASE
def test_an_unknown_person_is_a_clear_error(household: Household) -> None:
    for ask in (lambda: household.agendas.preview(7, NOW), lambda: household.agendas.send_today(7)):
        with pytest.raises(NotFoundError, match="no calendar user 7"):
            ask()


def test_each_person_has_an_agenda_however_many_scans_run(household: Household) -> None:
    for number in range(30):
        household.person(f"p{number}")
    household.clock.now = AT_EIGHT
    found = [delivery for _ in range(5) for batch in household.agendas.claim_due(limit=10) for delivery in batch]
    assert len(found) == len(set(found)) == 30
