"""Every route of the twin, in one table that the specification test reads."""

from __future__ import annotations

from tornado.routing import URLSpec

from sandbox.mattermost.api import commands, people, places, posts
from sandbox.mattermost.api.base import ApiHandler, Services

_ID = r"([A-Za-z0-9]+)"
# (methods, path as the specification writes it, handler); the busiest first: tornado tries them in order.
ROUTES: tuple[tuple[str, str, type[ApiHandler]], ...] = (
    ("POST", "/api/v4/posts", posts.PostsHandler),
    ("GET", "/api/v4/channels/{channel_id}/posts", posts.ChannelPostsHandler),
    ("POST", "/api/v4/channels/direct", places.DirectChannelHandler),
    ("POST", "/api/v4/posts/ephemeral", posts.EphemeralHandler),
    ("GET PUT DELETE", "/api/v4/posts/{post_id}", posts.PostHandler),
    ("PUT", "/api/v4/posts/{post_id}/patch", posts.PostPatchHandler),
    ("POST", "/api/v4/posts/{post_id}/actions/{action_id}", posts.ActionHandler),
    ("GET", "/api/v4/system/ping", places.PingHandler),
    ("GET", "/api/v4/config/client", places.ClientConfigHandler),
    ("GET", "/api/v4/users", people.UsersHandler),
    ("POST", "/api/v4/users/ids", people.UsersByIdsHandler),
    ("POST", "/api/v4/users/usernames", people.UsersByNamesHandler),
    ("POST", "/api/v4/users/search", people.UserSearchHandler),
    ("POST", "/api/v4/users/status/ids", people.StatusesHandler),
    ("GET", "/api/v4/users/username/{username}", people.UserByNameHandler),
    ("GET", "/api/v4/users/email/{email}", people.UserByEmailHandler),
    ("GET PUT", "/api/v4/users/{user_id}", people.UserHandler),
    ("PUT", "/api/v4/users/{user_id}/patch", people.UserPatchHandler),
    ("GET PUT", "/api/v4/users/{user_id}/status", people.StatusHandler),
    ("PUT DELETE", "/api/v4/users/{user_id}/status/custom", people.CustomStatusHandler),
    ("PUT", "/api/v4/users/{user_id}/active", people.UserActiveHandler),
    ("PUT", "/api/v4/users/{user_id}/roles", people.UserRolesHandler),
    ("POST", "/api/v4/users/{user_id}/tokens", people.UserTokensHandler),
    ("GET", "/api/v4/users/{user_id}/teams", people.UserTeamsHandler),
    ("GET", "/api/v4/roles/name/{role_name}", people.RoleByNameHandler),
    ("PUT", "/api/v4/roles/{role_id}/patch", people.RolePatchHandler),
    ("GET POST", "/api/v4/bots", people.BotsHandler),
    ("GET PUT", "/api/v4/bots/{bot_user_id}", people.BotHandler),
    ("POST", "/api/v4/bots/{bot_user_id}/disable", people.BotEnabledHandler),
    ("POST", "/api/v4/bots/{bot_user_id}/enable", people.BotEnabledHandler),
    ("GET", "/api/v4/teams", places.TeamsHandler),
    ("GET", "/api/v4/teams/name/{team_name}", places.TeamByNameHandler),
    ("GET", "/api/v4/teams/{team_id}", places.TeamHandler),
    ("GET POST", "/api/v4/teams/{team_id}/members", places.TeamMembersHandler),
    ("POST", "/api/v4/teams/{team_id}/members/batch", places.TeamMembersBatchHandler),
    ("GET DELETE", "/api/v4/teams/{team_id}/members/{user_id}", places.TeamMemberHandler),
    ("GET", "/api/v4/channels/{channel_id}", places.ChannelHandler),
    ("GET POST", "/api/v4/channels/{channel_id}/members", places.ChannelMembersHandler),
    ("GET DELETE", "/api/v4/channels/{channel_id}/members/{user_id}", places.ChannelMemberHandler),
    ("GET POST", "/api/v4/commands", commands.CommandsHandler),
    ("POST", "/api/v4/commands/execute", commands.ExecuteHandler),
    ("GET PUT DELETE", "/api/v4/commands/{command_id}", commands.CommandHandler),
    ("PUT", "/api/v4/commands/{command_id}/regen_token", commands.RegenTokenHandler),
    ("POST", "/api/v4/actions/dialogs/open", commands.DialogOpenHandler),
    ("POST", "/api/v4/actions/dialogs/submit", commands.DialogSubmitHandler),
    ("POST", "/api/v4/actions/dialogs/lookup", commands.DialogLookupHandler),
    ("POST", "/hooks/commands/{hook_id}", commands.ResponseUrlHandler),
)
_LOOSE = {"{username}": r"([^/]+)", "{email}": r"([^/]+)", "{team_name}": r"([^/]+)", "{role_name}": r"([^/]+)"}


def url_specs(services: Services) -> list[URLSpec]:
    return [URLSpec(pattern(path), handler, {"services": services}) for _, path, handler in ROUTES]


def pattern(path: str) -> str:
    """The regular expression of a path; ids are letters and digits, anything else is no route (404)."""
    return "/".join(_LOOSE.get(part, _ID) if part.startswith("{") else part for part in path.split("/"))
