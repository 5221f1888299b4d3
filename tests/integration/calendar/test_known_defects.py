"""Defects seen in other calendar integrations, and complaints of their users: for each a test that would have caught it.

A defect that some other test is about is listed in PROVEN_ELSEWHERE; the tests here are the rest.
"""

from __future__ import annotations

import ast
import itertools
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest

from sandbox.caldav.faulty import LOGIN, FaultyServer
from switchboard.db.engine import Database
from switchboard.db.models import CalendarSubscriber
from switchboard.db.repositories.deliveries import ClaimedDelivery
from switchboard.errors import PermanentError
from switchboard.services.channels.channel import Rendered
from switchboard.services.deliveries import Deliveries
from tests.integration.calendar.household import NOW, Household, Post, RecordingChannel, ics, meeting
from tests.integration.calendar.test_changes import Life
from tests.integration.calendar.test_changes import ics as single
from tests.servers import ROOT

HERE = "tests/integration/calendar"
DOMAIN = "tests/unit/domain"
E2E = "tests/e2e"
AT_EIGHT = datetime(2026, 3, 3, 7, 0, tzinfo=UTC)  # 08:00 in Berlin, the day after NOW

PROVEN_ELSEWHERE = {
    "attendees' answers are compared away and never told": (
        f"{DOMAIN}/test_changes.py::test_an_answer_is_told_once_a_series",
        f"{HERE}/test_changes.py::test_answers_have_a_switch_of_their_own",
    ),
    "any error of the server, a 502 too, disconnects the user": (
        f"{HERE}/test_polling.py::test_a_failure_costs_nothing_that_is_stored",
        f"{HERE}/test_polling.py::test_three_refusals_in_a_row_pause_the_account_and_tell_its_owner_once",
        f"{HERE}/test_known_servers.py::test_no_fault_pauses_anything_or_tells_anybody",
    ),
    "an error of the network ends the loop that polls everybody": (
        f"{HERE}/test_caldav_client.py::test_every_fault_becomes_one_of_our_errors_and_tells_no_secret",
        f"{E2E}/test_exactly_once.py::test_while_the_calendar_server_is_down_what_is_stored_is_told_and_nothing_is_lost",
    ),
    "the hour of the agenda is turned into UTC once and is wrong after the clocks change": (
        f"{HERE}/test_agendas.py::test_every_local_day_has_one_agenda_whatever_the_clocks_do",
        f"{DOMAIN}/test_wall_clock.py::test_the_next_agenda_is_the_first_one_after_now",
    ),
    "the deletion of the last meeting is never told": (
        f"{HERE}/test_changes.py::test_the_last_meeting_is_told_when_it_goes",
        f"{HERE}/test_polling.py::test_the_deletion_of_the_last_meeting_takes_its_occurrences_and_reminders",
    ),
    "two colleagues in one meeting share one row, and the second gets no reminder": (
        f"{HERE}/test_reminders.py::test_colleagues_in_one_meeting_are_each_reminded",
        f"{HERE}/test_changes.py::test_two_people_hear_of_a_shared_meeting_each",
        f"{HERE}/test_accounts.py::test_two_users_may_share_a_login_and_a_user_may_have_several",
    ),
    "keys of meetings are spelled in the user's zone, and a change of zone makes all of them new": (
        f"{HERE}/test_changes.py::test_zone_and_horizon_change_nothing",
        f"{DOMAIN}/test_expansion.py::test_an_override_is_found_whatever_zone_spells_its_id",
    ),
    "a meeting under way or over the edge of the window falls out of it": (
        f"{DOMAIN}/test_expansion.py::test_a_meeting_that_overlaps_an_edge_of_the_window_is_in_it",
        f"{DOMAIN}/test_changes.py::test_a_meeting_in_progress_stays",
        f"{DOMAIN}/test_changes.py::test_time_that_passes_is_no_change",
    ),
    "a status is armed by a reminder alone": (
        f"{HERE}/test_statuses.py::test_a_meeting_is_shown_to_its_end_and_gives_the_previous_status_back",
    ),
    "a meeting that is cancelled or shortened does not give the status back": (
        f"{HERE}/test_statuses.py::test_whatever_ends_a_meeting_early_restores_at_the_next_tick",
    ),
    "messages that wait in the memory of a process are lost when it restarts": (
        (
            f"{E2E}/test_exactly_once.py::"
            "test_what_was_claimed_and_never_queued_because_the_worker_was_killed_is_sent_once"
        ),
        (
            f"{E2E}/test_exactly_once_changes.py::"
            "test_a_notice_that_was_entered_and_never_queued_because_the_worker_died_is_told_once"
        ),
    ),
    "the password stands in clear text": (
        f"{HERE}/test_accounts.py::test_a_connected_account_is_stored_sealed_audited_and_polled_at_once",
        f"{E2E}/test_secrets_stay_inside.py::test_secrets_stay_inside",
    ),
    "of a series only one entry is kept and its exceptions are lost": (
        f"{HERE}/test_expansion.py::test_a_series_is_expanded_to_the_horizon_with_overrides_and_exceptions",
    ),
    "only hours and minutes are compared: a meeting moved by a day is not moved": (
        f"{DOMAIN}/test_changes.py::test_an_edit_is_one_change",
    ),
    "what changed is not shown": (f"{HERE}/test_changes.py::test_all_changes_of_a_poll_are_one_message",),
    "only the main calendar is read": (
        f"{HERE}/test_agendas.py::test_the_agenda_holds_the_local_day_over_all_watched_calendars",
    ),
    "a reminder shows UTC although the agenda is right": (
        f"{HERE}/test_reminders.py::test_a_reminder_is_in_its_readers_language_and_zone",
    ),
    "an all-day meeting is shown from 5:30 to 5:30": (
        "tests/unit/texts/test_messages.py::test_an_agenda_names_the_day_and_puts_all_day_meetings_first",
        f"{DOMAIN}/test_agenda.py::test_an_all_day_meeting_belongs_to_its_dates_in_any_zone",
    ),
    "declined meetings are shown and reminded of": (
        f"{DOMAIN}/test_agenda.py::test_declined_and_cancelled_meetings_are_hidden",
        f"{HERE}/test_reminders.py::test_cancelled_declined_and_all_day_meetings_remind_nobody",
    ),
    "back-to-back meetings: the status comes minutes late or flickers": (
        f"{HERE}/test_status_rules.py::test_back_to_back_and_overlapping_meetings_are_shown_once_and_restored_once",
        f"{DOMAIN}/test_presence.py::test_blocks_are_the_minutes_that_some_busy_meeting_covers",
    ),
    "free time sets the status": (
        f"{HERE}/test_statuses.py::test_free_cancelled_and_declined_meetings_do_not_count",
        f"{DOMAIN}/test_presence.py::test_all_day_free_declined_and_cancelled_meetings_do_not_count",
    ),
    "the days of the agenda cannot be chosen": (f"{HERE}/test_agendas.py::test_only_chosen_weekdays_have_an_agenda",),
    "the agenda is not delivered when the minute was missed": (
        f"{HERE}/test_agendas.py::test_a_late_agenda_is_sent_for_four_hours",
        f"{HERE}/test_agendas.py::test_after_days_of_downtime_only_todays_agenda_is_sent",
    ),
    "a reminder between two ticks is missed": (
        f"{HERE}/test_reminders.py::test_after_a_downtime_one_reminder_stands_for_all_of_a_meeting",
        f"{HERE}/test_reminders.py::test_a_meeting_made_within_its_minutes_reminds_at_once_with_the_true_time",
    ),
    "a password that expired ends everything in silence": (
        (
            f"{E2E}/test_exactly_once.py::"
            "test_a_refused_password_pauses_the_account_tells_its_owner_once_and_costs_nothing"
        ),
    ),
    "a week shows two weeks": (
        f"{DOMAIN}/test_commands.py::test_a_week_is_today_and_six_days_and_a_month_ends_on_the_same_day_of_the_next",
    ),
    "one reminder comes six to ten times": (
        f"{HERE}/test_reminders.py::test_a_reminder_is_claimed_once_by_however_many_claimers_at_once",
        f"{HERE}/test_reminders.py::test_a_meeting_in_two_watched_calendars_reminds_once",
        f"{E2E}/test_exactly_once.py::test_two_workers_that_race_for_the_same_messages_send_each_once",
    ),
    "events are missed once the server has forgotten its history": (
        f"{HERE}/test_polling.py::test_what_a_pruned_history_forgot_is_found_once_a_day",
        f"{HERE}/test_known_servers.py::test_a_forgotten_token_costs_a_comparison_and_hides_no_change",
    ),
    "a large calendar runs into a time-out and is never read": (
        f"{HERE}/test_polling.py::test_a_poll_whose_time_is_over_goes_on_soon_where_it_stopped",
    ),
    "a declined meeting that moves is not asked about again": (
        f"{DOMAIN}/test_changes.py::test_a_declined_meeting_is_told_only_when_it_moves",
        f"{HERE}/test_answering.py::test_a_new_invitation_a_moved_one_and_a_reminder_ask",
    ),
    "there is nothing for Mattermost and a plain CalDAV server": (f"{E2E}/test_demo.py",),
}


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of a module's test functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("defect", PROVEN_ELSEWHERE)
def test_the_tests_that_are_named_for_a_defect_exist(defect: str) -> None:
    for named in PROVEN_ELSEWHERE[defect]:
        module, _, test = named.partition("::")
        assert any(name.startswith("test_") for name in names_in(ROOT / module))
        assert not test or test in names_in(ROOT / module), named


class RefusingChannel(RecordingChannel):
    """Refuses everything for good while `refusing`."""

    refusing = True

    def send(self, delivery: ClaimedDelivery, rendered: Rendered) -> str:
        if self.refusing:
            raise PermanentError("the server refuses this message")
        return super().send(delivery, rendered)


def test_an_agenda_that_could_not_be_sent_is_not_the_last_one(household: Household) -> None:
    """Elsewhere the next day is planned at the end of a successful post: one failure ends all."""
    channel = household.channel = RefusingChannel()
    household.deliveries = Deliveries(
        household.database, {channel.name: channel}, {"calendar.agenda": household.agendas}, household.clock
    )
    household.expand_all(household.calendar(household.person("anna")), meeting("Plan", AT_EIGHT + timedelta(days=1)))
    household.clock.now = AT_EIGHT
    assert household.tick() == []
    assert household.ledger() == {"DEAD": 1}
    channel.refusing = False
    household.clock.now = AT_EIGHT + timedelta(days=1)
    [post] = household.tick()
    assert "Plan" in post.text


def test_a_day_without_a_calendar_does_not_end_the_agendas(household: Household) -> None:
    anna = household.person("anna", agenda_on_empty_days=False)
    household.clock.now = AT_EIGHT
    assert household.tick() == []
    household.expand_all(household.calendar(anna), meeting("Plan", AT_EIGHT + timedelta(days=1)))
    household.clock.now = AT_EIGHT + timedelta(days=1)
    [post] = household.tick()
    assert "Plan" in post.text


def test_a_change_of_zone_after_the_reminder_reminds_nobody_again(household: Household) -> None:
    anna = household.person("anna")
    calendar = household.calendar(anna)
    start = datetime(2026, 3, 3, 10, 0, tzinfo=UTC)
    household.expand_all(calendar, ics("UID:s\nDTSTART;TZID=Europe/Moscow:20260303T130000\nRRULE:FREQ=DAILY;COUNT=3"))
    household.clock.now = start - timedelta(hours=2, minutes=50)
    household.tick()  # the agenda
    household.clock.now = start - timedelta(minutes=10)
    assert len(household.tick()) == 1
    household.set(CalendarSubscriber, anna.id, zone="America/Santiago")
    household.put_again(calendar)
    household.expand(calendar)
    assert reminders(household.tick()) == []
    household.clock.now = start + timedelta(days=1) - timedelta(minutes=10)
    assert len(reminders(household.tick())) == 1


def reminders(posts: list[Post]) -> list[Post]:
    """Without the agendas."""
    return [post for post in posts if "meeting" not in post.text.splitlines()[0]]


@pytest.mark.parametrize("created", ["20261101T000000Z", "20200101T000000Z", "20261121T085500Z"])
def test_a_meeting_that_came_during_a_downtime_is_told_whenever_it_was_made(
    database: Database, faulty: FaultyServer, created: str
) -> None:
    """Elsewhere a meeting is new only if CREATED lies within half an hour: late invitations are silent."""
    life = Life(database, faulty.url, faulty.port, LOGIN, faulty.password)
    assert life.live() == []
    faulty.put("late.ics", single("late", title="Late", more=f"CREATED:{created}\r\n"))
    life.clock.now += timedelta(days=2)
    [text] = life.live()
    assert "**New**" in text
    assert "Late" in text


def test_a_meeting_under_way_stays_in_the_store_and_in_the_agenda(household: Household) -> None:
    anna = household.person("anna")
    calendar = household.calendar(anna)
    household.expand_all(calendar, meeting("Long", NOW - timedelta(minutes=30), minutes=180))
    household.clock.forward(minutes=30)
    household.put_again(calendar)
    household.expand(calendar)
    assert [one.uid for one in household.occurrences()] == ["Long"]
    assert "Long" in household.agendas.preview(anna.id, household.clock())


def test_each_reminder_of_a_series_tells_its_own_meeting(household: Household) -> None:
    """Elsewhere the last component of the object is taken for every meeting of the series."""
    series = ics(
        "UID:s\nDTSTART:20260302T100000Z\nDURATION:PT30M\nSUMMARY:Standup\nRRULE:FREQ=DAILY;COUNT=4",
        "UID:s\nRECURRENCE-ID:20260304T100000Z\nDTSTART:20260304T150000Z\nDURATION:PT1H\nSUMMARY:Demo\nLOCATION:Hall",
    )
    household.expand_all(household.calendar(household.person("anna", agenda_enabled=False)), series)
    told = {}
    for day, hour, minute in itertools.product(range(2, 6), (9, 14), (30, 50)):
        household.clock.now = datetime(2026, 3, day, hour, minute, tzinfo=UTC)
        for post in household.tick():
            told[f"{household.clock.now:%d %H:%M}"] = post.text
    assert list(told) == ["02 09:50", "03 09:50", "04 14:50", "05 09:50"]
    assert [("Standup" in text, "Demo" in text, "Hall" in text) for text in told.values()] == [
        (True, False, False),
        (True, False, False),
        (False, True, True),
        (True, False, False),
    ]


def test_a_poll_that_failed_is_not_an_empty_calendar_that_is_new_again_afterwards(
    database: Database, faulty: FaultyServer
) -> None:
    for number in range(3):
        faulty.put(f"{number}.ics", single(f"m{number}"))
    life = Life(database, faulty.url, faulty.port, LOGIN, faulty.password)
    assert life.live() == []
    for fault in ("error", "html", "cut"):
        faulty.faults.add(fault, count=1, method="REPORT", **({"status": 502} if fault == "error" else {}))
        assert life.live() == []
    faulty.quirks.body = b""
    assert life.live() == []
    faulty.quirks.body = None
    assert life.live() == []


def test_a_server_that_is_down_at_the_start_is_read_when_it_is_up(database: Database, faulty: FaultyServer) -> None:
    """Elsewhere a calendar that could not be read at the start of the program is never read again."""
    life = Life(database, faulty.url, faulty.port, LOGIN, faulty.password)
    faulty.put("a.ics", single("a"))
    faulty.faults.add("error", status=503, count=4)
    for _ in range(4):
        assert life.live() == []
        life.clock.now += timedelta(hours=1)
        assert life.polling.claim_due() == [life.account_id]
    faulty.faults.clear()
    assert life.live() == [], "the first whole poll is what everything later is compared with"
    faulty.put("b.ics", single("b", title="Later"))
    [text] = life.live()
    assert "Later" in text


def test_the_reminders_of_a_meeting_do_not_multiply_with_its_attendees(household: Household) -> None:
    attendees = [f"ATTENDEE;CN=P{number}:mailto:p{number}@example.org" for number in range(10)]
    start = NOW + timedelta(hours=1)
    people = [household.person(name) for name in ("anna", "boris")]
    for person in people:
        household.expand_all(household.calendar(person), meeting("Plan", start, *attendees))
    household.clock.now = start - timedelta(minutes=10)
    assert sorted(post.user for post in household.tick()) == ["anna", "boris"]
