"""What sending over Telegram remembers beside the ledger.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def _account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account_id"],
        ["telegram_accounts.id"],
        name=f"fk_{table}_account_id_telegram_accounts",
        ondelete="CASCADE",
    )


def upgrade() -> None:
    op.create_table(
        "telegram_waits",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("method", sa.String(length=64), nullable=False),
        sa.Column("not_before", UTC_TIME, nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "method", name="pk_telegram_waits"),
        _account("telegram_waits"),
    )
    op.create_table(
        "telegram_misses",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("until", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "digest", name="pk_telegram_misses"),
        _account("telegram_misses"),
    )
    op.create_table(
        "telegram_sent",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("chat_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("delivery_id", BIG_ID, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "chat_id", "message_id", name="pk_telegram_sent"),
        _account("telegram_sent"),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name="fk_telegram_sent_delivery_id_deliveries", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_telegram_sent_delivery_id", "telegram_sent", ["delivery_id"])


def downgrade() -> None:
    op.drop_index("ix_telegram_sent_delivery_id", table_name="telegram_sent")
    op.drop_table("telegram_sent")
    op.drop_table("telegram_misses")
    op.drop_table("telegram_waits")
