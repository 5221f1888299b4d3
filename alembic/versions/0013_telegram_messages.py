"""What Telegram accounts receive, whom they have met, and how far their chats are read.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UNHANDLED = sa.text("state IN ('received', 'handling')")
WITH_TEXT = sa.text("erased_at IS NULL")

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def _account(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["account_id"], ["telegram_accounts.id"], name=f"fk_{table}_account_id_telegram_accounts", ondelete="CASCADE"
    )


def upgrade() -> None:
    op.add_column("telegram_accounts", sa.Column("top_message", sa.Integer(), nullable=True))
    op.create_table(
        "telegram_peers",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("peer_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("access_hash", sa.BigInteger(), nullable=True),
        sa.Column("username", sa.String(length=64), nullable=True),
        sa.Column("phone", sa.String(length=24), nullable=True),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("seen_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_peers"),
        sa.UniqueConstraint("account_id", "peer_id", name="uq_telegram_peers_account_id_peer_id"),
        _account("telegram_peers"),
    )
    op.create_index("ix_telegram_peers_username", "telegram_peers", ["account_id", "username"])
    op.create_index("ix_telegram_peers_phone", "telegram_peers", ["account_id", "phone"])
    op.create_table(
        "telegram_chats",
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("chat_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pts", sa.Integer(), nullable=True),
        sa.Column("top_message", sa.Integer(), nullable=False),
        sa.Column("read_in", sa.Integer(), nullable=False),
        sa.Column("read_out", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "chat_id", name="pk_telegram_chats"),
        _account("telegram_chats"),
    )
    op.create_table(
        "telegram_messages",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.Integer(), nullable=False),
        sa.Column("edit", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("out", sa.Boolean(), nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        sa.Column("media", JSON, nullable=True),
        sa.Column("reply_to", sa.Integer(), nullable=True),
        sa.Column("album", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", UTC_TIME, nullable=False),
        sa.Column("stored_at", UTC_TIME, nullable=False),
        sa.Column("deleted_at", UTC_TIME, nullable=True),
        sa.Column("erased_at", UTC_TIME, nullable=True),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("next_attempt_at", UTC_TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_telegram_messages"),
        sa.UniqueConstraint(
            "account_id",
            "chat_id",
            "message_id",
            "edit",
            name="uq_telegram_messages_account_id_chat_id_message_id_edit",
        ),
        _account("telegram_messages"),
    )
    op.create_index(
        "ix_telegram_messages_unhandled",
        "telegram_messages",
        ["account_id", "chat_id", "id"],
        sqlite_where=UNHANDLED,
        postgresql_where=UNHANDLED,
    )
    op.create_index("ix_telegram_messages_message_id", "telegram_messages", ["account_id", "message_id"])
    op.create_index(
        "ix_telegram_messages_stored_at",
        "telegram_messages",
        ["stored_at"],
        sqlite_where=WITH_TEXT,
        postgresql_where=WITH_TEXT,
    )


def downgrade() -> None:
    for index in ("stored_at", "message_id", "unhandled"):
        op.drop_index(f"ix_telegram_messages_{index}", table_name="telegram_messages")
    op.drop_table("telegram_messages")
    op.drop_table("telegram_chats")
    op.drop_index("ix_telegram_peers_phone", table_name="telegram_peers")
    op.drop_index("ix_telegram_peers_username", table_name="telegram_peers")
    op.drop_table("telegram_peers")
    op.drop_column("telegram_accounts", "top_message")
