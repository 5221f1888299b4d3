"""A calendar full of broken and hostile objects: the poll survives each, good meetings remind, what was skipped is said.

Time is bounded by our own limits (occurrences, steps, tries), which are asserted, and by the kernel's on the process that does
the work, as its memory is.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import func, select

from sandbox.caldav import running_radicale
from sandbox.caldav.faulty import LOGIN, FaultyServer
from sandbox.caldav.storage import make_calendar
from switchboard.crypto import SecretBox
from switchboard.db.models import Calendar, CalendarAccount, CalendarObject, CalendarOccurrence
from switchboard.db.repositories.calendars import problems
from switchboard.domain.calendar.expansion import MAX_OCCURRENCES
from tests.integration.calendar.bounded_poll import SECRET, poll_and_expand
from tests.integration.calendar.hostile import Fate, catalogue
from tests.integration.calendar.household import NOW, Household, meeting
from tests.servers import ROOT

GOOD_AT = NOW + timedelta(hours=3)
HOSTILE_AT = NOW + timedelta(hours=25)  # as START says
DATA_MB, CPU_S = 700, 300
"""Twice the memory and some fifty times the time that were seen."""
RADICALE_TAKES_BYTES = 50_000
RADICALE_BROODS_OVER = frozenset({"a day that never comes"})
"""Those and larger ones are not given to Radicale: reading them takes it many seconds."""


def work(database_url: str, account_id: int, url: str) -> str:
    """Poll and expand in a process of its own; its last words."""
    limits = (NOW.isoformat(), str(DATA_MB), str(CPU_S))
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.calendar.bounded_poll", database_url, str(account_id), url, *limits],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * CPU_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


def connected(household: Household, url: str, calendar_url: str, login: str, password: str) -> Calendar:
    """Anna's calendar at a server."""
    calendar = household.calendar(household.person("anna"))
    sealed = SecretBox([SECRET]).encrypt(password)
    household.set(CalendarAccount, calendar.account_id, server_url=url, login=login, password=sealed)
    household.set(Calendar, calendar.id, url=calendar_url)
    return calendar


def looked_at(household: Household) -> dict[str, tuple[Fate, int, str]]:
    """By href: what became of each object, how many meetings of it are shown, and the problem noted."""
    with household.database.read() as session:
        shown = session.execute(
            select(CalendarOccurrence.object_id, func.count()).group_by(CalendarOccurrence.object_id)
        ).all()
        counts: dict[int, int] = {row[0]: row[1] for row in shown}
        found = {}
        for row in session.scalars(select(CalendarObject)):
            assert not row.needs_expansion, row.href
            count = counts.get(row.id, 0)
            fate = (Fate.MENDED if count else Fate.LEFT_OUT) if row.problem else (Fate.READ if count else Fate.EMPTY)
            found[row.href] = (fate, count, row.problem or "")
        return found


ON_EACH_DATABASE = pytest.mark.parametrize(
    "database_url", ["postgresql", pytest.param("sqlite", marks=pytest.mark.full)], indirect=True
)
"""PostgreSQL alone in CI: it is the one that refuses texts."""


@ON_EACH_DATABASE
def test_of_a_calendar_full_of_hostile_objects_each_has_its_own_fate_and_hides_no_other(
    household: Household, faulty: FaultyServer, database_url: str
) -> None:
    calendar = connected(household, faulty.url, faulty.calendar_url, LOGIN, faulty.password)
    hostile = catalogue()
    hrefs: dict[str, str] = {}
    good = []
    for number, (name, one) in enumerate(hostile.items()):
        if number % 10 == 0:
            good.append(faulty.put(f"{number:03}-good.ics", meeting(f"good-{number}", GOOD_AT)))
        hrefs[name] = faulty.put(f"{number:03}.ics", one.raw)
    copy = faulty.put("copy.ics", meeting("good-0", GOOD_AT + timedelta(hours=1)))

    said = work(database_url, calendar.account_id, faulty.url)
    assert said.startswith("polled None ")
    found = looked_at(household)
    assert {name: found[href][0].name for name, href in hrefs.items()} == {
        name: one.fate.name for name, one in hostile.items()
    }
    assert {name: found[hrefs[name]][1] for name, one in hostile.items() if one.count is not None} == {
        name: one.count for name, one in hostile.items() if one.count is not None
    }
    assert all(count <= MAX_OCCURRENCES for _, count, _ in found.values())
    assert not any("did not finish" in problem for *_, problem in found.values()), "its worker was ended by force"
    assert all(len(problem) <= 2_000 for *_, problem in found.values())
    assert [found[href][:2] for href in good] == [(Fate.READ, 1)] * len(good)
    assert found[copy][0] is Fate.LEFT_OUT
    assert "same UID" in found[copy][2]
    with household.database.read() as session:
        told = problems(session, calendar.account_id)
    assert sum(told.values()) == sum(fate in (Fate.LEFT_OUT, Fate.MENDED) for fate, _, _ in found.values())

    faulty.requests.clear()
    assert work(database_url, calendar.account_id, faulty.url) == "polled None 0"
    assert faulty.requests == ["REPORT sync"], "what cannot be read is not asked for at each poll"

    household.clock.now = GOOD_AT - timedelta(minutes=10)
    posts = [post.text for post in household.tick()]
    assert all(any(f"good-{number}" in text for text in posts) for number in range(0, len(hostile), 10))
    household.clock.now = HOSTILE_AT - timedelta(hours=2, minutes=59)  # 08:01 in Berlin: the agenda
    [agenda] = household.tick()
    household.clock.now = HOSTILE_AT - timedelta(minutes=10)
    reminders = household.tick()
    assert len(reminders) > sum(name.startswith("words: ") for name in hostile)
    for post in (agenda, *reminders):
        assert len(post.text) < 16_000, "Mattermost takes 16,383 characters"
        for word in ("@channel", "@all", "@here", "[a link](", "![", "<script>", "\u202e", "```"):
            assert word not in post.text


@ON_EACH_DATABASE
def test_a_known_meeting_whose_object_is_spoilt_is_no_cancelled_one_and_is_read_again(
    household: Household, faulty: FaultyServer
) -> None:
    """What stands in the place of a meeting says nothing about it, so its notices wait."""
    calendar = connected(household, faulty.url, faulty.calendar_url, LOGIN, faulty.password)
    spoilt = [one.raw for one in catalogue().values() if one.fate is Fate.LEFT_OUT and len(one.raw) < 100_000]
    for number in range(len(spoilt)):
        faulty.put(f"{number}.ics", meeting(f"m{number}", GOOD_AT))
    poll_and_expand(household.database, calendar.account_id, faulty.url, NOW)
    for number, raw in enumerate(spoilt):
        faulty.put(f"{number}.ics", raw)
    poll_and_expand(household.database, calendar.account_id, faulty.url, NOW)
    assert household.changes.claim_due() == []
    for number in range(len(spoilt)):
        faulty.put(f"{number}.ics", meeting(f"m{number}", GOOD_AT))
    poll_and_expand(household.database, calendar.account_id, faulty.url, NOW)
    assert household.changes.claim_due() == []
    assert {(fate, count) for fate, count, _ in looked_at(household).values()} == {(Fate.READ, 1)}


@ON_EACH_DATABASE
def test_what_radicale_takes_of_it_hides_no_meeting_either(household: Household, tmp_path: Path) -> None:
    with running_radicale(tmp_path, users=("anna",)) as server:
        make_calendar(server.folder, "anna", "work", "Work")
        url = f"{server.url}/anna/work/"
        calendar = connected(household, server.url, url, "anna", server.password)
        key = base64.b64encode(f"anna:{server.password}".encode()).decode()

        def put(name: str, raw: bytes) -> bool:
            headers = {"Authorization": f"Basic {key}", "Content-Type": "text/calendar; charset=utf-8"}
            request = urllib.request.Request(url + quote(name), data=raw, method="PUT", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=30):
                    return True
            except urllib.error.HTTPError as error:
                error.close()
                return False

        small = [
            one.raw
            for name, one in catalogue().items()
            if len(one.raw) <= RADICALE_TAKES_BYTES and name not in RADICALE_BROODS_OVER
        ]
        taken = set()
        for number, raw in enumerate(small):
            if put(f"{number}.ics", raw):
                taken.add(f"/anna/work/{number}.ics")
            if number % 20 == 0:
                assert put(f"good-{number}.ics", meeting(f"good-{number}", GOOD_AT))
        assert len(taken) > len(small) // 3

        assert poll_and_expand(household.database, calendar.account_id, server.url, NOW).startswith("polled None ")
        found = looked_at(household)
        good = [found[href][:2] for href in found if "good" in href]
        assert good == [(Fate.READ, 1)] * len(range(0, len(small), 20))
        assert taken <= set(found)
