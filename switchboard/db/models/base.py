"""The declarative base: names of constraints are fixed so that migrations can name them on both databases."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from switchboard.db.types import Json, UtcDateTime


class Base(DeclarativeBase):
    """Base of every model. A table that numbers its rows gives no number twice, on SQLite as on PostgreSQL.

    The ledger's keys, subjects and bodies, messages in the queue and the audit log name rows that may be gone by now. SQLite
    gives the highest number again after its row was deleted, unless it is told AUTOINCREMENT
    (https://www.sqlite.org/autoinc.html).
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: Json,
        list[int]: Json,
        list[str]: Json,
        list[dict[str, Any]]: Json,
    }

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        table = cls.metadata.tables[cls.__tablename__]
        if table.autoincrement_column is not None:
            table.dialect_kwargs["sqlite_autoincrement"] = True
