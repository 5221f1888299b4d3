"""Change notices: snapshots of changed objects, switches, quiet hours.

Revision: 0002, after 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC_TIME = sa.DateTime(timezone=True)

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calendar_snapshots",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("calendar_id", BIG_ID, nullable=False),
        sa.Column("href", sa.String(length=1024), nullable=False),
        sa.Column("before", JSON, nullable=False),
        sa.Column("known", sa.Boolean(), nullable=False),
        sa.Column("until", UTC_TIME, nullable=True),
        sa.Column("taken_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name="fk_calendar_snapshots_calendar_id_calendars", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_snapshots"),
        sa.UniqueConstraint("calendar_id", "href", name="uq_calendar_snapshots_calendar_id_href"),
    )
    op.add_column("calendar_subscribers", _switch("changes_enabled", on=True))
    op.add_column("calendar_subscribers", _switch("answers_enabled", on=True))
    op.add_column("calendar_subscribers", sa.Column("quiet_from", sa.Time(), nullable=True))
    op.add_column("calendar_subscribers", sa.Column("quiet_until", sa.Time(), nullable=True))
    op.add_column("calendar_subscribers", sa.Column("changes_held_until", UTC_TIME, nullable=True))
    op.add_column("calendars", sa.Column("known_since", UTC_TIME, nullable=True))
    op.add_column("calendars", _switch("half_polled", on=False))
    op.add_column("calendar_objects", _switch("unreadable", on=False))
    op.execute("UPDATE calendars SET known_since = reconciled_at WHERE sync_token IS NOT NULL OR state = 'active'")
    op.execute("UPDATE calendar_objects SET unreadable = TRUE WHERE problem IS NOT NULL AND expanded_until IS NULL")


def downgrade() -> None:
    op.drop_column("calendar_objects", "unreadable")
    op.drop_column("calendars", "half_polled")
    op.drop_column("calendars", "known_since")
    for name in ("changes_held_until", "quiet_until", "quiet_from", "answers_enabled", "changes_enabled"):
        op.drop_column("calendar_subscribers", name)

    op.drop_table("calendar_snapshots")


def _switch(name: str, *, on: bool) -> sa.Column[bool]:
    """A column that old rows get a value for; new rows get theirs from the model."""
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.true() if on else sa.false())
