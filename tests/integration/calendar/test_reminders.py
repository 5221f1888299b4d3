"""Reminders from stored objects to posts, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from switchboard.db.engine import Database
from switchboard.db.models import CalendarObject, CalendarOccurrence, CalendarSubscriber, Delivery
from switchboard.services.calendar.expansion import rearm
from switchboard.services.calendar.reminders import Reminders
from tests.integration.calendar.household import NOW, Household, Post, ics, meeting
from tests.servers import ANY_DATABASE

IN_AN_HOUR = NOW + timedelta(hours=1)


def at_once(count: int, work: Callable[[], object]) -> None:
    """Run `work` in `count` threads that begin together; their errors fail the test."""
    start = threading.Barrier(count)
    failures: list[BaseException] = []

    def run() -> None:
        start.wait()
        try:
            work()
        except BaseException as failure:  # noqa: BLE001  handed over to the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures


def test_a_reminder_comes_at_its_minute_once_with_the_joining_link(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR, "URL:https://meet.example.org/1"))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10, seconds=1)
    assert household.tick() == []
    household.clock.forward(seconds=1)
    (post,) = household.tick()
    assert post.user == "anna"
    assert "In 10 minutes: Plan" in post.text
    assert "https://meet.example.org/1" in post.text
    for _ in range(3):
        household.clock.forward(seconds=15)
        assert household.tick() == []
    assert household.armed() == []


def test_a_reminder_is_claimed_once_by_however_many_claimers_at_once(household: Household) -> None:
    anna = household.person("anna", minutes=(15, 10, 5))
    first, second = household.calendar(anna), household.calendar(anna)
    for number in range(40):
        start = IN_AN_HOUR + timedelta(seconds=number)
        household.put(first, meeting(f"m{number}", start))
        household.put(second, meeting(f"m{number}", start))
    household.expand(first)
    household.expand(second)
    household.clock.now = IN_AN_HOUR - timedelta(minutes=4)
    found: list[int] = []

    def claim() -> None:
        for _ in range(3):
            for batch in Reminders(household.database, household.clock).claim_due(limit=17):
                found.extend(batch)

    at_once(4, claim)
    found.extend(household.claimed())
    assert len(found) == len(set(found)) == 40
    with household.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 40
        assert {body["minutes"] for body in session.scalars(select(Delivery.body)) if body} == {5}
    assert household.armed() == []


def test_a_meeting_in_two_watched_calendars_reminds_once(household: Household) -> None:
    anna = household.person("anna")
    account = household.account(anna)
    for calendar in (household.calendar(anna, account), household.calendar(anna, account), household.calendar(anna)):
        household.expand_all(calendar, meeting("Plan", IN_AN_HOUR))
    assert len(household.armed()) == 3
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    assert len(household.tick()) == 1


def test_colleagues_in_one_meeting_are_each_reminded(household: Household) -> None:
    for name in ("anna", "boris"):
        household.expand_all(household.calendar(household.person(name)), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    assert sorted(post.user for post in household.tick()) == ["anna", "boris"]


def test_a_moved_meeting_reminds_at_its_new_time_and_not_at_the_old(household: Household) -> None:
    calendar = household.calendar(household.person("anna"))
    household.expand_all(calendar, meeting("Plan", IN_AN_HOUR), href="/plan")
    later = IN_AN_HOUR + timedelta(hours=2)
    household.expand_all(calendar, meeting("Plan", later), href="/plan")
    assert household.armed() == [(10, later - timedelta(minutes=10))]
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    assert household.tick() == []
    household.clock.now = later - timedelta(minutes=10)
    assert len(household.tick()) == 1


def test_a_meeting_moved_after_its_reminder_reminds_again(household: Household) -> None:
    calendar = household.calendar(household.person("anna"))
    household.expand_all(calendar, meeting("Plan", IN_AN_HOUR), href="/plan")
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    assert len(household.tick()) == 1
    household.expand_all(calendar, meeting("Plan", IN_AN_HOUR + timedelta(minutes=30)), href="/plan")
    assert household.tick() == []
    household.clock.forward(minutes=30)
    assert len(household.tick()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        meeting("Plan", IN_AN_HOUR + timedelta(hours=3)),
        meeting("Plan", IN_AN_HOUR, "STATUS:CANCELLED"),
        meeting("Plan", IN_AN_HOUR, "ATTENDEE;PARTSTAT=DECLINED:mailto:anna@example.org"),
        None,
    ],
    ids=["moved", "cancelled", "declined", "deleted"],
)
def test_a_reminder_in_the_ledger_is_not_sent_for_a_meeting_that_is_no_more(
    household: Household, changed: bytes | None
) -> None:
    calendar = household.calendar(household.person("anna"))
    object_id = household.put(calendar, meeting("Plan", IN_AN_HOUR), href="/plan")
    household.expand(calendar)
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    claimed = household.claimed()
    assert len(claimed) == 1
    if changed is None:
        household.delete(CalendarObject, object_id)
    else:
        household.expand_all(calendar, changed, href="/plan")
    assert household.deliveries.send("mattermost", claimed).expired == 1
    assert household.channel.posts == []
    assert household.reasons() == ["the meeting was moved, cancelled or declined"]


@ANY_DATABASE
@pytest.mark.parametrize(
    "body",
    [
        meeting("Plan", IN_AN_HOUR, "STATUS:CANCELLED"),
        meeting("Plan", IN_AN_HOUR, "ATTENDEE;PARTSTAT=DECLINED:mailto:Anna@Example.org"),
        ics("UID:Plan\nDTSTART;VALUE=DATE:20260303\nSUMMARY:Plan"),
    ],
    ids=["cancelled", "declined", "all-day"],
)
def test_cancelled_declined_and_all_day_meetings_remind_nobody(household: Household, body: bytes) -> None:
    household.expand_all(household.calendar(household.person("anna", minutes=(10, 600))), body)
    assert household.armed() == []


def test_a_meeting_made_within_its_minutes_reminds_at_once_with_the_true_time(household: Household) -> None:
    calendar = household.calendar(household.person("anna"))
    household.expand_all(calendar, meeting("Plan", NOW + timedelta(minutes=7)))
    (post,) = household.tick()
    assert "In 7 minutes: Plan" in post.text
    household.clock.forward(minutes=5)
    assert household.tick() == []


def test_after_a_downtime_one_reminder_stands_for_all_of_a_meeting(household: Household) -> None:
    household.expand_all(
        household.calendar(household.person("anna", minutes=(30, 20, 10))), meeting("Plan", IN_AN_HOUR)
    )
    household.clock.now = IN_AN_HOUR - timedelta(minutes=3)
    (post,) = household.tick()
    assert "In 3 minutes: Plan" in post.text
    assert household.armed() == []


def test_one_reminder_stands_for_all_even_where_a_scan_takes_only_some(household: Household) -> None:
    calendar = household.calendar(household.person("anna", minutes=(30, 20, 10)))
    household.expand_all(calendar, meeting("Plan", IN_AN_HOUR), meeting("Talk", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=3)
    found = [household.reminders.claim_due(limit=1) for _ in range(4)]
    assert [sum(map(len, batches)) for batches in found] == [1, 1, 0, 0]


@ANY_DATABASE
def test_each_minute_of_the_list_reminds_in_its_turn(household: Household) -> None:
    household.expand_all(household.calendar(household.person("anna", minutes=(30, 10))), meeting("Plan", IN_AN_HOUR))
    texts = []
    for left in (30, 10):
        household.clock.now = IN_AN_HOUR - timedelta(minutes=left)
        texts += [post.text.splitlines()[0] for post in household.tick()]
    assert texts == ["**In 30 minutes: Plan**", "**In 10 minutes: Plan**"]


def test_no_reminder_is_sent_or_entered_once_the_meeting_has_begun(household: Household) -> None:
    household.expand_all(household.calendar(household.person("anna")), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR
    assert household.tick() == []
    assert household.ledger() == {}
    assert household.armed() == []


def test_a_reminder_that_waits_in_the_ledger_until_the_meeting_begins_expires(household: Household) -> None:
    household.expand_all(household.calendar(household.person("anna")), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    claimed = household.claimed()
    household.clock.now = IN_AN_HOUR
    household.deliveries.send("mattermost", claimed)
    household.deliveries.scan_open()
    assert household.channel.posts == []
    assert household.ledger() == {"EXPIRED": 1}


def test_what_a_long_downtime_left_behind_does_not_hold_up_what_is_due(household: Household) -> None:
    calendar = household.calendar(household.person("anna"))
    for number in range(20):
        household.put(calendar, meeting(f"old{number}", IN_AN_HOUR + timedelta(minutes=number)))
    household.put(calendar, meeting("Now", IN_AN_HOUR + timedelta(hours=5)))
    household.expand(calendar)
    household.clock.now = IN_AN_HOUR + timedelta(hours=4, minutes=55)
    assert sum(map(len, household.reminders.claim_due(limit=10))) == 1


def test_an_unchanged_object_expanded_again_reminds_of_nothing_twice(household: Household) -> None:
    calendar = household.calendar(household.person("anna", minutes=(30, 10)))
    body = meeting("Plan", IN_AN_HOUR)
    household.expand_all(calendar, body, href="/plan")
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    assert len(household.tick()) == 1
    for _ in range(3):
        household.clock.forward(minutes=2)
        household.expand_all(calendar, body, href="/plan")
        assert household.tick() == []


def change_settings(household: Household, person: CalendarSubscriber, **values: object) -> None:
    """As the accounts service does: the row first, then the due table, in one transaction."""
    with household.database.write() as session:
        subscriber = session.get_one(CalendarSubscriber, person.id)
        for name, value in values.items():
            setattr(subscriber, name, value)
        session.flush()
        rearm(session, person.id, household.clock())


def test_a_change_of_minutes_tells_nothing_again_and_loses_nothing_that_is_due(household: Household) -> None:
    anna = household.person("anna", minutes=(10,))
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    change_settings(household, anna, reminder_minutes=[12, 5])
    assert len(household.tick()) == 1, "the reminder of ten minutes was due before the change"
    household.clock.forward(minutes=1)
    change_settings(household, anna, reminder_minutes=[15, 5])
    assert household.tick() == []
    household.clock.now = IN_AN_HOUR - timedelta(minutes=5)
    assert len(household.tick()) == 1


def test_a_change_of_minutes_re_arms_what_is_to_come(household: Household) -> None:
    anna, boris = household.person("anna"), household.person("boris")
    calendar = household.calendar(anna)
    household.expand_all(
        calendar,
        meeting("Plan", IN_AN_HOUR),
        meeting("No", IN_AN_HOUR, "ATTENDEE;PARTSTAT=DECLINED:mailto:anna@example.org"),
        ics("UID:Fair\nDTSTART;VALUE=DATE:20260303"),
        meeting("Over", NOW - timedelta(hours=2)),
    )
    household.expand_all(household.calendar(boris), meeting("Plan", IN_AN_HOUR + timedelta(minutes=1)))
    of_boris = (10, IN_AN_HOUR - timedelta(minutes=9))
    change_settings(household, anna, reminder_minutes=[30, 5])
    assert household.armed() == [
        (30, IN_AN_HOUR - timedelta(minutes=30)),
        of_boris,
        (5, IN_AN_HOUR - timedelta(minutes=5)),
    ]
    change_settings(household, anna, reminders_enabled=False)
    assert household.armed() == [of_boris]
    change_settings(household, anna, reminders_enabled=True, reminder_minutes=[10])
    assert household.armed() == [(10, IN_AN_HOUR - timedelta(minutes=10)), of_boris]


def test_minutes_changed_after_the_reminder_send_the_same_one_not_again(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=9)
    assert len(household.tick()) == 1
    change_settings(household, anna, reminder_minutes=[30, 10])
    assert household.tick() == []


def test_minutes_changed_during_an_expansion_are_the_ones_that_count(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = household.person("anna")
    calendar = household.calendar(anna)
    household.put(calendar, meeting("Plan", IN_AN_HOUR))
    during_expansion(monkeypatch, lambda: change_settings(household, anna, reminder_minutes=[30]))
    household.expand(calendar)
    assert household.armed() == [(30, IN_AN_HOUR - timedelta(minutes=30))]


def test_a_zone_changed_during_an_expansion_is_the_one_that_counts(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = household.person("anna", zone="Europe/Berlin")
    calendar = household.calendar(anna)
    household.put(calendar, ics("UID:float\nDTSTART:20260303T100000"))
    during_expansion(monkeypatch, lambda: change_settings(household, anna, zone="Asia/Tokyo"))
    household.expand(calendar)
    assert household.armed() == [(10, datetime(2026, 3, 3, 0, 50, tzinfo=UTC))]


def test_reminders_switched_off_are_not_sent_from_the_ledger(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    claimed = household.claimed()
    change_settings(household, anna, reminders_enabled=False)
    assert household.deliveries.send("mattermost", claimed).expired == 1
    assert household.reasons() == ["reminders were switched off"]


def test_a_disconnected_person_gets_nothing_from_the_ledger(household: Household) -> None:
    anna = household.person("anna")
    calendar = household.calendar(anna)
    household.expand_all(calendar, meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    claimed = household.claimed()
    household.delete(CalendarSubscriber, anna.id)
    household.deliveries.send("mattermost", claimed)
    assert household.channel.posts == []


def test_nobody_reads_the_reminder_or_agenda_of_one_whose_number_they_got(household: Household) -> None:
    anna = household.person("anna")
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR))
    household.agendas.send_today(anna.id)
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    claimed = [*household.claimed(), *(one for batch in household.agendas.claim_due() for one in batch)]
    household.set(CalendarSubscriber, anna.id, mattermost_user_id="boris")
    assert len(claimed) == 2
    household.deliveries.send("mattermost", claimed[:1])
    household.deliveries.send("mattermost", claimed[1:])
    assert household.channel.posts == []


@ANY_DATABASE
def test_a_reminder_is_in_its_readers_language_and_zone(household: Household) -> None:
    anna = household.person("anna", locale="ru", zone="Europe/Moscow")
    household.expand_all(household.calendar(anna), meeting("Plan", IN_AN_HOUR))
    household.clock.now = IN_AN_HOUR - timedelta(minutes=10)
    (post,) = household.tick()
    assert post == Post("anna", "**Через 10 минут: Plan**\n13:00–14:00")


def test_scans_expansions_and_changes_of_settings_at_once_lose_and_double_nothing(database: Database) -> None:
    household = Household(database)
    people = [household.person(f"p{number}", minutes=(10, 5)) for number in range(4)]
    calendars = [household.calendar(person) for person in people]
    for calendar in calendars:
        for number in range(30):
            household.put(calendar, meeting(f"m{number}", NOW + timedelta(minutes=4)), href=f"/{number}")
    turn = iter(range(100))

    def work() -> None:
        number = next(turn) % 4
        for round_number in range(5):
            household.expand(calendars[number])
            household.claimed()
            change_settings(household, people[(number + round_number) % 4], updated_at=household.clock())
            household.put_again(calendars[(number + 1) % 4])

    at_once(4, work)
    for calendar in calendars:
        household.expand(calendar)
    household.claimed()
    with database.read() as session:
        keys = list(session.scalars(select(Delivery.key)))
        assert session.scalar(select(func.count()).select_from(CalendarOccurrence)) == 120
    assert len(keys) == len(set(keys)) == 120
    assert household.armed() == []


def during_expansion(monkeypatch: pytest.MonkeyPatch, what: Callable[[], None]) -> None:
    """Do `what` once, between the claim of a batch and its storing."""
    from switchboard.domain.calendar.expansion import expand as expand_object  # noqa: PLC0415
    from switchboard.services.calendar import expansion as module  # noqa: PLC0415

    original, left = expand_object, [what]

    def expand(*args: object, **options: object) -> object:
        if left:
            left.pop()()
        return original(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "expand", expand)
