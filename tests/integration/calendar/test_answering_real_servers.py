"""Answers to invitations against real CalDAV servers: they land, and overwrite nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from sandbox.caldav.ics import BORIS, Attendee
from switchboard.clients.address_guard import AddressGuard
from switchboard.clients.caldav import CaldavClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import AnswerState, CalendarAnswer, CalendarObject, CalendarOccurrence, Delivery
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.domain.calendar.answering import Reply
from switchboard.services.calendar import reminders as reminder_service
from switchboard.services.calendar.accounts import CalendarAccounts, ConnectRequest, Person
from switchboard.services.calendar.answering import Answering, Invitations
from switchboard.services.calendar.expansion import CalendarExpansion
from switchboard.services.calendar.notices import CalendarNotices
from switchboard.services.calendar.polling import CalendarPolling, PollOutcome
from tests.integration.calendar.real_servers import NAMES, RealServer, running_real_server

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
SEEDED = 3
LATER = NOW + timedelta(hours=3)
BOX = SecretBox(["k" * 32])
ANNA = Attendee("anna@example.org", "Анна Иванова", "NEEDS-ACTION")


@pytest.fixture(params=NAMES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealServer]:
    with running_real_server(request.param, tmp_path, SEEDED) as server:
        yield server


class OnePerson:
    def find(self, _username_or_id: str) -> Person:
        return Person("u-anna", "anna", "anna@example.org", "en", "Europe/Berlin")


class Drawn:
    def redraw(self, *_args: Any) -> None:
        return


class Free:
    def attempt(self, _name: str, _lease_s: float) -> AbstractContextManager[object]:
        return contextlib.nullcontext()


def test_an_answer_lands_and_a_change_made_meanwhile_stays(sqlite_url: str, server: RealServer) -> None:
    database = Database(sqlite_url)
    guard = AddressGuard([f"127.0.0.1:{server.port}"])
    meeting = server.desk.add("anna", "Review", LATER, calendar="big", attendees=(BORIS, ANNA), now=NOW)
    accounts = CalendarAccounts(database, server.open, BOX, OnePerson(), guard, lambda: NOW)
    connected = accounts.connect(
        ConnectRequest(
            server.url, server.login, server.password, "anna", "Europe/Berlin", calendars=(server.calendar,)
        ),
        actor="test",
    )
    polling = CalendarPolling(database, server.open, BOX, CalendarNotices(database), lambda: NOW, poll_period_s=120)
    expansion = CalendarExpansion(database, lambda: NOW)
    polling.poll(connected.account_id)
    expansion.expand_account(connected.account_id)
    with database.write() as session:
        body = {
            "subscriber_id": connected.subscriber_id,
            "uid": meeting.uid,
            "recurrence_id": "",
            "start": meeting.start.isoformat(),
            "minutes": 10,
        }
        DeliveryRepository(session).add(
            [NewDelivery("mattermost", reminder_service.KIND, "k", "s", "u-anna", body)], NOW
        )
        delivery_id = session.scalars(select(Delivery.id)).one()
    invitations = Invitations(database, lambda: NOW)

    def click(reply: Reply, wrap: Callable[[CaldavClient], None] = lambda _client: None) -> str:
        def open_server(url: str, login: str, password: str) -> CaldavClient:
            client = server.open(url, login, password)
            wrap(client)
            return client

        taken = invitations.ask("u-anna", delivery_id, 0, reply, "post")
        assert taken.answer_id is not None, taken.reason
        return Answering(database, open_server, BOX, Drawn(), Free(), lambda: NOW).write(taken.answer_id).state

    def stored() -> bytes:
        with server.open(server.url, server.login, server.password) as client, database.read() as session:
            row = session.execute(
                select(CalendarObject.href, CalendarOccurrence.calendar_id)
                .join(CalendarOccurrence, CalendarOccurrence.object_id == CalendarObject.id)
                .where(CalendarOccurrence.uid == meeting.uid)
            ).one()
            [big] = [one for one in client.discover().calendars if one.url.endswith("/big/")]
            return client.get(big.url, row.href).raw.replace(b"\r\n ", b"")

    assert click(Reply.ACCEPTED) == AnswerState.WRITTEN
    assert b"PARTSTAT=ACCEPTED" in stored()
    assert b"NEEDS-ACTION" not in stored()

    def move_before_the_first_put(client: CaldavClient) -> None:
        whole = client.put

        def put(*args: Any) -> str:
            client.put = whole  # type: ignore[method-assign]
            server.desk.move("anna", meeting.uid, LATER + timedelta(hours=1), calendar="big", now=NOW)
            return whole(*args)

        client.put = put  # type: ignore[assignment,method-assign]

    assert click(Reply.DECLINED, move_before_the_first_put) == AnswerState.WRITTEN
    assert b"PARTSTAT=DECLINED" in stored()
    assert f"DTSTART:{LATER + timedelta(hours=1):%Y%m%dT%H%M%SZ}".encode() in stored()

    expansion.expand_account(connected.account_id)
    after = polling.poll(connected.account_id)
    assert (after.outcome, after.changed) == (PollOutcome.POLLED, 0)
    with database.read() as session:
        occurrence = session.scalars(select(CalendarOccurrence).where(CalendarOccurrence.uid == meeting.uid)).one()
        assert (occurrence.declined, occurrence.start_at) == (True, LATER + timedelta(hours=1))
        assert session.scalars(select(CalendarAnswer)).one().attempts == 0
    database.dispose()
