"""The CalDAV servers of the sandbox: real processes, sample calendars, seeding, and no child left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from icalendar import Calendar

from sandbox.caldav import PEOPLE, running_radicale, seed_objects, seed_xandikos, write_samples
from sandbox.caldav.meetings import CalendarDesk, CalendarRefusedError, Meeting
from sandbox.caldav.seeding import seed_object
from sandbox.caldav.xandikos import running_xandikos
from sandbox.ports import free_port

NOW = datetime(2026, 11, 21, 6, 0, 30, tzinfo=UTC)


def test_both_people_see_their_own_calendars_and_only_with_the_password(tmp_path: Path) -> None:
    with running_radicale(tmp_path, samples=True) as server:
        for user in PEOPLE:
            assert server.desk.meetings(user, "work")
            assert server.desk.meetings(user, "personal")
        assert requests.get(f"{server.url}/anna/work/", auth=("anna", "wrong"), timeout=5).status_code == 401
        assert requests.get(f"{server.url}/anna/work/", auth=("boris", server.password), timeout=5).status_code == 403


def test_the_samples_hold_every_kind_of_meeting_and_one_that_starts_soon(tmp_path: Path) -> None:
    assert write_samples(tmp_path, NOW)
    texts = {
        path.stem: path.read_text(encoding="utf-8") for path in (tmp_path / "collection-root/anna/work").glob("*.ics")
    }
    whole = "".join(texts.values())
    for wanted in (
        "X-TELEMOST-CONFERENCE",
        "CONFERENCE",
        "LOCATION",
        "EXDATE",
        "RECURRENCE-ID",
        "STATUS:CANCELLED",
        "DECLINED",
    ):
        assert wanted in whole
    soon = Calendar.from_ical(texts["sample-soon"]).events[0]
    assert timedelta(minutes=11) < soon.start - NOW <= timedelta(minutes=12)
    assert {str(address) for address in soon.attendees} >= {"mailto:anna@example.org", "mailto:boris@example.org"}
    both = {path.name for path in (tmp_path / "collection-root/boris/work").glob("*.ics")}
    assert {"sample-soon.ics", "sample-planning.ics"} <= both
    assert not write_samples(tmp_path, NOW + timedelta(days=1)), "a second start keeps the calendars"


def test_a_meeting_is_added_moved_and_cancelled_over_caldav(tmp_path: Path) -> None:
    with running_radicale(tmp_path, samples=True) as server:
        desk = server.desk
        made = desk.add("anna", "Demo", NOW)
        desk.move("anna", made.uid, NOW + timedelta(hours=1))
        moved = next(one for one in desk.meetings("anna") if one.uid == made.uid)
        assert (moved.start, moved.end) == (NOW + timedelta(hours=1), NOW + timedelta(hours=1, minutes=30))
        desk.cancel("anna", made.uid)
        assert next(one for one in desk.meetings("anna") if one.uid == made.uid).status == "CANCELLED"
        desk.delete("anna", made.uid)
        assert made.uid not in {one.uid for one in desk.meetings("anna")}
        with pytest.raises(CalendarRefusedError, match="series"):
            desk.move("anna", "sample-weekly", NOW)
        with pytest.raises(CalendarRefusedError, match="404"):
            desk.cancel("anna", "nothing")


def test_an_unreachable_server_is_said_in_words() -> None:
    with pytest.raises(CalendarRefusedError, match="refused"):
        CalendarDesk(f"http://127.0.0.1:{free_port()}", "x").meetings("anna")


def test_the_server_reads_a_calendar_that_was_seeded(tmp_path: Path) -> None:
    with running_radicale(tmp_path) as server:
        seed_objects(server.folder, 300)
        assert 1_000 < len(seed_object(1)) < 1_500
        found = server.desk.meetings("anna", "big")
        assert len(found) == 300
        assert sum(one.is_series for one in found) == 30


def test_xandikos_reads_what_was_seeded_and_takes_new_meetings(tmp_path: Path) -> None:
    seed_xandikos(tmp_path / "xandikos", 100)
    with running_xandikos(tmp_path) as server:
        assert len(server.desk.meetings("user", "big")) == 100
        made = server.desk.add("user", "New", NOW, calendar="calendar")
        assert [one.uid for one in server.desk.meetings("user", "calendar")] == [made.uid]


def test_the_entry_point_is_radicale_itself_and_ends_on_sigterm(tmp_path: Path) -> None:
    port = free_port()
    arguments = [sys.executable, "-m", "sandbox.caldav", "--port", str(port), "--data", str(tmp_path / "cal")]
    environment = {**os.environ, "SANDBOX_CALDAV_PASSWORD": "a-secret-word"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    try:
        desk = CalendarDesk(f"http://127.0.0.1:{port}", "a-secret-word")
        deadline = time.monotonic() + 20
        found: list[Meeting] = []
        while not found and time.monotonic() < deadline:
            with contextlib.suppress(CalendarRefusedError):
                found = desk.meetings("anna")
            time.sleep(0.1)
        assert any(one.uid == "sample-soon" for one in found)
        if Path("/proc").exists():
            assert b"a-secret-word" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)
