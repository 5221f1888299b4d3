"""The keys that encrypt secrets at rest: proof that they fit this database, and rotation to the newest."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Column, Table, func, select, update

from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import Base, KeyCheck
from switchboard.db.types import Sealed
from switchboard.db.upsert import insert_ignoring_conflicts
from switchboard.errors import ConfigError

CHECK_TEXT = "switchboard"


class Keys:
    """Checks and rotates every column of the type Sealed."""

    def __init__(self, database: Database, secret_box: SecretBox) -> None:
        self._database = database
        self._box = secret_box

    def check(self) -> None:
        """ConfigError when SECRET_KEYS does not open this database's secrets; the first call writes the proof."""
        with self._database.write() as session:
            row = {"id": 1, "token": self._box.encrypt(CHECK_TEXT)}
            insert_ignoring_conflicts(session, KeyCheck, [row], KeyCheck.id)
            token = session.get_one(KeyCheck, 1).token
        try:
            fits = self._box.decrypt(token) == CHECK_TEXT
        except ConfigError:
            fits = False
        if not fits:
            raise ConfigError(
                "SECRET_KEYS does not open the secrets of this database. Put the lost key back at the end of the list; "
                "without it every stored password and session must be entered again."
            )

    def rotate(self, progress: Callable[[int, int], None]) -> int:
        """Encrypt every stored secret with the newest key; return how many. Repeatable; tells (done, of) as it goes.

        A secret that somebody changes meanwhile is left to that change, which used the newest key already.
        """
        columns = _sealed_columns()
        with self._database.read() as session:
            total = sum(
                session.scalar(select(func.count()).select_from(table).where(column.is_not(None))) or 0
                for table, column in columns
            )
        done = 0
        for table, column in columns:
            for key, token in self._tokens(table, column):
                with self._database.write() as session:
                    session.execute(
                        update(table)
                        .where(_key(table) == key, column == token)
                        .values({column.name: self._box.rotate(token)})
                    )
                done += 1
                progress(done, total)
        return done

    def _tokens(self, table: Table, column: Column[str]) -> list[tuple[object, str]]:
        found: list[tuple[object, str]] = []
        with self._database.read() as session:
            rows = session.execute(select(_key(table), column).where(column.is_not(None)))
            found.extend((row[0], row[1]) for row in rows)
        return found


def _sealed_columns() -> list[tuple[Table, Column[str]]]:
    return [
        (table, column)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Sealed)
    ]


def _key(table: Table) -> Column[object]:
    (key,) = table.primary_key.columns
    return key
