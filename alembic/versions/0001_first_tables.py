"""First tables: ledger, calendars, audit log, files, heartbeats, key check.

Revision: 0001, after None
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
UTC_TIME = sa.DateTime(timezone=True)

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
    op.create_index("ix_audit_log_subject", "audit_log", ["subject"], unique=False)

    op.create_table(
        "calendar_subscribers",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("mattermost_user_id", sa.String(length=64), nullable=False),
        sa.Column("username", sa.String(length=128), nullable=False),
        sa.Column("email", sa.String(length=256), nullable=False),
        sa.Column("locale", sa.String(length=16), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("dm_channel_id", sa.String(length=64), nullable=True),
        sa.Column("agenda_enabled", sa.Boolean(), nullable=False),
        sa.Column("agenda_time", sa.Time(), nullable=False),
        sa.Column("agenda_on_empty_days", sa.Boolean(), nullable=False),
        sa.Column("weekdays", JSON, nullable=False),
        sa.Column("reminders_enabled", sa.Boolean(), nullable=False),
        sa.Column("reminder_minutes", JSON, nullable=False),
        sa.Column("next_agenda_at", UTC_TIME, nullable=True),
        sa.Column("next_agenda_date", sa.Date(), nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_subscribers"),
        sa.UniqueConstraint("mattermost_user_id", name="uq_calendar_subscribers_mattermost_user_id"),
    )
    op.create_index("ix_calendar_subscribers_next_agenda_at", "calendar_subscribers", ["next_agenda_at"], unique=False)

    op.create_table(
        "deliveries",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("channel", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=512), nullable=False),
        sa.Column("subject", sa.String(length=160), nullable=False),
        sa.Column("recipient", sa.String(length=128), nullable=False),
        sa.Column("body", JSON, nullable=True),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("next_attempt_at", UTC_TIME, nullable=False),
        sa.Column("expires_at", UTC_TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("first_attempt_at", UTC_TIME, nullable=True),
        sa.Column("remote_id", sa.String(length=128), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("finished_at", UTC_TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint("key", name="uq_deliveries_key"),
    )
    op.create_index("ix_deliveries_finished_at", "deliveries", ["finished_at"], unique=False)
    op.create_index(
        "ix_deliveries_held",
        "deliveries",
        ["claimed_until"],
        unique=False,
        sqlite_where=sa.text("state IN ('CLAIMED', 'SENDING')"),
        postgresql_where=sa.text("state IN ('CLAIMED', 'SENDING')"),
    )
    op.create_index(
        "ix_deliveries_subject_open",
        "deliveries",
        ["subject", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('PENDING', 'CLAIMED', 'SENDING', 'UNCERTAIN')"),
        postgresql_where=sa.text("state IN ('PENDING', 'CLAIMED', 'SENDING', 'UNCERTAIN')"),
    )
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["channel", "state", "next_attempt_at"],
        unique=False,
        sqlite_where=sa.text("state IN ('PENDING', 'UNCERTAIN')"),
        postgresql_where=sa.text("state IN ('PENDING', 'UNCERTAIN')"),
    )

    op.create_table(
        "files",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("media_type", sa.String(length=128), nullable=False),
        sa.Column("size_bytes", BIG_ID, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_index("ix_files_created_at", "files", ["created_at"], unique=False)

    op.create_table(
        "heartbeats",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_heartbeats"),
    )
    op.create_table(
        "key_check",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_key_check"),
    )
    op.create_table(
        "calendar_accounts",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("subscriber_id", BIG_ID, nullable=False),
        sa.Column("server_url", sa.String(length=512), nullable=False),
        sa.Column("login", sa.String(length=256), nullable=False),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("addresses", JSON, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("paused_at", UTC_TIME, nullable=True),
        sa.Column("auth_failures", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_at", UTC_TIME, nullable=True),
        sa.Column("last_polled_at", UTC_TIME, nullable=True),
        sa.Column("next_poll_at", UTC_TIME, nullable=False),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["calendar_subscribers.id"],
            name="fk_calendar_accounts_subscriber_id_calendar_subscribers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_accounts"),
        sa.UniqueConstraint(
            "subscriber_id", "server_url", "login", name="uq_calendar_accounts_subscriber_id_server_url_login"
        ),
    )
    op.create_index(
        "ix_calendar_accounts_due",
        "calendar_accounts",
        ["next_poll_at"],
        unique=False,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )

    op.create_table(
        "file_chunks",
        sa.Column("file_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], name="fk_file_chunks_file_id_files", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("file_id", "number", name="pk_file_chunks"),
    )
    op.create_table(
        "calendars",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("url", sa.String(length=1024), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("watched", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("sync_token", sa.Text(), nullable=True),
        sa.Column("synced_at", UTC_TIME, nullable=True),
        sa.Column("reconciled_at", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["calendar_accounts.id"],
            name="fk_calendars_account_id_calendar_accounts",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendars"),
        sa.UniqueConstraint("account_id", "url", name="uq_calendars_account_id_url"),
    )
    op.create_table(
        "calendar_objects",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("calendar_id", BIG_ID, nullable=False),
        sa.Column("href", sa.String(length=1024), nullable=False),
        sa.Column("etag", sa.String(length=256), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("needs_expansion", sa.Boolean(), nullable=False),
        sa.Column("expansion_attempts", sa.Integer(), nullable=False),
        sa.Column("expanded_until", UTC_TIME, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("changed_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name="fk_calendar_objects_calendar_id_calendars", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_objects"),
        sa.UniqueConstraint("calendar_id", "href", name="uq_calendar_objects_calendar_id_href"),
    )
    op.create_index("ix_calendar_objects_expanded_until", "calendar_objects", ["expanded_until"], unique=False)
    op.create_index(
        "ix_calendar_objects_needs_expansion",
        "calendar_objects",
        ["calendar_id"],
        unique=False,
        sqlite_where=sa.text("needs_expansion = 1"),
        postgresql_where=sa.text("needs_expansion"),
    )

    op.create_table(
        "calendar_occurrences",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("account_id", BIG_ID, nullable=False),
        sa.Column("calendar_id", BIG_ID, nullable=False),
        sa.Column("object_id", BIG_ID, nullable=False),
        sa.Column("uid", sa.String(length=512), nullable=False),
        sa.Column("recurrence_id", sa.String(length=16), nullable=False),
        sa.Column("start_at", UTC_TIME, nullable=False),
        sa.Column("end_at", UTC_TIME, nullable=False),
        sa.Column("all_day", sa.Boolean(), nullable=False),
        sa.Column("declined", sa.Boolean(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["calendar_accounts.id"],
            name="fk_calendar_occurrences_account_id_calendar_accounts",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name="fk_calendar_occurrences_calendar_id_calendars", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["object_id"],
            ["calendar_objects.id"],
            name="fk_calendar_occurrences_object_id_calendar_objects",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_occurrences"),
        sa.UniqueConstraint(
            "account_id",
            "calendar_id",
            "uid",
            "recurrence_id",
            name="uq_calendar_occurrences_key",
        ),
    )
    op.create_index(
        "ix_calendar_occurrences_account_id_start_at", "calendar_occurrences", ["account_id", "start_at"], unique=False
    )
    op.create_index("ix_calendar_occurrences_calendar_id", "calendar_occurrences", ["calendar_id"], unique=False)
    op.create_index("ix_calendar_occurrences_end_at", "calendar_occurrences", ["end_at"], unique=False)
    op.create_index("ix_calendar_occurrences_object_id", "calendar_occurrences", ["object_id"], unique=False)

    op.create_table(
        "calendar_reminders",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("subscriber_id", BIG_ID, nullable=False),
        sa.Column("occurrence_id", BIG_ID, nullable=False),
        sa.Column("minutes", sa.Integer(), nullable=False),
        sa.Column("fire_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["occurrence_id"],
            ["calendar_occurrences.id"],
            name="fk_calendar_reminders_occurrence_id_calendar_occurrences",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["subscriber_id"],
            ["calendar_subscribers.id"],
            name="fk_calendar_reminders_subscriber_id_calendar_subscribers",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_calendar_reminders"),
        sa.UniqueConstraint("occurrence_id", "minutes", name="uq_calendar_reminders_occurrence_id_minutes"),
    )
    op.create_index("ix_calendar_reminders_fire_at", "calendar_reminders", ["fire_at"], unique=False)
    op.create_index("ix_calendar_reminders_subscriber_id", "calendar_reminders", ["subscriber_id"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_calendar_reminders_subscriber_id", table_name="calendar_reminders")
    op.drop_index("ix_calendar_reminders_fire_at", table_name="calendar_reminders")

    op.drop_table("calendar_reminders")
    op.drop_index("ix_calendar_occurrences_object_id", table_name="calendar_occurrences")
    op.drop_index("ix_calendar_occurrences_end_at", table_name="calendar_occurrences")
    op.drop_index("ix_calendar_occurrences_calendar_id", table_name="calendar_occurrences")
    op.drop_index("ix_calendar_occurrences_account_id_start_at", table_name="calendar_occurrences")

    op.drop_table("calendar_occurrences")
    op.drop_index("ix_calendar_objects_needs_expansion", table_name="calendar_objects")
    op.drop_index("ix_calendar_objects_expanded_until", table_name="calendar_objects")

    op.drop_table("calendar_objects")
    op.drop_table("calendars")
    op.drop_table("file_chunks")
    op.drop_index("ix_calendar_accounts_due", table_name="calendar_accounts")

    op.drop_table("calendar_accounts")
    op.drop_table("key_check")
    op.drop_table("heartbeats")
    op.drop_index("ix_files_created_at", table_name="files")

    op.drop_table("files")
    op.drop_index("ix_deliveries_waiting", table_name="deliveries")
    op.drop_index("ix_deliveries_subject_open", table_name="deliveries")
    op.drop_index("ix_deliveries_held", table_name="deliveries")
    op.drop_index("ix_deliveries_finished_at", table_name="deliveries")

    op.drop_table("deliveries")
    op.drop_index("ix_calendar_subscribers_next_agenda_at", table_name="calendar_subscribers")

    op.drop_table("calendar_subscribers")
    op.drop_index("ix_audit_log_subject", table_name="audit_log")
    op.drop_index("ix_audit_log_at", table_name="audit_log")

    op.drop_table("audit_log")
