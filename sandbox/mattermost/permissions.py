"""Which role grants what (the server's defaults, as far as the twin asks for it)."""

from __future__ import annotations

ALL = "*"

SYSTEM_ROLES: dict[str, tuple[str, ...]] = {
    "system_admin": (ALL,),
    "system_user": ("create_direct_channel", "view_members", "list_public_teams"),
    "system_guest": (),
    "system_post_all": ("create_post",),
    "system_post_all_public": ("create_post_public",),
    "system_user_access_token": ("create_user_access_token", "read_user_access_token", "revoke_user_access_token"),
    "system_user_manager": ("view_members", "list_public_teams", "list_private_teams"),
    "system_manager": ("view_members", "list_public_teams", "list_private_teams"),
    "system_read_only_admin": ("view_members", "list_public_teams", "list_private_teams"),
}

TEAM_ROLES: dict[str, tuple[str, ...]] = {
    "team_user": ("view_team", "use_slash_commands", "add_user_to_team_self"),
    "team_admin": ("view_team", "manage_slash_commands", "manage_others_slash_commands", "add_user_to_team"),
}
