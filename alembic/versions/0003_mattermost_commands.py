"""Slash commands and the bot's rights on the Mattermost server.

Revision: 0003, after 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC_TIME = sa.DateTime(timezone=True)

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mattermost_commands",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("team_id", sa.String(length=64), nullable=False),
        sa.Column("trigger", sa.String(length=128), nullable=False),
        sa.Column("command_id", sa.String(length=64), nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mattermost_commands"),
        sa.UniqueConstraint("team_id", "trigger", name="uq_mattermost_commands_team_id_trigger"),
    )
    op.create_table(
        "mattermost_installations",
        sa.Column("bot_user_id", sa.String(length=64), nullable=False),
        sa.Column("bot_created", sa.Boolean(), nullable=False),
        sa.Column("roles_before", sa.String(length=512), nullable=False),
        sa.Column("granted", JSON, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("bot_user_id", name="pk_mattermost_installations"),
    )


def downgrade() -> None:
    op.drop_table("mattermost_installations")
    op.drop_table("mattermost_commands")
