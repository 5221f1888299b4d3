"""What is old is erased in small steps; what keeps a message from being sent twice stays for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from switchboard.db.engine import Database
from switchboard.db.models import Delivery, DeliveryState, StoredFile
from switchboard.db.repositories.deliveries import DeliveryRepository, NewDelivery
from switchboard.deadlines import deadline_in
from switchboard.services import retention
from switchboard.services.files import DatabaseFileStore
from switchboard.services.retention import Erased, Retention

NOW = datetime(2026, 11, 21, 6, 0, tzinfo=UTC)
KEEP = timedelta(days=90)
OLD, YOUNG = NOW - KEEP - timedelta(seconds=1), NOW - KEEP + timedelta(seconds=1)


def new(key: str) -> NewDelivery:
    return NewDelivery("mattermost", "reminder", key, f"s:{key}", "anna", {"summary": "a secret meeting"})


def enter(database: Database, *keys: str, finished_at: datetime | None, state: DeliveryState) -> None:
    with database.write() as session:
        DeliveryRepository(session).add([new(key) for key in keys], finished_at or OLD)
        for row in session.scalars(select(Delivery).where(Delivery.key.in_(keys))):
            row.state, row.finished_at, row.reason = state, finished_at, "the text could stand here"


def row(database: Database, key: str) -> Delivery:
    with database.read() as session:
        return session.scalars(select(Delivery).where(Delivery.key == key)).one()


def test_the_text_of_an_old_message_goes_and_its_key_stays(database: Database) -> None:
    enter(database, "old", finished_at=OLD, state=DeliveryState.SENT)
    assert Retention(database, KEEP).erase(NOW) == Erased(message_texts=1, files=0, occurrences=0)
    erased = row(database, "old")
    assert (erased.body, erased.reason, erased.key, erased.recipient) == (None, None, "old", "anna")
    with database.write() as session:
        assert DeliveryRepository(session).add([new("old")], NOW) == []


@pytest.mark.parametrize("state", [DeliveryState.DEAD, DeliveryState.EXPIRED, DeliveryState.READ])
def test_every_ended_message_is_erased(database: Database, state: DeliveryState) -> None:
    enter(database, "old", finished_at=OLD, state=state)
    assert Retention(database, KEEP).erase(NOW).message_texts == 1


def test_young_and_open_messages_keep_their_texts(database: Database) -> None:
    enter(database, "young", finished_at=YOUNG, state=DeliveryState.SENT)
    enter(database, "open", finished_at=None, state=DeliveryState.UNCERTAIN)
    assert Retention(database, KEEP).erase(NOW).message_texts == 0
    assert row(database, "young").body == row(database, "open").body == {"summary": "a secret meeting"}


def test_it_goes_in_batches_and_a_repeat_finds_nothing(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "FILE_BATCH", 2)
    enter(database, *(f"k{number}" for number in range(7)), finished_at=OLD, state=DeliveryState.SENT)
    store = DatabaseFileStore(database)
    for number in range(5):
        store.save(f"{number}", "text/plain", [b"x"], OLD)
    assert Retention(database, KEEP).erase(NOW) == Erased(message_texts=7, files=5, occurrences=0)
    assert Retention(database, KEEP).erase(NOW) == Erased(0, 0, 0)


def test_old_and_abandoned_files_go_and_those_being_written_stay(database: Database) -> None:
    store = DatabaseFileStore(database)
    old, young = (store.save("x", "text/plain", [b"x"], at) for at in (OLD, YOUNG))
    with database.write() as session:
        for name, age in (("abandoned", timedelta(hours=7)), ("being written", timedelta(hours=5))):
            session.add(StoredFile(id=name, name=name, media_type="text/plain", size_bytes=0, created_at=NOW - age))
    assert Retention(database, KEEP).erase(NOW).files == 2
    with database.read() as session:
        assert set(session.scalars(select(StoredFile.id))) == {young.id, "being written"}
    assert old.id != young.id


def test_it_stops_at_its_deadline_and_goes_on_the_next_time(database: Database) -> None:
    enter(database, "old", finished_at=OLD, state=DeliveryState.SENT)
    with deadline_in(0):
        assert Retention(database, KEEP).erase(NOW) == Erased(0, 0, 0)
    assert Retention(database, KEEP).erase(NOW).message_texts == 1
