"""Organisations, their recipients and templates, document events and whom they were told to.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
UNFOLLOWED = sa.text("followed_at IS NULL AND delivery_id IS NOT NULL")
TO_REMIND = sa.text("remind_at IS NOT NULL")

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "organisations",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("parent_id", BIG_ID, nullable=True),
        sa.Column("support_contact", sa.String(length=200), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("locale", sa.String(length=8), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["parent_id"],
            ["organisations.id"],
            name="fk_organisations_parent_id_organisations",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
        sa.UniqueConstraint("name", name="uq_organisations_name"),
    )
    op.create_index("ix_organisations_parent_id", "organisations", ["parent_id"])
    op.create_table(
        "organisation_credentials",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("token_digest", sa.String(length=64), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_organisation_credentials_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_organisation_credentials"),
        sa.UniqueConstraint("token_digest", name="uq_organisation_credentials_token_digest"),
    )
    op.create_index("ix_organisation_credentials_organisation_id", "organisation_credentials", ["organisation_id"])
    op.create_table(
        "organisation_telegram",
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=True),
        sa.Column("phone", sa.String(length=16), nullable=False),
        sa.Column("api_id", sa.Integer(), nullable=False),
        sa.Column("api_hash", sa.Text(), nullable=False),
        sa.Column("told", sa.String(length=8), nullable=True),
        sa.Column("told_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["telegram_accounts.id"],
            name="fk_organisation_telegram_account_id_telegram_accounts",
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_organisation_telegram_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("organisation_id", name="pk_organisation_telegram"),
    )
    op.create_index("ix_organisation_telegram_account_id", "organisation_telegram", ["account_id"])
    op.create_index("ix_organisation_telegram_phone", "organisation_telegram", ["phone"])
    op.create_table(
        "recipients",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("external_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.String(length=160), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("second_channel", sa.String(length=16), nullable=True),
        sa.Column("telegram", sa.String(length=40), nullable=True),
        sa.Column("mattermost", sa.String(length=64), nullable=True),
        sa.Column("opted_in", sa.Boolean(), nullable=False),
        sa.Column("stopped_at", UTC_TIME, nullable=True),
        sa.Column("quiet_from", sa.Time(), nullable=True),
        sa.Column("quiet_until", sa.Time(), nullable=True),
        sa.Column("zone", sa.String(length=64), nullable=True),
        sa.Column("locale", sa.String(length=8), nullable=True),
        sa.Column("is_contact", sa.Boolean(), nullable=False),
        sa.Column("telegram_user_id", sa.BigInteger(), nullable=True),
        sa.Column("contacted_at", UTC_TIME, nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("removed_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_recipients_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_recipients"),
        sa.UniqueConstraint("organisation_id", "external_id", name="uq_recipients_organisation_id_external_id"),
    )
    op.create_index("ix_recipients_telegram", "recipients", ["telegram"])
    op.create_index("ix_recipients_telegram_user_id", "recipients", ["telegram_user_id"])
    op.create_table(
        "notice_templates",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("locale", sa.String(length=8), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_notice_templates_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_notice_templates"),
        sa.UniqueConstraint(
            "organisation_id",
            "kind",
            "purpose",
            "locale",
            name="uq_notice_templates_organisation_id_kind_purpose_locale",
        ),
    )
    op.create_table(
        "document_events",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("organisation_id", BIG_ID, nullable=False),
        sa.Column("idempotency_key", sa.String(length=200), nullable=False),
        sa.Column("body_hash", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=True),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=100), nullable=True),
        sa.Column("title", sa.String(length=500), nullable=True),
        sa.Column("link", sa.String(length=2000), nullable=True),
        sa.Column("deadline_at", UTC_TIME, nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("processed_at", UTC_TIME, nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_document_events_organisation_id_organisations",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_document_events"),
        sa.UniqueConstraint("organisation_id", "signature", name="uq_document_events_organisation_id_signature"),
        sa.UniqueConstraint(
            "organisation_id", "idempotency_key", name="uq_document_events_organisation_id_idempotency_key"
        ),
    )
    op.create_index("ix_document_events_created_at", "document_events", ["created_at"])
    op.create_table(
        "document_deliveries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("event_id", BIG_ID, nullable=False),
        sa.Column("external_id", sa.String(length=128), nullable=False),
        sa.Column("recipient_id", BIG_ID, nullable=True),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=True),
        sa.Column("delivery_id", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=20), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("remind_at", UTC_TIME, nullable=True),
        sa.Column("followed_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["event_id"],
            ["document_events.id"],
            name="fk_document_deliveries_event_id_document_events",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["recipient_id"],
            ["recipients.id"],
            name="fk_document_deliveries_recipient_id_recipients",
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_document_deliveries"),
        sa.UniqueConstraint(
            "event_id",
            "external_id",
            "purpose",
            "channel",
            name="uq_document_deliveries_event_id_external_id_purpose_channel",
        ),
    )
    op.create_index("ix_document_deliveries_recipient_id", "document_deliveries", ["recipient_id"])
    op.create_index(
        "ix_document_deliveries_remind_at",
        "document_deliveries",
        ["remind_at"],
        sqlite_where=TO_REMIND,
        postgresql_where=TO_REMIND,
    )
    op.create_index(
        "ix_document_deliveries_unfollowed",
        "document_deliveries",
        ["delivery_id"],
        sqlite_where=UNFOLLOWED,
        postgresql_where=UNFOLLOWED,
    )


def downgrade() -> None:
    op.drop_index("ix_document_deliveries_recipient_id", table_name="document_deliveries")
    op.drop_index("ix_document_deliveries_remind_at", table_name="document_deliveries")
    op.drop_index("ix_document_deliveries_unfollowed", table_name="document_deliveries")
    op.drop_table("document_deliveries")
    op.drop_index("ix_document_events_created_at", table_name="document_events")
    op.drop_table("document_events")
    op.drop_table("notice_templates")
    op.drop_index("ix_recipients_telegram", table_name="recipients")
    op.drop_index("ix_recipients_telegram_user_id", table_name="recipients")
    op.drop_table("recipients")
    op.drop_index("ix_organisation_telegram_account_id", table_name="organisation_telegram")
    op.drop_index("ix_organisation_telegram_phone", table_name="organisation_telegram")
    op.drop_table("organisation_telegram")
    op.drop_index("ix_organisation_credentials_organisation_id", table_name="organisation_credentials")
    op.drop_table("organisation_credentials")
    op.drop_index("ix_organisations_parent_id", table_name="organisations")
    op.drop_table("organisations")
