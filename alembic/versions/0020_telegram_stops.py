"""Keep STOP by who said it to which number, and why an organisation lost the account of its number.

Revision: 0020, after 0019
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
STOPPED_BY = sa.text("stopped_by IS NOT NULL")
MOST_ID_DIGITS = 18
SERVICE_CHAT = 777_000
STOP = ("stop", "unsubscribe", "стоп", "отписаться", "відписатися")
START = ("start", "старт")
ORNAMENTS = " \t\r\n.!?,;:\"'«»“”„()[]*_/\u200b"


def upgrade() -> None:
    op.create_table(
        "telegram_stops",
        sa.Column("own_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("stopped_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("own_id", "user_id", name=op.f("pk_telegram_stops")),
    )
    op.add_column("recipients", sa.Column("stopped_by", sa.BigInteger(), nullable=True))
    op.create_index(
        "ix_recipients_stopped_by",
        "recipients",
        ["stopped_by"],
        sqlite_where=STOPPED_BY,
        postgresql_where=STOPPED_BY,
    )
    op.add_column("organisation_telegram", sa.Column("lost_to", sa.String(length=16), nullable=True))
    _carry_over()


def downgrade() -> None:
    op.drop_column("organisation_telegram", "lost_to")
    op.drop_index("ix_recipients_stopped_by", table_name="recipients")
    op.drop_column("recipients", "stopped_by")
    op.drop_table("telegram_stops")


def _carry_over() -> None:
    """Whoever is stopped and known at Telegram said so to the number that their organisation writes from.

    Who is not known keeps the STOP in their own row. Over what it was said was not noted before.
    """
    connection = op.get_bind()
    recipients = sa.table(
        "recipients",
        sa.column("id", sa.BigInteger()),
        sa.column("organisation_id", sa.BigInteger()),
        sa.column("telegram", sa.String()),
        sa.column("telegram_user_id", sa.BigInteger()),
        sa.column("stopped_at", UTC_TIME),
        sa.column("stopped_by", sa.BigInteger()),
    )
    numbers = sa.table(
        "organisation_telegram", sa.column("organisation_id", sa.BigInteger()), sa.column("account_id", sa.BigInteger())
    )
    accounts = sa.table("telegram_accounts", sa.column("id", sa.BigInteger()), sa.column("own_id", sa.BigInteger()))
    stops = sa.table(
        "telegram_stops",
        sa.column("own_id", sa.BigInteger()),
        sa.column("user_id", sa.BigInteger()),
        sa.column("stopped_at", UTC_TIME),
    )
    rows = connection.execute(
        sa.select(recipients, accounts.c.id.label("account_id"), accounts.c.own_id)
        .join(numbers, numbers.c.organisation_id == recipients.c.organisation_id)
        .join(accounts, accounts.c.id == numbers.c.account_id)
        .where(recipients.c.stopped_at.is_not(None), accounts.c.own_id.is_not(None))
    ).all()
    words: dict[tuple[int, int], datetime] = {}
    for row in rows:
        user_id = row.telegram_user_id or _met(connection, row.account_id, row.telegram)
        if user_id is None:
            continue
        connection.execute(recipients.update().where(recipients.c.id == row.id).values(stopped_by=user_id))
        known = words.get((row.own_id, user_id))
        words[row.own_id, user_id] = row.stopped_at if known is None else min(known, row.stopped_at)
    for said, at in _answered(connection).items():
        words[said] = min(words.get(said, at), at)
    for (own_id, user_id), at in words.items():
        connection.execute(stops.insert().values(own_id=own_id, user_id=user_id, stopped_at=at))


def _answered(connection: sa.Connection) -> dict[tuple[int, int], datetime]:
    """Whose last word to a number that organisations write from is STOP, and since when.

    Such a word was not kept where it came from nobody's recipient, as whoever has only a phone that the number had not asked
    Telegram for yet. The messages are known as long as retention keeps their texts.
    """
    messages = sa.table(
        "telegram_messages",
        sa.column("id", sa.BigInteger()),
        sa.column("account_id", sa.BigInteger()),
        sa.column("chat_id", sa.BigInteger()),
        sa.column("edit", sa.BigInteger()),
        sa.column("kind", sa.String()),
        sa.column("out", sa.Boolean()),
        sa.column("text", sa.Text()),
        sa.column("sent_at", UTC_TIME),
    )
    accounts = sa.table("telegram_accounts", sa.column("id", sa.BigInteger()), sa.column("own_id", sa.BigInteger()))
    numbers = sa.table("organisation_telegram", sa.column("account_id", sa.BigInteger()))
    peers = sa.table(
        "telegram_peers",
        sa.column("account_id", sa.BigInteger()),
        sa.column("peer_id", sa.BigInteger()),
        sa.column("kind", sa.String()),
    )
    is_bot = sa.exists().where(
        peers.c.account_id == messages.c.account_id, peers.c.peer_id == messages.c.chat_id, peers.c.kind == "bot"
    )
    rows = connection.execute(
        sa.select(accounts.c.own_id, messages.c.chat_id, messages.c.text, messages.c.sent_at)
        .join(accounts, accounts.c.id == messages.c.account_id)
        .where(
            accounts.c.id.in_(sa.select(numbers.c.account_id).where(numbers.c.account_id.is_not(None))),
            accounts.c.own_id.is_not(None),
            messages.c.kind == "message",
            messages.c.edit == 0,
            sa.not_(messages.c.out),
            messages.c.text.is_not(None),
            messages.c.chat_id > 0,
            messages.c.chat_id != SERVICE_CHAT,
            sa.not_(is_bot),
        )
        .order_by(messages.c.id)
        .execution_options(yield_per=1_000)
    )
    stopped: dict[tuple[int, int], datetime] = {}
    for own_id, chat_id, text, sent_at in rows:
        word = text.strip(ORNAMENTS).casefold()
        if word in STOP:
            stopped.setdefault((own_id, chat_id), sent_at)
        elif word in START:
            stopped.pop((own_id, chat_id), None)
    return stopped


def _met(connection: sa.Connection, account_id: int, address: str | None) -> int | None:
    """Whom the account knows by this address."""
    if address is None:
        return None
    if address.isdecimal():
        return int(address) if len(address) <= MOST_ID_DIGITS else None
    peers = sa.table(
        "telegram_peers",
        sa.column("account_id", sa.BigInteger()),
        sa.column("peer_id", sa.BigInteger()),
        sa.column("username", sa.String()),
        sa.column("phone", sa.String()),
        sa.column("seen_at", UTC_TIME),
    )
    has_address = peers.c.phone == address
    if address.startswith("@"):
        has_address = sa.func.lower(peers.c.username) == address.removeprefix("@")
    return connection.execute(
        sa.select(peers.c.peer_id)
        .where(peers.c.account_id == account_id, has_address)
        .order_by(peers.c.seen_at.desc())
        .limit(1)
    ).scalar()
