"""Telegram accounts, sign-ins under way, and the leases of the gateways on shards of accounts.

Revision: 0010, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
OURS = sa.text("origin = 'database' AND phone IS NOT NULL")
ENVIRONMENT = sa.text("origin = 'env'")
OPEN = sa.text("expires_at IS NOT NULL")

revision = "0010"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "telegram_accounts",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(length=4), nullable=False),
        sa.Column("origin", sa.String(length=8), nullable=False),
        sa.Column("phone", sa.String(length=16), nullable=True),
        sa.Column("api_id", sa.Integer(), nullable=False),
        sa.Column("api_hash", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("key_digest", sa.String(length=64), nullable=True),
        sa.Column("bot_token", sa.Text(), nullable=True),
        sa.Column("own_id", sa.BigInteger(), nullable=True),
        sa.Column("own_name", sa.String(length=160), nullable=True),
        sa.Column("own_username", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("since", UTC_TIME, nullable=False),
        sa.Column("flood_until", UTC_TIME, nullable=True),
        sa.Column("wanted", sa.String(length=8), nullable=False),
        sa.Column("shard", sa.Integer(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("pts", sa.Integer(), nullable=True),
        sa.Column("qts", sa.Integer(), nullable=True),
        sa.Column("date", sa.Integer(), nullable=True),
        sa.Column("seq", sa.Integer(), nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_accounts"),
        sa.UniqueConstraint("key_digest", name="uq_telegram_accounts_key_digest"),
    )
    op.create_index("ix_telegram_accounts_shard", "telegram_accounts", ["shard"])
    op.create_index(
        "ix_telegram_accounts_phone",
        "telegram_accounts",
        ["phone"],
        unique=True,
        sqlite_where=OURS,
        postgresql_where=OURS,
    )
    op.create_index(
        "ix_telegram_accounts_env",
        "telegram_accounts",
        ["kind"],
        unique=True,
        sqlite_where=ENVIRONMENT,
        postgresql_where=ENVIRONMENT,
    )
    op.create_table(
        "telegram_sign_ins",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("session", sa.Text(), nullable=True),
        sa.Column("code_hash", sa.Text(), nullable=True),
        sa.Column("sent_by", sa.String(length=24), nullable=True),
        sa.Column("code_length", sa.Integer(), nullable=True),
        sa.Column("resend_at", UTC_TIME, nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("request", sa.String(length=16), nullable=True),
        sa.Column("input", sa.Text(), nullable=True),
        sa.Column("request_number", sa.Integer(), nullable=False),
        sa.Column("answered_number", sa.Integer(), nullable=False),
        sa.Column("problem", sa.String(length=32), nullable=True),
        sa.Column("retry_at", UTC_TIME, nullable=True),
        sa.Column("asked_at", UTC_TIME, nullable=False),
        sa.Column("expires_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("account_id", name="pk_telegram_sign_ins"),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["telegram_accounts.id"],
            name="fk_telegram_sign_ins_account_id_telegram_accounts",
            ondelete="CASCADE",
        ),
    )
    op.create_index(
        "ix_telegram_sign_ins_expires_at",
        "telegram_sign_ins",
        ["expires_at"],
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )
    op.create_table(
        "telegram_shards",
        sa.Column("shard", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("leased_until", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("shard", name="pk_telegram_shards"),
    )
    op.create_table(
        "telegram_gateways",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("host", sa.String(length=128), nullable=False),
        sa.Column("accounts", sa.Integer(), nullable=False),
        sa.Column("seen_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_gateways"),
    )


def downgrade() -> None:
    op.drop_table("telegram_gateways")
    op.drop_table("telegram_shards")
    op.drop_index("ix_telegram_sign_ins_expires_at", table_name="telegram_sign_ins")
    op.drop_table("telegram_sign_ins")
    op.drop_index("ix_telegram_accounts_env", table_name="telegram_accounts")
    op.drop_index("ix_telegram_accounts_phone", table_name="telegram_accounts")
    op.drop_index("ix_telegram_accounts_shard", table_name="telegram_accounts")
    op.drop_table("telegram_accounts")
