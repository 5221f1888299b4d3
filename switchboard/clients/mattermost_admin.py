"""Mattermost REST API v4 as an administrator: bots, tokens, roles, team members, slash commands (https://api.mattermost.com)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from switchboard.clients.mattermost import PAGE_SIZE, MattermostClient, MattermostRole, SlashCommand, no_answer
from switchboard.errors import NotFoundError


class MattermostAdminClient(MattermostClient):
    """Calls with an administrator's token. Every call may be repeated; those that create look first."""

    def create_bot(self, username: str, display_name: str, description: str) -> str:
        """A new bot account; returns its user id."""
        body = {"username": username, "display_name": display_name, "description": description}
        return self._call("POST", "/bots", lambda bot: str(bot["user_id"]), effect=True, body=body)

    def enable_bot(self, bot_user_id: str, *, enabled: bool) -> None:
        """Switch a bot account on or off."""
        route = "/bots/{bot_user_id}/enable" if enabled else "/bots/{bot_user_id}/disable"
        self._read("POST", route, no_answer, bot_user_id=bot_user_id)

    def create_token(self, user_id: str, description: str) -> str:
        """A new access token of an account; the server shows it this once."""
        return self._call(
            "POST",
            "/users/{user_id}/tokens",
            lambda made: str(made["token"]),
            effect=True,
            body={"description": description},
            user_id=user_id,
        )

    def roles_of(self, user_id: str) -> str:
        """The names of an account's system roles, with spaces between."""
        return self._read("GET", "/users/{user_id}", lambda user: str(user.get("roles", "")), user_id=user_id)

    def set_roles(self, user_id: str, roles: str) -> None:
        """Give an account exactly these system roles."""
        self._read("PUT", "/users/{user_id}/roles", no_answer, user_id=user_id, body={"roles": roles})

    def role(self, name: str) -> MattermostRole:
        """A system role by name; NotFoundError where there is none."""
        return self._read("GET", "/roles/name/{role_name}", _role, role_name=name)

    def set_permissions(self, role: MattermostRole, permissions: Sequence[str]) -> None:
        """Make a role permit exactly this."""
        body = {"permissions": list(permissions)}
        self._read("PUT", "/roles/{role_id}/patch", no_answer, role_id=role.id, body=body)

    def team_id(self, name: str) -> str:
        """The id of a team by the name in its address; NotFoundError where there is none."""
        return self._read("GET", "/teams/name/{team_name}", lambda team: str(team["id"]), team_name=name)

    def add_to_team(self, team_id: str, user_id: str) -> None:
        """Make an account a member of a team; a member stays one."""
        body = {"team_id": team_id, "user_id": user_id}
        self._read("POST", "/teams/{team_id}/members", no_answer, team_id=team_id, body=body)

    def remove_from_team(self, team_id: str, user_id: str) -> None:
        """End a membership; none is none already."""
        try:
            self._read("DELETE", "/teams/{team_id}/members/{user_id}", no_answer, team_id=team_id, user_id=user_id)
        except NotFoundError:
            return

    def commands(self, team_id: str) -> list[SlashCommand]:
        """The custom slash commands of a team."""
        query = {"team_id": team_id, "custom_only": "true", "per_page": PAGE_SIZE}
        return self._read("GET", "/commands", lambda found: [_command(one) for one in found], query=query)

    def create_command(self, fields: Mapping[str, Any]) -> SlashCommand:
        """A new slash command; the server makes its token."""
        return self._call("POST", "/commands", _command, effect=True, body=dict(fields))

    def update_command(self, command_id: str, fields: Mapping[str, Any]) -> SlashCommand:
        """Give a slash command these fields; its token stays."""
        body = {"id": command_id, **fields}
        return self._read("PUT", "/commands/{command_id}", _command, command_id=command_id, body=body)

    def delete_command(self, command_id: str) -> None:
        """Take a slash command away; one that is gone is gone already."""
        try:
            self._read("DELETE", "/commands/{command_id}", no_answer, command_id=command_id)
        except NotFoundError:
            return


def _role(answer: Mapping[str, Any]) -> MattermostRole:
    return MattermostRole(str(answer["id"]), str(answer["name"]), tuple(answer.get("permissions") or ()))


def _command(answer: Mapping[str, Any]) -> SlashCommand:
    return SlashCommand(
        id=str(answer["id"]),
        team_id=str(answer["team_id"]),
        trigger=str(answer["trigger"]),
        url=str(answer.get("url", "")),
        token=str(answer.get("token", "")),
    )
