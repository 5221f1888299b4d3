"""How Alembic reaches the database: a connection handed over by switchboard.db.migrate, or one from the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from switchboard.db import migrate
from switchboard.db.engine import Database
from switchboard.db.models import Base
from switchboard.settings import load_settings


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",  # SQLite alters a table by copying it
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(load_settings().effective_database_url, connections=1, enforce_foreign_keys=False)
    with migrate.locked(database) as opened:
        run(opened)
    database.dispose()
