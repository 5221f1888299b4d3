"""Between which hours of the day a person's free time is named.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name, at in (("work_from", "09:00:00"), ("work_until", "18:00:00")):
        op.add_column("calendar_subscribers", sa.Column(name, sa.Time(), nullable=True, server_default=at))


def downgrade() -> None:
    op.drop_column("calendar_subscribers", "work_until")
    op.drop_column("calendar_subscribers", "work_from")
