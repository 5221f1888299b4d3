"""A STOP that stood in a recipient's row becomes the person's word to the number."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, create_engine, select

from switchboard.db import migrate

BEFORE, REVISION = "0019", "0020"
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
OWN_ID = 9_000


class Tables:
    """The tables of a revision, filled without models, which are of the newest."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.metadata = MetaData()
        self.metadata.reflect(connection)

    def add(self, table: str, **values: Any) -> None:
        self.connection.execute(self.metadata.tables[table].insert().values(**values))

    def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        of = self.metadata.tables[table]
        found = self.connection.execute(select(*(of.c[name] for name in columns)).order_by(of.c[columns[0]]))
        return [tuple(row) for row in found]


def fill(tables: Tables) -> None:
    """Two organisations on a number, one on none."""
    tables.add(
        "telegram_accounts",
        id=1,
        kind="user",
        origin="database",
        api_id=1,
        api_hash="h",
        own_id=OWN_ID,
        state="online",
        since=NOW,
        wanted="run",
        shard=0,
        revision=0,
        created_at=NOW,
    )
    for number in (1, 2, 3):
        tables.add(
            "organisations", id=number, name=f"o{number}", support_contact="", zone="UTC", locale="en", created_at=NOW
        )
        account_id = 1 if number < 3 else None
        tables.add(
            "organisation_telegram",
            organisation_id=number,
            account_id=account_id,
            phone=f"+7000000000{number}",
            api_id=1,
            api_hash="h",
        )
    for peer_id, username, phone in ((101, "Anna", None), (102, None, "+79160000002")):
        tables.add(
            "telegram_peers",
            account_id=1,
            peer_id=peer_id,
            kind="user",
            username=username,
            phone=phone,
            name="n",
            seen_at=NOW,
        )


def recipient(tables: Tables, number: int, organisation_id: int = 1, **values: Any) -> None:
    given = {"stopped_at": NOW, "telegram": None, "telegram_user_id": None, **values}
    tables.add(
        "recipients",
        id=number,
        organisation_id=organisation_id,
        external_id=f"e{number}",
        name="",
        channel="telegram",
        opted_in=True,
        is_contact=False,
        created_at=NOW,
        updated_at=NOW,
        **given,
    )


def message(tables: Tables, number: int, chat_id: int, text: str | None, **values: Any) -> None:
    given = {"kind": "message", "out": False, "edit": 0, "sent_at": NOW, **values}
    tables.add(
        "telegram_messages",
        id=number,
        account_id=1,
        chat_id=chat_id,
        message_id=number,
        sender_id=chat_id,
        text=text,
        stored_at=NOW,
        state="handled",
        next_attempt_at=NOW,
        attempts=1,
        **given,
    )


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.full)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'before.sqlite3'}"
    return str(request.getfixturevalue("empty_postgres_url"))


def test_every_stop_of_a_known_person_is_carried_over_and_the_others_stay(url: str) -> None:
    migrate.upgrade(url, BEFORE)
    engine = create_engine(url)
    with engine.begin() as connection:
        tables = Tables(connection)
        fill(tables)
        recipient(tables, 1, telegram="@anna")
        recipient(tables, 2, 2, telegram="+79160000000", telegram_user_id=101, stopped_at=EARLIER)
        recipient(tables, 3, telegram="+79160000002")
        recipient(tables, 4, telegram="103")
        recipient(tables, 5, telegram="@nobody")
        recipient(tables, 6, telegram="104", stopped_at=None)
        recipient(tables, 7)  # removed
        recipient(tables, 8, 3, telegram_user_id=105)  # of an organisation without a number
    migrate.upgrade(url, REVISION)
    with engine.begin() as connection:
        tables = Tables(connection)
        stops = tables.rows("telegram_stops", "user_id", "own_id", "stopped_at")
        people = tables.rows("recipients", "id", "stopped_by")
        standing = [number for number, at in tables.rows("recipients", "id", "stopped_at") if at is not None]
    engine.dispose()
    assert [(own_id, user_id, at.replace(tzinfo=UTC)) for user_id, own_id, at in stops] == [
        (OWN_ID, 101, EARLIER),
        (OWN_ID, 102, NOW),
        (OWN_ID, 103, NOW),
    ]
    assert people == [(1, 101), (2, 101), (3, 102), (4, 103), (5, None), (6, None), (7, None), (8, None)]
    assert standing == [1, 2, 3, 4, 5, 7, 8]


def test_a_stop_of_somebody_who_was_not_known_yet_is_carried_over_from_their_message(url: str) -> None:
    migrate.upgrade(url, BEFORE)
    engine = create_engine(url)
    with engine.begin() as connection:
        tables = Tables(connection)
        fill(tables)
        tables.add("telegram_peers", account_id=1, peer_id=207, kind="bot", name="b", seen_at=NOW)
        recipient(tables, 1, telegram="+79160000009", stopped_at=None)  # of 201, whom nobody has looked up
        recipient(tables, 2, telegram="@anna", stopped_at=EARLIER)
        written: list[tuple[int, str | None, dict[str, Any]]] = [
            (201, "Стоп!", {"sent_at": EARLIER}),
            (201, "stop", {}),
            (202, "STOP", {}),
            (202, "start", {}),
            (203, "START", {}),
            (203, "stop", {}),
            (101, "stop", {}),  # known already
            (204, "please stop", {}),
            (205, "stop", {"out": True}),
            (206, "stop", {"edit": 1}),
            (207, "stop", {}),  # a bot
            (-208, "stop", {}),  # a group
            (209, "stop", {"kind": "button"}),
            (210, None, {}),
            (777_000, "stop", {}),  # Telegram itself
        ]
        for number, (chat_id, text, values) in enumerate(written, 1):
            message(tables, number, chat_id, text, **values)
    migrate.upgrade(url, REVISION)
    with engine.begin() as connection:
        stops = Tables(connection).rows("telegram_stops", "user_id", "own_id", "stopped_at")
    engine.dispose()
    assert [(user_id, own_id, at.replace(tzinfo=UTC)) for user_id, own_id, at in stops] == [
        (101, OWN_ID, EARLIER),
        (201, OWN_ID, EARLIER),
        (203, OWN_ID, NOW),
    ]
