"""What `mattermost install` made on the Mattermost server: the slash commands with their tokens, and the bot's rights."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from switchboard.db.models.base import Base
from switchboard.db.types import BigId, Sealed


class MattermostCommand(Base):
    """A slash command of one team. `token` is what the server proves itself with when it calls the command."""

    __tablename__ = "mattermost_commands"
    __table_args__ = (UniqueConstraint("team_id", "trigger"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    team_id: Mapped[str] = mapped_column(String(64))
    trigger: Mapped[str] = mapped_column(String(128))
    command_id: Mapped[str] = mapped_column(String(64))
    token: Mapped[str] = mapped_column(Sealed)
    created_at: Mapped[datetime]


class MattermostInstallation(Base):
    """The bot that was installed; `granted` are the permissions that were added to its role, to be taken back."""

    __tablename__ = "mattermost_installations"

    bot_user_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    bot_created: Mapped[bool]
    roles_before: Mapped[str] = mapped_column(String(512))
    granted: Mapped[list[str]]
    created_at: Mapped[datetime]
