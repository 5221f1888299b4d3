"""System, teams and channels."""

from __future__ import annotations

from sandbox.mattermost import errors
from sandbox.mattermost.api.base import SERVER_VERSION, ApiHandler, text_field
from sandbox.mattermost.model import Channel, Team, is_id


class PingHandler(ApiHandler):
    needs_session = False

    def get(self) -> None:
        answer = {
            "ActiveSearchBackend": "database",
            "AndroidLatestVersion": "",
            "AndroidMinVersion": "",
            "IosLatestVersion": "",
            "IosMinVersion": "",
            "status": "OK",
        }
        if self.flag("get_server_status"):
            answer |= {"database_status": "OK", "filestore_status": "OK"}
        self.reply(answer)


class ClientConfigHandler(ApiHandler):
    needs_session = False

    def get(self) -> None:
        settings = self.world.settings
        self.reply(
            {
                "Version": SERVER_VERSION,
                "BuildNumber": "sandbox",
                "SiteName": "Switchboard sandbox",
                "SiteURL": settings.site_url,
                "EnableCustomUserStatuses": _words(on=settings.enable_custom_user_statuses),
                "EnableCommands": _words(on=settings.enable_commands),
                "EnableBotAccountCreation": _words(on=settings.enable_bot_account_creation),
                "EnableUserAccessTokens": _words(on=settings.enable_user_access_tokens),
                "EnablePostUsernameOverride": _words(on=settings.enable_post_username_override),
                "MaxPostSize": "16383",
            }
        )


def _words(*, on: bool) -> str:
    return "true" if on else "false"


class TeamsHandler(ApiHandler):
    def get(self) -> None:
        may_list = self.world.may(self.caller, "list_public_teams")
        teams = (team for team in self.world.teams.values() if may_list or self.caller.id in team.members)
        self.reply([team.wire() for team in self.cut(teams)])


class TeamRoute(ApiHandler):
    """What the routes on one team share."""

    def team(self, team_id: str) -> Team:
        team = self.world.team(self.id_of(team_id, "team_id"))
        self.require_in_team(team.id, "view_team")
        return team


class TeamHandler(TeamRoute):
    def get(self, team_id: str) -> None:
        self.reply(self.team(team_id).wire())


class TeamByNameHandler(ApiHandler):
    def get(self, name: str) -> None:
        for team in self.world.teams.values():
            if team.name == name:
                self.require_in_team(team.id, "view_team")
                self.reply(team.wire())
                return
        raise errors.missing_team()


class TeamMembersHandler(TeamRoute):
    def get(self, team_id: str) -> None:
        team = self.team(team_id)
        self.reply([team.member_wire(user_id) for user_id in self.cut(team.members)])

    def post(self, team_id: str) -> None:
        """201 with the member, also when it was one before (JoinUserToTeam)."""
        team = self.world.team(self.id_of(team_id, "team_id"))
        body = self.body_object("team_member")
        if body.get("team_id") != team.id:
            raise errors.invalid_param("team_id")
        if not is_id(body.get("user_id")):
            raise errors.invalid_param("user_id")
        self.require_in_team(team.id, "add_user_to_team")
        self.world.join_team(team, self.world.user(body["user_id"]))
        self.reply(team.member_wire(body["user_id"]), 201)


class TeamMembersBatchHandler(ApiHandler):
    def post(self, team_id: str) -> None:
        team = self.world.team(self.id_of(team_id, "team_id"))
        members = self.body_any("members")
        if not isinstance(members, list) or not members or not all(isinstance(one, dict) for one in members):
            raise errors.invalid_param("members")
        if len(members) > 20:
            raise errors.invalid_param("too many members in batch")
        for one in members:
            if one.get("team_id") != team.id:
                raise errors.invalid_param("team_id")
            if not is_id(one.get("user_id")):
                raise errors.invalid_param("user_id")
        self.require_in_team(team.id, "add_user_to_team")
        users = [self.world.user(one["user_id"]) for one in members]
        for user in users:
            self.world.join_team(team, user)
        self.reply([team.member_wire(user.id) for user in users], 201)


class TeamMemberHandler(TeamRoute):
    def get(self, team_id: str, user_id: str) -> None:
        team, user = self.team(team_id), self.user_of(user_id)
        if user.id not in team.members:
            raise errors.AppError("app.team.get_member.missing.app_error", "No team member found for that user.", 404)
        self.reply(team.member_wire(user.id))

    def delete(self, team_id: str, user_id: str) -> None:
        team, user = self.world.team(self.id_of(team_id, "team_id")), self.user_of(user_id)
        if user.id != self.caller.id:
            self.require_in_team(team.id, "remove_user_from_team")
        self.world.leave_team(team, user.id)
        self.ok()


class DirectChannelHandler(ApiHandler):
    def post(self) -> None:
        """201 with the channel of the two, whether it is new or old (GetOrCreateDirectChannel)."""
        ids = self.body_texts("user_ids")
        if len(ids) != 2 or not all(is_id(one) for one in ids):
            raise errors.invalid_param("user_ids")
        self.require("create_direct_channel")
        if self.caller.id not in ids:
            self.require("manage_system")
        unknown = [one for one in ids if one not in self.world.users]
        if unknown:
            raise errors.AppError(
                "api.channel.create_direct_channel.invalid_user.app_error",
                "Invalid user ID.",
                400,
                f"user_id={unknown[0]}",
            )
        one, other = (self.world.user(user_id) for user_id in ids)
        self.reply(self.world.direct_channel(one, other).wire(), 201)


class ChannelRoute(ApiHandler):
    """What the routes on one channel share."""

    def channel(self, channel_id: str) -> Channel:
        return self.world.readable_channel(self.caller, self.id_of(channel_id, "channel_id"))


class ChannelHandler(ChannelRoute):
    def get(self, channel_id: str) -> None:
        self.reply(self.channel(channel_id).wire())


class ChannelMembersHandler(ChannelRoute):
    def get(self, channel_id: str) -> None:
        channel = self.channel(channel_id)
        self.reply([channel.member_wire(user_id) for user_id in self.cut(channel.members)])

    def post(self, channel_id: str) -> None:
        channel = self.channel(channel_id)
        user_id = text_field(self.body_object("channel_member"), "user_id")
        if not is_id(user_id):
            raise errors.invalid_param("user_id")
        if channel.type == "D":
            raise errors.AppError(
                "api.channel.add_user_to_channel.type.app_error", "Cannot add users to a direct channel.", 400
            )
        user = self.world.user(user_id)
        if user.id not in self.world.team(channel.team_id).members:
            raise errors.AppError("app.team.get_member.missing.app_error", "No team member found for that user.", 404)
        if user.id not in channel.members:
            channel.members.append(user.id)
            self.world.record("channel", channel)
        self.reply(channel.member_wire(user.id), 201)


class ChannelMemberHandler(ChannelRoute):
    def get(self, channel_id: str, user_id: str) -> None:
        channel, user = self.channel(channel_id), self.user_of(user_id)
        if user.id not in channel.members:
            raise errors.AppError(
                "app.channel.get_member.missing.app_error", "No channel member found for that user.", 404
            )
        self.reply(channel.member_wire(user.id))

    def delete(self, channel_id: str, user_id: str) -> None:
        channel, user = self.channel(channel_id), self.user_of(user_id)
        if channel.type == "D":
            raise errors.AppError(
                "api.channel.remove_channel_member.type.app_error", "Unable to remove a user from a channel.", 400
            )
        if user.id != self.caller.id:
            self.require("manage_system")
        if user.id in channel.members:
            channel.members.remove(user.id)
            self.world.record("channel", channel)
        self.ok()
