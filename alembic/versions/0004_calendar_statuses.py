"""The switch for the status "In a meeting", and what is known of the status that a person shows.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC_TIME = sa.DateTime(timezone=True)
WAITS = sa.text("due_at IS NOT NULL")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "calendar_subscribers", sa.Column("status_enabled", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.create_table(
        "calendar_statuses",
        sa.Column("mattermost_user_id", sa.String(length=64), nullable=False),
        sa.Column("due_at", UTC_TIME, nullable=True),
        sa.Column("woken", sa.Integer(), nullable=False),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(length=12), nullable=False),
        sa.Column("written", JSON, nullable=False),
        sa.Column("previous", JSON, nullable=True),
        sa.Column("hands_off_since", UTC_TIME, nullable=True),
        sa.Column("problem", sa.String(length=32), nullable=True),
        sa.Column("problem_at", UTC_TIME, nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("mattermost_user_id", name="pk_calendar_statuses"),
    )
    op.create_index(
        "ix_calendar_statuses_due_at", "calendar_statuses", ["due_at"], sqlite_where=WAITS, postgresql_where=WAITS
    )


def downgrade() -> None:
    op.drop_index("ix_calendar_statuses_due_at", table_name="calendar_statuses")
    op.drop_table("calendar_statuses")
    op.drop_column("calendar_subscribers", "status_enabled")
