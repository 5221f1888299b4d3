"""The slash commands on the Mattermost server: installed, taken back, and known again by their tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from switchboard.clients.mattermost_admin import MattermostAdminClient
from switchboard.crypto import SecretBox
from switchboard.db.engine import Database
from switchboard.db.models import MattermostCommand, MattermostInstallation
from switchboard.db.upsert import insert_new, upsert
from switchboard.errors import AuthError, ConfigError, NotFoundError, RemoteRejectedError
from switchboard.services import audit

TRIGGERS = ("yandex-calendar", "yandex_calendar")
COMMAND_PATH = "/mattermost/command"
BOT_USERNAME = "switchboard"
ROLE = "system_user_manager"
"""A built-in system role: Mattermost has no REST call that makes a new one."""
RIGHTS = ("edit_other_users", "create_post_ephemeral")
"""Setting another user's custom status; showing an answer to the person alone who clicked."""
PLAIN_ROLE = "system_user"


@dataclass(frozen=True, slots=True)
class Bot:
    """The bot account; `token` is empty where the one in the settings stays."""

    user_id: str
    username: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class Installed:
    """What stands on the server now. `refused_right` says in words why the bot got no rights; None when it has them."""

    bot: Bot
    commands: int
    refused_right: str | None


class CommandTokens:
    """The tokens of the installed commands."""

    def __init__(self, database: Database, secret_box: SecretBox) -> None:
        self._database = database
        self._secret_box = secret_box

    def accepted(self) -> list[str]:
        """Every token that a command of ours may come with."""
        with self._database.read() as session:
            sealed = session.scalars(select(MattermostCommand.token)).all()
        return [self._secret_box.decrypt(token) for token in sealed]


class CommandInstaller:
    """Makes and takes back what the commands need on the server. Every method may be repeated."""

    def __init__(
        self,
        database: Database,
        client: MattermostAdminClient,
        secret_box: SecretBox,
        clock: Callable[[], datetime],
        *,
        public_url: str,
    ) -> None:
        if not public_url:
            raise ConfigError("PUBLIC_URL is not set: Mattermost could not reach the commands")
        self._database = database
        self._client = client
        self._secret_box = secret_box
        self._clock = clock
        self._url = f"{public_url}{COMMAND_PATH}"

    def install(self, teams: Sequence[str], *, bot_user_id: str | None) -> Installed:
        """Make the bot (unless `bot_user_id` is the one of MATTERMOST_TOKEN), its rights, and the commands of these teams.

        NotFoundError names a team that is not there; ConfigError a trigger that another command of the team uses.
        """
        team_ids = [self._team_id(team) for team in teams]
        bot, created = self._bot(bot_user_id)
        refused = self._grant(bot, created=created)
        made = 0
        for name, team_id in zip(teams, team_ids, strict=True):
            self._client.add_to_team(team_id, bot.user_id)
            for trigger in TRIGGERS:
                self._install_command(name, team_id, trigger, bot.username)
                made += 1
        return Installed(bot, made, refused)

    def uninstall(self, teams: Sequence[str]) -> int:
        """Take the commands of these teams back; with the last team also the bot's rights, and the bot if it was made by us.

        Returns how many commands were taken away.
        """
        removed = 0
        for team in teams:
            team_id = self._team_id(team)
            for command in self._client.commands(team_id):
                if command.url == self._url and command.trigger in TRIGGERS:
                    self._client.delete_command(command.id)
                    removed += 1
            with self._database.write() as session:
                session.execute(delete(MattermostCommand).where(MattermostCommand.team_id == team_id))
                installations = session.scalars(select(MattermostInstallation)).all()
                self._audit(session, "mattermost.commands_removed", team_id)
            for installation in installations:
                self._client.remove_from_team(team_id, installation.bot_user_id)
        with self._database.read() as session:
            is_last = session.scalar(select(MattermostCommand.id).limit(1)) is None
        if is_last:
            self._revoke()
        return removed

    def _team_id(self, name: str) -> str:
        try:
            return self._client.team_id(name)
        except NotFoundError:
            raise NotFoundError(
                f"there is no team {name!r} on this server: give the name that stands in its address"
            ) from None

    def _bot(self, bot_user_id: str | None) -> tuple[Bot, bool]:
        if bot_user_id is not None:
            found = self._client.user(bot_user_id)
            if not found.is_bot:
                raise ConfigError(
                    f"MATTERMOST_TOKEN belongs to @{found.username}, who is no bot account: remove it, and install makes one"
                )
            return Bot(found.id, found.username), False
        try:
            found = self._client.user_by_username(BOT_USERNAME)
        except NotFoundError:
            user_id = self._client.create_bot(BOT_USERNAME, "Switchboard", "Calendars and notices")
            return Bot(user_id, BOT_USERNAME, self._client.create_token(user_id, "Switchboard")), True
        if not found.is_bot:
            raise ConfigError(f"@{BOT_USERNAME} is a person on this server: make a bot and set its MATTERMOST_TOKEN")
        if found.deactivated:
            self._client.enable_bot(found.id, enabled=True)
        return Bot(found.id, found.username, self._client.create_token(found.id, "Switchboard")), found.deactivated

    def _grant(self, bot: Bot, *, created: bool) -> str | None:
        """Give the bot its rights by a role; None, or in words why the server refused."""
        roles = self._client.roles_of(bot.user_id)
        granted: list[str] = []
        refused = None
        try:
            role = self._client.role(ROLE)
            granted = [right for right in RIGHTS if right not in role.permissions]
            self._remember(bot, roles, granted, created=created)  # first: a crash after the change must not hide it
            if granted:
                self._client.set_permissions(role, (*role.permissions, *granted))
            if ROLE not in roles.split():
                self._client.set_roles(bot.user_id, f"{roles or PLAIN_ROLE} {ROLE}")
        except (RemoteRejectedError, NotFoundError, AuthError) as error:
            refused = (
                f"The server did not let the role {ROLE} have {' and '.join(RIGHTS)} ({error}). "
                "Statuses stay off until an administrator gives these rights to the bot; everything else works."
            )
        return refused

    def _remember(self, bot: Bot, roles: str, granted: list[str], *, created: bool) -> None:
        with self._database.write() as session:
            row = {
                "bot_user_id": bot.user_id,
                "bot_created": created,
                "roles_before": roles or PLAIN_ROLE,
                "granted": granted,
                "created_at": self._clock(),
            }
            insert_new(session, MattermostInstallation, [row], MattermostInstallation.bot_user_id)
            self._audit(session, "mattermost.bot_installed", bot.user_id)

    def _revoke(self) -> None:
        with self._database.read() as session:
            installations = session.scalars(select(MattermostInstallation)).all()
        for one in installations:
            role = self._client.role(ROLE)
            if set(one.granted) & set(role.permissions):
                self._client.set_permissions(role, [each for each in role.permissions if each not in one.granted])
            self._client.set_roles(one.bot_user_id, one.roles_before)
            if one.bot_created:
                self._client.enable_bot(one.bot_user_id, enabled=False)
            with self._database.write() as session:
                session.execute(
                    delete(MattermostInstallation).where(MattermostInstallation.bot_user_id == one.bot_user_id)
                )
                self._audit(session, "mattermost.bot_uninstalled", one.bot_user_id)

    def _install_command(self, team: str, team_id: str, trigger: str, username: str) -> None:
        fields: dict[str, Any] = {
            "team_id": team_id,
            "trigger": trigger,
            "method": "P",
            "url": self._url,
            "username": username,
            "display_name": "Switchboard calendar",
            "description": "Calendars, agendas and notices",
            "auto_complete": True,
            "auto_complete_hint": "[connections | calendars | notifications | checks | info]",
            "auto_complete_desc": "Your calendar: meetings, reminders, settings. Without a word: a menu",
        }
        standing = next((one for one in self._client.commands(team_id) if one.trigger == trigger), None)
        if standing is None:
            command = self._client.create_command(fields)
        elif standing.url != self._url and standing.id not in self._own_ids():
            raise ConfigError(f"/{trigger} in the team {team} belongs to another integration: remove it there first")
        else:
            command = self._client.update_command(standing.id, fields)
        row = {
            "team_id": team_id,
            "trigger": trigger,
            "command_id": command.id,
            "token": self._secret_box.encrypt(command.token),
            "created_at": self._clock(),
        }
        with self._database.write() as session:
            upsert(session, MattermostCommand, row, ("team_id", "trigger"))
            self._audit(session, "mattermost.command_installed", f"{team_id}/{trigger}")

    def _own_ids(self) -> set[str]:
        with self._database.read() as session:
            return set(session.scalars(select(MattermostCommand.command_id)))

    def _audit(self, session: Session, action: str, subject: str) -> None:
        audit.record(session, actor="cli", action=action, subject=f"mattermost:{subject}", now=self._clock())
