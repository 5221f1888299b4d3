"""Mailings: each time of the rule told once, whatever happens, to those who want it; what was missed long ago is left out."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from switchboard.db.models import AuditEntry, DocumentEvent, Mailing
from switchboard.domain.organisations.timetable import GRACE
from switchboard.domain.telegram.pacing import Limits
from switchboard.domain.telegram.states import AccountState
from switchboard.errors import ConflictError, InvalidInputError, InvalidInputsError, NotFoundError, RemoteRejectedError
from switchboard.services.organisations.events import Accepted, Events
from switchboard.services.organisations.mailings import Mailings, MailingSettings, MailingView, locked_sender
from switchboard.services.organisations.organisations import OrganisationChanges
from switchboard.services.organisations.previews import PreviewOf
from tests.integration.organisations.house import NOW, House, peer

both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
MENU = MailingSettings(
    name="Menu",
    rule="0 13 * * *",  # 10:00 UTC by the clocks of Moscow
    title="Today in the canteen",
    link="https://canteen.example/today",
    texts={"en": "<b>Soup</b> for {{ recipient }}", "ru": "<b>Суп</b> для {{ recipient }}"},
)
FIRST = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)
PRIVACY = RemoteRejectedError("Telegram refused messages.sendMessage: privacy", status=403)


class Killed(BaseException):
    """The process ended."""


class KilledEvents(Events):
    """Ends with the event entered and nothing committed."""

    def enter(self, *given: Any, **named: Any) -> Accepted | None:
        super().enter(*given, **named)
        raise Killed


def make(house: House, **changes: Any) -> MailingView:
    return house.mailings.create(house.org, replace(MENU, **changes), actor="test")


def count_events(house: House) -> int:
    with house.database.read() as session:
        return session.scalar(select(func.count()).select_from(DocumentEvent)) or 0


def actions(house: House) -> list[str]:
    with house.database.read() as session:
        found = session.scalars(select(AuditEntry).where(AuditEntry.action.like("mailing.%")).order_by(AuditEntry.id))
        return [entry.action for entry in found]


def fire(house: House, mailing: MailingView) -> MailingView:
    """Let its next time come, and everything be sent."""
    house.clock.now = mailing.ahead[0].at
    house.mailings.fire_due()
    house.send()
    return house.mailings.get(house.org, mailing.id)


def test_everybody_who_wants_messages_gets_it_at_its_time_in_their_language(house: House) -> None:
    house.add("anna", name="Anna")
    house.add("boris", name="Борис", language="ru", channel="mattermost", mattermost="boris", telegram=None)
    house.add("clara", opted_in=False)
    house.add("dina", name="Dina")
    house.recipients.hear(house.account_id, peer("dina"), "STOP")
    house.send()
    house.telegram.arrived.clear()
    mailing = make(house)
    assert [(one.at, one.local) for one in mailing.ahead] == [
        (FIRST + timedelta(days=day), f"2026-11-{23 + day}T13:00+03:00") for day in range(3)
    ]
    house.clock.now = FIRST - timedelta(seconds=1)
    assert house.mailings.fire_due().count == 0
    after = fire(house, mailing)
    assert house.telegram.arrived == [
        (
            "@anna",
            "Today in the canteen\nSoup for Anna\nOpen\nVega\nTo get no more of these messages, answer STOP.",
        )
    ]
    assert house.mattermost.rendered[0].message.text == (
        "**Today in the canteen**\n**Суп** для Борис\n[Открыть](https://canteen.example/today)\n_Vega_"
    )
    assert (after.last_at, after.problem, after.ahead[0].at) == (FIRST, None, FIRST + timedelta(days=1))
    assert after.last_event_id is not None
    event = house.events.get(house.org, after.last_event_id)
    assert (event.mailing_id, event.kind, event.number, event.title) == (
        mailing.id,
        "mailing",
        "Menu",
        "Today in the canteen",
    )
    assert (event.recipients, event.counts, event.done) == (2, {"sent": 2}, True)


def test_a_mailing_that_cannot_be_sent_keeps_no_other_back(house: House) -> None:
    house.add("anna")
    broken = make(house)
    make(house, name="Another")
    with house.database.write() as session:
        session.execute(update(Mailing).where(Mailing.id == broken.id).values(rule="nonsense"))
    house.clock.now = FIRST
    assert house.mailings.fire_due().count == 1


@both
def test_two_scans_at_once_send_it_once(house: House) -> None:
    house.add("anna")
    make(house)
    house.clock.now = FIRST
    start = threading.Barrier(8)
    counts: list[int] = []

    def scan() -> None:
        start.wait()
        counts.append(house.mailings.fire_due().count)

    threads = [threading.Thread(target=scan) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(counts) == [0] * 7 + [1]
    assert (count_events(house), len(house.rows())) == (1, 1)


@pytest.mark.full
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_mailing_on_its_way_keeps_no_document_waiting(house: House) -> None:
    house.add("anna")
    taken: list[Accepted] = []
    with house.database.write() as session:
        locked_sender(session, house.org)
        thread = threading.Thread(target=lambda: taken.append(house.post("anna")))
        thread.start()
        thread.join(60)
        assert len(taken) == 1


@both
def test_what_changed_since_a_scan_looked_wins(house: House) -> None:
    house.add("anna")
    mailing = make(house)
    house.clock.now = FIRST
    house.mailings.stop(house.org, mailing.id, actor="test")
    assert house.mailings.fire(house.org, mailing.id, FIRST) is None
    assert not house.mailings.get(house.org, mailing.id).active
    house.mailings.remove(house.org, mailing.id, actor="test")
    assert house.mailings.fire(house.org, mailing.id, FIRST) is None
    house.organisations.remove(house.org, actor="test")
    assert house.mailings.fire(house.org, mailing.id, FIRST) is None
    assert count_events(house) == 0


def test_a_time_that_comes_again_sends_nothing(house: House) -> None:
    """The event's key stands for the time, were `next_at` ever set back."""
    house.add("anna")
    mailing = fire(house, make(house))
    with house.database.write() as session:
        session.execute(update(Mailing).values(next_at=FIRST))
    assert house.mailings.fire_due().count == 0
    assert count_events(house) == 1
    assert house.mailings.get(house.org, mailing.id).ahead[0].at == FIRST + timedelta(days=1)


@both
def test_a_kill_between_the_event_and_the_next_time_moves_nothing(house: House) -> None:
    house.add("anna")
    mailing = make(house)
    house.clock.now = FIRST
    limits = Limits(between_s=0, between_first_s=0)
    events = KilledEvents(house.database, house.clock, limits, lambda _: True)
    with pytest.raises(Killed):
        Mailings(house.database, events, house.clock, limits, lambda _: True).fire_due()
    assert (count_events(house), house.rows()) == (0, [])
    assert house.mailings.get(house.org, mailing.id).ahead[0].at == FIRST
    assert house.mailings.fire_due().count == 1


def test_after_a_downtime_the_latest_time_is_made_up_for_and_the_others_are_said_to_be_left_out(house: House) -> None:
    house.add("anna")
    mailing = make(house, rule="*/30 * * * *")
    first = mailing.ahead[0].at
    house.clock.now = first + timedelta(hours=5, minutes=10)
    assert house.mailings.fire_due().count == 1
    house.send()
    after = house.mailings.get(house.org, mailing.id)
    assert len(house.telegram.arrived) == 1
    assert (after.last_at, after.skipped_count, after.skipped_from) == (first + timedelta(hours=5), 10, first)
    assert after.ahead[0].at == first + timedelta(hours=5, minutes=30)
    assert actions(house) == ["mailing.create", "mailing.skip"]


def test_a_time_that_was_missed_by_more_than_the_grace_is_left_out(house: House) -> None:
    house.add("anna")
    mailing = make(house)
    house.clock.now = FIRST + GRACE + timedelta(seconds=1)
    assert house.mailings.fire_due().count == 0
    after = house.mailings.get(house.org, mailing.id)
    assert (after.last_at, after.skipped_count, after.skipped_from) == (None, 1, FIRST)
    assert after.ahead[0].at == FIRST + timedelta(days=1)
    house.clock.now = FIRST + timedelta(days=1, hours=1)
    assert house.mailings.fire_due().count == 1


def test_who_cannot_be_reached_for_long_gets_the_latest_one_and_no_burst(house: House) -> None:
    house.add("anna", quiet_from="11:30", quiet_until="15:30")
    mailing = make(house, rule="0 * * * *")
    for _ in range(3):  # 13:00, 14:00 and 15:00 by anna's clocks
        mailing = fire(house, mailing)
    house.clock.forward(minutes=40)
    house.send()
    assert len(house.telegram.arrived) == 1
    counts = [event.counts for event in house.events.latest(house.org)]
    assert counts == [{"sent": 1}, {"given_up": 1}, {"given_up": 1}]


def test_named_recipients_become_states_and_the_second_channel_is_taken(house: House) -> None:
    house.add("anna", second_channel="mattermost", mattermost="anna")
    house.telegram.refusals["@anna"] = PRIVACY
    mailing = fire(house, make(house, recipients=["anna", "nobody", "anna"]))
    assert mailing.recipients == ["anna", "nobody"]
    assert mailing.last_event_id is not None
    assert house.states(mailing.last_event_id) == [
        ("anna", "notice", "telegram", "undeliverable"),
        ("nobody", "notice", None, "unknown_recipient"),
        ("anna", "notice", "mattermost", "sent"),
    ]


def test_a_mailing_comes_at_once_also_to_those_who_want_digests(house: House) -> None:
    house.add("anna", digest="day")
    fire(house, make(house))
    assert len(house.telegram.arrived) == 1


def test_a_mailing_that_reaches_nobody_says_so(house: House) -> None:
    mailing = fire(house, make(house))
    assert (mailing.problem, mailing.last_event_id, mailing.last_at) == ("nobody is opted in", None, FIRST)
    house.add("anna")
    house.organisations.unset_telegram(house.org, actor="test")
    mailing = fire(house, mailing)
    assert mailing.problem == "none of its recipients can be reached: no_channel 1"
    house.add("boris", channel="mattermost", mattermost="boris", telegram=None)
    assert fire(house, mailing).problem is None


def test_what_waits_of_a_mailing_is_not_sent_once_it_is_deleted_or_withdrawn(house: House) -> None:
    house.add("anna")
    house.add("boris")
    house.pace(Limits(between_s=60, between_first_s=60))
    one = make(house)
    other = make(house, name="Other", recipients=["anna", "boris"])
    house.clock.now = FIRST
    house.mailings.fire_due()
    house.send()
    assert len(house.telegram.arrived) == 2
    house.mailings.remove(house.org, one.id, actor="test")
    event_id = house.mailings.get(house.org, other.id).last_event_id
    assert event_id is not None
    house.events.processed(house.org, event_id)
    house.clock.forward(minutes=5)
    house.send()
    assert len(house.telegram.arrived) == 2
    assert house.telegram.rendered[-1].edits is None
    reasons = {row.reason for row in house.rows() if row.reason}
    assert reasons == {"the mailing was deleted", "the mailing was withdrawn"}


def test_the_words_and_the_zone_are_those_of_the_moment(house: House) -> None:
    house.add("anna", name="Anna")
    mailing = make(house)
    house.mailings.update(house.org, mailing.id, replace(MENU, title="", link="", texts={"en": "Fish"}), actor="test")
    house.organisations.update(house.org, OrganisationChanges(zone="Europe/Berlin"), actor="test")
    moved = house.mailings.get(house.org, mailing.id)
    assert [one.local for one in moved.ahead] == [f"2026-11-{day}T13:00+01:00" for day in (23, 24, 25)]
    fire(house, moved)
    assert house.telegram.arrived[0][1].startswith("Fish\nVega\n")


def test_who_has_another_language_gets_the_organisations_else_the_first_there_is(house: House) -> None:
    house.add("anna", language="uk")
    menu = make(house, title="", link="")
    fish = make(house, name="Fish", title="", link="", texts={"ru": "Рыба"})
    for key, mailing in enumerate((menu, fish)):
        house.mailings.send_now(house.org, mailing.id, str(key), actor="test")
    house.send()
    house.organisations.update(house.org, OrganisationChanges(language="ru"), actor="test")
    house.mailings.send_now(house.org, menu.id, "again", actor="test")
    house.send()
    assert [text.partition("\n")[0] for _, text in house.telegram.arrived] == ["Soup for", "Рыба", "Суп для"]


def test_a_zone_that_changes_while_one_is_due_loses_nothing(house: House) -> None:
    house.add("anna")
    make(house)
    house.clock.now = FIRST
    house.organisations.update(house.org, OrganisationChanges(zone="Asia/Tokyo"), actor="test")
    assert house.mailings.fire_due().count == 1


def test_a_stopped_mailing_makes_up_for_nothing_when_it_goes_on(house: House) -> None:
    house.add("anna")
    mailing = make(house)
    assert house.mailings.stop(house.org, mailing.id, actor="test").ahead == []
    house.clock.now = FIRST + timedelta(hours=1)
    assert house.mailings.fire_due().count == 0
    assert house.mailings.update(house.org, mailing.id, replace(MENU, rule="0 9 * * *"), actor="test").ahead == []
    resumed = house.mailings.resume(house.org, mailing.id, actor="test")
    assert (resumed.ahead[0].local, resumed.skipped_count) == ("2026-11-24T09:00+03:00", 0)
    assert actions(house) == ["mailing.create", "mailing.stop", "mailing.update", "mailing.resume"]


def test_sent_out_of_its_turn_it_goes_once_for_a_key(house: House) -> None:
    house.add("anna")
    mailing = make(house)
    first = house.mailings.send_now(house.org, mailing.id, "today", actor="test")
    assert first.accounts == [house.account_id]
    again = house.mailings.send_now(house.org, mailing.id, "today", actor="test")
    assert (again.event_id, again.accounts) == (first.event_id, [])
    assert house.mailings.send_now(house.org, mailing.id, "once more", actor="test").event_id != first.event_id
    house.send()
    assert len(house.telegram.arrived) == 2
    assert house.mailings.get(house.org, mailing.id).ahead[0].at == FIRST
    house.add("anna", opted_in=False)
    with pytest.raises(ConflictError, match="nobody is opted in"):
        house.mailings.send_now(house.org, mailing.id, "third", actor="test")


def test_sent_out_of_its_turn_to_named_people_whom_nobody_knows_it_says_so(house: House) -> None:
    mailing = make(house, recipients=["stranger"])
    sent = house.mailings.send_now(house.org, mailing.id, "today", actor="test")
    after = house.mailings.get(house.org, mailing.id)
    assert after.problem == "none of its recipients can be reached: unknown_recipient 1"
    assert (after.last_event_id, sent.accounts) == (sent.event_id, [])


def test_a_dry_run_counts_channels_and_time_and_sends_nothing(house: House) -> None:
    house.add("anna")
    house.add("boris", channel="mattermost", mattermost="boris", telegram=None)
    house.add("clara")
    house.add("dina", opted_in=False)
    fire(house, make(house, name="First", recipients=["anna"]))
    house.pace(Limits(between_s=3, between_first_s=180))
    mailing = make(house, recipients=["anna", "boris", "clara", "dina", "nobody"], rule="*/15 * * * *")
    before = len(house.rows())
    found = house.mailings.dry_run(house.org, mailing.id)
    assert (found.people, found.channels) == (5, {"telegram": 2, "mattermost": 1})
    assert (found.left_out, found.strangers, found.takes_s) == ({"opted_out": 1, "unknown_recipient": 1}, 1, 180)
    assert found.warnings == []
    assert found.messages["ru"].text.startswith("Today in the canteen\nСуп для Anna Petrova\nОткрыть\nVega\n")
    assert len(house.rows()) == before
    house.accounts.become(AccountState.SIGN_IN_AGAIN)
    house.pace(Limits(between_s=3, between_first_s=3600))
    assert [warning[:30] for warning in house.mailings.dry_run(house.org, mailing.id).warnings] == [
        "the organisation's Telegram is",
        "it takes longer than the 0:15:",
    ]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"name": " "}, "name", "1 to 100 printable characters"),
    ({"name": "a\x00"}, "name", "U+0000"),
    ({"title": "a\x00"}, "title", "U+0000"),
    ({"link": "https://x.example/\x00"}, "link", "begins with https://"),
    ({"texts": {"en": "a\x00"}}, "texts", "U+0000"),
    ({"rule": "* * * * *"}, "rule", "every 15 minutes at most"),
    ({"link": "ftp://x"}, "link", "begins with https://"),
    ({"link": "https://a b"}, "link", "begins with https://"),
    ({"title": "x" * 501}, "title", "at most 500"),
    ({"recipients": []}, "recipients", "null, for everybody"),
    ({"recipients": ["a\n"]}, "recipients", "printable"),
    ({"texts": {}}, "texts", "at least one language"),
    ({"texts": {"de": "x"}}, "texts", "de: the language is one of en, ru, uk"),
    ({"texts": {"en": "{{ titel }}"}}, "texts", "en: line 1: there is no placeholder titel"),
    ({"texts": {"en": "x" * 4_000}}, "texts", "en: with title and link it could have"),
    ({"texts": {"en": "<b>x</b> " * 98}}, "texts", "en: with title and link it has 101 formatted parts"),
]


def test_a_wrong_mailing_is_refused_with_what_is_right(house: House) -> None:
    for changes, field, complaint in REFUSED:
        with pytest.raises(InvalidInputError) as caught:
            make(house, **changes)
        assert complaint in str(caught.value)
        assert caught.value.field == field


def test_every_problem_of_the_texts_is_said_at_once(house: House) -> None:
    with pytest.raises(InvalidInputsError) as caught:
        make(house, texts={"en": "{{ a1 }}", "ru": "{{ b2 }}"})
    assert [problem[:3] for problem in caught.value.problems] == ["en:", "ru:"]


def test_a_name_stands_once_in_an_organisation_and_mailings_are_its_own(house: House) -> None:
    mailing = make(house)
    with pytest.raises(ConflictError, match="has this name"):
        make(house)
    other = house.organisations.create("Rigel", OrganisationChanges(), actor="test").id
    assert house.mailings.create(other, MENU, actor="test").zone == "UTC"
    for call in (house.mailings.get, house.mailings.dry_run):
        with pytest.raises(NotFoundError):
            call(other, mailing.id)
    assert [one.id for one in house.mailings.list_all(house.org)] == [mailing.id]


def test_a_new_mailing_never_takes_the_number_of_one_that_was_deleted(house: House) -> None:
    """Or what waits of the deleted one would be sent in the words of the new one."""
    first = make(house)
    house.mailings.remove(house.org, first.id, actor="test")
    assert make(house).id > first.id


def test_a_preview_is_what_is_sent(house: House) -> None:
    house.add("anna", name="<b>Анна</b> & *co*", language="ru", zone="Asia/Tokyo")
    house.wording.put(
        house.org,
        "to_sign",
        "notice",
        "ru",
        '<b>{{ number }}</b> <a href="{{ link }}">{{ title }}</a> {{ recipient }} {{ deadline }} {{ stop_hint }} 😀',
        actor="test",
    )
    deadline = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
    house.post("anna", title="[Lease](x) 😀", link="https://docs.example/7?a=1&b=2", deadline_at=deadline)
    house.send()
    sent = house.telegram.rendered[0]
    assert sent.formatted is not None
    wanted = PreviewOf(
        kind="to_sign",
        recipient="anna",
        values={"number": "7/A", "title": "[Lease](x) 😀", "link": "https://docs.example/7?a=1&b=2"},
    )
    found = house.notices.preview(house.org, wanted, now=deadline)
    assert (found.problems, found.origin, found.language) == ([], f"organisation {house.org}", "ru")
    assert found.message is not None
    assert found.message.text == sent.formatted.text
    assert found.message.markdown == sent.message.text
    assert [(one.type, one.offset, one.length, one.url) for one in found.message.entities] == [
        ("bold", 0, 3, None),
        ("text_link", 4, 13, "https://docs.example/7?a=1&b=2"),
    ]
    assert (found.message.units, found.message.entities_used) == (sent.formatted.units, 2)
    rows = len(house.rows())
    assert rows == 1


def test_a_preview_of_a_source_says_what_storing_it_would(house: House) -> None:
    def look(source: str, **wanted: Any) -> Any:
        return house.notices.preview(house.org, PreviewOf(source=source, **wanted), now=NOW)

    broken = look("{{ titel }} {% for x in y %}{% endfor %}")
    assert (len(broken.problems), broken.origin, broken.message) == (2, "given", None)
    long = look("{{ number }} " + "x" * 4_200)
    assert (len(long.problems), long.message.units, len(long.message.text)) == (1, 4_207, 4_096)
    styled = look("{{ number }}" + "<b>x</b> " * 101)
    assert (styled.message.entities_used, styled.message.most_entities) == (101, 100)
    assert styled.problems == ["the message has 101 formatted parts, Telegram shows 100: format less"]
    assert look("{{ recipient }}", values={"recipient": "<i>x</i>"}).message.html == "&lt;i&gt;x&lt;/i&gt;"
    assert look("x {{ stop_hint }}", channel="mattermost").message.text == "x"
    built_in = house.notices.preview(house.org, PreviewOf(purpose="reminder", language="uk"), now=NOW)
    assert (built_in.origin, built_in.language, built_in.problems) == ("built-in", "uk", [])
    with pytest.raises(InvalidInputError, match="did you mean title"):
        look("x", values={"titel": "x"})
    with pytest.raises(InvalidInputError, match="at most 100"):
        look("x", values={"number": "9" * 101})
    with pytest.raises(NotFoundError):
        look("x", recipient="nobody")
