"""Several who write about the same people at once on PostgreSQL: nobody fails, and nobody waits in a circle."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select, text, update

from switchboard.db.models import DocumentDelivery, Recipient
from switchboard.services.organisations.habits import send_collected
from tests.integration.organisations.house import API_HASH, API_ID, House, peer

pytestmark = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
OTHER = "+79160001122"


class Other:
    """Somebody else's work, in a thread."""

    def __init__(self, house: House, work: Callable[[], object]) -> None:
        self._house = house
        self._work = work
        self._errors: list[Exception] = []
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Return when the work is done, or waits for a lock."""
        self._thread.start()
        give_up_at = time.monotonic() + 60
        while self._thread.is_alive() and not self._waits():
            assert time.monotonic() < give_up_at
            time.sleep(0.02)

    def end(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self._errors == []

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  the test's own thread shows it
            self._errors.append(error)

    def _waits(self) -> bool:
        with self._house.database.read() as session:
            here = text(
                "SELECT 1 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()"
            )
            return session.scalar(here) is not None


@contextmanager
def met_before(house: House, statement: str, other: Other) -> Iterator[None]:
    """`other` starts when this thread is about to execute a statement that begins so, and has ended afterwards."""
    here = threading.current_thread()
    begun = threading.Event()

    def meet(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if threading.current_thread() is here and sql.startswith(statement) and not begun.is_set():
            begun.set()
            other.start()

    sqlalchemy_event.listen(house.database.engine, "before_cursor_execute", meet)
    try:
        yield
    finally:
        sqlalchemy_event.remove(house.database.engine, "before_cursor_execute", meet)
    assert begun.is_set()
    other.end()


def remove(house: House, who: str) -> None:
    house.recipients.remove(house.org, who, actor="test")


def test_who_is_removed_while_an_event_is_stored_for_them_is_removed_after_it(house: House) -> None:
    house.add("anna")
    house.add("boris")
    with met_before(house, "INSERT INTO document_deliveries", Other(house, lambda: remove(house, "anna"))):
        event_id = house.post("anna", "boris").event_id
    assert [state for *_, state in house.states(event_id)] == ["removed", "waiting"]


def test_who_is_removed_before_an_event_has_them_is_unknown_to_it(house: House) -> None:
    house.add("anna")
    house.add("boris")
    accepted: list[int] = []
    post = Other(house, lambda: accepted.append(house.post("anna", "boris").event_id))
    with met_before(house, "DELETE FROM recipients", post):
        remove(house, "anna")
    assert [state for *_, state in house.states(accepted[0])] == ["unknown_recipient", "waiting"]


def test_an_event_is_processed_while_one_of_its_recipients_is_removed(house: House) -> None:
    house.add("anna", digest="hour")
    house.add("boris", digest="hour")
    event_id = house.post("anna", "boris").event_id
    with met_before(house, "DELETE FROM recipients", Other(house, lambda: house.events.processed(house.org, event_id))):
        remove(house, "anna")
    assert [state for *_, state in house.states(event_id)] == ["removed", "given_up"]


def test_documents_are_locked_in_the_order_of_their_numbers(house: House) -> None:
    house.add("anna", digest="hour")
    for key in ("first", "second"):
        house.post("anna", key=key)
    with house.database.read() as session:
        first, second = session.scalars(select(DocumentDelivery.id).order_by(DocumentDelivery.id))
        people = session.scalars(select(Recipient.id)).all()
    later = house.clock() + timedelta(hours=5)
    with house.database.write() as session:  # now behind the other, in the index too
        session.execute(update(DocumentDelivery).where(DocumentDelivery.id == first).values(digest_at=later))

    def change_habit() -> None:
        with house.database.write() as session:
            send_collected(session, people, house.clock())

    other = Other(house, change_habit)
    with house.database.write() as session:
        lock: Any = select(DocumentDelivery.id).with_for_update(nowait=True)
        session.execute(lock.where(DocumentDelivery.id == first)).one()
        other.start()
        session.execute(lock.where(DocumentDelivery.id == second)).one()
    other.end()


def test_a_word_is_heard_while_the_number_of_its_organisation_changes(house: House) -> None:
    house.add("anna")
    house.add("boris")
    # the number carries a STOP over when somebody said one
    house.recipients.hear(house.account_id, peer("boris"), "STOP")

    def change() -> None:
        house.organisations.set_telegram(house.org, OTHER, api_id=API_ID, api_hash=API_HASH, actor="test")

    with met_before(house, "UPDATE recipients", Other(house, change)):
        house.recipients.hear(house.account_id, peer("anna"), "STOP")
    assert house.recipients.get(house.org, "anna").stopped_at is not None


def test_a_habit_is_changed_while_the_number_of_its_organisation_changes(house: House) -> None:
    house.add("anna")
    house.add("boris")
    house.recipients.hear(house.account_id, peer("boris"), "STOP")

    def change() -> None:
        house.organisations.set_telegram(house.org, OTHER, api_id=API_ID, api_hash=API_HASH, actor="test")

    house.clock.forward(minutes=1)
    with met_before(house, "UPDATE recipients", Other(house, change)):
        house.add("anna", digest="hour")
    assert house.recipients.get(house.org, "anna").digest == "hour"
