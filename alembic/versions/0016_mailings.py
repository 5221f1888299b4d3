"""What organisations tell their people regularly, and which events came of it.

Revision: 0016, after 0015
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC_TIME = sa.DateTime(timezone=True)
SCHEDULED = sa.text("next_at IS NOT NULL")
OF_A_MAILING = sa.text("mailing_id IS NOT NULL")

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mailings",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("rule", sa.String(length=100), nullable=False),
        sa.Column("title", sa.String(length=500), nullable=False),
        sa.Column("link", sa.String(length=2000), nullable=False),
        sa.Column("texts", JSON, nullable=False),
        sa.Column("recipients", JSON, nullable=True),
        sa.Column("next_at", UTC_TIME, nullable=True),
        sa.Column("last_at", UTC_TIME, nullable=True),
        sa.Column("last_event_id", sa.BigInteger(), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("skipped_count", sa.Integer(), nullable=False),
        sa.Column("skipped_from", UTC_TIME, nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailings"),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_mailings_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.UniqueConstraint("organisation_id", "name", name="uq_mailings_organisation_id_name"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_mailings_next_at", "mailings", ["next_at"], sqlite_where=SCHEDULED, postgresql_where=SCHEDULED)
    op.add_column("document_events", sa.Column("mailing_id", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_document_events_mailing_id",
        "document_events",
        ["mailing_id"],
        sqlite_where=OF_A_MAILING,
        postgresql_where=OF_A_MAILING,
    )


def downgrade() -> None:
    op.drop_index("ix_document_events_mailing_id", table_name="document_events")
    op.drop_column("document_events", "mailing_id")
    op.drop_index("ix_mailings_next_at", table_name="mailings")
    op.drop_table("mailings")
