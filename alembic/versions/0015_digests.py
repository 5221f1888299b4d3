"""One message an hour or a day instead of many: who wants it so, and what is collected for it.

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

COLLECTED = sa.text("digest_at IS NOT NULL")

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("organisations", "recipients"):
        op.add_column(table, sa.Column("digest", sa.String(length=8), nullable=True))
        op.add_column(table, sa.Column("digest_at", sa.Time(), nullable=True))
    op.add_column("document_deliveries", sa.Column("digest_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_document_deliveries_digest_at",
        "document_deliveries",
        ["digest_at"],
        sqlite_where=COLLECTED,
        postgresql_where=COLLECTED,
    )


def downgrade() -> None:
    op.drop_index("ix_document_deliveries_digest_at", table_name="document_deliveries")
    op.drop_column("document_deliveries", "digest_at")
    for table in ("recipients", "organisations"):
        op.drop_column(table, "digest_at")
        op.drop_column(table, "digest")
