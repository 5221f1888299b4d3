"""Answers to invitations that are to be written to the calendar server.

Revision: 0005, after 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
WAITS = sa.text("due_at IS NOT NULL")

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "calendar_answers",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("subscriber_id", BIG_ID, nullable=False),
        sa.Column("uid", sa.String(length=512), nullable=False),
        sa.Column("recurrence_id", sa.String(length=16), nullable=False),
        sa.Column("partstat", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("shown_version", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("asked_at", UTC_TIME, nullable=False),
        sa.Column("give_up_at", UTC_TIME, nullable=False),
        sa.Column("due_at", UTC_TIME, nullable=True),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("delivery_id", BIG_ID, nullable=False),
        sa.Column("post_id", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["calendar_subscribers.id"],
            name="fk_calendar_answers_subscriber_id_calendar_subscribers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_answers"),
        sa.UniqueConstraint("subscriber_id", "uid", "recurrence_id", name="uq_calendar_answers_meeting"),
    )
    op.create_index(
        "ix_calendar_answers_due_at", "calendar_answers", ["due_at"], sqlite_where=WAITS, postgresql_where=WAITS
    )
    op.create_index("ix_calendar_answers_delivery_id", "calendar_answers", ["delivery_id"])


def downgrade() -> None:
    op.drop_index("ix_calendar_answers_delivery_id", "calendar_answers")
    op.drop_index("ix_calendar_answers_due_at", "calendar_answers")
    op.drop_table("calendar_answers")
