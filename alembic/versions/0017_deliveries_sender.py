"""Name the account that sends a message, so that its rows are found without reading those of others.

Revision ID: 0017
Revises: 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

WAITING = sa.text("state IN ('PENDING', 'UNCERTAIN')")


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("sender", sa.BigInteger(), nullable=True))
    deliveries = sa.table(
        "deliveries",
        sa.column("id", sa.BigInteger()),
        sa.column("channel", sa.String()),
        sa.column("subject", sa.String()),
        sa.column("finished_at", sa.DateTime(timezone=True)),
        sa.column("sender", sa.BigInteger()),
    )
    connection = op.get_bind()
    open_rows = connection.execute(
        sa.select(deliveries.c.id, deliveries.c.subject).where(
            deliveries.c.channel == "telegram", deliveries.c.finished_at.is_(None)
        )
    ).all()
    for row in open_rows:
        connection.execute(
            deliveries.update().where(deliveries.c.id == row.id).values(sender=int(row.subject.split(":")[1]))
        )
    op.create_index(
        "ix_deliveries_sender_waiting",
        "deliveries",
        ["sender", "next_attempt_at"],
        sqlite_where=WAITING,
        postgresql_where=WAITING,
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_sender_waiting", table_name="deliveries")
    op.drop_column("deliveries", "sender")
